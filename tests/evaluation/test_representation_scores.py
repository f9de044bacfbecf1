"""Scores of representations, against scikit-learn and loops that follow their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from scggml.evaluation._intervals import label_intervals, mean_interval, rank_interval
from scggml.evaluation._representation_scores import (
    information_retention,
    predict,
    replicate_robustness,
    reversed_score,
    trajectory_preservation,
)


def random_samples(seed, n=20, n_classes=3):
    """Distances between points near one another if their values are, classes, numbers, and each a unit of its own."""
    rng = np.random.default_rng(seed)
    classes = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)]).astype(float)
    numbers = classes + rng.normal(size=n)
    points = np.stack([numbers, rng.normal(size=n), rng.normal(size=n)], axis=1)
    return squareform(pdist(points)), classes, numbers, np.arange(n)


@pytest.mark.parametrize("seed", range(8))
def test_predictions_are_those_of_scikit_learn_without_the_sample_itself(seed):
    distances, classes, numbers, units = random_samples(seed)
    expected_class, expected_number = [], []
    for i in range(len(units)):
        others = units != i
        neighbours = {"n_neighbors": 3, "weights": "distance", "metric": "precomputed"}
        fit, row = distances[np.ix_(others, others)], distances[i, others][None]
        expected_class += list(KNeighborsClassifier(**neighbours).fit(fit, classes[others]).predict(row))
        expected_number += list(KNeighborsRegressor(**neighbours).fit(fit, numbers[others]).predict(row))
    np.testing.assert_array_equal(predict(distances, classes, "class", units), expected_class)
    np.testing.assert_allclose(predict(distances, numbers, "continuous", units), expected_number, rtol=1e-12)

    f1 = f1_score(classes, expected_class, average="macro")
    found = information_retention(distances, classes, "class", units)[0]
    assert found == pytest.approx(max(3 / 2 * (f1 - 1 / 3), 0), abs=1e-12)
    for kind in ("ordinal", "continuous"):
        found = information_retention(distances, numbers, kind, units)[0]
        assert found == pytest.approx(max(spearmanr(numbers, expected_number).statistic, 0), abs=1e-12)


def test_samples_at_distance_zero_alone_predict():
    points = np.array([0.0, 0, 1, 2, 2, 3])
    distances = np.abs(points[:, None] - points)
    values = np.array([1.0, 5, 2, 7, 3, 4])
    found = predict(distances, values, "continuous", np.arange(6))
    expected = KNeighborsRegressor(n_neighbors=3, weights="distance").fit(points[1:, None], values[1:])
    assert found[0] == expected.predict([[0.0]])[0] == 5
    assert found[3] == 3 and found[4] == 7


def test_samples_of_one_patient_do_not_predict_one_another():
    points = np.array([0.0, 0.1, 10, 10.1, 20, 20.1, 30, 30.1])
    distances = np.abs(points[:, None] - points)
    units = np.repeat(np.arange(4), 2)
    values = np.repeat([0.0, 1, 0, 1], 2)
    alone = predict(distances, values, "class", np.arange(8))
    np.testing.assert_array_equal(alone, values)  # each by its replicate
    np.testing.assert_array_equal(predict(distances, values, "class", units)[:4], [1, 1, 0, 0])
    assert information_retention(distances, values, "class", np.arange(8))[0] == 1
    assert information_retention(distances, values, "class", units)[0] == 0


def test_random_classes_score_about_zero_and_batch_removal_about_one():
    found = []
    for seed in range(40):
        distances, _, _, units = random_samples(seed, n=40)
        found.append(
            information_retention(distances, np.random.default_rng(seed).permutation(40) % 4.0, "class", units)
        )
    values = np.array([score[0] for score in found])
    assert values.mean() < 0.08
    assert np.mean([low <= 0 <= high for _, low, high in found]) > 0.9
    assert np.mean([reversed_score(score)[0] for score in found]) == pytest.approx(1 - values.mean())


def test_intervals_are_those_of_predictions_on_the_scale_of_the_score():
    distances, classes, numbers, units = random_samples(3)
    predicted = predict(distances, classes, "class", units)
    confusion = np.array([[((classes == a) & (predicted == b)).sum() for b in range(3)] for a in range(3)], dtype=float)
    ends = label_intervals(confusion, np.bincount(classes.astype(int)).astype(float))["macro_f1"]
    score = information_retention(distances, classes, "class", units)
    np.testing.assert_allclose(score[1:], [max((3 * end - 1) / 2, 0) for end in ends])
    assert reversed_score(score) == (1 - score[0], 1 - score[2], 1 - score[1])
    rho = spearmanr(numbers, predict(distances, numbers, "continuous", units)).statistic
    score = information_retention(distances, numbers, "continuous", units)
    np.testing.assert_allclose(score[1:], np.clip(rank_interval("spearman", rho, 20), 0, 1))
    # two samples a patient: half as many units, and a wider interval
    wide = information_retention(distances, numbers, "continuous", units // 2)
    value = spearmanr(numbers, predict(distances, numbers, "continuous", units // 2)).statistic
    np.testing.assert_allclose(wide[1:], np.clip(rank_interval("spearman", value, 10), 0, 1))


@pytest.mark.parametrize("sign", [1, -1])
def test_trajectories_may_run_either_way(sign):
    time, values = np.arange(10.0), sign * np.array([0.0, 2, 1, 3, 4, 6, 5, 9, 8, 7])
    value, low, high = trajectory_preservation(time, values, np.arange(10))
    rho = abs(spearmanr(time, values).statistic)
    assert value == pytest.approx(rho)
    np.testing.assert_allclose((low, high), rank_interval("spearman", rho, 10))
    value, low, high = trajectory_preservation(time, sign * np.array([5.0, 2, 8, 1, 9, 0, 4, 7, 3, 6]), np.arange(10))
    assert low == 0 < value < high


def test_replicate_robustness_follows_its_formula():
    rng = np.random.default_rng(0)
    distances = squareform(pdist(rng.normal(size=(12, 2))))
    units = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])
    n, shares = len(units), []
    for i, j in [(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4)]:
        closer = sum(distances[i, k] < distances[i, j] for k in range(n) if k not in (i, j))
        shares.append(1 - closer / (n - 1))
    value, low, high = replicate_robustness(distances, units)
    assert value == pytest.approx(np.mean(shares))
    np.testing.assert_allclose((low, high), np.clip(mean_interval(np.mean(np.reshape(shares, (3, 2)), axis=1)), 0, 1))


def test_replicates_that_are_closest_score_one_in_groups_of_any_size():
    points = np.array([0.0, 0.1, 0.2, 5, 5.1, 9, 20])
    value, low, high = replicate_robustness(np.abs(points[:, None] - points), np.array([0, 0, 0, 1, 1, 2, 3]))
    assert value == low == high == 1
    far = replicate_robustness(np.abs(points[:, None] - points), np.array([0, 1, 2, 1, 3, 2, 0]))[0]
    assert far < 0.5
