from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from scggml.evaluation import _intervals
from scggml.evaluation._intervals import auc_interval, label_intervals, sign_test


def test_of_one_class_it_is_jeffreys_interval():
    intervals = label_intervals(np.array([[7.0, 1.0], [0.0, 0.0]]), np.array([8, 0]))
    expected = beta.ppf([0.025, 0.975], 7.5, 1.5)
    np.testing.assert_allclose(intervals["accuracy"], expected)
    np.testing.assert_allclose(intervals["balanced_accuracy"], expected)


def test_mover_by_hand():
    confusion = np.array([[6.0, 2.0], [1.0, 3.0]])
    ends = [beta.ppf([0.025, 0.975], k + 0.5, n - k + 0.5) for k, n in ((6, 8), (3, 4))]
    below, above = (np.sqrt(sum((0.5 * (0.75 - end[i])) ** 2 for end in ends)) for i in (0, 1))
    expected = 0.75 - below, min(0.75 + above, 1)
    np.testing.assert_allclose(label_intervals(confusion, np.array([8, 4]))["balanced_accuracy"], expected)


def test_all_right_does_not_mean_certain():
    confusion = np.diag([8.0, 8.0])
    intervals = label_intervals(confusion, np.array([8, 8]))
    for low, high in intervals.values():
        assert 0.75 < low < 0.93
        assert high > 0.99
    fewer = label_intervals(confusion, np.array([4, 4]))  # the same samples from half as many donors
    assert all(fewer[name][0] < intervals[name][0] for name in intervals)


@pytest.mark.parametrize(
    ("recalls", "sizes"),
    [
        ((0.9, 0.6), (12, 7)),
        ((0.8, 0.5, 0.3), (12, 7, 9)),
        ((0.97, 0.97), (8, 8)),
        ((0.95,) * 5, (4,) * 5),
        ((0.1,) * 10, (3,) * 10),
        ((0.95,) * 8, (4,) * 8),
        ((1 / 3,) * 3, (5,) * 3),
    ],
)
def test_intervals_cover(recalls, sizes, monkeypatch):
    monkeypatch.setattr(_intervals, "_N_DRAWS", 2000)
    rng = np.random.default_rng(0)
    k = len(recalls)
    covered = []
    truth = np.full((k, k), 0.0)
    for c, recall in enumerate(recalls):
        truth[c] = (1 - recall) / (k - 1)
        truth[c, c] = recall
    share = np.array(sizes) / sum(sizes)
    table = truth * share[:, None]
    f1 = np.mean(2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1)))
    expected = {"accuracy": share @ np.array(recalls), "balanced_accuracy": np.mean(recalls), "macro_f1": f1}
    for _ in range(100):
        confusion = np.stack([rng.multinomial(n, p) for n, p in zip(sizes, truth, strict=True)]).astype(float)
        intervals = label_intervals(confusion, np.array(sizes))
        observed = np.diag(confusion) / sizes
        low, high = intervals["balanced_accuracy"]
        assert low <= observed.mean() + 1e-12 and observed.mean() <= high + 1e-12
        covered.append([intervals[name][0] <= value <= intervals[name][1] for name, value in expected.items()])
    accuracy, balanced, macro_f1 = np.mean(covered, axis=0)
    assert min(accuracy, balanced) > 0.85
    assert macro_f1 > 0.7


def test_macro_f1_interval_holds_the_score():
    confusion = np.array([[9.0, 1.0, 0.0], [2.0, 6.0, 2.0], [0.0, 3.0, 7.0]])
    tp = np.diag(confusion)
    f1 = (2 * tp / (confusion.sum(axis=0) + confusion.sum(axis=1))).mean()
    low, high = label_intervals(confusion * 100, np.array([1000, 1000, 1000]))["macro_f1"]
    assert low < f1 < high
    assert high - low < 0.06


def test_auc_interval_solves_its_equation():
    area, m, n = 0.8, 10, 14
    for bound in auc_interval(area, m, n):
        n_star = (m + n) / 2 - 1
        variance = (
            bound * (1 - bound) * (1 + n_star * (1 - bound) / (2 - bound) + n_star * bound / (1 + bound)) / (m * n)
        )
        np.testing.assert_allclose(abs(area - bound), 1.959964 * np.sqrt(variance), rtol=1e-5)
    assert auc_interval(area, m, n)[0] < area < auc_interval(area, m, n)[1]


def test_auc_interval_at_the_ends():
    low, high = auc_interval(1.0, 8, 8)
    assert 0.6 < low < 0.9
    assert high == 1.0
    assert auc_interval(0.0, 8, 8) == pytest.approx((0.0, 1 - low))


def test_auc_interval_covers():
    rng = np.random.default_rng(1)
    truth = 0.760  # of normals one apart: Phi(1 / sqrt 2)
    covered = []
    for _ in range(300):
        positive, negative = rng.normal(1, 1, 12), rng.normal(0, 1, 12)
        low, high = auc_interval(float((positive[:, None] > negative).mean()), 12, 12)
        covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.92


def test_sign_test():
    assert sign_test(0, 0) == 1
    assert sign_test(9, 1) == pytest.approx(binomtest(9, 10).pvalue)
    assert sign_test(1, 9) == sign_test(9, 1)
