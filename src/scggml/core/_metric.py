"""The ground metric `||W (x - y)||` between cells: a low-rank linear map on scaled features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

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
        """Return raw points in the learned space, (n_points, n_components); CSR input is never densified."""
        return np.asarray(points @ self.linear_map.T, dtype=np.float64)

    def mahalanobis_matrix(self) -> NDArray[np.float64]:
        """Return `M` with `d(x, y)^2 = (x - y)^T M (x - y)` on raw features, (n_features, n_features)."""
        return self.linear_map.T @ self.linear_map


def feature_moments(measures: Measures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each feature, every sample counting alike whatever its number of cells."""
    points, weights = measures.points, measures.weights / len(measures)
    mean = np.asarray(weights @ points, dtype=np.float64)
    if sp.issparse(points):
        # the mean is not subtracted from stored zeros: var = sum of w (x - m)^2 over stored entries + m^2 * w of the rest
        counts = sp.csr_array(
            (np.ones_like(points.data, dtype=np.float64), points.indices, points.indptr), points.shape
        )
        centred = counts.copy()
        centred.data = (points.data - mean[points.indices]) ** 2
        unstored = np.maximum(1 - weights @ counts, 0.0)
        unstored[np.bincount(points.indices, minlength=points.shape[1]) == points.shape[0]] = 0.0
        return mean, np.asarray(weights @ centred + mean**2 * unstored)
    variance = np.empty_like(mean)
    for cols in column_blocks(*points.shape):
        variance[cols] = weights @ (points[:, cols].astype(np.float64) - mean[cols]) ** 2
    return mean, variance


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
