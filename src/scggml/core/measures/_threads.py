"""How many threads there are to be, and BLAS on one of them while tasks run side by side."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import joblib
from joblib.parallel import BACKENDS, get_active_backend
from threadpoolctl import OpenBLASController, ThreadpoolController

if TYPE_CHECKING:
    from types import TracebackType


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads: what was asked for, else that of an active joblib configuration, else all cores."""
    if n_jobs is not None:
        return n_jobs
    backend, configured = get_active_backend()
    if configured is None:  # which joblib takes for one
        return 1 if isinstance(backend, BACKENDS["sequential"]) else joblib.cpu_count()
    return int(joblib.effective_n_jobs(configured))


class SingleThreadedBlas:
    """Context in which matrix products take one thread; many threads may be inside.

    Products of a thousand rows are faster so, and their last bits do not depend on how many threads BLAS would take,
    which differs between processes. The number of threads is one for a whole process: the first to enter sets it, the
    last to leave sets it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                _take_control()
                self._limit = _controller().limit(limits=1, user_api="blas")
            self._n_inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                _take_control()
                self._limit.restore_original_limits()
                _take_control()  # and leave it to the next


def _take_control() -> None:
    """Let any thread set the number: from threadpoolctl 3.8 on, only the first that set it can, others are ignored."""
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finds the libraries, which takes a hundredth of a second


single_threaded_blas = SingleThreadedBlas()
