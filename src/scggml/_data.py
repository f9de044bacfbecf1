"""Checks of matrices: whose values NumPy sees as they are meant, and which are finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from . import _check as check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# how arrays of other libraries become NumPy's
_TO_NUMPY = {
    "cupy": "x.get()", "cupyx": "x.get()", "torch": "x.detach().cpu().numpy()", "numba": "x.copy_to_host()",
    "tensorflow": "x.numpy()", "jax": "numpy.asarray(x)", "jaxlib": "numpy.asarray(x)",
}  # fmt: skip


def as_plain(name: str, x: Any) -> Any:
    """Return a matrix without a mask that hides nothing; refuse hidden values, and arrays of other libraries."""
    if isinstance(x, np.ma.MaskedArray):
        n_hidden = int(np.ma.count_masked(x))
        if n_hidden:
            msg = (
                f"{name} is a masked array, with {n_hidden} of {x.size} values masked: distances cannot leave out "
                "single values. Make them NaN with .filled(numpy.nan) and impute them, or drop these cells or features."
            )
            raise ValueError(msg)
        return x.data
    library = type(x).__module__.partition(".")[0]
    if library in _TO_NUMPY or hasattr(x, "__cuda_array_interface__"):
        remedy = _TO_NUMPY.get(library, "copy it from the GPU to a NumPy array")
        msg = (
            f"{name} must be an array of NumPy or a sparse matrix of SciPy, found {type(x).__name__} of {library}. "
            f"Convert it: {remedy}."
        )
        raise TypeError(msg)
    return x


def frame_numbers(name: str, frame: pd.DataFrame) -> NDArray[Any]:
    """Return the numbers of a data frame, with NaN for missing ones of any type."""
    other = [
        f"{column} ({dtype})"
        for column, dtype in zip(frame.columns, frame.dtypes, strict=True)
        if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_complex_dtype(dtype)
    ]
    if other:
        msg = f"{name} must be numeric and real, found other columns: {check.listed(other)}. Convert or drop them."
        raise TypeError(msg)
    if any(isinstance(dtype, pd.api.extensions.ExtensionDtype) for dtype in frame.dtypes):
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return frame.to_numpy()


def check_finite(points: Any, feature_names: Sequence[str] | None, *, name: str) -> None:
    """Refuse NaN and infinity, with the features and the number of values. Stored points are read by blocks."""
    n_bad = np.zeros(points.shape[1], dtype=np.int64)
    for block in points.blocks() if hasattr(points, "blocks") else [points]:
        n_bad += _count_not_finite(block)
        del block  # before the next is read
    if not n_bad.any():
        return
    features = np.flatnonzero(n_bad)
    counts = n_bad[features]
    order = np.argsort(-counts, kind="stable")
    found = [
        f"{feature_names[features[i]] if feature_names is not None else f'feature {features[i]}'} ({counts[i]})"
        for i in order
    ]
    msg = (
        f"{name} has {int(n_bad.sum())} values that are NaN or infinite, in {len(features)} feature(s): "
        f"{check.listed(found)}. Remove or impute them first."
    )
    raise ValueError(msg)


def _count_not_finite(points: Any) -> Any:
    """Return how many values of each feature are NaN or infinite, (n_features,), or 0."""
    data = points.data if sp.issparse(points) else points
    with np.errstate(over="ignore", invalid="ignore"):
        total = data.sum(dtype=np.float64)
    if np.isfinite(total):  # one pass without a mask; an overflowing sum falls through to the exact test
        return 0
    bad = ~np.isfinite(data)
    columns = points.indices[bad] if sp.issparse(points) else np.nonzero(bad)[1]
    return np.bincount(columns, minlength=points.shape[1])
