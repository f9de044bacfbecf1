"""Exact optimal transport over pairs of measures: distances, sparse plans and a certified gap."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import joblib
import numpy as np
import ot
import scipy.sparse as sp
from tqdm.auto import tqdm

from scggml.core.measures._threads import n_threads, single_threaded_blas

from ._cluster import dask_backend, on_cluster
from ._costs import cost_matrix
from ._plans import Plans, Transport

try:
    from . import _simplex as simplex
except ImportError:  # no numba for this Python
    simplex = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures, Points

    from ._checkpoint import Checkpoint
    from ._costs import Cost

    Trees: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # offsets, rows, cols

_MAX_SIMPLEX_ITERATIONS = 10_000_000
_BLOCK_ENTRIES = 2_000_000  # entries of cost matrices per task: some 50 ms; a fixed number, whatever n_jobs


def square_pairs(n: int) -> NDArray[np.int64]:
    """Return all pairs i < j of n measures, (n * (n - 1) / 2, 2)."""
    return np.stack(np.triu_indices(n, k=1), axis=1)


def cross_pairs(n: int, m: int) -> NDArray[np.int64]:
    """Return all pairs of the first n with the following m measures, (n * m, 2)."""
    left, right = np.divmod(np.arange(n * m), max(m, 1))
    return np.stack([left, n + right], axis=1)


def solve_pairs(
    measures: Measures,
    pairs: NDArray[np.int64],
    *,
    cost: Cost = "euclidean",
    keep_plans: bool = False,
    keep_trees: bool = False,
    start: Plans | None = None,
    n_jobs: int | None = None,
    progress: str | None = None,
    checkpoint: Checkpoint | None = None,
) -> Transport:
    """Solve optimal transport exactly for the given pairs of measures.

    Parameters
    ----------
    measures
        Point clouds, already in the space in which `cost` is to be measured.
    pairs
        Indices of the measures to compare, (n_pairs, 2).
    cost
        Ground cost between points.
    keep_plans
        Whether to return the optimal plans.
    keep_trees
        Whether these include the edges without mass of the tree that the solver ended with, for use as `start`.
    start
        Plans with trees of the same pairs, found when the points were elsewhere. The less they have moved, the faster.
    n_jobs
        Tasks at a time; each is a block of pairs. None takes an active `joblib.parallel_config`, whose backend is used in any
        case, else threads on all cores. Results do not depend on it.
    progress
        Text of the progress bar, which appears after a few seconds; None for no bar.
    checkpoint
        Where distances of finished blocks are kept, and read from if there are any; not together with plans.

    Returns
    -------
    Distances, the certified gap and, on request, plans.
    """
    positive = measures.weights > 0
    if not positive.all():  # a point without mass takes no part
        rows = np.flatnonzero(positive)
        solved = solve_pairs(
            measures.restricted(positive), pairs, cost=cost, keep_plans=keep_plans, keep_trees=keep_trees,
            start=start and start.moved(np.cumsum(positive) - 1), n_jobs=n_jobs, progress=progress, checkpoint=checkpoint,
        )  # fmt: skip
        return solved if solved.plans is None else replace(solved, plans=solved.plans.moved(rows))
    done = _Results.empty() if checkpoint is None else _Results.of_distances(*checkpoint.read(len(pairs)))
    numbered = np.column_stack([pairs, np.arange(len(pairs))])
    blocks = [
        (_trees_of(start, block), block[:, :2], cost, keep_plans, keep_trees)
        for block in _blocks(measures.sizes, numbered[len(done.distances) :])
    ]
    arrays = (measures.points, measures.offsets, measures.weights, *_integer_masses(measures))
    bar = tqdm(total=len(pairs), desc=progress, unit="pair", delay=2, leave=False, disable=progress is None or None)
    bar.update(len(done.distances))
    cluster = dask_backend()
    if cluster is None:
        parallel = joblib.Parallel(n_jobs=n_threads(n_jobs), prefer="threads", return_as="generator")
        parts = parallel(joblib.delayed(_solve_block)(*arrays, *block) for block in blocks)
    else:
        parts = on_cluster(cluster, _solve_block, arrays, blocks, n_jobs=n_jobs)
    results = [done]
    with bar, single_threaded_blas, _cancelled_on_error(parts):
        for part in parts:
            results.append(part)
            bar.update(len(part.distances))
            if checkpoint is not None:
                checkpoint.append(part.distances, part.gaps)
    return _Results.concatenated(results).transport(keep_plans)


class _Results(NamedTuple):
    """What a block of pairs brings back: arrays only, so that it travels well between processes."""

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
    def empty(cls) -> _Results:
        return cls.of_distances(np.empty(0), np.empty(0))

    @classmethod
    def concatenated(cls, parts: list[_Results]) -> _Results:
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def narrow(self, n_points: int) -> _Results:
        """Return the same in fewer bytes, for the way."""
        if n_points > np.iinfo(np.int32).max:
            return self
        return self._replace(rows=self.rows.astype(np.int32), cols=self.cols.astype(np.int32))

    def transport(self, keep_plans: bool) -> Transport:
        offsets = np.concatenate([[0], np.cumsum(self.n_entries)])
        plans = Plans(offsets, self.rows, self.cols, self.mass) if keep_plans else None
        return Transport(self.distances, float(self.gaps.max(initial=0.0)), plans)


def _solve_block(
    points: Points,
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    masses: NDArray[np.int64],
    uniform: NDArray[np.bool_],
    start: Trees | None,
    pairs: NDArray[np.int64],
    cost: Cost,
    keep_plans: bool,
    keep_trees: bool,
) -> _Results:
    if simplex is not None and cost == "euclidean" and not sp.issparse(points):
        with single_threaded_blas:
            distances, bounds, *plans = simplex.solve_block(
                points, offsets, masses, uniform, pairs, keep_plans, keep_trees, start
            )
        return _Results(distances, _relative_gaps(distances, bounds), *plans).narrow(len(weights))
    distances, bounds, n_entries = np.empty(len(pairs)), np.empty(len(pairs)), np.empty(len(pairs), dtype=np.int64)
    entries: list[tuple[NDArray, NDArray, NDArray]] = []
    with single_threaded_blas:
        for p, (i, j) in enumerate(pairs):
            x, y = slice(offsets[i], offsets[i + 1]), slice(offsets[j], offsets[j + 1])
            costs = cost_matrix(points[x], points[y], cost)
            distances[p], bounds[p], rows, cols, mass = (_by_pot if simplex is None else simplex.solve)(
                costs, weights[x], weights[y]
            )
            n_entries[p] = len(mass)
            if keep_plans:
                entries.append((rows + offsets[i], cols + offsets[j], mass))
    empty = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
    rows, cols, mass = (np.concatenate(column) for column in zip(*entries or [empty], strict=True))
    return _Results(distances, _relative_gaps(distances, bounds), n_entries, rows, cols, mass).narrow(len(weights))


def _by_pot(
    costs: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Solve with POT, where numba is not to be had: the same results, some three times slower."""
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
    v = (costs - u[:, None]).min(axis=0)  # feasible potentials, whatever the solver left
    return float(mass @ costs[rows, cols]), float(u @ a + v @ b), rows, cols, mass


def _relative_gaps(distances: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far distances may be above the optimum, as fractions of them."""
    excess = np.maximum(distances - bounds, 0.0)
    return np.divide(excess, distances, out=np.zeros_like(excess), where=distances > 0)


def _integer_masses(measures: Measures) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if simplex is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_)
    clouds = np.split(measures.weights, measures.offsets[1:-1])
    total = simplex.integer_total(int(measures.sizes.max()))
    uniform = np.array([simplex.is_uniform(weights) for weights in clouds])
    return simplex.integer_masses(measures.weights, total), uniform


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


@contextmanager
def _cancelled_on_error(tasks: Generator[_Results]) -> Iterator[None]:
    """Let no task start after an error or an interrupt, and leave out joblib's warning that some did not come to an end."""
    try:
        yield
    except BaseException:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tasks.close()
        raise
