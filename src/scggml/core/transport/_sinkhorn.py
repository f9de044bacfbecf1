"""Sinkhorn's iteration on a chunk of pairs, on threads of the CPU or on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ._costs import cost_matrix

if TYPE_CHECKING:
    from threading import Event

    from numpy.typing import NDArray

    Array: TypeAlias = Any  # NDArray or torch.Tensor: the numerics use what both have under the same name
    FloatType: TypeAlias = Literal["float64", "float32"]

_PERIOD = 3  # sweeps between extrapolations, and between checks
_MEMORY = 6  # sweeps that an extrapolation combines
_SAME = 1e-4  # relative change between steps that hardly change
_ANNEAL_ABOVE, _ANNEAL_FROM, _ANNEAL_BY = 150.0, 0.05, 3.0  # in epsilon; of a pair's largest cost; per stage
_STAGE_TOL, _STAGE_SWEEPS = 3e-3, 150  # when a stage of annealing has done its work
_BLAS_FLOPS = 250_000  # for larger products BLAS starts threads, which get in the way of the threads over chunks


@dataclass
class _State:
    """The pairs that are still iterated: arrays on the backend, whose first axis is the pair.

    Parameters
    ----------
    costs
        Ground costs in units of epsilon, (n_pairs, n, m).
    a, b
        Masses of the points, (n_pairs, n) and (n_pairs, m).
    kernel
        `exp((f + g - costs) / heat)`, (n_pairs, n, m).
    f, g
        Potentials that the kernel carries, (n_pairs, n) and (n_pairs, m).
    x
        What `g` still lacks, in units of the heat, (n_pairs, m).
    rows
        Row sums of the kernel under `x`, (n_pairs, n).
    error, dual
        Marginal error and dual value before the last sweep, (n_pairs,).
    step
        Change of `x` in the last sweep, (n_pairs, m).
    fallback
        `x` before the last extrapolation, (n_pairs, m).
    past, steps
        The last few iterates and their steps, (n_pairs, memory, m).
    used
        Which of these an extrapolation may combine, one or zero, (n_pairs, memory).
    radius
        How far an extrapolation may lead, (n_pairs, 1).
    leap
        Length of the next extrapolation along a drift, (n_pairs, 1).
    """

    costs: Array
    a: Array
    b: Array
    kernel: Array
    f: Array
    g: Array
    x: Array
    rows: Array
    error: Array
    dual: Array
    step: Array
    fallback: Array
    past: Array
    steps: Array
    used: Array
    radius: Array
    leap: Array

    @classmethod
    def first(cls, be: Backend, costs: Array, a: Array, b: Array, x: Array, limit: float) -> _State:
        xp = be.xp
        past, steps = (be.put(np.zeros((len(b), _MEMORY, b.shape[1]))) for _ in range(2))
        leap = past[:, 0, :1] + 1
        return cls(
            costs=costs, a=a, b=b, kernel=xp.empty_like(costs), f=xp.zeros_like(a), g=xp.zeros_like(b), x=x,
            rows=xp.zeros_like(a), error=xp.zeros_like(b[:, 0]), dual=xp.zeros_like(b[:, 0]), step=xp.zeros_like(b),
            fallback=x, past=past, steps=steps, used=past[:, :, 0] + 0, radius=leap * limit / 2, leap=leap,
        )  # fmt: skip

    def take(self, which: Any) -> _State:
        """Return these pairs only."""
        return _State(*(getattr(self, field.name)[which] for field in fields(self)))


class SinkhornIteration:
    """Sinkhorn's iteration on a chunk: costs (n_pairs, n, m) over epsilon, masses a (n_pairs, n), b (n_pairs, m).

    The heat is the multiple of epsilon at which a pair is solved at the moment, (n_pairs,): one, except during
    annealing.
    """

    def __init__(self, be: Backend, costs: Array, a: Array, b: Array, g: Array | None, *, symmetric: bool) -> None:
        xp = be.xp
        self.be, self.symmetric = be, symmetric
        self.limit = float(np.log(np.finfo(be.dtype).max)) / 4  # of exponents
        self.ridge = be.put(500 * np.finfo(be.dtype).eps * np.eye(_MEMORY))
        self.state = _State.first(be, costs, a, b, xp.zeros_like(b) if g is None else g, self.limit)
        self.heat = heat = np.ones(len(a))
        if g is None and not symmetric:
            largest = be.get(xp.amax(xp.amax(costs, 2), 1))
            heat = np.where(largest > _ANNEAL_ABOVE, largest * _ANNEAL_FROM, 1.0)
        self.absorb(np.ones(len(a), dtype=bool), heat)

    def absorb(self, mask: NDArray[np.bool_], heat: NDArray[np.float64]) -> None:
        """Move `x` of some pairs into their kernels, at another heat; then each row and column has largest entry 1."""
        s, xp, be, which = self.state, self.be.xp, self.be, self.be.index(mask)
        before, after = be.put(self.heat[mask])[:, None], be.put(heat[mask])[:, None]
        costs, kernel, g = s.costs[which], s.kernel[which], s.g[which] + before * s.x[which]
        if self.symmetric:  # the diagonal costs nothing: it needs no potentials
            s.g[which] = tight = 0 * g
            xp.multiply(costs, -1, out=kernel)
        else:
            xp.subtract(g[:, None, :], costs, out=kernel)
            s.f[which] = f = -xp.amax(kernel, 2)
            xp.subtract(f[:, :, None], costs, out=kernel)
            s.g[which] = tight = -xp.amax(kernel, 1)
            kernel += tight[:, None, :]
        if (heat[mask] != 1).any():
            kernel /= after[:, :, None]
        xp.exp(kernel, out=kernel)
        if not mask.all():  # else it was written in place
            s.kernel[which] = kernel
        s.x[which] = xp.clip((g - tight) / after, -self.limit / 2, self.limit / 2)
        s.dual[which], s.used[which] = -np.inf, 0.0
        self.heat = np.where(mask, heat, self.heat)

    def sweep(self, i: int) -> None:
        """Update `x`; `error` is the marginal error before."""
        s, xp, be, slot = self.state, self.be.xp, self.be, i % _MEMORY
        left = s.b * xp.exp(s.x)
        s.rows = be.apply(s.kernel, left)
        logs = xp.log(s.rows)
        if self.symmetric:
            x = (s.x - logs) / 2
            dual = (s.b * 2 * s.x - left * s.rows).sum(1)
        else:
            x = -xp.log(be.apply(xp.swapaxes(s.kernel, 1, 2), s.a / s.rows))
            dual = (s.b * s.x).sum(1) - (s.a * logs).sum(1)
        step = x - s.x
        error = (s.b * xp.abs(xp.expm1(step * (-2 if self.symmetric else -1)))).sum(1)
        good = xp.isfinite(dual)
        if i % _PERIOD == 0:  # at the extrapolated point: what plain sweeps raise must not have fallen
            good = dual >= s.dual - np.finfo(be.dtype).eps * xp.abs(s.dual)
            x, error = xp.where(good[:, None], x, s.fallback), xp.where(good, error, s.error)
            s.leap = xp.where(good[:, None] | (s.leap == 1), s.leap, 0.0)
            s.radius = xp.where(good[:, None], self.limit / 2, s.radius)
        s.past[:, slot], s.steps[:, slot], s.used[:, slot] = x, step * xp.sqrt(s.b), 1.0 * good
        s.x, s.error, s.dual, s.step = x, error, dual, step

    def extrapolate(self, slot: int) -> None:
        """Go to the combination of past iterates whose combined step is shortest (Anderson's acceleration)."""
        s, xp = self.state, self.be.xp
        steps = s.steps * s.used[:, :, None]
        norms = xp.sqrt((steps * steps).sum(2))[:, :, None]
        norms = xp.where(norms > 0, norms, 1.0)
        steps = steps / norms
        gram = steps @ xp.swapaxes(steps, 1, 2) + self.ridge
        weights = xp.linalg.solve(gram, s.used[:, :, None] / norms) / norms
        x = (weights * s.past).sum(1) / weights.sum(1)
        move = x - s.x
        length = xp.amax(xp.abs(move), 1)[:, None]
        # steps that hardly change do not combine to a shorter one: groups of points that exchange nothing drift towards
        # each other, evenly. Follow them, by twice as much each time, until that was too far
        change = xp.sqrt(((s.steps[:, slot] - s.steps[:, slot - 1]) ** 2).sum(1))[:, None]
        drift = (~(length <= self.limit / 2) | (change < _SAME * norms[:, slot])) & (s.leap > 0)
        stride = s.leap / xp.amax(xp.abs(s.step), 1)[:, None]
        part = xp.clip(s.radius / length, 0.0, 1.0)
        move = xp.where(drift, stride * s.step, part * move)
        # in case this is taken back: a shorter one next time
        s.radius = xp.where(drift, s.radius, part * length / 4)
        s.leap = xp.where(drift, xp.clip(2 * s.leap, 1.0, self.limit / 2), 1.0)
        s.fallback, s.x = s.x, s.x + xp.where(xp.isfinite(move), move, 0.0)

    def run(
        self, max_iter: int, tol: float, stop: Event
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Iterate until the marginals are right; return value, cost, error and sweeps, (4, n_pairs), and f and g.

        What is returned after `stop` was set, by another thread, is of no use.
        """
        xp, be, s = self.be.xp, self.be, self.state
        numbers, f, g = np.zeros((4, len(s.a))), np.zeros(s.a.shape), np.zeros(s.b.shape)
        row_pairs, busy, stage, sweeps = np.arange(len(f)), np.ones(len(f), dtype=bool), np.zeros(len(f)), 0
        while busy.any() and not stop.is_set():
            for i in range(sweeps, sweeps + _PERIOD):
                self.sweep(i)
            sweeps += _PERIOD
            stage += _PERIOD
            reach = xp.amax(xp.abs(s.x), 1) + xp.amax(xp.abs(xp.log(s.rows)), 1)
            error, reach = be.get(xp.stack([s.error, reach]))
            out_of_time = sweeps >= max_iter
            # beyond the limit the kernel may have lost what matters now; what is not finite is taken back
            far = ~(reach <= self.limit) & (not self.symmetric)
            settled = (self.heat > 1) & ((error <= _STAGE_TOL) | (stage >= _STAGE_SWEEPS) | out_of_time)
            done = busy & ((error <= tol) & ~far & (self.heat == 1) | out_of_time)
            if (busy & (far | settled)).any():
                s.x = xp.where(xp.isfinite(s.x), s.x, s.fallback)
                cooler = np.where(settled, np.maximum(self.heat / _ANNEAL_BY, 1.0), self.heat)
                self.absorb(busy & (far | settled), np.ones_like(cooler) if out_of_time else cooler)
                stage[settled] = 0
            if done.any():
                at = row_pairs[done]
                numbers[3, at] = sweeps
                numbers[:3, at], f[at], g[at] = map(be.get, self.finish(be.index(done)))
                busy &= ~done
                if 4 * busy.sum() <= 3 * len(busy):
                    s = self.state = s.take(be.index(busy))
                    row_pairs, stage, self.heat = row_pairs[busy], stage[busy], self.heat[busy]
                    busy = busy[busy]
            if busy.any():
                self.extrapolate((sweeps - 1) % _MEMORY)
        return numbers, f, g

    def finish(self, which: Array) -> tuple[Array, Array, Array]:
        """Return value, cost and marginal error, (3, n_pairs), and the potentials of some pairs."""
        be, xp, s = self.be, self.be.xp, self.state
        kernel, a, b, x = s.kernel[which], s.a[which], s.b[which], s.x[which]
        right = b * xp.exp(x)
        rows = be.apply(kernel, right)
        y = x if self.symmetric else -xp.log(rows)
        left = a * xp.exp(y)
        error = xp.abs(left * rows - a).sum(1) + xp.abs(right * be.apply(xp.swapaxes(kernel, 1, 2), left) - b).sum(1)
        f, g = s.f[which] + y, s.g[which] + x
        shift = ((a * f).sum(1) - (b * g).sum(1))[:, None] / 2  # free to choose: both sides get the same value
        f, g = f - shift, g + shift
        value = (a * f).sum(1) + (b * g).sum(1) - (left * rows).sum(1) + 1
        kernel *= s.costs[which]  # not needed any more
        return xp.stack([value, (left * be.apply(kernel, right)).sum(1), error]), f, g


@dataclass(frozen=True, eq=False)
class Backend:
    """NumPy in threads on the CPU, where torch's own threads would slow one another down; torch on a GPU.

    Parameters
    ----------
    xp
        The module, numpy or torch.
    dtype
        Precision of the iteration.
    device
        As torch calls it.
    """

    xp: Any
    dtype: FloatType
    device: str

    def put(self, values: NDArray) -> Array:
        if self.xp is np:
            return values.astype(self.dtype, copy=False)
        return self.xp.as_tensor(values, dtype=getattr(self.xp, self.dtype), device=self.device)

    def get(self, values: Array) -> NDArray[np.float64]:
        return np.asarray(values if self.xp is np else values.cpu(), dtype=np.float64)

    def index(self, mask: NDArray[np.bool_]) -> Any:
        if mask.all():
            return slice(None)  # a view instead of a copy
        rows = np.flatnonzero(mask)
        return rows if self.xp is np else self.xp.as_tensor(rows, device=self.device)

    def costs(self, left: NDArray[np.float64], right: NDArray[np.float64]) -> Array:
        """Return the distances between points, (n_pairs, n, m)."""
        if self.xp is not np:
            return self.xp.cdist(self.put(left), self.put(right), compute_mode="donot_use_mm_for_euclid_dist")
        costs = np.empty((*left.shape[:2], right.shape[1]), dtype=self.dtype)
        for out, x, y in zip(costs, left, right, strict=True):
            out[:] = cost_matrix(x, y, "euclidean")
        return costs

    def apply(self, matrices: Array, vectors: Array) -> Array:
        return self.matmul(matrices, vectors[:, :, None])[:, :, 0]

    def matmul(self, left: Array, right: Array) -> Array:
        if self.xp is not np:
            return left @ right
        out = np.empty((*left.shape[:2], right.shape[2]), dtype=self.dtype)
        step = max(1, _BLAS_FLOPS // (right.shape[1] * right.shape[2]))
        for start in range(0, left.shape[1], step):
            rows = slice(start, start + step)
            np.matmul(left[:, rows], right, out=out[:, rows])
        return out


def backend_of(device: str | None, dtype: FloatType) -> Backend:
    if dtype not in ("float64", "float32"):
        msg = f'dtype must be "float64" or "float32", found {dtype!r}'
        raise ValueError(msg)
    if device == "cpu":
        return Backend(np, dtype, "cpu")
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ["cpu", *["cuda"][:n_gpus], *(f"cuda:{i}" for i in range(n_gpus))]
    if device is not None and device not in names:
        msg = f"device {device!r} is not there: pass None or one of {', '.join(names)}"
        raise ValueError(msg)
    return Backend(torch, dtype, device or "cuda") if n_gpus else Backend(np, dtype, "cpu")
