"""Probabilities and p-values, against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, t
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss

from scggml.core._neighbors import class_scores
from scggml.core._probabilities import class_probabilities, fit_sharpness, probability_scores, relative_class_scores
from scggml.reference._calibration import calibrated_smallest, nearest_distances, prediction_tail, upper_tail


def drawn(seed, n=30, n_classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    scores = rng.normal(size=(n, n_classes))
    scores[np.arange(n), codes] += signal
    return scores, codes


def log_likelihood(sharpness, scores, codes):
    """Sum over classes of the mean log likelihood of their samples, one of n + 2 in other places."""
    n_classes = scores.shape[1]
    total = 0.0
    for c in np.unique(codes):
        n = (codes == c).sum()
        target = np.full(n_classes, 1 / ((n + 2) * (n_classes - 1)))
        target[c] = (n + 1) / (n + 2)
        for row in scores[codes == c]:
            e = np.exp(sharpness * (row - row.max()))
            total += target @ np.log(e / e.sum()) / n
    return total


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_sharpness_has_the_greatest_likelihood(seed, n_classes):
    scores, codes = drawn(seed, n_classes=n_classes)
    found = fit_sharpness(scores, codes)
    grid = np.linspace(0, 6, 2001)
    best = grid[np.argmax([log_likelihood(value, scores, codes) for value in grid])]
    assert abs(found - best) <= 0.003


def test_classes_weigh_alike():
    scores, codes = drawn(0, n_classes=2)
    more = np.concatenate([np.arange(len(codes)), np.repeat(np.flatnonzero(codes == 0), 100)])
    # many copies of one class move its smoothing, not its weight
    assert fit_sharpness(scores[more], codes[more]) < 2 * fit_sharpness(scores, codes)


def test_scores_that_mislead_make_all_classes_alike():
    scores, codes = drawn(1, signal=-1.0)
    assert fit_sharpness(scores, codes) == 0.0
    np.testing.assert_array_equal(class_probabilities(scores, 0.0), np.full(scores.shape, 1 / 3))


@pytest.mark.parametrize("n", [4, 40])
def test_no_error_in_a_small_cohort_is_not_certainty(n):
    codes = np.repeat([0, 1], n)
    scores = np.where(np.eye(2)[codes] == 1, 1e-3, -1e-3)
    p = class_probabilities(scores, fit_sharpness(scores, codes))
    np.testing.assert_allclose(p.max(axis=1), (n + 1) / (n + 2))


def test_constant_scores():
    assert fit_sharpness(np.zeros((6, 2)), np.repeat([0, 1], 3)) == 0.0


def test_relative_scores_are_free_of_the_unit():
    rng = np.random.default_rng(0)
    distances, codes = rng.uniform(1, 2, size=(5, 9)), np.repeat([0, 1, 2], 3)
    found = relative_class_scores(distances, codes)
    np.testing.assert_allclose(found, relative_class_scores(100 * distances, codes))
    np.testing.assert_allclose(found.mean(axis=1), -1)
    plain = class_scores(distances, codes, rule="class_mean", n_neighbors=3)
    np.testing.assert_array_equal(found.argmax(axis=1), plain.argmax(axis=1))


def test_nearest_distances():
    distances = np.array([[5.0, 1.0, 3.0, 2.0, 9.0]])
    assert nearest_distances(distances, 5) == pytest.approx(2.0)
    # of 5 in a reference of 11, half as many: one
    assert nearest_distances(distances, 11) == pytest.approx(1.0)
    assert nearest_distances(distances[:, :2], 2) == pytest.approx(3.0)
    assert nearest_distances(distances, 8) == pytest.approx(np.interp(5 / 3, [1, 2], [1.0, 1.5]))


@pytest.mark.parametrize("n", [5, 12, 40])
def test_p_values_of_log_normal_values_are_uniform(n):
    rng = np.random.default_rng(n)
    p = np.concatenate([upper_tail(np.exp(rng.normal(size=n)), np.exp(rng.normal(size=1))) for _ in range(2000)])
    assert kstest(p, "uniform").pvalue > 0.01
    assert abs(np.mean(p <= 0.05) - 0.05) < 0.015


def test_p_values_fall_with_the_value_and_do_not_depend_on_the_unit():
    known = np.array([1.0, 1.2, 0.9, 1.1])
    p = upper_tail(known, np.array([0.5, 1.0, 2.0, 8.0]))
    assert (np.diff(p) < 0).all() and p[0] > 0.9 and p[-1] < 0.001
    np.testing.assert_allclose(upper_tail(7 * known, 7 * np.array([1.0, 2.0])), p[1:3])
    assert upper_tail(np.ones(4), np.array([2.0])) < 1e-6  # no spread at all


def test_copies_of_a_sample_are_at_distance_zero():
    known = np.array([0.0, 1.0, 1.2, 0.9, 1.1, 0.0])
    p = upper_tail(known, np.array([0.0, 1.0, 1e6]))
    assert np.isfinite(p).all() and (np.diff(p) < 0).all()
    assert upper_tail(np.zeros(4), np.array([0.0, 1.0])) == pytest.approx([0.5, 0.0])


def test_prediction_tail_is_that_of_one_more_value():
    known = np.random.default_rng(0).normal(size=(9, 2))
    new = np.array([[0.3, 2.0], [np.nan, -1.0]])
    expected = t.sf((new - known.mean(axis=0)) / (known.std(axis=0, ddof=1) * np.sqrt(1 + 1 / 9)), 8)
    expected[1, 0] = 1.0
    np.testing.assert_allclose(prediction_tail(known, new), expected)
    known = np.concatenate([known, [[np.nan, np.inf]]])
    np.testing.assert_allclose(prediction_tail(known, new), expected)
    np.testing.assert_array_equal(prediction_tail(known[:1], new), 1.0)
    np.testing.assert_allclose(prediction_tail(np.full((5, 1), 7.0), np.array([[8.0], [6.0]])), [[0], [1]], atol=1e-20)


def test_prediction_tail_allows_for_errors():
    """Values with errors of any size have uniform probabilities; without allowing for them, the least sure stand out."""
    rng = np.random.default_rng(1)
    p, plain = [], []
    for _ in range(600):
        errors = np.where(rng.random(33) < 0.3, 6.0, 0.5)[:, None]
        values = 5 + rng.normal(size=(33, 1)) * np.sqrt(1 + errors**2)
        p.append(prediction_tail(values[:30], values[30:], errors[:30], errors[30:]))
        plain.append(prediction_tail(values[:30], values[30:])[errors[30:] > 1])
    p, plain = np.concatenate(p), np.concatenate(plain)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(plain <= 0.05) > 0.1


@pytest.mark.parametrize(("error", "new_error"), [(5.0, 0.2), (0.2, 5.0), (1.0, 1.0), (0.0, 0.0)])
def test_prediction_tail_of_values_that_are_more_precise_or_less(error, new_error):
    rng = np.random.default_rng(2)
    p = []
    for _ in range(800):
        known = rng.normal(size=(24, 1)) * np.sqrt(1 + error**2)
        new = rng.normal(size=(2, 1)) * np.sqrt(1 + new_error**2)
        p.append(prediction_tail(known, new, np.full((24, 1), error), np.full((2, 1), new_error)))
    p = np.concatenate(p)
    assert np.mean(p <= 0.05) < 0.065 and np.mean(p <= 0.001) < 0.006
    if error <= new_error:  # else it is on the careful side
        assert np.mean(p <= 0.05) > 0.035


def test_the_smallest_of_several_is_compared_with_that_of_others():
    rng = np.random.default_rng(2)
    for shared in (0.0, 1.0):  # independent, or all the same
        p = []
        for _ in range(300):
            draws = rng.random((27, 6))
            draws = np.where(shared, draws[:, :1], draws)
            p.append(calibrated_smallest(draws[:24], draws[24:]))
        p = np.concatenate(p)
        assert 0.02 < np.mean(p <= 0.05) < 0.07
        assert np.mean(p <= 0.01) < 0.025
        assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.07)
    alike = calibrated_smallest(rng.uniform(0.2, 0.3, size=(24, 6)), np.array([[0.1] * 6, [1e-6] * 6]))
    assert alike[0] > 0.05 and alike[1] < 0.001  # none of the known ones can be small: that is no measure of what is
    one = rng.random((4, 1))
    np.testing.assert_array_equal(calibrated_smallest(draws[:, :1], one), one[:, 0])
    extreme = calibrated_smallest(draws, np.array([[0.0, 1.0], [1.0, 1.0]]))
    assert extreme[0] < 1e-6 and extreme[1] > 0.99


@pytest.mark.parametrize("n_classes", [2, 4])
def test_probability_scores_are_those_of_scikit_learn(n_classes):
    scores, codes = drawn(0, n_classes=n_classes)
    p = class_probabilities(scores, 1.3)
    weights = 1 / np.bincount(codes)[codes]
    found = probability_scores(p, codes, p.argmax(axis=1))
    assert found["log_loss"] == pytest.approx(log_loss(codes, p, sample_weight=weights))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(codes, p.argmax(axis=1)))
    assert found["log_loss_uniform"] == pytest.approx(np.log(n_classes))
    uniform = probability_scores(np.full_like(p, 1 / n_classes), codes, codes)
    assert uniform["log_loss"] == pytest.approx(uniform["log_loss_uniform"])
    assert uniform["brier"] == pytest.approx(uniform["brier_uniform"])
    if n_classes == 2:
        assert found["brier"] == pytest.approx(2 * brier_score_loss(codes, p[:, 1], sample_weight=weights))
