"""Which (anchor, positive, negative) triplets of samples count in the objective."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Triplets:
    """Triplets of measures: the anchor should lie closer to the positive (its class) than to the negative.

    Parameters
    ----------
    anchor, positive, negative
        Indices of measures, (n_triplets,).
    weight
        Share of each triplet in the objective, (n_triplets,); sums to one.
    n_measures
        Number of measures that the indices refer to.
    """

    anchor: NDArray[np.int32]
    positive: NDArray[np.int32]
    negative: NDArray[np.int32]
    weight: NDArray[np.float64]
    n_measures: int

    def __len__(self) -> int:
        return len(self.anchor)

    def subset(self, index: NDArray[np.int64]) -> Triplets:
        """Return the triplets at `index`, their weights rescaled to sum to one."""
        weight = self.weight[index]
        return Triplets(
            self.anchor[index], self.positive[index], self.negative[index], weight / weight.sum(), self.n_measures
        )

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """The distinct pairs i < j whose distances the triplets need, (n_pairs, 2)."""
        return np.stack(np.divmod(self._pair_index[0], self.n_measures), axis=1)

    @property
    def same(self) -> NDArray[np.int64]:
        """Row in `pairs` of each triplet's (anchor, positive), (n_triplets,)."""
        return self._pair_index[1][: len(self)]

    @property
    def other(self) -> NDArray[np.int64]:
        """Row in `pairs` of each triplet's (anchor, negative), (n_triplets,)."""
        return self._pair_index[1][len(self) :]

    @cached_property
    def _pair_index(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = np.concatenate([self.anchor, self.anchor]).astype(np.int64)
        second = np.concatenate([self.positive, self.negative]).astype(np.int64)
        flat = np.minimum(first, second) * self.n_measures + np.maximum(first, second)
        unique, inverse = np.unique(flat, return_inverse=True)
        return unique, inverse


def n_all_triplets(codes: NDArray[np.integer]) -> int:
    """Return how many triplets `all_triplets` makes."""
    counts = np.bincount(codes).astype(object)  # Python integers: no overflow for large cohorts
    return int(sum(c * (c - 1) * (len(codes) - c) for c in counts))


def all_triplets(codes: NDArray[np.integer]) -> Triplets:
    """Return every triplet; each ordered pair of classes (anchor's, negative's) has the same total weight."""
    return _combine(codes, [np.flatnonzero(codes == c) for c in range(int(codes.max()) + 1)], None, None)


def sample_triplets(codes: NDArray[np.integer], n_neighbors: int, rng: np.random.Generator) -> Triplets:
    """Return random triplets: per anchor `n_neighbors` positives combined with as many negatives of each other class."""
    return _combine(codes, [np.flatnonzero(codes == c) for c in range(int(codes.max()) + 1)], n_neighbors, rng)


def _combine(
    codes: NDArray[np.integer],
    members: list[NDArray[np.int64]],
    n_neighbors: int | None,
    rng: np.random.Generator | None,
) -> Triplets:
    def draw(candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        if n_neighbors is None or rng is None:
            return candidates
        return rng.choice(candidates, size=min(n_neighbors, len(candidates)), replace=False)

    parts: list[tuple[NDArray, NDArray, NDArray, NDArray]] = []
    n_class_pairs = len(members) * (len(members) - 1)
    for anchor, code in enumerate(codes):
        positives = draw(members[code][members[code] != anchor])
        for other, candidates in enumerate(members):
            if other == code:
                continue
            negatives = draw(candidates)
            count = len(positives) * len(negatives)
            if count == 0:
                continue
            share = 1.0 / (n_class_pairs * len(members[code]) * count)
            parts.append(
                (
                    np.full(count, anchor),
                    np.repeat(positives, len(negatives)),
                    np.tile(negatives, len(positives)),
                    np.full(count, share),
                )
            )
    anchor_, positive, negative, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Triplets(
        anchor_.astype(np.int32),
        positive.astype(np.int32),
        negative.astype(np.int32),
        weight / weight.sum(),
        len(codes),
    )
