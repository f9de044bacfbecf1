"""The ground metric `||W (x - y)||` between cells: a low-rank linear map on scaled features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

from ._measures import as_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._measures import Measures, Points

ScaleKind: TypeAlias = Literal["global", "feature"] | None


@dataclass(frozen=True, eq=False)
class GroundMetric:
    """`d(x, y) = ||components @ ((x - y) / scale)||_2`.

    Parameters
    ----------
    components
        Linear map on scaled features, (n_components, n_features).
    scale
        Unit of each feature, (n_features,), positive.
    """

    components: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.components.ndim != 2 or self.scale.shape != (self.components.shape[1],):
            msg = f"components {self.components.shape} and scale {self.scale.shape} do not fit together"
            raise ValueError(msg)
        if not (np.isfinite(self.components).all() and np.isfinite(self.scale).all() and (self.scale > 0).all()):
            msg = "components must be finite, and scale finite and positive"
            raise ValueError(msg)

    @cached_property
    def linear_map(self) -> NDArray[np.float64]:
        """The map on raw features, `components / scale`, (n_components, n_features)."""
        return self.components / self.scale

    def project(self, points: Points) -> NDArray[np.float64]:
        """Return raw points in the learned space, (n_points, n_components); CSR is never densified, stored points never loaded."""
        projected = np.empty((points.shape[0], len(self.components)))
        for rows in row_blocks(points):
            projected[rows] = as_points(points[rows]) @ self.linear_map.T
        return projected

    def mahalanobis_matrix(self) -> NDArray[np.float64]:
        """Return `M` with `d(x, y)^2 = (x - y)^T M (x - y)` on raw features, (n_features, n_features)."""
        return self.linear_map.T @ self.linear_map


def alignment(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the cosine between the Mahalanobis matrices `a^T a` and `b^T b` of components (k, d); 1 where one is zero."""
    ab, aa, bb = (float(np.linalg.norm(x @ y.T)) for x, y in ((a, b), (a, a), (b, b)))
    return ab**2 / (aa * bb) if aa > 0 and bb > 0 else 1.0


def feature_moments(measures: Measures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each feature, every sample counting alike whatever its number of cells."""
    return weighted_moments(measures.points, measures.weights / len(measures))


def weighted_moments(points: Points, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each feature under weights (n_points,) that sum to one; stored points are never loaded."""
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
        # the mean is not subtracted from stored zeros: var = sum of w (x - m)^2 over stored entries + m^2 * w of the rest
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


def column_blocks(n_rows: int, n_columns: int, budget: int = 4_000_000) -> list[slice]:
    """Cut columns into blocks so that a dense (n_rows, block) array holds at most `budget` numbers."""
    step = max(1, budget // max(1, n_rows))
    return [slice(start, min(start + step, n_columns)) for start in range(0, n_columns, step)]


def row_blocks(points: Points, budget: int = 4_000_000) -> list[slice]:
    """Cut rows into blocks of at most `budget` stored numbers, so that what is computed of them stays small."""
    n_rows = points.shape[0]
    step = max(1, budget * n_rows // max(1, points.size))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
