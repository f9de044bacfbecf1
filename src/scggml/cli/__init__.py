"""The command line: `scggml demo`, `scggml run FILE.h5ad` and `scggml map NEW.h5ad`."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("scggml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    from ._options import read_options

    args = read_options(sys.argv[1:] if argv is None else argv)
    with _logged_to_stderr(quiet=args.quiet):
        try:
            from scggml.core.measures._progress import no_progress_bars

            from ._demo import demo
            from ._map import map_new
            from ._run import run

            with no_progress_bars() if args.quiet else nullcontext():
                {"demo": demo, "run": run, "map": map_new}[args.command](args)
        except KeyboardInterrupt:
            print("scggml: interrupted", file=sys.stderr)
            return 130
        except Exception as error:
            from ._errors import REPORT, explained

            text = explained(error)
            if text is None:
                error.add_note(REPORT)
                raise
            print("\n".join([f"scggml: error: {text}", *getattr(error, "__notes__", [])]), file=sys.stderr)
            return 1
    return 0


@contextmanager
def _logged_to_stderr(*, quiet: bool) -> Iterator[None]:
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _log_warning  # type: ignore[assignment]
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _log_warning(message: Warning | str, *_: Any) -> None:
    logger.warning("warning: %s", message)
