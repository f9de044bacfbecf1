"""Ragged point clouds with weights: one discrete probability measure per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from ._on_disk import StoredPoints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Points: TypeAlias = Any  # NDArray[np.floating], csr_array (scipy.sparse has no types), or StoredPoints where said


def as_points(x: object) -> Points:
    """Return `x` as a two-dimensional float array or CSR array; float32 stays float32, a CSR array is not copied.

    Stored points stay where they are; blocks of their rows come as such arrays.
    """
    if isinstance(x, StoredPoints):
        return x
    if sp.issparse(x):
        csr = sp.csr_array(x)
        if (
            not csr.has_canonical_format
        ):  # a value may be stored in parts, which must be added up before they are squared
            csr = csr.copy()
            csr.sum_duplicates()
        return csr if np.issubdtype(csr.dtype, np.floating) else csr.astype(np.float64)
    dense = np.asarray(x)
    if dense.dtype not in (np.float32, np.float64):
        dense = dense.astype(np.float64)
    if dense.ndim != 2:
        msg = f"points must be two-dimensional (points x features), found {dense.ndim} dimension(s)"
        raise ValueError(msg)
    return dense


@dataclass(frozen=True, eq=False)
class Measures:
    """Discrete measures stored back to back.

    Parameters
    ----------
    points
        Support points of all measures, (n_points, n_features), dense or CSR; measure `i` owns the rows
        `offsets[i]:offsets[i + 1]`.
    offsets
        Row boundaries, (n_measures + 1,).
    weights
        Mass of each point, (n_points,); the masses of one measure sum to one.
    """

    points: Points
    offsets: NDArray[np.int64]
    weights: NDArray[np.float64]

    def __post_init__(self) -> None:
        n_points = self.points.shape[0]
        sizes = np.diff(self.offsets)
        if self.offsets[0] != 0 or self.offsets[-1] != n_points or self.weights.shape != (n_points,):
            msg = f"offsets must run from 0 to {n_points} and weights have one entry per point"
            raise ValueError(msg)
        if (sizes < 1).any():
            msg = f"every measure needs at least one point, measure {int(np.argmin(sizes))} has {int(sizes.min())}"
            raise ValueError(msg)
        if not np.isfinite(self.weights).all() or (self.weights < 0).any():
            msg = "weights must be finite and not negative"
            raise ValueError(msg)
        totals = np.add.reduceat(self.weights, self.offsets[:-1])
        if not np.allclose(totals, 1.0, rtol=0, atol=1e-9):
            worst = int(np.argmax(abs(totals - 1)))
            msg = f"the weights of measure {worst} sum to {totals[worst]:.6g} instead of 1"
            raise ValueError(msg)

    @classmethod
    def from_arrays(cls, arrays: Sequence[object], weights: Sequence[object] | None = None) -> Measures:
        """Stack one (n_i, n_features) array per measure; weights are uniform unless given, and normalised to one."""
        clouds = [as_points(x) for x in arrays]
        if not clouds:
            msg = "at least one measure is needed, found an empty list"
            raise ValueError(msg)
        widths = {x.shape[1] for x in clouds}
        if len(widths) > 1:
            msg = f"all samples must have the same number of features, found {sorted(widths)}"
            raise ValueError(msg)
        sizes = np.array([x.shape[0] for x in clouds])
        points = sp.csr_array(sp.vstack(clouds)) if any(sp.issparse(x) for x in clouds) else np.concatenate(clouds)
        mass = _uniform(sizes) if weights is None else np.concatenate([_normalised(w) for w in weights])
        return cls(points, np.concatenate([[0], np.cumsum(sizes)]), mass)

    @classmethod
    def from_codes(cls, points: object, codes: NDArray[np.integer], n_measures: int) -> Measures:
        """Group the rows of one matrix by `codes` in 0..n_measures-1; uniform weights, row order within a measure kept.

        Stored points are read into memory, once.
        """
        order = np.argsort(codes, kind="stable")
        sizes = np.bincount(codes, minlength=n_measures)
        rows = as_points(points)
        if isinstance(rows, StoredPoints):
            rows = rows.load(order)
        elif not np.array_equal(order, np.arange(len(order))):
            rows = rows[order]
        return cls(rows, np.concatenate([[0], np.cumsum(sizes)]), _uniform(sizes))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of points of each measure, (n_measures,)."""
        return np.diff(self.offsets)

    @property
    def are_uniform(self) -> bool:
        """Whether all points of a measure weigh alike."""
        return bool(np.allclose(self.weights * np.repeat(self.sizes, self.sizes), 1.0))

    @property
    def n_features(self) -> int:
        """Width of the points."""
        return int(self.points.shape[1])

    def __getitem__(self, i: int) -> tuple[Points, NDArray[np.float64]]:
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return self.points[rows], self.weights[rows]

    def with_points(self, points: Points) -> Measures:
        """Return the same measures at other positions, for example projected ones."""
        return Measures(points, self.offsets, self.weights)

    def take(self, indices: NDArray[np.integer]) -> Measures:
        """Return the measures at these positions, in this order; a position may come more than once."""
        sizes = self.sizes[indices]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][indices] - offsets[:-1], sizes)
        return Measures(self.points[rows], offsets, self.weights[rows])

    def concat(self, other: Measures) -> Measures:
        """Return these measures followed by those of `other`."""
        stack = sp.vstack if sp.issparse(self.points) or sp.issparse(other.points) else np.concatenate
        points = stack([self.points, other.points])
        return Measures(
            sp.csr_array(points) if sp.issparse(points) else points,
            np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]),
            np.concatenate([self.weights, other.weights]),
        )

    def scaled(self, factor: NDArray[np.float64]) -> Measures:
        """Return the same measures with each feature multiplied by `factor` (n_features,); CSR stays CSR."""
        points = self.points * factor
        return self.with_points(sp.csr_array(points) if sp.issparse(points) else points)

    def thinned(self, n_points: int) -> Measures:
        """Return the measures with at most `n_points` points each, evenly spaced in stored order, and weights."""
        rows = [
            start + (np.arange(min(size, n_points)) * size) // min(size, n_points)
            for start, size in zip(self.offsets[:-1], self.sizes, strict=True)
        ]
        sizes = np.minimum(self.sizes, n_points)
        if np.array_equal(sizes, self.sizes):
            return self
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        kept = np.concatenate(rows)
        totals = np.add.reduceat(self.weights[kept], offsets[:-1])
        return Measures(self.points[kept], offsets, self.weights[kept] / np.repeat(totals, sizes))

    def drawn(self, n_points: int, rng: np.random.Generator) -> Measures:
        """Return the measures with at most `n_points` points each, drawn without replacement; uniform weights."""
        rows = [
            np.sort(start + rng.permutation(size)[:n_points])
            for start, size in zip(self.offsets[:-1], self.sizes, strict=True)
        ]
        sizes = np.minimum(self.sizes, n_points)
        return Measures(self.points[np.concatenate(rows)], np.concatenate([[0], np.cumsum(sizes)]), _uniform(sizes))

    def restricted(self, mask: NDArray[np.bool_]) -> Measures:
        """Return the measures without the points outside `mask` (n_points,), which must have no mass."""
        return Measures(self.points[mask], np.concatenate([[0], np.cumsum(mask)])[self.offsets], self.weights[mask])

    def split(self) -> list[Points]:
        """Return the points of each measure as a list of (n_i, n_features) arrays."""
        return [self[i][0] for i in range(len(self))]


def _uniform(sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.repeat(1.0 / np.maximum(sizes, 1), sizes)


def _normalised(weights: object) -> NDArray[np.float64]:
    w = np.asarray(weights, dtype=np.float64)
    total = w.sum()
    if not np.isfinite(total) or total <= 0 or (w < 0).any():
        msg = f"weights must be finite, not negative and have a positive sum, found a sum of {total:.6g}"
        raise ValueError(msg)
    return w / total
