from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import feature_scale, typical_cost
from scggml.core.metric import _discriminant as discriminant
from scggml.core.metric import _training as module
from scggml.core.metric._discriminant import default_ridge, transport_discriminant
from scggml.core.metric._problem import TrainingOptions
from scggml.core.metric._targets import Targets
from scggml.core.metric._training import train
from scggml.core.metric._triplets import all_triplets, n_all_triplets
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import solve_pairs, square_pairs

PAPER = {
    "init": "random",
    "scale": None,
    "relative": False,
    "margin": 10.0,
    "reg": 0.1,
    "regularizer": "max_column_sum",
    "triplets": 4,
    "batch_size": 128,
    "refine_cells": None,
}


def fit(cohort, seed=0, n_jobs=None, **options):
    measures, codes = cohort
    return train(
        measures, Targets.of_classes(codes), TrainingOptions(**options), rng=np.random.default_rng(seed), n_jobs=n_jobs
    )


def distances_under(result, measures):
    return pairwise_distances(measures.with_points(result.metric.project(measures.points)))[0]


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("relative", [True, False])
def test_gradient_acts_on_scaled_active_features(labelled, emd2, relative, kind):
    measures, codes = labelled(n_per_class=3, seed=1)
    clouds = [np.column_stack([x, np.full(len(x), 7.0)]) for x in measures.split()]
    measures = Measures.from_arrays([kind(x) for x in clouds])
    scale, active = np.array([0.5, 2.0, 3.0, 1.0]), np.array([True, True, True, False])
    w = np.random.default_rng(2).normal(size=(2, 4)) * active
    options = TrainingOptions(margin=2.0, reg=0.3, regularizer="l21", relative=relative)
    problem = module.Problem(measures, scale, active, options, 1)
    triplets = all_triplets(Targets.of_classes(codes))
    objective = problem.objective(triplets, 1.5)

    def exact(components):
        z = [x @ (components / scale).T for x in clouds]
        return objective(components, np.array([emd2(z[i], z[j]) for i, j in triplets.pairs]))[0]

    solved = problem.solve(problem.project(w), triplets.pairs)
    value, gradient, _ = problem.value_and_gradient(objective, w, solved)
    np.testing.assert_allclose(value, exact(w), rtol=1e-10)
    np.testing.assert_array_equal(gradient[:, 3], 0)
    for index in np.ndindex(2, 3):
        step = np.zeros_like(w)
        step[index] = 1e-6
        expected = (exact(w + step) - exact(w - step)) / 2e-6
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", ["feature", "global", None])
def test_one_iteration_is_the_closed_form_in_median_distances(labelled, scale):
    measures, codes = labelled(n_classes=3, n_per_class=3)
    result = fit((measures, codes), scale=scale, max_iter=1)
    unit, constant = feature_scale(measures, scale)
    pairs = square_pairs(len(measures))
    plans = solve_pairs(measures.scaled(1 / unit), pairs, keep_plans=True).plans
    start = transport_discriminant(
        measures, plans, pairs, Targets.of_classes(codes), scale=unit, active=~constant,
        n_comps=50, ridge=default_ridge(measures), power=1.0, whitening=1.0,
    )  # fmt: skip
    np.testing.assert_array_equal(result.metric.scale, unit)
    factor = np.linalg.norm(result.metric.components) / np.linalg.norm(start)
    np.testing.assert_allclose(result.metric.components, factor * start, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(np.median(upper(distances_under(result, measures))), 1, rtol=1e-10)
    assert (len(result.loss_history), result.converged) == (1, True)
    assert result.gap < 1e-12


def test_first_loss_is_the_objective_of_the_start(labelled):
    measures, codes = labelled()
    result = fit((measures, codes), max_iter=1, margin=0.8, reg=0.25)
    d = distances_under(result, measures) / np.median(upper(distances_under(result, measures)))
    n = len(d)
    slack = [
        max(0.0, d[i, j] - d[j, k] + 0.8)
        for i in range(n) for j in range(n) for k in range(n)
        if i != j and codes[i] == codes[j] != codes[k]
    ]  # fmt: skip
    # the norm of the start counts as one in median distances; both classes have as many samples
    np.testing.assert_allclose(result.loss_history, [np.mean(slack) + 0.25], rtol=1e-10)


def test_given_ridge_replaces_the_default(labelled):
    cohort = labelled()
    same = fit(cohort, ridge=default_ridge(cohort[0])).metric.components
    np.testing.assert_array_equal(fit(cohort, ridge="auto").metric.components, same)
    assert not np.allclose(fit(cohort, ridge=10.0).metric.components, same, rtol=1e-3)


def test_second_sweep_solves_under_the_first_metric(labelled):
    measures, codes = labelled(shift=1.0, d=4, sizes=(6, 12))
    one, two = (fit((measures, codes), n_sweeps=n).metric for n in (1, 2))
    pairs = square_pairs(len(measures))
    plans = solve_pairs(measures.with_points(one.project(measures.points)), pairs, keep_plans=True).plans
    expected = transport_discriminant(
        measures, plans, pairs, Targets.of_classes(codes), scale=one.scale, active=np.ones(4, dtype=bool),
        n_comps=50, ridge=default_ridge(measures), power=1.0, whitening=1.0,
    )  # fmt: skip
    factor = np.linalg.norm(two.components) / np.linalg.norm(expected)
    np.testing.assert_allclose(two.components, factor * expected, rtol=1e-8, atol=1e-12)
    assert not np.allclose(one.components, two.components)


@pytest.mark.parametrize("n_comps", [None, 2])
def test_paper_variant_lowers_the_loss(labelled, n_comps):
    result = fit(labelled(n_classes=3), n_comps=n_comps, max_iter=12, tol=0.0, **PAPER)
    assert result.metric.components.shape == (n_comps or 3, 3)
    np.testing.assert_array_equal(result.metric.scale, 1)
    assert len(result.loss_history) == 12
    assert not result.converged
    assert result.loss_history[-3:].mean() < 0.9 * result.loss_history[0]
    assert 0 <= result.gap < 1e-12


def test_random_start_is_uniform_in_minus_one_to_one(labelled, monkeypatch):
    monkeypatch.setattr(module, "_fit_full", lambda problem, components, triplets: components)
    start = fit(labelled(n_per_class=2, d=400), init="random", n_comps=5)
    assert start.shape == (5, 400)
    assert -1 <= start.min() < -0.99
    assert 0.99 < start.max() <= 1
    np.testing.assert_allclose([start.mean(), start.var()], [0, 1 / 3], atol=0.03)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_iter": 4, "tol": 0.0},
        {"max_iter": 3, "tol": 0.0, "init": "random", "triplets": 2},
        {"max_iter": 3, "tol": 0.0, "batch_size": 10},
        {"max_iter": 3, "tol": 0.0} | PAPER,
    ],
    ids=["default", "refined", "random", "batches", "paper"],
)
def test_same_seed_and_any_jobs_give_the_same_bits(labelled, options):
    cohort = labelled(n_per_class=3)
    one, *others = (fit(cohort, seed=5, n_jobs=n_jobs, **options) for n_jobs in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(one.metric.components, other.metric.components)
        np.testing.assert_array_equal(one.loss_history, other.loss_history)
        assert one.gap == other.gap


def test_another_seed_gives_another_random_start(labelled):
    cohort = labelled(n_per_class=2)
    one, other = (fit(cohort, seed=seed, init="random").metric.components for seed in (0, 1))
    assert not np.allclose(one, other)


@pytest.mark.parametrize("init", ["discriminant", "random"])
@pytest.mark.parametrize("relative", [True, False])
def test_refinement_lowers_the_loss_and_returns_the_best(labelled, init, relative):
    measures, codes = labelled(shift=1.5)
    options = {"init": init, "relative": relative, "margin": 1.0, "max_iter": 8, "tol": 0.0}
    result = fit((measures, codes), **options)
    history = result.loss_history
    assert 1 < len(history) <= 8
    assert history.min() < history[0]
    if not relative:  # absolute: the value at the returned map can be computed without the start
        triplets = all_triplets(Targets.of_classes(codes))
        problem = module.Problem(measures, result.metric.scale, np.ones(3, dtype=bool), TrainingOptions(**options), 1)
        solved = problem.solve(problem.project(result.metric.components), triplets.pairs)
        loss = problem.objective(triplets, 1.0)(result.metric.components, solved.distances)[0]
        np.testing.assert_allclose(loss, history.min(), rtol=1e-12)


def test_stops_when_every_triplet_keeps_its_margin(labelled):
    result = fit(labelled(shift=30.0, d=1), margin=0.1, max_iter=10, tol=0.0)
    assert (len(result.loss_history), result.converged) == (1, True)


def test_stops_when_settled(labelled):
    loose, tight = (fit(labelled(shift=1.0), max_iter=6, tol=tol) for tol in (10.0, 0.0))
    assert (len(loose.loss_history), loose.converged) == (2, True)
    assert (len(tight.loss_history), tight.converged) == (6, False)


def test_batches_stop_when_settled(labelled):
    result = fit(labelled(), max_iter=6, tol=10.0, batch_size=20)
    assert (len(result.loss_history), result.converged) == (2, True)


def test_steps_that_worsen_the_objective_are_taken_back(labelled, monkeypatch):
    steps, origins = [], []

    def worsen(problem, objective, components, solved, lr):
        steps.append(lr)
        origins.append(components)
        return np.array([[0.0, 1.0, 0.0]]), solved  # the feature in which classes do not differ

    start = fit(labelled(), max_iter=1)
    monkeypatch.setattr(module, "_descend", worsen)
    result = fit(labelled(), max_iter=30, tol=0.0)
    assert (len(result.loss_history), result.converged) == (5, True)
    np.testing.assert_array_equal(result.metric.components, start.metric.components)
    np.testing.assert_allclose(np.array(steps) / steps[0], [1, 1 / 4, 1 / 16, 1 / 64])
    assert all(origin is origins[0] for origin in origins)


@pytest.mark.parametrize("max_iter", [1, 5])
@pytest.mark.parametrize("scale", [None, "global"])
def test_relative_training_does_not_depend_on_the_unit(labelled, scale, max_iter):
    measures, codes = labelled(shift=1.0)
    one, other = (
        distances_under(fit((m, codes), scale=scale, max_iter=max_iter, tol=0.0), m)
        for m in (measures, measures.with_points(1000 * measures.points))
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [None, 15])
def test_relative_training_does_not_depend_on_the_size_of_the_start(labelled, monkeypatch, batch_size):
    options = {"init": "random", "max_iter": 3, "tol": 0.0, "batch_size": batch_size}
    one = fit(labelled(), **options)
    begin = module._start
    monkeypatch.setattr(module, "_start", lambda *args: 1000 * begin(*args))
    other = fit(labelled(), **options)
    np.testing.assert_allclose(one.loss_history, other.loss_history, rtol=1e-4)
    assert one.loss_history[-1] < one.loss_history[0]


def test_feature_scale_absorbs_units_of_single_features(labelled):
    measures, codes = labelled()
    units = np.array([1e-3, 1.0, 1e4])
    one, other = (
        distances_under(fit((m, codes)), m) for m in (measures, measures.with_points(measures.points * units))
    )
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"max_iter": 3}, {"init": "random", "max_iter": 3}, PAPER | {"max_iter": 2}])
def test_constant_features_weigh_zero(labelled, options):
    measures, codes = labelled(n_per_class=3)
    points = np.column_stack([measures.points[:, :1], np.full(len(measures.points), 4.0), measures.points[:, 1:]])
    result = fit((measures.with_points(points), codes), **options)
    np.testing.assert_array_equal(result.constant, [False, True, False, False])
    np.testing.assert_array_equal(result.metric.components[:, 1], 0)


def test_sparse_equals_dense(labelled):
    measures, codes = labelled()
    # no zeros: cells in line have several optimal plans, and rounding chooses one
    dense, sparse = (
        fit((measures.with_points(kind(measures.points)), codes), max_iter=3, tol=0.0).metric.components
        for kind in (np.asarray, sp.csr_array)
    )
    np.testing.assert_allclose(sparse, dense, rtol=1e-7, atol=1e-10)


def test_refinement_sees_a_part_of_the_cells_and_the_closed_form_all(labelled):
    measures, codes = labelled(sizes=(8, 15))
    whole, part = (fit((measures, codes), refine_cells=n).metric.components for n in (None, 4))
    np.testing.assert_allclose(part / np.linalg.norm(part), whole / np.linalg.norm(whole), rtol=1e-12)
    result = fit((measures, codes), refine_cells=4)
    np.testing.assert_allclose(np.median(upper(distances_under(result, measures.thinned(4)))), 1, rtol=1e-10)


def test_auto_triplets_are_sampled_in_large_cohorts(monkeypatch):
    codes, rng = np.tile([0, 1], 15), np.random.default_rng(0)
    assert (
        len(module.choose_triplets(Targets.of_classes(codes), "auto", rng))
        == n_all_triplets(Targets.of_classes(codes))
        == 30 * 14 * 15
    )
    monkeypatch.setattr(module, "_MAX_TRIPLETS", 1000)
    assert len(module.choose_triplets(Targets.of_classes(codes), "auto", rng)) == 30 * 10 * 10
    assert len(module.choose_triplets(Targets.of_classes(codes), "all", rng)) == 30 * 14 * 15
    assert len(module.choose_triplets(Targets.of_classes(codes), 2, rng)) == 30 * 2 * 2


def test_change_ignores_rotation_and_unit():
    rng = np.random.default_rng(0)
    w, other = rng.normal(size=(2, 3, 5))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert module._change(w, 7 * rotation @ w) < 1e-7
    m, n = w.T @ w, other.T @ other
    expected = np.linalg.norm(m / np.linalg.norm(m) - n / np.linalg.norm(n))
    np.testing.assert_allclose(module._change(w, other), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("clouds", "text"),
    [([np.ones((3, 2))] * 4, "no feature varies"), ([np.eye(2)] * 4, "hold the same cells")],
)
@pytest.mark.parametrize("wide", [1, 3000])
def test_nothing_to_learn_from(monkeypatch, clouds, text, wide):
    monkeypatch.setattr(discriminant, "WIDE", wide)
    with pytest.raises(ValueError, match=text):
        fit((Measures.from_arrays(clouds), np.array([0, 1, 0, 1])))


def test_no_unit_when_most_samples_are_copies(labelled):
    x, z = labelled()[0].split()[:2]
    copies = Measures.from_arrays([x, x, x, x, x, z])
    with pytest.raises(ValueError, match="at distance zero.*relative=False"):
        fit((copies, np.array([0, 1, 0, 1, 0, 1])))


def test_batches_start_from_the_last_trees_and_come_to_the_same(labelled, monkeypatch):
    options = {"init": "random", "relative": False, "margin": 5.0, "batch_size": 20, "max_iter": 4, "tol": 0.0}
    starts = []
    solve = module.Problem.solve

    def seen(self, projected, pairs, progress=None, start=None):
        starts.append((start.known_plans.sizes > 0).mean())
        return solve(self, projected, pairs, progress, start)

    monkeypatch.setattr(module.Problem, "solve", seen)
    warm = fit(labelled(), **options)
    assert starts[0] == 0 and starts[-1] == 1
    monkeypatch.setattr(module._LastTrees, "update", lambda *args: None)
    cold = fit(labelled(), **options)
    np.testing.assert_allclose(warm.loss_history, cold.loss_history, rtol=1e-9)
    np.testing.assert_allclose(warm.metric.components, cold.metric.components, rtol=1e-7)


@pytest.mark.parametrize("solver", ["sinkhorn", "sinkhorn_divergence"])
@pytest.mark.parametrize("batch_size", [None, 20])
def test_entropic_training_lowers_the_loss_and_reports_its_strength(labelled, solver, batch_size):
    measures, codes = labelled(shift=1.0)
    options = {"solver": solver, "sinkhorn_reg": 0.3, "max_iter": 6, "tol": 0.0, "batch_size": batch_size}
    result = fit((measures, codes), **options)
    assert result.loss_history[-1] < result.loss_history[0]
    assert 0 <= result.gap <= 1e-6
    start = fit((measures, codes), **options | {"max_iter": 1, "batch_size": None})
    space = measures.with_points(start.metric.project(measures.points))
    np.testing.assert_allclose(start.epsilon, 0.3 * typical_cost(space), rtol=1e-9)
    assert fit((measures, codes)).epsilon is None


def test_entropic_gradient_is_that_of_the_solved_objective(labelled):
    measures, codes = labelled(n_per_class=2, seed=1)
    options = TrainingOptions(solver="sinkhorn", sinkhorn_reg=0.2, margin=2.0, reg=0.3, relative=False)
    w = np.random.default_rng(2).normal(size=(2, 3))
    problem = module.Problem(measures, np.ones(3), np.ones(3, dtype=bool), options, 1)
    problem = problem.with_epsilon(problem.project(w))
    objective = problem.objective(all_triplets(Targets.of_classes(codes)), 1.0)
    solved = problem.solve(problem.project(w), objective.triplets.pairs)

    def value(components):
        return problem.value_and_gradient(objective, components, solved)[0]

    gradient = problem.value_and_gradient(objective, w, solved)[1]
    for index in np.ndindex(2, 3):
        step = np.zeros_like(w)
        step[index] = 1e-4
        expected = (value(w + step) - value(w - step)) / 2e-4
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-3, atol=1e-5)


def test_only_as_many_cells_as_asked_for_take_part_in_the_closed_form(labelled, monkeypatch, caplog):
    measures, codes = labelled()
    few = fit((measures.thinned(4), codes), scale=None, refine_cells=4)
    by_limit = fit((measures, codes), scale=None, max_cells=4, refine_cells=4)
    np.testing.assert_array_equal(by_limit.metric.components, few.metric.components)
    pairs = all_triplets(Targets.of_classes(codes)).pairs
    limit = module.cells_per_sample
    assert limit(measures, pairs, "auto") == limit(measures, pairs, None) == measures.sizes.max()
    monkeypatch.setattr(module, "_MIN_CELLS", 2)
    monkeypatch.setattr(module, "_MAX_COSTS", 16 * len(pairs))
    with caplog.at_level("INFO", logger="scggml"):
        assert limit(measures, pairs, "auto") == 4
    assert "at most 4 cells" in caplog.text
    monkeypatch.setattr(module, "_MAX_COSTS", 10**10)
    monkeypatch.setattr(module, "WIDE", 2)
    monkeypatch.setattr(module, "_MAX_WIDE_VALUES", 5 * 3 * len(measures))
    assert limit(measures, pairs, "auto") == 5


def test_closed_form_uses_the_pairs_of_the_triplets(labelled, monkeypatch):
    measures, codes = labelled(n_per_class=6)
    seen = []
    discriminant = module.transport_discriminant

    def spy(measures, plans, pairs, codes, **options):
        seen.append(pairs)
        return discriminant(measures, plans, pairs, codes, **options)

    monkeypatch.setattr(module, "transport_discriminant", spy)
    fit((measures, codes), triplets=1)
    fit((measures, codes), triplets="all")
    assert len(seen[0]) < len(seen[1]) == len(codes) * (len(codes) - 1) // 2
