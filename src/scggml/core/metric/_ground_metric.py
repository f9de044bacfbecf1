"""The ground metric `||W (x - y)||` between cells: a low-rank linear map on scaled features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scggml.core.measures._blocks import row_blocks
from scggml.core.measures._measures import as_points
from scggml.core.measures._threads import single_threaded_blas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures, Points


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
        """Return points in the learned space, (n_points, n_components); CSR stays sparse, stored points on disk.

        The last bits do not depend on the threads of BLAS, so that distances do not either.
        """
        projected = np.empty((points.shape[0], len(self.components)))
        with single_threaded_blas:
            for rows in row_blocks(points):
                projected[rows] = as_points(points[rows]) @ self.linear_map.T
        return projected

    def project_measures(self, measures: Measures) -> Measures:
        """Return measures in the learned space."""
        return measures.with_points(self.project(measures.points))

    def mahalanobis_matrix(self) -> NDArray[np.float64]:
        """Return `M` with `d(x, y)^2 = (x - y)^T M (x - y)` on raw features, (n_features, n_features)."""
        return self.linear_map.T @ self.linear_map


def alignment(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the cosine between `a^T a` and `b^T b` of components (k, d); 1 where one is zero."""
    ab, aa, bb = (float(np.linalg.norm(x @ y.T)) for x, y in ((a, b), (a, a), (b, b)))
    return ab**2 / (aa * bb) if aa > 0 and bb > 0 else 1.0
