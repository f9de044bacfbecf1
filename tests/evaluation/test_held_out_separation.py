"""Standardised held-out separation, against its definition written as loops, and its interval, by simulation."""

import numpy as np
import pytest

from scggml.evaluation._held_out_separation import log_ratios, separation, separation_interval
from scggml.evaluation._intervals import share_interval


def test_log_ratios():
    rng = np.random.default_rng(0)
    distances, train, test = rng.uniform(1, 2, (4, 9)), np.repeat([0, 1, 2], [2, 3, 4]), np.array([0, 1, 2, 2])
    expected = []
    for row, own in zip(distances, test, strict=True):
        mean = [np.mean([d for d, c in zip(row, train, strict=True) if c == which]) for which in range(3)]
        others = [mean[c] for c in range(3) if c != own]
        expected.append(np.log(sum(others) / 2 / mean[own]))
    np.testing.assert_allclose(log_ratios(distances, train, test), expected, rtol=1e-14)
    np.testing.assert_allclose(log_ratios(3 * distances, train, test), expected, rtol=1e-12)  # it has no unit


def test_samples_that_equal_those_of_a_class_are_far_from_the_others():
    found = log_ratios(np.array([[0.0, 0.0, 1.0, 1.0], [0.0] * 4]), np.array([0, 0, 1, 1]), np.array([0, 1]))
    assert found[0] > 100 and found[1] == 0


def test_separation_of_two_classes_is_half_of_cohens_d():
    rng = np.random.default_rng(1)
    score, codes = rng.normal(size=20) + np.repeat([0.0, 1.5], [8, 12]), np.repeat([0, 1], [8, 12])
    signed = np.where(codes == 1, score, -score)  # a log ratio is positive on the side of the own class
    a, b = score[codes == 0], score[codes == 1]
    pooled = np.sqrt((7 * a.var(ddof=1) + 11 * b.var(ddof=1)) / 18)
    assert separation(signed, codes) == pytest.approx((b.mean() - a.mean()) / pooled / 2, rel=1e-12)
    assert separation(5 * signed, codes) == pytest.approx(separation(signed, codes), rel=1e-12)


def test_separation_without_variation():
    assert np.isnan(separation(np.ones(6), np.repeat([0, 1], 3)))
    assert np.isnan(separation(np.array([1.0, 2.0]), np.array([0, 1])))


def test_interval_of_a_difference_is_close_to_a_bootstrap():
    rng = np.random.default_rng(2)
    shared, codes = rng.normal(size=(120, 1)), np.arange(120) % 2
    first, second = (0.8 + shared + 0.7 * rng.normal(size=(120, 2))).T
    low, high = separation_interval(first, codes, np.arange(120), second)

    def difference(index):
        return separation(first[index], codes[index]) - separation(second[index], codes[index])

    found = np.quantile([difference(rng.integers(120, size=120)) for _ in range(1500)], [0.025, 0.975])
    assert [low, high] == pytest.approx(found, abs=0.08)
    assert low < separation(first, codes) - separation(second, codes) < high


def test_interval_covers_the_truth():
    rng, codes = np.random.default_rng(3), np.arange(16) % 2
    covered = 0
    for _ in range(400):
        low, high = separation_interval(0.8 + rng.normal(size=16), codes, np.arange(16))
        covered += low <= 0.8 <= high
    assert 0.93 <= covered / 400 <= 0.99


def test_samples_of_a_donor_count_once():
    rng = np.random.default_rng(4)
    values, codes = rng.normal(size=20) + 1, np.arange(20) % 2
    once = separation_interval(values, codes, np.arange(20))
    twice = separation_interval(np.tile(values, 2), np.tile(codes, 2), np.tile(np.arange(20), 2))
    assert np.diff(twice) == pytest.approx(np.diff(once), rel=0.05)


def test_interval_of_too_few_samples():
    assert np.isnan(
        separation_interval(np.array([1.0, 2.0, 1.0, 3.0]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    )[0]


def test_share_interval():
    assert share_interval(10, 10)[1] == 1 and share_interval(0, 10)[0] == 0
    low, high = share_interval(7, 10)
    assert low < 0.7 < high
