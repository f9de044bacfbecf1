"""Probabilities of classes, against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss

from scggml.core._neighbors import class_scores
from scggml.core._probabilities import (
    class_probabilities,
    fit_inverse_temperature,
    probability_scores,
    relative_class_scores,
    smoothed_targets,
)


def drawn(seed, n=30, n_classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    scores = rng.normal(size=(n, n_classes))
    scores[np.arange(n), codes] += signal
    return scores, codes


def log_likelihood(inverse_temperature, scores, codes):
    """Sum over classes of the mean log likelihood; a sample has probability (n + 1) / (n + 2) for its class of n."""
    n_classes = scores.shape[1]
    total = 0.0
    for c in np.unique(codes):
        n = (codes == c).sum()
        target = np.full(n_classes, 1 / ((n + 2) * (n_classes - 1)))
        target[c] = (n + 1) / (n + 2)
        for row in scores[codes == c]:
            e = np.exp(inverse_temperature * (row - row.max()))
            total += target @ np.log(e / e.sum()) / n
    return total


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_inverse_temperature_has_the_greatest_likelihood(seed, n_classes):
    scores, codes = drawn(seed, n_classes=n_classes)
    found = fit_inverse_temperature(scores, codes)
    grid = np.linspace(0, 6, 2001)
    best = grid[np.argmax([log_likelihood(value, scores, codes) for value in grid])]
    assert abs(found - best) <= 0.003


def test_smoothed_targets_by_hand():
    targets, weights = smoothed_targets(np.array([0, 1, 0]), 3)
    np.testing.assert_allclose(targets, [[3 / 4, 1 / 8, 1 / 8], [1 / 6, 2 / 3, 1 / 6], [3 / 4, 1 / 8, 1 / 8]])
    np.testing.assert_allclose(weights, [1 / 4, 1 / 2, 1 / 4])  # each class that is there, one half


def test_classes_weigh_alike():
    scores, codes = drawn(0, n_classes=2)
    more = np.concatenate([np.arange(len(codes)), np.repeat(np.flatnonzero(codes == 0), 100)])
    # many copies of one class move its smoothing, not its weight
    assert fit_inverse_temperature(scores[more], codes[more]) < 2 * fit_inverse_temperature(scores, codes)


def test_scores_that_mislead_make_all_classes_alike():
    scores, codes = drawn(1, signal=-1.0)
    assert fit_inverse_temperature(scores, codes) == 0.0
    np.testing.assert_array_equal(class_probabilities(scores, 0.0), np.full(scores.shape, 1 / 3))


@pytest.mark.parametrize("n", [4, 40])
def test_no_error_in_a_small_cohort_is_not_certainty(n):
    codes = np.repeat([0, 1], n)
    scores = np.where(np.eye(2)[codes] == 1, 1e-3, -1e-3)
    p = class_probabilities(scores, fit_inverse_temperature(scores, codes))
    np.testing.assert_allclose(p.max(axis=1), (n + 1) / (n + 2))


def test_constant_scores():
    assert fit_inverse_temperature(np.zeros((6, 2)), np.repeat([0, 1], 3)) == 0.0


def test_relative_scores_are_free_of_the_unit():
    rng = np.random.default_rng(0)
    distances, codes = rng.uniform(1, 2, size=(5, 9)), np.repeat([0, 1, 2], 3)
    found = relative_class_scores(distances, codes)
    np.testing.assert_allclose(found, relative_class_scores(100 * distances, codes))
    np.testing.assert_allclose(found.mean(axis=1), -1)
    plain = class_scores(distances, codes, rule="class_mean", n_neighbors=3)
    np.testing.assert_array_equal(found.argmax(axis=1), plain.argmax(axis=1))


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
