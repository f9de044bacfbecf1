"""Standardised held-out separation: how much farther held-out samples are from other classes than from their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._intervals import jackknife_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log_ratios(
    distances: NDArray[np.float64], train_codes: NDArray[np.integer], codes: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the log of the mean distance to other classes over that to the own class, (n_test,).

    The mean distance to other classes is the mean over these classes of the mean distance to their samples.

    Parameters
    ----------
    distances
        Distances of held-out samples (rows) to training samples, (n_test, n_train).
    train_codes
        Class of each training sample, 0..n_classes-1, all of which occur, (n_train,).
    codes
        Class of each held-out sample, (n_test,).
    """
    n_classes = int(train_codes.max()) + 1
    to_class = np.stack([distances[:, train_codes == c].mean(axis=1) for c in range(n_classes)], axis=1)
    own = to_class[np.arange(len(codes)), codes]
    others = (to_class.sum(axis=1) - own) / (n_classes - 1)
    least = np.finfo(float).tiny
    return np.asarray(np.log(np.maximum(others, least)) - np.log(np.maximum(own, least)))


def separation(values: NDArray[np.float64], codes: NDArray[np.integer]) -> float:
    """Return the mean of the log ratios over their standard deviation within classes.

    The mean is the mean over classes. The mean alone would reward any metric with few directions, in which the random
    choice of cells makes up less of all distances. NaN if the log ratios do not vary within classes.

    Parameters
    ----------
    values
        Log ratio of each sample, (n_samples,).
    codes
        Class of each sample, (n_samples,).
    """
    _, codes = np.unique(codes, return_inverse=True)
    counts = np.bincount(codes)
    means = np.bincount(codes, values) / counts
    degrees = len(values) - len(counts)
    variance = float(((values - means[codes]) ** 2).sum()) / degrees if degrees > 0 else 0.0
    if variance <= (1e-12 * np.abs(values).max()) ** 2:
        return float("nan")
    return float(means.mean() / np.sqrt(variance))


def separation_interval(
    values: NDArray[np.float64],
    codes: NDArray[np.integer],
    units: NDArray[np.integer],
    baseline: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """Return the interval of a separation, or of its difference from that of a baseline on the same samples.

    Parameters
    ----------
    values, codes
        As in `separation`.
    units
        Independent unit of each sample, 0..n_units-1, (n_samples,): the sample or its donor.
    baseline
        Log ratios of the baseline, (n_samples,).
    """

    def of(kept: NDArray[np.bool_]) -> float:
        value = separation(values[kept], codes[kept])
        return value if baseline is None else value - separation(baseline[kept], codes[kept])

    n_units = int(units.max()) + 1
    without = np.array([of(units != unit) for unit in range(n_units)])
    return jackknife_interval(of(np.ones(len(values), dtype=bool)), without)
