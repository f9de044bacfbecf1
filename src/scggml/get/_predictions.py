"""Predictions of held-out and of new samples as a data frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml._anndata._entries import PREDICTION, stored_entry, warn_about_label
from scggml._anndata._schema import Numbers, check_entry
from scggml._arguments import checked
from scggml._keys import IS_REFERENCE, OUTLIER, OUTLIER_P, PREDICTED, Keys

from ._scores import stored_scores

if TYPE_CHECKING:
    from anndata import AnnData


@checked()
def predictions(adata: AnnData, *, key: str = "ggml") -> pd.DataFrame:
    """Return what was predicted of held-out samples, or of new ones.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.cross_validate`; or samples, after :func:`scggml.tl.predict_samples`.
    key
        Key of the results: `.uns[key + "_cross_validation"]`, or `.uns[key + "_prediction"]`.

    Returns
    -------
    A data frame. `attrs["label_key"]` names the label.

    Held-out samples have one row per `method`, `classifier`, `repeat`, `fold` and `sample`, with `donor`, `label` and
    `predicted`, and `correct`, whether these are equal. `score: <class>` says how well each class fits; it is no
    calibrated probability, and missing for predictions of the batch. `separation` is the log of the mean distance to
    the other classes over that to the own class. Ordinal and continuous labels have `value` and `predicted_value`
    instead of `correct` and scores.

    New samples have one row each, by name: the `label`, missing if it is not known; `predicted`; `probability:
    <class>`; `outlier_p` and `outlier`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If nothing was predicted.

    Warns
    -----
    UserWarning
        If the metric was learned from another label since.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> _ = sg.tl.cross_validate(adata, "sample", "label", methods=["ggml"], cv=5, rng=0)
    >>> table = sg.get.predictions(adata).query("classifier == 'class_mean'")
    >>> table.sort_values("sample")[["sample", "label", "predicted", "correct"]].head(2)
           sample    label predicted  correct
    0   class0_00  class_0   class_0     True
    36  class0_01  class_0   class_0     True
    """
    return _of_new(adata, key) if Keys(key).prediction in adata.uns else _held_out(adata, key)


def _held_out(adata: AnnData, key: str) -> pd.DataFrame:
    entry = stored_scores(adata, key)
    warn_about_label(adata, key, entry, "sg.tl.cross_validate")
    table: pd.DataFrame = entry["predictions"].copy()
    if "value" not in table:
        correct = table["label"].astype(str) == table["predicted"].astype(str)
        table.insert(list(table.columns).index("predicted") + 1, "correct", correct)
    table = table.rename(columns={f"score_{c}": f"score: {name}" for c, name in enumerate(entry["classes"])})
    table.attrs["label_key"] = entry["params"].get("label_key")
    return table


def _of_new(adata: AnnData, key: str) -> pd.DataFrame:
    keys = Keys(key)
    how = f"sg.tl.predict_samples(mapped, key={key!r})"
    entry = stored_entry(adata, keys.prediction, PREDICTION, "prediction", how)
    missing = [f"obs[{name!r}]" for name in (IS_REFERENCE, PREDICTED, OUTLIER_P, OUTLIER) if name not in adata.obs]
    missing += [f"obsm[{keys.probabilities!r}]"] if keys.probabilities not in adata.obsm else []
    if missing:
        msg = f"{missing[0]}, which sg.tl.predict_samples writes, does not exist. Run {how} again."
        raise KeyError(msg)
    classes = [str(name) for name in entry["classes"]]
    is_new = ~adata.obs[IS_REFERENCE].to_numpy(dtype=bool)
    probabilities = np.asarray(adata.obsm[keys.probabilities])[is_new]
    wanted = Numbers((int(is_new.sum()), len(classes)), minimum=0)
    check_entry(probabilities, wanted, f"obsm[{keys.probabilities!r}]", f"Run {how} again.")
    label_key, obs = _label_key(adata, keys), adata.obs[is_new]
    table = pd.DataFrame({
        "label": obs[label_key] if label_key in obs else pd.Series(None, index=obs.index, dtype=object),
        PREDICTED: obs[PREDICTED],
        **{f"probability: {name}": probabilities[:, c] for c, name in enumerate(classes)},
        OUTLIER_P: obs[OUTLIER_P],
        OUTLIER: obs[OUTLIER],
    })  # fmt: skip
    table.attrs["label_key"] = label_key
    return table


def _label_key(adata: AnnData, keys: Keys) -> str | None:
    reference = adata.uns.get(keys.reference)
    params = reference.get("params") if isinstance(reference, Mapping) else None
    label = params.get("label_key") if isinstance(params, Mapping) else None
    return None if label is None else str(label)
