"""Exact optimal transport over pairs of measures: distances, sparse plans and a certified gap."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import joblib
import numpy as np
import scipy.sparse as sp
from joblib.parallel import BACKENDS, get_active_backend

from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import n_threads, single_threaded_blas

from . import _simplex as simplex
from ._cluster import dask_backend, on_cluster
from ._costs import cost_matrix
from ._interrupts import interruptible
from ._memory_limits import engine_of, sizes_in_memory_errors, threads_within_memory
from ._plans import Plans
from ._transport import Transport

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures, Points

    from ._checkpoint import Checkpoint
    from ._costs import Cost
    from ._simplex import Trees

Method: TypeAlias = Literal["simplex", "pot"]

_MAX_SIMPLEX_ITERATIONS = 10_000_000
_BLOCK_ENTRIES = 2_000_000  # entries of cost matrices per task: some 50 ms; a fixed number, whatever n_jobs


def square_pairs(n: int) -> NDArray[np.int64]:
    """Return all pairs i < j of n measures, (n * (n - 1) / 2, 2)."""
    return np.stack(np.triu_indices(n, k=1), axis=1)


def cross_pairs(n: int, m: int) -> NDArray[np.int64]:
    """Return all pairs of the first n with the following m measures, (n * m, 2)."""
    left, right = np.divmod(np.arange(n * m), max(m, 1))
    return np.stack([left, n + right], axis=1)


@dataclass(frozen=True, eq=False)
class ExactTransport(Transport):
    """Exactly solved pairs; distances are Wasserstein-1 distances (for Euclidean costs).

    Parameters
    ----------
    gap
        Largest relative duality gap of the pairs: no distance is off by more than this fraction.
    measures
        The measures that were compared.
    """

    gap: float
    measures: Measures

    @property
    def error(self) -> float:
        """The largest relative duality gap; of plans held fixed, that at the points they were solved at."""
        return self.gap

    @property
    def start(self) -> Plans | None:
        """The plans: trees from which to solve the same pairs again."""
        return self.plans

    def gradient(self, pair_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of `sum_p w_p distances_p` with respect to the points, (n_points, n_components).

        By the envelope theorem the optimal plans may be held fixed: `dD/dz_a = sum_b plan_ab (z_a - z_b) / |z_a -
        z_b|`, with zero where the length is zero. Nothing of size cells x cells is formed.
        """
        plans, points = self.known_plans, self.measures.points
        lengths = plans.edge_lengths(points)
        pull = plans.of_pairs(pair_weights)
        edge_weights = np.divide(pull, lengths, out=np.zeros_like(pull), where=lengths > 0)
        return np.asarray(plans.laplacian(edge_weights, len(points)) @ points)

    def second_moment(self, points: Points, pair_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        plans = self.known_plans
        return plans.second_moment(points, plans.of_pairs(pair_weights))

    def second_moments(
        self, points: Points, pair_weights: Sequence[NDArray[np.float64]], *, n_jobs: int | None = None
    ) -> list[NDArray[np.float64]]:
        with single_threaded_blas:
            return list(
                joblib.Parallel(n_jobs=n_threads(n_jobs), backend="threading")(
                    joblib.delayed(self.second_moment)(points, weights) for weights in pair_weights
                )
            )

    def moved(self, measures: Measures) -> ExactTransport:
        """Return the same plans held fixed at other points, and the lengths of transport along them."""
        plans = self.known_plans
        distances = plans.sum_by_pair(plans.edge_lengths(measures.points))
        return replace(self, distances=distances, measures=measures)


def solve_pairs(
    measures: Measures,
    pairs: NDArray[np.int64],
    *,
    cost: Cost = "euclidean",
    method: Method = "simplex",
    keep_plans: bool = False,
    keep_trees: bool = False,
    start: Plans | None = None,
    n_jobs: int | None = None,
    progress: str | None = None,
    checkpoint: Checkpoint | None = None,
) -> ExactTransport:
    """Solve optimal transport exactly for the given pairs of measures.

    Parameters
    ----------
    measures
        Point clouds, already in the space in which `cost` is to be measured.
    pairs
        Indices of the measures to compare, (n_pairs, 2).
    cost
        Ground cost between points.
    method
        "simplex" for the compiled network simplex; "pot" for that of POT, which gives the same distances but is slower.
    keep_plans
        Whether to return the optimal plans.
    keep_trees
        Whether the plans include the edges without mass of the final tree of the simplex, for use as `start`.
    start
        Plans with trees of the same pairs at other points. The less the points have moved, the faster. POT ignores it.
    n_jobs
        Tasks at a time; each is a block of pairs. None takes an active `joblib.parallel_config`, else threads on all
        cores. The backend of an active `joblib.parallel_config` is always used. Results do not depend on it.
    progress
        Text of the progress bar, which appears after a few seconds; None for no bar.
    checkpoint
        Where distances of finished blocks are stored, and from which stored ones are read; not together with plans.

    Returns
    -------
    Distances, the certified gap and, on request, plans.
    """
    positive = measures.weights > 0
    if not positive.all():  # a point without mass takes no part
        rows = np.flatnonzero(positive)
        solved = solve_pairs(
            measures.restricted(positive), pairs, cost=cost, method=method, keep_plans=keep_plans,
            keep_trees=keep_trees, start=start and start.moved(np.cumsum(positive) - 1), n_jobs=n_jobs,
            progress=progress, checkpoint=checkpoint,
        )  # fmt: skip
        return replace(solved, measures=measures, plans=solved.plans and solved.plans.moved(rows))
    nothing = np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)
    known, *found = nothing if checkpoint is None else checkpoint.read(pairs)
    done, rest = _Results.of_distances(*found), np.delete(np.arange(len(pairs)), known)
    numbered = np.column_stack([pairs[rest], rest])
    blocks = [(block[:, :2], _trees_of(start, block)) for block in _blocks(measures.sizes, numbered)]
    stop = np.zeros(1, dtype=bool)
    task = _Task(simplex.Clouds.of(measures, pairs), cost, method, keep_plans, keep_trees, stop)
    cluster = dask_backend()
    if cluster is None:
        _check_backend()
        engine = engine_of(method, cost, sparse=sp.issparse(measures.points))
        n = threads_within_memory(n_threads(n_jobs), measures.sizes[pairs[rest]], engine, keep_plans=keep_plans)
        parallel = joblib.Parallel(n_jobs=n, prefer="threads", return_as="generator")
        parts = parallel(joblib.delayed(_solve_block)(task, *block) for block in blocks)
    else:
        parts = on_cluster(cluster, _solve_block, task, blocks, n_jobs=n_jobs)
    results = [done]
    with (
        progress_bar(len(pairs), progress, "pair") as bar,
        single_threaded_blas,
        _cancelled_on_error(parts, stop),
    ):
        bar.update(len(done.distances))
        for (block, _), part in zip(blocks, parts, strict=True):
            results.append(part)
            bar.update(len(part.distances))
            if checkpoint is not None:
                checkpoint.append(block, part.distances, part.gaps)
    whole = _Results.concatenated(results)
    distances = whole.distances[np.argsort(np.concatenate([known, rest]))]
    gap = float(whole.gaps.max(initial=0.0))
    return ExactTransport(pairs, distances, whole.plans if keep_plans else None, gap, measures)


class _Results(NamedTuple):
    """Results of a block of pairs: arrays only, which travel well between processes."""

    distances: NDArray[np.float64]
    gaps: NDArray[np.float64]
    n_entries: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    mass: NDArray[np.float64]

    @classmethod
    def of_distances(cls, distances: NDArray[np.float64], gaps: NDArray[np.float64]) -> _Results:
        whole = np.empty(0, dtype=np.int64)
        return cls(distances, gaps, np.zeros(len(distances), dtype=np.int64), whole, whole, np.empty(0))

    @classmethod
    def concatenated(cls, parts: list[_Results]) -> _Results:
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def narrow(self, n_points: int) -> _Results:
        """Return the same in fewer bytes, to be sent."""
        if n_points > np.iinfo(np.int32).max:
            return self
        return self._replace(rows=self.rows.astype(np.int32), cols=self.cols.astype(np.int32))

    @property
    def plans(self) -> Plans:
        return Plans(np.concatenate([[0], np.cumsum(self.n_entries)]), self.rows, self.cols, self.mass)


@dataclass(frozen=True, eq=False)
class _Task:
    """What all blocks of pairs have in common; it travels to each worker once."""

    clouds: simplex.Clouds
    cost: Cost
    method: Method
    keep_plans: bool
    keep_trees: bool
    stop: NDArray[np.bool_]  # set by the main thread, of the same process, when nobody waits for results any more


def _solve_block(task: _Task, pairs: NDArray[np.int64], start: Trees | None) -> _Results:
    with sizes_in_memory_errors(np.diff(task.clouds.offsets)[pairs]):
        return interruptible(_solved_block, task, pairs, start, stop=task.stop)


def _solved_block(task: _Task, pairs: NDArray[np.int64], start: Trees | None) -> _Results:
    clouds = task.clouds
    points, offsets, weights = clouds.points, clouds.offsets, clouds.weights
    if task.method == "simplex" and task.cost == "euclidean" and not sp.issparse(points):
        with single_threaded_blas:
            distances, bounds, *plans = simplex.solve_block(
                clouds, pairs, keep_plans=task.keep_plans, keep_trees=task.keep_trees, start=start, stop=task.stop
            )
        return _Results(distances, _relative_gaps(distances, bounds), *plans).narrow(len(weights))
    solve = _by_pot if task.method == "pot" else partial(simplex.solve, stop=task.stop)
    distances, bounds, n_entries = np.empty(len(pairs)), np.empty(len(pairs)), np.empty(len(pairs), dtype=np.int64)
    entries: list[tuple[NDArray, NDArray, NDArray]] = []
    with single_threaded_blas:
        for p, (i, j) in enumerate(pairs):
            x, y = slice(offsets[i], offsets[i + 1]), slice(offsets[j], offsets[j + 1])
            costs = cost_matrix(points[x], points[y], task.cost)
            distances[p], bounds[p], rows, cols, mass = solve(costs, weights[x], weights[y])
            n_entries[p] = len(mass)
            if task.keep_plans:
                entries.append((rows + offsets[i], cols + offsets[j], mass))
    empty = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
    rows, cols, mass = (np.concatenate(column) for column in zip(*entries or [empty], strict=True))
    return _Results(distances, _relative_gaps(distances, bounds), n_entries, rows, cols, mass).narrow(len(weights))


def _by_pot(
    costs: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Solve with POT: the same distances from an independent implementation, about three times slower."""
    import ot

    unit = costs.max() or 1.0  # POT's tolerance is absolute
    plan, log = ot.emd(
        a,
        b,
        costs / unit,
        numItermax=_MAX_SIMPLEX_ITERATIONS,
        numThreads=1,
        log=True,
        center_dual=False,
        check_marginals=False,
    )
    if log["warning"] is not None:
        msg = f"an optimal transport problem of {len(a)} x {len(b)} points was not solved: {log['warning']}"
        raise RuntimeError(msg)
    rows, cols = np.nonzero(plan)
    mass = plan[rows, cols]
    u = unit * log["u"]
    v = (costs - u[:, None]).min(axis=0)  # feasible potentials, whatever the solver returned
    return float(mass @ costs[rows, cols]), float(u @ a + v @ b), rows, cols, mass


def _relative_gaps(distances: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far distances may be above the optimum, as fractions of them."""
    excess = np.maximum(distances - bounds, 0.0)
    return np.divide(excess, distances, out=np.zeros_like(excess), where=distances > 0)


def _blocks(sizes: NDArray[np.int64], pairs: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    work = np.cumsum(sizes[pairs[:, 0]] * sizes[pairs[:, 1]])
    cuts: NDArray = np.searchsorted(work, np.arange(_BLOCK_ENTRIES, work[-1], _BLOCK_ENTRIES)) if len(work) else work
    yield from (block for block in np.split(pairs, np.unique(cuts)) if len(block))


def _trees_of(plans: Plans | None, numbered: NDArray[np.int64]) -> Trees | None:
    """Return the trees of consecutive pairs; the last column of `numbered` is the number of the pair."""
    if plans is None:
        return None
    offsets = plans.offsets[numbered[0, 2] : numbered[-1, 2] + 2]
    edges = slice(offsets[0], offsets[-1])
    return offsets - offsets[0], plans.rows[edges], plans.cols[edges]


def _check_backend() -> None:
    backend = get_active_backend(prefer="threads")[0]
    if not (backend.supports_return_generator or isinstance(backend, BACKENDS["sequential"])):
        msg = (
            f"joblib's {type(backend).__name__} cannot return results one by one. Use "
            "joblib.parallel_config(backend='loky') or backend='threading'."
        )
        raise ValueError(msg)


@contextmanager
def _cancelled_on_error(tasks: Generator[_Results], stop: NDArray[np.bool_]) -> Iterator[None]:
    """End tasks and start none after an error or an interrupt, and hide joblib's warning about unfinished tasks."""
    try:
        yield
    except BaseException:
        stop[0] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tasks.close()
        raise
