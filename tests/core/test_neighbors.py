from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from scggml.core._neighbors import class_neighbors, class_scores, neighbor_means, neighbor_shares


def brute_class_mean(row, codes, n_neighbors):
    scores = []
    largest = max(Counter(codes.tolist()).values())
    for c in range(codes.max() + 1):
        near = sorted(row[codes == c])
        k = min(max((n_neighbors + 1) * (len(near) + 1) / (largest + 1) - 1, 1), len(near))
        whole, part = int(k // 1), k % 1
        mean = np.mean(near[:whole])
        scores.append(-mean if part == 0 else -(1 - part) * mean - part * np.mean(near[: whole + 1]))
    return scores


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


@pytest.mark.parametrize(("sizes", "left_out"), [((8, 8), 1), ((24, 8), 0), ((12, 10, 8), 1)])
def test_class_mean_is_no_better_and_no_worse_than_chance_where_classes_do_not_differ(sizes, left_out):
    """Also when each sample is left out of its own class, which is then smaller than it was."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    right = []
    for _ in range(150):
        x = rng.normal(size=(len(codes), 3))
        distances = np.linalg.norm(x[:, None] - x, axis=2)
        for i in range(len(codes)):
            others = np.delete(np.arange(len(codes)), i) if left_out else np.arange(len(codes))
            row = distances[i] if left_out else np.linalg.norm(rng.normal(size=3) - x, axis=1)
            scores = class_scores(row[None, others], codes[others], rule="class_mean", n_neighbors=3)
            right.append((codes[i], scores.argmax() == codes[i]))
    right = np.array(right)
    recall = [right[right[:, 0] == c, 1].mean() for c in range(len(sizes))]
    assert np.mean(recall) == pytest.approx(1 / len(sizes), abs=0.04)
    assert max(recall) < 1 / len(sizes) + 0.12


def test_class_neighbors_lie_at_one_quantile():
    counts = np.array([40, 19, 13])
    k = class_neighbors(counts, 5)
    np.testing.assert_allclose((k + 1) / (counts + 1), 6 / 41)
    assert class_neighbors(np.array([40, 3]), 3).tolist() == [3, 1]
    assert class_neighbors(np.array([2, 1]), 9).tolist() == [2, 1]


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


@pytest.mark.parametrize("n_neighbors", [1, 3, 8])
def test_shares_and_means_are_those_of_scikit_learn(n_neighbors):
    rng = np.random.default_rng(0)
    distances, codes, values = rng.random((9, 8)), np.array([0, 1, 2, 0, 0, 1, 2, 0]), rng.normal(size=8)
    settings = {"n_neighbors": n_neighbors, "metric": "precomputed", "algorithm": "brute"}
    square = np.zeros((8, 8))
    shares = KNeighborsClassifier(**settings).fit(square, codes).predict_proba(distances)
    means = KNeighborsRegressor(**settings).fit(square, values).predict(distances)
    np.testing.assert_allclose(neighbor_shares(distances, codes, n_neighbors=n_neighbors), shares)
    np.testing.assert_allclose(neighbor_means(distances, values, n_neighbors=n_neighbors), means)
