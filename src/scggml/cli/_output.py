"""What a run says while it works, and how it writes its files."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ._results import Results

logger = logging.getLogger("scggml")

_UNDATED: dict[str, dict[str, None]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


class Steps:
    """Count of the steps of a run, which are announced as they begin: a run may take hours without a terminal.

    Parameters
    ----------
    total
        Number of steps.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start = time.perf_counter()

    def begin(self, text: str) -> None:
        """Announce the next step."""
        self.done += 1
        logger.info("step %d of %d: %s", self.done, self.total, text)


def write_results(writers: dict[str, Callable[[Path], Any]], results: Results, args: argparse.Namespace) -> None:
    """Write all files and install them; where one fails, keep the others elsewhere and raise its error."""
    settings = {
        name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items() if name != "out"
    }
    failed: dict[str, Exception] = {}
    for name, write in writers.items():
        logger.info("writing %s", name)
        try:
            write(results.partial / name)
        except Exception as error:  # noqa: BLE001 it is raised below, when the other results have been kept
            results.discard(name)
            failed[name] = error
    try:
        if failed:
            raise next(iter(failed.values()))
        results.install(settings)
    except Exception as error:
        if results.partial.exists() and len(failed) < len(writers):
            missing = f"{', '.join(failed)} could not be written. The other" if failed else "The"
            error.add_note(f"{missing} results are in {results.rescue(settings)}")
        raise


def draw(drawing: Callable[[Any], Any], path: Path) -> None:
    """Draw a picture to a file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # a figure of its own, so that no backend or global state of pyplot is touched
    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    drawing(figure.subplots())
    # text that can be edited, and the same file each time
    with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": path.name}):
        figure.savefig(path, dpi=150, metadata=_UNDATED.get(path.suffix))


def tell(text: str, args: argparse.Namespace, start: float | None) -> None:
    """Print the summary, and where the results are, which were written by now or before."""
    if args.quiet:
        return
    files = ", ".join(sorted(path.name for path in args.out.iterdir()))
    try:
        written = f"In {args.out}/:" if start is None else f"Wrote {args.out}/ in {time.perf_counter() - start:.0f} s:"
        print(f"{text}{written} {files}", flush=True)
    except BrokenPipeError:  # whoever read has ended, but the results are there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
