"""Moments of features over cells and samples, and the unit that features are divided by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

from ._blocks import row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._measures import Measures, Points

ScaleKind: TypeAlias = Literal["global", "feature"] | None


def feature_moments(measures: Measures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each feature, every sample counting alike whatever its number of cells."""
    return weighted_moments(measures.points, measures.weights / len(measures))


def weighted_moments(points: Points, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each feature under weights (n_points,) with sum one; stored points stay on disk."""
    n_points, n_features = points.shape
    mean, variance = np.zeros(n_features), np.zeros(n_features)
    for rows in row_blocks(points):
        mean += weights[rows] @ points[rows]
    stored, n_stored = np.zeros(n_features), np.zeros(n_features, dtype=np.int64)
    for rows in row_blocks(points):
        block = points[rows]
        if not sp.issparse(block):
            variance += weights[rows] @ (block.astype(np.float64) - mean) ** 2
            n_stored += block.shape[0]
            continue
        # zeros that are not stored: var = sum of w (x - m)^2 over stored entries + m^2 * w of the rest
        weight = np.repeat(weights[rows], np.diff(block.indptr))
        squares = (block.data - mean[block.indices]) ** 2
        variance += np.bincount(block.indices, weight * squares, minlength=n_features)
        stored += np.bincount(block.indices, weight, minlength=n_features)
        n_stored += np.bincount(block.indices, minlength=n_features)
    partly = n_stored < n_points
    variance[partly] += mean[partly] ** 2 * np.maximum(1 - stored[partly], 0.0)
    return mean, variance


def typical_cost(measures: Measures) -> float:
    """Return the root mean squared Euclidean distance between two cells of any samples, samples counting alike."""
    return float(np.sqrt(2 * feature_moments(measures)[1].sum()))


def feature_scale(measures: Measures, kind: ScaleKind) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the unit of each feature and which features are constant.

    Parameters
    ----------
    measures
        The training samples.
    kind
        "feature": each feature's standard deviation; "global": one root mean variance for all; None: ones.

    Returns
    -------
    The scale, (n_features,), one for constant features, and the mask of constant features, (n_features,).
    """
    mean, variance = feature_moments(measures)
    constant = variance <= (1e-12 * np.abs(mean)) ** 2
    if kind is None or constant.all():
        return np.ones_like(mean), constant
    if kind == "global":
        return np.full_like(mean, np.sqrt(variance[~constant].mean())), constant
    return np.where(constant, 1.0, np.sqrt(variance)), constant
