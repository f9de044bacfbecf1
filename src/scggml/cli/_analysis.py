"""The analysis of a cohort, and what it writes."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import scggml as sg
from scggml._keys import HELD_OUT, TRAINING, Keys
from scggml.evaluation._splits import make_splits

from ._csv_tables import csv_tables
from ._errors import one_line
from ._hdf5 import write_h5ad
from ._new_patients import new_patients
from ._output import draw, write_results
from ._summary import N_GENES, summary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

    from ._finished_steps import FinishedSteps
    from ._output import Steps
    from ._results import Results

logger = logging.getLogger("scggml")

_N_FOLDS = 5  # by which a reference is calibrated


@dataclass(frozen=True)
class Question:
    """Columns of `obs`, and what is asked of them."""

    sample_key: str
    label_key: str
    label_kind: Any = "class"
    batch_key: str | None = None
    donor_key: str | None = None
    cell_type_key: str | None = None
    use_rep: str | None = None
    layer: str | None = None

    def arguments(self, args: argparse.Namespace) -> dict[str, Any]:
        """Return the arguments of functions that learn from the labels."""
        own = {name: value for name, value in vars(self).items() if name != "cell_type_key"}
        return {**own, "rng": args.seed, "n_jobs": args.n_jobs}


def analyse(
    adata: AnnData,
    question: Question,
    args: argparse.Namespace,
    results: Results,
    steps: Steps,
    *,
    finished: FinishedSteps,
    changed: set[str] | None = None,
    new: AnnData | None = None,
) -> str:
    """Fit, measure, check on held-out samples, and write everything; return the summary."""
    import matplotlib  # noqa: F401 before the work, as it fails where there is no place for its cache

    label_key = question.label_key
    steps.begin("the metric")
    finished.written("metric", adata, lambda: _fit(adata, question, args))
    _evaluate(adata, question, args, steps, finished, only_metric=new is not None)
    has_genes = "ggml" in adata.varm
    pdata = _samples(adata, question, args, steps, finished)
    table = sg.get.gene_weights(adata) if has_genes else None
    pictures = _pictures(adata, pdata, question, args, changed)
    writers: dict[str, Callable[[Path], Any]] = {}
    more: list[str] = []
    if new is not None:
        steps.begin(f"{new.obs[question.sample_key].nunique()} new patients")
        mapped, more = new_patients(adata, pdata, new, label_key, args)
        drawing = partial(draw, lambda ax: sg.pl.sample_map(mapped, color=label_key, ax=ax))
        pictures[f"patient_map_new.{args.figure_format}"] = drawing
    else:
        if question.cell_type_key is not None:
            steps.begin(f"parts of the cell types in {question.cell_type_key}")
            finished.written(
                "explanation", pdata,
                lambda: sg.tl.explain_distances(adata, pdata, cell_type_key=question.cell_type_key),
            )  # fmt: skip
            types = sg.get.explanation(pdata, "cell_types")
            writers["cell_types.csv"] = partial(types.to_csv, index=False)
        steps.begin("the reference for new patients")
        writers["reference.h5ad"] = partial(
            write_h5ad, finished.result("reference", lambda: _reference(adata, pdata, question, args))
        )
    text = summary(adata, pdata, label_key, table, changed, more)
    writers = {
        "summary.txt": lambda path: path.write_text(text, encoding="utf-8"),
        **({} if table is None else {"gene_weights.csv": table.to_csv}),
        **csv_tables(adata, pdata),
        **pictures,
        **writers,
        "samples.h5ad": partial(write_h5ad, pdata),
        "cells.h5ad": partial(write_h5ad, adata, compression="gzip"),
    }
    if new is None and args.report:
        writers["report.html"] = partial(sg.report, adata, pdata)
    steps.begin(f"results in {args.out}")
    write_results(writers, results, args)
    return text


def _fit(adata: AnnData, question: Question, args: argparse.Namespace) -> None:
    sg.tl.fit_metric(adata, **question.arguments(args))
    if "ggml" in adata.varm:
        sg.tl.rank_genes(adata)


def _evaluate(
    adata: AnnData,
    question: Question,
    args: argparse.Namespace,
    steps: Steps,
    finished: FinishedSteps,
    *,
    only_metric: bool,
) -> None:
    """Score held-out samples beside baselines, and permute the labels, where there are enough samples."""
    of = question.arguments(args)
    can_be_scored = _can_be_scored(adata, question)
    methods = ["ggml", "euclidean", *([] if only_metric else ["pseudobulk"])]
    steps.begin("held-out samples: predictions of the metric, beside others")
    if can_be_scored:
        finished.written("scores", adata, lambda: sg.tl.cross_validate(adata, **of, methods=methods))
    if only_metric:
        return
    steps.begin("permutations of the labels")
    if can_be_scored:
        finished.written("permutations", adata, lambda: sg.tl.separation_test(adata, **of))


def _can_be_scored(adata: AnnData, question: Question, cv: int | str = "auto") -> bool:
    """Whether enough samples of every class are left to learn from when some are held out, donors as a whole."""
    keys = {"sample": question.sample_key, "label": question.label_key, "donor": question.donor_key}
    table = pd.DataFrame({name: adata.obs[key].astype(str).to_numpy() for name, key in keys.items() if key is not None})
    table = table.drop_duplicates()
    is_class = question.label_kind == "class"  # other labels are held out together, however they are distributed
    labels = table["label"].to_numpy(dtype=object) if is_class else np.full(len(table), "all", dtype=object)
    donors = table["donor"].to_numpy(dtype=object) if "donor" in table else None
    try:
        make_splits(labels, donors, cv=cv, rng=np.random.default_rng(0))
    except ValueError:
        return False
    return True


def _samples(
    adata: AnnData, question: Question, args: argparse.Namespace, steps: Steps, finished: FinishedSteps
) -> AnnData:
    """Return the samples with their distances: of the metric and, where it can be, held-out ones, which are mapped."""
    steps.begin("distances between samples")
    checkpoint = finished.checkpoint("pairs")
    pdata = finished.result("samples", lambda: sg.tl.sample_distances(adata, n_jobs=args.n_jobs, checkpoint=checkpoint))
    steps.begin("held-out distances: the metric of two samples is learned without them")
    try:
        with warnings.catch_warnings():  # about the samples: they came with the other distances
            warnings.simplefilter("ignore")
            found = finished.result("held_out", lambda: _held_out(adata, args))
    except ValueError as error:  # of folds that leave too little to learn from, before any work
        logger.warning(
            "warning: distances cannot be held-out, so that the map and the heatmap show training samples, which "
            "flatter the metric: %s", one_line(error),
        )  # fmt: skip
    else:
        pdata.obsp[Keys(HELD_OUT).distances] = found.obsp[Keys(HELD_OUT).distances]
        pdata.uns[HELD_OUT] = found.uns[HELD_OUT]
    sg.tl.embed_samples(pdata, "mds", key=HELD_OUT if HELD_OUT in pdata.uns else "ggml")
    # labels are classes here, also where they are written as numbers
    label_key = question.label_key
    if question.label_kind != "continuous" and not isinstance(pdata.obs[label_key].dtype, pd.CategoricalDtype):
        is_ordinal = question.label_kind == "ordinal"
        classes = [str(name) for name in adata.uns["ggml"]["classes"]]
        pdata.obs[label_key] = pd.Categorical(pdata.obs[label_key].astype(str), classes, ordered=is_ordinal)
    return pdata


def _held_out(adata: AnnData, args: argparse.Namespace) -> AnnData:
    return sg.tl.sample_distances(adata, cv="auto", rng=args.seed, n_jobs=args.n_jobs, key_added=HELD_OUT)


def _reference(adata: AnnData, pdata: AnnData, question: Question, args: argparse.Namespace) -> AnnData:
    """Return what new patients are compared with; predictions need samples of every class to hold out."""
    known = pdata.copy()
    for key in set(known.uns) & {HELD_OUT, Keys().explanation}:
        del known.uns[key]
    known.obsp.pop(Keys(HELD_OUT).distances, None)
    sg.tl.embed_samples(known, "mds")
    cv: int | str | None = None
    if question.label_kind != "continuous":
        by_class = replace(question, label_kind="class")
        # a few folds do: each computes principal components and the metric again
        cv = next((cv for cv in (_N_FOLDS, "auto") if _can_be_scored(adata, by_class, cv)), None)
    return sg.tl.make_reference(adata, known, cv=cv, rng=args.seed, n_jobs=args.n_jobs)


def _pictures(
    adata: AnnData, pdata: AnnData, question: Question, args: argparse.Namespace, changed: set[str] | None
) -> dict[str, Callable[[Path], None]]:
    """Return what draws each picture to a file."""
    drawings: dict[str, Callable[[Any], Any]] = {}
    for key in [HELD_OUT, "ggml"] if HELD_OUT in pdata.uns else ["ggml"]:
        drawings |= _drawings_of_samples(pdata, key, question)
    if "ggml" in adata.varm:
        highlight = None if changed is None else {"changed in the simulation": changed}
        drawings["gene_weights"] = lambda ax: sg.pl.gene_weights(adata, n_genes=N_GENES, highlight=highlight, ax=ax)
    return {f"{name}.{args.figure_format}": partial(draw, drawing) for name, drawing in drawings.items()}


def _drawings_of_samples(pdata: AnnData, key: str, question: Question) -> dict[str, Callable[[Any], Any]]:
    """Return what draws the samples by the distances of a key."""
    mapped = sg.tl.embed_samples(pdata, "mds", key=key, copy=True)
    what = HELD_OUT if key == HELD_OUT else TRAINING
    color = question.label_key
    classes = None if question.label_kind == "continuous" else color  # numbers are no groups of a heatmap
    return {
        f"patient_map_{what}": lambda ax: sg.pl.sample_map(mapped, color=color, ax=ax),
        f"distance_heatmap_{what}": lambda ax: sg.pl.distance_heatmap(mapped, key=key, color=classes, ax=ax),
    }
