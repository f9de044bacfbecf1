"""Sketches: fewer, weighted points in the place of a measure's cells, and how far the measure moves by that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.cluster import kmeans_plusplus

from scggml.core.measures._measures import Measures, as_points
from scggml.core.measures._on_disk import StoredPoints, clouds, stacked
from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import n_threads, single_threaded_blas

from ._costs import cost_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points

_LLOYD_STEPS = 3  # ten more lower the error of the snapped centres by less than one percent
_BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True, eq=False)
class Sketch:
    """Cells in groups, each of which one point stands for.

    Weights and means are those of the cells at hand, so that a sketch of fewer cells needs no correction. Moving each
    cell to the point of its group is one way to transport a measure to its sketch. So under any metric the mean length
    of these moves is an upper bound on their Wasserstein-1 distance, and by the triangle inequality two such bounds
    together bound how far the distance of two sketches is from the distance of the measures.

    Parameters
    ----------
    groups
        Group of each cell, 0..n_points-1 through all measures and each with a cell, (n_cells,).
    offsets
        Boundaries of the groups of the measures, (n_measures + 1,).
    support
        Cell that stands for each group, (n_points,); None where the mean of its cells does.
    """

    groups: NDArray[np.int64]
    offsets: NDArray[np.int64]
    support: NDArray[np.int64] | None

    @classmethod
    def from_codes(
        cls,
        codes: NDArray[np.integer],
        n_measures: int,
        groups: NDArray[np.integer],
        is_support: NDArray[np.bool_] | None = None,
    ) -> Sketch:
        """Number groups, which are told apart within measures only, through all measures.

        Parameters
        ----------
        codes
            Measure of each cell, (n_cells,).
        n_measures
            Number of measures.
        groups
            Group of each cell within its measure, not negative, (n_cells,).
        is_support
            Which cells stand for their group, one of each, (n_cells,); None for means.
        """
        span = int(groups.max()) + 1
        found, numbered = np.unique(codes.astype(np.int64) * span + groups, return_inverse=True)
        offsets = np.searchsorted(found, np.arange(n_measures + 1) * span)
        if is_support is None:
            return cls(numbered, offsets, None)
        cells = np.flatnonzero(is_support)
        if not np.array_equal(np.sort(numbered[cells]), np.arange(len(found))):
            msg = "every group needs exactly one cell that stands for it"
            raise ValueError(msg)
        support = np.empty(len(found), dtype=np.int64)
        support[numbered[cells]] = cells
        return cls(numbered, offsets, support)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of points of each measure, (n_measures,)."""
        return np.diff(self.offsets)

    def measures(self, cells: Points) -> Measures:
        """Return the sketched measures at the features of all cells, (n_cells, n_features); CSR stays CSR.

        Of stored points, only those that are needed are loaded.
        """
        counts = np.bincount(self.groups, minlength=self.offsets[-1])
        totals = np.add.reduceat(counts, self.offsets[:-1])
        return Measures(self._points(as_points(cells)), self.offsets, counts / np.repeat(totals, self.sizes))

    def errors(self, cells: Points, cost: Literal["euclidean", "cityblock"] = "euclidean") -> NDArray[np.float64]:
        """Return the mean distance of a measure's cells to the points of their groups, (n_measures,)."""
        cells = as_points(cells)
        points = self._points(cells)
        moves = np.empty(len(self.groups))
        step = max(1, _BLOCK_ENTRIES // cells.shape[1])
        for start in range(0, len(moves), step):
            part = slice(start, start + step)
            difference = cells[part].astype(np.float64) - points[self.groups[part]].astype(np.float64)
            if cost == "cityblock":
                moves[part] = abs(difference).sum(axis=1)
            else:
                moves[part] = np.sqrt((difference * difference).sum(axis=1))
        counts = np.add.reduceat(np.bincount(self.groups, minlength=self.offsets[-1]), self.offsets[:-1])
        return np.add.reduceat(np.bincount(self.groups, moves, minlength=self.offsets[-1]), self.offsets[:-1]) / counts

    def _points(self, cells: Points) -> Points:
        if self.support is not None:
            return cells[self.support]
        if not isinstance(cells, StoredPoints):
            return _means(cells, self.groups).astype(cells.dtype)
        measure = np.searchsorted(self.offsets, self.groups, side="right") - 1
        rows = _rows_by_code(measure, len(self.offsets) - 1)
        means = [
            _means(own, self.groups[cells_of] - first).astype(cells.dtype)
            for own, cells_of, first in zip(clouds(cells, rows), rows, self.offsets[:-1], strict=True)
        ]
        return stacked(means)


def coresets(
    points: Points,
    codes: NDArray[np.integer],
    n_measures: int,
    n_points: int,
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
    progress: str | None = None,
) -> Sketch:
    """Choose at most `n_points` cells of each measure that stand for all its cells, close in Wasserstein-1 distance.

    k-means++ and a few Lloyd steps place centres, each centre gives way to the cell closest to it, and every cell then
    goes to the chosen cell closest to it. With weights by group, that is the optimal transport onto the chosen cells.

    Real cells rather than means: averaging takes the noise out of a sample, and with it a part of every distance that
    grows with the number of features; distances between chosen cells keep it.

    Parameters
    ----------
    points
        Features of each cell, (n_cells, n_features), dense, CSR or stored.
    codes
        Measure of each cell, 0..n_measures-1, (n_cells,).
    n_measures
        Number of measures.
    n_points
        Upper bound on the points of a measure; one with no more cells keeps them all.
    rng
        Source of the k-means++ starts, one child per measure.
    n_jobs
        Threads over measures; None takes an active `joblib.parallel_config`, else all cores. The result does not depend
        on it.
    progress
        Text of the progress bar, which appears after a few seconds; None for no bar.
    """
    points = as_points(points)
    rows = _rows_by_code(codes, n_measures)
    groups = np.empty(len(codes), dtype=np.int64)
    is_support = np.zeros(len(codes), dtype=bool)
    parallel = joblib.Parallel(n_jobs=n_threads(n_jobs), require="sharedmem", return_as="generator")
    tasks = (
        joblib.delayed(_coreset)(own, n_points, child)
        for own, child in zip(clouds(points, rows), rng.spawn(n_measures), strict=True)
    )
    # thousands of small products, which the threads of BLAS slow down by a factor of three
    with progress_bar(n_measures, progress, "sample") as bar, single_threaded_blas:
        for own, (group, support) in zip(rows, parallel(tasks), strict=True):
            groups[own] = group
            is_support[own[support]] = True
            bar.update()
    return Sketch.from_codes(codes, n_measures, groups, is_support)


def _rows_by_code(codes: NDArray[np.integer], n_measures: int) -> list[NDArray[np.int64]]:
    sizes = np.bincount(codes, minlength=n_measures)
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])


def _coreset(points: Points, n_points: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the group of each point, and which points stand for the groups."""
    x = points.astype(np.float64, copy=False)
    if x.shape[0] <= n_points:
        return np.arange(x.shape[0]), np.arange(x.shape[0])
    centres = kmeans_plusplus(x, n_points, random_state=int(rng.integers(2**31)))[0]
    for _ in range(_LLOYD_STEPS):
        centres = _means(x, np.unique(_nearest(x, centres)[0], return_inverse=True)[1])
    nearest, distance = _nearest(x, centres)
    order = np.lexsort((distance, nearest))
    support = np.sort(order[np.unique(nearest[order], return_index=True)[1]])
    used, groups = np.unique(_nearest(x, x[support])[0], return_inverse=True)
    return groups, support[used]  # cells with the same features share a group: the other's would be empty


def _nearest(x: Points, y: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the row of `y` that is closest to each row of `x`, and its Euclidean distance."""
    nearest, distance = np.empty(x.shape[0], dtype=np.int64), np.empty(x.shape[0])
    step = max(1, _BLOCK_ENTRIES // y.shape[0])
    for start in range(0, x.shape[0], step):
        costs = cost_matrix(x[start : start + step], y, "euclidean")
        nearest[start : start + step] = costs.argmin(axis=1)
        distance[start : start + step] = costs.min(axis=1)
    return nearest, distance


def _means(x: Points, groups: NDArray[np.int64]) -> Points:
    """Return the mean row of each group, (n_groups, n_features), in float64; CSR stays CSR."""
    weights = 1.0 / np.bincount(groups)[groups]
    average = sp.csr_array((weights, (groups, np.arange(len(groups)))))
    return average @ x
