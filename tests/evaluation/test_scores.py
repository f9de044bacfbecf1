from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from scggml.evaluation._scores import cluster_scores, label_scores, margins, spearman, variation_of_information


def test_label_scores_equal_scikit_learn():
    rng = np.random.default_rng(0)
    codes, fits = rng.integers(3, size=40), rng.normal(size=(40, 3))
    predicted = fits.argmax(axis=1)
    scores = label_scores(codes, predicted, fits)
    assert scores["accuracy"] == pytest.approx((codes == predicted).mean())
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(codes, predicted))
    assert scores["macro_f1"] == pytest.approx(f1_score(codes, predicted, average="macro"))
    lead = margins(fits)
    expected = [roc_auc_score(codes == c, lead[:, c]) for c in range(3)]
    assert scores["roc_auc"] == pytest.approx(np.mean(expected))


def test_area_of_two_classes_is_that_of_their_difference():
    rng = np.random.default_rng(1)
    codes, fits = np.arange(30) % 2, rng.normal(size=(30, 2))
    scores = label_scores(codes, fits.argmax(axis=1), fits)
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(codes, fits[:, 1] - fits[:, 0]))


def test_one_class_has_an_accuracy_only():
    assert label_scores(np.array([1]), np.array([1]), np.zeros((1, 3))) == {"accuracy": 1.0}


def test_a_class_never_predicted_has_f1_zero():
    scores = label_scores(np.array([0, 0, 1]), np.array([0, 0, 0]), np.zeros((3, 2)))
    assert scores["macro_f1"] == pytest.approx(0.8 / 2)
    assert scores["balanced_accuracy"] == 0.5


def test_clusters_of_separate_classes():
    codes = np.repeat([0, 1, 2], 4)
    x = codes[:, None] * 10.0 + np.random.default_rng(2).normal(size=(12, 1))
    scores = cluster_scores(codes, cdist(x, x))
    assert scores["ari"] == scores["nmi"] == pytest.approx(1)
    assert scores["mutual_information"] == pytest.approx(np.log(3))
    assert scores["variation_of_information"] == pytest.approx(0, abs=1e-12)
    assert scores["silhouette"] > 0.6


def test_too_few_samples_have_no_clusters():
    assert cluster_scores(np.array([0, 1]), np.zeros((2, 2))) == {}
    assert cluster_scores(np.array([0, 0, 0]), np.zeros((3, 3))) == {}


def test_variation_of_information():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert variation_of_information(a, b) == pytest.approx(2 * np.log(2))  # independent: the sum of the entropies
    assert variation_of_information(a, 1 - a) == 0
    c = np.array([0, 1, 2, 3])
    assert variation_of_information(a, c) <= variation_of_information(a, b) + variation_of_information(b, c)


def test_predictions_of_classes_that_are_not_there():
    found = label_scores(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), None)  # a warning would be an error
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(3)
    for _ in range(5):
        x, y = rng.integers(5, size=12).astype(float), rng.integers(4, size=12).astype(float)  # with ties
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert spearman(x, np.ones(12)) == 0
    assert spearman(np.arange(9.0), np.exp(np.arange(9.0))) == 1
