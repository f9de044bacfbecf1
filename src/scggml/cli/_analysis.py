"""The analysis of a cohort, and what it writes."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numba
import pandas as pd

import scggml as sg
from scggml._keys import HELD_OUT, TRAINING, Keys
from scggml.core.measures._compiled import cached_imports

from ._hdf5 import write_h5ad
from ._input import check_can_be_written, read_cells
from ._new_patients import new_patients
from ._results import results_folder
from ._summary import N_GENES, summary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

    from ._results import Results

logger = logging.getLogger("scggml")

_MIN_TRAINING = 2
_N_PATIENTS, _N_NEW = 24, 40  # of the demo: to learn from, and new ones


def demo(args: argparse.Namespace) -> None:
    """Simulate a cohort and analyse it."""
    start = time.perf_counter()
    with results_folder(args.out) as results:
        sc = _scanpy()
        logger.info("simulating a cohort")
        cohort = sg.datasets.simulated_cohort(n_samples=_N_PATIENTS + _N_NEW, rng=args.seed)
        sc.pp.normalize_total(cohort, target_sum=1e4)
        sc.pp.log1p(cohort)
        is_known = cohort.obs["sample"].isin(cohort.obs["sample"].cat.categories[:_N_PATIENTS])
        adata, new = cohort[is_known].copy(), cohort[~is_known].copy()
        sc.pp.pca(adata, n_comps=30)
        planted = set(adata.var_names[adata.var["programme"]])
        text = _analyse(adata, "sample", "label", "X_pca", args, results, planted=planted, new=new)
    _tell(text, args, start)


def run(args: argparse.Namespace) -> None:
    """Analyse the cells of a file."""
    start = time.perf_counter()
    with results_folder(args.out, source=args.file) as results:
        logger.info("reading %s", args.file)
        adata = read_cells(args.file, args.sample_key, args.label_key)
        check_can_be_written(adata, args.file, results)
        if shutil.disk_usage(results.partial).free < args.file.stat().st_size:
            logger.warning("%s has less space left than %s takes: results may not fit", args.out, args.file)
        text = _analyse(adata, args.sample_key, args.label_key, args.use_rep, args, results)
    _tell(text, args, start)


def _tell(text: str, args: argparse.Namespace, start: float) -> None:
    files = ", ".join(sorted(path.name for path in args.out.iterdir()))
    try:
        print(f"{text}Wrote {args.out}/ in {time.perf_counter() - start:.0f} s: {files}", flush=True)
    except BrokenPipeError:  # whoever read has ended, but the results are there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _scanpy() -> Any:
    """Return scanpy, which cannot be imported without a place for numba's cache: a temporary one, if need be."""
    try:
        with cached_imports():
            import scanpy as sc
    except ImportError as error:
        if not isinstance(error.__cause__, RuntimeError):
            raise
        folder = tempfile.mkdtemp(prefix="scggml-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
        import scanpy as sc
    return sc


def _analyse(
    adata: AnnData,
    sample_key: str,
    label_key: str,
    use_rep: str | None,
    args: argparse.Namespace,
    results: Results,
    *,
    planted: set[str] | None = None,
    new: AnnData | None = None,
) -> str:
    """Fit, measure, check on held-out samples, and write everything; return the summary."""
    import matplotlib  # noqa: F401 before the work, as it fails where there is no place for its cache

    logger.info("learning the metric, and checking it on held-out samples")
    validate = _can_be_held_out(adata, sample_key, label_key, n_folds=1)
    sg.tl.fit_metric(
        adata, sample_key, label_key, use_rep=use_rep, validate=validate, rng=args.seed, n_jobs=args.n_jobs
    )
    has_genes = "ggml" in adata.varm
    if has_genes:
        sg.tl.rank_genes(adata)
    pdata = _samples(adata, label_key, args, held_out=_can_be_held_out(adata, sample_key, label_key, n_folds=2))
    table = sg.get.gene_weights(adata) if has_genes else None
    pictures = _pictures(adata, pdata, label_key, planted)
    more: list[str] = []
    if new is not None:
        logger.info("mapping and predicting %d new patients", new.obs[sample_key].nunique())
        mapped, more = new_patients(adata, pdata, new, label_key, args)
        pictures["patient_map_new.png"] = partial(_draw, lambda ax: sg.pl.sample_map(mapped, color=label_key, ax=ax))
    text = summary(adata, pdata, label_key, table, planted, more)
    writers: dict[str, Callable[[Path], Any]] = {
        "summary.txt": lambda path: path.write_text(text, encoding="utf-8"),
        **({} if table is None else {"gene_weights.csv": table.to_csv}),
        **pictures,
        "samples.h5ad": partial(write_h5ad, pdata),
        "cells.h5ad": partial(write_h5ad, adata, compression="gzip"),
    }
    settings = {name: str(value) if name == "file" else value for name, value in vars(args).items() if name != "out"}
    _write(writers, results, settings)
    return text


def _write(writers: dict[str, Callable[[Path], Any]], results: Results, settings: dict[str, Any]) -> None:
    """Write all files and install them; where one fails, keep the others elsewhere and raise its error."""
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


def _can_be_held_out(adata: AnnData, sample_key: str, label_key: str, *, n_folds: int) -> bool:
    """Whether two samples of every class are left to learn from when so many are held out."""
    labels = adata.obs[[sample_key, label_key]].astype(str).drop_duplicates()[label_key]
    return int(labels.value_counts().min()) >= _MIN_TRAINING + n_folds


def _samples(adata: AnnData, label_key: str, args: argparse.Namespace, *, held_out: bool) -> AnnData:
    """Return the samples with their distances: of the metric and, with `held_out`, held-out ones, which are mapped."""
    logger.info("measuring distances between samples")
    pdata = sg.tl.sample_distances(adata, n_jobs=args.n_jobs)
    if held_out:
        logger.info("measuring held-out distances: the metric of two samples is learned without them")
        with warnings.catch_warnings():  # about the samples: they came with the other distances
            warnings.simplefilter("ignore")
            found = sg.tl.sample_distances(adata, cv="auto", rng=args.seed, n_jobs=args.n_jobs, key_added=HELD_OUT)
        pdata.obsp[Keys(HELD_OUT).distances] = found.obsp[Keys(HELD_OUT).distances]
        pdata.uns[HELD_OUT] = found.uns[HELD_OUT]
    else:
        logger.warning(
            "warning: a class has fewer than 4 samples, so that distances cannot be held-out. The map and the heatmap "
            "show training samples, which flatter the metric"
        )
    sg.tl.embed_samples(pdata, "mds", key=HELD_OUT if held_out else "ggml")
    # labels are classes here, also where they are written as numbers
    if not isinstance(pdata.obs[label_key].dtype, pd.CategoricalDtype):
        pdata.obs[label_key] = pd.Categorical(pdata.obs[label_key].astype(str))
    return pdata


def _pictures(
    adata: AnnData, pdata: AnnData, label_key: str, planted: set[str] | None
) -> dict[str, Callable[[Path], None]]:
    """Return what draws each picture to a file."""
    drawings: dict[str, Callable[[Any], Any]] = {}
    for key in [HELD_OUT, "ggml"] if HELD_OUT in pdata.uns else ["ggml"]:
        drawings |= _drawings_of_samples(pdata, key, label_key)
    if "ggml" in adata.varm:
        highlight = None if planted is None else {"planted": planted}
        drawings["gene_weights.png"] = lambda ax: sg.pl.gene_weights(adata, n_genes=N_GENES, highlight=highlight, ax=ax)
    return {name: partial(_draw, draw) for name, draw in drawings.items()}


def _drawings_of_samples(pdata: AnnData, key: str, label_key: str) -> dict[str, Callable[[Any], Any]]:
    """Return what draws the samples by the distances of a key."""
    mapped = sg.tl.embed_samples(pdata, "mds", key=key, copy=True)
    what = HELD_OUT if key == HELD_OUT else TRAINING
    return {
        f"patient_map_{what}.png": lambda ax: sg.pl.sample_map(mapped, color=label_key, ax=ax),
        f"distance_heatmap_{what}.png": lambda ax: sg.pl.distance_heatmap(mapped, key=key, color=label_key, ax=ax),
    }


def _draw(draw: Callable[[Any], Any], path: Path) -> None:
    from matplotlib.figure import Figure

    # a figure of its own, so that no backend or global state of pyplot is touched
    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    draw(figure.subplots())
    figure.savefig(path, dpi=150)
