"""Start, refine, stop: from samples and labels to a ground metric."""

from __future__ import annotations

import bisect
import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from tqdm.auto import tqdm

from scggml.core.measures._moments import feature_scale
from scggml.core.measures._threads import single_threaded_blas
from scggml.core.transport._entropic import EntropicTransport
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._plans import Plans, Transport

from ._discriminant import WIDE, default_ridge, transport_discriminant
from ._ground_metric import GroundMetric, alignment
from ._objective import REGULARIZERS, Objective
from ._problem import Problem, TrainingOptions, gap_of
from ._triplets import Triplets, all_triplets, n_all_triplets, sample_triplets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._problem import Solved
    from ._targets import Targets

logger = logging.getLogger(__name__)

MAX_COMPS = 50
_MAX_TRIPLETS = 500_000  # beyond this "auto" samples
_AUTO_NEIGHBORS = 10
_MAX_COSTS = 10_000_000_000  # ground costs of one sweep under "auto": some minutes on two cores
_MAX_WIDE_VALUES = 30_000_000  # stored values of wide points under "auto": each is read hundreds of times
_MIN_CELLS = 50
_NARROW = 500  # features up to which BLAS takes one thread
_STEPS_PER_SOLVE = 10  # gradient steps on fixed plans between exact solves
_MAX_BACKTRACKS = 3


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
        Largest relative duality gap of the transport problems solved last; of entropic ones, the largest marginal error.
    epsilon
        Entropic strength in the unit of the metric's distances; None for the exact solver.
    """

    metric: GroundMetric
    constant: NDArray[np.bool_]
    loss_history: NDArray[np.float64]
    converged: bool
    gap: float
    epsilon: float | None


def train(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> TrainingResult:
    """Learn a ground metric from samples and their labels.

    Parameters
    ----------
    measures
        One measure per sample, raw points.
    targets
        Label of each sample.
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
    # for small matrices more threads mostly wait for one another, and keep a core busy while they wait for more
    with single_threaded_blas if measures.n_features <= _NARROW else nullcontext():
        return _train(measures, targets, options, rng, n_jobs)


def _train(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> TrainingResult:
    scale, constant = feature_scale(measures, options.scale)
    if constant.all():
        msg = "no feature varies between cells: there is nothing to learn a metric from"
        raise ValueError(msg)
    problem = Problem(measures, scale, ~constant, options, n_jobs)
    start_rng, triplet_rng, batch_rng = rng.spawn(3)
    triplets = choose_triplets(targets, options.triplets, triplet_rng)
    pairs = closed_form_pairs(targets, triplets)
    limit = cells_per_sample(measures, pairs, options.max_cells)
    components = _start(replace(problem, measures=measures.thinned(limit)), targets, pairs, start_rng)
    logger.debug(
        "training on %d samples, %d cells, %d features: %d components, %d triplets over %d pairs",
        len(measures), len(measures.weights), measures.n_features, len(components), len(triplets), len(triplets.pairs),
    )  # fmt: skip
    if options.refine_cells is not None:
        problem = replace(problem, measures=measures.thinned(options.refine_cells))
    if options.batch_size is None:
        return _fit_full(problem, components, triplets)
    return _fit_batches(problem, components, triplets, options.batch_size, batch_rng)


def choose_triplets(targets: Targets, kind: Literal["auto", "all"] | int, rng: np.random.Generator) -> Triplets:
    """Return the triplets that training sees, whose pairs the closed form takes."""
    if kind == "auto":
        kind = "all" if n_all_triplets(targets) <= _MAX_TRIPLETS else _AUTO_NEIGHBORS
    return all_triplets(targets) if kind == "all" else sample_triplets(targets, kind, rng)


def closed_form_pairs(targets: Targets, triplets: Triplets) -> NDArray[np.int64]:
    """Return the pairs that the closed form takes, (n_pairs, 2): those of sampled triplets, or all that count.

    A sample without any other to compare its label with is in no triplet as an anchor, but still shows what is noise.
    """
    if len(triplets) < n_all_triplets(targets):
        return triplets.pairs
    pairs = square_pairs(len(targets))
    within, between = targets.pair_weights(pairs)
    return pairs[(within > 0) | (between > 0)]


def cells_per_sample(measures: Measures, pairs: NDArray[np.int64], max_cells: Literal["auto"] | int | None) -> int:
    """Return how many cells of a sample take part in the closed form."""
    largest = int(measures.sizes.max())
    if max_cells != "auto":
        return largest if max_cells is None else max_cells
    values = measures.points.size if measures.n_features > WIDE else 0
    per_cell = values / len(measures.weights)

    def fits(limit: int) -> bool:
        sizes = np.minimum(measures.sizes, limit)
        costs = float(sizes[pairs[:, 0]] @ sizes[pairs[:, 1]])
        return costs <= _MAX_COSTS and float(sizes.sum()) * per_cell <= _MAX_WIDE_VALUES

    if fits(largest):
        return largest
    limit = max(bisect.bisect_left(range(largest), 1, key=lambda n: not fits(n)) - 1, _MIN_CELLS)
    logger.info(
        "the closed form takes at most %d cells of each sample, evenly spaced, of up to %d; max_cells=None takes all",
        limit, largest,
    )  # fmt: skip
    return limit


def _start(
    problem: Problem, targets: Targets, pairs: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    options, measures = problem.options, problem.measures
    n_active = int(problem.active.sum())
    n_comps = min(options.n_comps or MAX_COMPS, n_active)
    if options.init == "random":
        return rng.uniform(-1, 1, size=(n_comps, measures.n_features)) * problem.active
    if options.solver != "exact" and not isinstance(measures.points, np.ndarray):
        measures = measures.with_points(measures.points.toarray())
        problem = replace(problem, measures=measures)
    # first sweep: plans under the Euclidean metric on scaled features
    space = measures.scaled(problem.active / problem.scale).points
    components = np.empty((0, 0))
    ridge = default_ridge(measures) if options.ridge == "auto" else options.ridge
    for sweep in range(options.n_sweeps):
        solved = problem.with_epsilon(space).solve(space, pairs, f"transport sweep {sweep + 1}/{options.n_sweeps}")
        if not solved.distances.any():
            msg = "all samples hold the same cells: there is no difference between classes to learn from"
            raise ValueError(msg)
        components = transport_discriminant(
            measures,
            solved if isinstance(solved, EntropicTransport) else solved.known_plans,
            pairs,
            targets,
            scale=problem.scale,
            active=problem.active,
            n_comps=n_comps,
            ridge=ridge,
            power=options.power,
            whitening=options.whitening,
            n_jobs=problem.n_jobs,
        )
        space = problem.project(components)
    return components


def _fit_full(problem: Problem, components: NDArray[np.float64], triplets: Triplets) -> TrainingResult:
    """Alternate exact solves with gradient steps on fixed plans; keep the best map, stop when nothing moves."""
    options, pairs = problem.options, triplets.pairs
    projected = problem.project(components)
    problem = problem.with_epsilon(projected)
    solved = problem.solve(projected, pairs, "transport under the start")
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
            components, near = _descend(problem, objective, best, best_solved, lr)
            solved = problem.solve(problem.project(components), pairs, start=near)
    unit = float(np.median(best_solved.distances)) if options.relative else 1.0
    epsilon = None if problem.epsilon is None else problem.epsilon / unit
    return TrainingResult(
        GroundMetric(best / unit, problem.scale),
        ~problem.active,
        np.array(history),
        converged,
        gap_of(best_solved),
        epsilon,
    )


def _descend(
    problem: Problem, objective: Objective, components: NDArray[np.float64], solved: Solved, lr: float
) -> tuple[NDArray[np.float64], Solved]:
    weight = torch.tensor(components)
    optimizer = torch.optim.Adam([weight], lr=lr)
    for _ in range(_STEPS_PER_SOLVE):
        solved = _step(problem, objective, weight, optimizer, solved)[1]
    return weight.numpy(), solved


def _step(
    problem: Problem, objective: Objective, weight: torch.Tensor, optimizer: torch.optim.Optimizer, solved: Solved
) -> tuple[float, Solved]:
    value, gradient, solved = problem.value_and_gradient(objective, weight.numpy(), solved)
    weight.grad = torch.from_numpy(np.ascontiguousarray(gradient))
    optimizer.step()
    return value, solved


def _fit_batches(
    problem: Problem, components: NDArray[np.float64], triplets: Triplets, batch_size: int, rng: np.random.Generator
) -> TrainingResult:
    """Train as in the paper: minibatches of triplets, plans solved at every step, the optimiser reset each epoch."""
    options = problem.options
    reference, lr = 1.0, options.lr
    problem = problem.with_epsilon(problem.project(components))
    if options.relative:
        solved = problem.solve(problem.project(components), triplets.pairs, "transport under the start")
        objective, lr = _units(problem, components, solved.distances, triplets)
        reference = objective.reference
    weight = torch.tensor(components)
    history: list[float] = []
    trees = _LastTrees(triplets)
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
                solved = problem.solve(problem.project(weight.numpy()), batch.pairs, start=trees.of(batch.pairs))
                trees.update(batch.pairs, solved)
                total += len(index) * _step(problem, problem.objective(batch, reference), weight, optimizer, solved)[0]
                gap = max(gap, gap_of(solved))
            history.append(total / len(order))
            bar.update()
            bar.set_postfix(loss=f"{history[-1]:.4g}")
            if len(history) > 1:
                change = abs(history[-2] - history[-1])
                if change <= options.tol * history[-1] and _change(before, weight.numpy()) <= 10 * options.tol:
                    converged = True
                    break
    return TrainingResult(
        GroundMetric(weight.numpy(), problem.scale), ~problem.active, np.array(history), converged, gap, problem.epsilon
    )


class _LastTrees:
    """The tree that the exact solver last ended with, of each pair that triplets need: a start for the next time."""

    def __init__(self, triplets: Triplets) -> None:
        self.n_measures = triplets.n_measures
        self.keys = triplets.pairs @ [self.n_measures, 1]
        none = np.empty(0, dtype=np.int64)
        self.trees: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = [(none, none)] * len(self.keys)

    def of(self, pairs: NDArray[np.int64]) -> Transport:
        """Return the trees of these pairs, empty where there are none yet, as plans without mass."""
        known = [self.trees[k] for k in np.searchsorted(self.keys, pairs @ [self.n_measures, 1])]
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows, _ in known])])
        rows, cols = (np.concatenate(part) for part in zip(*known, strict=True))
        return Transport(np.empty(0), 0.0, Plans(offsets, rows, cols, np.zeros(len(rows))))

    def update(self, pairs: NDArray[np.int64], solved: Solved) -> None:
        """Keep the trees of these pairs."""
        if isinstance(solved, EntropicTransport):
            return
        plans = solved.known_plans
        for p, k in enumerate(np.searchsorted(self.keys, pairs @ [self.n_measures, 1])):
            entries = slice(plans.offsets[p], plans.offsets[p + 1])
            self.trees[k] = plans.rows[entries], plans.cols[entries]


def _units(
    problem: Problem, components: NDArray[np.float64], distances: NDArray[np.float64], triplets: Triplets
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
    return float(np.sqrt(max(2 - 2 * alignment(old, new), 0.0)))
