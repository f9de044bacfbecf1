"""`scggml run`: each label of a file is analysed, with results in a folder of its own."""

from __future__ import annotations

import argparse
import logging
import re
import shutil
from typing import TYPE_CHECKING

from scggml._report._page import check_installed

from ._analysis import Question, analyse
from ._finished_steps import FinishedSteps, fingerprint
from ._input import check_can_be_written, check_cells, read_cells
from ._output import Steps, tell
from ._results import results_folder

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger("scggml")


def run(args: argparse.Namespace) -> None:
    """Analyse the cells of a file, once for each label."""
    if args.report:
        check_installed()
    labels = list(args.label_key)
    runs = [argparse.Namespace(**{**vars(args), "label_key": label}) for label in labels]
    if len(labels) > 1:
        for one, folder in zip(runs, _folders(labels, args.out), strict=True):
            one.out = folder
    for one in runs:  # before any work
        check_cells(args.file, _columns(_question(one)), args.label_kind)
    for number, one in enumerate(runs, 1):
        if len(runs) > 1:
            logger.info("label %d of %d: %s", number, len(runs), one.label_key)
        _run(one)


def _run(args: argparse.Namespace) -> None:
    question = _question(args)
    with results_folder(args.out, sources=[args.file], resume=args.resume) as results:
        steps = Steps(8 + (question.cell_type_key is not None))
        steps.begin(f"reading {args.file}")
        results.fingerprint = fingerprint(args, args.file)
        if args.resume and results.are_whole():
            logger.info("%s holds this run already", args.out)
            shutil.rmtree(results.steps, ignore_errors=True)  # of a run that was killed after its last file
            tell((args.out / "summary.txt").read_text(encoding="utf-8"), args, None)
            return
        adata = read_cells(args.file)
        check_can_be_written(adata, args.file, results)
        if shutil.disk_usage(results.partial).free < args.file.stat().st_size:
            logger.warning("%s has less space left than %s takes: results may not fit", args.out, args.file)
        finished = FinishedSteps(results.steps, results.fingerprint) if args.resume else FinishedSteps()
        text = analyse(adata, question, args, results, steps, finished=finished)
    tell(text, args, steps.start)


def _question(args: argparse.Namespace) -> Question:
    return Question(
        args.sample_key, args.label_key, args.label_kind or "class", args.batch_key, args.donor_key,
        args.cell_type_key, args.use_rep, args.layer,
    )  # fmt: skip


def _columns(question: Question) -> dict[str, str | None]:
    return {name: value for name, value in vars(question).items() if name.endswith("_key")}


def _folders(labels: list[str], out: Path) -> list[Path]:
    """Return a folder in `out` for each label; refuse one that holds anything but such folders."""
    names = [re.sub(r"[^\w.-]+", "_", label).strip(".") or "_" for label in labels]
    twice = next((label for label, name in zip(labels, names, strict=True) if names.count(name) > 1), None)
    if twice is not None:
        msg = f"--label-key {twice} would share a folder with another label. Name each label once, or run them apart."
        raise ValueError(msg)
    if out.is_dir() and (out / "run.json").exists():
        msg = f"--out {out} holds a run of one label. Name a new folder: each label gets a folder in it."
        raise FileExistsError(msg)
    return [out / name for name in names]
