"""How long each step of an analysis takes, on simulated cohorts of two classes and 50 PCs."""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from _machine import machine
from _table import print_table, seconds
from anndata import AnnData

import scggml as sg

STEPS = {
    "fit_metric": lambda adata, _, **sketch: sg.tl.fit_metric(adata, "sample", "label", rng=0, **sketch),
    "sample_distances": lambda adata, _, **__: sg.tl.sample_distances(adata),
    'sample_distances(cv="auto")': lambda adata, _, **__: sg.tl.sample_distances(adata, cv="auto", rng=0),
    "cross_validate": lambda adata, _, **sketch: sg.tl.cross_validate(adata, "sample", "label", rng=0, **sketch),
    "separation_test": lambda adata, _, **sketch: sg.tl.separation_test(adata, "sample", "label", rng=0, **sketch),
    "make_reference": lambda adata, pdata, **_: sg.tl.make_reference(adata, pdata, rng=0),
}


def cohort(n_samples, n_cells):
    """Cells of two classes; half of the cells of the second are shifted along one of 50 components."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_samples, n_cells, 50)) * np.geomspace(5, 0.5, 50) + 0.5 * rng.normal(size=(n_samples, 1, 50))
    x[1::2, : n_cells // 2, 10] += 3
    names = np.repeat([f"sample_{i:03d}" for i in range(n_samples)], n_cells)
    obs = pd.DataFrame({"sample": names, "label": np.repeat(["a", "b"] * (n_samples // 2), n_cells)})
    obs.index = [f"cell_{i}" for i in range(len(obs))]
    return AnnData(obs=obs.astype("category"), obsm={"X_pca": x.reshape(-1, 50).astype(np.float32)})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["30x100", "30x300", "120x300"], help="samples x cells")
    parser.add_argument("--points", type=int, help="of a sketch of each sample")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), help="in this order")
    args = parser.parse_args()
    steps = [name for name in STEPS if name in args.steps]
    warnings.simplefilter("ignore")
    print(machine())
    sg.tl.fit_metric(cohort(4, 10), "sample", "label")  # imports and compiled code are loaded
    rows = []
    for size in args.sizes:
        adata = cohort(*map(int, size.split("x")))
        sketch, times, pdata = {}, [], None
        start = time.perf_counter()
        if args.points:
            sg.pp.sketch(adata, "sample", n_points=args.points, rng=0)
            sketch = {"sketch_key": "sketch"}
        times.append(time.perf_counter() - start)
        for name in steps:
            start = time.perf_counter()
            found = STEPS[name](adata, pdata, **sketch)
            times.append(time.perf_counter() - start)
            pdata = found if name == "sample_distances" else pdata
        rows.append([size, seconds(times[0]) if sketch else "none", *map(seconds, times[1:])])
    print_table(["samples x cells, s", "sketch", *steps], rows)


if __name__ == "__main__":
    main()
