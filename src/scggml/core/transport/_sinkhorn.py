"""Sinkhorn's iteration on a batch of pairs, on threads of the CPU or on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from ._costs import cost_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = Any  # NDArray or torch.Tensor: the numerics use what both have under the same name
    FloatType: TypeAlias = Literal["float64", "float32"]

_PERIOD = 3  # sweeps between extrapolations, and between checks
_MEMORY = 6  # sweeps that an extrapolation combines
_SAME = 1e-4  # relative change between steps that hardly change
_ANNEAL_ABOVE, _ANNEAL_FROM, _ANNEAL_BY = 150.0, 0.05, 3.0  # in epsilon; of a pair's largest cost; per stage
_STAGE_TOL, _STAGE_SWEEPS = 3e-3, 150  # when a stage of annealing has done its work
_BLAS_FLOPS = 250_000  # for larger products BLAS starts threads, which get in the way of the threads over batches


class Sinkhorn:
    """Sinkhorn's iteration on a batch: costs (n_pairs, n, m) in units of epsilon, weights a (n_pairs, n), b (n_pairs, m).

    The kernel `exp((f + g - costs) / heat)` carries potentials; `x` is what `g` still lacks, in units of `heat`. That is
    how many times epsilon a pair is solved at: one but for annealing.
    """

    def __init__(self, be: Backend, costs: Array, a: Array, b: Array, g: Array | None, *, symmetric: bool) -> None:
        xp = be.xp
        self.be, self.costs, self.a, self.b, self.symmetric = be, costs, a, b, symmetric
        self.limit = float(np.log(np.finfo(be.dtype).max)) / 4  # of exponents
        self.kernel, self.f, self.g = xp.empty_like(costs), xp.zeros_like(a), xp.zeros_like(b)
        self.x = self.fallback = xp.zeros_like(b) if g is None else g
        self.rows, self.error, self.dual = xp.zeros_like(a), xp.zeros_like(b[:, 0]), xp.zeros_like(b[:, 0])
        self.past, self.steps = (be.put(np.zeros((len(b), _MEMORY, b.shape[1]))) for _ in range(2))
        self.ridge = be.put(500 * np.finfo(be.dtype).eps * np.eye(_MEMORY))
        self.used, self.leap, self.heat = self.past[:, :, 0] + 0, self.past[:, 0, :1] + 1, np.ones(len(a))
        self.radius = (
            self.leap * self.limit / 2
        )  # how far an extrapolation may lead; `leap`: the next one along a drift
        heat = self.heat
        if g is None and not symmetric:
            largest = be.get(xp.amax(xp.amax(costs, 2), 1))
            heat = np.where(largest > _ANNEAL_ABOVE, largest * _ANNEAL_FROM, 1.0)
        self.absorb(np.ones(len(a), dtype=bool), heat)

    def absorb(self, mask: NDArray[np.bool_], heat: NDArray[np.float64]) -> None:
        """Move `x` of some pairs into their kernels, at another heat; the largest entry of each row and column is then 1."""
        xp, be, which = self.be.xp, self.be, self.be.index(mask)
        before, after = be.put(self.heat[mask])[:, None], be.put(heat[mask])[:, None]
        costs, kernel, g = self.costs[which], self.kernel[which], self.g[which] + before * self.x[which]
        if self.symmetric:  # the diagonal costs nothing: it needs no potentials
            self.g[which] = tight = 0 * g
            xp.multiply(costs, -1, out=kernel)
        else:
            xp.subtract(g[:, None, :], costs, out=kernel)
            self.f[which] = f = -xp.amax(kernel, 2)
            xp.subtract(f[:, :, None], costs, out=kernel)
            self.g[which] = tight = -xp.amax(kernel, 1)
            kernel += tight[:, None, :]
        if (heat[mask] != 1).any():
            kernel /= after[:, :, None]
        xp.exp(kernel, out=kernel)
        if not mask.all():  # else it was written in place
            self.kernel[which] = kernel
        self.x[which] = xp.clip((g - tight) / after, -self.limit / 2, self.limit / 2)
        self.dual[which], self.used[which] = -np.inf, 0.0
        self.heat = np.where(mask, heat, self.heat)

    def sweep(self, i: int) -> None:
        """Update `x`; `error` is the marginal error before."""
        xp, be, slot = self.be.xp, self.be, i % _MEMORY
        left = self.b * xp.exp(self.x)
        self.rows = be.apply(self.kernel, left)
        logs = xp.log(self.rows)
        if self.symmetric:
            x = (self.x - logs) / 2
            dual = (self.b * 2 * self.x - left * self.rows).sum(1)
        else:
            x = -xp.log(be.apply(xp.swapaxes(self.kernel, 1, 2), self.a / self.rows))
            dual = (self.b * self.x).sum(1) - (self.a * logs).sum(1)
        step = x - self.x
        error = (self.b * xp.abs(xp.expm1(step * (-2 if self.symmetric else -1)))).sum(1)
        good = xp.isfinite(dual)
        if i % _PERIOD == 0:  # at the extrapolated point: what plain sweeps raise must not have fallen
            good = dual >= self.dual - np.finfo(be.dtype).eps * xp.abs(self.dual)
            x, error = xp.where(good[:, None], x, self.fallback), xp.where(good, error, self.error)
            self.leap = xp.where(good[:, None] | (self.leap == 1), self.leap, 0.0)
            self.radius = xp.where(good[:, None], self.limit / 2, self.radius)
        self.past[:, slot], self.steps[:, slot], self.used[:, slot] = x, step * xp.sqrt(self.b), 1.0 * good
        self.x, self.error, self.dual, self.step = x, error, dual, step

    def extrapolate(self, slot: int) -> None:
        """Go to the combination of past iterates whose combined step is shortest (Anderson's acceleration)."""
        xp = self.be.xp
        steps = self.steps * self.used[:, :, None]
        norms = xp.sqrt((steps * steps).sum(2))[:, :, None]
        norms = xp.where(norms > 0, norms, 1.0)
        steps = steps / norms
        gram = steps @ xp.swapaxes(steps, 1, 2) + self.ridge
        weights = xp.linalg.solve(gram, self.used[:, :, None] / norms) / norms
        x = (weights * self.past).sum(1) / weights.sum(1)
        move = x - self.x
        length = xp.amax(xp.abs(move), 1)[:, None]
        # steps that hardly change do not combine to a shorter one: groups of points that exchange nothing drift towards
        # each other, evenly. Follow them, by twice as much each time, until that was too far
        change = xp.sqrt(((self.steps[:, slot] - self.steps[:, slot - 1]) ** 2).sum(1))[:, None]
        drift = (~(length <= self.limit / 2) | (change < _SAME * norms[:, slot])) & (self.leap > 0)
        stride = self.leap / xp.amax(xp.abs(self.step), 1)[:, None]
        part = xp.clip(self.radius / length, 0.0, 1.0)
        move = xp.where(drift, stride * self.step, part * move)
        # in case this is taken back: a shorter one next time
        self.radius = xp.where(drift, self.radius, part * length / 4)
        self.leap = xp.where(drift, xp.clip(2 * self.leap, 1.0, self.limit / 2), 1.0)
        self.fallback, self.x = self.x, self.x + xp.where(xp.isfinite(move), move, 0.0)

    def run(self, max_iter: int, tol: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Iterate until the marginals are right; return value, cost, error and sweeps, (4, n_pairs), and f and g."""
        xp, be = self.be.xp, self.be
        numbers, f, g = np.zeros((4, len(self.a))), np.zeros(self.a.shape), np.zeros(self.b.shape)
        row_pairs, busy, stage, sweeps = np.arange(len(f)), np.ones(len(f), dtype=bool), np.zeros(len(f)), 0
        while busy.any():
            for i in range(sweeps, sweeps + _PERIOD):
                self.sweep(i)
            sweeps += _PERIOD
            stage += _PERIOD
            reach = xp.amax(xp.abs(self.x), 1) + xp.amax(xp.abs(xp.log(self.rows)), 1)
            error, reach = be.get(xp.stack([self.error, reach]))
            out_of_time = sweeps >= max_iter
            # beyond the limit the kernel may have lost what matters now; what is not finite is taken back
            far = ~(reach <= self.limit) & (not self.symmetric)
            settled = (self.heat > 1) & ((error <= _STAGE_TOL) | (stage >= _STAGE_SWEEPS) | out_of_time)
            done = busy & ((error <= tol) & ~far & (self.heat == 1) | out_of_time)
            if (busy & (far | settled)).any():
                self.x = xp.where(xp.isfinite(self.x), self.x, self.fallback)
                cooler = np.where(settled, np.maximum(self.heat / _ANNEAL_BY, 1.0), self.heat)
                self.absorb(busy & (far | settled), np.ones_like(cooler) if out_of_time else cooler)
                stage[settled] = 0
            if done.any():
                at = row_pairs[done]
                numbers[3, at] = sweeps
                numbers[:3, at], f[at], g[at] = map(be.get, self.finish(be.index(done)))
                busy &= ~done
                if 4 * busy.sum() <= 3 * len(busy):
                    self.keep(be.index(busy))
                    row_pairs, stage, self.heat = row_pairs[busy], stage[busy], self.heat[busy]
                    busy = busy[busy]
            if busy.any():
                self.extrapolate((sweeps - 1) % _MEMORY)
        return numbers, f, g

    def keep(self, which: Array) -> None:
        """Drop all pairs but these."""
        for name in "costs kernel a b f g x rows error dual past steps step used radius leap".split():
            setattr(self, name, getattr(self, name)[which])

    def finish(self, which: Array) -> tuple[Array, Array, Array]:
        """Return value, cost and marginal error, (3, n_pairs), and the potentials of some pairs."""
        be, xp, kernel, a, b, x = self.be, self.be.xp, self.kernel[which], self.a[which], self.b[which], self.x[which]
        right = b * xp.exp(x)
        rows = be.apply(kernel, right)
        y = x if self.symmetric else -xp.log(rows)
        left = a * xp.exp(y)
        error = xp.abs(left * rows - a).sum(1) + xp.abs(right * be.apply(xp.swapaxes(kernel, 1, 2), left) - b).sum(1)
        f, g = self.f[which] + y, self.g[which] + x
        shift = ((a * f).sum(1) - (b * g).sum(1))[:, None] / 2  # to be had at no price: let both sides weigh the same
        f, g = f - shift, g + shift
        value = (a * f).sum(1) + (b * g).sum(1) - (left * rows).sum(1) + 1
        kernel *= self.costs[which]  # of no use any more
        return xp.stack([value, (left * be.apply(kernel, right)).sum(1), error]), f, g


@dataclass(frozen=True, eq=False)
class Backend:
    """NumPy on threads for the CPU, where torch's own threads get into each other's way; torch for a GPU."""

    xp: Any
    dtype: FloatType
    device: torch.device

    def put(self, values: NDArray) -> Array:
        if self.xp is np:
            return values.astype(self.dtype, copy=False)
        return torch.as_tensor(values, dtype=getattr(torch, self.dtype), device=self.device)

    def get(self, values: Array) -> NDArray[np.float64]:
        return np.asarray(values if self.xp is np else values.cpu(), dtype=np.float64)

    def index(self, mask: NDArray[np.bool_]) -> Any:
        if mask.all():
            return slice(None)  # a view instead of a copy
        rows = np.flatnonzero(mask)
        return rows if self.xp is np else torch.as_tensor(rows, device=self.device)

    def costs(self, left: NDArray[np.float64], right: NDArray[np.float64]) -> Array:
        """Return the distances between points, (n_pairs, n, m)."""
        if self.xp is not np:
            return torch.cdist(self.put(left), self.put(right), compute_mode="donot_use_mm_for_euclid_dist")
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
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ["cpu", *["cuda"][:n_gpus], *(f"cuda:{i}" for i in range(n_gpus))]
    if device is not None and device not in names:
        msg = f"device {device!r} is not there: pass None or one of {', '.join(names)}"
        raise ValueError(msg)
    chosen = torch.device(device or ("cuda" if n_gpus else "cpu"))
    return Backend(np if chosen.type == "cpu" else torch, dtype, chosen)
