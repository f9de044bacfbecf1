"""Probabilities of classes from distances, calibrated on held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from ._neighbors import class_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_NEIGHBORS = 3
_MAX_INVERSE_TEMPERATURE = 1e6


def relative_class_scores(
    distances: NDArray[np.float64], codes: NDArray[np.integer], *, n_neighbors: int = N_NEIGHBORS
) -> NDArray[np.float64]:
    """Return minus the mean distance to the nearest samples of each class, relative to all classes, (n_new, n_classes).

    The rule is "class_mean" of `class_scores`; the unit of distance, which differs between metrics, cancels.
    """
    scores = class_scores(distances, codes, rule="class_mean", n_neighbors=n_neighbors)
    return scores / np.maximum(-scores.mean(axis=1, keepdims=True), np.finfo(float).tiny)


def fit_inverse_temperature(scores: NDArray[np.float64], codes: NDArray[np.integer]) -> float:
    """Return the inverse temperature of the softmax of scores that predicts held-out samples best.

    It maximises the log likelihood, with equal weight for each class. The targets are smoothed as in Platt scaling
    :cite:p:`platt1999`: a sample of a class of n samples has probability (n + 1) / (n + 2) for its class. Predictions
    in a small cohort without errors therefore do not reach a probability of one.

    Parameters
    ----------
    scores
        How well each class fits each held-out sample, (n_samples, n_classes).
    codes
        Class of each, (n_samples,).
    """
    targets, weights = smoothed_targets(codes, scores.shape[1])
    wanted = weights @ (targets * scores).sum(axis=1)

    def slope(inverse_temperature: float) -> float:  # of the log likelihood, which is concave
        return float(wanted - weights @ (softmax(inverse_temperature * scores, axis=1) * scores).sum(axis=1))

    if slope(0.0) <= 0:
        return 0.0  # held-out samples are not nearer to their own class: all classes are equally likely
    high = 1.0
    while slope(high) > 0 and high < _MAX_INVERSE_TEMPERATURE:
        high *= 2
    return float(brentq(slope, 0.0, high)) if high < _MAX_INVERSE_TEMPERATURE else _MAX_INVERSE_TEMPERATURE


def smoothed_targets(codes: NDArray[np.integer], n_classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smoothed class probabilities, (n_samples, n_classes), and the weight of each sample, (n_samples,)."""
    counts = np.bincount(codes, minlength=n_classes)
    own = counts[codes]
    targets = np.repeat(1.0 / ((own + 2) * (n_classes - 1))[:, None], n_classes, axis=1)
    targets[np.arange(len(codes)), codes] = (own + 1) / (own + 2)
    return targets, 1.0 / (own * (counts > 0).sum())


def class_probabilities(scores: NDArray[np.float64], inverse_temperature: float) -> NDArray[np.float64]:
    """Return the probability of each class, (n_new, n_classes)."""
    return np.asarray(softmax(inverse_temperature * scores, axis=1))


def probability_scores(
    probabilities: NDArray[np.float64], codes: NDArray[np.integer], predicted: NDArray[np.integer]
) -> dict[str, float]:
    """Return the quality of predictions of held-out samples, with equal weight for each class.

    Lower `log_loss` and `brier` (the sum of squared differences over classes) are better; `log_loss_uniform` and
    `brier_uniform` are those of equal probabilities.

    Parameters
    ----------
    probabilities
        Probability of each class, (n_samples, n_classes).
    codes, predicted
        True and predicted class of each sample, (n_samples,). A class is predicted even if all probabilities are equal.
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
