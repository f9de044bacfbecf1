"""New patients beside those of the reference: their predictions and flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._anndata._columns import sample_sizes
from scggml._anndata._distances import read_distances
from scggml._anndata._entries import PREDICTION, stored_entry
from scggml._anndata._slots import prediction_slots
from scggml._keys import IS_REFERENCE, OUTLIER, OUTLIER_P, PREDICTED, Keys

from ._figures import map_figure, positions_on_map
from ._texts import TESTS, number

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._figures import Palette


@dataclass(frozen=True)
class NewPatients:
    """New patients, and what the page says of them.

    Parameters
    ----------
    rows
        One for each new patient.
    figure
        Their map, beside the reference.
    has_predictions
        Whether classes were predicted.
    alpha
        Fraction of ordinary patients that is flagged.
    scores
        How well patients of the reference were predicted while they were held out.
    """

    rows: list[dict[str, Any]]
    figure: dict[str, Any]
    has_predictions: bool
    alpha: float
    scores: dict[str, Any]

    @property
    def n_flagged(self) -> int:
        """How many are flagged."""
        return sum(row["outlier"] for row in self.rows)


def read_new_patients(mapped: AnnData, pdata: AnnData, key: str, palette: Palette) -> NewPatients:
    """Return the new patients of `tl.map_samples`, whose reference must hold the samples of `pdata`."""
    is_new = _are_new(mapped, pdata)
    read_distances(mapped, key)
    has_predictions = bool(prediction_slots(key).own(mapped)) and {PREDICTED, OUTLIER, OUTLIER_P} <= set(mapped.obs)
    entry: dict[str, Any] = {}
    if has_predictions:
        how = f"sg.tl.predict_samples(mapped, key={key!r})"
        entry = stored_entry(mapped, Keys(key).prediction, PREDICTION, "prediction", how)
    sizes = sample_sizes(mapped, "Map the samples again with sg.tl.map_samples.")
    rows = [_row(mapped, int(i), sizes, key, entry) for i in np.flatnonzero(is_new)]
    names = [str(name) for name in mapped.obs_names]
    labels = dict(zip(map(str, pdata.obs_names), palette.texts, strict=True))
    by_name = {row["name"]: row for row in rows}
    groups, hover = [], []
    for name, new in zip(names, is_new, strict=True):
        group = by_name[name]["predicted"] if new else labels[name]
        groups.append(group)
        hover.append(_line(by_name[name]) if new else (group or "no label"))
    stored = mapped.obsm.get("X_mds")
    at = positions_on_map(mapped, key) if stored is None or np.ndim(stored) != 2 or stored.shape[1] < 2 else stored
    figure = map_figure(np.asarray(at, dtype=float)[:, :2], names, palette, new=is_new, groups=groups, hover=hover)
    return NewPatients(rows, figure, has_predictions, float(entry.get("alpha", np.nan)), dict(entry.get("scores", {})))


def _are_new(mapped: AnnData, pdata: AnnData) -> Any:
    if IS_REFERENCE not in mapped.obs or mapped.obs[IS_REFERENCE].dtype != bool:
        msg = f"mapped needs obs[{IS_REFERENCE!r}], true or false: pass what sg.tl.map_samples(new, reference) returns"
        raise ValueError(msg)
    is_new = ~mapped.obs[IS_REFERENCE].to_numpy()
    known, own = set(mapped.obs_names[~is_new].astype(str)), set(pdata.obs_names.astype(str))
    if known != own:
        msg = (
            "the reference of mapped must hold the samples of pdata, found others: "
            f"{check.listed(sorted(known - own))}; missing: {check.listed(sorted(own - known))}. Map new samples to "
            "the reference of this cohort."
        )
        raise ValueError(msg)
    if not is_new.any():
        msg = f"no sample of mapped is new: obs[{IS_REFERENCE!r}] is true for all. Leave mapped out."
        raise ValueError(msg)
    return is_new


def _row(mapped: AnnData, i: int, sizes: NDArray[np.int64], key: str, entry: dict[str, Any]) -> dict[str, Any]:
    obs = mapped.obs.iloc[i]
    row: dict[str, Any] = {
        "name": str(mapped.obs_names[i]), "n_cells": int(sizes[i]),
        "predicted": None, "classes": [], "p": None, "outlier": False, "why": None,
    }  # fmt: skip
    if not entry:
        return row
    shares = np.asarray(mapped.obsm[Keys(key).probabilities], dtype=float)[i]
    ranked = np.argsort(-shares, kind="stable")
    classes = [str(name) for name in entry["classes"]]
    row |= {
        "predicted": str(obs[PREDICTED]), "p": float(obs[OUTLIER_P]), "outlier": bool(obs[OUTLIER]),
        "classes": [{"name": classes[c], "share": float(shares[c])} for c in ranked],
    }  # fmt: skip
    tests = entry.get("p_values")
    if row["outlier"] and not isinstance(tests, Mapping) and tests is not None and row["name"] in tests.index:
        smallest = tests.loc[row["name"]].astype(float).idxmin()
        row["why"] = TESTS.get(str(smallest), str(smallest))
    return row


def _line(row: dict[str, Any]) -> str:
    if row["predicted"] is None:
        return "new patient"
    flag = ", outlier" if row["outlier"] else ""
    return f"new; predicted {row['predicted']} ({number(100 * row['classes'][0]['share'], 0)} %){flag}"
