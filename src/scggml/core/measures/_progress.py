"""Progress bars. What runs inside of a loop that has one draws none of its own."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator

_is_inside = ContextVar("is inside of a loop with a progress bar", default=False)


@contextmanager
def progress_bar(total: int, desc: str | None, unit: str) -> Iterator[tqdm]:
    """Open a progress bar that appears after two seconds, on terminals and in notebooks.

    Parameters
    ----------
    total
        Number of units.
    desc
        Its text; None for no bar. Bars inside may then be drawn.
    unit
        What is counted.
    """
    hidden = desc is None or _is_inside.get()
    # None hides it where output is not a terminal
    bar = tqdm(total=total, desc=desc, unit=unit, delay=2, leave=False, disable=True if hidden else None)
    token = _is_inside.set(_is_inside.get() or desc is not None)
    try:
        with bar:
            yield bar
    finally:
        _is_inside.reset(token)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Draw no progress bars."""
    token = _is_inside.set(True)
    try:
        yield
    finally:
        _is_inside.reset(token)
