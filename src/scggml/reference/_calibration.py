"""P-values of new samples under the distribution of held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri
from scipy.stats import t

from scggml.core._neighbors import mean_of_nearest
from scggml.core._probabilities import N_NEIGHBORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 1e-3  # of the largest known value: keeps the logarithm finite for copies of a sample, at distance zero
_ROUNDING = 1e-12  # relative spread below which values are the same
_SMALLEST = 1e-300  # probability that still has a finite normal score
_HALVINGS = 40


def nearest_distances(distances: NDArray[np.float64], n_reference: int) -> NDArray[np.float64]:
    """Return the mean distance of new samples to their nearest samples of any class, (n_new,).

    These are the 3 nearest of `n_reference` samples. With fewer samples, fewer are averaged, so that the mean lies at
    the same quantile of all distances. Samples that were held out together are therefore comparable with new ones. The
    number may be a fraction; the mean is then interpolated.

    Parameters
    ----------
    distances
        Distances to the samples that are not held out, (n_new, n).
    n_reference
        Number of samples in the whole reference.
    """
    n = distances.shape[1]
    k = float(np.clip((N_NEIGHBORS + 1) * (n + 1) / (n_reference + 1) - 1, 1, n))
    return mean_of_nearest(np.sort(distances, axis=1), k)


def upper_tail(known: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that one more value like the known ones is at least as large, (n_new,).

    This is `prediction_tail` for the logarithms of positive values. Values below a thousandth of the largest known
    value are raised to it.
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

    The probability is that of Student's t prediction interval. It can be small with few known values, whereas ranks end
    at 1 / (n + 1). If values have standard errors, the variance of a value is the variance between samples plus its
    squared error, and the values are weighted accordingly. The variance between samples is the estimate of Paule and
    Mandel :cite:p:`paule1982`. Values of different precision are comparable then. The error of a new value is at least
    the median error of the known ones, because the data do not show how samples differ at a higher precision.

    Parameters
    ----------
    known
        Values, (n_known, n_columns). Values that are not finite are ignored. All probabilities of a column with fewer
        than two values are one.
    new
        Values to compare, (n_new, n_columns). The probability of a value that is not finite is one.
    errors, new_errors
        Standard errors of the values, of the same shapes. None for no errors.
    """
    errors = np.zeros(known.shape) if errors is None else errors
    new_errors = np.zeros(new.shape) if new_errors is None else new_errors
    there = np.isfinite(known) & np.isfinite(errors)
    n, freedom = there.sum(axis=0), np.maximum(there.sum(axis=0) - 1, 1)
    known, squares = np.where(there, known, 0.0), np.where(there, errors, 0.0) ** 2
    mean = known.sum(axis=0) / np.maximum(n, 1)
    least = (_ROUNDING * np.maximum(np.abs(mean), 1.0)) ** 2

    def weighted(between: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return total precision, weighted mean, and the weighted sum of squares around it."""
        precision = there / (between + squares)
        total = np.maximum(precision.sum(axis=0), np.finfo(float).tiny)
        centre = (precision * known).sum(axis=0) / total
        return total, centre, (precision * (known - centre) ** 2).sum(axis=0)

    # the weighted sum of squares falls with the variance between samples; it equals n - 1 at most at the plain variance
    low, high = least, np.maximum((there * (known - mean) ** 2).sum(axis=0) / freedom, least)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_small = weighted(middle)[2] > freedom
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    total, centre, _ = weighted(high)
    median = np.array([np.median(x[here]) if here.any() else 0.0 for x, here in zip(errors.T, there.T, strict=True)])
    away = (new - centre) / np.sqrt(high + np.maximum(new_errors, median) ** 2 + 1 / total)
    return np.where(np.isfinite(away) & (n > 1), t.sf(away, freedom), 1.0)


def calibrated_smallest(known: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that the smallest of several probabilities is as small as that of a new sample, (n_new,).

    The smallest probability is first corrected as if all were independent. Its normal score is then compared with the
    scores of the known samples by Student's t prediction interval. The known samples therefore calibrate the result,
    whatever the dependence of the probabilities, and even if small probabilities are too frequent. The standard
    deviation of the known scores is taken as at least one, which is that of independent probabilities: if no known
    probability can be small, all known scores are alike. With a single probability, that is returned.

    Parameters
    ----------
    known
        Probabilities of each known sample given all others, (n_known, n).
    new
        Probabilities of new samples given all known ones, (n_new, n).
    """
    n = new.shape[1]
    if n == 1:
        return new[:, 0]

    def scores(p: NDArray[np.float64]) -> NDArray[np.float64]:
        of_smallest = -np.expm1(n * np.log1p(-np.minimum(p.min(axis=1), 1 - _ROUNDING)))
        return np.asarray(-ndtri(np.clip(of_smallest, _SMALLEST, 1 - _ROUNDING)))

    of_known = scores(known)
    spread = max(float(of_known.std(ddof=1)), 1.0) * np.sqrt(1 + 1 / len(of_known))
    return np.asarray(t.sf((scores(new) - of_known.mean()) / spread, len(of_known) - 1))
