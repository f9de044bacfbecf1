from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from scggml import GroundMetricLearner
from scggml.core.transport._distances import pairwise_distances
from scggml.evaluation._held import Held
from scggml.evaluation._methods import BY_CELL_TYPE, METHODS, named_methods
from scggml.evaluation._splits import Split

SPLIT = Split(0, 0, np.array([0, 1, 2, 3, 5, 6, 7, 8]), np.array([4, 9]))


def held(samples, what, split=SPLIT, seed=0):
    return named_methods({"m": what}, samples=samples)["m"].held_out(samples, split, seed, 1)


def with_other_held_out_samples(samples, how):
    """The same training samples beside held-out ones that are changed."""
    points = samples.measures.points.copy()
    rows = np.isin(np.repeat(np.arange(len(samples)), samples.measures.sizes), SPLIT.test)
    points[rows] = how(points[rows])
    labels = samples.labels.copy()
    labels[SPLIT.test] = labels[SPLIT.test][::-1]
    return replace(samples, measures=samples.measures.with_points(points), labels=labels)


@pytest.mark.parametrize("name", METHODS)
def test_shapes_of_results(cohort, name):
    if name == "wda":
        pytest.importorskip("autograd", reason="the extra wda is not installed")
    found = held(cohort(n_cells=30, with_types=name in BY_CELL_TYPE), name)
    assert found.to_train.shape == (2, 8)
    assert found.within.shape == (2, 2)
    np.testing.assert_allclose(found.within, found.within.T)
    np.testing.assert_allclose(np.diag(found.within), 0, atol=1e-12)
    assert (found.class_scores is not None) == (name in ("pseudobulk", *BY_CELL_TYPE))


@pytest.mark.parametrize(
    "name", ["ggml", "pca", "lda", "nca", "wda", "canonical_variates", "pseudobulk", "pseudobulk_by_type"]
)
def test_nothing_is_fitted_to_held_out_samples(cohort, name):
    """Other held-out samples with other labels must not change the result of a held-out sample.

    The first held-out sample stays as it is, the second is far away: any scale, mean or metric that sees it moves.
    """
    if name == "wda":
        pytest.importorskip("autograd", reason="the extra wda is not installed")
    samples = cohort(with_types=name in BY_CELL_TYPE)
    changed = with_other_held_out_samples(
        samples, lambda x: np.concatenate([x[: len(x) // 2], 50 + 9 * x[len(x) // 2 :]])
    )
    n_first = samples.measures.sizes[4]
    np.testing.assert_array_equal(samples.measures[4][0][: n_first // 2], changed.measures[4][0][: n_first // 2])
    # sample 4 alone is compared: the halves are cut so that it is the same in both
    same = changed.measures.points.copy()
    rows = slice(samples.measures.offsets[4], samples.measures.offsets[5])
    same[rows] = samples.measures.points[rows]
    changed = replace(changed, measures=changed.measures.with_points(same))
    one, other = held(samples, name), held(changed, name)
    np.testing.assert_array_equal(one.to_train[0], other.to_train[0])
    if one.class_scores is not None:
        np.testing.assert_array_equal(one.class_scores[0], other.class_scores[0])
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


def test_a_frame_of_distances_and_a_function(cohort):
    samples = cohort()
    known = pairwise_distances(samples.measures)[0]
    frame = pd.DataFrame(known, index=samples.names, columns=samples.names)
    order = np.random.default_rng(0).permutation(10)
    for what in (frame, frame.iloc[order, order[::-1]], lambda train, labels, test: _all(train, test)):
        found = held(samples, what)
        np.testing.assert_allclose(found.to_train, known[np.ix_(SPLIT.test, SPLIT.train)])
        np.testing.assert_allclose(found.within, known[np.ix_(SPLIT.test, SPLIT.test)])
        assert found.class_scores is None


def test_a_frame_of_profiles(cohort):
    """A composition, as pandas.crosstab makes it, is compared as pseudobulks are."""
    samples = cohort()
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(
        {"sample": rng.permutation(np.repeat(samples.names, 30)), "type": rng.choice(list("ABC"), 300)}
    )
    frame = pd.crosstab(cells["sample"], cells["type"], normalize="index").sample(frac=1, random_state=0)
    found = held(samples, frame)
    shares = np.array([[np.mean(cells["type"][cells["sample"] == s] == t) for t in "ABC"] for s in samples.names])
    z = (shares - shares[SPLIT.train].mean(axis=0)) / shares[SPLIT.train].std(axis=0)
    np.testing.assert_allclose(found.to_train, np.linalg.norm(z[SPLIT.test][:, None] - z[SPLIT.train][None], axis=2))
    assert found.class_scores.shape == (2, 2)
    changed = frame.copy()
    changed.loc[samples.names[9]] = [40.0, 1.0, -3.0]  # held out as well: nothing is fitted to it
    np.testing.assert_array_equal(held(samples, changed).to_train[0], found.to_train[0])


def test_metrics_are_learned_within_strata(cohort):
    strata = np.array([0, 0, 1, 1, 1] * 2)
    samples = replace(cohort(), strata=strata)
    train, test = samples.take(SPLIT.train), samples.take(SPLIT.test)
    learner = GroundMetricLearner(scale="feature", rng=0).fit(train.measures, train.labels, strata[SPLIT.train])
    expected = learner.pairwise_distances(test.measures, train.measures)
    for what in ("ggml", GroundMetricLearner()):
        np.testing.assert_array_equal(held(samples, what).to_train, expected)
    assert not np.allclose(held(cohort(), "ggml").to_train, expected)
    seen = []

    class Stratified(Cloned):
        def fit(self, X, y, strata=None):
            seen.append(strata)
            return self

        def pairwise_distances(self, X, Y=None):
            return Distances.pairwise_distances(self, X, Y)

    held(samples, Stratified())
    np.testing.assert_array_equal(seen[0], strata[SPLIT.train])


def _all(train, test):
    from scggml.core.measures._measures import Measures

    return pairwise_distances(Measures.from_arrays([*train, *test]))[0]


class Distances:
    """No estimator with scikit-learn's interface: it cannot be cloned."""

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


def test_points_of_a_sketch_are_not_given_to_what_takes_no_weights(cohort):
    samples = cohort()
    weights = samples.measures.weights.copy()
    first = slice(0, samples.measures.sizes[0])
    weights[first] = np.arange(1, samples.measures.sizes[0] + 1)
    weights[first] /= weights[first].sum()
    weighted = replace(
        samples, measures=type(samples.measures)(samples.measures.points, samples.measures.offsets, weights)
    )
    with pytest.raises(ValueError, match=r"weighted points, which methods\['f'\] cannot take"):
        named_methods({"f": lambda train, labels, test: 0}, samples=weighted)
    assert held(weighted, "pca").to_train.shape == (2, 8)


@pytest.mark.parametrize(
    ("methods", "error", "text"),
    [
        (["ggml", "gmml"], ValueError, "methods holds 'gmml', which is not known. Found: ggml, euclidean"),
        ([], ValueError, "methods is empty"),
        (["ggml", "ggml"], ValueError, "more than once"),
        ([GroundMetricLearner()], TypeError, "needs a name"),
        ({"a": GroundMetricLearner}, TypeError, "an instance of an estimator"),
        ({"a": 3}, TypeError, "must be a name, an estimator, a function or a data frame"),
        (["milo"], ValueError, "'milo', which is not known.* as data frames with a name"),
        (["composition"], ValueError, "'composition', which needs the type of each cell.* as cell_type_key"),
        ({"a": "pseudobulk_by_type"}, ValueError, "'pseudobulk_by_type', which needs the type of each cell"),
        (["gloscope"], ValueError, r"needs more than 25 cells of every sample, found fewer in s00 \(12\), s01 \(13\)"),
        (pd.DataFrame(), TypeError, "found a DataFrame. An estimator, a function or a data frame needs a name"),
        ([pd.DataFrame()], TypeError, "needs a name"),
        ({"a": lambda train: 0}, TypeError, r"methods\['a'\] must take \(train, labels, test\)"),
        (3, TypeError, "methods must be a list of names or a mapping"),
        ({"a": Distances()}, TypeError, r"methods\['a'\] must be an estimator with scikit-learn's interface.*clone"),
        ({"a": OneArgument()}, TypeError, r"pairwise_distances\(X, Y\)"),
        ({"a": GroundMetricLearner(ridge=-1)}, ValueError, "ridge must be"),
        ({"a": LinearDiscriminantAnalysis()}, TypeError, "with fit and pairwise_distances"),
    ],
)
def test_bad_methods(cohort, methods, error, text):
    with pytest.raises(error, match=text):
        named_methods(methods, samples=cohort())


def test_cosine_needs_some_signal(cohort):
    samples = cohort()
    points = samples.measures.points.copy()
    points[3] = 0
    silent = replace(samples, measures=samples.measures.with_points(points))
    with pytest.raises(ValueError, match="cells without any signal"):
        named_methods(["cosine"], samples=silent)


def test_what_a_function_returns_is_checked(cohort):
    with pytest.raises(ValueError, match=r"the result of methods\['m'\] must be symmetric"):
        held(cohort(), lambda train, labels, test: np.triu(np.ones((10, 10)), 1))
