"""Options of the command line, from its words and from a file."""

from __future__ import annotations

import argparse
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_SEED = 2**32 - 1
_STATUSES = """\
exit status: 0 all results are in DIR; 1 an error, DIR is as it was; 2 wrong options; 130 interrupted
"""


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options; where one is given in words and in the file of `--config`, the words count."""
    parser, with_config = _parsers()
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    config = first.parse_known_args(argv)[0].config
    if config is None or argv[0] not in with_config:
        return _checked(parser, parser.parse_args(argv))
    typed = {word.partition("=")[0] for word in argv}
    return _checked(parser, parser.parse_args([argv[0], *_words(with_config[argv[0]], Path(config), typed), *argv[1:]]))


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="scggml",
        description="Learn which ground metric between cells separates classes of patients.",
        epilog=_STATUSES,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"scggml {version('scggml')}")
    commands = parser.add_subparsers(dest="command", required=True)
    about: dict[str, Any] = {"epilog": _STATUSES, "allow_abbrev": False}
    demo = commands.add_parser("demo", help="run on simulated patients, in whom a disease changes some genes", **about)
    run = commands.add_parser("run", help="run on your own cells, an h5ad file", **about)
    new = commands.add_parser("map", help="map and predict new patients, with the reference of an earlier run", **about)
    demo.add_argument("--out", type=_folder, default=Path("scggml-demo"), metavar="DIR", help="default: %(default)s")

    run.add_argument("file", type=Path, metavar="FILE.h5ad", help="cells, with samples and labels in obs")
    run.add_argument("--sample-key", required=True, metavar="S", help="column of obs that holds the samples (patients)")
    run.add_argument(
        "--label-key", required=True, action="append", metavar="L",
        help="column of obs that holds the label of each sample; may be given several times: each label is then "
        "analysed by itself, in a folder of its own in DIR",
    )  # fmt: skip
    run.add_argument(
        "--label-kind", choices=("class", "ordinal", "continuous"), metavar="K",
        help="class, ordinal (grades) or continuous (such as ages); default: class",
    )  # fmt: skip
    run.add_argument("--batch-key", metavar="B", help="column with the batch: labels are compared within batches only")
    run.add_argument("--donor-key", metavar="D", help="column with the donor: samples of one are held out together")
    run.add_argument("--cell-type-key", metavar="T", help="column with the cell type: differences are split by type")
    run.add_argument("--use-rep", metavar="R", help="key of obsm, or X; default: X_pca where there is one, else X")
    run.add_argument("--layer", metavar="Y", help="layer that holds the features, with --use-rep X")
    run.add_argument("--report", action="store_true", help='also write report.html (pip install "scggml[report]")')

    run.add_argument(
        "--resume", action="store_true",
        help="keep each finished step, and go on where the same run was interrupted",
    )  # fmt: skip

    new.add_argument(
        "file", type=Path, metavar="NEW.h5ad", help="cells of the new patients, normalised in the same way"
    )
    new.add_argument(
        "--reference", type=Path, required=True, metavar="REF.h5ad", help="the reference.h5ad of scggml run"
    )
    new.add_argument("--sample-key", metavar="S", help="column of obs with the samples; default: that of the reference")
    for command in (run, new):
        command.add_argument(
            "--out", type=_folder, required=True, metavar="DIR",
            help="folder for the results: a new one, or that of an earlier run, which is then replaced",
        )  # fmt: skip
    for command in (demo, run):
        command.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: %(default)s")
    for command in (demo, run, new):
        command.add_argument(
            "--figure-format", choices=("png", "pdf", "svg"), default="png", metavar="F",
            help="png, pdf or svg; default: %(default)s",
        )  # fmt: skip
        command.add_argument("--n-jobs", type=_n_jobs, default=None, metavar="N", help="threads; default: all cores")
        command.add_argument(
            "--quiet", action="store_true", help="write nothing to the terminal but warnings and errors"
        )
    for command in (run, new):
        command.add_argument("--config", metavar="FILE.toml", help="options from a file; those given here count")
    return parser, {"run": run, "map": new}


def _checked(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    if args.command == "run" and args.cell_type_key is not None and args.label_kind == "continuous":
        parser.error("--cell-type-key compares classes, which --label-kind continuous does not have. Leave one out.")
    return args


def _words(parser: argparse.ArgumentParser, path: Path, typed: set[str]) -> list[str]:
    """Return the options of a file as if they had been typed, but for those that were."""
    known = {
        option.removeprefix("--"): action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option not in ("--help", "--config")
    }
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        parser.error(f"argument --config: {path} cannot be read: {error.strerror}")
    except ValueError as error:  # no TOML, or no text
        parser.error(f'argument --config: {path} is no TOML file ({error}). Write one option a line: label-key = "L"')
    unknown = sorted(set(found) - set(known))
    if unknown:
        parser.error(
            f"argument --config: {path} has unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}"
        )
    words = []
    for name, value in found.items():
        is_flag, is_list = known[name].nargs == 0, isinstance(known[name], argparse._AppendAction)
        values = value if is_list and isinstance(value, list) and value else [value]
        if not all(isinstance(one, str | int) and isinstance(one, bool) == is_flag for one in values):
            wanted = "true or false" if is_flag else "text or a whole number"
            wanted += ", or a list of these" if is_list else ""
            parser.error(f"argument --config: {name} in {path} must be {wanted}, found {value!r}")
        if not is_flag:
            words += [f"--{name}={one}" for one in values if f"--{name}" not in typed]
        elif value:
            words.append(f"--{name}")
    return words


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
