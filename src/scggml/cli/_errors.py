"""What went wrong, in one line: what was found on this machine or in the input, and the remedy."""

from __future__ import annotations

import dis
import errno
import re
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT = (
    "scggml: this error was not expected. Unless memory was short, it is a fault of scggml: please report it with "
    "the lines above."
)

_MAKE_ROOM = "Make room, or name another folder with --out."
_MORE_MEMORY = (
    ". Pass --n-jobs 1, take fewer cells of each sample (sg.pp.sketch in Python), or use a machine with more memory."
)
_INSTALL = "Install scggml with all that it needs once more, in an environment of its own."
_OPTIONS = {
    "sample_key": "--sample-key",
    "label_key": "--label-key",
    "label_kind": "--label-kind",
    "batch_key": "--batch-key",
    "donor_key": "--donor-key",
    "cell_type_key": "--cell-type-key",
    "use_rep": "--use-rep",
    "layer": "--layer",
    "rng": "--seed",
    "n_jobs": "--n-jobs",
}
_ARGUMENT = re.compile(rf"\b(?P<name>{'|'.join(_OPTIONS)})\b=(?:'[^']*'|\"[^\"]*\"|[\w.-]*\w)")
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quotas
_NO_MEMORY_TEXT = re.compile(
    r"(?:can't|cannot|unable to|failed to) allocate|not enough memory|bad_alloc|bad allocation", re.I
)
_NO_MEMORY_OF_LIBRARY = re.compile(r"failed to map segment|cannot allocate memory", re.I)
_NO_THREAD_TEXT = re.compile(r"can't start new thread|Resource temporarily unavailable")


def explained(error: Exception) -> str | None:
    """Return what went wrong in one line, or None for what is a fault of the code."""
    text = one_line(error)
    if is_out_of_space(error):
        where = f" for {error.filename}" if error.filename else ""
        return f"no space left on the disk{where}. {_MAKE_ROOM}"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY_TEXT.search(text)):
        remedy = "" if is_ours(error) else _MORE_MEMORY
        return f"not enough memory{f': {_ARGUMENT.sub(_with_option, text)}' if text else ''}{remedy}"
    if isinstance(error, RuntimeError) and _NO_THREAD_TEXT.search(text):
        return (
            f"no more threads can be started here ({text}). Pass a smaller --n-jobs, such as 1, or raise the limits of "
            "processes and memory (ulimit -u, ulimit -v)."
        )
    if isinstance(error, ImportError | OSError) and any(map(_NO_MEMORY_OF_LIBRARY.search, _texts(error))):
        return f"not enough memory to load a library: {text}. Raise the limit of memory (ulimit -v), or close programs."
    if isinstance(error, ImportError):
        return text if is_ours(error) else f"{text}. {_INSTALL}"
    if isinstance(error, OSError) or (isinstance(error, KeyError | TypeError | ValueError) and is_ours(error)):
        return _ARGUMENT.sub(_with_option, text)
    return None


def is_out_of_space(error: Exception) -> TypeGuard[OSError]:
    """Whether a disk or a quota is full."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def one_line(error: Exception) -> str:
    """Return the text of an error."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())


def _texts(error: BaseException | None) -> Iterator[str]:
    """Yield the text of an error, and of those that led to it."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def is_ours(error: Exception) -> bool:
    """Whether a `raise` in this package made the error, to tell the user something. All others are faults of ours."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or last.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "scggml":
        return False
    # operators and functions that are not written in Python leave no frame of their own
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def _with_option(match: re.Match[str]) -> str:
    """Name the option beside the argument of the functions in Python."""
    return f"{_OPTIONS[match['name']]} ({match[0]})"
