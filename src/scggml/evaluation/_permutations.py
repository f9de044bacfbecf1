"""Exchange of labels between samples, for permutation tests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import factorial, prod
from typing import TYPE_CHECKING

import numpy as np

from scggml._strata import mixed_donors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scggml.core.metric._targets import LabelKind

_MANY = 7  # classes; 8! renamings are not tried


@dataclass(frozen=True, eq=False)
class Exchange:
    """Units whose labels are exchangeable under the null hypothesis.

    Parameters
    ----------
    codes
        Label of each sample, 0..n_labels-1 in their order, (n_samples,).
    units
        Unit of each sample, (n_samples,). Samples of one unit, such as those of one donor, keep the same label.
    sets
        Set of each unit, (n_units,). Labels are exchanged within sets.
    kind
        Kind of label, as in `Targets`.
    """

    codes: NDArray[np.int64]
    units: NDArray[np.int64]
    sets: NDArray[np.int64]
    kind: LabelKind = "class"

    @classmethod
    def of(
        cls,
        codes: NDArray[np.int64],
        donors: NDArray[np.object_] | None = None,
        batches: NDArray[np.object_] | None = None,
        *,
        kind: LabelKind = "class",
    ) -> Exchange:
        """Return the exchange that respects donors and batches.

        Samples of a donor with several labels exchange their labels with one another, within each batch. A donor with
        one label is a unit. It exchanges its label with other such donors that have as many samples in each batch.

        Parameters
        ----------
        codes
            Label of each sample, 0..n_labels-1 in their order, (n_samples,).
        donors
            Donor of each sample, (n_samples,); None if each sample has a donor of its own.
        batches
            Batch of each sample, (n_samples,); None for one batch.
        kind
            Kind of label, as in `Targets`.
        """
        n = len(codes)
        batch = np.zeros(n, dtype=np.int64) if batches is None else np.unique(batches, return_inverse=True)[1]
        if donors is None:
            return cls(codes, np.arange(n), batch, kind)
        donor, mixed = mixed_donors(donors, codes)
        in_batch = np.zeros((len(mixed), int(batch.max()) + 1), dtype=np.int64)
        np.add.at(in_batch, (donor, batch), 1)
        # samples of donors with several labels have a set by donor and batch; whole donors, by their samples per batch
        alone = mixed[donor]
        units = np.unique(np.where(alone, np.arange(n), n + donor), return_inverse=True)[1]
        of_set = [(1, d, b) if a else (0, *in_batch[d]) for d, b, a in zip(donor, batch, alone, strict=True)]
        number = {found: i for i, found in enumerate(sorted(set(of_set)))}
        sets = np.empty(int(units.max()) + 1, dtype=np.int64)
        sets[units] = [number[found] for found in of_set]
        return cls(codes, units, sets, kind)

    @property
    def _unit_codes(self) -> NDArray[np.int64]:
        first = np.unique(self.units, return_index=True)[1]
        return self.codes[first]

    @property
    def _counts(self) -> NDArray[np.int64]:
        table = np.zeros((int(self.sets.max()) + 1, int(self.codes.max()) + 1), dtype=np.int64)
        np.add.at(table, (self.sets, self._unit_codes), 1)
        return table

    @property
    def n_possible(self) -> int:
        """Number of relabelings."""
        return prod(factorial(int(row.sum())) // prod(factorial(int(c)) for c in row) for row in self._counts)

    @property
    def smallest_p(self) -> float:
        """The smallest possible p-value.

        It counts the relabelings that all statistics have in common with the given labels: any renaming of classes, and
        the reversed order of ordinal labels.
        """
        counts = self._counts
        n_labels = counts.shape[1]
        names = [tuple(range(n_labels))]
        if self.kind == "class" and n_labels <= _MANY:
            names = list(itertools.permutations(range(n_labels)))
        elif self.kind == "ordinal":
            names.append(tuple(reversed(range(n_labels))))
        return sum(np.array_equal(counts[:, list(order)], counts) for order in set(names)) / self.n_possible

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return n random relabelings, (n, n_samples)."""
        labels = self._unit_codes
        drawn = np.tile(labels, (n, 1))
        for number in range(int(self.sets.max()) + 1):
            place = np.flatnonzero(self.sets == number)
            drawn[:, place] = rng.permuted(np.tile(labels[place], (n, 1)), axis=1)
        return drawn[:, self.units]

    def everything(self) -> NDArray[np.int64]:
        """Return all relabelings, (n_possible, n_samples)."""
        labels = self._unit_codes
        places = [np.flatnonzero(self.sets == number) for number in range(int(self.sets.max()) + 1)]
        choices = [list(_arrangements(np.bincount(labels[place]).tolist())) for place in places]
        found = np.empty((self.n_possible, len(labels)), dtype=np.int64)
        for row, chosen in zip(found, itertools.product(*choices), strict=True):
            for place, arrangement in zip(places, chosen, strict=True):
                row[place] = arrangement
        return found[:, self.units]


def _arrangements(counts: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield all orders of labels, each of which occurs so many times."""
    if not any(counts):
        yield ()
        return
    for label, count in enumerate(counts):
        if count:
            rest = [*counts[:label], count - 1, *counts[label + 1 :]]
            yield from ((label, *others) for others in _arrangements(rest))
