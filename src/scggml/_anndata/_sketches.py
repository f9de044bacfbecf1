"""Sketches as `pp.sketch` wrote them, checked against the cells that are there now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._keys import N_POINTS, SketchKeys
from scggml.core.transport._sketch import Sketch

from ._entries import SKETCH
from ._schema import read_entry
from ._writing import plain

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_MAX_GROUP = np.iinfo(np.int32).max  # the type in which groups are written


def read_sketch(
    adata: AnnData, sketch_key: str, sample_key: str, names: NDArray[np.object_], codes: NDArray[np.int64]
) -> Sketch:
    """Return the sketch of the samples `names` (n_samples,), to which the cells belong by `codes` (n_obs,)."""
    keys = SketchKeys(sketch_key)
    params = _params(sketch_key, adata.uns)
    if params["sample_key"] != sample_key:
        msg = (
            f"sketch_key={check.shown(sketch_key)} is a sketch of the samples in {params['sample_key']!r}, not of "
            f"those in sample_key={sample_key!r}. Run sg.pp.sketch(adata, {sample_key!r}, key_added=...) for these."
        )
        raise ValueError(msg)
    groups = _column(sketch_key, keys.groups, adata.obs, "iu")
    if params["method"] == "cell_type":
        return Sketch.from_codes(codes, len(names), groups)
    is_support = _column(sketch_key, keys.support, adata.obs, "b")
    _check_support(sketch_key, sample_key, names, codes, groups, is_support)
    return Sketch.from_codes(codes, len(names), groups, is_support)


def sketches_of(adata: AnnData, sample_key: str) -> dict[str, int]:
    """Return the keys of the sketches of these samples, and how many points their largest sample has."""
    found = {key: plain(entry) for key, entry in adata.uns.items() if SKETCH.fault(entry, {}) is None}
    return {
        key: int(entry["samples"][N_POINTS].max())
        for key, entry in found.items()
        if entry["params"]["sample_key"] == sample_key and "samples" in entry
    }


def has_sketch(adata: AnnData, sketch_key: str) -> bool:
    """Whether there is something of a sketch of this key."""
    return sketch_key in adata.uns or sketch_key in adata.obs.columns


def _params(sketch_key: str, uns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of a sketch, or say how to make one."""
    if sketch_key not in uns:
        msg = (
            f"there is no sketch in uns[{check.shown(sketch_key)}]. Run sg.pp.sketch(adata, sample_key, "
            f"key_added={check.shown(sketch_key)}) "
            "first. If anndata.concat dropped the entry, copy it from one of the parts."
        )
        raise KeyError(msg)
    entry = uns[sketch_key]
    params = entry.get("params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping) or not {"sample_key", "method"} <= set(params):
        msg = f"uns[{check.shown(sketch_key)}] is not a sketch. Pass the key_added of sg.pp.sketch."
        raise ValueError(msg)
    found: dict[str, Any] = read_entry(entry, SKETCH, f"uns[{sketch_key!r}]", "Run sg.pp.sketch again.")["params"]
    return found


def _column(sketch_key: str, column: str, obs: pd.DataFrame, kinds: str) -> NDArray[Any]:
    """Return a column of a sketch, of one of the kinds of numpy, not negative and without missing values."""
    again = "Run sg.pp.sketch again."
    if column not in obs.columns:
        msg = f"sketch_key={check.shown(sketch_key)} needs obs[{column!r}], which is missing. {again}"
        raise KeyError(msg)
    missing = obs[column].isna()
    if missing.any():
        msg = (
            f"obs[{column!r}] has missing values in {int(missing.sum())} of {len(missing)} cells, first "
            f"{obs.index[missing.to_numpy()][0]!r}: cells that joined after the sketch was made. {again}"
        )
        raise ValueError(msg)
    values = obs[column].to_numpy()
    if values.dtype.kind not in kinds or values.min() < 0 or values.max() > _MAX_GROUP:
        found = f"{obs[column].dtype} values from {values.min()!r} to {values.max()!r}"
        msg = f"obs[{column!r}] is not what sg.pp.sketch wrote, found {found}. {again}"
        raise ValueError(msg)
    return values


def _check_support(
    sketch_key: str,
    sample_key: str,
    names: NDArray[np.object_],
    codes: NDArray[np.integer],
    groups: NDArray[np.integer],
    is_support: NDArray[np.bool_],
) -> None:
    """Refuse groups of cells without the one cell that stands for them."""
    table = pd.DataFrame({"sample": codes, "group": groups, "support": is_support})
    n_support = table.groupby(["sample", "group"])["support"].sum()
    for wrong, what in ((n_support == 0, "no"), (n_support > 1, "more than one")):
        if wrong.any():
            found = zip(*np.unique(n_support.index[wrong].get_level_values("sample"), return_counts=True), strict=True)
            msg = (
                f"sketch_key={check.shown(sketch_key)} has {what} support cell in {int(wrong.sum())} group(s), of the "
                f"samples {check.listed([f'{names[i]} ({count})' for i, count in found])}: cells were dropped, or "
                f"obs[{sample_key!r}] was changed, after the sketch was made. Run sg.pp.sketch again."
            )
            raise ValueError(msg)
