"""What stays the same while a metric is refined: the samples, their scale, and the solver of transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._ground_metric import GroundMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._solvers import Solver
    from scggml.core.transport._transport import Transport

    from ._objective import Objective


@dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same while a metric is refined.

    Parameters
    ----------
    measures
        Samples with raw points.
    scale, active
        Unit of each feature, and which features vary, (n_features,).
    solver
        Solves transport under the metric.
    n_jobs
        Threads; the result does not depend on it.
    """

    measures: Measures
    scale: NDArray[np.float64]
    active: NDArray[np.bool_]
    solver: Solver
    n_jobs: int | None

    def project(self, components: NDArray[np.float64]) -> Measures:
        """Return the samples in the learned space."""
        return GroundMetric(components, self.scale).project_measures(self.measures)

    def solve(
        self,
        components: NDArray[np.float64],
        pairs: NDArray[np.int64],
        *,
        start: Any = None,
        progress: str | None = None,
    ) -> Transport:
        """Solve the pairs under the metric of the components; `start` is `Transport.start` of the same pairs."""
        return self.solver.solve(
            self.project(components), pairs, keep_plans=True, keep_trees=True, start=start, n_jobs=self.n_jobs,
            progress=progress,
        )  # fmt: skip

    def value_and_gradient(
        self, objective: Objective, components: NDArray[np.float64], solved: Transport
    ) -> tuple[float, NDArray[np.float64], Transport]:
        """Return the objective, its gradient (k, d), and the transport at these components, moved from the last one."""
        solved = solved.moved(self.project(components))
        value, slope, gradient = objective(components, solved.distances)
        transport = np.asarray(self.measures.points.T @ solved.gradient(slope)).T
        return value, transport / self.scale * self.active + gradient, solved
