"""Real cohorts, each patient held out in turn: the defaults, all baselines and ggml-ot on the same cells and folds."""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from _jobs import run_job, write_samples
from _machine import machine
from _peer import peer_python
from _table import print_table, write_markdown
from scipy.stats import binomtest
from sklearn.base import BaseEstimator
from tqdm import tqdm

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances

#: name: file, label, number of random samples of each class (None: all), whether it counts in the mean
COHORTS = {
    "AML": ("vangalen2019_aml", "label", None, True),
    "AML hierarchy": ("vangalen2019_aml", "hierarchy", None, True),
    "De Biasi": ("debiasi2020_covid_cd8_flow", "label", None, True),
    "IgAN, 30 a class": ("igan_glomeruli_morphometry", "label", 30, True),
    "Kang, by donor": ("kang2018_ifnb_pbmc", "label", None, False),
    "OneK1K age (control)": ("onek1k_subset_age", "label", None, False),
}
SCORE = "balanced_accuracy"


class Peer(BaseEstimator):
    """Training by ggml-ot, in its own environment. Its linear map is used with our exact transport."""

    def __init__(self, python=None, epochs=10):
        self.python = python
        self.epochs = epochs

    def fit(self, X, y):
        labels = np.unique(y, return_inverse=True)[1]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples.npz"
            size = max(map(len, X))  # the peer takes samples of one size: small ones repeat their cells
            write_samples(path, [np.asarray(x, dtype=np.float32)[np.arange(size) % len(x)] for x in X], labels)
            numbers, arrays = run_job(self.python, "_run_peer.py", "train", path, timeout=3600, max_iter=self.epochs)
        if numbers["status"] != "ok":
            raise RuntimeError(numbers["status"])
        self.map_ = arrays["linear_maps"][-1]
        return self

    def pairwise_distances(self, X, Y=None):
        a, b = (None if part is None else Measures.from_arrays([x @ self.map_.T for x in part]) for part in (X, Y))
        return pairwise_distances(a, b)[0]


def subset(path, label, n_per_class, *, n_cells, n_comps, seed):
    """At most `n_cells` random cells of each sample, the first PCs, and `n_per_class` random samples of each class."""
    adata = anndata.read_h5ad(path)
    adata = adata[adata.obs[label].notna()]
    rng = np.random.default_rng(seed)
    rows_of = adata.obs.groupby("sample", observed=True).indices
    names = np.array(sorted(rows_of))
    labels = np.array([str(adata.obs[label].iloc[rows_of[name][0]]) for name in names])
    if n_per_class is not None:
        of_class = [rng.permutation(np.flatnonzero(labels == c))[:n_per_class] for c in np.unique(labels)]
        names = names[np.sort(np.concatenate(of_class))]
    rows = np.concatenate([np.sort(rng.permutation(rows_of[name])[:n_cells]) for name in names])
    chosen = adata[rows].copy()
    chosen.obsm["X_pca"] = np.asarray(chosen.obsm["X_pca"])[:, :n_comps].astype(np.float64)
    for key in ("sample", label):
        chosen.obs[key] = chosen.obs[key].astype(str).astype("category")
    return chosen


def evaluate(name, args, seed):
    """One row per method and sample: whether the prediction was right."""
    file, label, n_per_class, _ = COHORTS[name]
    adata = subset(args.data / f"{file}.h5ad", label, n_per_class, n_cells=args.cells, n_comps=args.comps, seed=seed)
    methods = {method: method for method in args.methods}
    if "cell_type" in adata.obs and adata.obs["cell_type"].nunique() > 1:
        types = adata.obs["cell_type"].astype(str)
        methods["composition"] = pd.crosstab(adata.obs["sample"].astype(str), types, normalize="index")
    if args.peer:
        methods["ggml-ot"] = Peer(peer_python(args.peer_env), args.epochs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gene weights.*")
        sg.tl.cross_validate(
            adata,
            "sample",
            label,
            methods=methods,
            cv="leave_one_out",
            donor_key="donor" if "donor" in name else None,
            use_rep="X_pca",
            rng=seed,
        )
    table = adata.uns["ggml_cross_validation"]["predictions"]
    table = table.assign(correct=(table["predicted"] == table["label"]).astype(float), cohort=name, seed=seed)
    intervals = sg.get.scores(adata).query("score == @SCORE").assign(cohort=name, seed=seed)
    return table[["cohort", "seed", "method", "classifier", "sample", "label", "correct"]], intervals


def by_method(table):
    """The rows to compare: each method with the same classifier, and profiles with logistic regression as well."""
    profile = table["classifier"] == "logistic"
    return pd.concat(
        [
            table[table["classifier"] == "class_mean"],
            table[profile].assign(method=table.loc[profile, "method"] + " logistic"),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cohorts", nargs="+", default=list(COHORTS), choices=list(COHORTS))
    parser.add_argument(
        "--methods", nargs="+", default=["ggml", "euclidean", "cityblock", "cosine", "pseudobulk", "pca", "lda"]
    )
    parser.add_argument("--seeds", type=int, default=3, help="random subsets of cells")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of these subsets")
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--comps", type=int, default=20)
    parser.add_argument("--peer", action="store_true", help="train ggml-ot too, which takes minutes per patient")
    parser.add_argument("--peer-env", type=Path)
    parser.add_argument("--epochs", type=int, default=10, help="epochs of ggml-ot")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    print(machine())
    found = []
    for name in args.cohorts:
        for seed in tqdm(range(args.first_seed, args.first_seed + args.seeds), desc=name, file=sys.stderr):
            found.append(evaluate(name, args, seed))
    table = by_method(pd.concat([rows for rows, _ in found]))
    notes = [
        f"Balanced accuracy, each patient held out in turn, {args.cells} cells per patient, {args.comps} PCs, mean "
        f"over {args.seeds} random subsets of cells. The prediction is the class with the smallest mean distance to "
        "its nearest patients (3 of the largest class), or that of logistic regression where the name says so.",
        "Mean: over "
        + ", ".join(name for name in args.cohorts if COHORTS[name][3])
        + ". Discordant pairs: patients of these cohorts that are right more often (+) or less often (-) than with "
        "Euclidean OT, over all subsets; p of the two-sided sign test.",
    ]
    header, rows = summarised(table, args.cohorts)
    print_table(header, rows)
    print()
    control = pd.concat([rows for _, rows in found]).query("cohort == 'OneK1K age (control)'")
    for (method, classifier), part in control.groupby(["method", "classifier"], sort=False):
        low, high = part["ci_low"].mean(), part["ci_high"].mean()
        print(
            f"control, {method} ({classifier}): {part['value'].mean():.2f}, interval {low:.2f} to {high:.2f}, "
            "chance 0.33"
        )
    for note in notes:
        print(note)
    if args.markdown:
        write_markdown(args.markdown, "Real cohorts", [machine(), *notes], [("", header, rows)])


def summarised(table, cohorts):
    recall = table.groupby(["method", "cohort", "seed", "label"], sort=False)["correct"].mean()
    score = recall.groupby(level=["method", "cohort"], sort=False).mean().unstack()[cohorts]
    counted = [name for name in cohorts if COHORTS[name][3]]
    patients = (
        table[table["cohort"].isin(counted)].groupby(["method", "cohort", "sample"], sort=False)["correct"].mean()
    )
    rows = []
    for method, row in score.iterrows():
        if "euclidean" in score.index and method in patients.index.get_level_values(0):
            difference = (patients[method] - patients["euclidean"]).dropna()
            more, less = int((difference > 0).sum()), int((difference < 0).sum())
            p = binomtest(more, more + less).pvalue if more + less else 1.0
            against = [f"+{more} -{less}", f"{p:.2g}"]
        else:
            against = ["", ""]
        mean = row[counted].mean(skipna=False) if counted else np.nan
        cells = ["" if np.isnan(value) else f"{value:.3f}" for value in [*row, mean]]
        rows.append([method, *cells, *against])
    return ["method", *cohorts, "mean", "more, less often right than with Euclidean OT", "p"], rows


if __name__ == "__main__":
    main()
