from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from scggml import GroundMetricLearner
from scggml.core.transport._distances import pairwise_distances
from scggml.evaluation._methods import METHODS, Held, check_distances, named_methods
from scggml.evaluation._splits import Split

SPLIT = Split(0, 0, np.array([0, 1, 2, 3, 5, 6, 7, 8]), np.array([4, 9]))


def held(samples, what, split=SPLIT, stored=None, seed=0):
    known = named_methods({"m": what}, samples=samples, stored=stored or {}, has_cell_types=True)
    return known["m"].held_out(samples, split, seed, 1)


def with_other_held_out_samples(samples, how):
    """The same training samples beside held-out ones that are changed."""
    points = samples.measures.points.copy()
    rows = np.isin(np.repeat(np.arange(len(samples)), samples.measures.sizes), SPLIT.test)
    points[rows] = how(points[rows])
    labels = samples.labels.copy()
    labels[SPLIT.test] = labels[SPLIT.test][::-1]
    composition = samples.composition.copy()
    composition[SPLIT.test] = composition[SPLIT.test][::-1]
    return type(samples)(samples.measures.with_points(points), samples.names, labels, samples.scale, composition)


@pytest.mark.parametrize("name", METHODS)
def test_shapes_of_what_methods_say(cohort, name):
    found = held(cohort(), name)
    assert found.to_train.shape == (2, 8)
    assert found.within.shape == (2, 2)
    np.testing.assert_allclose(found.within, found.within.T)
    np.testing.assert_allclose(np.diag(found.within), 0, atol=1e-12)
    assert (found.class_scores is not None) == (name in ("pseudobulk", "composition"))


@pytest.mark.parametrize("name", ["ggml", "pca", "lda", "nca", "pseudobulk", "composition"])
def test_nothing_is_fitted_to_held_out_samples(cohort, name):
    """Other held-out samples with other labels must not change what a held-out sample is told.

    The first held-out sample stays as it is, the second is far away: any scale, mean or metric that sees it moves.
    """
    samples = cohort()
    changed = with_other_held_out_samples(
        samples, lambda x: np.concatenate([x[: len(x) // 2], 50 + 9 * x[len(x) // 2 :]])
    )
    n_first = samples.measures.sizes[4]
    np.testing.assert_array_equal(samples.measures[4][0][: n_first // 2], changed.measures[4][0][: n_first // 2])
    # sample 4 alone is compared: the halves are cut so that it is the same in both
    same = changed.measures.points.copy()
    rows = slice(samples.measures.offsets[4], samples.measures.offsets[5])
    same[rows] = samples.measures.points[rows]
    changed = type(samples)(
        changed.measures.with_points(same), changed.names, changed.labels, changed.scale, samples.composition
    )
    one, other = held(samples, name), held(changed, name)
    np.testing.assert_array_equal(one.to_train[0], other.to_train[0])
    if one.class_scores is not None:
        np.testing.assert_array_equal(one.class_scores[0], other.class_scores[0])
    if name != "composition":
        assert not np.allclose(one.to_train[1], other.to_train[1])


def test_a_leak_would_be_seen(cohort):
    """The same comparison catches a method that scales over all samples."""

    class Leaky:
        def held_out(self, samples, split, seed, n_jobs):
            points = samples.measures.points
            scaled = samples.measures.with_points((points - points.mean(axis=0)) / points.std(axis=0))
            distances = pairwise_distances(scaled)[0]
            return Held(distances[np.ix_(split.test, split.train)])

    samples = cohort()
    points = samples.measures.points.copy()
    points[samples.measures.offsets[9] :] *= 50
    changed = type(samples)(samples.measures.with_points(points), samples.names, samples.labels)
    one, other = (Leaky().held_out(s, SPLIT, 0, 1).to_train[0] for s in (samples, changed))
    assert not np.allclose(one, other)


@pytest.mark.parametrize("cost", ["euclidean", "cityblock", "cosine"])
def test_fixed_costs_are_those_of_core(cohort, cost):
    samples = cohort()
    expected = pairwise_distances(samples.measures, cost=cost)[0]
    found = held(samples, cost)
    np.testing.assert_array_equal(found.to_train, expected[np.ix_(SPLIT.test, SPLIT.train)])
    np.testing.assert_array_equal(found.within, expected[np.ix_(SPLIT.test, SPLIT.test)])


def test_ggml_is_the_default_learner_with_the_scale_of_the_samples(cohort):
    samples = cohort()
    for scale in ("feature", "global"):
        given = type(samples)(samples.measures, samples.names, samples.labels, scale)
        train, test = given.take(SPLIT.train), given.take(SPLIT.test)
        learner = GroundMetricLearner(scale=scale, rng=0).fit(train.measures, train.labels)
        np.testing.assert_array_equal(
            held(given, "ggml").to_train, learner.pairwise_distances(test.measures, train.measures)
        )
    asked = held(samples, GroundMetricLearner(scale="global", ridge=3.0))
    assert not np.allclose(asked.to_train, held(samples, "ggml").to_train)


def test_lda_is_learned_on_training_cells(cohort):
    samples = cohort(n_classes=3, n_per_class=4)
    split = Split(0, 0, np.array([0, 1, 2, 4, 5, 6, 8, 9, 10]), np.array([3, 7, 11]))
    train, test = samples.take(split.train), samples.take(split.test)
    sd = train.measures.points.std(axis=0)
    lda = LinearDiscriminantAnalysis().fit(train.measures.points / sd, np.repeat(train.labels, train.measures.sizes))
    parts = [m.with_points(lda.transform(m.points / sd)) for m in (test.measures, train.measures)]
    np.testing.assert_allclose(held(samples, "lda", split).to_train, pairwise_distances(*parts)[0], rtol=1e-6)


def test_pseudobulk_is_standardised_by_training_samples(cohort):
    samples = cohort()
    means = np.stack([x.mean(axis=0) for x in samples.measures.split()])
    train, test = means[SPLIT.train], means[SPLIT.test]
    z = (test - train.mean(axis=0)) / train.std(axis=0), (train - train.mean(axis=0)) / train.std(axis=0)
    expected = np.linalg.norm(z[0][:, None] - z[1][None], axis=2)
    np.testing.assert_allclose(held(samples, "pseudobulk").to_train, expected)
    assert held(samples, "pseudobulk").class_scores.shape == (2, 2)


def test_stored_distances_and_functions(cohort):
    samples = cohort()
    stored = pairwise_distances(samples.measures)[0]
    for what, given in (("mine", {"mine": stored}), (lambda train, labels, test: _all(train, test), None)):
        found = held(samples, what, stored=given)
        np.testing.assert_allclose(found.to_train, stored[np.ix_(SPLIT.test, SPLIT.train)])
        np.testing.assert_allclose(found.within, stored[np.ix_(SPLIT.test, SPLIT.test)])


def _all(train, test):
    from scggml.core.measures._measures import Measures

    return pairwise_distances(Measures.from_arrays([*train, *test]))[0]


class Distances:
    """No estimator of scikit-learn's kind: it cannot be cloned."""

    def fit(self, X, y):
        return self

    def pairwise_distances(self, X, Y=None):
        return _all(X, Y or [])[: len(X), len(X) :] if Y is not None else _all(X, [])


class Cloned(Distances, BaseEstimator):
    factor = 1.0

    def pairwise_distances(self, X, Y=None):
        found = super().pairwise_distances(X, Y)
        return found.T if Y is not None else found


class OneArgument(BaseEstimator):
    def fit(self, X, y):
        return self

    def pairwise_distances(self, X):
        return _all(X, [])


def test_estimators_that_turn_their_matrix_are_told(cohort):
    with pytest.raises(ValueError, match=r"of 2 held-out samples \(rows\) to 8 training samples, found shape \(8, 2\)"):
        held(cohort(), Cloned())


def test_names_that_are_keys_too(cohort):
    samples = cohort()
    stored = {"euclidean": np.zeros((10, 10)), "learned": None}
    for name, text in (("euclidean", "both a method and a key"), ("learned", "learned with the labels of all samples")):
        with pytest.raises(ValueError, match=text):
            named_methods([name], samples=samples, stored=stored, has_cell_types=True)


def test_graphs_of_neighbours_are_no_distances():
    graph = sp.csr_array(np.array([[0, 1.0, 0], [1, 0, 2], [0, 2, 0]]))
    with pytest.raises(ValueError, match="sparse and lacks 2 distances"):
        check_distances("d", graph, 3)


def test_points_of_a_sketch_are_not_given_to_what_takes_no_weights(cohort):
    samples = cohort()
    weights = samples.measures.weights.copy()
    first = slice(0, samples.measures.sizes[0])
    weights[first] = np.arange(1, samples.measures.sizes[0] + 1)
    weights[first] /= weights[first].sum()
    weighted = type(samples)(
        type(samples.measures)(samples.measures.points, samples.measures.offsets, weights),
        samples.names,
        samples.labels,
    )
    with pytest.raises(ValueError, match=r"weighted points, which methods\['f'\] would not see"):
        named_methods({"f": lambda train, labels, test: 0}, samples=weighted, stored={}, has_cell_types=True)
    assert held(weighted, "pca").to_train.shape == (2, 8)


@pytest.mark.parametrize(
    ("methods", "error", "text"),
    [
        (["ggml", "gmml"], ValueError, "methods holds 'gmml', which is not known. Found: ggml, euclidean"),
        ([], ValueError, "methods is empty"),
        (["ggml", "ggml"], ValueError, "more than once"),
        ([GroundMetricLearner()], TypeError, "needs a name"),
        ({"a": GroundMetricLearner}, TypeError, "an estimator, made"),
        ({"a": 3}, TypeError, "must be a name, an estimator or a function"),
        ({"a": lambda train: 0}, TypeError, r"methods\['a'\] must take \(train, labels, test\)"),
        (3, TypeError, "methods must be a list of names or a mapping"),
        ({"a": Distances()}, TypeError, r"methods\['a'\] must be an estimator of scikit-learn's kind.*clone"),
        ({"a": OneArgument()}, TypeError, r"pairwise_distances\(X, Y\)"),
        ({"a": GroundMetricLearner(ridge=-1)}, ValueError, "ridge must be"),
        ({"a": LinearDiscriminantAnalysis()}, TypeError, "with fit and pairwise_distances"),
    ],
)
def test_bad_methods(cohort, methods, error, text):
    with pytest.raises(error, match=text):
        named_methods(methods, samples=cohort(), stored={}, has_cell_types=True)


def test_composition_needs_cell_types_and_cosine_some_signal(cohort):
    samples = cohort()
    with pytest.raises(ValueError, match="pass cell_type_key"):
        named_methods(["composition"], samples=samples, stored={}, has_cell_types=False)
    points = samples.measures.points.copy()
    points[3] = 0
    silent = type(samples)(samples.measures.with_points(points), samples.names, samples.labels)
    with pytest.raises(ValueError, match="cells without any signal"):
        named_methods(["cosine"], samples=silent, stored={}, has_cell_types=False)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda d: d[:3], ValueError, r"between 4 samples, found shape \(3, 4\)"),
        (lambda d: d - 1, ValueError, "must not be negative, found -1"),
        (lambda d: d + np.triu(np.ones((4, 4)), 1), ValueError, "must be symmetric, found .* for samples 0 and 1"),
        (lambda d: d + np.eye(4), ValueError, "zero on its diagonal, found 1"),
        (lambda d: np.where(d > 1, np.nan, d), ValueError, "NaN or infinite"),
        (lambda d: d.astype(str), TypeError, "must hold numbers"),
    ],
)
def test_bad_distances(change, error, text):
    x = np.array([0.0, 1.0, 3.0, 7.0])
    distances = np.abs(x[:, None] - x)
    np.testing.assert_array_equal(check_distances("d", distances, 4), distances)
    with pytest.raises(error, match=text):
        check_distances("d", change(distances), 4)


def test_what_a_function_returns_is_checked(cohort):
    with pytest.raises(ValueError, match=r"what methods\['m'\] returned must be symmetric"):
        held(cohort(), lambda train, labels, test: np.triu(np.ones((10, 10)), 1))
