"""Transport plans of many pairs, and what follows from them by sums over their entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scggml.core.measures._blocks import column_blocks
from scggml.core.measures._sparse import times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points


@dataclass(frozen=True, eq=False)
class Plans:
    """Sparse transport plans of many pairs, back to back.

    Parameters
    ----------
    offsets
        Entry boundaries of the pairs, (n_pairs + 1,).
    rows, cols
        Rows of `Measures.points` that an entry connects, (n_entries,).
    mass
        Mass moved, (n_entries,); the entries of one pair sum to one.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    mass: NDArray[np.float64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of entries of each pair, (n_pairs,)."""
        return np.diff(self.offsets)

    def edge_lengths(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Euclidean length of each entry at the given points, (n_entries,)."""
        lengths = np.empty(len(self.mass))
        for part in column_blocks(points.shape[1], len(lengths), budget=2_000_000):
            difference = points[self.rows[part]] - points[self.cols[part]]
            lengths[part] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        return lengths

    def sum_by_pair(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `sum(mass * value)` over the entries of each pair, (n_pairs,)."""
        return np.add.reduceat(self.mass * values, self.offsets[:-1])

    def moved(self, rows: NDArray[np.int64]) -> Plans:
        """Return the same plans between other rows of points: row `i` becomes `rows[i]`."""
        return replace(self, rows=rows[self.rows], cols=rows[self.cols])

    def of_pairs(self, pair_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mass of each entry times the weight of its pair, (n_entries,)."""
        return np.repeat(pair_weights, self.sizes) * self.mass

    def laplacian(self, edge_weights: NDArray[np.float64], n_points: int) -> sp.csr_array:
        """Return `L` with `X^T L X = sum_e w_e (x_row - x_col)(x_row - x_col)^T`, (n_points, n_points).

        Every sum over plan entries is one such product: second moments of transported differences, and gradients of
        transport distances, `L Z` with `w = coefficient * mass / length`.
        """
        half = self.half_laplacian(edge_weights, n_points)
        return half + half.T

    def half_laplacian(self, edge_weights: NDArray[np.float64], n_points: int) -> sp.csr_array:
        """Return `H` with `H + H^T = L`, with half as many entries off the diagonal: enough for quadratic forms."""
        degrees = sum(np.bincount(ends, edge_weights, minlength=n_points) for ends in (self.rows, self.cols))
        nodes = np.arange(n_points)
        rows, cols = np.concatenate([self.rows, nodes]), np.concatenate([self.cols, nodes])
        return sp.csr_array((np.concatenate([-edge_weights, degrees / 2]), (rows, cols)), shape=(n_points, n_points))

    def second_moment(self, points: Points, edge_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `sum_e w_e (x_row - x_col)(x_row - x_col)^T` at the given points, dense or CSR, (d, d)."""
        n, d = points.shape
        half_laplacian = self.half_laplacian(edge_weights, n)
        half = np.empty((d, d))
        transposed = points.T
        for cols in column_blocks(n, d):
            block = points[:, cols]
            block = block if isinstance(block, np.ndarray) else block.toarray()
            half[:, cols] = transposed @ times(half_laplacian, block, n_jobs=1)
        return half + half.T
