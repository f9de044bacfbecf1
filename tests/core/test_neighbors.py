from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from scggml.core import class_scores


def brute_class_mean(row, codes, n_neighbors):
    return [-np.mean(sorted(row[codes == c])[:n_neighbors]) for c in range(codes.max() + 1)]


def brute_knn(row, codes, n_neighbors):
    nearest = sorted(range(len(row)), key=lambda i: row[i])[:n_neighbors]
    votes = Counter(int(codes[i]) for i in nearest)
    most = max(votes.values())
    return next(int(codes[i]) for i in nearest if votes[int(codes[i])] == most)


@pytest.mark.parametrize("n_neighbors", [1, 2, 3, 5, 50])
def test_rules_equal_brute_force(n_neighbors):
    rng = np.random.default_rng(n_neighbors)
    codes = np.array([0, 1, 2, 0, 0, 1, 0, 2, 0, 0])
    distances = rng.random((60, len(codes)))
    means = class_scores(distances, codes, rule="class_mean", n_neighbors=n_neighbors)
    votes = class_scores(distances, codes, rule="knn", n_neighbors=n_neighbors)
    assert means.shape == votes.shape == (60, 3)
    for row, mean, vote in zip(distances, means, votes, strict=True):
        np.testing.assert_allclose(mean, brute_class_mean(row, codes, n_neighbors), rtol=1e-12)
        assert vote.argmax() == brute_knn(row, codes, n_neighbors)


def test_class_mean_does_not_favour_large_classes():
    codes = np.array([0] * 20 + [1, 1])
    distances = np.array([[2.0] * 20 + [1.0, 1.5]])
    assert class_scores(distances, codes, rule="class_mean", n_neighbors=3).argmax() == 1
    assert class_scores(distances, codes, rule="knn", n_neighbors=5).argmax() == 0


def test_equal_votes_go_to_the_class_of_the_nearest():
    codes = np.array([0, 0, 1, 1, 2])
    distances = np.array([[2.0, 3.0, 1.0, 4.0, 9.0], [1.0, 4.0, 2.0, 3.0, 9.0], [3.0, 4.0, 2.0, 5.0, 1.0]])
    assert class_scores(distances, codes, rule="knn", n_neighbors=4).argmax(axis=1).tolist() == [1, 0, 0]


def test_nearness_never_turns_a_majority():
    codes = np.array([0, 1, 1, 2, 3, 4])
    distances = np.array([[0.1, 5.0, 5.1, 4.0, 4.1, 4.2]])
    scores = class_scores(distances, codes, rule="knn", n_neighbors=6)
    assert scores.argmax() == 1
    np.testing.assert_allclose(scores[0], np.array([1, 2, 1, 1, 1]) / 6, atol=0.5 / 6)
