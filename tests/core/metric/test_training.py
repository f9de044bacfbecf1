from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import feature_scale
from scggml.core.metric import _discriminant as discriminant
from scggml.core.metric import _training as module
from scggml.core.metric._discriminant import default_ridge, transport_discriminant
from scggml.core.metric._options import TrainingOptions
from scggml.core.metric._targets import Targets
from scggml.core.metric._triplets import all_triplets, n_all_triplets
from scggml.core.transport._exact import solve_pairs, square_pairs
from scggml.core.transport._solvers import Sinkhorn
from scggml.core.transport._work import Extent
from scggml.estimators._presets import preset

PAPER = asdict(preset("paper").refine)


@pytest.mark.parametrize("scale", ["feature", "global", None])
def test_without_refinement_it_is_the_closed_form_in_median_distances(labelled, scale, fit, distances_under, upper):
    measures, codes = labelled(n_classes=3, n_per_class=3)
    result = fit((measures, codes), scale=scale, power=1.0, whitening=1.0)
    unit, constant = feature_scale(measures, scale)
    pairs = square_pairs(len(measures))
    transport = solve_pairs(measures.scaled(1 / unit), pairs, keep_plans=True)
    start = transport_discriminant(
        measures, transport, Targets.of_classes(codes), scale=unit, active=~constant,
        n_comps=50, ridge=default_ridge(measures), power=1.0, whitening=1.0,
    )  # fmt: skip
    np.testing.assert_array_equal(result.metric.scale, unit)
    factor = np.linalg.norm(result.metric.components) / np.linalg.norm(start)
    np.testing.assert_allclose(result.metric.components, factor * start, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(np.median(upper(distances_under(result, measures))), 1, rtol=1e-10)
    assert (len(result.loss_history), result.converged) == (1, True)
    assert result.gap < 1e-12


def test_given_ridge_replaces_the_default(labelled, fit):
    cohort = labelled()
    same = fit(cohort, ridge=default_ridge(cohort[0])).metric.components
    np.testing.assert_array_equal(fit(cohort, ridge="auto").metric.components, same)
    assert not np.allclose(fit(cohort, ridge=10.0).metric.components, same, rtol=1e-3)


def test_second_sweep_solves_under_the_first_metric(labelled, fit):
    measures, codes = labelled(shift=1.0, d=4, sizes=(6, 12))
    one, two = (fit((measures, codes), n_sweeps=n, power=1.0, whitening=1.0).metric for n in (1, 2))
    pairs = square_pairs(len(measures))
    transport = solve_pairs(measures.with_points(one.project(measures.points)), pairs, keep_plans=True)
    expected = transport_discriminant(
        measures, transport, Targets.of_classes(codes), scale=one.scale, active=np.ones(4, dtype=bool),
        n_comps=50, ridge=default_ridge(measures), power=1.0, whitening=1.0,
    )  # fmt: skip
    factor = np.linalg.norm(two.components) / np.linalg.norm(expected)
    np.testing.assert_allclose(two.components, factor * expected, rtol=1e-8, atol=1e-12)
    assert not np.allclose(one.components, two.components)


@pytest.mark.parametrize(
    "refine",
    [
        None,
        {"max_iter": 4, "tol": 0.0},
        {"max_iter": 3, "tol": 0.0, "start": "random", "triplets": 2},
        {"max_iter": 3, "tol": 0.0, "minibatch": 10},
        PAPER | {"max_iter": 3},
    ],
    ids=["closed form", "refined", "random", "minibatches", "paper"],
)
def test_same_seed_and_any_jobs_give_the_same_bits(labelled, refine, fit):
    cohort = labelled(n_per_class=3)
    one, *others = (fit(cohort, refine, seed=5, n_jobs=n_jobs) for n_jobs in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(one.metric.components, other.metric.components)
        np.testing.assert_array_equal(one.loss_history, other.loss_history)
        assert one.gap == other.gap


@pytest.mark.parametrize("refine", [None, {"max_iter": 5, "tol": 0.0}])
@pytest.mark.parametrize("scale", [None, "global"])
def test_relative_training_does_not_depend_on_the_unit(labelled, scale, refine, fit, distances_under):
    measures, codes = labelled(shift=1.0)
    one, other = (
        distances_under(fit((m, codes), refine, scale=scale), m)
        for m in (measures, measures.with_points(1000 * measures.points))
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_feature_scale_absorbs_units_of_single_features(labelled, fit, distances_under):
    measures, codes = labelled()
    units = np.array([1e-3, 1.0, 1e4])
    one, other = (
        distances_under(fit((m, codes)), m) for m in (measures, measures.with_points(measures.points * units))
    )
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("refine", [None, {"max_iter": 3}, {"start": "random", "max_iter": 3}, PAPER | {"max_iter": 2}])
def test_constant_features_weigh_zero(labelled, refine, fit):
    measures, codes = labelled(n_per_class=3)
    points = np.column_stack([measures.points[:, :1], np.full(len(measures.points), 4.0), measures.points[:, 1:]])
    result = fit((measures.with_points(points), codes), refine)
    np.testing.assert_array_equal(result.constant, [False, True, False, False])
    np.testing.assert_array_equal(result.metric.components[:, 1], 0)


def test_sparse_equals_dense(labelled, fit):
    measures, codes = labelled()
    # no zeros: cells in line have several optimal plans, and rounding chooses one
    dense, sparse = (
        fit((measures.with_points(kind(measures.points)), codes), {"max_iter": 3, "tol": 0.0}).metric.components
        for kind in (np.asarray, sp.csr_array)
    )
    np.testing.assert_allclose(sparse, dense, rtol=1e-7, atol=1e-10)


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


@pytest.mark.parametrize(
    ("clouds", "text"),
    [([np.ones((3, 2))] * 4, "no feature varies"), ([np.eye(2)] * 4, "hold the same cells")],
)
@pytest.mark.parametrize("wide", [1, 3000])
def test_nothing_to_learn_from(monkeypatch, clouds, text, wide, fit):
    monkeypatch.setattr(discriminant, "WIDE", wide)
    with pytest.raises(ValueError, match=text):
        fit((Measures.from_arrays(clouds), np.array([0, 1, 0, 1])))


def test_no_unit_when_most_samples_are_copies(labelled, fit):
    x, z = labelled()[0].split()[:2]
    copies = Measures.from_arrays([x, x, x, x, x, z])
    with pytest.raises(ValueError, match="at distance zero.*relative=False"):
        fit((copies, np.array([0, 1, 0, 1, 0, 1])))


def test_only_as_many_cells_as_asked_for_take_part_in_the_closed_form(labelled, monkeypatch, caplog, fit):
    measures, codes = labelled()
    few = fit((measures.thinned(4), codes), scale=None)
    # the unit is the median distance between the cells that a refinement sees
    by_limit = fit((measures, codes), {"max_cells": 4, "max_iter": 1}, scale=None, max_cells=4)
    np.testing.assert_array_equal(by_limit.metric.components, few.metric.components)
    pairs = all_triplets(Targets.of_classes(codes)).pairs
    extent, limit = Extent.of(measures), module.cells_per_sample
    assert limit(extent, pairs, "auto") == limit(extent, pairs, None) == measures.sizes.max()
    monkeypatch.setattr(module, "_MIN_CELLS", 2)
    monkeypatch.setattr(module, "_MAX_COSTS", 16 * len(pairs))
    with caplog.at_level("INFO", logger="scggml"):
        assert limit(extent, pairs, "auto") == 4
        fit((measures, codes))
    assert "at most 4 cells" in caplog.text
    monkeypatch.setattr(module, "_MAX_COSTS", 10**10)
    monkeypatch.setattr(module, "WIDE", 2)
    monkeypatch.setattr(module, "_MAX_WIDE_VALUES", 5 * 3 * len(measures))
    assert limit(extent, pairs, "auto") == 5


def test_closed_form_takes_a_random_subset_of_pairs_in_large_cohorts_only(labelled, monkeypatch, fit):
    measures, codes = labelled(n_per_class=8)
    seen = []

    def spy(measures, transport, targets, **options):
        seen.append(transport.pairs)
        return transport_discriminant(measures, transport, targets, **options)

    monkeypatch.setattr(module, "transport_discriminant", spy)
    fit((measures, codes))
    fit((measures, codes), {"triplets": 1, "max_iter": 1})  # triplets of the refinement, not of the closed form
    monkeypatch.setattr(module, "_MAX_TRIPLETS", 10)
    monkeypatch.setattr(module, "_AUTO_NEIGHBORS", 1)
    fit((measures, codes))
    assert len(seen[0]) == len(seen[1]) == len(codes) * (len(codes) - 1) // 2
    assert len(seen[2]) < len(seen[0])


def components(result):
    return result.metric.components


def test_auto_exponents_are_the_signal_of_the_labels(labelled, fit):
    cohort = labelled(shift=1.0)
    shrunk = fit(cohort)
    strength = shrunk.signal.strength
    assert 0.1 < strength < 0.99
    np.testing.assert_array_equal(components(fit(cohort, power=strength, whitening=strength)), components(shrunk))
    np.testing.assert_array_equal(
        components(fit(cohort, whitening=1.0)), components(fit(cohort, power=strength, whitening=1.0))
    )
    assert fit(cohort, power=1.0, whitening=1.0).signal is None


def test_the_signal_is_that_of_euclidean_plans_also_with_more_sweeps(labelled, fit):
    cohort = labelled(shift=1.0)
    assert fit(cohort, n_sweeps=2).signal == fit(cohort).signal


@pytest.mark.parametrize("options", [{"n_comps": 2}, {"solver": Sinkhorn(0.2)}, {}])
def test_a_metric_that_cannot_be_shrunk_is_not(labelled, fit, monkeypatch, options):
    cohort = labelled(shift=1.0, d=4)
    if not options:  # more features than the moments of pairs may have
        monkeypatch.setattr(module, "_MAX_SHRUNK", 3)
    whole = fit(cohort, **options)
    assert whole.signal is None
    np.testing.assert_array_equal(components(whole), components(fit(cohort, power=1.0, whitening=1.0, **options)))


def test_pairs_that_count():
    targets = Targets.of_classes(np.array([0, 0, 1, 2, 0, 1]), strata=np.array([0, 0, 0, 1, 1, 2]))
    pairs = square_pairs(6)
    # relabelings may put any two labels into one stratum
    np.testing.assert_array_equal(module.pairs_that_count(targets, TrainingOptions(), 4), pairs)
    within, between = targets.pair_weights(pairs)
    counting = module.pairs_that_count(targets, TrainingOptions(power=1.0, whitening=1.0), 4)
    np.testing.assert_array_equal(counting, pairs[within + between > 0])
    assert 0 < len(counting) < len(pairs)


def test_no_more_components_than_features_or_than_asked_for():
    assert [module.n_components(TrainingOptions(n_comps=n), 30) for n in (None, 5, 40)] == [30, 5, 30]
    assert [module.n_components(TrainingOptions(), n) for n in (70, 100, 101)] == [70, 100, 50]
