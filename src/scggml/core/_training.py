"""Start, refine, stop: from samples and classes to a ground metric."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from tqdm.auto import tqdm

from ._discriminant import default_ridge, transport_discriminant
from ._metric import GroundMetric, ScaleKind, feature_scale
from ._objective import REGULARIZERS, Objective, Regularizer, transport_gradient
from ._transport import Plans, Transport, solve_pairs, square_pairs
from ._triplets import Triplets, all_triplets, n_all_triplets, sample_triplets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._measures import Measures

logger = logging.getLogger(__name__)

MAX_COMPS = 50
_MAX_TRIPLETS = 500_000  # beyond this "auto" samples
_AUTO_NEIGHBORS = 5
_STEPS_PER_SOLVE = 10  # gradient steps on fixed plans between exact solves
_MAX_BACKTRACKS = 3


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; meanings and defaults as in `GroundMetricLearner`."""

    n_comps: int | None = None
    scale: ScaleKind = "feature"
    init: Literal["discriminant", "random"] = "discriminant"
    n_sweeps: int = 1
    ridge: Literal["auto"] | float = "auto"
    power: float = 1.0
    whitening: float = 0.5
    margin: float = 1.0
    reg: float = 0.1
    regularizer: Regularizer = "frobenius"
    relative: bool = True
    triplets: Literal["auto", "all"] | int = "auto"
    batch_size: int | None = None
    lr: float = 0.02
    refine_cells: int | None = 100
    max_iter: int = 1
    tol: float = 1e-2


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What training found.

    Parameters
    ----------
    metric
        The learned ground metric.
    constant
        Which features do not vary and so have weight zero, (n_features,).
    loss_history
        Objective at each exact evaluation, or its mean over each epoch of minibatches, (n_iter,).
    converged
        Whether objective and subspace settled before `max_iter`; the closed form without refinement counts as settled.
    gap
        Largest relative duality gap of the transport problems solved last.
    """

    metric: GroundMetric
    constant: NDArray[np.bool_]
    loss_history: NDArray[np.float64]
    converged: bool
    gap: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """What stays the same during training."""

    measures: Measures
    scale: NDArray[np.float64]
    active: NDArray[np.bool_]
    options: TrainingOptions
    n_jobs: int | None

    def project(self, components: NDArray[np.float64]) -> NDArray[np.float64]:
        return GroundMetric(components, self.scale).project(self.measures.points)

    def solve(self, projected: NDArray[np.float64], triplets: Triplets, progress: str | None = None) -> Transport:
        return solve_pairs(
            self.measures.with_points(projected), triplets.pairs, keep_plans=True, n_jobs=self.n_jobs, progress=progress
        )

    def objective(self, triplets: Triplets, reference: float) -> Objective:
        o = self.options
        return Objective(triplets, o.margin, o.reg, o.regularizer, o.relative, reference)

    def value_and_gradient(
        self, objective: Objective, components: NDArray[np.float64], plans: Plans
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the objective and its gradient (k, d) with the plans held fixed."""
        projected = self.project(components)
        distances = plans.sum_by_pair(plans.edge_lengths(projected))
        value, slope, gradient = objective(components, distances)
        transport = transport_gradient(self.measures.points, projected, plans, slope)
        return value, transport / self.scale * self.active + gradient


def train(
    measures: Measures,
    codes: NDArray[np.integer],
    options: TrainingOptions,
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> TrainingResult:
    """Learn a ground metric from samples and their classes.

    Parameters
    ----------
    measures
        One measure per sample, raw points.
    codes
        Class of each sample, 0..n_classes-1, (n_samples,).
    options
        How to train.
    rng
        Source of the random start and of sampled triplets and batches.
    n_jobs
        Threads for the transport problems; the result does not depend on it.

    Returns
    -------
    The metric, with loss history and whether training converged.
    """
    scale, constant = feature_scale(measures, options.scale)
    if constant.all():
        msg = "no feature varies between cells: there is nothing to learn a metric from"
        raise ValueError(msg)
    problem = _Problem(measures, scale, ~constant, options, n_jobs)
    start_rng, triplet_rng, batch_rng = rng.spawn(3)
    triplets = _choose_triplets(codes, options.triplets, triplet_rng)
    components = _start(problem, codes, start_rng)
    logger.debug(
        "training on %d samples, %d cells, %d features: %d components, %d triplets over %d pairs",
        len(measures), len(measures.weights), measures.n_features, len(components), len(triplets), len(triplets.pairs),
    )  # fmt: skip
    if options.refine_cells is not None:
        problem = replace(problem, measures=measures.thinned(options.refine_cells))
    if options.batch_size is None:
        return _fit_full(problem, components, triplets)
    return _fit_batches(problem, components, triplets, options.batch_size, batch_rng)


def _choose_triplets(
    codes: NDArray[np.integer], kind: Literal["auto", "all"] | int, rng: np.random.Generator
) -> Triplets:
    if kind == "auto":
        kind = "all" if n_all_triplets(codes) <= _MAX_TRIPLETS else _AUTO_NEIGHBORS
    return all_triplets(codes) if kind == "all" else sample_triplets(codes, kind, rng)


def _start(problem: _Problem, codes: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.float64]:
    options, measures = problem.options, problem.measures
    n_active = int(problem.active.sum())
    n_comps = min(options.n_comps or MAX_COMPS, n_active)
    if options.init == "random":
        return rng.uniform(-1, 1, size=(n_comps, measures.n_features)) * problem.active
    pairs = square_pairs(len(measures))
    # first sweep: plans under the Euclidean metric on scaled features
    space = measures.scaled(problem.active / problem.scale)
    components = np.empty((0, 0))
    ridge = default_ridge(measures) if options.ridge == "auto" else options.ridge
    for sweep in range(options.n_sweeps):
        solved = solve_pairs(
            space, pairs, keep_plans=True, n_jobs=problem.n_jobs,
            progress=f"transport sweep {sweep + 1}/{options.n_sweeps}",
        )  # fmt: skip
        assert solved.plans is not None
        components = transport_discriminant(
            measures,
            solved.plans,
            pairs,
            codes,
            scale=problem.scale,
            active=problem.active,
            n_comps=n_comps,
            ridge=ridge,
            power=options.power,
            whitening=options.whitening,
        )
        space = measures.with_points(problem.project(components))
    return components


def _fit_full(problem: _Problem, components: NDArray[np.float64], triplets: Triplets) -> TrainingResult:
    """Alternate exact solves with gradient steps on fixed plans; keep the best map, stop when nothing moves."""
    options = problem.options
    solved = problem.solve(problem.project(components), triplets, "transport under the start")
    objective, lr = _units(problem, components, solved.distances, triplets)
    best, best_loss, best_solved = components, np.inf, solved
    history: list[float] = []
    backtracks, converged = 0, False
    with tqdm(total=options.max_iter, desc="refine", unit="iter", delay=2, leave=False, disable=None) as bar:
        while True:
            loss = objective(components, solved.distances)[0]
            history.append(loss)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4g}")
            improvement = best_loss - loss
            if improvement > 0:
                settled = improvement <= options.tol * loss and _change(best, components) <= 10 * options.tol
                best, best_loss, best_solved = components, loss, solved
                if settled or objective.satisfied(solved.distances):
                    converged = True
                    break
            else:
                # the steps led too far from the plans they relied on: go back and take smaller ones
                backtracks += 1
                lr /= 4
                if backtracks > _MAX_BACKTRACKS:
                    converged = True
                    break
            if len(history) >= options.max_iter:
                # the closed form on its own is an end, not a stop half-way
                converged = options.init == "discriminant" and options.max_iter == 1
                break
            assert best_solved.plans is not None
            components = _descend(problem, objective, best, best_solved.plans, lr)
            solved = problem.solve(problem.project(components), triplets)
    unit = float(np.median(best_solved.distances)) if options.relative else 1.0
    return TrainingResult(
        GroundMetric(best / unit, problem.scale), ~problem.active, np.array(history), converged, best_solved.gap
    )


def _descend(
    problem: _Problem, objective: Objective, components: NDArray[np.float64], plans: Plans, lr: float
) -> NDArray[np.float64]:
    weight = torch.tensor(components)
    optimizer = torch.optim.Adam([weight], lr=lr)
    for _ in range(_STEPS_PER_SOLVE):
        _step(problem, objective, weight, optimizer, plans)
    return weight.numpy()


def _step(
    problem: _Problem, objective: Objective, weight: torch.Tensor, optimizer: torch.optim.Optimizer, plans: Plans
) -> float:
    value, gradient = problem.value_and_gradient(objective, weight.numpy(), plans)
    weight.grad = torch.from_numpy(np.ascontiguousarray(gradient))
    optimizer.step()
    return value


def _fit_batches(
    problem: _Problem, components: NDArray[np.float64], triplets: Triplets, batch_size: int, rng: np.random.Generator
) -> TrainingResult:
    """Train as in the paper: minibatches of triplets, plans solved at every step, the optimiser reset each epoch."""
    options = problem.options
    reference, lr = 1.0, options.lr
    if options.relative:
        solved = problem.solve(problem.project(components), triplets, "transport under the start")
        objective, lr = _units(problem, components, solved.distances, triplets)
        reference = objective.reference
    weight = torch.tensor(components)
    history: list[float] = []
    gap, converged = 0.0, False
    with tqdm(total=options.max_iter, desc="train", unit="epoch", delay=2, leave=False, disable=None) as bar:
        for _ in range(options.max_iter):
            before = weight.numpy().copy()
            optimizer = torch.optim.Adam([weight], lr=lr)
            total, gap = 0.0, 0.0
            order = rng.permutation(len(triplets))
            for start in range(0, len(order), batch_size):
                index = order[start : start + batch_size]
                batch = triplets.subset(index)
                solved = problem.solve(problem.project(weight.numpy()), batch)
                assert solved.plans is not None
                total += len(index) * _step(
                    problem, problem.objective(batch, reference), weight, optimizer, solved.plans
                )
                gap = max(gap, solved.gap)
            history.append(total / len(order))
            bar.update()
            bar.set_postfix(loss=f"{history[-1]:.4g}")
            if len(history) > 1:
                change = abs(history[-2] - history[-1])
                if change <= options.tol * history[-1] and _change(before, weight.numpy()) <= 10 * options.tol:
                    converged = True
                    break
    return TrainingResult(
        GroundMetric(weight.numpy(), problem.scale), ~problem.active, np.array(history), converged, gap
    )


def _units(
    problem: _Problem, components: NDArray[np.float64], distances: NDArray[np.float64], triplets: Triplets
) -> tuple[Objective, float]:
    """Return the objective and the step size; if relative, in units of the start's norm and size."""
    options = problem.options
    if not options.relative:
        return problem.objective(triplets, 1.0), options.lr
    unit = float(np.median(distances))
    if not unit > 0:
        msg = (
            "at least half of the pairs of samples are at distance zero under the start, so that there is no unit for a relative "
            "margin. Pass relative=False, or check the samples for copies of one another."
        )
        raise ValueError(msg)
    reference = REGULARIZERS[options.regularizer](components)[0] / unit
    return problem.objective(triplets, reference), options.lr * float(np.sqrt((components**2).mean()))


def _change(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """Return by how much the direction of the Mahalanobis matrix moved, `|M_new / |M_new| - M_old / |M_old||`.

    Neither rotation of the components nor the metric's unit matters.
    """
    oo, nn, on = (float(np.linalg.norm(a @ b.T)) ** 2 for a, b in ((old, old), (new, new), (old, new)))
    return float(np.sqrt(max(2 - 2 * on / np.sqrt(oo * nn), 0.0))) if oo > 0 and nn > 0 else 0.0
