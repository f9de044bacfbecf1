"""Gradient steps that lower the objective from a start, on all triplets or on minibatches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml.core.measures._progress import progress_bar
from scggml.core.transport._plans import Plans

from ._ground_metric import alignment
from ._objective import REGULARIZERS, Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.transport._solvers import Solver
    from scggml.core.transport._transport import Transport

    from ._options import Refinement
    from ._problem import Problem
    from ._triplets import Triplets

STEPS_PER_SOLVE = 10  # gradient steps on fixed plans between solves
_MAX_BACKTRACKS = 3


@dataclass(frozen=True, eq=False)
class Refined:
    """Components after refinement.

    Parameters
    ----------
    components
        The best components, on scaled features, (n_comps, n_features).
    solver
        The solver, in the unit of the components.
    loss_history
        Objective at each evaluation on newly solved plans, or its mean over each epoch of minibatches, (n_iter,).
    converged
        Whether objective and metric settled.
    error
        Error of the transport problems behind the components.
    """

    components: NDArray[np.float64]
    solver: Solver
    loss_history: NDArray[np.float64]
    converged: bool
    error: float


def evaluate(problem: Problem, components: NDArray[np.float64], triplets: Triplets, options: Refinement) -> Refined:
    """Return the components as they are, in units of the median distance, with their objective."""
    solved = problem.solve(components, triplets.pairs, progress="transport under the closed form")
    objective, _ = _in_units(components, solved.distances, triplets, options)
    loss = objective(components, solved.distances)[0]
    return _result(problem, components, solved, [loss], converged=True, relative=options.relative)


def refine(problem: Problem, components: NDArray[np.float64], triplets: Triplets, options: Refinement) -> Refined:
    """Alternate solves with gradient steps on fixed plans; keep the best components, stop when nothing moves."""
    pairs = triplets.pairs
    solved = problem.solve(components, pairs, progress="transport under the start")
    objective, lr = _in_units(components, solved.distances, triplets, options)
    best, best_loss, best_solved = components, np.inf, solved
    history: list[float] = []
    backtracks, converged = 0, False
    with progress_bar(options.max_iter, "refine", "iteration") as bar:
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
                break
            components, near = _descend(problem, objective, best, best_solved, lr)
            solved = problem.solve(components, pairs, start=near.start)
    return _result(problem, best, best_solved, history, converged=converged, relative=options.relative)


def refine_by_minibatches(
    problem: Problem,
    components: NDArray[np.float64],
    triplets: Triplets,
    options: Refinement,
    minibatch: int,
    rng: np.random.Generator,
) -> Refined:
    """Train as in the paper: minibatches of triplets, plans solved at every step, the optimiser reset each epoch."""
    whole, lr = Objective.of(triplets, options), options.lr
    if options.relative:
        solved = problem.solve(components, triplets.pairs, progress="transport under the start")
        whole, lr = _in_units(components, solved.distances, triplets, options)
    steps = _Adam(problem, components)
    trees = _LastTrees(triplets)
    history: list[float] = []
    error, converged = 0.0, False
    with progress_bar(options.max_iter, "train", "epoch") as bar:
        for _ in range(options.max_iter):
            before = steps.components.copy()
            steps.reset(lr)
            total, error = 0.0, 0.0
            order = rng.permutation(len(triplets))
            for first in range(0, len(order), minibatch):
                index = order[first : first + minibatch]
                objective = replace(whole, triplets=triplets.subset(index))
                pairs = objective.triplets.pairs
                solved = problem.solve(steps.components, pairs, start=trees.of(pairs))
                trees.update(pairs, solved)
                total += len(index) * steps.take(objective, solved)[0]
                error = max(error, solved.error)
            history.append(total / len(order))
            bar.update()
            bar.set_postfix(loss=f"{history[-1]:.4g}")
            if len(history) > 1:
                change = abs(history[-2] - history[-1])
                if change <= options.tol * history[-1] and _change(before, steps.components) <= 10 * options.tol:
                    converged = True
                    break
    return Refined(steps.components, problem.solver, np.array(history), converged, error)


def _result(
    problem: Problem,
    components: NDArray[np.float64],
    solved: Transport,
    history: list[float],
    *,
    converged: bool,
    relative: bool,
) -> Refined:
    unit = float(np.median(solved.distances)) if relative else 1.0
    return Refined(components / unit, problem.solver.in_unit(unit), np.array(history), converged, solved.error)


class _Adam:
    """Steps of Adam from given components."""

    def __init__(self, problem: Problem, components: NDArray[np.float64]) -> None:
        import torch

        self.problem, self.weight = problem, torch.tensor(components)
        self.optimizer: Any = None

    @property
    def components(self) -> NDArray[np.float64]:
        """The components now; they change with the next step."""
        return self.weight.numpy()

    def reset(self, lr: float) -> None:
        """Forget earlier gradients."""
        import torch

        self.optimizer = torch.optim.Adam([self.weight], lr=lr)

    def take(self, objective: Objective, solved: Transport) -> tuple[float, Transport]:
        """Take a step; return the objective before it and the transport it was taken at."""
        import torch

        value, gradient, solved = self.problem.value_and_gradient(objective, self.components, solved)
        self.weight.grad = torch.from_numpy(np.ascontiguousarray(gradient))
        self.optimizer.step()
        return value, solved


def _descend(
    problem: Problem, objective: Objective, components: NDArray[np.float64], solved: Transport, lr: float
) -> tuple[NDArray[np.float64], Transport]:
    steps = _Adam(problem, components)
    steps.reset(lr)
    for _ in range(STEPS_PER_SOLVE):
        solved = steps.take(objective, solved)[1]
    return steps.components, solved


class _LastTrees:
    """The last tree of the exact solver for each pair of the triplets, as a start for the next time."""

    def __init__(self, triplets: Triplets) -> None:
        self.n_measures = triplets.n_measures
        self.keys = triplets.pairs @ [self.n_measures, 1]
        none = np.empty(0, dtype=np.int64)
        self.trees: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = [(none, none)] * len(self.keys)
        self.any = False

    def of(self, pairs: NDArray[np.int64]) -> Plans | None:
        """Return the trees of these pairs, empty where there are none yet, as plans without mass."""
        if not self.any:
            return None
        known = [self.trees[k] for k in np.searchsorted(self.keys, pairs @ [self.n_measures, 1])]
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows, _ in known])])
        rows, cols = (np.concatenate(part) for part in zip(*known, strict=True))
        return Plans(offsets, rows, cols, np.zeros(len(rows)))

    def update(self, pairs: NDArray[np.int64], solved: Transport) -> None:
        """Keep the trees of these pairs, if the solver has any."""
        plans = solved.plans
        if plans is None:
            return
        self.any = True
        for p, k in enumerate(np.searchsorted(self.keys, pairs @ [self.n_measures, 1])):
            entries = slice(plans.offsets[p], plans.offsets[p + 1])
            self.trees[k] = plans.rows[entries], plans.cols[entries]


def _in_units(
    components: NDArray[np.float64], distances: NDArray[np.float64], triplets: Triplets, options: Refinement
) -> tuple[Objective, float]:
    """Return the objective and the step size; if relative, in units of the start's norm and size."""
    objective = Objective.of(triplets, options)
    if not options.relative:
        return objective, options.lr
    unit = float(np.median(distances))
    if not unit > 0:
        msg = (
            "at least half of the pairs of samples are at distance zero under the start, so that there is no unit of "
            "distance. Check the samples for copies of one another, or pass refine=Refinement(relative=False)."
        )
        raise ValueError(msg)
    reference = REGULARIZERS[options.regularizer](components)[0] / unit
    return replace(objective, reference=reference), options.lr * float(np.sqrt((components**2).mean()))


def _change(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """Return by how much the direction of the Mahalanobis matrix moved, `|M_new / |M_new| - M_old / |M_old||`.

    It depends neither on the rotation of the components nor on the unit of the metric.
    """
    return float(np.sqrt(max(2 - 2 * alignment(old, new), 0.0)))
