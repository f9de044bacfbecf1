"""Classes of new samples, and which of them are outliers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._columns import sample_sizes
from scggml._anndata._distances import read_distances
from scggml._anndata._entries import CALIBRATION
from scggml._anndata._schema import read_entry
from scggml._anndata._slots import check_free, prediction_slots
from scggml._anndata._writing import check_writable, stored_result, writable
from scggml._arguments import SHARED, checked, number
from scggml._docs import shared_doc
from scggml._keys import IS_REFERENCE, N_CELLS, OUTLIER, OUTLIER_P, PREDICTED, Keys
from scggml._warnings import warn
from scggml.core._probabilities import class_probabilities, relative_class_scores
from scggml.reference._calibration import nearest_distances
from scggml.reference._novelty import outlier_probabilities

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@shared_doc
@checked(mapped=SHARED["pdata"], alpha=number(above=0, maximum=0.5))
def predict_samples(mapped: AnnData, *, key: str = "ggml", alpha: float = 0.05, copy: bool = False) -> AnnData | None:
    r"""Predict the classes of new samples, with probabilities, and flag outliers.

    **Probabilities.** The score of a class is the mean distance of a sample to its nearest samples of that class: 3 of
    the largest class, and the same fraction of the others, as in :func:`scggml.tl.cross_validate`. Let :math:`s_c` be
    minus this mean, divided by its average over all classes. Class c has the probability
    :math:`\propto \exp(\beta s_c)`. The inverse temperature :math:`\beta` maximises the likelihood of the samples held
    out by :func:`scggml.tl.make_reference`, with the same weight for each class and with Platt's smoothed targets
    :cite:p:`platt1999`, so that a few samples without an error do not give probabilities of one. Probabilities do not
    include a prior: they hold for a patient who is equally likely to be of any class. For other odds, multiply each by
    the prior of its class and divide by their sum.

    **Outliers.** The metric covers directions that separate the known classes, and principal components cover those in
    which patients of the reference vary. Neither covers a cell type or gene programme that none of these patients has.
    If the metric acts on principal components of genes, expression outside of the components is therefore tested as
    well. Each test compares a new sample with the held-out samples of the reference, see :func:`scggml.tl.map_samples`:

    - `distance`: the mean distance to the 3 nearest samples of any class, in units of the median distance;
    - `outside`: expression outside of the components that all cells of a sample share;
    - `new_cluster`: whether some of its cells differ there from its others, such as a new cell type;
    - `clusters`: whether a known cluster of its cells differs there from its others, such as a programme in one cell
      type. Clusters are those of the reference's cells, divided into two, four and eight, if there are 50 cells for
      each;
    - `composition`: the shares of these clusters.

    Each gives probabilities from Student's t interval for one more value, so that a dozen samples suffice; all but the
    distance allow for the sampling of cells. The smallest probability of a sample is compared with those of the
    held-out samples, each given all others, so that a fraction `alpha` of ordinary samples is flagged, however many
    tests there are.

    A disease that changes a few cells by no more than patients differ anyway is not detected, nor one that shifts
    proportions within their usual range. The absence of a flag does not prove a known disease.

    Parameters
    ----------
    mapped
        From :func:`scggml.tl.map_samples`, with a calibrated reference.
    key
        Key of the reference.
    alpha
        Flag samples with a p-value of at most this: the fraction of ordinary samples that will be flagged.
    %(copy)s

    Returns
    -------
    None, or a copy of `mapped` with `copy=True`. Sets the following fields; samples of the reference have
    missing values:

    `.obs["predicted"]` : `categorical`
        The class with the best score. It has the largest probability, unless held-out samples show no class at all.
    `.obs["outlier_p"]` : float64
        p-value.
    `.obs["outlier"]` : bool
        Whether it is at most `alpha`; False for samples of the reference.
    `.obsm[key + "_probabilities"]` : `numpy.ndarray` (n_samples, n_classes), float64
        Probability of each class.
    `.uns[key + "_prediction"]` : `dict`
        `classes` in the order of the probabilities; `alpha`; `p_values`, a data frame of the new samples with a
        p-value for each test of the list above, not corrected for their number; `scores`, how well held-out samples of
        the reference were predicted: `balanced_accuracy`, `log_loss` and `brier`, with those of equal probabilities;
        and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no calibration, `alpha` is out of range, or a field holds something other than an earlier result.
        Nothing has been written then.

    Warns
    -----
    UserWarning
        If new samples have fewer cells than all samples of the reference: their distances are longer by chance.

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
    check_writable(mapped, copy=copy)
    check_free(mapped, prediction_slots(key), "key", key)
    keys = Keys(key)
    calibration, is_new = _calibration(mapped, keys)
    matrix = read_distances(mapped, key).to_numpy()[np.ix_(is_new, ~is_new)]
    held, classes = calibration["held_out"], np.asarray(calibration["classes"], dtype=object)
    known = mapped.obs_names[~is_new]
    _check_known(known, held.index)
    _warn_about_small(mapped, is_new)

    codes = pd.Index(classes).get_indexer(held["label"].astype(str).loc[known])
    scores = relative_class_scores(matrix, codes)
    probabilities = class_probabilities(scores, float(calibration["inverse_temperature"]))
    known_values = {"distance": held["distance"].loc[known].to_numpy(dtype=np.float64)}
    new_values = {"distance": nearest_distances(matrix, len(codes)) / float(calibration["unit"])}
    if keys.novelty in mapped.obsm:
        for name, column in mapped.obsm[keys.novelty].items():
            values = column.to_numpy(dtype=np.float64)
            known_values[name], new_values[name] = values[~is_new], values[is_new]
    p, p_values = outlier_probabilities(known_values, new_values)

    mapped = writable(mapped, copy=copy)
    predicted = np.full(mapped.n_obs, None, dtype=object)
    predicted[is_new] = classes[scores.argmax(axis=1)]
    mapped.obs[PREDICTED] = pd.Categorical(predicted, categories=list(classes))
    mapped.obs[OUTLIER_P] = _among(p, is_new)
    mapped.obs[OUTLIER] = (mapped.obs[OUTLIER_P] <= alpha).to_numpy(dtype=bool)
    mapped.obsm[keys.probabilities] = _among(probabilities, is_new)
    mapped.uns[keys.prediction] = stored_result(
        classes=classes, alpha=float(alpha), p_values=pd.DataFrame(p_values, index=mapped.obs_names[is_new].copy()),
        scores=dict(calibration["scores"]),
    )  # fmt: skip
    return mapped if copy else None


def _check_known(known: pd.Index, held: pd.Index) -> None:
    """Refuse samples of the reference that are not all there."""
    if len(known) != len(held) or not known.isin(held).all():
        msg = (
            f"mapped holds {len(known)} samples of the reference, which has {len(held)}; not known: "
            f"{check.listed(known[~known.isin(held)])}; missing: {check.listed(held[~held.isin(known)])}. New samples "
            "may be left out, those of the reference not: map the new ones again with sg.tl.map_samples."
        )
        raise ValueError(msg)


def _calibration(mapped: AnnData, keys: Keys) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    entry = mapped.uns.get(keys.reference)
    if not isinstance(entry, Mapping) or not {IS_REFERENCE, N_CELLS} <= set(mapped.obs.columns):
        msg = (
            f"mapped needs uns[{keys.reference!r}], obs[{IS_REFERENCE!r}] and obs[{N_CELLS!r}]: pass what "
            f"sg.tl.map_samples(new, reference, key={keys.key!r}) returns, with these columns."
        )
        raise KeyError(msg)
    if "calibration" not in entry:
        msg = (
            "the reference was made with cv=None, without a calibration on held-out samples. Make it with "
            "sg.tl.make_reference(..., cv='auto')."
        )
        raise ValueError(msg)
    again = "Map the samples again with sg.tl.map_samples."
    where = f"uns[{keys.reference!r}]['calibration']"
    calibration = read_entry(entry["calibration"], CALIBRATION, where, again, "calibration")
    if not pd.api.types.is_bool_dtype(mapped.obs[IS_REFERENCE]):
        msg = f"obs[{IS_REFERENCE!r}] must be true or false, found {mapped.obs[IS_REFERENCE].dtype}. {again}"
        raise ValueError(msg)
    is_new = ~mapped.obs[IS_REFERENCE].to_numpy(dtype=bool)
    if not is_new.any():
        msg = f"no sample is new: obs[{IS_REFERENCE!r}] is true for all"
        raise ValueError(msg)
    return calibration, is_new


def _warn_about_small(mapped: AnnData, is_new: NDArray[np.bool_]) -> None:
    sizes = sample_sizes(mapped, "Map the samples again with sg.tl.map_samples.")
    smallest = int(sizes[~is_new].min())
    small = np.flatnonzero(is_new & (sizes < smallest))
    if len(small):
        found = check.listed([f"{mapped.obs_names[i]} ({sizes[i]})" for i in small])
        msg = (
            f"{len(small)} new sample(s) have fewer cells than any of the reference ({smallest}): {found}. Their "
            "distances are longer by chance, so that flags and probabilities may be wrong."
        )
        warn(msg)


def _among(values: NDArray[np.float64], is_new: NDArray[np.bool_]) -> NDArray[np.float64]:
    found = np.full((len(is_new), *values.shape[1:]), np.nan)
    found[is_new] = values
    return found
