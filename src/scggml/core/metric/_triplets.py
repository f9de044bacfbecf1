"""Which (anchor, positive, negative) triplets of samples count in the objective."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._targets import Targets


@dataclass(frozen=True, eq=False)
class Triplets:
    """Triplets of measures: the anchor should lie closer to the positive (its class) than to the negative.

    Parameters
    ----------
    anchor, positive, negative
        Indices of measures, (n_triplets,).
    weight
        Share of each triplet in the objective, (n_triplets,); sums to one.
    margin
        Margin of each triplet in units of the objective's, (n_triplets,).
    n_measures
        Number of measures that the indices refer to.
    """

    anchor: NDArray[np.int32]
    positive: NDArray[np.int32]
    negative: NDArray[np.int32]
    weight: NDArray[np.float64]
    margin: NDArray[np.float64]
    n_measures: int

    def __len__(self) -> int:
        return len(self.anchor)

    def subset(self, index: NDArray[np.int64]) -> Triplets:
        """Return the triplets at `index`, their weights rescaled to sum to one."""
        weight = self.weight[index]
        return Triplets(
            self.anchor[index],
            self.positive[index],
            self.negative[index],
            weight / weight.sum(),
            self.margin[index],
            self.n_measures,
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


def n_all_triplets(targets: Targets) -> int:
    """Return how many triplets `all_triplets` makes."""
    if targets.kind == "class" and targets.strata is None:
        counts = np.bincount(targets.codes).astype(object)  # Python integers: no overflow for large cohorts
        return int(sum(c * (c - 1) * (len(targets) - c) for c in counts))
    total = 0
    for anchor in range(len(targets)):
        positives, negatives = _candidates(targets, anchor)
        near = np.sort(targets.differences(anchor, positives))
        total += int(np.searchsorted(near, targets.differences(anchor, negatives), side="left").sum())
    return total


def all_triplets(targets: Targets) -> Triplets:
    """Return every triplet; each ordered pair of classes (anchor's, negative's) has the same total weight.

    Of ordered labels, every triplet whose positive is closer to the anchor than its negative is. Its margin grows
    with how much. Each label of an anchor has the same total weight.
    """
    return _combine(targets, None, None)


def sample_triplets(targets: Targets, n_neighbors: int, rng: np.random.Generator) -> Triplets:
    """Return random triplets: per anchor `n_neighbors` positives combined with as many negatives of each other class.

    Of ordered labels, with as many negatives.
    """
    return _combine(targets, n_neighbors, rng)


def _candidates(targets: Targets, anchor: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples that can be positives and negatives of an anchor."""
    others = np.delete(np.arange(len(targets)), anchor)
    apart = targets.differences(anchor, others)
    positives = others[apart == 0] if targets.kind == "class" else others
    return positives, others[(apart > 0) & targets.comparable(anchor, others)]


def _combine(targets: Targets, n_neighbors: int | None, rng: np.random.Generator | None) -> Triplets:
    def draw(candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        if n_neighbors is None or rng is None:
            return candidates
        return rng.choice(candidates, size=min(n_neighbors, len(candidates)), replace=False)

    codes = targets.codes
    counts = np.bincount(codes)
    parts: list[tuple[NDArray, NDArray, NDArray, NDArray]] = []
    for anchor in range(len(targets)):
        candidates, far = _candidates(targets, anchor)
        positives = draw(candidates)
        groups = [far[codes[far] == c] for c in range(len(counts))] if targets.kind == "class" else [far]
        for group in groups:
            negatives = draw(group)
            i, k = (grid.ravel() for grid in np.meshgrid(positives, negatives, indexing="ij"))
            closer = targets.differences(anchor, i) < targets.differences(anchor, k)
            i, k = i[closer], k[closer]
            if len(i):
                share = 1.0 / (counts[codes[anchor]] * len(i))
                parts.append((np.full(len(i), anchor), i, k, np.full(len(i), share)))
    if not parts:
        msg = "no sample has both one with a like label and one with a different label to compare with"
        raise ValueError(msg)
    anchors, positive, negative, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    lead = targets.differences(anchors, negative) - targets.differences(anchors, positive)
    return Triplets(
        anchors.astype(np.int32),
        positive.astype(np.int32),
        negative.astype(np.int32),
        weight / weight.sum(),
        lead / lead.mean(),
        len(targets),
    )
