"""Estimates that are logged before long work, beside the time that it then takes."""

from __future__ import annotations

import argparse
import logging
import os
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
from _machine import machine
from _table import print_table, seconds
from anndata import AnnData

import scggml as sg
from scggml._anndata import _long_runs
from scggml.core.transport import _work

HEADER = ["work", "samples", "cells", "features", "estimated s", "measured s", "ratio"]
DISTANCES = ((250, 60, 10), (60, 300, 10), (24, 700, 50), (12, 1500, 10), (6, 4000, 10))  # samples, cells, features
OTHERS = {
    "fit_metric": (60, 300, 10),
    "fit_metric (validate)": (20, 150, 10),
    "fit_metric (triplet)": (60, 200, 10),
    "fit_metric (wide)": (16, 200, 1500),
    "cross_validate": (30, 200, 10),
    "separation_test": (60, 150, 20),
    "explain_distances": (60, 300, 10),
    "map_samples": (80, 300, 10),
    "class_barycenters": (20, 500, 10),
    "rank_genes": (40, 300, 10),
}


def cohort(n_samples, n_cells, n_features, rng):
    """Mixtures of clusters whose proportions vary between samples; sizes of samples vary by a third."""
    centres = rng.normal(size=(8, n_features)) * 2
    sizes = np.maximum(rng.integers(2 * n_cells // 3, 4 * n_cells // 3 + 1, n_samples), 2)
    sample = np.repeat(np.arange(n_samples), sizes)
    cluster = np.concatenate([rng.choice(8, n, p=rng.dirichlet(np.full(8, 3.0))) for n in sizes])
    spread = 1 / np.sqrt(np.arange(1, n_features + 1))
    x = centres[cluster] + rng.normal(size=(len(sample), n_features)) * spread
    x += (rng.normal(size=(n_samples, n_features)) * 0.3 * spread)[sample] + 0.5 * (sample % 2)[:, None] * spread
    obs = pd.DataFrame({"sample": [f"s{s:04d}" for s in sample], "label": np.where(sample % 2, "sick", "well")})
    return AnnData(x, obs=obs.set_index(obs.index.astype(str)))


def call(name, adata, n_jobs):
    """What is timed, as a function, after what comes before it."""
    given = {"use_rep": "X", "rng": 0, "n_jobs": n_jobs}
    if name == "sample_distances":
        options = {"metric": "euclidean", "sample_key": "sample", "use_rep": "X"}
        return lambda: sg.tl.sample_distances(adata, n_jobs=n_jobs, **options)
    if name.startswith("fit_metric"):
        more = {"learner": "triplet"} if "triplet" in name else {"validate": "validate" in name}
        return lambda: sg.tl.fit_metric(adata, "sample", "label", **given, **more)
    if name in ("cross_validate", "separation_test"):
        more = {"cv": 5} if name == "cross_validate" else {"n_permutations": 999}
        return lambda: getattr(sg.tl, name)(adata, "sample", "label", **given, **more)
    is_new = adata.obs["sample"].to_numpy() < f"s{adata.obs['sample'].nunique() // 2:04d}"
    first = adata[~is_new].copy() if name == "map_samples" else adata
    sg.tl.fit_metric(first, "sample", "label", **given)
    if name == "class_barycenters":
        return lambda: sg.tl.class_barycenters(adata, n_points=200, rng=0)
    if name == "rank_genes":
        return lambda: sg.tl.rank_genes(adata, n_boot=200, rng=0)
    pdata = sg.tl.sample_distances(first, n_jobs=n_jobs)
    if name == "explain_distances":
        return lambda: sg.tl.explain_distances(adata, pdata)
    reference, new = sg.tl.make_reference(first, pdata, cv=None), adata[is_new].copy()
    return lambda: sg.tl.map_samples(new, reference, n_jobs=n_jobs)


class Estimates(logging.Handler):
    """Keeps the seconds of each estimate."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def emit(self, record):
        if hasattr(record, "seconds"):
            self.seconds.append(record.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=["sample_distances", *OTHERS])
    parser.add_argument("--n-jobs", type=int, help="default: all cores")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="processor time instead of wall time, for machines that others use too; under taskset -c 0",
    )
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    _work.time = SimpleNamespace(perf_counter=clock)
    print(f"{machine()}. Load of the machine before: {os.getloadavg()[0]:.1f}.")
    # an estimate for any work, however short
    _long_runs._LONG = _long_runs._WORTH_A_TRIAL = 0.0
    logger = logging.getLogger("scggml")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    rows = []
    for name, sizes in [*(("sample_distances", sizes) for sizes in DISTANCES), *OTHERS.items()]:
        if args.only and name not in args.only:
            continue
        call(name, cohort(12, 20, 5, np.random.default_rng(0)), args.n_jobs)()  # imports, and loads what is compiled
        run = call(name, cohort(*sizes, np.random.default_rng(0)), args.n_jobs)
        heard = Estimates()
        logger.addHandler(heard)
        start = clock()
        run()
        measured = clock() - start
        logger.removeHandler(heard)
        (estimated,) = heard.seconds
        numbers = [seconds(estimated), seconds(measured), f"{estimated / measured:.2f}"]
        rows.append([name, *map(str, sizes), *numbers])
        print("  ".join(rows[-1]), flush=True)
    print()
    print_table(HEADER, rows)


if __name__ == "__main__":
    main()
