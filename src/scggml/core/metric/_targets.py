"""What a metric is learned from: a class, a grade or a number for each sample, and which samples may be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LabelKind: TypeAlias = Literal["class", "ordinal", "continuous"]
LABEL_KINDS = ("class", "ordinal", "continuous")

_CONTRAST = 0.5  # of ordered labels; and within blocks, where it lowers directions that differ more between these


@dataclass(frozen=True, eq=False)
class Targets:
    """The label of each sample, and in which block (batch, donor) it was measured.

    Samples with different labels are compared within blocks only, so that a difference between blocks never passes for one
    between labels. Samples with the same label are compared within and across blocks, so that differences between blocks count
    as differences that the metric should not see.

    Parameters
    ----------
    values
        Class 0..n_classes-1 of each sample, or its grade 0..n_grades-1, or any number, (n_samples,).
    kind
        What `values` are.
    blocks
        Block of each sample, (n_samples,); None for one block.
    """

    values: NDArray[np.float64]
    kind: LabelKind = "class"
    blocks: NDArray[np.integer] | None = None

    @classmethod
    def of_classes(cls, codes: NDArray[np.integer], blocks: NDArray[np.integer] | None = None) -> Targets:
        """Take classes 0..n_classes-1, (n_samples,)."""
        return cls(codes.astype(np.float64), "class", blocks)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Classes or grades as integers, (n_samples,); of numbers, which of the different ones it is."""
        if self.kind == "continuous":
            return np.unique(self.values, return_inverse=True)[1]
        return self.values.astype(np.int64)

    @property
    def contrast(self) -> float:
        """How much of what all transport has in common is taken off what goes with the label, see `metric_matrix`."""
        return 0.0 if self.kind == "class" and self.blocks is None else _CONTRAST

    def comparable(self, i: NDArray[np.integer] | int, j: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether samples i and j, of different labels, may be compared."""
        if self.blocks is None:
            return np.ones(np.broadcast(i, j).shape, dtype=bool)
        return np.asarray(self.blocks[i] == self.blocks[j])

    def differences(self, i: NDArray[np.integer] | int, j: NDArray[np.integer]) -> NDArray[np.float64]:
        """How different the labels of samples i and j are: 0 or 1 for classes, else the absolute difference."""
        if self.kind == "class":
            return (self.values[i] != self.values[j]).astype(np.float64)
        return np.abs(self.values[i] - self.values[j])

    def pair_weights(
        self, pairs: NDArray[np.int64], sample_weights: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return weights (n_pairs,) of the mean over pairs with like labels, and of that over pairs with different ones.

        Each class counts alike in the first, each two classes in the second; two grades count as much as they are apart. Of numbers,
        the first mean takes pairs closer than the lower quartile of all differences, the more the closer (the closest, where none is
        closer than that), and in the second pairs count as much as they are apart.

        Parameters
        ----------
        pairs
            Positions of samples, (n_pairs, 2).
        sample_weights
            How much each sample counts, (n_samples,), such as how often a bootstrap drew it; None lets all count alike.
        """
        left, right = pairs[:, 0], pairs[:, 1]
        share = np.ones(len(pairs)) if sample_weights is None else sample_weights[pairs].prod(axis=1)
        apart = self.differences(left, right)
        across = share * self.comparable(left, right)
        if self.kind == "continuous":
            return _normalised(share * np.maximum(0.0, 1 - apart / self._near())), _normalised(across * apart)
        low, high = np.sort(self.codes[pairs], axis=1).T
        group = low * (int(self.codes.max()) + 1) + high
        within = _balanced(share * (apart == 0), group)
        return within, _normalised(_balanced(across * (apart > 0), group) * apart)

    def _near(self) -> float:
        """Return the difference from which on numbers are not like each other; some pair is closer."""
        i, j = np.triu_indices(len(self), k=1)
        apart = self.differences(i, j)
        near, closest = float(np.quantile(apart[apart > 0], 0.25)), float(apart.min())
        return near if closest < near * (1 - 1e-9) else 2 * closest


def _balanced(weights: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights that sum to the same in each group that has any, and to one in all."""
    totals = np.bincount(group, weights)
    n_groups = int((totals > 0).sum())
    return np.asarray(weights / np.maximum(n_groups * totals[group], 1e-300))


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights / max(float(weights.sum()), 1e-300)
