"""The excess of distances between two classes over those within them, with jackknife errors over samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray


class ClassMeans(NamedTuple):
    """Means over pairs of samples: between two classes, within the first class, and within the second.

    Each has the shape (...). With one sample left out at a time, it has the shape (n_a + n_b, ...). A mean over no
    pairs is NaN.
    """

    between: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @property
    def within(self) -> NDArray[np.float64]:
        """The mean of `first` and `second`."""
        return (self.first + self.second) / 2

    @property
    def excess(self) -> NDArray[np.float64]:
        """The mean between the classes minus the mean within them."""
        return self.between - self.within


def excess_over_within(
    classes: Sequence[tuple[Hashable, Hashable]], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return values of comparisons (n_comparisons, ...) minus the mean of the values within both classes.

    The result is NaN for a class with itself, and where a class is not compared with itself.

    Parameters
    ----------
    classes
        The two classes of each comparison.
    values
        One value, or array of values, per comparison.
    """
    excess = np.full_like(values, np.nan)
    position = {pair: q for q, pair in enumerate(classes)}
    for q, (a, b) in enumerate(classes):
        if a != b and (a, a) in position and (b, b) in position:
            excess[q] = ClassMeans(values[q], values[position[a, a]], values[position[b, b]]).excess
    return excess


def class_means(
    between: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[ClassMeans, ClassMeans]:
    """Return means over pairs, and the same means with each sample left out in turn.

    Parameters
    ----------
    between
        Sum over the pairs of each sample with all samples of the other class, (n_a + n_b, ...). Samples of the first
        class come first.
    first, second
        Sum over the pairs of each sample with all others of its class, (n_a, ...) and (n_b, ...).
    """
    n_a, n_b = len(first), len(second)
    total = between[:n_a].sum(axis=0)
    means = ClassMeans(_over(total, n_a * n_b), *(_over(x.sum(axis=0), len(x) * (len(x) - 1)) for x in (first, second)))
    without = ClassMeans(
        np.concatenate([_over(total - between[:n_a], (n_a - 1) * n_b), _over(total - between[n_a:], n_a * (n_b - 1))]),
        np.concatenate([_within_without(first), np.repeat(means.first[None], n_b, axis=0)]),
        np.concatenate([np.repeat(means.second[None], n_a, axis=0), _within_without(second)]),
    )
    return means, without


def jackknife_error(without: NDArray[np.float64], n_first: int) -> NDArray[np.float64]:
    """Return the jackknife standard error of a statistic of two independent classes of samples :cite:p:`arvesen1969`.

    Parameters
    ----------
    without
        The statistic with each sample left out in turn, (n_samples, ...). Samples of the first class come first.
    n_first
        Number of samples of the first class.
    """
    variance = np.zeros(without.shape[1:])
    for values in (without[:n_first], without[n_first:]):
        n = len(values)
        variance += (n - 1) / n * ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    return np.sqrt(variance)


def _within_without(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(sums)
    return _over(sums.sum(axis=0) / 2 - sums, (n - 1) * (n - 2) / 2)


def _over(total: NDArray[np.float64], n_pairs: float) -> NDArray[np.float64]:
    return total / n_pairs if n_pairs > 0 else np.full_like(total, np.nan)
