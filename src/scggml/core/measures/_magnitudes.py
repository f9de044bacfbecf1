"""Which features can be squared: moments and distances are made of squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ._measures import Points

_LARGEST = 1e100  # far from where squares, and sums of many, become infinite
_SMALLEST = 1e-100  # far from where squares of what such values differ by become zero
_MAX_LISTED = 5


def check_squares(points: Points, feature_names: Sequence[str] | None, *, name: str) -> None:
    """Refuse features with values too large to be squared, or with none that is large enough.

    Parameters
    ----------
    points
        Finite features of all cells, dense, CSR or stored, (n_cells, n_features). Stored points are read by blocks.
    feature_names
        Names of the features, or None.
    name
        What messages call the points.
    """
    suspect = np.zeros(points.shape[1], dtype=bool)
    for block in _blocks(points):
        suspect |= _with_extremes(block)
        del block  # before the next is read
    if not suspect.any():
        return
    largest = np.zeros(points.shape[1])
    for block in _blocks(points):
        largest = np.maximum(largest, _largest(block))
        del block
    for bad, what in (
        (largest > _LARGEST, f"values above {_LARGEST:g} in size"),
        ((largest < _SMALLEST) & (largest > 0), f"no values above {_SMALLEST:g} in size, but not only zeros,"),
    ):
        if bad.any():
            features = np.flatnonzero(bad)
            found = ", ".join(
                f"{f'feature {i}' if feature_names is None else feature_names[i]} ({largest[i]:.3g})"
                for i in features[:_MAX_LISTED]
            )
            more = f" and {len(features) - _MAX_LISTED} more" if len(features) > _MAX_LISTED else ""
            msg = (
                f"{name} has {what} in {len(features)} feature(s): {found}{more}. Distances need their squares, which "
                "are no numbers. Correct them, or bring the features to another unit."
            )
            raise ValueError(msg)


def _blocks(points: Points) -> Any:
    return points.blocks() if hasattr(points, "blocks") else [points]


def _with_extremes(points: Points) -> NDArray[np.bool_]:
    """Return which features have a value, beside zeros, that is too large or too small to be squared."""
    data = points.data if sp.issparse(points) else points
    found = np.zeros(points.shape[1], dtype=bool)
    if data.dtype.kind != "f" or data.dtype.itemsize < 8 or data.size == 0:  # other types hold no such values
        return found
    extreme = (data < _SMALLEST) & (data > -_SMALLEST) & (data != 0)
    if data.max() > _LARGEST or data.min() < -_LARGEST:
        extreme |= np.abs(data) > _LARGEST
    if extreme.any():
        found[points.indices[extreme] if sp.issparse(points) else extreme.any(axis=0)] = True
    return found


def _largest(points: Points) -> NDArray[np.float64]:
    """Return the largest absolute value of each feature, (n_features,)."""
    if not sp.issparse(points):
        return np.abs(points).max(axis=0, initial=0.0).astype(np.float64)
    largest = np.zeros(points.shape[1])
    np.maximum.at(largest, points.indices, np.abs(points.data))
    return largest
