"""What stays the same during training: the samples, their scale, and how transport between them is solved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from scggml.core.measures._moments import ScaleKind, typical_cost
from scggml.core.transport._entropic import EntropicTransport, solve_pairs_entropic
from scggml.core.transport._exact import solve_pairs

from ._ground_metric import GroundMetric
from ._objective import Objective, Regularizer, transport_gradient

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._plans import Transport

    from ._triplets import Triplets

    Solved: TypeAlias = Transport | EntropicTransport

Solver: TypeAlias = Literal["exact", "sinkhorn", "sinkhorn_divergence"]

SOLVERS = ("exact", "sinkhorn", "sinkhorn_divergence")


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; meanings and defaults as in `GroundMetricLearner`."""

    n_comps: int | None = None
    scale: ScaleKind = "feature"
    init: Literal["discriminant", "random"] = "discriminant"
    n_sweeps: int = 1
    ridge: Literal["auto"] | float = "auto"
    power: float = 1.0
    whitening: float = 1.0
    margin: float = 1.0
    reg: float = 0.1
    regularizer: Regularizer = "frobenius"
    relative: bool = True
    triplets: Literal["auto", "all"] | int = "auto"
    batch_size: int | None = None
    lr: float = 0.02
    solver: Solver = "exact"
    sinkhorn_reg: float = 0.05
    device: str | None = None
    max_cells: Literal["auto"] | int | None = "auto"
    refine_cells: int | None = 100
    max_iter: int = 1
    tol: float = 1e-2


@dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same during training."""

    measures: Measures
    scale: NDArray[np.float64]
    active: NDArray[np.bool_]
    options: TrainingOptions
    n_jobs: int | None
    epsilon: float | None = None

    def project(self, components: NDArray[np.float64]) -> NDArray[np.float64]:
        return GroundMetric(components, self.scale).project(self.measures.points)

    def with_epsilon(self, projected: NDArray[np.float64]) -> Problem:
        """Return the problem with an entropic strength that fits points in this space, if the solver is entropic."""
        if self.options.solver == "exact":
            return self
        space = self.measures.with_points(projected)
        return replace(self, epsilon=self.options.sinkhorn_reg * typical_cost(space))

    def solve(
        self,
        projected: NDArray[np.float64],
        pairs: NDArray[np.int64],
        progress: str | None = None,
        start: Solved | None = None,
    ) -> Solved:
        space = self.measures.with_points(projected)
        if self.epsilon is None:
            return solve_pairs(
                space, pairs, keep_plans=True, keep_trees=self.options.max_iter > 1, n_jobs=self.n_jobs, progress=progress,
                start=None if start is None or isinstance(start, EntropicTransport) else start.plans,
            )  # fmt: skip
        return solve_pairs_entropic(
            space,
            pairs,
            reg=1.0,
            cost_scale=self.epsilon,
            debiased=self.options.solver == "sinkhorn_divergence",
            start=start if isinstance(start, EntropicTransport) else None,
            device=self.options.device,
            n_jobs=self.n_jobs,
            progress=progress,
        )

    def objective(self, triplets: Triplets, reference: float) -> Objective:
        o = self.options
        return Objective(triplets, o.margin, o.reg, o.regularizer, o.relative, reference)

    def value_and_gradient(
        self, objective: Objective, components: NDArray[np.float64], solved: Solved
    ) -> tuple[float, NDArray[np.float64], Solved]:
        """Return the objective, its gradient (k, d), and the transport it was taken at.

        Exact plans are held fixed; entropic ones are brought up to date, which is as cheap as starting from them.
        """
        projected, points = self.project(components), self.measures.points
        if isinstance(solved, EntropicTransport):
            entropic = self.solve(projected, objective.triplets.pairs, start=solved)
            assert isinstance(entropic, EntropicTransport)
            value, slope, gradient = objective(components, entropic.distances)
            transport = np.asarray(points.T @ entropic.gradient(slope)).T
            solved = entropic
        else:
            assert solved.plans is not None
            distances = solved.plans.sum_by_pair(solved.plans.edge_lengths(projected))
            value, slope, gradient = objective(components, distances)
            transport = transport_gradient(points, projected, solved.plans, slope)
        return value, transport / self.scale * self.active + gradient, solved


def gap_of(solved: Solved) -> float:
    return float(solved.marginal_error.max()) if isinstance(solved, EntropicTransport) else solved.gap
