"""Scores of distances between samples by what is known of the samples: those of SPARE, as patpy computes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from ._intervals import label_intervals, mean_interval, rank_interval
from ._scores import spearman

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.metric._targets import LabelKind

    Score: TypeAlias = tuple[float, float, float]  # the score, and the ends of its interval

N_NEIGHBORS = 3
Role: TypeAlias = Literal["relevant", "technical", "contextual"]
ROLES: tuple[Role, ...] = ("relevant", "technical", "contextual")


@dataclass(frozen=True, eq=False)
class Covariate:
    """What is known of the samples.

    Parameters
    ----------
    name, role
        The column, and the argument that it was passed as.
    kind
        "class", "ordinal" or "continuous", as of a label.
    known
        Whether the value is known, (n_samples,).
    values
        Position of the class or ordinal value, or the number, of each sample whose value is known, (n_known,).
    """

    name: str
    role: Role
    kind: LabelKind
    known: NDArray[np.bool_]
    values: NDArray[np.float64]


def information_retention(
    distances: NDArray[np.float64], values: NDArray[np.float64], kind: LabelKind, units: NDArray[np.int64]
) -> Score:
    """Return how well the values of samples are predicted by their 3 nearest others, from 0 (chance) to 1.

    For classes it is macro F1, corrected for chance: with L classes, `L / (L - 1) * (F1 - 1 / L)`. For other values it
    is Spearman's correlation. What is below zero is set to zero, as patpy does.

    Parameters
    ----------
    distances
        Distances between samples, (n_samples, n_samples).
    values
        Class 0..n_classes-1 or value of each sample, not all equal, (n_samples,).
    kind
        Kind of value.
    units
        Patient of each sample, (n_samples,). Samples of one patient do not predict one another, and count as one in
        the interval.
    """
    predicted = predict(distances, values, kind, units)
    if kind != "class":
        rho = spearman(values, predicted)
        return _clipped(rho, *rank_interval("spearman", rho, len(np.unique(units))))
    n_classes = len(np.unique(values))
    n_units = np.array([len(np.unique(units[values == c])) for c in range(n_classes)], dtype=np.float64)
    f1 = float(f1_score(values, predicted, average="macro", zero_division=0))
    low, high = label_intervals(confusion_matrix(values, predicted).astype(np.float64), n_units)["macro_f1"]
    return _clipped(*((n_classes * value - 1) / (n_classes - 1) for value in (f1, low, high)))


def predict(
    distances: NDArray[np.float64], values: NDArray[np.float64], kind: LabelKind, units: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the value of each sample that its 3 nearest samples of other units predict, (n_samples,).

    A neighbour counts by one over its distance. If some are at distance zero, only these count.
    """
    others = np.where(units[:, None] == units, np.inf, distances)
    nearest = np.argsort(others, axis=1, kind="stable")[:, :N_NEIGHBORS]
    lengths = np.take_along_axis(others, nearest, axis=1)
    same = lengths == 0
    weights = np.where(same.any(axis=1, keepdims=True), same, 1 / np.where(same, 1, lengths))
    if kind != "class":
        return np.asarray((weights * values[nearest]).sum(axis=1) / weights.sum(axis=1))
    classes = np.unique(values)
    votes = np.stack([(weights * (values[nearest] == c)).sum(axis=1) for c in classes], axis=1)
    return np.asarray(classes[votes.argmax(axis=1)])


def trajectory_preservation(
    pseudotime: NDArray[np.float64], values: NDArray[np.float64], units: NDArray[np.int64]
) -> Score:
    """Return the absolute Spearman correlation of pseudotime with ordered values; all are (n_samples,)."""
    rho = spearman(values, pseudotime)
    low, high = rank_interval("spearman", rho, len(np.unique(units)))
    if low < 0 < high:
        return _clipped(abs(rho), 0.0, max(-low, high))
    return _clipped(abs(rho), *sorted((abs(low), abs(high))))


def replicate_robustness(distances: NDArray[np.float64], units: NDArray[np.int64]) -> Score:
    """Return the share of samples that are farther from a sample than its replicate, as a mean over patients.

    Parameters
    ----------
    distances
        Distances between samples, (n_samples, n_samples).
    units
        Patient of each sample, (n_samples,). Samples of one patient are replicates; one patient at least has several.
    """
    same = units[:, None] == units
    shares: dict[int, list[float]] = {}
    for i, unit in enumerate(units):
        replicates = np.flatnonzero(same[i] & (np.arange(len(units)) != i))
        if len(replicates):
            closer = (distances[i, ~same[i]] < distances[i, replicates][:, None]).sum(axis=1)
            shares.setdefault(int(unit), []).append(float(1 - closer.mean() / (len(units) - 1)))
    of_patients = np.array([np.mean(found) for found in shares.values()])
    return _clipped(float(of_patients.mean()), *mean_interval(of_patients))


def reversed_score(score: Score) -> Score:
    """Return one minus a score, and its interval: how little is retained."""
    value, low, high = score
    return 1 - value, 1 - high, 1 - low


def _clipped(value: float, low: float, high: float) -> Score:
    value, low, high = (float(np.clip(x, 0.0, 1.0)) for x in (value, low, high))
    return value, low, high
