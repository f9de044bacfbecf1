"""Gradient refinement beside the closed form, on held-out patients: few steps, small steps, pulls to the closed form.

The rule, written down before the first run: of the candidates that lose no real cohort of half A by more than one
patient (discordant pairs against the closed form, controls included), the one with the largest mean separation over the
real cohorts that count and the simulated ones (as one cohort). Half B is run once, with that candidate only.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from _machine import machine
from _table import print_table, write_markdown
from panel import COHORTS, simulated, subset
from scipy.stats import binomtest, t
from tqdm import tqdm

import scggml as sg
from scggml._anndata._cohort import read_samples
from scggml.core._probabilities import N_NEIGHBORS, relative_class_scores
from scggml.core.metric._ground_metric import GroundMetric
from scggml.core.transport._distances import pairwise_distances
from scggml.evaluation._held_out_separation import log_ratios, separation, separation_interval
from scggml.evaluation._splits import make_splits

CLOSED, EUCLID = "closed form", "euclidean"
STEPS = [(n, lr) for lr in (0.02, 0.01) for n in (2, 4, 8)]
PULLS = {"half": lambda signal: 0.5, "signal": lambda signal: signal}
CANDIDATES = [f"{n}, {lr:g}" for n, lr in STEPS] + [f"8, 0.02, {pull}" for pull in PULLS]
FOLDS = 6


def metrics(samples, candidates, seed):
    """The closed form, and the candidates: refined metrics, and their mixtures with the closed form."""

    def fit(refine):
        learner = sg.GroundMetricLearner(scale=samples.scale, refine=refine, rng=seed, n_jobs=1)
        return learner.fit(samples.measures, samples.y, samples.strata)

    closed = fit(None)
    found, refined = {CLOSED: closed.metric_}, {}
    for name in candidates:
        steps, lr, *pull = name.split(", ")
        if (steps, lr) not in refined:
            refined[steps, lr] = fit(sg.Refinement(max_iter=int(steps), lr=float(lr)))
        metric = refined[steps, lr].metric_
        if pull:  # of Mahalanobis matrices in units of the median distance
            share = PULLS[pull[0]](closed.label_signal_)
            parts = np.sqrt(1 - share) * closed.metric_.components, np.sqrt(share) * metric.components
            metric = GroundMetric(np.concatenate(parts), metric.scale)
        found[name] = metric
    return found


def evaluate(name, args, seed):
    """One row per method and held-out sample: whether the prediction is right, and its log ratio of distances."""
    cohort = COHORTS[name]
    adata = simulated(seed) if cohort.seeds else anndata.read_h5ad(args.data / f"{cohort.file}.h5ad")
    adata = subset(adata, cohort.label, cohort.n_per_class, n_cells=args.cells, n_comps=args.comps, seed=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gene weights.*")
        read = read_samples(adata, "sample", cohort.label, donor_key=cohort.donor_key, use_rep="X_pca")
    samples = read.samples
    few = cohort.donor_key is not None or np.bincount(samples.codes).min() < FOLDS
    cv = "leave_one_out" if few else FOLDS
    rows = []
    for split in make_splits(samples.stratify_by(), samples.donors, cv=cv, rng=np.random.default_rng(seed)):
        train, test = samples.take(split.train), samples.take(split.test)
        codes, truth = samples.codes[split.train], samples.codes[split.test]
        found = metrics(train, args.candidates, seed)
        found[EUCLID] = GroundMetric(np.eye(train.measures.n_features), np.ones(train.measures.n_features))
        for method, metric in found.items():
            a, b = (metric.project_measures(part.measures) for part in (test, train))
            distances = pairwise_distances(a, b, n_jobs=1)[0]
            right = relative_class_scores(distances, codes, n_neighbors=N_NEIGHBORS).argmax(axis=1) == truth
            rows.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "patient": samples.units[split.test] + f" {seed}" * bool(cohort.seeds),
                        "sample": samples.names[split.test] + f" {seed}" * bool(cohort.seeds),
                        "label": samples.labels[split.test],
                        "correct": right.astype(float),
                        "log_ratio": log_ratios(distances, codes, truth),
                    }
                )
            )
    return pd.concat(rows).assign(cohort=name, seed=seed)


def accuracy(table):
    """Balanced accuracy, mean over subsets of cells or simulated cohorts."""
    recall = table.groupby(["seed", "label"])["correct"].mean()
    return float(recall.groupby("seed").mean().mean())


def discordant(table, method, baseline=CLOSED):
    """Patients that are right more, and less often than with the baseline, over all subsets; each counts once."""
    by_draw = table[table["method"].isin([method, baseline])].pivot_table(
        index=["cohort", "patient"], columns="method", values="correct"
    )
    difference = by_draw[method] - by_draw[baseline]
    return int((difference > 1e-9).sum()), int((difference < -1e-9).sum())


def separations(table, method, baseline=CLOSED):
    """Separation, and its difference from the baseline with an interval; log ratios are averaged over subsets of cells.

    Simulated cohorts have a separation each, and Student's interval over cohorts.
    """
    values, differences, interval = [], [], None
    simulations = COHORTS[table["cohort"].iloc[0]].seeds
    for _, part in table.groupby("seed") if simulations else [(0, table)]:
        wide = part.pivot_table(index=["sample", "label", "patient"], columns="method", values="log_ratio")
        codes, units = (wide.index.get_level_values(level).factorize()[0] for level in ("label", "patient"))
        ours, theirs = wide[method].to_numpy(), wide[baseline].to_numpy()
        values.append(separation(ours, codes))
        differences.append(values[-1] - separation(theirs, codes))
        if not simulations:
            interval = separation_interval(ours, codes, units, theirs)
    mean = float(np.mean(differences))
    if interval is None:
        half = t.ppf(0.975, len(differences) - 1) * np.std(differences, ddof=1) / np.sqrt(len(differences))
        interval = mean - half, mean + half
    return float(np.mean(values)), mean, interval


def tables_of(table, cohorts, methods):
    """Tables of accuracy, discordant pairs and separation by cohort, and over the cohorts that count."""
    parts = {name: table[table["cohort"] == name] for name in cohorts}
    accuracies, pairs, apart, apart_by = [], [], [], []
    counted = [name for name in cohorts if COHORTS[name].counts in ("real", "simulated")]
    real = table["cohort"].isin([name for name in cohorts if COHORTS[name].counts == "real"])
    for method in methods:
        scores = {name: accuracy(part[part["method"] == method]) for name, part in parts.items()}
        found = {name: separations(part, method) for name, part in parts.items()}
        mean = np.mean([scores[name] for name in counted])
        accuracies.append([method, *(f"{scores[name]:.3f}" for name in cohorts), f"{mean:.3f}"])
        mean = np.mean([found[name][0] for name in counted])
        apart.append([method, *(f"{found[name][0]:.2f}" for name in cohorts), f"{mean:.3f}"])
        if method == CLOSED:
            continue
        more, less = discordant(table[real], method)
        p = binomtest(more, more + less).pvalue if more + less else 1.0
        by_cohort = [discordant(part, method) for part in parts.values()]
        pairs.append([method, *(f"+{a} -{b}" for a, b in by_cohort), f"+{more} -{less}, p = {p:.2g}"])
        apart_by.append([method, *(f"{d:+.2f} ({low:+.2f} to {high:+.2f})" for _, d, (low, high) in found.values())])
    return [
        ("Balanced accuracy", ["method", *cohorts, "mean"], accuracies),
        (f"Patients right more, less often than with the {CLOSED}", ["method", *cohorts, "real, no control"], pairs),
        ("Separation", ["method", *cohorts, "mean"], apart),
        (f"Separation minus that of the {CLOSED}, 95 % interval", ["method", *cohorts], apart_by),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--half", choices=["A", "B"], required=True, help="cohorts to choose on, or to confirm on")
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=CANDIDATES, help="max_iter, lr, pull")
    parser.add_argument("--seeds", type=int, default=3, help="random subsets of cells; simulated cohorts have one each")
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--comps", type=int, default=20)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    # of the AML patients with two labels, the finer one
    cohorts = [name for name, c in COHORTS.items() if c.half == args.half and name != "AML"]
    print(machine(), flush=True)
    start, found = time.process_time(), []
    for name in cohorts:
        for seed in tqdm(COHORTS[name].seeds or range(args.seeds), desc=name, file=sys.stderr):
            found.append(evaluate(name, args, seed))
    notes = [
        f"Half {args.half}, {args.seeds} random subsets of {args.cells} cells, {args.comps} PCs, {FOLDS} folds "
        f"(classes with fewer patients, and donors, are held out one at a time). Refined: max_iter, lr at margin "
        f"{sg.Refinement().margin:g}; half: a mixture in equal parts with the closed form; signal: refined by the "
        "strength of the signal of the labels, the rest closed form. Controls and cohorts that every method solves are "
        f"in no mean. CPU time {time.process_time() - start:.0f} s."
    ]
    tables = tables_of(pd.concat(found), cohorts, [EUCLID, CLOSED, *args.candidates])
    for title, header, rows in tables:
        print(f"\n{title}")
        print_table(header, rows)
    print(*notes, sep="\n")
    if args.markdown:
        write_markdown(args.markdown, "Refinement", [machine(), *notes], tables)


if __name__ == "__main__":
    main()
