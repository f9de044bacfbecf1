"""Blocks of work on a dask cluster, which may lose workers and gain others meanwhile."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import CancelledError
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from joblib.parallel import get_active_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

_MAX_BLOCKS_PER_TASK = 10  # about a second, next to which what the scheduler does for a task is small
_TASKS_PER_THREAD = 8  # where there is less work than that: so many, for threads to end at about the same time


def dask_backend() -> Any:
    """Return joblib's backend of an active `joblib.parallel_config(backend="dask")`, else None."""
    backend = get_active_backend()[0]
    return backend if type(backend).__name__ == "DaskDistributedBackend" else None


def on_cluster(
    backend: Any,
    function: Callable[..., Any],
    shared: Any,
    blocks: Sequence[tuple[Any, ...]],
    *,
    n_jobs: int | None = None,
) -> Generator[Any]:
    """Yield `function(shared, *block)` for each block, in their order.

    joblib's own dispatch leaves the shared arrays, and each block, with one worker. If that worker dies they are
    lost, and joblib waits forever. Here the shared arrays are the result of a task, which the scheduler can run again
    at any time. Each worker gets them once, from another worker, and no single worker matters.

    Parameters
    ----------
    backend
        From `dask_backend`.
    function
        Solves one block.
    shared
        First argument of every call, picklable.
    blocks
        Further arguments of each call; several blocks make a task.
    n_jobs
        Tasks at a time. None takes the number that joblib is configured to, else the number of threads of the cluster.

    Raises
    ------
    RuntimeError
        If the cluster is gone.
    """
    if not blocks:
        return
    import dask
    from distributed import wait

    client, extra = backend.client, getattr(backend, "submit_kwargs", {})
    n_jobs = get_active_backend()[1] if n_jobs is None else n_jobs
    n_threads = max(backend.effective_n_jobs(n_jobs), 1)  # waits for the first worker
    size = min(max(len(blocks) // (_TASKS_PER_THREAD * n_threads), 1), _MAX_BLOCKS_PER_TASK)
    tasks = enumerate(blocks[start : start + size] for start in range(0, len(blocks), size))
    name = f"{function.__name__.strip('_')}-{uuid4().hex}"
    ordered: deque[Any] = deque()
    running: dict[Any, str | None] = {}  # future: worker
    with backend.retrieval_context():  # in a task of the cluster itself: lets others have its thread
        # dask warns of data in a task: this task is meant to hold data
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            sent = client.submit(_same, shared, key=f"arrays-for-{name}", **extra)
        try:
            while True:
                threads = client.nthreads()
                for k, task in islice(tasks, max(_at_a_time(n_jobs, threads) - len(running), 0)):
                    # left to itself, the scheduler puts everything where the arrays are already
                    place = _least_busy(threads, Counter(running.values()))
                    where = {"workers": place, "allow_other_workers": place is not None, **extra}
                    future = client.submit(_run, function, sent, task, key=(name, k), **where)
                    ordered.append(future)
                    running[future] = place
                if not ordered:
                    return
                wait(list(running), return_when="FIRST_COMPLETED")
                running = {future: place for future, place in running.items() if not future.done()}
                while ordered and ordered[0] not in running:
                    results = ordered[0].result()
                    ordered.popleft().release()
                    yield from results
        except Exception as error:
            if client.status == "running" and not isinstance(error, CancelledError):
                raise
            msg = "the dask cluster was closed or restarted, or its scheduler was lost, before all pairs were solved"
            raise RuntimeError(msg) from error
        finally:
            for future in (*ordered, sent):
                future.release()


def _same(shared: Any) -> Any:
    return shared


def _run(function: Callable[..., Any], shared: Any, blocks: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [function(shared, *block) for block in blocks]


def _at_a_time(n_jobs: int | None, threads: dict[str, int]) -> int:
    n_threads = sum(threads.values())
    if n_jobs is None or n_jobs == -1:
        return max(2 * n_threads, 1)  # one waits at each thread while another runs
    return n_jobs if n_jobs > 0 else max(n_threads + 1 + n_jobs, 1)


def _least_busy(threads: dict[str, int], n_tasks: Counter[str | None]) -> str | None:
    return min(threads, key=lambda worker: n_tasks[worker] / threads[worker], default=None)
