"""What a metric is learned from: the label of each sample, and which samples may be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LabelKind: TypeAlias = Literal["class", "ordinal", "continuous"]
LABEL_KINDS = ("class", "ordinal", "continuous")

_CONTRAST = 0.5  # of ordered labels; and of strata, where it lowers directions that differ more between strata


@dataclass(frozen=True, eq=False)
class Targets:
    """The label of each sample, and its stratum.

    Samples with different labels are compared within strata only, so that a difference between strata is never taken
    for one between labels. Samples with the same label are compared within and across strata, so that the metric
    learns to ignore differences between strata.

    Parameters
    ----------
    values
        Class 0..n_classes-1 of each sample, or rank 0..n_ranks-1 of its ordinal label, or its continuous label,
        (n_samples,).
    kind
        Kind of the labels.
    strata
        Stratum of each sample (its batch, its donor, or both), (n_samples,); None for one stratum.
    """

    values: NDArray[np.float64]
    kind: LabelKind = "class"
    strata: NDArray[np.integer] | None = None

    @classmethod
    def of_classes(cls, codes: NDArray[np.integer], strata: NDArray[np.integer] | None = None) -> Targets:
        """Take classes 0..n_classes-1, (n_samples,)."""
        return cls(codes.astype(np.float64), "class", strata)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: NDArray[np.integer]) -> Targets:
        """Return the targets of the samples at these positions."""
        return Targets(self.values[index], self.kind, None if self.strata is None else self.strata[index])

    @property
    def codes(self) -> NDArray[np.int64]:
        """Classes or ranks as integers, (n_samples,); of continuous labels, the rank among the distinct values."""
        if self.kind == "continuous":
            return np.unique(self.values, return_inverse=True)[1]
        return self.values.astype(np.int64)

    @property
    def contrast(self) -> float:
        """The share of transport between like samples that is taken from that between labels, see `metric_matrix`."""
        return 0.0 if self.kind == "class" and self.strata is None else _CONTRAST

    def comparable(self, i: NDArray[np.integer] | int, j: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return whether samples i and j, of different labels, may be compared."""
        if self.strata is None:
            return np.ones(np.broadcast(i, j).shape, dtype=bool)
        return np.asarray(self.strata[i] == self.strata[j])

    def differences(self, i: NDArray[np.integer] | int, j: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return how different the labels of samples i and j are: 0 or 1 for classes, else the absolute difference."""
        if self.kind == "class":
            return (self.values[i] != self.values[j]).astype(np.float64)
        return np.abs(self.values[i] - self.values[j])

    def pair_weights(
        self, pairs: NDArray[np.int64], sample_weights: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return weights (n_pairs,) of the means over pairs with like labels, and over pairs with different labels.

        Classes: each class has the same total weight in the first mean, each two classes in the second. Ordinal
        labels: the same, and two labels weigh by their difference in the second. Continuous labels: the first mean
        takes pairs whose difference is below the lower quartile of all differences (or the closest pairs, if none is
        below), with weights that fall linearly with the difference; in the second, pairs weigh by their difference.

        Parameters
        ----------
        pairs
            Indices of samples, (n_pairs, 2).
        sample_weights
            Weight of each sample, (n_samples,), such as the number of times a bootstrap drew it; None weights all
            alike. Labels of samples with weight zero have no effect.
        """
        left, right = pairs[:, 0], pairs[:, 1]
        share = np.ones(len(pairs)) if sample_weights is None else sample_weights[pairs].prod(axis=1)
        apart = self.differences(left, right)
        across = share * self.comparable(left, right)
        if self.kind == "continuous":
            near = self._near() if sample_weights is None else self.take(np.flatnonzero(sample_weights > 0))._near()
            return _normalised(share * np.maximum(0.0, 1 - apart / near)), _normalised(across * apart)
        low, high = np.sort(self.codes[pairs], axis=1).T
        group = low * (int(self.codes.max()) + 1) + high
        within = _balanced(share * (apart == 0), group)
        return within, _normalised(_balanced(across * (apart > 0), group) * apart)

    def _near(self) -> float:
        """Return the difference from which on continuous labels are not alike; some pair is closer."""
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
