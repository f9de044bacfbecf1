"""Checks of matrices: whose values NumPy sees as they are meant, and which are finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from . import _check as check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

LARGEST = 1e100  # far from where squares, and sums of many, become infinite
_SMALLEST = 1e-100  # far from where squares of what such values differ by become zero
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


def check_values(points: Any, feature_names: Sequence[str] | None, *, name: str) -> None:
    """Refuse what `check_finite` and `check_squares` refuse, in one pass over the points."""
    n_bad, n_extreme = _totals(points, _count_not_finite, _count_extremes)
    _refuse_not_finite(n_bad, feature_names, name)
    if n_extreme.any():
        _refuse_squares(points, feature_names, name)


def check_finite(points: Any, feature_names: Sequence[str] | None, *, name: str) -> None:
    """Refuse NaN and infinity, with the features and the number of values. Stored points are read by blocks."""
    (n_bad,) = _totals(points, _count_not_finite)
    _refuse_not_finite(n_bad, feature_names, name)


def check_squares(points: Any, feature_names: Sequence[str] | None, *, name: str) -> None:
    """Refuse features with values too large to be squared, or with none that is large enough.

    Moments and distances are made of squares.

    Parameters
    ----------
    points
        Finite features of all cells, dense, CSR or stored, (n_cells, n_features). Stored points are read by blocks.
    feature_names
        Names of the features, or None.
    name
        What messages call the points.
    """
    (n_extreme,) = _totals(points, _count_extremes)
    if n_extreme.any():
        _refuse_squares(points, feature_names, name)


def _totals(points: Any, *counts: Callable[[Any], Any]) -> list[NDArray[np.int64]]:
    """Return the sums over all blocks of rows of counts of the values of each feature, (n_features,) each."""
    totals = [np.zeros(points.shape[1], dtype=np.int64) for _ in counts]
    for block in _blocks(points):
        for total, count in zip(totals, counts, strict=True):
            total += count(block)
        del block  # before the next is read
    return totals


def _blocks(points: Any) -> Any:
    return points.blocks() if hasattr(points, "blocks") else [points]


def _feature(names: Sequence[str] | None, i: Any) -> str:
    return f"feature {i}" if names is None else names[i]


def _refuse_not_finite(n_bad: NDArray[np.int64], feature_names: Sequence[str] | None, name: str) -> None:
    if not n_bad.any():
        return
    features = np.flatnonzero(n_bad)
    order = features[np.argsort(-n_bad[features], kind="stable")]
    found = check.listed([f"{_feature(feature_names, i)} ({n_bad[i]})" for i in order])
    msg = (
        f"{name} has {int(n_bad.sum())} values that are NaN or infinite, in {len(features)} feature(s): "
        f"{found}. Remove or impute them first."
    )
    raise ValueError(msg)


def _refuse_squares(points: Any, feature_names: Sequence[str] | None, name: str) -> None:
    """Refuse features that hold extreme values, if these are all there is or too large."""
    largest = np.zeros(points.shape[1])
    for block in _blocks(points):
        largest = np.maximum(largest, _largest(block))
        del block
    for bad, what in (
        (largest > LARGEST, f"values above {LARGEST:g} in size"),
        ((largest < _SMALLEST) & (largest > 0), f"no values above {_SMALLEST:g} in size, but not only zeros,"),
    ):
        if bad.any():
            features = np.flatnonzero(bad)
            found = check.listed([f"{_feature(feature_names, i)} ({largest[i]:.3g})" for i in features])
            msg = (
                f"{name} has {what} in {len(features)} feature(s): {found}. Distances need their squares, which "
                "are no numbers. Correct them, or bring the features to another unit."
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


def _count_extremes(points: Any) -> Any:
    """Return how many values of each feature are too large or, beside zeros, too small to be squared, or 0."""
    data = points.data if sp.issparse(points) else points
    if data.dtype.kind != "f" or data.dtype.itemsize < 8 or data.size == 0:  # other types hold no such values
        return 0
    extreme = (data < _SMALLEST) & (data > -_SMALLEST) & (data != 0)
    if data.max() > LARGEST or data.min() < -LARGEST:
        extreme |= np.abs(data) > LARGEST
    if not extreme.any():
        return 0
    columns = points.indices[extreme] if sp.issparse(points) else np.nonzero(extreme)[1]
    return np.bincount(columns, minlength=points.shape[1])


def _largest(points: Any) -> NDArray[np.float64]:
    """Return the largest absolute value of each feature, (n_features,)."""
    if not sp.issparse(points):
        return np.abs(points).max(axis=0, initial=0.0).astype(np.float64)
    largest = np.zeros(points.shape[1])
    np.maximum.at(largest, points.indices, np.abs(points.data))
    return largest
