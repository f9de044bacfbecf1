"""Entropic optimal transport over pairs of measures: Sinkhorn on chunks of pairs, in threads or on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import scipy.sparse as sp

from scggml._warnings import warn
from scggml.core.measures._blocks import column_blocks
from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import n_threads

from ._memory_limits import sizes_in_memory_errors, threads_within_memory
from ._sinkhorn import Backend, SinkhornIteration, backend_of
from ._transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures, Points

    from ._sinkhorn import FloatType

_NO_MASS = 1e-20  # lighter points are left out: they change no digit, but their logarithms use up the range of floats
_MAX_PADDING = 0.25  # of a chunk
_MAX_SPREAD = 1e12  # in units of epsilon: beyond it the exponents have no digits left
_CPU_ENTRIES, _GPU_ENTRIES = 400_000, 50_000_000  # fits in cache; keeps a GPU busy


@dataclass(frozen=True, eq=False)
class EntropicTransport(Transport):
    """Entropically solved pairs.

    The distance of a pair is `min_P <P, C> + epsilon KL(P | a b^T)` or, if debiased, its Sinkhorn divergence.

    Parameters
    ----------
    costs
        Transport cost `<P, C>` of each pair's own plan, debiased or not, (n_pairs,).
    marginal_error
        L1 error of the marginals of a pair's plan (if debiased, the largest of its three plans), (n_pairs,).
    converged
        Whether that is within the tolerance, (n_pairs,).
    n_iter
        Sweeps of Sinkhorn's iteration that each pair took, (n_pairs,).
    epsilon
        Entropic strength, in the unit of the costs.
    offsets, potentials
        Dual potentials of pair `p` at `offsets[p]:offsets[p + 1]`, those of the first measure before those of the
        second; points without mass have none.
    self_terms
        The transport of each measure that occurs to itself, if debiased.
    """

    costs: NDArray[np.float64]
    marginal_error: NDArray[np.float64]
    converged: NDArray[np.bool_]
    n_iter: NDArray[np.int64]
    epsilon: float
    offsets: NDArray[np.int64]
    potentials: NDArray[np.floating]
    self_terms: EntropicTransport | None
    _clouds: _ScaledClouds = field(repr=False)
    _limits: _Limits = field(repr=False)

    @property
    def error(self) -> float:
        """The largest marginal error."""
        return float(self.marginal_error.max(initial=0.0))

    @property
    def start(self) -> EntropicTransport:
        """Itself: its potentials are a start."""
        return self

    def moved(self, measures: Measures) -> EntropicTransport:
        """Solve the same pairs at other points from these potentials, which takes few sweeps."""
        clouds = self._clouds
        return solve_pairs_entropic(
            measures, self.pairs, epsilon=self.epsilon, debiased=self.self_terms is not None,
            max_iter=self._limits.max_iter, tol=self._limits.tol, start=self, device=clouds.backend.device,
            dtype=clouds.backend.dtype, chunk_entries=clouds.chunk_entries, n_jobs=clouds.n_jobs,
        )  # fmt: skip

    def gradient(self, pair_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of `sum_p w_p distances_p` with respect to the points, (n_points, n_components).

        By the envelope theorem the plans may be held fixed: `sum_b P_ab (z_a - z_b) / |z_a - z_b|`, zero where the
        length is zero.
        """
        clouds = self._clouds
        gradient = np.zeros((clouds.n_points, clouds.z.shape[1]))
        gradient[clouds.rows] = self._laplacian(clouds.z, pair_weights, per_length=True)  # free of units
        if self.self_terms is not None:
            share = np.zeros(len(clouds.offsets))
            np.add.at(share, self.pairs, pair_weights[:, None] / 2)
            gradient -= self.self_terms.gradient(share[self.self_terms.pairs[:, 0]])
        return gradient

    def second_moment(self, points: Points, pair_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        clouds = self._clouds
        x = points if len(clouds.rows) == clouds.n_points else points[clouds.rows]
        moment = np.empty((x.shape[1], x.shape[1]))
        for cols in column_blocks(*x.shape):
            block = x[:, cols].toarray() if sp.issparse(x) else x[:, cols]
            moment[:, cols] = x.T @ self._laplacian(block.astype(np.float64), pair_weights, per_length=False)
        return (moment + moment.T) / 2

    def _laplacian(
        self, values: NDArray[np.float64], factor: NDArray[np.float64], *, per_length: bool
    ) -> NDArray[np.float64]:
        """Return `sum_p factor_p sum_b P_ab (v_a - v_b)`, divided by the edge length or not, (n_points, width)."""
        clouds, be = self._clouds, self._clouds.backend
        extended = np.pad(
            values, ((0, 0), (0, 1)), constant_values=1.0
        )  # for the plans' marginals, which are not quite a, b

        def task(chunk: _Chunk) -> list[NDArray[np.float64]]:
            costs = be.costs(*chunk.gather(clouds.z))
            with np.errstate(divide="ignore"):  # padding has no mass, and entries exp(-inf) = 0
                logs = [np.log(w) for w in chunk.masses(clouds.weights)]
            f, g = (be.put(u / self.epsilon + w) for u, w in zip(chunk.split(self.potentials), logs, strict=True))
            plan = f[:, :, None] - costs
            plan += g[:, None, :]
            be.xp.exp(plan, out=plan)
            if per_length:
                costs[costs == 0] = np.inf
                plan /= costs
            left, right = chunk.gather(extended)
            moved = be.matmul(plan, be.put(right)), be.matmul(be.xp.swapaxes(plan, 1, 2), be.put(left))
            c = factor[chunk.index][:, None, None]
            return [
                c * (v[..., :-1] * m[..., -1:] - m[..., :-1])
                for v, m in zip((left, right), map(be.get, moved), strict=True)
            ]

        total = np.zeros_like(values)
        chunks = clouds.chunks(self.pairs, np.flatnonzero(factor), extended.shape[1])
        for chunk, parts in zip(chunks, clouds.map(task, chunks), strict=True):
            chunk.add(total, parts)
        return total


@dataclass(frozen=True)
class _Limits:
    """When Sinkhorn's iteration ends."""

    max_iter: int
    tol: float


def solve_pairs_entropic(
    measures: Measures,
    pairs: NDArray[np.int64],
    *,
    epsilon: float,
    debiased: bool = False,
    max_iter: int = 1000,
    tol: float = 1e-6,
    start: EntropicTransport | None = None,
    device: str | None = None,
    dtype: FloatType = "float64",
    chunk_entries: int | None = None,
    n_jobs: int | None = None,
    progress: str | None = None,
) -> EntropicTransport:
    """Solve entropic optimal transport with Euclidean ground cost for the given pairs of measures.

    Sinkhorn's iteration on kernels that carry the potentials, so that nothing under- or overflows at any strength,
    with Anderson's extrapolation every few sweeps and, where epsilon is small, annealing towards it. The result of a
    pair depends neither on the pairs solved with it nor on `n_jobs`.

    Parameters
    ----------
    measures
        Point clouds, already in the space in which costs are to be measured; CSR points become dense.
    pairs
        Indices of the measures to compare, (n_pairs, 2).
    epsilon
        Entropic strength, in the unit of the costs.
    debiased
        Whether to subtract half of each measure's transport to itself (the Sinkhorn divergence).
    max_iter
        Upper bound on the sweeps of a pair, rounded up to a multiple of three.
    tol
        L1 error of the marginals at which a pair is solved; "float32" reaches about 1e-5.
    start
        An earlier solution of the same pairs, at other points, to start from.
    device
        "cpu", "cuda" or "cuda:<index>"; None for "cuda" if there is one.
    dtype
        Precision of the iteration.
    chunk_entries
        Cost matrix entries worked on at a time, by each thread, with a few arrays of that size. A pair that is larger
        is solved on its own.
    n_jobs
        Threads over chunks on the CPU. None takes an active `joblib.parallel_config`, else all cores.
    progress
        Text of the progress bar, which appears after a few seconds; None for no bar.

    Returns
    -------
    Distances, costs, potentials and convergence; a warning says how many pairs did not converge.
    """
    for name, value in (("epsilon", epsilon), ("tol", tol)):
        if not (np.isfinite(value) and value > 0):
            msg = f"{name} must be positive and finite, found {value}"
            raise ValueError(msg)
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    clouds = _ScaledClouds.of(measures, epsilon, backend_of(device, dtype), chunk_entries, n_jobs)
    limits = _Limits(max_iter, tol)
    solved = _solve(clouds, pairs, start, limits, progress)
    if debiased:
        own = np.unique(pairs)
        before = start and start.self_terms
        selves = _solve(clouds, np.stack([own, own], axis=1), before, limits, None, symmetric=True)
        at = np.searchsorted(own, pairs)
        solved = replace(
            solved,
            # negative values are errors of the solver
            distances=np.maximum(solved.distances - selves.distances[at].sum(axis=1) / 2, 0.0),
            marginal_error=np.maximum(solved.marginal_error, selves.marginal_error[at].max(axis=1)),
            converged=solved.converged & selves.converged[at].all(axis=1),
            self_terms=selves,
        )
    if not solved.converged.all():
        warn(
            f"{(~solved.converged).sum()} of {len(pairs)} pairs did not reach a marginal error of {tol:g} within "
            f"{max_iter} sweeps, the worst is off by {solved.marginal_error.max():.2g}: raise max_iter, or the "
            "entropic strength "
            f"(now epsilon = {solved.epsilon:g})"
        )
    return solved


def _solve(
    clouds: _ScaledClouds,
    pairs: NDArray[np.int64],
    start: EntropicTransport | None,
    limits: _Limits,
    progress: str | None,
    *,
    symmetric: bool = False,
) -> EntropicTransport:
    be, epsilon = clouds.backend, clouds.epsilon
    offsets = np.concatenate([[0], np.cumsum(np.diff(clouds.offsets)[pairs].sum(axis=1))])
    if start is not None and not (np.array_equal(start.pairs, pairs) and np.array_equal(start.offsets, offsets)):
        msg = "start must be a solution of the same pairs between measures of the same sizes"
        raise ValueError(msg)

    stop = Event()

    def task(chunk: _Chunk) -> tuple[NDArray[np.float64], ...]:
        costs = be.costs(*chunk.gather(clouds.z))
        a, b = (be.put(w) for w in chunk.masses(clouds.weights))
        g = None if start is None else be.put(chunk.split(start.potentials)[1] / epsilon)
        with np.errstate(all="ignore"):  # the iteration checks what is finite
            return SinkhornIteration(be, costs, a, b, g, symmetric=symmetric).run(limits.max_iter, limits.tol, stop)

    numbers, potentials = np.zeros((4, len(pairs))), np.empty(offsets[-1], dtype=be.dtype)
    chunks = clouds.chunks(pairs, np.arange(len(pairs)))
    with progress_bar(len(pairs), progress, "pair") as bar:
        try:
            for chunk, (found, f, g) in zip(chunks, clouds.map(task, chunks), strict=True):
                numbers[:, chunk.index] = found
                chunk.join(potentials, f * epsilon, g * epsilon)
                bar.update(len(chunk.index))
        except BaseException:
            stop.set()  # for threads whose results nobody waits for any more
            raise
    distances, costs, error, n_iter = numbers
    return EntropicTransport(
        pairs, distances * epsilon, None, costs * epsilon, error, error <= limits.tol, n_iter.astype(np.int64),
        epsilon, offsets, potentials, None, clouds, limits,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Some pairs, the larger measure on the left, padded with copies of their last points that have no mass.

    `index` says which pairs, (n_pairs,). For each side `rows` says which points, (n_pairs, size), `at` where their
    potentials are, and `real` which are no padding.
    """

    index: NDArray[np.int64]
    rows: list[NDArray[np.int64]]
    at: list[NDArray[np.int64]]
    real: list[NDArray[np.bool_]]

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [values[rows] for rows in self.rows]

    def masses(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [weights[rows] * real for rows, real in zip(self.rows, self.real, strict=True)]

    def split(self, potentials: NDArray[np.floating]) -> list[NDArray[np.floating]]:
        return [potentials[at] for at in self.at]

    def join(self, potentials: NDArray[np.floating], *parts: NDArray[np.float64]) -> None:
        for at, real, part in zip(self.at, self.real, parts, strict=True):
            potentials[at[real]] = part[real]

    def add(self, total: NDArray[np.float64], parts: list[NDArray[np.float64]]) -> None:
        for rows, real, part in zip(self.rows, self.real, parts, strict=True):
            for start, size, values in zip(rows[:, 0], real.sum(axis=1), part, strict=True):
                total[start : start + size] += values[:size]


@dataclass(frozen=True, eq=False)
class _ScaledClouds:
    """Points with mass, centred and in units of epsilon, and how to work on them."""

    z: NDArray[np.float64]
    weights: NDArray[np.float64]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    n_points: int
    epsilon: float
    backend: Backend
    chunk_entries: int
    n_jobs: int | None

    @classmethod
    def of(
        cls, measures: Measures, epsilon: float, backend: Backend, chunk_entries: int | None, n_jobs: int | None
    ) -> _ScaledClouds:
        rows = np.flatnonzero(measures.weights > _NO_MASS)
        points = measures.points[rows]
        z = (points.toarray() if sp.issparse(points) else points).astype(np.float64)
        z = (z - z.mean(axis=0)) / epsilon
        if not np.abs(z).max() < _MAX_SPREAD:
            msg = (
                f"points must be finite, and spread over less than {_MAX_SPREAD:.0e} times epsilon = {epsilon:g}: "
                "raise the entropic strength"
            )
            raise ValueError(msg)
        offsets = np.searchsorted(rows, measures.offsets)
        weights = measures.weights[rows]
        weights = weights / np.repeat(np.add.reduceat(weights, offsets[:-1]), np.diff(offsets))
        if chunk_entries is None:
            chunk_entries = _CPU_ENTRIES if backend.xp is np else _GPU_ENTRIES
        return cls(z, weights, offsets, rows, len(measures.weights), epsilon, backend, chunk_entries, n_jobs)

    def chunks(self, pairs: NDArray[np.int64], chosen: NDArray[np.int64], width: int = 1) -> list[_Chunk]:
        """Cut the chosen pairs into chunks of similar sizes, with room for `width` numbers per point of one side."""
        sizes = np.diff(self.offsets)[pairs]
        at = np.concatenate([[0], np.cumsum(sizes)])[:-1].reshape(-1, 2)
        # the larger on the left, and the same one for a pair and its reverse
        turn = np.argsort(pairs - sizes * len(self.offsets), axis=1)
        sides = (np.take_along_axis(v, turn, axis=1)[chosen] for v in (sizes, self.offsets[pairs], at))
        sizes, starts, at = sides
        coarse = np.floor(np.log(sizes[:, 0]) / np.log(1 + _MAX_PADDING / 2))
        order = np.lexsort((sizes[:, 0], -sizes[:, 1], -coarse))
        cuts, first, n, m, filled = [], 0, 0, 0, 0
        for k, (rows, cols) in enumerate(sizes[order]):
            n, m, filled = max(n, rows), max(m, cols), filled + rows * cols
            padded = (k + 1 - first) * n * m
            wasteful = filled < (1 - _MAX_PADDING) * padded and 10 * padded > self.chunk_entries
            if k > first and (wasteful or padded * max(m, width) > self.chunk_entries * m):
                cuts.append(k)
                first, n, m, filled = k, rows, cols, rows * cols
        return [
            _Chunk(chosen[part], *_padded(sizes[part], starts[part], at[part]))
            for part in np.split(order, cuts)
            if len(part)
        ]

    def map(self, task: Callable[[_Chunk], Any], chunks: list[_Chunk]) -> Iterator[Any]:
        def named(chunk: _Chunk) -> Any:
            with sizes_in_memory_errors(np.stack([real.sum(axis=1) for real in chunk.real], axis=1)):
                return task(chunk)

        if self.backend.xp is not np:
            yield from map(named, chunks)
        else:
            largest = np.array([[rows.shape[1] for rows in chunk.rows] for chunk in chunks]).reshape(-1, 2)
            n = threads_within_memory(n_threads(self.n_jobs), largest, "entropic")
            parallel = joblib.Parallel(n_jobs=n, require="sharedmem", return_as="generator")
            yield from parallel(joblib.delayed(named)(chunk) for chunk in chunks)


def _padded(sizes: NDArray[np.int64], *starts: NDArray[np.int64]) -> Iterator[list[NDArray]]:
    """Yield for each of `starts` the indices of both sides, at last which are no padding."""
    steps = [np.arange(side.max()) for side in sizes.T]
    for first in starts:
        sides = zip(first.T, steps, sizes.T, strict=True)
        yield [start[:, None] + np.minimum(step, size[:, None] - 1) for start, step, size in sides]
    yield [step < size[:, None] for step, size in zip(steps, sizes.T, strict=True)]
