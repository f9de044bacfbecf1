"""How far out of the distribution of held-out samples a new sample lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri
from scipy.stats import t

from scggml.core._neighbors import mean_of_nearest
from scggml.core._probabilities import N_NEIGHBORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 1e-3  # of the largest known value: keeps logarithms of copies of a sample, at distance zero, finite
_ROUNDING = 1e-12  # relative spread below which values are the same
_SMALLEST = 1e-300  # probability that has a finite normal score
_HALVINGS = 40


def nearest_distances(distances: NDArray[np.float64], n_reference: int) -> NDArray[np.float64]:
    """Return the mean distance of new samples to their nearest ones of any class, (n_new,).

    These are 3 of `n_reference` samples. Of fewer there are fewer, fractions included, so that the mean lies at the same
    quantile of all distances: what was held out together is comparable with what is new.
    """
    n = distances.shape[1]
    k = float(np.clip((N_NEIGHBORS + 1) * (n + 1) / (n_reference + 1) - 1, 1, n))
    return mean_of_nearest(np.sort(distances, axis=1), k)


def upper_tail(known: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that one more value like the known ones is at least as large, (n_new,).

    As `prediction_tail` of logarithms of values, none of them taken for less than a thousandth of the largest known one.
    """
    least = max(_LEAST * float(known.max()), np.finfo(float).tiny)
    logs, new_logs = (np.log(np.maximum(x, least))[:, None] for x in (known, new))
    return prediction_tail(logs, new_logs)[:, 0]


def prediction_tail(
    known: NDArray[np.float64],
    new: NDArray[np.float64],
    errors: NDArray[np.float64] | None = None,
    new_errors: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the probability that one more value like the known ones is at least as large, (n_new, n_columns).

    From the prediction interval of Student's t: it reaches small probabilities with few known values, where ranks end at 1 / (n + 1).
    Where values have errors of their own, their variance is that between samples, which is estimated by the method of
    Paule and Mandel :cite:p:`paule1982`, plus that of their error; values of any precision are comparable then. No new value has less
    than the median error of the known ones: how samples differ below that is not known.

    Parameters
    ----------
    known
        Values, (n_known, n_columns); those that are not finite do not count. With fewer than two in a column, all probabilities are one.
    new
        Values to compare, (n_new, n_columns). Those that are not finite have a probability of one.
    errors, new_errors
        Standard errors of the values, of the same shapes; None for none.
    """
    errors = np.zeros(known.shape) if errors is None else errors
    new_errors = np.zeros(new.shape) if new_errors is None else new_errors
    there = np.isfinite(known) & np.isfinite(errors)
    n, freedom = there.sum(axis=0), np.maximum(there.sum(axis=0) - 1, 1)
    known, squares = np.where(there, known, 0.0), np.where(there, errors, 0.0) ** 2
    mean = known.sum(axis=0) / np.maximum(n, 1)
    least = (_ROUNDING * np.maximum(np.abs(mean), 1.0)) ** 2

    def weighted(between: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return total precision, centre, and sum of weighted squares around it."""
        precision = there / (between + squares)
        total = np.maximum(precision.sum(axis=0), np.finfo(float).tiny)
        centre = (precision * known).sum(axis=0) / total
        return total, centre, (precision * (known - centre) ** 2).sum(axis=0)

    # the weighted squares fall as the variance between samples rises, and reach n - 1 not above the plain variance
    low, high = least, np.maximum((there * (known - mean) ** 2).sum(axis=0) / freedom, least)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_small = weighted(middle)[2] > freedom
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    total, centre, _ = weighted(high)
    middling = np.array([np.median(x[here]) if here.any() else 0.0 for x, here in zip(errors.T, there.T, strict=True)])
    new_errors = np.maximum(new_errors, middling)
    away = (new - centre) / np.sqrt(high + new_errors**2 + 1 / total)
    return np.where(np.isfinite(away) & (n > 1), t.sf(away, freedom), 1.0)


def calibrated_smallest(known: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often the smallest of several probabilities is as small as that of new samples, (n_new,).

    It is brought to what it would be of independent ones, and then its normal score is compared with those of the known samples, by the
    prediction interval of Student's t: however the probabilities depend on one another, and however often they are too small, the known
    samples tell what is usual. Their scores are taken to spread by one at least, as those of independent probabilities: where none can be
    small by its nature, those of all known samples are alike. A single probability is its own.

    Parameters
    ----------
    known
        Probabilities of each known sample, given all others, (n_known, n).
    new
        Probabilities of new samples, given all known ones, (n_new, n).
    """
    n = new.shape[1]
    if n == 1:
        return new[:, 0]

    def scores(p: NDArray[np.float64]) -> NDArray[np.float64]:
        of_smallest = -np.expm1(n * np.log1p(-np.minimum(p.min(axis=1), 1 - _ROUNDING)))
        return np.asarray(-ndtri(np.clip(of_smallest, _SMALLEST, 1 - _ROUNDING)))

    usual = scores(known)
    spread = max(float(usual.std(ddof=1)), 1.0) * np.sqrt(1 + 1 / len(usual))
    return np.asarray(t.sf((scores(new) - usual.mean()) / spread, len(usual) - 1))
