"""What memory transport problems take, and how many may be solved at a time within the memory that there is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import joblib
import numpy as np

from scggml.core.measures._memory import available_memory

from ._network_simplex import NARROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Engine: TypeAlias = Literal["simplex", "simplex_on_costs", "simplex_on_sparse", "pot", "entropic"]

# bytes for each pair of points, at the peak
PER_ENTRY: dict[Engine, int] = {
    "simplex": 12,  # costs in float64, and the kernel of the start in float32
    "simplex_on_costs": 16,  # while SciPy's costs are copied
    "simplex_on_sparse": 25,  # norms, inner products, squares, and which of them are small
    "pot": 49,  # costs, their multiple, plan, and the arcs of POT
    "entropic": 16,  # costs and kernel
}
_PER_TURNED_ENTRY = 20  # costs, their transposed copy where a row is so long, and the kernel
PER_POINT = 160  # of both clouds: the tree, masses, potentials and the edges that are returned
PER_KEPT_ENTRY = 32  # of plans that are kept: two indices and a mass, and all of them once more when they are joined
_SHARE = 0.75  # of the available memory: the rest is for what comes after, and for others
_UNNOTICED = 200_000_000  # bytes that are taken without looking


def engine_of(method: str, cost: str, *, sparse: bool) -> Engine:
    """Return what solves a pair exactly."""
    if method == "pot":
        return "pot"
    if cost != "euclidean":
        return "simplex_on_costs"
    return "simplex_on_sparse" if sparse else "simplex"


def pair_bytes(sizes: NDArray[np.int64], engine: Engine) -> NDArray[np.int64]:
    """Return the peak memory while a pair of clouds is solved, (...,), for their numbers of points, (..., 2)."""
    sizes = np.asarray(sizes, dtype=np.int64)
    per_entry = np.full(sizes.shape[:-1], PER_ENTRY[engine])
    if engine.startswith("simplex"):
        is_turned = sizes[..., 1] >= NARROW * sizes[..., 0]
        per_entry = np.where(is_turned, np.maximum(per_entry, _PER_TURNED_ENTRY), per_entry)
    return per_entry * sizes.prod(axis=-1) + PER_POINT * sizes.sum(axis=-1)


def plan_bytes(sizes: NDArray[np.int64]) -> int:
    """Return the memory for the plans of pairs of clouds of these sizes, (n_pairs, 2), when all are kept."""
    return PER_KEPT_ENTRY * int(sizes.sum() - len(sizes))


def threads_within_memory(n_jobs: int, sizes: NDArray[np.int64], engine: Engine, *, keep_plans: bool = False) -> int:
    """Return `n_jobs`, or fewer: so many that as many of the largest pairs fit into memory together.

    Results do not depend on it.

    Parameters
    ----------
    n_jobs
        Threads that are wanted, as for joblib.
    sizes
        Numbers of points of both clouds of each pair, (n_pairs, 2).
    engine
        What solves them.
    keep_plans
        Whether all plans are kept.

    Raises
    ------
    MemoryError
        If the largest pair does not fit, or the plans do not.
    """
    if not len(sizes):
        return n_jobs
    needed, kept = pair_bytes(sizes, engine), plan_bytes(sizes) if keep_plans else 0
    n_threads, at = max(joblib.effective_n_jobs(n_jobs), 1), int(needed.argmax())
    budget = _budget(kept + n_threads * int(needed[at]))
    n, m = sizes[at].tolist()
    _check_fits(n, m, int(needed[at]), kept, budget)
    together = np.cumsum(np.sort(np.partition(-needed, min(n_threads, len(needed)) - 1)[:n_threads]))
    n_fitting = int((kept - together <= budget).sum())
    return n_jobs if n_fitting == len(together) else n_fitting


def problems_within_memory(n_threads: int, largest: tuple[int, int], needed: int, kept: int) -> int:
    """Return how many problems as large as the largest fit into memory at a time, at most one for each thread.

    Parameters
    ----------
    n_threads
        Threads that are wanted.
    largest
        Numbers of points of both clouds of the largest problem.
    needed
        Bytes that it takes.
    kept
        Bytes of all plans that are kept.

    Raises
    ------
    MemoryError
        If one problem does not fit, or the plans do not.
    """
    budget = _budget(kept + n_threads * needed)
    _check_fits(*largest, needed, kept, budget)
    return n_threads if kept + n_threads * needed <= budget else int((budget - kept) // needed)


def _budget(wanted: int) -> float:
    """Return the bytes that transport may take."""
    available = None if wanted <= _UNNOTICED else available_memory()
    return np.inf if available is None else _SHARE * available


def _check_fits(n: int, m: int, needed: int, kept: int, budget: float) -> None:
    if kept + needed <= budget:
        return
    sizes = f"{max(n, m):,} and {min(n, m):,} cells"
    what, more = f"optimal transport between samples of {sizes} needs", ""
    if needed <= budget:
        what = f"the transport plans between all samples, the largest of {sizes}, need"
        more = " In a fit, GroundMetricLearner(max_cells=...) takes a part of the cells."
    msg = (
        f"{what} {gigabytes(kept + needed)} of memory, of which {gigabytes(budget)} may be taken "
        f"({_SHARE:.0%} of what is available). Compare fewer cells: make a sketch with sg.pp.sketch(adata, "
        f"sample_key, n_points=...) and pass its sketch_key, or take a random subset of each sample.{more}"
    )
    raise MemoryError(msg)


def gigabytes(n_bytes: float) -> str:
    """Return a text such as "1.2 GB" or "340 MB"."""
    if n_bytes < 1e9:
        return f"{max(n_bytes / 1e6, 1):.0f} MB"
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes < 1e10 else f"{n_bytes / 1e9:,.0f} GB"


@contextmanager
def sizes_in_memory_errors(sizes: NDArray[np.integer]) -> Iterator[None]:
    """Name the largest of the pairs that are solved, (n_pairs, 2) numbers of points, and the remedies."""
    try:
        yield
    except MemoryError as error:
        n, m = sizes[sizes.prod(axis=1).argmax()].tolist()
        msg = (
            f"optimal transport between samples of {n:,} and {m:,} cells does not fit into memory: their costs alone "
            f"take {8 * n * m / 1e9:.2g} GB in each thread. Compare fewer cells of each sample, with sg.pp.sketch or a "
            "random subset, or pass n_jobs=1."
        )
        raise MemoryError(msg) from error
