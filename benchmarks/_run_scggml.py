"""The jobs of scggml, and those for both that need its environment; see `against_peer.py` and `scaling.py`."""

from __future__ import annotations

import time

import joblib
import numpy as np
import ot
import torch
from _jobs import few, fixed_map, main, measured, read_samples

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.metric._ground_metric import GroundMetric
from scggml.core.metric._objective import Objective
from scggml.core.metric._targets import Targets
from scggml.core.metric._triplets import all_triplets
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._entropic import solve_pairs_entropic


def fit(arrays, labels):
    """Fit with defaults."""
    learner, numbers = measured(lambda: _fit(arrays, labels), lambda: _fit(*few(arrays, labels)))
    return numbers, {"linear_maps": learner.components_[None]}


def fit_and_matrix(arrays, labels):
    """Fit with defaults, then the full exact matrix of the same samples under the learned metric."""

    def warm_up():
        arrays_, labels_ = few(arrays, labels)
        _fit(arrays_, labels_).pairwise_distances(arrays_)

    learner, numbers = measured(lambda: _fit(arrays, labels), warm_up)
    _, of_matrix = measured(lambda: learner.pairwise_distances(arrays))
    return {**numbers, "matrix_seconds": of_matrix["seconds"], "matrix_above_mb": of_matrix["above_mb"]}, {}


def matrix(arrays, labels):
    """The full exact matrix under a fixed map, projection included."""
    linear_map = fixed_map(arrays)
    result, numbers = measured(
        lambda: pairwise_distances(_projected(arrays, linear_map))[0],
        lambda: pairwise_distances(_projected(few(arrays, labels)[0], linear_map)),
    )
    return numbers, {"distances": result}


def floor(arrays, labels, *, n_pairs=30):
    """Number of pairs times the time of POT's `emd` over cores, with cost matrices given.

    No matrix that is solved with it can undercut this.

    The time of `emd` is the mean over random pairs, one after the other.
    """
    projected = _projected(arrays, fixed_map(arrays)).split()
    first, second = np.triu_indices(len(arrays), k=1)
    chosen = np.random.default_rng(0).permutation(len(first))[:n_pairs]
    costs = [ot.dist(projected[first[p]], projected[second[p]], metric="euclidean") for p in chosen]
    masses = [(ot.unif(len(c)), ot.unif(c.shape[1])) for c in costs]
    ot.emd(*masses[0], costs[0])
    start = time.perf_counter()
    for (a, b), cost in zip(masses, costs, strict=True):
        ot.emd(a, b, cost, numItermax=10_000_000)
    per_pair = (time.perf_counter() - start) / len(costs)
    return {"seconds": len(first) * per_pair / joblib.cpu_count(), "emd_seconds": per_pair}, {}


def quality(arrays, labels, *, test, linear_maps, target=None):
    """5-NN accuracy and ARI of a second cohort under maps of scggml or the peer: the last, and the first as good.

    The last map's scores are "knn" and "ari". With a target of the two, "reached" is the first of some epochs that
    attains both, None if there is none; the maps are then those of the start and of every epoch.
    """
    from synthetic_cohorts import clustering_ari, knn_accuracy

    test_arrays, test_labels = read_samples(test)
    maps = np.load(linear_maps)

    def scores(linear_map):
        train, held_out = _projected(arrays, linear_map), _projected(test_arrays, linear_map)
        across, within = pairwise_distances(held_out, train)[0], pairwise_distances(held_out)[0]
        return knn_accuracy(across, labels, test_labels), float(clustering_ari(within, test_labels))

    knn, ari = scores(maps[-1])
    numbers = {"knn": knn, "ari": ari}
    if target is not None:
        as_good = ((e, scores(maps[e])) for e in (1, 2, 3, 4, 5, 7, 10, 14, 20) if e < len(maps) - 1)
        last = len(maps) - 1 if knn >= target[0] and ari >= target[1] else None
        numbers["reached"] = next((e for e, (k, r) in as_good if k >= target[0] and r >= target[1]), last)
    return numbers, {}


def unlearned(arrays, labels):
    """The map that only standardises the features, as a baseline without learning."""
    return {}, {"linear_maps": np.diag(1 / np.concatenate(arrays).std(axis=0, dtype=np.float64))[None]}


def entropic(arrays, labels, *, reg, epochs):
    """Seconds per epoch: entropic distances of all pairs that the triplets need, value, gradient and a step of Adam."""
    value_and_gradient = entropic_value_and_gradient(reg)

    def descend(arrays, labels, epochs):
        measures, triplets = Measures.from_arrays(arrays), all_triplets(Targets.of_classes(labels))
        start = np.linalg.qr(np.random.default_rng(0).normal(size=(measures.n_features, 5)))[0].T
        weight = torch.from_numpy(np.ascontiguousarray(start))
        # the peer's margin, regulariser and step size
        objective = Objective(triplets, 1.0, 0.001, "frobenius", relative=False)
        optimizer = torch.optim.Adam([weight], lr=0.1)
        for _ in range(epochs):
            _, gradient = value_and_gradient(measures, weight.numpy(), objective)
            weight.grad = torch.from_numpy(np.ascontiguousarray(gradient))
            optimizer.step()

    _, numbers = measured(lambda: descend(arrays, labels, epochs), lambda: descend(*few(arrays, labels), 1))
    return {**numbers, "seconds": numbers["seconds"] / epochs}, {}


def entropic_value_and_gradient(reg):
    """Return a function of (measures, components, objective) that returns the objective's value and gradient (k, d).

    `reg` is a fraction of the mean cost: over all cells here, of each pair in the peer. Every epoch starts cold.
    """

    def value_and_gradient(measures, components, objective):
        projected = np.asarray(measures.points @ components.T, dtype=np.float64)
        left, right = np.random.default_rng(0).integers(len(projected), size=(2, 10_000))
        mean_cost = float(np.linalg.norm(projected[left] - projected[right], axis=1).mean())
        pairs = objective.triplets.pairs
        solved = solve_pairs_entropic(measures.with_points(projected), pairs, epsilon=reg * mean_cost, device="cpu")
        value, slope, explicit = objective(components, solved.distances)
        return value, solved.gradient(slope).T @ measures.points + explicit

    return value_and_gradient


def _fit(arrays, labels):
    return sg.GroundMetricLearner(rng=0).fit(arrays, labels)


def _projected(arrays, linear_map):
    measures = Measures.from_arrays(arrays)
    metric = GroundMetric(np.asarray(linear_map, dtype=np.float64), np.ones(linear_map.shape[1]))
    return measures.with_points(metric.project(measures.points))


if __name__ == "__main__":
    main(
        {
            "fit": fit,
            "fit_and_matrix": fit_and_matrix,
            "matrix": matrix,
            "floor": floor,
            "quality": quality,
            "unlearned": unlearned,
            "entropic": entropic,
        }
    )
