"""Probabilities of classes, and how unusual a sample is, from what was seen on held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri, softmax
from scipy.stats import t

from ._neighbors import class_scores, mean_of_nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_NEIGHBORS = 3
_MAX_SHARPNESS = 1e6
_LEAST = 1e-3  # of the largest known value: keeps logarithms of copies of a sample, at distance zero, finite
_ROUNDING = 1e-12  # relative spread below which values are the same
_SMALLEST = 1e-300  # probability that has a finite normal score
_HALVINGS = 40


def relative_class_scores(
    distances: NDArray[np.float64], codes: NDArray[np.integer], *, n_neighbors: int = N_NEIGHBORS
) -> NDArray[np.float64]:
    """Return minus the mean distance to the nearest samples of each class over its mean of all classes, (n_new, n_classes).

    The rule is "class_mean" of `class_scores`; the unit of distance, which differs between metrics, cancels.
    """
    scores = class_scores(distances, codes, rule="class_mean", n_neighbors=n_neighbors)
    return scores / np.maximum(-scores.mean(axis=1, keepdims=True), np.finfo(float).tiny)


def nearest_distances(distances: NDArray[np.float64], n_reference: int) -> NDArray[np.float64]:
    """Return the mean distance of new samples to their nearest ones of any class, (n_new,).

    These are 3 of `n_reference` samples. Of fewer there are fewer, fractions included, so that the mean lies at the same
    quantile of all distances: what was held out together is comparable with what is new.
    """
    n = distances.shape[1]
    k = float(np.clip((N_NEIGHBORS + 1) * (n + 1) / (n_reference + 1) - 1, 1, n))
    return mean_of_nearest(np.sort(distances, axis=1), k)


def fit_sharpness(scores: NDArray[np.float64], codes: NDArray[np.integer]) -> float:
    """Return the inverse temperature of the softmax of scores that predicts held-out samples best.

    It maximises the log likelihood, each class weighing alike. Of a class of n samples, 1 / (n + 2) of each is shared by the
    other classes, as if the class had been seen twice more, once in its own place and once in another :cite:p:`platt1999`: a
    small cohort without a single error does not make probabilities of one.

    Parameters
    ----------
    scores
        How well each class fits each held-out sample, (n_samples, n_classes).
    codes
        Class of each, (n_samples,).
    """
    targets, weights = smoothed_targets(codes, scores.shape[1])
    wanted = weights @ (targets * scores).sum(axis=1)

    def slope(sharpness: float) -> float:  # of the log likelihood, which is concave
        return float(wanted - weights @ (softmax(sharpness * scores, axis=1) * scores).sum(axis=1))

    if slope(0.0) <= 0:
        return 0.0  # held-out samples are no nearer to their own class: all classes alike
    high = 1.0
    while slope(high) > 0 and high < _MAX_SHARPNESS:
        high *= 2
    return float(brentq(slope, 0.0, high)) if high < _MAX_SHARPNESS else _MAX_SHARPNESS


def smoothed_targets(codes: NDArray[np.integer], n_classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities to be predicted, (n_samples, n_classes), and the weight of each sample, (n_samples,)."""
    counts = np.bincount(codes, minlength=n_classes)
    own = counts[codes]
    targets = np.repeat(1.0 / ((own + 2) * (n_classes - 1))[:, None], n_classes, axis=1)
    targets[np.arange(len(codes)), codes] = (own + 1) / (own + 2)
    return targets, 1.0 / (own * (counts > 0).sum())


def class_probabilities(scores: NDArray[np.float64], sharpness: float) -> NDArray[np.float64]:
    """Return the probability of each class, (n_new, n_classes)."""
    return np.asarray(softmax(sharpness * scores, axis=1))


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


def probability_scores(
    probabilities: NDArray[np.float64], codes: NDArray[np.integer], predicted: NDArray[np.integer]
) -> dict[str, float]:
    """Return how good predictions of held-out samples are, each class weighing alike.

    `log_loss` and `brier` (the sum of squared differences over classes) are best when small; for comparison, `log_loss_uniform`
    and `brier_uniform` are those of equal probabilities.

    Parameters
    ----------
    probabilities
        Probability of each class, (n_samples, n_classes).
    codes, predicted
        True and predicted class of each sample, (n_samples,). The best fit is one also where all probabilities are equal.
    """
    n_classes = probabilities.shape[1]
    truth = np.eye(n_classes)[codes]
    own = np.maximum(probabilities[np.arange(len(codes)), codes], np.finfo(float).tiny)
    values = {
        "balanced_accuracy": (predicted == codes).astype(np.float64),
        "log_loss": -np.log(own),
        "brier": ((probabilities - truth) ** 2).sum(axis=1),
    }
    found = {name: float(np.mean([x[codes == c].mean() for c in np.unique(codes)])) for name, x in values.items()}
    return {**found, "log_loss_uniform": float(np.log(n_classes)), "brier_uniform": 1 - 1 / n_classes}
