"""Exact optimal transport over pairs of measures: distances, sparse plans and a certified gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import joblib
import numpy as np
import ot
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ._measures import Measures, Points

    Cost: TypeAlias = Literal["euclidean", "cityblock", "cosine"]

COSTS = ("euclidean", "cityblock", "cosine")
_MAX_SIMPLEX_ITERATIONS = 10_000_000
_BLOCK_ENTRIES = 2_000_000  # entries of cost matrices per task: some 100 ms; a fixed number, whatever n_jobs
_GRAM_FROM_WIDTH = 48  # from here on one matrix product beats the direct differences


@dataclass(frozen=True, eq=False)
class Plans:
    """Sparse transport plans of many pairs, back to back.

    Parameters
    ----------
    offsets
        Entry boundaries of the pairs, (n_pairs + 1,).
    rows, cols
        Rows of `Measures.points` that an entry connects, (n_entries,).
    mass
        Mass moved, (n_entries,); the entries of one pair sum to one.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    mass: NDArray[np.float64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of entries of each pair, (n_pairs,)."""
        return np.diff(self.offsets)

    def edge_lengths(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Euclidean length of each entry at the given points, (n_entries,)."""
        lengths = np.empty(len(self.mass))
        step = max(1, 2_000_000 // points.shape[1])
        for start in range(0, len(lengths), step):
            part = slice(start, start + step)
            difference = points[self.rows[part]] - points[self.cols[part]]
            lengths[part] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        return lengths

    def sum_by_pair(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `sum(mass * value)` over the entries of each pair, (n_pairs,)."""
        return np.add.reduceat(self.mass * values, self.offsets[:-1])

    def laplacian(self, edge_weights: NDArray[np.float64], n_points: int) -> sp.csr_array:
        """Return `L` with `X^T L X = sum_e w_e (x_row - x_col)(x_row - x_col)^T`, (n_points, n_points).

        Every sum over plan entries is one such product: second moments of transported differences, and gradients of
        transport distances, `L Z` with `w = coefficient * mass / length`.
        """
        edges = sp.coo_array((edge_weights, (self.rows, self.cols)), shape=(n_points, n_points))
        adjacency = edges + edges.T
        return sp.csr_array(sp.diags_array(np.asarray(adjacency.sum(axis=1))) - adjacency)


@dataclass(frozen=True, eq=False)
class Transport:
    """Solved pairs.

    Parameters
    ----------
    distances
        Wasserstein-1 distance of each pair, (n_pairs,).
    gap
        Largest relative duality gap of the pairs: no distance is off by more than this fraction.
    plans
        The optimal plans, or None when they were not asked for.
    """

    distances: NDArray[np.float64]
    gap: float
    plans: Plans | None


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
    n_jobs: int | None = None,
    progress: str | None = None,
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
    n_jobs
        Threads over blocks of pairs; None takes an active `joblib.parallel_config`, else all cores. Results do not
        depend on it.
    progress
        Text of the progress bar, which appears after a few seconds; None for no bar.

    Returns
    -------
    Distances, the certified gap and, on request, plans.
    """
    blocks = list(_blocks(measures.sizes, pairs))
    bar = tqdm(total=len(pairs), desc=progress, unit="pair", delay=2, leave=False, disable=progress is None or None)
    parallel = joblib.Parallel(n_jobs=_n_threads(n_jobs), prefer="threads", return_as="generator")
    solved = []
    with bar:
        for part in parallel(joblib.delayed(_solve_block)(measures, block, cost, keep_plans) for block in blocks):
            solved.append(part)
            bar.update(len(part[0]))
    if not solved:
        solved = [_solve_block(measures, pairs, cost, keep_plans)]
    distances, gaps, sizes, rows, cols, mass = (np.concatenate(column) for column in zip(*solved, strict=True))
    plans = Plans(np.concatenate([[0], np.cumsum(sizes)]), rows, cols, mass) if keep_plans else None
    return Transport(distances, float(gaps.max(initial=0.0)), plans)


def pairwise_distances(
    measures: Measures,
    other: Measures | None = None,
    *,
    cost: Cost = "euclidean",
    n_jobs: int | None = None,
    progress: str | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Return the distance matrix, (n, n) symmetric with zero diagonal or (n, m) against `other`, and its largest gap."""
    n = len(measures)
    if other is not None:
        both = measures.concat(other)
        solved = solve_pairs(both, cross_pairs(n, len(other)), cost=cost, n_jobs=n_jobs, progress=progress)
        return solved.distances.reshape(n, len(other)), solved.gap
    pairs = square_pairs(n)
    solved = solve_pairs(measures, pairs, cost=cost, n_jobs=n_jobs, progress=progress)
    matrix = np.zeros((n, n))
    matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = solved.distances
    return matrix, solved.gap


def cost_matrix(x: Points, y: Points, cost: Cost) -> NDArray[np.float64]:
    """Return the ground costs between two clouds, (n, m), in float64; Euclidean ones to 1e-10 relative."""
    if cost == "euclidean" and (sp.issparse(x) or x.shape[1] >= _GRAM_FROM_WIDTH):
        return _euclidean_by_gram(x, y)
    dense = [p.toarray() if sp.issparse(p) else p for p in (x, y)]
    # rounding can leave tiny negative cosine costs, and identical points a little above zero
    return np.maximum(cdist(*(p.astype(np.float64, copy=False) for p in dense), metric=cost), 0.0)


def _euclidean_by_gram(x: Points, y: Points) -> NDArray[np.float64]:
    x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    norms = np.asarray((x * x).sum(axis=1)).ravel()[:, None] + np.asarray((y * y).sum(axis=1)).ravel()[None, :]
    inner = x @ y.T
    squared = norms - 2 * (inner.toarray() if sp.issparse(inner) else inner)
    # close points lose digits to cancellation: measure those directly
    rows, cols = np.nonzero(squared < 1e-5 * norms)
    step = max(1, 2_000_000 // x.shape[1])
    for start in range(0, len(rows), step):
        r, c = rows[start : start + step], cols[start : start + step]
        difference = x[r] - y[c]
        squared[r, c] = np.asarray((difference * difference).sum(axis=1)).ravel()
    return np.sqrt(squared)


def _solve_block(measures: Measures, pairs: NDArray[np.int64], cost: Cost, keep_plans: bool) -> tuple[NDArray, ...]:
    distances, gaps, sizes = np.empty(len(pairs)), np.empty(len(pairs)), np.empty(len(pairs), dtype=np.int64)
    entries: list[tuple[NDArray, NDArray, NDArray]] = []
    for p, (i, j) in enumerate(pairs):
        (x, a), (y, b) = measures[i], measures[j]
        costs = cost_matrix(x, y, cost)
        plan, log = ot.emd(
            a,
            b,
            costs,
            numItermax=_MAX_SIMPLEX_ITERATIONS,
            numThreads=1,
            log=True,
            center_dual=False,
            check_marginals=False,
        )
        if log["warning"] is not None:
            msg = f"optimal transport between measures {i} and {j} was not solved: {log['warning']}"
            raise RuntimeError(msg)
        rows, cols = np.nonzero(plan)
        mass = plan[rows, cols]
        distances[p] = mass @ costs[rows, cols]
        gaps[p] = _relative_gap(distances[p], costs, a, b, log["u"])
        sizes[p] = len(mass)
        if keep_plans:
            entries.append((rows + measures.offsets[i], cols + measures.offsets[j], mass))
    empty = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
    rows, cols, mass = (np.concatenate(column) for column in zip(*entries or [empty], strict=True))
    return distances, gaps, sizes, rows, cols, mass


def _relative_gap(
    distance: float, costs: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64], u: NDArray[np.float64]
) -> float:
    """Return how far the distance may be above the optimum: the c-transform of `u` makes a feasible dual, a lower bound."""
    u = np.where(a > 0, u, -np.inf)  # the solver leaves potentials of empty points undefined
    v = (costs - u[:, None]).min(axis=0)
    bound = u[a > 0] @ a[a > 0] + v @ b
    return max(0.0, distance - bound) / distance if distance > 0 else 0.0


def _blocks(sizes: NDArray[np.int64], pairs: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    work = np.cumsum(sizes[pairs[:, 0]] * sizes[pairs[:, 1]])
    cuts: NDArray = np.searchsorted(work, np.arange(_BLOCK_ENTRIES, work[-1], _BLOCK_ENTRIES)) if len(work) else work
    yield from (block for block in np.split(pairs, np.unique(cuts)) if len(block))


def _n_threads(n_jobs: int | None) -> int:
    if n_jobs is not None:
        return n_jobs
    configured: int = joblib.effective_n_jobs(None)
    return configured if configured > 1 else joblib.cpu_count()
