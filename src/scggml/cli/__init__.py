"""The command line: `scggml demo` and `scggml run FILE.h5ad`."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("scggml")

_MAX_SEED = 2**32 - 1
_STATUSES = """\
exit status: 0 all results are in DIR; 1 an error, DIR is as it was; 2 wrong options; 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parser().parse_args(argv)
    with _logged_to_stderr():
        try:
            from ._analysis import demo, run

            demo(args) if args.command == "demo" else run(args)
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
def _logged_to_stderr() -> Iterator[None]:
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _log_warning  # type: ignore[assignment]
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _log_warning(message: Warning | str, *_: Any) -> None:
    logger.warning("warning: %s", message)


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        prog="scggml",
        description="Learn which ground metric between cells separates classes of patients.",
        epilog=_STATUSES,
    )
    parser.add_argument("--version", action="version", version=f"scggml {version('scggml')}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="run on a simulated cohort with a planted disease programme", epilog=_STATUSES
    )
    run = commands.add_parser("run", help="run on your own cells, an h5ad file", epilog=_STATUSES)
    run.add_argument("file", type=Path, metavar="FILE.h5ad", help="cells, with samples and labels in obs")
    run.add_argument("--sample-key", required=True, metavar="S", help="column of obs that holds the samples (patients)")
    run.add_argument(
        "--label-key", required=True, metavar="L", help="column of obs that holds the class of each sample"
    )
    run.add_argument("--use-rep", metavar="R", help="key of obsm, or X; default: X_pca where there is one, else X")
    demo.add_argument("--out", type=_folder, default=Path("scggml-demo"), metavar="DIR", help="default: %(default)s")
    run.add_argument(
        "--out", type=_folder, required=True, metavar="DIR",
        help="folder for the results: a new one, or that of an earlier run, which is then replaced",
    )  # fmt: skip
    for command in (demo, run):
        command.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: %(default)s")
        command.add_argument("--n-jobs", type=_n_jobs, default=None, metavar="N", help="threads; default: all cores")
    return parser


def _folder(text: str) -> Path:
    if not text:
        msg = "must name a folder, found an empty text"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


def _seed(text: str) -> int:
    value = _whole(text)
    if value is None or not 0 <= value <= _MAX_SEED:
        msg = f"must be a whole number from 0 to {_MAX_SEED}, found {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _n_jobs(text: str) -> int:
    value = _whole(text)
    if value is None or value == 0 or value < -1:
        msg = f"must be a positive whole number, or -1 for all cores, found {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
