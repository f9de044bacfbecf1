from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
import ot
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, softmax
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold, cross_val_score

from scggml import GroundMetricLearner, OTNeighborsClassifier, Refinement, Sinkhorn


def make_samples(labels, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    names = sorted(set(labels))
    X = []
    for label in labels:
        x = rng.normal(size=(rng.integers(4, 8), 3)) + rng.normal(scale=0.5, size=3)
        x[:, 0] += shift * names.index(label)
        X.append(x)
    return X


THREE = ["a"] * 7 + ["b"] * 2 + ["c"] * 4
TWO = ["b", "a"] * 5
X3, NEW3 = make_samples(THREE), make_samples(THREE * 2, seed=1)
X2, NEW2 = make_samples(TWO), make_samples(TWO, seed=1)


def emd2_matrix(xs, ys):
    return np.array(
        [[ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cdist(x, y)) for y in ys] for x in xs]
    )


def near_mean(row, labels, name, k):
    """Mean distance to the nearest of a class: k of the largest class, the same fraction of others, at least one."""
    counts = Counter(labels)
    near = np.sort(np.array(row)[np.array(labels) == name])
    n = min(max((k + 1) * (len(near) + 1) / (max(counts.values()) + 1) - 1, 1), len(near))
    below, part = int(n), n - int(n)
    return (1 - part) * near[:below].mean() + (part and part * near[: below + 1].mean())


def brute_class_mean(row, labels, k):
    return min(sorted(set(labels)), key=lambda name: near_mean(row, labels, name, k))


def brute_knn(row, labels, k):
    nearest = [labels[i] for i in sorted(range(len(row)), key=lambda i: row[i])[:k]]
    votes = Counter(nearest)
    return next(label for label in nearest if votes[label] == max(votes.values()))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("k", [1, 3, 4, 50])
@pytest.mark.parametrize(("rule", "brute"), [("class_mean", brute_class_mean), ("knn", brute_knn)])
def test_predictions_equal_brute_force(rule, brute, k, learned):
    learner = GroundMetricLearner(refine=Refinement(max_iter=2)) if learned else "euclidean"
    classifier = OTNeighborsClassifier(learner, rule=rule, n_neighbors=k).fit(X3, THREE)
    w = classifier.learner_.components_ if learned else np.eye(3)
    distances = emd2_matrix([x @ w.T for x in NEW3], [x @ w.T for x in X3])
    expected = [brute(row, THREE, k) for row in distances]
    assert len(set(expected)) > 1 or k == 50
    np.testing.assert_array_equal(classifier.predict(NEW3), expected)


def test_default_is_the_mean_of_the_three_nearest_under_a_learned_metric():
    classifier = OTNeighborsClassifier().fit(X3, THREE)
    np.testing.assert_array_equal(classifier.learner_.components_, GroundMetricLearner().fit(X3, THREE).components_)
    distances = classifier.learner_.pairwise_distances(NEW3, X3)
    np.testing.assert_array_equal(classifier.predict(NEW3), [brute_class_mean(row, THREE, 3) for row in distances])


def test_decision_function_of_three_classes_is_minus_the_mean_distance():
    classifier = OTNeighborsClassifier("euclidean").fit(X3, THREE)
    scores = classifier.decision_function(NEW3)
    assert scores.shape == (len(NEW3), 3)
    distances = emd2_matrix(NEW3, X3)
    for c, name in enumerate("abc"):
        expected = [-near_mean(row, THREE, name, 3) for row in distances]
        np.testing.assert_allclose(scores[:, c], expected, rtol=1e-10)
    np.testing.assert_array_equal(classifier.classes_[scores.argmax(axis=1)], classifier.predict(NEW3))


@pytest.mark.parametrize("rule", ["class_mean", "knn"])
def test_decision_function_of_two_classes_is_positive_for_the_second(rule):
    classifier = OTNeighborsClassifier("euclidean", rule=rule).fit(X2, TWO)
    scores = classifier.decision_function(NEW2)
    assert scores.shape == (len(NEW2),)
    assert 0 < (scores > 0).sum() < len(NEW2)
    np.testing.assert_array_equal(classifier.predict(NEW2), np.where(scores > 0, "b", "a"))


def test_equal_votes_go_to_the_nearest():
    points = [np.array([[x], [x]]) for x in (0.0, 1.0, 10.0, 11.0)]
    classifier = OTNeighborsClassifier("euclidean", rule="knn", n_neighbors=4).fit(points, ["a", "a", "b", "b"])
    np.testing.assert_array_equal(classifier.predict([np.full((2, 1), 2.0), np.full((2, 1), 9.5)]), ["a", "b"])


@pytest.mark.parametrize("labels", [TWO, [4, -2] * 5, [True, False] * 5, np.array(TWO, dtype=object)])
def test_types_of_labels(labels):
    classifier = OTNeighborsClassifier(n_neighbors=1).fit(X2, labels)
    np.testing.assert_array_equal(classifier.classes_, np.unique(labels))
    predicted = classifier.predict(X2)
    np.testing.assert_array_equal(predicted, labels)
    assert predicted.dtype == np.asarray(labels).dtype
    assert classifier.score(X2, labels) == 1


@pytest.mark.parametrize("learner", [None, "euclidean"])
def test_sparse_samples(learner):
    kinds = [np.asarray, sp.csr_array]
    scores = [
        OTNeighborsClassifier(learner).fit([kind(x) for x in X2], TWO).decision_function([kind(x) for x in NEW2])
        for kind in kinds
    ]
    np.testing.assert_allclose(*scores, rtol=1e-8, atol=1e-10)


def test_given_learner_is_cloned_and_left_unfitted():
    learner = GroundMetricLearner(power=3.0, n_comps=1)
    classifier = OTNeighborsClassifier(learner).fit(X2, TWO)
    assert classifier.learner_ is not learner
    assert not hasattr(learner, "metric_")
    assert classifier.learner_.components_.shape == (1, 3)
    assert classifier.learner_.power == 3
    assert OTNeighborsClassifier("euclidean").fit(X2, TWO).learner_ is None


def test_jobs_do_not_change_a_bit():
    one, two = (OTNeighborsClassifier(n_jobs=n).fit(X2, TWO).decision_function(NEW2) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_scikit_learn_interface():
    classifier = OTNeighborsClassifier(GroundMetricLearner(), rule="knn", n_neighbors=2, n_jobs=1)
    assert is_classifier(classifier)
    copy = clone(classifier)
    assert copy.get_params()["learner__power"] == "auto"
    assert {k: v for k, v in copy.get_params().items() if k != "learner"} == {
        k: v for k, v in classifier.get_params().items() if k != "learner"
    }


@pytest.mark.parametrize("scoring", ["balanced_accuracy", "roc_auc"])
def test_cross_validation_by_patient(scoring):
    X = make_samples(TWO * 2, shift=5.0)
    scores = cross_val_score(
        OTNeighborsClassifier(n_jobs=1), X, np.array(TWO * 2), groups=np.arange(20) // 2,
        cv=StratifiedGroupKFold(3), scoring=scoring, error_score="raise",
    )  # fmt: skip
    np.testing.assert_array_equal(scores, 1.0)


def test_grid_search_reaches_the_learner():
    X = make_samples(TWO, shift=5.0)
    grid = {"learner__whitening": [0.0, 1.0], "rule": ["class_mean", "knn"]}
    search = GridSearchCV(OTNeighborsClassifier(GroundMetricLearner(), n_jobs=1), grid, cv=2, error_score="raise").fit(
        X, TWO
    )
    assert search.best_score_ == 1
    assert search.best_estimator_.learner_.whitening == search.best_params_["learner__whitening"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"rule": "majority"}, ValueError, "rule must be one of class_mean, knn, found 'majority'"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be at least 1, found 0"),
        ({"n_neighbors": 1.0}, TypeError, "n_neighbors must be an integer, found 1.0"),
        ({"learner": "manhattan"}, TypeError, "learner must be .*found 'manhattan'"),
        ({"learner": GroundMetricLearner}, TypeError, "learner must be a GroundMetricLearner, 'euclidean' or None"),
        ({"learner": GroundMetricLearner(n_comps=9)}, ValueError, "n_comps must be at most 3"),
        ({"n_jobs": 0}, ValueError, "n_jobs must not be 0"),
    ],
)
def test_bad_parameters_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        OTNeighborsClassifier(**options).fit(X2, TWO)


@pytest.mark.parametrize("learner", [None, "euclidean"])
@pytest.mark.parametrize(
    ("samples", "labels", "text"),
    [
        (X2, ["a"] * 10, "only the class .*a"),
        (X2, [*TWO[:-1], "rare"], "found one in rare"),
        (X2, TWO[:-1], "each of the 10 samples"),
        (X2, None, "y must hold one value per sample"),
        ([X2[0][:, :2], *X2[1:]], TWO, "same number of features"),
        ([X2[0] * np.nan, *X2[1:]], TWO, r"X\[0\] has .* values that are NaN or infinite"),
        ([X2[0][:0], *X2[1:]], TWO, "at least .* cells, found 0 in the sample at position 0"),
    ],
)
def test_bad_samples_and_labels_are_refused(learner, samples, labels, text):
    with pytest.raises(ValueError, match=text):
        OTNeighborsClassifier(learner).fit(samples, labels)


def test_learning_needs_two_cells_per_sample():
    with pytest.raises(ValueError, match="at least 2 cells, found 1 in the sample at position 0"):
        OTNeighborsClassifier().fit([X2[0][:1], *X2[1:]], TWO)


def test_unfitted():
    for method in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(NotFittedError, match="OTNeighborsClassifier instance is not fitted yet"):
            getattr(OTNeighborsClassifier(), method)(X2)


def test_new_samples_of_another_width_are_refused():
    for learner in (None, "euclidean"):
        classifier = OTNeighborsClassifier(learner).fit(X2, TWO)
        with pytest.raises(ValueError, match=r"X has 2 features, but .* 3"):
            classifier.predict([x[:, :2] for x in NEW2])


MIXED = [*"cab" * 4, "a", "a"]
X4, NEW4 = make_samples(MIXED, seed=3), make_samples(MIXED, seed=4)
ENTROPIC = GroundMetricLearner(solver=Sinkhorn(0.3, device="cpu"), power=2.0)


def test_the_solver_of_the_learner_computes_the_distances():
    classifier = OTNeighborsClassifier(ENTROPIC).fit(X3, THREE)
    distances = classifier.learner_.pairwise_distances(NEW3, X3)
    expected = [[-near_mean(row, THREE, name, 3) for name in "abc"] for row in distances]
    np.testing.assert_allclose(classifier.decision_function(NEW3), expected, rtol=1e-5)
    w = classifier.learner_.components_
    exact = emd2_matrix([x @ w.T for x in NEW3], [x @ w.T for x in X3])
    assert np.abs(distances - exact).max() > 0.01 * exact.max()


@pytest.mark.parametrize("rule", ["class_mean", "knn"])
@pytest.mark.parametrize("learner", [None, "euclidean", ENTROPIC])
def test_probabilities_sum_to_one_in_the_order_of_the_classes(learner, rule):
    classifier = OTNeighborsClassifier(learner, rule=rule).fit(X4, MIXED)
    p = classifier.predict_proba(NEW4)
    assert p.shape == (len(NEW4), 3)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    predicted = classifier.predict(NEW4)
    assert len(set(predicted)) == 3
    columns = np.searchsorted(classifier.classes_, predicted)
    np.testing.assert_allclose(p[np.arange(len(p)), columns], p.max(axis=1))
    if rule == "class_mean":
        assert classifier.inverse_temperature_ > 0
        np.testing.assert_array_equal(classifier.classes_[p.argmax(axis=1)], predicted)


@pytest.mark.parametrize("k", [1, 4, 50])
def test_probabilities_of_knn_are_shares_of_the_nearest_samples(k):
    classifier = OTNeighborsClassifier("euclidean", rule="knn", n_neighbors=k).fit(X3, THREE)
    expected = []
    for row in emd2_matrix(NEW3, X3):
        nearest = [THREE[i] for i in np.argsort(row)[:k]]
        expected.append([nearest.count(name) / len(nearest) for name in "abc"])
    np.testing.assert_allclose(classifier.predict_proba(NEW3), expected)
    assert not hasattr(classifier, "inverse_temperature_")


def distances_under(learner, new, known):
    """Independent of the classifier; entropic distances are those of the learner itself."""
    if learner == "euclidean":
        return emd2_matrix(new, known)
    if isinstance(learner.solver, Sinkhorn):
        return learner.pairwise_distances(new, known)
    return emd2_matrix([x @ learner.components_.T for x in new], [x @ learner.components_.T for x in known])


def relative_scores(distances, labels):
    scores = np.array([[-near_mean(row, labels, name, 3) for name in "abc"] for row in distances])
    return scores / -scores.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("learner", [GroundMetricLearner(), "euclidean", ENTROPIC])
def test_probabilities_are_calibrated_on_samples_that_the_metric_has_not_seen(learner):
    labels, codes = np.array(MIXED), np.unique(MIXED, return_inverse=True)[1]
    scores = np.empty((len(MIXED), 3))
    for train, test in StratifiedKFold(4).split(labels, labels):  # as many as the smallest class has samples
        known, new = ([X4[i] for i in rows] for rows in (train, test))
        metric = learner if learner == "euclidean" else clone(learner).fit(known, labels[train])
        scores[test] = relative_scores(distances_under(metric, new, known), list(labels[train]))
    counts = np.bincount(codes)[codes]
    smooth = np.full_like(scores, 1) / (2 * (counts + 2))[:, None]
    smooth[np.arange(len(codes)), codes] = (counts + 1) / (counts + 2)

    def loss(beta):
        return -((smooth * log_softmax(beta * scores, axis=1)).sum(axis=1) / counts).sum()

    best = minimize_scalar(loss, bounds=(0, 200), method="bounded", options={"xatol": 1e-8}).x
    classifier = OTNeighborsClassifier(learner).fit(X4, MIXED)
    found = classifier.predict_proba(NEW4)
    assert 0.1 < best < 199
    np.testing.assert_allclose(classifier.inverse_temperature_, best, rtol=1e-3)
    whole = learner if learner == "euclidean" else clone(learner).fit(X4, MIXED)
    expected = softmax(best * relative_scores(distances_under(whole, NEW4, X4), MIXED), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


class Spy(GroundMetricLearner):
    """Keeps the first cell of each sample that it was fitted to."""

    seen: ClassVar[list] = []

    def fit(self, X, y, strata=None):
        self.seen.append({tuple(X.split()[i][0]) for i in range(len(X))})
        return super().fit(X, y, strata)


def test_each_sample_is_held_out_once_by_refitting():
    Spy.seen.clear()
    everyone = {tuple(x[0]) for x in X2}
    classifier = OTNeighborsClassifier(Spy(n_jobs=1)).fit(X2, TWO)
    assert Spy.seen == [everyone]
    first = classifier.predict_proba(NEW2)
    held_out = [everyone - seen for seen in Spy.seen[1:]]
    assert [len(left) for left in held_out] == [2] * 5
    assert set.union(*held_out) == everyone
    np.testing.assert_array_equal(classifier.predict_proba(NEW2), first)
    assert len(Spy.seen) == 6  # calibrated once
    classifier.fit(X2, TWO)
    assert not hasattr(classifier, "inverse_temperature_")


def test_distances_that_mislead_give_equal_probabilities():
    # of each two held-out samples, one lies on a sample of the other class, far from its own
    points = [np.full((2, 1), x) for x in (0.0, 10.0, 20.0, 10.0, 20.0, 0.0)]
    classifier = OTNeighborsClassifier("euclidean", n_neighbors=1).fit(points, list("aaabbb"))
    np.testing.assert_array_equal(classifier.predict_proba([np.full((2, 1), 1.0)]), [[0.5, 0.5]])
    assert classifier.inverse_temperature_ == 0


@pytest.mark.parametrize("learner", [None, "euclidean"])
def test_calibration_needs_three_samples_of_each_class(learner):
    classifier = OTNeighborsClassifier(learner).fit(X3, THREE)
    with pytest.raises(
        ValueError, match=r"at least 3 training samples of each class .*found fewer in b\. .*rule='knn'"
    ):
        classifier.predict_proba(NEW3)
    labels = ["b" if i == 0 else label for i, label in enumerate(THREE)]
    p = OTNeighborsClassifier(learner).fit(X3, labels).predict_proba(NEW3)
    np.testing.assert_allclose(p.sum(axis=1), 1)


@pytest.mark.parametrize("learner", [None, "euclidean"])
def test_numbers_that_are_no_classes_are_refused(learner):
    with pytest.raises(ValueError, match=r"y must hold classes, found numbers with fractions, such as .*0\.5"):
        OTNeighborsClassifier(learner).fit(X2, np.array([0.5, 1.5] * 5))
    assert list(OTNeighborsClassifier(learner).fit(X2, np.array([0.0, 1.0] * 5)).classes_) == [0, 1]


def test_learners_of_continuous_labels_are_refused():
    learner = GroundMetricLearner(label_kind="continuous")
    with pytest.raises(ValueError, match="learner must have label_kind='class' or 'ordinal'"):
        OTNeighborsClassifier(learner).fit(X2, np.arange(10))


def test_score_is_the_accuracy_of_labels_of_the_same_kind():
    X = [np.random.default_rng(i).normal(size=(6, 2)) + 3 * (i % 2) for i in range(8)]
    classifier = OTNeighborsClassifier().fit(X, ["a", "b"] * 4)
    assert classifier.score(X, ["a", "b", "a", "b", "a", "b", "b", "a"]) == 0.75
    with pytest.raises(TypeError, match="y must hold text like the labels of the training samples, found numbers"):
        classifier.score(X, [0, 1] * 4)
    with pytest.raises(ValueError, match=r"y must hold one value for each of the 8 samples, found shape \(1,\)"):
        classifier.score(X, ["a"])


def test_score_weighs_samples():
    X = [np.random.default_rng(i).normal(size=(6, 2)) + 3 * (i % 2) for i in range(8)]
    y, weights = np.arange(8) % 2, np.array([1.0, 1, 1, 1, 1, 1, 1, 3])
    classifier = OTNeighborsClassifier().fit(X, y)
    wrong = np.where(np.arange(8) == 7, 1 - y, y)
    assert classifier.score(X, wrong, weights) == pytest.approx(0.7)
    assert classifier.score(X, wrong, sample_weight=list(weights)) == pytest.approx(0.7)
    for bad in (weights[:3], -weights, weights * np.nan, 0 * weights, ["a"] * 8, [[1], [1, 2]], 1.0):
        with pytest.raises(ValueError, match="sample_weight must hold one finite number for each of the 8 samples"):
            classifier.score(X, y, bad)


def test_samples_in_a_series_with_other_labels():
    X = pd.Series([np.random.default_rng(i).normal(size=(6, 2)) + 3 * (i % 2) for i in range(10)])
    y = np.arange(10) % 2
    assert OTNeighborsClassifier().fit(X[2:], y[2:]).score(X[1:], y[1:]) == 1
