"""Which labels of samples can be exchanged, and how often."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import factorial, prod
from typing import TYPE_CHECKING

import numpy as np

from scggml import _check as check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Exchange:
    """Blocks within which labels can be exchanged if classes do not differ.

    Parameters
    ----------
    codes
        Class of each sample, (n_samples,).
    units
        Samples that keep the same label as one another, such as those of one donor: the unit of each, (n_samples,).
    blocks
        Block of each unit, (n_units,).
    """

    codes: NDArray[np.int64]
    units: NDArray[np.int64]
    blocks: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        codes: NDArray[np.int64],
        groups: NDArray[np.object_] | None = None,
        batches: NDArray[np.object_] | None = None,
    ) -> Exchange:
        """Exchange labels within batches; and within groups that hold several classes, else between whole groups.

        Groups with one class each, such as donors with several samples of one state, exchange their labels as wholes, with
        groups of as many samples.
        """
        n = len(codes)
        batch = np.zeros(n, dtype=np.int64) if batches is None else np.unique(batches, return_inverse=True)[1]
        if groups is None:
            return cls(codes, np.arange(n), batch)
        names, group = np.unique(groups, return_inverse=True)
        members = [np.flatnonzero(group == g) for g in range(len(names))]
        mixed = np.array([len(np.unique(codes[m])) > 1 for m in members])
        alone = np.array([len(m) == 1 for m in members])
        if mixed.any():
            constant = ~mixed & ~alone
            if constant.any():
                msg = (
                    f"group_key holds groups with several classes ({check.listed(names[mixed])}) beside groups of several samples "
                    f"with one class ({check.listed(names[constant])}): labels cannot be exchanged in both ways. Test these apart."
                )
                raise ValueError(msg)
            return cls(codes, np.arange(n), np.unique(np.stack([group, batch]), axis=1, return_inverse=True)[1].ravel())
        torn = np.array([len(np.unique(batch[m])) > 1 for m in members])
        if torn.any():
            msg = f"group_key has groups whose samples lie in several batches of batch_key: {check.listed(names[torn])}"
            raise ValueError(msg)
        kind = np.array([[batch[m[0]], len(m)] for m in members])
        return cls(codes, group, np.unique(kind, axis=0, return_inverse=True)[1].ravel())

    @property
    def _unit_codes(self) -> NDArray[np.int64]:
        first = np.unique(self.units, return_index=True)[1]
        return self.codes[first]

    @property
    def _counts(self) -> NDArray[np.int64]:
        table = np.zeros((int(self.blocks.max()) + 1, int(self.codes.max()) + 1), dtype=np.int64)
        np.add.at(table, (self.blocks, self._unit_codes), 1)
        return table

    @property
    def n_possible(self) -> int:
        """Number of ways to give out the labels."""
        return prod(factorial(int(row.sum())) // prod(factorial(int(c)) for c in row) for row in self._counts)

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that is possible: renaming classes changes no statistic."""
        counts = self._counts
        n_classes = counts.shape[1]
        if n_classes > 7:  # 8! names; they hardly ever all fit
            return 1 / self.n_possible
        same = sum(np.array_equal(counts[:, list(order)], counts) for order in itertools.permutations(range(n_classes)))
        return same / self.n_possible

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return n random relabelings, (n, n_samples)."""
        labels = self._unit_codes
        drawn = np.tile(labels, (n, 1))
        for block in range(int(self.blocks.max()) + 1):
            place = np.flatnonzero(self.blocks == block)
            drawn[:, place] = rng.permuted(np.tile(labels[place], (n, 1)), axis=1)
        return drawn[:, self.units]

    def everything(self) -> NDArray[np.int64]:
        """Return all relabelings, (n_possible, n_samples)."""
        labels = self._unit_codes
        places = [np.flatnonzero(self.blocks == block) for block in range(int(self.blocks.max()) + 1)]
        choices = [list(_arrangements(np.bincount(labels[place]).tolist())) for place in places]
        found = np.empty((self.n_possible, len(labels)), dtype=np.int64)
        for row, chosen in zip(found, itertools.product(*choices), strict=True):
            for place, arrangement in zip(places, chosen, strict=True):
                row[place] = arrangement
        return found[:, self.units]


def _arrangements(counts: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield all orders of labels that come so many times each."""
    if not any(counts):
        yield ()
        return
    for label, count in enumerate(counts):
        if count:
            rest = [*counts[:label], count - 1, *counts[label + 1 :]]
            yield from ((label, *others) for others in _arrangements(rest))
