"""Distances out of fold beside a loop that refits the learner and solves by POT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedKFold

from scggml import GroundMetricLearner, Refinement, Sinkhorn
from scggml.core.measures._measures import Measures
from scggml.core.metric import _discriminant, _held_out_metrics, _out_of_fold
from scggml.core.metric._options import TrainingOptions
from scggml.core.metric._out_of_fold import fold_pairs, folds_of_pairs, max_folds, out_of_fold_distances
from scggml.core.metric._targets import Targets
from scggml.core.metric._training import train
from scggml.core.transport._distances import pairwise_distances

CODES = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1])
BALANCED = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
EACH = np.arange(len(CODES))
OPTIONS = TrainingOptions(scale=None)
VALUES = {
    "class": CODES.astype(float),
    "ordinal": np.array([0, 1, 2, 0, 1, 2, 0, 1, 2.0]),
    "continuous": np.array([0.1, 3.0, 1.2, 2.7, 4.1, 0.5, 1.9, 3.3, 2.2]),
}
STRATA = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])


def clouds(n=9, d=3, seed=0, effect=1.0):
    rng = np.random.default_rng(seed)
    effects = effect * (np.arange(n) % 2)
    return [
        rng.normal(size=(int(rng.integers(6, 11)), d)) * np.linspace(1, 3, d) + np.eye(d)[0] * e + rng.normal(size=d)
        for e in effects
    ]


def distances(samples, targets, folds, options=OPTIONS, seed=0, **more):
    measures = Measures.from_arrays(samples)
    return out_of_fold_distances(measures, targets, options, folds, rng=np.random.default_rng(seed), **more)


def emd(x, y, power):
    costs = ot.dist(x, y, metric="euclidean")
    plan = ot.emd(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), costs)
    return plan, float((plan * costs**power).sum())


def brute_force(samples, targets, folds, learner):
    """Return distances in units of their median; each metric is divided by its length of transport without labels."""
    n, n_folds = len(samples), folds.max() + 1
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    plans = {(i, j): emd(samples[i], samples[j], 1)[0] for i, j in pairs}
    matrix = np.zeros((n, n))
    for i, j in pairs:
        other = folds[j] if folds[j] != folds[i] else (folds[i] + 1) % n_folds
        left = np.flatnonzero((folds != folds[i]) & (folds != other))
        strata = None if targets.strata is None else targets.strata[left]
        model = learner.fit([samples[k] for k in left], targets.values[left], strata)
        maps = model.transform(samples)
        lengths = [(plans[p] * ot.dist(maps[p[0]], maps[p[1]], metric="sqeuclidean")).sum() for p in pairs]
        matrix[i, j] = matrix[j, i] = emd(maps[i], maps[j], 1)[1] / np.sqrt(np.mean(lengths))
    return matrix / np.median(matrix[np.triu_indices(n, k=1)])


@pytest.mark.parametrize("folds", [EACH, BALANCED], ids=["each", "folds"])
@pytest.mark.parametrize(
    ("kind", "strata"), [("class", None), ("ordinal", None), ("continuous", None), ("class", STRATA)]
)
def test_equal_a_loop_that_refits_the_learner(kind, strata, folds):
    targets, samples = Targets(VALUES[kind], kind, strata), clouds()
    found = distances(samples, targets, folds)
    learner = GroundMetricLearner(label_kind=kind, scale=None, n_jobs=1)
    np.testing.assert_allclose(found.matrix, brute_force(samples, targets, folds, learner), rtol=1e-7)
    assert found.gap < 1e-9
    n_folds = folds.max() + 1
    assert found.n_metrics == n_folds * (n_folds - 1) / 2
    assert np.median(found.matrix[np.triu_indices(len(samples), k=1)]) == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"n_sweeps": 2}, {"refine": Refinement(max_iter=3)}], ids=["sweeps", "refined"])
def test_metrics_that_are_learned_anew(settings):
    samples, targets = clouds(), Targets.of_classes(CODES)
    folds = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    found = distances(samples, targets, folds, replace(OPTIONS, **settings))
    learner = GroundMetricLearner(scale=None, n_jobs=1, **settings)
    np.testing.assert_allclose(found.matrix, brute_force(samples, targets, folds, learner), rtol=1e-6)


@pytest.mark.parametrize("folds", [EACH, BALANCED], ids=["each", "folds"])
def test_plans_and_moments_and_batches_and_threads_give_the_same(folds, monkeypatch):
    samples, targets = clouds(), Targets.of_classes(CODES)
    expected = distances(samples, targets, folds, n_jobs=1).matrix
    np.testing.assert_array_equal(distances(samples, targets, folds, n_jobs=2).matrix, expected)
    monkeypatch.setattr(_out_of_fold, "_MAX_CLOUDS", 1)
    np.testing.assert_array_equal(distances(samples, targets, folds, n_jobs=2).matrix, expected)
    monkeypatch.setattr(_held_out_metrics, "MAX_MOMENTS", 0)
    np.testing.assert_allclose(distances(samples, targets, folds).matrix, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["class", "ordinal", "continuous"])
@pytest.mark.parametrize("from_plans", [False, True])
def test_the_label_of_a_sample_does_not_enter_its_distances(kind, from_plans, monkeypatch):
    if from_plans:
        monkeypatch.setattr(_held_out_metrics, "MAX_MOMENTS", 0)
    samples, changed = clouds(), VALUES[kind].copy()
    changed[2] = 1.0 if kind == "class" else 2.0 - changed[2] if kind == "ordinal" else 11.0
    before, after = (distances(samples, Targets(v, kind), EACH).matrix for v in (VALUES[kind], changed))
    ratio = after[2, 3] / before[2, 3]
    np.testing.assert_allclose(after[2], ratio * before[2], rtol=1e-14)
    assert not np.allclose(after, ratio * before)  # others have seen it


def test_many_sparse_features(monkeypatch):
    """Of so many that nothing of size features x features is formed; a small number stands for them."""
    for module in (_discriminant, _held_out_metrics):
        monkeypatch.setattr(module, "WIDE", 30)
    monkeypatch.setattr(_held_out_metrics, "MAX_MOMENTS", 0)
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 4)
    samples = [sp.csr_array(rng.binomial(1, 0.3, size=(8, 60)) + 3.0 * c * np.eye(1, 60, 5)) for c in codes]
    folds = np.tile(np.arange(4), 2)
    found = distances(samples, Targets.of_classes(codes), folds, replace(OPTIONS, n_comps=3)).matrix
    left = np.flatnonzero(folds > 1)  # without the folds of samples 0 and 1
    model = GroundMetricLearner(scale=None, n_comps=3).fit([samples[k] for k in left], codes[left])
    brute = model.pairwise_distances([samples[k] for k in (0, 1, 4, 5)])
    first, second = [0, 0, 1, 4], [1, 5, 4, 5]  # of different folds
    found = found[first, second]
    expected = np.array([brute[0, 1], brute[0, 3], brute[1, 2], brute[2, 3]])
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=2e-3)


def test_entropic_distances_have_one_strength():
    samples, targets = clouds(), Targets.of_classes(CODES)
    options = replace(OPTIONS, power=1.0, whitening=1.0)
    exact = distances(samples, targets, BALANCED, options)
    found = distances(samples, targets, BALANCED, options, solver=Sinkhorn(0.003, device="cpu"))
    np.testing.assert_allclose(found.matrix, exact.matrix, rtol=0.05)
    assert 0.5 < found.solver.epsilon / 0.003 < 2 and not np.array_equal(found.matrix, exact.matrix)
    learned = distances(samples, targets, BALANCED, replace(options, solver=Sinkhorn(0.003, device="cpu")))
    np.testing.assert_allclose(learned.matrix, exact.matrix, rtol=0.05)


def test_samples_may_be_compared_by_other_points():
    samples, targets = clouds(), Targets.of_classes(CODES)
    whole = Measures.from_arrays(samples)
    found = distances([x[:5] for x in samples], targets, BALANCED, compared=whole)
    own = distances([x[:5] for x in samples], targets, BALANCED)
    assert not np.allclose(found.matrix, own.matrix)
    np.testing.assert_array_equal(
        distances(samples, targets, BALANCED, compared=whole).matrix, distances(samples, targets, BALANCED).matrix
    )


def test_folds_of_pairs():
    folds = np.array([0, 0, 1, 2, 2])
    pairs = np.array([[0, 1], [0, 2], [2, 4], [3, 4]])
    np.testing.assert_array_equal(folds_of_pairs(folds, pairs), [[0, 1], [0, 1], [1, 2], [0, 2]])
    np.testing.assert_array_equal(fold_pairs(3), [[0, 1], [0, 2], [1, 2]])


def test_fewer_folds_where_a_metric_takes_long():
    assert [max_folds(d, OPTIONS) for d in (10, 200, 2000)] == [20, 10, 5]
    assert max_folds(10, replace(OPTIONS, n_sweeps=2)) == max_folds(10, replace(OPTIONS, refine=Refinement())) == 5


def test_labels_without_meaning_show_no_classes():
    """The mean silhouette of 40 relabelings of samples of one distribution."""
    samples, rng = clouds(12, d=12, seed=1, effect=0.0), np.random.default_rng(0)
    measures = Measures.from_arrays(samples)
    held_out, training, shrunk = [], [], []
    full = replace(OPTIONS, power=1.0, whitening=1.0)
    for repeat in range(40):
        codes = rng.permutation(np.arange(12) % 2)
        targets, folds = Targets.of_classes(codes), np.empty(12, dtype=int)
        for k, (_, test) in enumerate(StratifiedKFold(6, shuffle=True, random_state=repeat).split(codes, codes)):
            folds[test] = k
        held_out.append(silhouette_score(distances(samples, targets, folds, full).matrix, codes, metric="precomputed"))
        for options, silhouettes in ((full, training), (OPTIONS, shrunk)):
            metric = train(measures, targets, options, rng=np.random.default_rng(0)).metric
            learned = pairwise_distances(metric.project_measures(measures))[0]
            silhouettes.append(silhouette_score(learned, codes, metric="precomputed"))
    error = np.std(held_out) / np.sqrt(40)
    assert abs(np.mean(held_out)) < max(0.01, 3 * error)
    assert error < 0.01 and np.mean(training) > 0.03
    assert np.mean(shrunk) < np.mean(training) / 2  # labels without signal shrink the metric


def test_samples_of_the_same_cells():
    samples = [np.eye(3)] * 8
    with pytest.raises(ValueError, match="hold the same cells"):
        distances(samples, Targets.of_classes(np.tile([0, 1], 4)), np.arange(8))
