"""Classes of new samples, and which of them are like none of the reference."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._stored_metric import writable
from scggml._keys import IS_REFERENCE, N_CELLS, Keys
from scggml.get import distances as get_distances

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def predict_samples(mapped: AnnData, *, key: str = "ggml", alpha: float = 0.05, copy: bool = False) -> AnnData | None:
    r"""Predict the classes of new samples, with probabilities, and flag samples that are like none of the reference.

    **Probabilities.** A class fits by the mean distance of a sample to its nearest samples of that class, 3 of the largest class
    and the same fraction of the others, as in :func:`scggml.tl.cross_validate`. With :math:`s_c` for minus this mean over its
    average of all classes, class c has the probability :math:`\propto \exp(\beta s_c)`. The one number :math:`\beta` is that of the
    greatest likelihood for samples that were held out by :func:`scggml.tl.make_reference`, each class weighing alike and as if it
    had been seen twice more, once in its own place and once in another, so that a few samples without an error do not make
    probabilities of one. So there is no prior for large classes: the probabilities are those for a
    patient who is as likely of any class as of any other. With other odds, multiply each by the prior of its class and divide
    by their sum.

    **Unusual samples.** The metric sees what tells the known classes apart, and principal components what varies among patients of the
    reference; a cell type or a programme of genes that none of them has is in neither. So where components lead from genes to the metric,
    what cells express outside of them is looked at as well. In all, these are compared with what held-out samples of
    the reference show, see :func:`scggml.tl.map_samples`:

    - `distance`: the mean distance to the 3 nearest samples of any class, in units of the median distance;
    - `outside`: what all cells of a sample have in common outside of the components;
    - `group`: whether a group of its cells differs from its others there, such as a new cell type;
    - `kinds`: whether a known kind of its cells differs there from its others, such as a programme in one cell type. What all cells of the
      patient have in common cancels. Kinds are clusters of the reference's cells, at two, four and eight to all of them where there are 50 cells for each;
    - `composition`: the shares of these kinds.

    Each gives probabilities from Student's t interval for one more value, so that a dozen samples suffice; all but the distance allow for
    the sampling of cells, few of which tell little. The smallest of a sample is compared with those of the held-out samples, each given all
    others, so that with many comparisons, or heavy tails, about as many usual samples are flagged as `alpha` says.

    A disease that changes a few cells by no more than patients differ anyhow passes,
    as does one that shifts proportions within their usual range. No flag is no proof of a known disease.

    Parameters
    ----------
    mapped
        From :func:`scggml.tl.map_samples`, with a reference that was calibrated.
    key
        Key of the reference.
    alpha
        Flag samples with a p-value of at most this: the share of usual samples that will be flagged.
    copy
        Whether to return a copy instead of writing to `mapped`.

    Returns
    -------
    None, or a copy of `mapped` with `copy=True`. Sets the following fields; samples of the reference have missing values:

    `.obs["predicted"]` : `categorical`
        The class that fits best: the one with the greatest probability, unless held-out samples say nothing for any of them.
    `.obs["unusual_p"]` : float64
        p-value.
    `.obs["unusual"]` : bool
        Whether it is at most `alpha`; False for samples of the reference.
    `.obsm[key + "_probabilities"]` : `numpy.ndarray` (n_samples, n_classes), float64
        Probability of each class.
    `.uns[key + "_prediction"]` : `dict`
        `classes` in the order of the probabilities; `alpha`; `p_values`, a data frame of the new samples with a p-value for each
        point of the list above, not corrected for their number; and `scores`, how well held-out samples of the reference were predicted: `balanced_accuracy`, `log_loss` and
        `brier`, with those of equal probabilities.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no calibration, or `alpha` is out of range. Nothing has been written then.

    Warns
    -----
    UserWarning
        If new samples have fewer cells than all samples of the reference: they are further from all others by chance.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> is_new = adata.obs["sample"].str.endswith("_06")
    >>> old, new = adata[~is_new].copy(), adata[is_new].copy()
    >>> sg.tl.fit_metric(old, "sample", "label", rng=0)
    >>> reference = sg.tl.make_reference(old, sg.tl.sample_distances(old), cv=5, rng=0)
    >>> mapped = sg.tl.map_samples(new, reference)
    >>> sg.tl.predict_samples(mapped)
    >>> mapped.obs["predicted"].dropna().to_dict()
    {'class0_06': 'class_0', 'class1_06': 'class_1', 'class2_06': 'class_2'}
    """
    check.check_anndata("mapped", mapped)
    check.check_name("key", key)
    check.check_number("alpha", alpha, above=0, maximum=0.5)
    keys = Keys(key)
    calibration, is_new = _calibration(mapped, keys)
    matrix = get_distances(mapped, key=key).to_numpy()[np.ix_(is_new, ~is_new)]
    held = calibration["held_out"]
    classes = np.asarray(calibration["classes"], dtype=object)
    position = {name: i for i, name in enumerate(classes)}
    known = mapped.obs_names[~is_new]
    if len(known) != len(held) or not known.isin(held.index).all():
        msg = (
            f"mapped holds {len(known)} samples as those of the reference, which has {len(held)}; not known: "
            f"{check.listed(known[~known.isin(held.index)])}; not there: {check.listed(held.index[~held.index.isin(known)])}. New samples may be "
            "left out, those of the reference not: map the new ones again with sg.tl.map_samples."
        )
        raise ValueError(msg)
    labels = held["label"].astype(str).loc[known]
    codes = np.array([position[name] for name in labels], dtype=np.int64)
    _warn_about_small(mapped, is_new)

    from scggml.core._probabilities import class_probabilities, relative_class_scores
    from scggml.reference._calibration import nearest_distances
    from scggml.reference._novelty import unusual

    scores = relative_class_scores(matrix, codes)
    probabilities = class_probabilities(scores, float(calibration["sharpness"]))
    known_values = {"distance": held["distance"].loc[known].to_numpy(dtype=np.float64)}
    new_values = {"distance": nearest_distances(matrix, len(codes)) / float(calibration["unit"])}
    if keys.novelty in mapped.obsm:
        for name, column in mapped.obsm[keys.novelty].items():
            values = column.to_numpy(dtype=np.float64)
            known_values[name], new_values[name] = values[~is_new], values[is_new]
    p, p_values = unusual(known_values, new_values)

    mapped = writable(mapped, copy=copy)
    predicted = np.full(mapped.n_obs, None, dtype=object)
    predicted[is_new] = classes[scores.argmax(axis=1)]
    mapped.obs["predicted"] = pd.Categorical(predicted, categories=list(classes))
    mapped.obs["unusual_p"] = _among(p, is_new)
    mapped.obs["unusual"] = (mapped.obs["unusual_p"] <= alpha).to_numpy(dtype=bool)
    mapped.obsm[keys.probabilities] = _among(probabilities, is_new)
    mapped.uns[keys.prediction] = {
        "classes": classes,
        "alpha": float(alpha),
        "p_values": pd.DataFrame(p_values, index=mapped.obs_names[is_new].copy()),
        "scores": dict(calibration["scores"]),
    }
    return mapped if copy else None


def _calibration(mapped: AnnData, keys: Keys) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    entry = mapped.uns.get(keys.reference)
    if not isinstance(entry, Mapping) or IS_REFERENCE not in mapped.obs:
        msg = (
            f"mapped needs uns[{keys.reference!r}] and obs[{IS_REFERENCE!r}]: pass what sg.tl.map_samples(new, reference, key={keys.key!r}) "
            "returns"
        )
        raise KeyError(msg)
    if "calibration" not in entry:
        msg = "the reference was made with calibrate=False, so that nothing is known of held-out samples. Make it with sg.tl.make_reference(...)."
        raise ValueError(msg)
    is_new = ~mapped.obs[IS_REFERENCE].to_numpy(dtype=bool)
    if not is_new.any():
        msg = f"no sample is new: obs[{IS_REFERENCE!r}] is true for all"
        raise ValueError(msg)
    return dict(entry["calibration"]), is_new


def _warn_about_small(mapped: AnnData, is_new: NDArray[np.bool_]) -> None:
    sizes = mapped.obs[N_CELLS].to_numpy(dtype=np.int64)
    smallest = int(sizes[~is_new].min())
    small = np.flatnonzero(is_new & (sizes < smallest))
    if len(small):
        found = check.listed([f"{mapped.obs_names[i]} ({sizes[i]})" for i in small])
        msg = (
            f"{len(small)} new sample(s) have fewer cells than any of the reference ({smallest}): {found}. By chance they are further from "
            "all others, so that flags and probabilities may be wrong."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def _among(values: NDArray[np.float64], is_new: NDArray[np.bool_]) -> NDArray[np.float64]:
    found = np.full((len(is_new), *values.shape[1:]), np.nan)
    found[is_new] = values
    return found
