"""The paper's synthetic cohorts: learn on one draw, test on a second draw of the same cohort.

All with defaults; with `--paper`, by the loop of the paper with its settings, for longer, and with smaller steps.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from _machine import machine
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.metric._problem import Problem
from scggml.core.metric._refinement import refine_by_minibatches
from scggml.core.metric._targets import Targets
from scggml.core.metric._triplets import sample_triplets
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._solvers import Exact
from scggml.estimators._presets import preset

#: Stages of training, one after the other: number of epochs, step size
STAGES = {"synth_2d": [(30, 0.02), (30, 0.002), (30, 0.0002)], "synth_200d": [(30, 0.02), (20, 0.02), (30, 0.02)]}


def knn_accuracy(distances, train_labels, test_labels, *, k=5, leave_out_self=False):
    """5-NN by brute force, independent of scggml's classifier."""
    distances = distances.copy()
    if leave_out_self:
        np.fill_diagonal(distances, np.inf)
    nearest = train_labels[np.argsort(distances, axis=1)[:, :k]]
    predicted = [max(sorted(set(row)), key=list(row).count) for row in nearest]
    return float(np.mean(predicted == test_labels))


def clustering_ari(distances, labels):
    """Adjusted Rand index of complete-linkage clusters against the classes."""
    model = AgglomerativeClustering(len(set(labels)), metric="precomputed", linkage="complete")
    return adjusted_rand_score(labels, model.fit_predict(distances))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cohorts", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--paper", action="store_true", help="the loop of the paper instead; minutes per cohort")
    args = parser.parse_args()
    print(machine())
    how = f"  {'training':<40}" if args.paper else ""
    print(f"{'cohort':<11} seed{how}  5-NN train  5-NN test  ARI train  ARI test   fit s  matrix s")
    for name in args.cohorts:
        for seed in range(args.seeds):
            for how, scores in (with_the_paper if args.paper else with_defaults)(name, seed):
                print(f"{name:<11} {seed:4d}{how}{scores}", flush=True)


def with_defaults(name, seed):
    """The scores of the default learner."""
    train, test = (sg.datasets.synthetic_cohort(name, rng=rng) for rng in (seed, 1000 + seed))
    start = time.perf_counter()
    sg.tl.fit_metric(train, "sample", "label", use_rep="X", rng=0)
    fitted = time.perf_counter()
    on_train = sg.tl.sample_distances(train)
    measured = time.perf_counter()
    test.uns["ggml"] = train.uns["ggml"]
    on_test = sg.tl.sample_distances(test)
    labels, test_labels = (s.obs["label"].astype(str).to_numpy() for s in (on_train, on_test))
    learner = sg.GroundMetricLearner(rng=0).fit(*as_arrays(train))
    across = learner.pairwise_distances(as_arrays(test)[0], as_arrays(train)[0])
    matrices = on_train.obsp["ggml_distances"], across, on_test.obsp["ggml_distances"]
    yield "", shown(*matrices, labels, test_labels, fitted - start, measured - fitted)


def with_the_paper(name, seed):
    """The scores after each stage of training; on two features also for features of unit standard deviation."""
    (arrays, labels), (test_arrays, test_labels) = (
        as_arrays(sg.datasets.synthetic_cohort(name, rng=rng)) for rng in (seed, 1000 + seed)
    )
    train, test = (Measures.from_arrays([x.astype(np.float64) for x in part]) for part in (arrays, test_arrays))
    ones = np.ones(train.n_features)
    plain = preset("paper").refine
    runs = [("", ones, STAGES[name])]
    if name == "synth_2d":
        runs.append((", unit standard deviations", train.points.std(axis=0), STAGES[name][:1]))
    for text, scale, stages in runs:
        rng = np.random.default_rng(seed)
        triplets = sample_triplets(Targets.of_classes(np.unique(labels, return_inverse=True)[1]), 4, rng)
        # five components on two features too, as in the paper
        components, epochs, start = rng.uniform(-1, 1, size=(5, train.n_features)), 0, time.perf_counter()
        problem = Problem(train, scale, ones.astype(bool), Exact(), None)
        for n, lr in stages:
            options = replace(plain, max_iter=n, lr=lr)
            found = refine_by_minibatches(problem, components, triplets, options, options.minibatch, rng)
            components, epochs = found.components.copy(), epochs + n
            fitted = time.perf_counter()
            a, b = (part.with_points(part.points @ (components / scale).T) for part in (train, test))
            within = pairwise_distances(a)[0]
            matrices = within, pairwise_distances(b, a)[0], pairwise_distances(b)[0]
            how = f"{epochs} epochs, the last {n} with lr {lr:g}{text}"
            yield f"  {how:<40}", shown(*matrices, labels, test_labels, fitted - start, time.perf_counter() - fitted)


def shown(on_train, across, on_test, labels, test_labels, fit_time, matrix_time):
    """The scores as a line."""
    return (
        f"  {knn_accuracy(on_train, labels, labels, leave_out_self=True):10.2f}"
        f"  {knn_accuracy(across, labels, test_labels):9.2f}"
        f"  {clustering_ari(on_train, labels):9.2f}  {clustering_ari(on_test, test_labels):8.2f}"
        f"  {fit_time:6.1f}  {matrix_time:8.1f}"
    )


def as_arrays(adata):
    """Return one array per sample, ordered by name, and the labels."""
    groups = adata.obs.groupby("sample", observed=True).indices
    names = sorted(groups)
    return [adata.X[groups[n]] for n in names], adata.obs["label"].astype(str).to_numpy()[[groups[n][0] for n in names]]


if __name__ == "__main__":
    main()
