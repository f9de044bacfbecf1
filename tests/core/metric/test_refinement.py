from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import typical_cost
from scggml.core.metric import _refinement as module
from scggml.core.metric._objective import Objective
from scggml.core.metric._options import Refinement
from scggml.core.metric._problem import Problem
from scggml.core.metric._targets import Targets
from scggml.core.metric._triplets import all_triplets
from scggml.core.transport._solvers import Exact, Sinkhorn
from scggml.estimators._presets import preset

PAPER = asdict(preset("paper").refine)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("relative", [True, False])
def test_gradient_acts_on_scaled_active_features(labelled, emd2, relative, kind):
    measures, codes = labelled(n_per_class=3, seed=1)
    clouds = [np.column_stack([x, np.full(len(x), 7.0)]) for x in measures.split()]
    measures = Measures.from_arrays([kind(x) for x in clouds])
    scale, active = np.array([0.5, 2.0, 3.0, 1.0]), np.array([True, True, True, False])
    w = np.random.default_rng(2).normal(size=(2, 4)) * active
    options = Refinement(margin=2.0, reg=0.3, regularizer="l21", relative=relative)
    problem = Problem(measures, scale, active, Exact(), 1)
    triplets = all_triplets(Targets.of_classes(codes))
    objective = replace(Objective.of(triplets, options), reference=1.5)

    def exact(components):
        z = [x @ (components / scale).T for x in clouds]
        return objective(components, np.array([emd2(z[i], z[j]) for i, j in triplets.pairs]))[0]

    solved = problem.solve(w, triplets.pairs)
    value, gradient, _ = problem.value_and_gradient(objective, w, solved)
    np.testing.assert_allclose(value, exact(w), rtol=1e-10)
    np.testing.assert_array_equal(gradient[:, 3], 0)
    for index in np.ndindex(2, 3):
        step = np.zeros_like(w)
        step[index] = 1e-6
        expected = (exact(w + step) - exact(w - step)) / 2e-6
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-6)


def test_first_loss_is_the_objective_of_the_start(labelled, fit, distances_under, upper):
    measures, codes = labelled()
    result = fit((measures, codes), {"max_iter": 1, "margin": 0.8, "reg": 0.25})
    d = distances_under(result, measures) / np.median(upper(distances_under(result, measures)))
    n = len(d)
    slack = [
        max(0.0, d[i, j] - d[j, k] + 0.8)
        for i in range(n) for j in range(n) for k in range(n)
        if i != j and codes[i] == codes[j] != codes[k]
    ]  # fmt: skip
    # the norm of the start counts as one in median distances; both classes have as many samples
    np.testing.assert_allclose(result.loss_history, [np.mean(slack) + 0.25], rtol=1e-10)


@pytest.mark.parametrize("n_comps", [None, 2])
def test_paper_variant_lowers_the_loss(labelled, n_comps, fit):
    result = fit(labelled(n_classes=3), PAPER | {"max_iter": 12, "tol": 0.0}, n_comps=n_comps, scale=None)
    assert result.metric.components.shape == (n_comps or 3, 3)
    np.testing.assert_array_equal(result.metric.scale, 1)
    assert len(result.loss_history) == 12
    assert not result.converged
    assert result.loss_history[-3:].mean() < 0.9 * result.loss_history[0]
    assert 0 <= result.gap < 1e-12


def test_random_start_is_uniform_in_minus_one_to_one(labelled, fit):
    refine = {"start": "random", "relative": False, "max_iter": 1}  # absolute: the start is left in its unit
    start = fit(labelled(n_per_class=2, d=400), refine, n_comps=5).metric.components
    assert start.shape == (5, 400)
    assert -1 <= start.min() < -0.99
    assert 0.99 < start.max() <= 1
    np.testing.assert_allclose([start.mean(), start.var()], [0, 1 / 3], atol=0.03)


def test_another_seed_gives_another_random_start(labelled, fit):
    cohort = labelled(n_per_class=2)
    one, other = (fit(cohort, {"start": "random", "max_iter": 1}, seed=seed).metric.components for seed in (0, 1))
    assert not np.allclose(one, other)


@pytest.mark.parametrize("start", ["discriminant", "random"])
@pytest.mark.parametrize("relative", [True, False])
def test_refinement_lowers_the_loss_and_returns_the_best(labelled, start, relative, fit):
    measures, codes = labelled(shift=1.5)
    options = {"start": start, "relative": relative, "margin": 1.0, "max_iter": 8, "tol": 0.0}
    result = fit((measures, codes), options)
    history = result.loss_history
    assert 1 < len(history) <= 8
    assert history.min() < history[0]
    if not relative:  # absolute: the value at the returned map can be computed without the start
        triplets = all_triplets(Targets.of_classes(codes))
        problem = Problem(measures, result.metric.scale, np.ones(3, dtype=bool), Exact(), 1)
        solved = problem.solve(result.metric.components, triplets.pairs)
        loss = Objective.of(triplets, Refinement(**options))(result.metric.components, solved.distances)[0]
        np.testing.assert_allclose(loss, history.min(), rtol=1e-12)


def test_stops_when_every_triplet_keeps_its_margin(labelled, fit):
    result = fit(labelled(shift=30.0, d=1), {"margin": 0.1, "max_iter": 10, "tol": 0.0})
    assert (len(result.loss_history), result.converged) == (1, True)


def test_stops_when_settled(labelled, fit):
    loose, tight = (fit(labelled(shift=1.0), {"max_iter": 6, "tol": tol}) for tol in (10.0, 0.0))
    assert (len(loose.loss_history), loose.converged) == (2, True)
    assert (len(tight.loss_history), tight.converged) == (6, False)


def test_minibatches_stop_when_settled(labelled, fit):
    result = fit(labelled(), {"max_iter": 6, "tol": 10.0, "minibatch": 20})
    assert (len(result.loss_history), result.converged) == (2, True)


def test_gap_of_minibatches_is_the_largest_of_the_last_epoch(labelled, monkeypatch, fit):
    errors = []
    solve = Exact.solve

    def spy(self, *args, **options):
        solved = replace(solve(self, *args, **options), gap=float(len(errors) % 3))
        errors.append(solved.gap)
        return solved

    monkeypatch.setattr(Exact, "solve", spy)
    result = fit(labelled(), PAPER | {"max_iter": 2, "minibatch": 40})
    assert len(errors) == 6 and result.gap == 2


def test_steps_that_worsen_the_objective_are_undone(labelled, monkeypatch, fit):
    steps, origins = [], []

    def worsen(problem, objective, components, solved, lr):
        steps.append(lr)
        origins.append(components)
        return np.array([[0.0, 1.0, 0.0]]), solved  # the feature in which classes do not differ

    start = fit(labelled())
    monkeypatch.setattr(module, "_descend", worsen)
    result = fit(labelled(), {"max_iter": 30, "tol": 0.0})
    assert (len(result.loss_history), result.converged) == (5, True)
    np.testing.assert_array_equal(result.metric.components, start.metric.components)
    np.testing.assert_allclose(np.array(steps) / steps[0], [1, 1 / 4, 1 / 16, 1 / 64])
    assert all(origin is origins[0] for origin in origins)


@pytest.mark.parametrize("minibatch", [None, 15])
def test_relative_training_does_not_depend_on_the_size_of_the_start(labelled, minibatch):
    measures, codes = labelled()
    options = Refinement(start="random", max_iter=3, lr=0.02, tol=0.0, minibatch=minibatch)
    triplets = all_triplets(Targets.of_classes(codes))
    problem = Problem(measures, np.ones(3), np.ones(3, dtype=bool), Exact(), 1)
    start = np.random.default_rng(1).uniform(-1, 1, size=(3, 3))
    one, other = (
        module.refine(problem, w, triplets, options)
        if minibatch is None
        else module.refine_by_minibatches(problem, w, triplets, options, minibatch, np.random.default_rng(0))
        for w in (start, 1000 * start)
    )
    np.testing.assert_allclose(one.loss_history, other.loss_history, rtol=1e-4)
    assert one.loss_history[-1] < one.loss_history[0]


def test_refinement_sees_a_part_of_the_cells_and_the_closed_form_all(labelled, fit, distances_under, upper):
    measures, codes = labelled(sizes=(8, 15))
    whole, part = (fit((measures, codes), {"max_cells": n, "max_iter": 1}).metric.components for n in (None, 4))
    np.testing.assert_allclose(part / np.linalg.norm(part), whole / np.linalg.norm(whole), rtol=1e-12)
    result = fit((measures, codes), {"max_cells": 4, "max_iter": 1})
    np.testing.assert_allclose(np.median(upper(distances_under(result, measures.thinned(4)))), 1, rtol=1e-10)


def test_change_ignores_rotation_and_unit():
    rng = np.random.default_rng(0)
    w, other = rng.normal(size=(2, 3, 5))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert module._change(w, 7 * rotation @ w) < 1e-7
    m, n = w.T @ w, other.T @ other
    expected = np.linalg.norm(m / np.linalg.norm(m) - n / np.linalg.norm(n))
    np.testing.assert_allclose(module._change(w, other), expected, rtol=1e-9)


def test_minibatches_start_from_the_last_trees_and_come_to_the_same(labelled, monkeypatch, fit):
    options = {"start": "random", "relative": False, "margin": 5.0, "minibatch": 20, "max_iter": 4, "tol": 0.0}
    starts = []
    solve = Problem.solve

    def seen(self, components, pairs, *, start=None, progress=None):
        starts.append(0 if start is None else (start.sizes > 0).mean())
        return solve(self, components, pairs, start=start, progress=progress)

    monkeypatch.setattr(Problem, "solve", seen)
    warm = fit(labelled(), options)
    assert starts[0] == 0 and starts[-1] == 1
    monkeypatch.setattr(module._LastTrees, "update", lambda *args: None)
    cold = fit(labelled(), options)
    np.testing.assert_allclose(warm.loss_history, cold.loss_history, rtol=1e-9)
    np.testing.assert_allclose(warm.metric.components, cold.metric.components, rtol=1e-7)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("minibatch", [None, 20])
def test_entropic_training_lowers_the_loss_and_keeps_its_strength(labelled, debiased, minibatch, fit):
    measures, codes = labelled(shift=1.0)
    refine = {"max_iter": 6, "tol": 0.0, "minibatch": minibatch}
    solver = Sinkhorn(0.3, debiased=debiased, device="cpu")
    result = fit((measures, codes), refine, solver=solver)
    assert result.loss_history[-1] < result.loss_history[0]
    assert 0 <= result.gap <= 1e-6
    assert (result.solver.debiased, result.solver.device) == (debiased, "cpu")
    start = fit((measures, codes), {"max_iter": 1}, solver=solver)
    space = measures.with_points(start.metric.project(measures.points))
    np.testing.assert_allclose(start.solver.epsilon, 0.3 * typical_cost(space), rtol=1e-9)
    for method in ("simplex", "pot"):
        assert fit((measures, codes), solver=Exact(method)).solver == Exact(method)


def test_entropic_gradient_is_that_of_the_solved_objective(labelled):
    measures, codes = labelled(n_per_class=2, seed=1)
    w = np.random.default_rng(2).normal(size=(2, 3))
    solver = Sinkhorn(0.2).at(measures.with_points(measures.points @ w.T))
    problem = Problem(measures, np.ones(3), np.ones(3, dtype=bool), solver, 1)
    options = Refinement(margin=2.0, reg=0.3, relative=False)
    objective = Objective.of(all_triplets(Targets.of_classes(codes)), options)
    solved = problem.solve(w, objective.triplets.pairs)

    def value(components):
        return problem.value_and_gradient(objective, components, solved)[0]

    gradient = problem.value_and_gradient(objective, w, solved)[1]
    for index in np.ndindex(2, 3):
        step = np.zeros_like(w)
        step[index] = 1e-4
        expected = (value(w + step) - value(w - step)) / 2e-4
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-3, atol=1e-5)
