"""The tables of the GGML paper (Kuehn and Schaub, AISTATS 2025), recomputed beside the values of the paper.

Every repeat simulates a cohort, or takes another random subset of the cells of a public one. It splits the samples at
random into halves, stratified by class. Values are means over repeats and, after the sign, standard deviations. Each
cohort has three tables.

Held-out half:
    Metrics are learned on the training half. kNN: accuracy of 5-NN by exact transport distances, held-out samples
    classified by training samples (a tie goes to the class of the nearest). MI, ARI, VI: complete linkage of the
    distances between held-out samples, cut into as many clusters as there are classes, compared with the classes.
    Mutual information and variation of information are in nats.
All samples together, as in the paper:
    The script of the paper learns on all 30 samples of one simulated cohort. It computes the distances between all
    samples of a second, independent one, which are thus held out. kNN is the mean over 10 stratified 50/50 splits of
    them, and they are clustered by *average* linkage. Public cohorts have no second version. The metric, learned on the
    training half, has seen half of the samples that are scored. (The paper samples the two sets independently, so that
    they overlap as well.)
Cells:
    kNN of single cells, each with the class of its sample: cells of the held-out half are classified by cells of the
    training half. The paper takes 100 neighbours. On synthetic cohorts, two thirds of all cells have the same
    distribution in every class, so that no metric exceeds about .53. The values of the paper are close to the limit of
    the cells of the mode that differs (.94), which have columns of their own.

Ground metrics:
    `GroundMetricLearner()`, on PCs with `scale="global"` as everywhere. The preset "paper" (of rank 2 on synth_2D,
    where the paper has 5 x 2 entries). Euclidean, cityblock and cosine distance. Linear maps that metric-learn learns
    on the cells of the training half, each with the class of its sample, with the settings of the paper's script.
    LMNN and NCA get a stratified random subset of 300 and 1,000 cells, LFDA and ITML of 5,000 (`POINTS`), because the
    memory or time of LMNN, NCA and LFDA grows with the square of the number of cells. All get raw features as in the
    paper. `--standardise` repeats the baselines on features that are centred and divided by their standard deviation
    over the cells of the training half.

The values of the paper are one run each. `_paper_values.py` gives their source, and how the baselines differ.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from _machine import machine
from _metric_learn import LEARNERS, learn_map, metric_learn_python, metric_learn_versions
from _paper_cohorts import REAL, SYNTHETIC, find, real, synthetic
from _paper_values import PAPER
from _table import print_table, seconds, write_markdown
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score, mutual_info_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier

import scggml as sg
from scggml.core._neighbors import class_scores
from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances
from scggml.estimators._presets import preset
from scggml.evaluation._scores import cluster_scores, variation_of_information

OURS = "scggml, defaults"
FAITHFUL = "scggml, the paper's settings"
FAITHFUL_SETTINGS = preset("paper").get_params(deep=False)
POINTS = {"LMNN": 300, "NCA": 1000, "LFDA": 5000, "ITML": 5000}
N_NEIGHBORS = 5
SCORES = {"kNN": "knn", "MI": "mutual_information", "ARI": "ari", "VI": "variation_of_information"}
CELLS = {"5-NN, all": "all_5", "100-NN, all": "all_100", "5-NN, own mode": "own_5", "100-NN, own mode": "own_100"}


@dataclass(frozen=True)
class Method:
    """A ground metric: a distance between cells, after the linear map that `learn` finds, if given."""

    name: str
    paper: str
    cost: str = "euclidean"
    learn: object = None
    standardise: bool = False


def methods(python, args):
    """All rows of the tables. `learn(arrays, labels, scale, seed)` returns a map or None, and the status."""
    quick = {"refine": replace(FAITHFUL_SETTINGS["refine"], max_iter=2)} if args.quick else {}
    rows = [
        Method(OURS, "GGML", learn=partial(_ggml, settings={})),
        Method(FAITHFUL, "GGML", learn=partial(_ggml, settings={**FAITHFUL_SETTINGS, **quick})),
    ]
    for standardise in (False, True) if args.standardise else (False,):
        suffix = ", standardised" if standardise else ""
        for name, cost in (("Euclidean", "euclidean"), ("Manhattan", "cityblock"), ("cosine", "cosine")):
            rows.append(Method(name + suffix, name, cost=cost, standardise=standardise))
        for name in LEARNERS:
            learn = partial(_learned_on_cells, python=python, learner=name, args=args)
            rows.append(Method(name + suffix, name, learn=learn, standardise=standardise))
    return rows


def _ggml(arrays, labels, *, scale, seed, settings):
    settings = {"scale": scale, **settings, "rng": seed}
    if settings.get("n_comps") is not None:
        settings["n_comps"] = min(settings["n_comps"], arrays[0].shape[1])
    learner = sg.GroundMetricLearner(**settings)
    return learner.fit(arrays, labels).components_, "ok"


def _learned_on_cells(arrays, labels, *, scale, seed, python, learner, args):
    size = {"max_points": 100, "max_iter": 5} if args.quick else {"max_points": POINTS[learner]}
    return learn_map(python, learner, arrays, labels, seed=seed, timeout=args.timeout, **size)


def measure(method, cohort, seed):
    """All scores of a method on a cohort, or the reason why there are none."""
    cohort = cohort.standardised() if method.standardise else cohort
    start = time.perf_counter()
    linear_map, status = learned(method, cohort, cohort.train, seed)
    took = time.perf_counter() - start
    if status != "ok":
        return status
    arrays = mapped(cohort.arrays, linear_map)
    scores = {"seconds": took, **cell_scores(arrays, cohort, method.cost)}
    samples = Measures.from_arrays(arrays)
    if cohort.whole is None:
        together, together_labels = distances(samples, method.cost), cohort.labels
        to_train, within = together[np.ix_(cohort.test, cohort.train)], together[np.ix_(cohort.test, cohort.test)]
    else:
        linear_map, status = learned(method, cohort, np.arange(len(cohort.arrays)), seed)
        if status != "ok":
            return status
        second, together_labels = cohort.whole
        together = distances(Measures.from_arrays(mapped(second, linear_map)), method.cost)
        test = samples.take(cohort.test)
        within = distances(test, method.cost)
        to_train = pairwise_distances(test, samples.take(cohort.train), cost=method.cost)[0]
    codes = np.unique(cohort.labels, return_inverse=True)[1]
    scores["held_out"] = {
        "knn": accuracy(to_train, codes[cohort.train], codes[cohort.test]),
        **cluster_scores(codes[cohort.test], within),
    }
    scores["together"] = together_scores(together, np.unique(together_labels, return_inverse=True)[1])
    return scores


def learned(method, cohort, which, seed):
    """The linear map that is learned from some samples, or None, and the status."""
    if method.learn is None:
        return None, "ok"
    return method.learn([cohort.arrays[i] for i in which], cohort.labels[which], scale=cohort.scale, seed=seed)


def mapped(arrays, linear_map):
    """The samples after a linear map, if there is one."""
    return [x if linear_map is None else x @ linear_map.T for x in arrays]


def distances(samples, cost):
    """The exact OT distances of all pairs."""
    return pairwise_distances(samples, cost=cost)[0]


def accuracy(to_train, train_codes, test_codes):
    """5-NN of samples."""
    votes = class_scores(to_train, train_codes, rule="knn", n_neighbors=N_NEIGHBORS)
    return float((votes.argmax(axis=1) == test_codes).mean())


def together_scores(matrix, codes):
    """The scores of the paper: kNN over 10 splits of all samples, and average linkage of all samples."""
    splits = StratifiedShuffleSplit(10, test_size=0.5, random_state=0).split(matrix, codes)
    knn = [accuracy(matrix[np.ix_(test, train)], codes[train], codes[test]) for train, test in splits]
    found = fcluster(linkage(squareform(matrix, checks=False), "average"), len(np.unique(codes)), "maxclust")
    return {
        "knn": float(np.mean(knn)),
        "mutual_information": float(mutual_info_score(codes, found)),
        "ari": float(adjusted_rand_score(codes, found)),
        "variation_of_information": variation_of_information(codes, found),
    }


def cell_scores(arrays, cohort, cost):
    """kNN of cells of the held-out half by cells of the training half."""
    masks_of = {"all": [np.ones(len(x), dtype=bool) for x in arrays]}
    if cohort.own is not None:
        masks_of["own"] = cohort.own
    scores = {}
    for which, masks in masks_of.items():
        (x, y), (test_x, test_y) = (
            (
                np.concatenate([arrays[i][masks[i]] for i in half]),
                np.concatenate([np.repeat(cohort.labels[i], masks[i].sum()) for i in half]),
            )
            for half in (cohort.train, cohort.test)
        )
        for k in (5, 100):
            model = KNeighborsClassifier(min(k, len(x)), metric=cost, n_jobs=-1)
            scores[f"{which}_{k}"] = model.fit(x, y).score(test_x, test_y)
    return scores


def cohorts(name, args):
    """A function from a seed to a cohort. None, and a message, if the file is missing."""
    if name in SYNTHETIC:
        size = {"n_samples": 18, "n_cells": 60} if args.quick else {"n_samples": 30, "n_cells": 300}
        return partial(synthetic, name, **size)
    path = find(name, args.data)
    if path is None:
        print(f"{name}: skipped, no {name}.h5ad in --data and no download of sg.datasets.{name}_cohort() was found")
        return None
    return partial(real, name, path, max_cells=args.max_cells)


def run(name, cohort_of, rows, args):
    """Scores of all methods, one for each repeat."""
    results = {row.name: [] for row in rows}
    for seed in range(args.seed, args.seed + args.repeats):
        cohort = cohort_of(seed)
        for row in rows:
            start = time.perf_counter()
            found = measure(row, cohort, seed)
            results[row.name].append(found)
            text = found if isinstance(found, str) else " ".join(f"{found['held_out'][k]:.2f}" for k in SCORES.values())
            print(
                f"{name} {seed}  {row.name}: {text} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True
            )
    return results


def tables(name, results, rows):
    """The three tables of a cohort: (title, header, rows)."""
    paper = PAPER[name]
    beside = [text for score in SCORES for text in (score, "paper")]
    found = []
    for title, part in (("held-out half", "held_out"), ("all samples together, as in the paper", "together")):
        lines = []
        for row in rows:
            printed = paper.get(row.paper, [np.nan] * 5)
            cells = [row.name]
            for i, key in enumerate(SCORES.values()):
                cells += [_text([r[part].get(key, np.nan) for r in _done(results[row.name])]), _digits(printed[i])]
            lines.append([*cells, _failures(results[row.name])])
        found.append((f"{name}: {title}", ["method", *beside, ""], lines))
    columns = {title: key for title, key in CELLS.items() if any(key in r for r in _done(sum(results.values(), [])))}
    lines = [
        [
            row.name,
            *(_text([r[key] for r in _done(results[row.name])]) for key in columns.values()),
            _digits(paper.get(row.paper, [np.nan] * 5)[4]),
            _seconds_to_learn(row, _done(results[row.name])),
        ]
        for row in rows
    ]
    return [*found, (f"{name}: cells", ["method", *columns, "paper", "s to learn"], lines)]


def _seconds_to_learn(row, done):
    return "-" if row.learn is None or not done else seconds(np.mean([r["seconds"] for r in done]))


def verdicts(name, results):
    """The columns in which the defaults reach the value of the paper for GGML, to two digits."""
    ours = _done(results[OURS])
    for title, part in (("held-out half", "held_out"), ("all samples together", "together")):
        reached, below, unknown = [], [], []
        for (score, key), printed in zip(SCORES.items(), PAPER[name]["GGML"], strict=False):
            value = round(float(np.mean([r[part].get(key, np.nan) for r in ours])), 2)
            column = unknown if np.isnan(printed) else reached if _as_good(score, value, printed) else below
            column.append(f"{score} {value:.2f} ({_digits(printed)})")
        parts = [f"{what}: {', '.join(which)}" for what, which in _named(reached, below, unknown) if which]
        yield f"{name}, {title}, defaults against the paper's GGML (in brackets). {'. '.join(parts)}."


def _named(reached, below, unknown):
    return ("At least as good", reached), ("Not as good", below), ("Not in the paper", unknown)


def _as_good(score, value, printed):
    return value <= printed if score == "VI" else value >= printed


def _done(results):
    return [r for r in results if not isinstance(r, str)]


def _failures(results):
    failed = [r for r in results if isinstance(r, str)]
    return f"{len(failed)} of {len(results)}: {failed[0]}" if failed else ""


def _text(values):
    if not values or np.isnan(values).all():
        return "-"
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"


def _digits(value):
    return "-" if np.isnan(value) else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SYNTHETIC, *REAL], default=[*SYNTHETIC, *REAL])
    parser.add_argument("--data", type=Path, help="folder with kidney.h5ad, breast.h5ad, myocardial_infarction.h5ad")
    parser.add_argument("--max-cells", type=int, default=500, help="of each sample of a public cohort")
    parser.add_argument("--repeats", type=int, help="cohorts and splits; default 5, quick 1")
    parser.add_argument("--seed", type=int, default=0, help="of the first repeat")
    parser.add_argument("--standardise", action="store_true", help="baselines on standardised features as well")
    parser.add_argument("--quick", action="store_true", help="small cohorts: whether it runs at all")
    parser.add_argument("--metric-learn-env", metavar="DIR", help="virtual environment; made where there is none")
    parser.add_argument("--timeout", type=float, default=900, help="seconds per metric that metric-learn learns")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there too")
    args = parser.parse_args()
    args.repeats = args.repeats or (1 if args.quick else 5)
    python = metric_learn_python(args.metric_learn_env)
    where = [
        machine(),
        f"Baselines: {metric_learn_versions(python)}.",
        f"Repeats: {args.repeats}. Load of the machine before: {os.getloadavg()[0]:.1f}.",
    ]
    print("\n".join(where), flush=True)
    rows = methods(python, args)
    everything, notes = [], []
    for name in args.only:
        cohort_of = cohorts(name, args)
        if cohort_of is None:
            continue
        results = run(name, cohort_of, rows, args)
        found, lines = tables(name, results, rows), list(verdicts(name, results))
        for title, header, cells in found:
            print(f"\n{title}")
            print_table(header, cells)
        print("\n" + "\n".join(lines), flush=True)
        everything += found
        notes += lines
    if args.markdown:
        write_markdown(args.markdown, "The tables of the GGML paper", [*where, *notes], everything)


if __name__ == "__main__":
    main()
