"""A word before work that takes long: how long, how much memory, and what would be faster."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from scggml.core.transport._cluster import dask_backend
from scggml.core.transport._memory_limits import gigabytes, problems_within_memory
from scggml.core.transport._solvers import Exact, is_on_gpu
from scggml.core.transport._work import Extent, measured_pace, threads_of

from ._sketches import sketches_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._solvers import SolverSpec
    from scggml.core.transport._work import Work

    from ._cohort import Cohort

logger = logging.getLogger(__name__)

_LONG = 60.0  # seconds from which something is said
_WORTH_A_TRIAL = 20.0  # seconds by the model alone: a slow machine takes three times as long
_N_POINTS = 100  # of the sketch that is proposed


def announce(
    function: str,
    work: Callable[[Extent], Work],
    measures: Measures,
    *,
    solver: Any = Exact(),  # noqa: B008 it is frozen
    cost: Any = "euclidean",
    n_jobs: int | None = None,
    cheaper: Sequence[str] = (),
    adata: AnnData | None = None,
    cohort: Cohort | None = None,
) -> None:
    """Log an estimate if work takes more than a minute, and refuse what does not fit into memory.

    It is a warning: Python shows warnings to those who have not configured logging, and a run of hours must not begin
    without a word to them.

    Parameters
    ----------
    function
        Name of the function.
    work
        What it computes of clouds that are so large.
    measures
        The clouds, of which some pairs are solved to see how fast it goes.
    solver, cost, n_jobs
        As in `pairwise_distances`.
    cheaper
        What would take less time.
    adata, cohort
        The cells and their samples, where a sketch of them would do.
    """
    extent = Extent.of(measures)
    whole = work(extent)
    on_gpu = is_on_gpu(solver)
    n_threads = 1 if on_gpu else threads_of(whole.n_pairs, n_jobs)
    if dask_backend() is None and not on_gpu:  # else it is another memory than that of this machine
        n_threads = problems_within_memory(n_threads, whole.largest, whole.pair_bytes, whole.kept_bytes)
    if whole.duration(n_threads) < _WORTH_A_TRIAL:
        return
    pace = measured_pace(measures, _at(solver, measures), cost=cost, n_jobs=n_jobs)
    seconds = pace * whole.duration(n_threads)
    if seconds < _LONG:
        return
    n, m = sorted(whole.largest, reverse=True)
    memory = f"{gigabytes(whole.pair_bytes)} of memory each"
    if whole.kept_bytes > whole.pair_bytes:
        memory += f" and {gigabytes(whole.kept_bytes)} for their plans"
    threads = f"{n_threads} threads" if n_threads > 1 else "1 thread"
    faster = [*cheaper]
    if adata is not None and cohort is not None and cohort.sketch is None:
        faster = [*_sketches(adata, cohort.sample_key, extent, lambda e: pace * work(e).duration(n_threads)), *faster]
    logger.warning(
        "sg.tl.%s: about %s for %s transport problems, the largest of %s x %s cells, on %s, with %s.%s",
        function, duration(seconds), f"{whole.n_pairs:,}", f"{n:,}", f"{m:,}", threads, memory,
        f" Faster: {'; '.join(faster)}." if faster else "", extra={"seconds": seconds},
    )  # fmt: skip


def _at(solver: SolverSpec, measures: Measures) -> Any:
    """Return the solver, with the strength that fits these measures where it has none yet."""
    return solver.at(measures) if hasattr(solver, "at") else solver


def _sketches(adata: AnnData, sample_key: str, extent: Extent, seconds: Callable[[Extent], float]) -> list[str]:
    """Return texts about sketches that are there and are not used, or else about one that could be made."""
    there = sketches_of(adata, sample_key)
    if there:
        largest = {key: min(n_points, int(extent.sizes.max())) for key, n_points in there.items()}
        return [
            f"sketch_key={key!r}, a sketch that is there and is not used ({duration(seconds(extent.thinned(n)))})"
            for key, n in largest.items()
        ]
    if extent.sizes.max() <= _N_POINTS:
        return []
    text = duration(seconds(extent.thinned(_N_POINTS)))
    return [f"sg.pp.sketch(adata, {sample_key!r}, n_points={_N_POINTS}) before, and sketch_key='sketch' here ({text})"]


def duration(seconds: float) -> str:
    """Return a text such as "12 minutes" or "3.5 hours"."""
    if seconds < 60:
        return "less than a minute"
    if seconds < 5400:
        n = round(seconds / 60)
        return f"{n} minutes" if n > 1 else "1 minute"
    value, unit = (seconds / 3600, "hours") if seconds < 172800 else (seconds / 86400, "days")
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
