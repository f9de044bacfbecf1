"""P-values of new samples, against scipy's tests, a direct solution of Paule and Mandel's equation, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, kstest, norm, t, ttest_ind

from scggml.reference._calibration import calibrated_smallest, nearest_distances, prediction_tail, upper_tail


def one_more(known, new):
    """The p-value of one more value: Student's test with a single value on one side."""
    return ttest_ind([new], known, alternative="greater").pvalue


def test_nearest_distances():
    distances = np.array([[5.0, 1.0, 3.0, 2.0, 9.0]])
    assert nearest_distances(distances, 5) == pytest.approx(2.0)
    # 5 samples of a reference of 11 are half as many: the one nearest
    assert nearest_distances(distances, 11) == pytest.approx(1.0)
    assert nearest_distances(distances[:, :2], 2) == pytest.approx(3.0)
    assert nearest_distances(distances, 8) == pytest.approx(np.interp(5 / 3, [1, 2], [1.0, 1.5]))


def test_nearest_distances_of_parts_are_comparable():
    """The mean distance to the nearest in a part of a large reference is on average that in the whole."""
    distances = np.random.default_rng(0).random((4000, 41))
    whole, part = nearest_distances(distances, 41), nearest_distances(distances[:, :20], 41)
    assert part.mean() == pytest.approx(whole.mean(), rel=0.03)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_p_values_of_log_normal_values_are_uniform(n):
    rng = np.random.default_rng(n)
    p = np.concatenate([upper_tail(np.exp(rng.normal(size=n)), np.exp(rng.normal(size=1))) for _ in range(2000)])
    assert kstest(p, "uniform").pvalue > 0.01
    assert abs(np.mean(p <= 0.05) - 0.05) < 0.015


def test_p_values_fall_with_the_value_and_do_not_depend_on_the_unit():
    known = np.array([1.0, 1.2, 0.9, 1.1])
    new = np.array([0.5, 1.0, 2.0, 8.0])
    p = upper_tail(known, new)
    np.testing.assert_allclose(p, [one_more(np.log(known), np.log(value)) for value in new], rtol=1e-6)
    assert (np.diff(p) < 0).all()
    np.testing.assert_allclose(upper_tail(7 * known, 7 * new), p)
    assert upper_tail(np.ones(4), np.array([2.0])) < 1e-6  # no spread at all


def test_copies_of_a_sample_are_at_distance_zero():
    known = np.array([0.0, 1.0, 1.2, 0.9, 1.1, 0.0])
    p = upper_tail(known, np.array([0.0, 1.0, 1e6]))
    assert np.isfinite(p).all() and (np.diff(p) < 0).all()
    assert upper_tail(np.zeros(4), np.array([0.0, 1.0])) == pytest.approx([0.5, 0.0])


def test_prediction_tail_is_students_test_with_one_value():
    known = np.random.default_rng(0).normal(size=(9, 2))
    new = np.array([[0.3, 2.0], [np.nan, -1.0]])
    expected = [[one_more(known[:, j], x) for j, x in enumerate(row)] for row in new]
    expected[1][0] = 1.0
    np.testing.assert_allclose(prediction_tail(known, new), expected, rtol=1e-6)
    known = np.concatenate([known, [[np.nan, np.inf]]])
    np.testing.assert_allclose(prediction_tail(known, new), expected, rtol=1e-6)
    np.testing.assert_array_equal(prediction_tail(known[:1], new), 1.0)
    np.testing.assert_allclose(prediction_tail(np.full((5, 1), 7.0), np.array([[8.0], [6.0]])), [[0], [1]], atol=1e-20)


@pytest.mark.parametrize("between", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_prediction_tail_with_errors_solves_the_equation_of_paule_and_mandel(seed, between):
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.3, 3.0, size=10)
    known = 5 + between * rng.normal(size=10) + errors * rng.normal(size=10)
    new, new_errors = np.array([2.0, 7.0, 12.0]), np.array([0.01, 1.0, 6.0])

    def mean(variance):
        return np.average(known, weights=1 / (variance + errors**2))

    def excess(variance):
        return ((known - mean(variance)) ** 2 / (variance + errors**2)).sum() - 9

    variance = brentq(excess, 0, 1e3) if excess(0) > 0 else 0.0
    of_new = variance + np.maximum(new_errors, np.median(errors)) ** 2
    of_mean = 1 / (1 / (variance + errors**2)).sum()
    expected = t.sf((new - mean(variance)) / np.sqrt(of_new + of_mean), 9)
    found = prediction_tail(known[:, None], new[:, None], errors[:, None], new_errors[:, None])
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_prediction_tail_allows_for_errors():
    """With errors of any size p-values are uniform. If errors are ignored, the least precise values stand out."""
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
    if error <= new_error:  # otherwise p-values are conservative
        assert np.mean(p <= 0.05) > 0.035


def test_the_smallest_of_several_against_known_distributions():
    """The smallest of n uniform values has a beta distribution; its normal score is compared by Student's test."""
    rng = np.random.default_rng(0)
    known, new = rng.random((27, 6)) ** 4, np.array([[0.2, 1e-3, 0.5, 0.9, 0.9, 1.0], [0.4] * 6])
    of_known, of_new = (norm.isf(beta(1, 6).cdf(p.min(axis=1))) for p in (known, new))
    assert of_known.std(ddof=1) > 1
    expected = [one_more(of_known, score) for score in of_new]
    np.testing.assert_allclose(calibrated_smallest(known, new), expected, rtol=1e-6)


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
    # if no known probability can be small, that of a new sample is compared with independent ones
    alike = calibrated_smallest(rng.uniform(0.2, 0.3, size=(24, 6)), np.array([[0.1] * 6, [1e-6] * 6]))
    assert alike[0] > 0.05 and alike[1] < 0.001
    one = rng.random((4, 1))
    np.testing.assert_array_equal(calibrated_smallest(draws[:, :1], one), one[:, 0])
    extreme = calibrated_smallest(draws, np.array([[0.0, 1.0], [1.0, 1.0]]))
    assert extreme[0] < 1e-6 and extreme[1] > 0.99
