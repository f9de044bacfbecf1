"""Points that stay where they are stored and are read by blocks of rows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ._measures import Points

BLOCK_SIZE = 4_000_000  # stored numbers that are read at a time
_BATCH_BLOCKS = 2  # as much is held of the clouds that are read together


class StoredPoints:
    """A matrix of points that is not in memory, of which rows can be read: slices, and lists in any order.

    Rows come as :func:`as_points` returns them. Blocks are cut in the same places as those of a matrix in memory, so
    that what is computed of them is the same to the last bit.

    Parameters
    ----------
    read
        Returns the rows from one number up to another.
    shape
        (n_points, n_features).
    cuts
        Rows between which storage can be cut, rising from 0 to n_points: what lies between two is read as a whole.
    row_size
        Stored numbers of a row, roughly.
    size
        Stored numbers, where they are known.
    """

    def __init__(
        self,
        read: Callable[[int, int], Points],
        shape: tuple[int, int],
        cuts: NDArray[np.integer],
        row_size: float,
        size: int | None = None,
    ) -> None:
        self.shape = shape
        self._read, self._cuts, self._row_size, self._size = read, cuts, row_size, size
        self._bounds = _merged(cuts, row_size)
        self._held: tuple[int, Points] | None = None  # the block that was read last
        self._lengths: NDArray[np.int64] | None = None
        self._kind: tuple[np.dtype, bool] | None = None

    @property
    def size(self) -> int:
        """Number of stored numbers."""
        if self._size is None:
            self._size = int(self._row_lengths.sum())
        return self._size

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return self._dtype_and_sparse[0]

    def blocks(self) -> Iterator[Points]:
        """Read all rows from the first to the last; after that it is known how many numbers each stores."""
        lengths = np.full(self.shape[0], self.shape[1], dtype=np.int64)
        for start, stop in pairwise(self._bounds):
            block = self._read(start, stop)
            if sp.issparse(block):
                lengths[start:stop] = np.diff(block.indptr)
            self._kind = block.dtype, sp.issparse(block)
            yield block
            del block  # before the next
        self._lengths, self._held = lengths, None
        self._bounds = _merged(self._cuts, lengths.mean())

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Points:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            return self._slice(start, stop)
        return self._gathered(np.asarray(rows))

    def load(self, order: NDArray[np.integer]) -> Points:
        """Read all rows into memory, in another order. From then on they are taken from there."""
        points = self[order]
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self._read = lambda start, stop: points[place[start:stop]]
        return points

    def columns(self, index: NDArray[np.integer]) -> StoredPoints:
        """Return these columns, to be read when they are needed."""
        dense_size = self.shape[0] * len(index)
        return StoredPoints(
            lambda start, stop: self._read(start, stop)[:, index],
            (self.shape[0], len(index)),
            self._cuts,
            self._row_size,
            self.size if self._dtype_and_sparse[1] else dense_size,  # of sparse columns at most
        )

    @property
    def _row_lengths(self) -> NDArray[np.int64]:
        if self._lengths is None:
            for _ in self.blocks():
                pass
        assert self._lengths is not None
        return self._lengths

    @property
    def _dtype_and_sparse(self) -> tuple[np.dtype, bool]:
        if self._kind is None:
            next(self.blocks())
        assert self._kind is not None
        return self._kind

    def _slice(self, start: int, stop: int) -> Points:
        """Return consecutive rows. The block that they end in is kept, since the next ones start there."""
        parts: list[Points] = []
        i = int(np.searchsorted(self._bounds, start, side="right")) - 1
        while not parts or self._bounds[i] < stop:
            low, high = self._bounds[i], self._bounds[i + 1]
            if self._held is None or self._held[0] != i:
                self._held = None  # before the next
                self._held = i, self._read(low, high)
            parts.append(self._held[1][max(start - low, 0) : stop - low])
            i += 1
        if stop == self.shape[0]:
            self._held = None
        return parts[0] if len(parts) == 1 else stacked(parts)

    def _gathered(self, index: NDArray[np.integer]) -> Points:
        """Return rows in any order, each written to its place as soon as it is read."""
        dtype, sparse = self._dtype_and_sparse
        if sparse:
            indptr = np.concatenate([[0], np.cumsum(self._row_lengths[index])])
            index_dtype = np.int32 if max(indptr[-1], self.shape[1]) <= np.iinfo(np.int32).max else np.int64
            data, indices = np.empty(indptr[-1], dtype), np.empty(indptr[-1], index_dtype)
        else:
            dense = np.empty((len(index), self.shape[1]), dtype)
        order = np.argsort(index, kind="stable")
        wanted = index[order]
        ends = np.searchsorted(wanted, self._bounds)
        for first, last in pairwise(ends):
            if first == last:
                continue
            low, target = int(wanted[first]), order[first:last]
            rows = self._read(low, int(wanted[last - 1]) + 1)[wanted[first:last] - low]
            if sparse:
                place = np.repeat(indptr[target] - rows.indptr[:-1], np.diff(rows.indptr)) + np.arange(rows.nnz)
                data[place], indices[place] = rows.data, rows.indices
            else:
                dense[target] = rows
            del rows  # before the next
        if not sparse:
            return dense
        return sp.csr_array((data, indices, indptr.astype(index_dtype)), shape=(len(index), self.shape[1]))


def clouds(points: Points, rows: Sequence[NDArray[np.integer]]) -> Iterator[Points]:
    """Yield the points of each of several lists of rows; of stored points, as many as fit are read together."""
    if not isinstance(points, StoredPoints):
        yield from (points[own] for own in rows)
        return
    limit = _BATCH_BLOCKS * BLOCK_SIZE * points.shape[0] // max(points.size, 1)
    ends = np.cumsum([len(own) for own in rows])
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
        batch = points[np.concatenate(rows[start:stop])]
        for i in range(start, stop):
            yield batch[ends[i] - len(rows[i]) - before : ends[i] - before]
        del batch  # before the next
        start = stop


def _merged(cuts: NDArray[np.integer], row_size: float) -> NDArray[np.int64]:
    """Return as few of the cuts as leave blocks of at most `BLOCK_SIZE` numbers, or of one piece."""
    rows = max(1, int(BLOCK_SIZE / max(row_size, 1.0)))
    kept = [0]
    while kept[-1] < cuts[-1]:
        within = int(np.searchsorted(cuts, kept[-1] + rows, side="right")) - 1
        following = int(np.searchsorted(cuts, kept[-1], side="right"))
        kept.append(int(cuts[max(within, following)]))
    return np.array(kept, dtype=np.int64)


def stacked(parts: list[Points]) -> Points:
    """Return parts of a matrix on top of one another."""
    return sp.csr_array(sp.vstack(parts)) if sp.issparse(parts[0]) else np.concatenate(parts)
