"""The panel, each patient held out in turn: the defaults, all baselines and ggml-ot on the same cells and folds."""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
from _jobs import run_job, write_samples
from _machine import machine
from _peer import peer_python
from _table import print_table, write_markdown
from scipy.stats import binomtest
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from tqdm import tqdm

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances
from scggml.evaluation._held_out_separation import separation, separation_interval

METHODS = [
    *("ggml", "euclidean", "cityblock", "cosine", "pca", "lda", "wda", "canonical_variates"),
    *("gloscope", "mmd", "energy", "sliced", "pseudobulk", "pseudobulk_by_type", "composition"),
]
LEARNERS = {"not_shrunk": sg.GroundMetricLearner(power=1.0, whitening=1.0)}  # of the learned metric, by name
BY_CELL_TYPE = ("pseudobulk_by_type", "composition")
SCORE = "balanced_accuracy"
SIMULATED = "simulated"


class Cohort(NamedTuple):
    """A cohort of the panel.

    Parameters
    ----------
    half
        "A": defaults and methods may be chosen on it. "B": they are confirmed on it, once.
    file
        Its file without ending, or `SIMULATED`.
    label
        Column with the classes.
    counts
        "real": it counts in means and pairs. Others have a column only: "control" has labels that mean nothing,
        "sanity" is solved by every method, "simulated" has patients who do not exist.
    n_per_class
        Number of random samples of each class; None for all.
    donor_key
        Column with the donor, who is held out.
    seeds
        Seeds of simulated cohorts.
    """

    half: str
    file: str
    label: str = "label"
    counts: str = "real"
    n_per_class: int | None = None
    donor_key: str | None = None
    seeds: range = range(0)


COHORTS = {
    "AML": Cohort("A", "vangalen2019_aml"),  # the patients of the next one
    "AML hierarchy": Cohort("A", "vangalen2019_aml", "hierarchy"),
    "De Biasi": Cohort("A", "debiasi2020_covid_cd8_flow"),
    "ipf": Cohort("A", "ipf_lung_20genes"),
    "optimalflow": Cohort("A", "optimalflow_lymphoma"),
    "OneK1K age (control)": Cohort("A", "onek1k_subset_age", counts="control"),
    "simulated 0-9": Cohort("A", SIMULATED, counts="simulated", seeds=range(10)),
    "HIV": Cohort("B", "hiv_bcell_flow"),
    "IgAN, 30 a class": Cohort("B", "igan_glomeruli_morphometry", n_per_class=30),
    "CytoDx": Cohort("B", "cytodx_aml_flow"),
    "Kang, by donor": Cohort("B", "kang2018_ifnb_pbmc", counts="sanity", donor_key="donor"),
    "nsclc (control)": Cohort("B", "nsclc_vectra_neighbourhood", counts="control"),
    "simulated 10-19": Cohort("B", SIMULATED, counts="simulated", seeds=range(10, 20)),
}


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


def simulated(seed):
    """A simulated cohort of 24 patients, log-normalised, with PCs."""
    import scanpy as sc

    adata = sg.datasets.simulated_cohort(rng=seed)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)
    return adata


def subset(adata, label, n_per_class, *, n_cells, n_comps, seed):
    """At most `n_cells` random cells of each sample, the first PCs, and `n_per_class` random samples of each class."""
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
    """One row per method and sample: whether the prediction was right; and the scores of each method."""
    cohort = COHORTS[name]
    adata = simulated(seed) if cohort.seeds else anndata.read_h5ad(args.data / f"{cohort.file}.h5ad")
    adata = subset(adata, cohort.label, cohort.n_per_class, n_cells=args.cells, n_comps=args.comps, seed=seed)
    # cell types of the authors give some labels away: clusters of cells, which no label has touched, do not
    clusters = KMeans(args.types, n_init=3, random_state=seed).fit_predict(adata.obsm["X_pca"])
    adata.obs["cluster"] = pd.Categorical(clusters.astype(str))
    methods = {method: LEARNERS.get(method, method) for method in args.methods}
    if args.peer:
        methods["ggml-ot"] = Peer(peer_python(args.peer_env), args.epochs)
    found, intervals = [], []
    for method, what in methods.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(gene weights|number of cells depends).*")
            try:
                sg.tl.cross_validate(
                    adata, "sample", cohort.label, methods={method: what}, cv="leave_one_out",
                    donor_key=cohort.donor_key, cell_type_key="cluster" if method in BY_CELL_TYPE else None,
                    use_rep="X_pca", rng=seed,
                )  # fmt: skip
            except (ImportError, ValueError) as error:  # it is not defined for these cells, and says so
                print(f"{name}, subset {seed}, without {method}: {error}", flush=True)
                continue
        found.append(adata.uns["ggml_cross_validation"]["predictions"])
        intervals.append(sg.get.scores(adata).query("score == @SCORE"))
    table, intervals = (pd.concat(parts).assign(cohort=name, seed=seed) for parts in (found, intervals))
    # a patient is one, whatever the label: that of AML and of its hierarchy are the same
    patient = cohort.file + f" {seed}" * bool(cohort.seeds) + ": " + table["donor"].astype(str)
    table = table.assign(correct=(table["predicted"] == table["label"]).astype(float), patient=patient)
    columns = ["cohort", "seed", "method", "classifier", "patient", "label", "correct", "separation"]
    return table[columns], intervals


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
    parser.add_argument("--half", choices=["A", "B", "all"], default="all", help="cohorts to choose on, to confirm on")
    parser.add_argument("--cohorts", nargs="+", choices=list(COHORTS), help="some of this half instead of all")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=3, help="random subsets of cells; simulated cohorts have one each")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of these subsets")
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--comps", type=int, default=20)
    parser.add_argument("--types", type=int, default=10, help="clusters of cells that stand for cell types")
    parser.add_argument("--peer", action="store_true", help="train ggml-ot too, which takes minutes per patient")
    parser.add_argument("--peer-env", type=Path)
    parser.add_argument("--epochs", type=int, default=10, help="epochs of ggml-ot")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    cohorts = [name for name, c in COHORTS.items() if args.half in ("all", c.half)]
    cohorts = [name for name in cohorts if args.cohorts is None or name in args.cohorts]
    if not cohorts:
        parser.error(f"none of --cohorts is of --half {args.half}")
    print(machine())
    found = []
    for name in cohorts:
        print(f"half {COHORTS[name].half}: {name} ({COHORTS[name].counts})", flush=True)
        seeds = COHORTS[name].seeds or range(args.first_seed, args.first_seed + args.seeds)
        for seed in tqdm(seeds, desc=name, file=sys.stderr):
            found.append(evaluate(name, args, seed))
        done = by_method(pd.concat([rows for rows, _ in found if rows["cohort"].iloc[0] == name]))
        print(*(f"{method} {_shown(row[name])}" for method, row in _scores(done).iterrows()), sep=", ", flush=True)
    table = by_method(pd.concat([rows for rows, _ in found]))
    halves = {"A": "on which defaults may be chosen", "B": "on which they are confirmed"}
    notes = [
        f"Balanced accuracy, each patient held out in turn, {args.cells} cells per patient, {args.comps} PCs, mean "
        f"over {args.seeds} random subsets of cells (or over simulated cohorts). The prediction is the class with the "
        "smallest mean distance to its nearest patients (3 of the largest class), or that of logistic regression where "
        f"the name says so. Cell types are {args.types} clusters of cells. An empty cell: not defined for some subset.",
        *(
            f"Half {half}, {text}: {', '.join(name for name in cohorts if COHORTS[name].half == half)}."
            for half, text in halves.items()
            if args.half in ("all", half)
        ),
        "Means are over the real cohorts without controls; in brackets, over how many of them, where a method is not "
        "defined for all. Discordant pairs: patients of these cohorts that are right more often (+) or less often (-) "
        "than with Euclidean OT, over all subsets and labels, each patient counted once; p of the two-sided sign test.",
    ]
    tables = [("", *accuracies(table, cohorts))]
    tables += [(f"Means and discordant pairs, half {half}", *summarised(table, part)) for half, part in parts(cohorts)]
    tables += [("Discordant pairs by cohort", *pairs_by_cohort(table, cohorts))]
    tables += [
        ("Standardised held-out separation, and how much it is above that of Euclidean OT", *apart(table, cohorts))
    ]
    for title, header, rows in tables:
        print(f"\n{title}".rstrip())
        print_table(header, rows)
    print()
    intervals = pd.concat([rows for _, rows in found])
    for name in [name for name in cohorts if COHORTS[name].counts == "control"]:
        chance = 1 / table.loc[table["cohort"] == name, "label"].nunique()
        for (method, classifier), part in intervals[intervals["cohort"] == name].groupby(
            ["method", "classifier"], sort=False
        ):
            low, high = part["ci_low"].mean(), part["ci_high"].mean()
            print(
                f"{name}, {method} ({classifier}): {part['value'].mean():.2f}, interval {low:.2f} to {high:.2f}, "
                f"chance {chance:.2f}"
            )
    for note in notes:
        print(note)
    if args.markdown:
        write_markdown(args.markdown, "Real cohorts", [machine(), *notes], tables)


def parts(cohorts):
    """The halves, and all cohorts where both are there, by name; only cohorts that count."""
    real = [name for name in cohorts if COHORTS[name].counts == "real"]
    halves = {half: [name for name in real if COHORTS[name].half == half] for half in ("A", "B")}
    found = [(half, part) for half, part in halves.items() if part]
    return found if len(found) < 2 else [*found, ("A and B", real)]


def accuracies(table, cohorts):
    """Balanced accuracy of each method on each cohort."""
    score = _scores(table).reindex(columns=cohorts)
    return ["method", *cohorts], [[method, *map(_shown, row)] for method, row in score.iterrows()]


def summarised(table, cohorts):
    """Mean accuracy over cohorts, that of the learned metric on the same cohorts, and discordant pairs."""
    score = _scores(table).reindex(columns=cohorts)
    table = table[table["cohort"].isin(cohorts)]
    rows = []
    for method, row in score.iterrows():
        known = row.dropna()
        if known.empty:
            continue
        ours = _shown(score.loc["ggml", known.index].mean()) if "ggml" in score.index else ""
        some = f" ({len(known)} of {len(cohorts)})" if len(known) < len(cohorts) else ""
        rows.append([method, _shown(known.mean()) + some, ours, *against_euclid(table, method)])
    return ["method", "mean", "ggml there", "more, less often right than with Euclidean OT", "p"], rows


def pairs_by_cohort(table, cohorts):
    """Patients that are right more, and less often, than with Euclidean transport, on each cohort."""
    rows = [
        [method, *(against_euclid(table[table["cohort"] == name], method)[0] for name in cohorts)]
        for method in table["method"].unique()
    ]
    return ["method", *cohorts], rows


def apart(table, cohorts):
    """Held-out separation of each method on each cohort, and its difference from that of Euclidean transport.

    The log ratios of a patient are averaged over subsets of cells first, so that each patient counts once.
    """
    table = table[~table["method"].str.endswith(" logistic")]
    found = table.groupby(["cohort", "method", "label", "patient"], sort=False)["separation"].mean()
    rows = []
    for method in table["method"].unique():
        row = [method]
        for name in cohorts:
            known = found[name].unstack("method").reindex(columns=table["method"].unique()).dropna(subset=[method])
            if known.empty:
                row.append("")
                continue
            codes, units = (pd.factorize(known.index.get_level_values(level))[0] for level in ("label", "patient"))
            values, others = known[method].to_numpy(), known["euclidean"].to_numpy()
            text = f"{separation(values, codes):.2f}"
            if method != "euclidean" and np.isfinite(others).all():
                low, high = separation_interval(values, codes, units, others)
                text += f", {separation(values, codes) - separation(others, codes):+.2f} ({low:.2f} to {high:.2f})"
            row.append(text)
        rows.append(row)
    return ["method", *cohorts], rows


def against_euclid(table, method):
    """Discordant pairs, each patient counted once, and the p-value of their sign test."""
    table = table[table["method"].isin([method, "euclidean"])]
    by_label = table.groupby(["patient", "cohort", "seed", "method"])["correct"].mean().unstack().dropna()
    if method not in by_label or "euclidean" not in by_label:
        return "", ""
    difference = (by_label[method] - by_label["euclidean"]).groupby("patient").mean()
    more, less = int((difference > 1e-9).sum()), int((difference < -1e-9).sum())
    return f"+{more} -{less}", f"{binomtest(more, more + less).pvalue if more + less else 1.0:.2g}"


def _scores(table):
    recall = table.groupby(["method", "cohort", "seed", "label"], sort=False)["correct"].mean()
    by_seed = recall.groupby(level=["method", "cohort", "seed"], sort=False).mean()
    whole = by_seed.groupby(level=["method", "cohort"], sort=False).agg(["mean", "size"])
    every = whole.groupby(level="cohort")["size"].transform("max")
    return whole["mean"].where(whole["size"] == every).unstack()  # of methods that are defined for all subsets


def _shown(value):
    return "" if np.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
