"""What functions write to an AnnData, and where they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check

from ._on_disk import uncopied

if TYPE_CHECKING:
    from anndata import AnnData

# fields of entries of uns that are arrays, also of length one
_ARRAYS = frozenset((
    *("scale", "loss_history", "classes", "features", "fingerprint", "labels"),  # of a metric
    *("samples", "offsets", "weights", "genes", "names", "parts", "mean", "sd", "unit", "offset"),  # and its space
    *("variance", "n_clusters", "modalities", "n_features", "folds"),
))  # fmt: skip
_ARRAYS_WITHIN = {
    "params": frozenset(("classes", "names", "samples")),
    "learner": frozenset(),
    "best": frozenset(),
    "calibration": frozenset(("classes",)),
}


def check_writable(adata: AnnData, *, copy: bool) -> None:
    """Refuse what `writable` could not do, before any work is done."""
    if adata.isbacked and (copy or adata.is_view):
        found = (
            "copy=True cannot copy what is backed by a file"
            if copy
            else "adata is a view of a file, not to be written to"
        )
        msg = (
            f"{found}. Call adata.to_memory() first, which loads its cells, or give them a file of their own with "
            "adata.copy(filename=...)."
        )
        if copy and not adata.is_view:
            msg += " With copy=False, results are written to adata in memory, and the file stays as it is."
        raise ValueError(msg)
    in_files = uncopied(adata) if copy and not adata.is_view else []
    if in_files:
        msg = (
            f"copy=True cannot copy {check.listed(in_files)}, which anndata reads from a file. Call adata.to_memory() "
            "first, or pass copy=False: results are written to adata in memory, and the file stays as it is."
        )
        raise ValueError(msg)


def writable(adata: AnnData, *, copy: bool) -> AnnData:
    """Return what a function writes to: a copy, or `adata` itself, which stops being a view."""
    check_writable(adata, copy=copy)
    if copy:
        return adata.copy()
    if adata.is_view:
        adata._init_as_actual(adata.copy())
    return adata


def stored_params(**params: Any) -> dict[str, Any]:
    """Return parameters in a form that files can hold: without None, and of `rng` a seed only."""
    if "rng" in params:
        params["rng"] = int(params["rng"]) if isinstance(params["rng"], Integral) else None
    return {name: _storable(value) for name, value in params.items() if value is not None}


def stored_result(**found: Any) -> dict[str, Any]:
    """Return a result for `.uns`, with the version of scggml that wrote it; None stands for absent."""
    return {"version": version("scggml"), **{name: value for name, value in found.items() if value is not None}}


def _storable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _storable(part) for name, part in value.items() if part is not None}
    return value


def plain(value: Any, name: str = "") -> Any:
    """Return a stored value with Python's numbers and text.

    Files turn them into NumPy's, and R turns them into arrays of length one. Those that are arrays by nature stay so.

    Parameters
    ----------
    value
        What is stored.
    name
        Its name in the mapping that it was taken from.
    """
    if isinstance(value, Mapping):
        arrays = _ARRAYS_WITHIN.get(name, _ARRAYS)
        return {
            str(key): part if key in arrays and np.shape(part) == (1,) else plain(part, str(key))
            for key, part in value.items()
        }
    is_array = isinstance(value, np.generic | np.ndarray | pd.api.extensions.ExtensionArray)
    return np.asarray(value).item() if is_array and np.shape(value) in ((), (1,)) else value
