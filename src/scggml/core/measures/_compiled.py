"""Compilation by numba with its cache on disk, on machines where there is no place for that cache too."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numba
from numba.core.caching import FunctionCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("scggml")

_NO_PLACE = "cannot cache function"  # how numba's error starts
_REMEDY = "Set the environment variable NUMBA_CACHE_DIR to a folder that can be written"


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator `numba.njit`, for which a cache on disk is not a condition.

    In containers often neither the package nor the home folder can be written, and on clusters their disks are full.
    numba then raises errors; here functions are compiled anew in each process.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**options)(function)
        if cache:
            try:
                compiled._cache = _ForgivingCache(function)
            except RuntimeError as error:
                if not str(error).startswith(_NO_PLACE):
                    raise
                _log_once("there is no folder that can be written")
        return compiled

    return decorate


@contextmanager
def cached_imports() -> Iterator[None]:
    """Name the remedy where a package, such as scanpy or umap, cannot be imported without a place for numba's cache."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(_NO_PLACE):
            raise
        msg = f"A package that is needed cannot be imported: {error}. {_REMEDY}, before Python starts."
        raise ImportError(msg) from error


class _ForgivingCache(FunctionCache):
    """numba's cache, without which functions are compiled all the same."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            _log_once(str(error))

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _log_once(str(error))


@cache
def _log_once(reason: str) -> None:
    logger.warning("compiled code is not kept, so each process compiles it anew (%s). %s.", reason, _REMEDY)
