from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import feature_scale
from scggml.core.metric import _discriminant as module
from scggml.core.metric._discriminant import transport_discriminant
from scggml.core.metric._targets import Targets
from scggml.core.transport import _plans as plans
from scggml.core.transport._exact import solve_pairs, square_pairs

DEFAULTS = {"n_comps": 50, "ridge": 0.1, "power": 1.0, "whitening": 0.5}


def cohort(seed=0, kind=np.asarray, constant=False):
    """9 ragged samples in three unbalanced classes, features of different units."""
    rng = np.random.default_rng(seed)
    codes = np.array([0, 1, 2, 0, 0, 1, 0, 2, 0])
    clouds = []
    for code in codes:
        cloud = rng.normal(size=(rng.integers(3, 9), 4)) * [1, 10, 0.1, 2]
        cloud[:, 0] += 2 * code
        cloud[rng.random(cloud.shape) < 0.2] = 0
        clouds.append(np.column_stack([cloud, np.full(len(cloud), 1.0)]) if constant else cloud)
    return Measures.from_arrays([kind(x) for x in clouds]), codes


def solved(measures, scale):
    return solve_pairs(measures.scaled(1 / scale), square_pairs(len(measures)), keep_plans=True)


def pair_moments(points, plans, scale):
    """Second moment of transported differences of each pair, entry by entry."""
    moments = np.zeros((len(plans.sizes), points.shape[1], points.shape[1]))
    for p in range(len(moments)):
        for e in range(plans.offsets[p], plans.offsets[p + 1]):
            difference = (points[plans.rows[e]] - points[plans.cols[e]]) / scale
            moments[p] += plans.mass[e] * np.outer(difference, difference)
    return moments


def brute_moments(points, plans, pairs, codes, scale):
    """S_w and S_b: mean over the pairs of a class (or of two classes), then over classes (or pairs of them)."""
    groups = {}
    for (i, j), moment in zip(pairs, pair_moments(points, plans, scale), strict=True):
        groups.setdefault(tuple(sorted((int(codes[i]), int(codes[j])))), []).append(moment)
    means = {group: np.mean(moments, axis=0) for group, moments in groups.items()}
    return tuple(np.mean([m for (a, b), m in means.items() if (a == b) == same], axis=0) for same in (True, False))


def discriminant(measures, codes, scale=None, **options):
    found, constant = feature_scale(measures, "feature")
    scale = found if scale is None else scale
    return transport_discriminant(
        measures,
        solved(measures, scale),
        Targets.of_classes(codes),
        scale=scale,
        active=~constant,
        **DEFAULTS | options,
    )


def power_of(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


def assert_proportional(found, expected, rtol=1e-9):
    np.testing.assert_allclose(found / np.linalg.norm(found), expected / np.linalg.norm(expected), rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("power", "whitening", "ridge"), [(1, 0.5, 0.1), (2, 0, 0.3), (0.5, 1, 0), (1, 0.25, 1)])
def test_metric_is_the_formula_on_brute_force_moments(power, whitening, ridge):
    measures, codes = cohort()
    scale, _ = feature_scale(measures, "feature")
    transport = solved(measures, scale)
    s_w, s_b = brute_moments(measures.points, transport.plans, transport.pairs, codes, scale)
    s_w = s_w + ridge * np.trace(s_w) / 4 * np.eye(4)
    ratio = power_of(s_w, -0.5) @ s_b @ power_of(s_w, -0.5)
    expected = power_of(s_w, -whitening / 2) @ power_of(ratio, power) @ power_of(s_w, -whitening / 2)
    w = discriminant(measures, codes, power=power, whitening=whitening, ridge=ridge)
    assert_proportional(w.T @ w, expected, rtol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(w, 2), 1, rtol=1e-12)


@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_full_whitening_is_the_generalised_eigenvector_form(ridge):
    measures, codes = cohort(1)
    scale, _ = feature_scale(measures, "feature")
    transport = solved(measures, scale)
    s_w, s_b = brute_moments(measures.points, transport.plans, transport.pairs, codes, scale)
    values, vectors = scipy.linalg.eigh(s_b, s_w + ridge * np.trace(s_w) / 4 * np.eye(4))
    w = discriminant(measures, codes, power=1, whitening=1, ridge=ridge)
    assert_proportional(w.T @ w, (vectors * (values / values[-1])) @ vectors.T)


def test_without_whitening_indifferent_classes_give_the_euclidean_metric(monkeypatch):
    measures, codes = cohort(2)
    monkeypatch.setattr(Targets, "pair_weights", lambda self, pairs, *_: [np.full(len(pairs), 1 / len(pairs))] * 2)
    w = discriminant(measures, codes, whitening=0, ridge=0)
    np.testing.assert_allclose(w.T @ w, np.eye(4), atol=1e-7)


def test_fully_whitened_indifferent_classes_give_the_mahalanobis_metric(monkeypatch):
    measures, codes = cohort(2)
    scale, _ = feature_scale(measures, "feature")
    moment = np.mean(pair_moments(measures.points, solved(measures, scale).plans, scale), axis=0)
    monkeypatch.setattr(Targets, "pair_weights", lambda self, pairs, *_: [np.full(len(pairs), 1 / len(pairs))] * 2)
    w = discriminant(measures, codes, whitening=1, ridge=0)
    assert_proportional(w.T @ w, np.linalg.inv(moment), rtol=1e-7)


def test_sparse_equals_dense():
    dense, codes = cohort(3)
    sparse, _ = cohort(3, sp.csr_array)
    np.testing.assert_allclose(discriminant(sparse, codes), discriminant(dense, codes), rtol=1e-9, atol=1e-12)


def test_moments_in_column_blocks_are_the_same(monkeypatch):
    measures, codes = cohort(3)
    expected = discriminant(measures, codes)
    cut = plans.column_blocks
    monkeypatch.setattr(plans, "column_blocks", lambda n, d: cut(n, d, budget=1))
    np.testing.assert_allclose(discriminant(measures, codes), expected, rtol=1e-9, atol=1e-12)


def test_constant_features_weigh_exactly_zero():
    with_constant, codes = cohort(4, constant=True)
    without, _ = cohort(4)
    w = discriminant(with_constant, codes)
    np.testing.assert_array_equal(w[:, 4], 0)
    np.testing.assert_allclose(w[:, :4], discriminant(without, codes), rtol=1e-9, atol=1e-12)


def test_components_are_ordered_bounded_and_dropped_when_negligible():
    measures, codes = cohort(5)
    full = discriminant(measures, codes)
    lengths = np.linalg.norm(full, axis=1)
    assert (np.diff(lengths) <= 0).all()
    np.testing.assert_allclose(discriminant(measures, codes, n_comps=2), full[:2], rtol=1e-9)
    assert len(discriminant(measures, codes, power=40)) == 1


def test_signs_are_fixed():
    measures, codes = cohort(6)
    w = discriminant(measures, codes)
    assert (w[np.arange(len(w)), np.abs(w).argmax(axis=1)] > 0).all()
    mirrored = measures.with_points(-measures.points)
    np.testing.assert_allclose(discriminant(mirrored, codes), w, rtol=1e-9, atol=1e-12)


def test_first_component_is_the_separating_feature():
    measures, codes = cohort(7)
    assert np.abs(discriminant(measures, codes)[0]).argmax() == 0


def test_default_ridge_grows_with_features_per_cell():
    measures = Measures.from_arrays([np.eye(4), np.eye(4)[:2]])
    np.testing.assert_allclose(module.default_ridge(measures), 0.03 + 3 * 4 / 6)


def test_identical_samples_within_classes_still_work():
    x = np.random.default_rng(8).normal(size=(5, 2))
    measures = Measures.from_arrays([x, x, x + [3, 0], x + [3, 0]])
    w = discriminant(measures, np.array([0, 0, 1, 1]))
    assert np.isfinite(w).all()
    assert np.abs(w[0]).argmax() == 0


@pytest.mark.parametrize("size", [1.0, 0.01])
@pytest.mark.parametrize("contrast", [0.0, 0.3, 0.9])
def test_contrast_subtracts_the_part_that_all_directions_share(contrast, size):
    rng = np.random.default_rng(1)
    a, b = (x @ x.T for x in rng.normal(size=(2, 4, 9)))
    values, vectors = scipy.linalg.eigh(size * b, a)
    assert (values[-1] > 1) == (size == 1)
    found = module.metric_matrix(a, size * b, ridge=0.0, power=1.0, whitening=1.0, contrast=contrast)
    left = np.maximum(values - contrast * min(1.0, values[-1]), 0)
    assert_proportional(found, (vectors * left) @ vectors.T, rtol=1e-7)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_moments_does_not_matter(unit):
    rng = np.random.default_rng(3)
    a, b = (x @ x.T for x in rng.normal(size=(2, 4, 9)))
    options = {"ridge": 0.0, "power": 0.5, "whitening": 0.7, "contrast": 0.2}
    assert_proportional(module.metric_matrix(unit * a, unit * b, **options), module.metric_matrix(a, b, **options))


def test_beyond_the_width_of_matrices_the_metric_is_the_same(monkeypatch):
    measures, codes = cohort(9)
    expected = discriminant(measures, codes)
    monkeypatch.setattr(module, "WIDE", 3)
    found = discriminant(measures, codes)
    assert_proportional(found.T @ found, expected.T @ expected, rtol=1e-5)


def test_metrics_of_many_moments_are_those_of_each():
    rng = np.random.default_rng(2)
    s_w, s_b = (x @ np.swapaxes(x, -1, -2) for x in rng.normal(size=(2, 3, 4, 9)))
    options = {"ridge": 0.2, "power": 0.7, "whitening": 0.5, "contrast": 0.3}
    found = module.metric_matrix(s_w, s_b, **options)
    for one, w, b in zip(found, s_w, s_b, strict=True):
        np.testing.assert_allclose(one, module.metric_matrix(w, b, **options), rtol=1e-9)


def test_directions_without_transport_within_classes():
    """They count, but no more than the floor of the variances allows; the metric stays finite."""
    s_b = np.diag([1.0, 2.0, 0.0])
    for s_w in (np.zeros((3, 3)), np.diag([1.0, 0.0, 0.0])):
        metric = module.metric_matrix(s_w, s_b, ridge=0.0, power=1.0, whitening=1.0)
        assert np.isfinite(metric).all()
        assert metric[1, 1] == metric.max()
        assert metric[2, 2] == 0
