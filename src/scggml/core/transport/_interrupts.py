"""Interrupts that get through to compiled code."""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    T = TypeVar("T")

_TICK = 0.1  # seconds: without a limit, waiting cannot be interrupted on Windows


def interruptible(function: Callable[..., T], *arguments: object, stop: NDArray[np.bool_]) -> T:
    """Return `function(*arguments)`, which ends early once `stop[0]` is true: it is set after an interrupt.

    Python passes an interrupt on to the main thread only, between two of its own instructions. Compiled code would run
    to its end first. So another thread runs it, and the main thread waits.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments)
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001 it is raised below
            future.set_exception(error)

    threading.Thread(target=run).start()
    try:
        while not wait([future], timeout=_TICK).done:
            pass
        return future.result()
    except BaseException:
        stop[0] = True
        raise
