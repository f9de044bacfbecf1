"""How long transport takes, before it is solved: a model of each pair, and its error on this machine and these data."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import joblib
import numpy as np
import scipy.sparse as sp

from scggml.core.measures._threads import n_threads

from ._cluster import dask_backend
from ._exact import square_pairs
from ._memory_limits import engine_of, pair_bytes, plan_bytes
from ._solvers import Exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._costs import Cost
    from ._memory_limits import Engine
    from ._solvers import Solver, SolverSpec

_TRIAL = 1.0  # seconds of a trial, on each thread
_TRIAL_POINTS = 1500  # of a cloud in a trial


@dataclass(frozen=True, eq=False)
class Extent:
    """How large clouds of points are.

    Parameters
    ----------
    sizes
        Numbers of points, (n_measures,).
    n_features
        Width of the points.
    n_values
        Stored values of a point, on average.
    sparse
        Whether points are CSR.
    """

    sizes: NDArray[np.int64]
    n_features: int
    n_values: float
    sparse: bool = False

    @classmethod
    def of(cls, measures: Measures) -> Extent:
        points = measures.points
        n_values = points.size / max(points.shape[0], 1)
        return cls(measures.sizes, measures.n_features, n_values, bool(sp.issparse(points)))

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, index: NDArray[np.integer]) -> Extent:
        """Return that of some of the clouds."""
        return replace(self, sizes=self.sizes[index])

    def thinned(self, n_points: int | None) -> Extent:
        """Return that of at most `n_points` points of each cloud; None leaves them."""
        return self if n_points is None else replace(self, sizes=np.minimum(self.sizes, n_points))

    def projected(self, n_features: int) -> Extent:
        """Return that of the same clouds in a space of this many dimensions."""
        return Extent(self.sizes, n_features, n_features)


@dataclass(frozen=True)
class Work:
    """Transport problems, and what else is computed of them.

    Parameters
    ----------
    n_pairs
        Number of transport problems.
    seconds
        Time that threads share, on one of them, by a model of an ordinary machine.
    serial_seconds
        Time on one thread while the others wait.
    largest
        Numbers of points of the two clouds of the largest problem.
    pair_bytes
        Memory that this problem takes.
    kept_bytes
        Memory for all plans that are kept.
    """

    n_pairs: int = 0
    seconds: float = 0.0
    serial_seconds: float = 0.0
    largest: tuple[int, int] = (0, 0)
    pair_bytes: int = 0
    kept_bytes: int = 0

    def __add__(self, other: Work) -> Work:
        largest = max(self, other, key=lambda work: work.pair_bytes)
        return Work(
            self.n_pairs + other.n_pairs, self.seconds + other.seconds, self.serial_seconds + other.serial_seconds,
            largest.largest, largest.pair_bytes, max(self.kept_bytes, other.kept_bytes),
        )  # fmt: skip

    def times(self, n: float) -> Work:
        """Return the same work n times, one after the other."""
        return replace(
            self, n_pairs=round(n * self.n_pairs), seconds=n * self.seconds, serial_seconds=n * self.serial_seconds
        )

    def duration(self, n_threads: int) -> float:
        """Return the seconds from start to end on so many threads."""
        return self.seconds / n_threads + self.serial_seconds


def transport_work(
    extent: Extent,
    pairs: NDArray[np.int64],
    solver: Solver | SolverSpec = Exact(),  # noqa: B008 it is frozen
    *,
    cost: Cost = "euclidean",
    keep_plans: bool = False,
    warm: bool = False,
) -> Work:
    """Return the work of solving pairs of clouds.

    Parameters
    ----------
    extent
        The clouds.
    pairs
        Indices of the clouds to compare, (n_pairs, 2).
    solver
        How they are solved.
    cost
        Ground cost between points.
    keep_plans
        Whether all plans are kept.
    warm
        Whether there is a solution of the same pairs at points nearby to start from.
    """
    if not len(pairs):
        return Work()
    sizes, engine = extent.sizes[pairs], _engine(extent, solver, cost)
    needed = pair_bytes(sizes, engine)
    at = int(needed.argmax())
    n, m = (int(size) for size in sizes[at])
    seconds = float(pair_seconds(extent, pairs, solver, cost=cost, warm=warm).sum())
    kept = plan_bytes(sizes) if keep_plans and engine != "entropic" else 0
    return Work(len(pairs), seconds, 0.0, (n, m), int(needed[at]), kept)


def pair_seconds(
    extent: Extent,
    pairs: NDArray[np.int64],
    solver: Solver | SolverSpec = Exact(),  # noqa: B008 it is frozen
    *,
    cost: Cost = "euclidean",
    warm: bool = False,
) -> NDArray[np.float64]:
    """Return the time of each pair, (n_pairs,), by a model of solves of 1 to 10,000 points with 2 to 2,000 features."""
    sizes, engine = extent.sizes[pairs].astype(np.float64), _engine(extent, solver, cost)
    entries, points = sizes.prod(axis=1), sizes.sum(axis=1)
    per_value = 1.3 if extent.sparse else 0.04 if cost == "euclidean" else 0.25
    costs = entries * per_value * extent.n_values
    if engine == "entropic":
        return (0.8 if warm else 1.0) * (2e-4 + 1e-9 * (14 * entries + costs))
    # the number of pivots grows with the points; each passes over some rows of the costs and a part of the tree
    pivots = 10 * entries if warm else entries * (13 + 0.55 * np.sqrt(points)) + 0.8 * points**2
    return 2e-5 + 1e-9 * (pivots * (2.5 if engine == "pot" else 1.0) + costs)


def _engine(extent: Extent, solver: Solver | SolverSpec, cost: Cost) -> Engine:
    return engine_of(solver.method, cost, sparse=extent.sparse) if isinstance(solver, Exact) else "entropic"


def threads_of(n_pairs: int, n_jobs: int | None) -> int:
    """Return how many threads work on so many pairs at the same time."""
    cluster = dask_backend()
    if cluster is not None:
        return max(int(cluster.effective_n_jobs(-1 if n_jobs is None else n_jobs)), 1)
    return max(min(joblib.effective_n_jobs(n_threads(n_jobs)), n_pairs), 1)


def measured_pace(measures: Measures, solver: Solver, *, cost: Cost = "euclidean", n_jobs: int | None = None) -> float:
    """Return by how much the model must be multiplied on this machine, for these data and with all threads at work.

    About a second of the pairs is solved, of at most 1,500 points each.

    Parameters
    ----------
    measures
        Clouds that are to be compared with one another.
    solver, cost, n_jobs
        As in `pairwise_distances`.
    """
    by_size = np.argsort(measures.sizes, kind="stable")
    measures = measures.take(by_size[:: max(len(measures) // 30, 1)]).thinned(_TRIAL_POINTS)
    extent, pairs = Extent.of(measures), square_pairs(len(measures))
    pairs = pairs[np.random.default_rng(0).permutation(len(pairs))]
    n = threads_of(len(pairs), n_jobs)
    expected = pair_seconds(extent, pairs, solver, cost=cost)
    n_solved = max(int(np.searchsorted(np.cumsum(expected), _TRIAL * n)), n)
    with warnings.catch_warnings():  # they come once more from the work itself
        warnings.simplefilter("ignore")
        solver.solve(measures.thinned(2), pairs[:1], cost=cost, n_jobs=1)  # loads what is compiled
        start = time.perf_counter()
        solver.solve(measures, pairs[:n_solved], cost=cost, n_jobs=n_jobs)
    return (time.perf_counter() - start) * n / float(expected[:n_solved].sum())
