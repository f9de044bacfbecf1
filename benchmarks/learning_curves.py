"""Whether `tl.power` is right: learning curves of pilots beside the truth, and attempts to extend them beyond the pilot.

A pilot is a random part of a large cohort. The truth at a size is the mean over random cohorts of this size from all of
it. Both use the same transport plans.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from _machine import machine
from scipy.optimize import least_squares
from tqdm import tqdm

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import feature_scale
from scggml.evaluation._cross_validation import cross_validate, summary
from scggml.evaluation._methods import named_methods
from scggml.evaluation._power import Design, Pilot, learning_curve, planned_subsets
from scggml.evaluation._samples import Samples
from scggml.evaluation._splits import make_splits


def simulated(effect, n_samples, n_cells, seed=0):
    adata = sg.datasets.simulated_cohort(n_samples, n_cells=n_cells, n_genes=500, effect_size=effect, rng=seed)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=15)
    return adata, "global"


def glomeruli(data):
    """Two classes of equal size: eGFR up to 60, and above."""
    adata = anndata.read_h5ad(data / "igan_glomeruli_morphometry.h5ad")
    adata.obs["label"] = np.where(adata.obs["label"].astype(str) == ">60", ">60", "<=60")
    samples = adata.obs.drop_duplicates("sample").set_index("sample")["label"]
    kept = samples.groupby(samples).sample(137, random_state=0).index
    return adata[adata.obs["sample"].isin(kept)].copy(), "feature"


def flow(data):
    return anndata.read_h5ad(data / "debiasi2020_covid_cd8_flow.h5ad"), "feature"


def read(adata, scale, rep="X_pca"):
    """Return raw measures, codes and scaled measures of as many cells of each sample."""
    names, codes = np.unique(adata.obs["sample"].astype(str), return_inverse=True)
    x = adata.X if rep == "X" else adata.obsm[rep]
    measures = Measures.from_codes(x, codes, len(names))
    measures = measures.drawn(int(measures.sizes.min()), np.random.default_rng(0))
    label = adata.obs["label"].astype(str).to_numpy()[np.unique(codes, return_index=True)[1]]
    unit, constant = feature_scale(measures, scale)
    return measures, names.astype(object), label.astype(object), measures.scaled(~constant / unit)


def curve(pilot, sizes, n_repeats, rng):
    subsets = planned_subsets(pilot.design, sizes, n_repeats, rng)
    return learning_curve(pilot, subsets, rng=rng).set_index("n_samples")


def power_law(table, target, chance):
    """Return the accuracy at a larger size by the inverse power law a - b n^-c, fitted by least squares."""
    n, y = table.index.to_numpy(dtype=float), table["balanced_accuracy"].to_numpy()
    fit = least_squares(
        lambda p: p[0] - p[1] * (n / n[0]) ** -p[2] - y,
        [float(np.clip(y[-1] + 0.02, chance + 1e-6, 1 - 1e-6)), 0.1, 0.5],
        bounds=([chance, 0.0, 0.2], [1.0, 1.0, 2.0]),
    )
    a, b, c = fit.x
    return a - b * (target / n[0]) ** -c


def calibration(name, population, sizes, targets, args):
    """Print the truth, and what pilots say of it."""
    rng = np.random.default_rng(1)
    truth = curve(population, [*sizes, *targets], args.truth, rng)
    n, chance = sizes[-1], 1 / (int(population.design.codes.max()) + 1)
    rows = []
    for _ in tqdm(range(args.pilots), desc=name, file=sys.stderr):
        pilot = population.take(planned_subsets(population.design, [n], 1, rng)[0])
        table = curve(pilot, sizes, args.repeats, rng)
        for size in sizes:
            row, true = table.loc[size], truth.loc[size]
            for what, score in (("accuracy", "balanced_accuracy"), ("power", "power")):
                low, high = row[f"{what}_low"], row[f"{what}_high"]
                rows.append([f"{what} from the pilot", size, true[score], row[score], low, high])
        last = table.loc[n]
        half_low, half_high = last["accuracy_low"], last["accuracy_high"]
        for size in targets:
            true = truth.loc[size, "balanced_accuracy"]
            rows.append(["accuracy, last value", size, true, last["balanced_accuracy"], half_low, half_high])
            gain = power_law(table, size, chance) - last["balanced_accuracy"]
            value = last["balanced_accuracy"] + gain
            rows.append(["accuracy, power law", size, true, value, half_low + gain, half_high + gain])
            true = truth.loc[size, "power"]
            rows.append(["power, last value", size, true, last["power"], last["power_low"], last["power_high"]])
    rows = pd.DataFrame(rows, columns=["what", "n", "truth", "found", "low", "high"])
    rows["covered"] = (rows["low"] <= rows["truth"] + 1e-9) & (rows["truth"] <= rows["high"] + 1e-9)
    rows["error"], rows["width"] = rows["found"] - rows["truth"], rows["high"] - rows["low"]
    by = rows.groupby(["what", "n"], sort=False)
    found = by.agg(
        truth=("truth", "first"), mean=("found", "mean"), bias=("error", "mean"),
        error=("error", lambda e: e.abs().mean()), width=("width", "mean"), covered=("covered", "mean"),
    )  # fmt: skip
    print(f"\n{name}: pilots of {n} of {len(population.design)} patients, {args.pilots} pilots")
    print(found.round(3).to_string(), flush=True)


def along_plans(name, adata, scale, rep="X_pca"):
    """Print held-out accuracy along the Euclidean plans beside that of `cross_validate` with newly solved plans."""
    raw, names, label, scaled = read(adata, scale, rep)
    samples = Samples(raw, names, label, scale)
    pilot = Pilot.of(scaled, Design(samples.codes))
    confusion = pilot.confusion()
    splits = make_splits(samples.labels, None, cv="leave_one_out", rng=np.random.default_rng(0))
    methods = named_methods(["ggml"], samples=samples)
    predictions, scores = cross_validate(samples, methods, splits, rng=np.random.default_rng(0))
    table = summary(predictions, scores, classes=list(samples.classes), baseline=None)
    row = table[(table["classifier"] == "class_mean") & (table["score"] == "balanced_accuracy")].iloc[0]
    fixed = (np.diag(confusion) / confusion.sum(axis=1)).mean()
    print(f"{name}: along Euclidean plans {fixed:.3f}, with plans solved anew {row['value']:.3f}", flush=True)
    return fixed - row["value"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pilots", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--truth", type=int, default=100, help="random cohorts for the truth at each size")
    parser.add_argument("--cells", type=int, default=60, help="mean number of cells of a simulated patient")
    parser.add_argument("--data", type=Path, help="folder of De Biasi's and the glomeruli's cohort")
    parser.add_argument("--only", choices=["plans", "calibration"])
    args = parser.parse_args()
    print(machine())
    if args.only != "calibration":
        print("\nheld-out balanced accuracy, one patient held out at a time")
        difference = []
        for effect in (0.5, 0.8):
            for n, seed in itertools.product((12, 24, 48), range(3)):
                cohort = simulated(effect, n, args.cells, seed)
                difference.append(along_plans(f"simulated {effect}, n = {n}, seed {seed}", *cohort))
        if args.data:
            difference.append(along_plans("De Biasi", *flow(args.data), rep="X"))
        print(f"mean absolute difference {np.abs(difference).mean():.3f}, mean {np.mean(difference):+.3f}")
    if args.only != "plans":
        for effect in (0.0, 0.5, 0.8):
            _, _, label, scaled = read(*simulated(effect, 200, args.cells))
            population = Pilot.of(scaled, Design(np.unique(label, return_inverse=True)[1]))
            calibration(f"simulated, effect {effect}", population, [8, 12, 16], [32, 48], args)
        if args.data:
            _, _, label, scaled = read(*glomeruli(args.data))
            population = Pilot.of(scaled, Design(np.unique(label, return_inverse=True)[1]))
            calibration("IgAN, eGFR below 60", population, [8, 16, 24], [60, 100], args)


if __name__ == "__main__":
    main()
