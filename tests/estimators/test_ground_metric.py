from __future__ import annotations

import numpy as np
import ot
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score

from scggml import GroundMetricLearner, Refinement


def make_samples(n=12, d=3, seed=0, shift=3.0):
    rng = np.random.default_rng(seed)
    y = np.array(["sick", "well"])[np.arange(n) % 2]
    X = [rng.normal(size=(rng.integers(4, 9), d)) + rng.normal(scale=0.3, size=d) for _ in y]
    for points, label in zip(X, y, strict=True):
        points[:, 0] += shift * (label == "sick")
    return X, y


X, Y = make_samples()
NEW, NEW_Y = make_samples(n=6, seed=1)
RANDOM = Refinement("random", max_iter=2)


@pytest.fixture(scope="module")
def learner():
    return GroundMetricLearner(rng=0).fit(X, Y)


def emd2(x, y):
    return ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cdist(x, y))


def emd2_matrix(xs, ys):
    return np.array([[emd2(x, y) for y in ys] for x in xs])


def test_transform_components_and_mahalanobis_matrix_agree(learner):
    z = learner.transform(NEW)
    assert len(z) == len(NEW)
    for points, mapped in zip(NEW, z, strict=True):
        np.testing.assert_allclose(mapped, points @ learner.components_.T, rtol=1e-12)
    x, y = NEW[0][:2]
    m = learner.get_mahalanobis_matrix()
    np.testing.assert_allclose((x - y) @ m @ (x - y), ((z[0][0] - z[0][1]) ** 2).sum(), rtol=1e-10)
    np.testing.assert_allclose(learner.metric_.components / learner.metric_.scale, learner.components_, rtol=1e-12)


def test_pairwise_distances_equal_emd2_on_projected_points(learner):
    w = learner.components_
    own, new = [x @ w.T for x in X], [x @ w.T for x in NEW]
    np.testing.assert_allclose(learner.pairwise_distances(NEW, X), emd2_matrix(new, own), rtol=1e-10)
    within = learner.pairwise_distances(NEW)
    expected = emd2_matrix(new, new)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(within, expected, rtol=1e-10)
    np.testing.assert_array_equal(within, within.T)
    np.testing.assert_allclose(learner.pairwise_distances(X, NEW), learner.pairwise_distances(NEW, X).T, rtol=1e-12)


def test_separating_feature_weighs_most_and_separates():
    samples, _ = make_samples(shift=8.0)
    learner = GroundMetricLearner().fit(samples, Y)
    weight = np.linalg.norm(learner.metric_.components, axis=0)
    assert weight[0] > 2 * weight[1:].max()
    d = learner.pairwise_distances(samples)
    same = (Y[:, None] == Y) & ~np.eye(len(Y), dtype=bool)
    assert d[same].max() < d[Y[:, None] != Y].min()


def test_fitted_attributes(learner):
    np.testing.assert_array_equal(learner.classes_, ["sick", "well"])
    assert learner.n_features_in_ == 3
    assert learner.n_iter_ == len(learner.loss_history_) == 1
    assert learner.converged_ is True
    assert 0 <= learner.gap_ < 1e-12
    np.testing.assert_array_equal(learner.constant_features_, [False] * 3)


def test_fit_returns_self_and_does_not_touch_its_input():
    samples = [x.copy() for x in X]
    learner = GroundMetricLearner()
    before = learner.get_params()
    assert learner.fit(samples, Y) is learner
    assert learner.get_params() == before
    for x, copy in zip(X, samples, strict=True):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("n_neighbors", [1, 3, 5])
def test_score_is_the_accuracy_of_nearest_neighbours(n_neighbors):
    samples, labels = make_samples(seed=2, shift=0.3)
    new, new_labels = make_samples(n=20, seed=3, shift=0.3)
    learner = GroundMetricLearner(rng=0).fit(samples, labels)
    d = learner.pairwise_distances(new, samples)
    predicted = []
    for row in d:
        nearest = labels[np.argsort(row)[:n_neighbors]]
        names, votes = np.unique(nearest, return_counts=True)
        predicted.append(names[votes.argmax()])
    accuracy = np.mean(np.array(predicted) == new_labels)
    assert 0 < accuracy < 1
    assert learner.score(new, new_labels, n_neighbors=n_neighbors) == accuracy


def test_cells_and_samples_may_come_in_any_order():
    # no sample has more cells than a refinement sees
    rng = np.random.default_rng(4)
    order = rng.permutation(len(X))
    shuffled = [X[i][rng.permutation(len(X[i]))] for i in order]
    one = GroundMetricLearner(refine=Refinement(max_iter=3)).fit(X, Y)
    other = GroundMetricLearner(refine=Refinement(max_iter=3)).fit(shuffled, Y[order])
    np.testing.assert_allclose(one.get_mahalanobis_matrix(), other.get_mahalanobis_matrix(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_array])
def test_sparse_samples_give_the_same_metric(kind):
    samples = [np.where(np.abs(x) < 0.5, 0, x) for x in X]
    dense = GroundMetricLearner().fit(samples, Y)
    sparse = GroundMetricLearner().fit([kind(x) for x in samples], Y)
    np.testing.assert_allclose(sparse.get_mahalanobis_matrix(), dense.get_mahalanobis_matrix(), rtol=1e-8, atol=1e-12)
    mapped = sparse.transform([kind(x) for x in samples])
    assert all(isinstance(z, np.ndarray) for z in mapped)
    np.testing.assert_allclose(mapped[3], samples[3] @ sparse.components_.T, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_other_number_types(dtype):
    samples = [(10 * np.abs(x)).astype(dtype) for x in X]
    found = GroundMetricLearner().fit(samples, Y).get_mahalanobis_matrix()
    expected = GroundMetricLearner().fit([x.astype(float) for x in samples], Y).get_mahalanobis_matrix()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        Y,
        list(Y),
        (Y == "sick").astype(int),
        Y == "sick",
        pd.Series(Y),
        pd.Series(Y, dtype="string"),
        pd.Categorical(Y),
        np.where(Y == "sick", 1.5, 2.5),
        Y.astype(object),
    ],
    ids=["str", "list", "int", "bool", "series", "string", "categorical", "float", "object"],
)
def test_types_of_labels(learner, labels):
    found = GroundMetricLearner(rng=0).fit(X, labels)
    np.testing.assert_array_equal(found.classes_, np.unique(np.asarray(labels)))
    np.testing.assert_array_equal(found.components_, learner.components_)
    assert found.score(X, labels, n_neighbors=1) == 1


def test_three_classes():
    rng = np.random.default_rng(5)
    labels = np.tile([7, 3, 5], 3)
    samples = [rng.normal(size=(6, 2)) + [0, 3 * label] for label in labels]
    learner = GroundMetricLearner().fit(samples, labels)
    np.testing.assert_array_equal(learner.classes_, [3, 5, 7])
    assert learner.score(samples, labels, n_neighbors=3) == 1


def test_n_comps_bounds_the_components():
    assert GroundMetricLearner(n_comps=1).fit(X, Y).components_.shape == (1, 3)
    assert GroundMetricLearner(n_comps=np.int64(3), refine=RANDOM).fit(X, Y).components_.shape == (3, 3)


def test_constant_features_are_reported_and_weigh_zero():
    samples = [np.column_stack([x, np.full(len(x), 2.5)]) for x in X]
    learner = GroundMetricLearner().fit(samples, Y)
    np.testing.assert_array_equal(learner.constant_features_, [False, False, False, True])
    np.testing.assert_array_equal(learner.components_[:, 3], 0)


@pytest.mark.parametrize("options", [{}, {"refine": Refinement("random", triplets=3, minibatch=20, max_iter=2)}])
def test_same_seed_and_any_jobs_give_the_same_bits(options):
    one, *others = (GroundMetricLearner(rng=3, n_jobs=n, **options).fit(X, Y) for n in (1, 2, None))
    for other in others:
        np.testing.assert_array_equal(one.components_, other.components_)
        np.testing.assert_array_equal(one.loss_history_, other.loss_history_)
        np.testing.assert_array_equal(one.pairwise_distances(NEW, X), other.pairwise_distances(NEW, X))


def test_a_generator_as_seed():
    one, same = (GroundMetricLearner(refine=RANDOM, rng=np.random.default_rng(1)).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(one.components_, same.components_)
    np.testing.assert_array_equal(one.components_, GroundMetricLearner(refine=RANDOM, rng=1).fit(X, Y).components_)


def test_clone_keeps_parameters_and_forgets_the_fit(learner):
    copy = clone(learner.set_params(n_jobs=None))
    assert copy.get_params() == learner.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(X)


@pytest.mark.parametrize("container", [list, lambda samples: np.stack([x[:4] for x in samples])], ids=["list", "3d"])
def test_cross_validation(container):
    np.testing.assert_array_equal(cross_val_score(GroundMetricLearner(n_jobs=1), container(X), Y, cv=3), 1.0)


def test_cross_validation_by_patient():
    groups = np.arange(len(Y)) // 2
    scores = cross_val_score(
        GroundMetricLearner(n_jobs=1), X, Y, groups=groups, cv=StratifiedGroupKFold(3), error_score="raise"
    )
    np.testing.assert_array_equal(scores, 1.0)


def test_grid_search():
    grid = {"power": [1.0, 2.0], "whitening": [0.0, 1.0]}
    search = GridSearchCV(GroundMetricLearner(n_jobs=1), grid, cv=2, error_score="raise").fit(X, Y)
    assert search.best_score_ == 1
    assert search.best_estimator_.transform(NEW)[0].shape[0] == len(NEW[0])
    assert search.score(NEW, NEW_Y) == 1


def test_unknown_keyword():
    with pytest.raises(TypeError, match="n_component"):
        GroundMetricLearner(n_component=2)
    with pytest.raises(TypeError, match="positional argument"):
        GroundMetricLearner(2)


@pytest.mark.parametrize("dtype", ["Float64", pd.SparseDtype(float)])
def test_data_frames_of_any_numbers(learner, dtype):
    found = GroundMetricLearner(rng=0).fit([pd.DataFrame(x).astype(dtype) for x in X], Y)
    np.testing.assert_allclose(found.components_, learner.components_, rtol=1e-9)


def spoiled(*values, kind=np.asarray):
    samples = [x.copy() for x in X]
    for row, value in enumerate(values):
        samples[2][row, 1] = value
    return [kind(x) for x in samples]


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.csc_array, sp.coo_array, pd.DataFrame])
@pytest.mark.parametrize("values", [(np.nan, np.nan), (np.inf, np.nan)])
def test_values_that_are_not_finite_are_named(kind, values):
    with pytest.raises(ValueError, match=r"X\[2\] has 2 values that are NaN or infinite.*feature 1 \(2\)"):
        GroundMetricLearner().fit(spoiled(*values, kind=kind), Y)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_opposite_infinities_do_not_hide_one_another(kind):
    with pytest.raises(ValueError, match=r"X\[2\] has 2 values that are NaN or infinite.*feature 1 \(2\)"):
        GroundMetricLearner().fit(spoiled(np.inf, -np.inf, kind=kind), Y)


@pytest.mark.parametrize(
    ("samples", "error", "text"),
    [
        ([], ValueError, "X has no samples"),
        ("abc", TypeError, "X must be a list .*found 'abc'"),
        (7, TypeError, "X must be a list .*found 7"),
        (X[0], ValueError, r"X must be a list .*found ndarray with 1 dimension\(s\) at position 0"),
        ([[1, 2], [3, 4]], ValueError, "X must be a list .*found list with no dimension"),
        ([*X[:-1], X[-1][:1]], ValueError, "at least 2 cells, found 1 in the sample at position 11"),
        ([X[0][:0], *X[1:]], ValueError, "at least 2 cells, found 0 in the sample at position 0"),
        ([*X[:-1], X[-1][:, :2]], ValueError, r"same number of features, found 3 and 2"),
        ([x[:, :0] for x in X], ValueError, "feature"),
        ([X[0], np.ma.masked_less(X[1], 0), *X[2:]], ValueError, r"X\[1\] is a masked array, with .*\.filled"),
        ([pd.DataFrame(x).assign(batch="a") for x in X], TypeError, r"X\[0\] must be numeric .*: batch \("),
        ([pd.DataFrame(x).astype("category") for x in X], TypeError, r"X\[0\] must be numeric .*: 0 \(cat"),
    ],
)
def test_bad_samples_are_refused(samples, error, text):
    with pytest.raises(error, match=text):
        GroundMetricLearner().fit(samples, Y)


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        (None, ValueError, "y must hold one value per sample, found None"),
        (Y[:-1], ValueError, r"each of the 12 samples, found shape \(11,\)"),
        (Y[:, None], ValueError, r"each of the 12 samples, found shape \(12, 1\)"),
        (["same"] * 12, ValueError, "y has only the class .*same.*at least two classes"),
        ([*Y[:-1], "rare"], ValueError, "at least 2 samples, found one in rare"),
        ([None, *Y[1:]], ValueError, "y has 1 missing values"),
        (np.array([np.nan, np.nan, *np.arange(10) % 2]), ValueError, "y has 2 missing values"),
        ([np.nan, np.nan, *Y[2:]], ValueError, "y has 2 missing values"),
        (pd.Series([pd.NA, *Y[1:]], dtype="string"), ValueError, "y has 1 missing values"),
        (["nan", "NA", *Y[2:]], ValueError, "y has text that stands for missing, 'NA', 'nan'.*rename it"),
        (np.ma.masked_array(np.arange(12) % 2, [True] + [False] * 11), ValueError, "y is a masked array, with 1 of 12"),
        (np.arange(12), ValueError, "found one in .*label_kind='continuous'"),
    ],
)
def test_bad_labels_are_refused(labels, error, text):
    with pytest.raises(error, match=text):
        GroundMetricLearner().fit(X, labels)


def test_labels_of_mixed_types_are_refused():
    with pytest.raises((TypeError, ValueError), match=r"\by\b.*type"):
        GroundMetricLearner().fit(X, np.array(["a", 1] * 6, dtype=object))


@pytest.mark.parametrize(
    "call",
    [
        lambda learner: learner.transform(X),
        lambda learner: learner.pairwise_distances(X),
        lambda learner: learner.get_mahalanobis_matrix(),
        lambda learner: learner.score(X, Y),
    ],
)
def test_unfitted(call):
    with pytest.raises(NotFittedError, match="GroundMetricLearner instance is not fitted yet"):
        call(GroundMetricLearner())


def test_new_samples_of_another_width_are_refused(learner):
    narrow = [x[:, :2] for x in NEW]
    for call in (
        lambda: learner.transform(narrow),
        lambda: learner.pairwise_distances(narrow),
        lambda: learner.pairwise_distances(X, narrow),
        lambda: learner.score(narrow, NEW_Y),
    ):
        with pytest.raises(ValueError, match="[XY] has 2 features, but the training samples have 3"):
            call()


def test_score_checks_its_arguments(learner):
    with pytest.raises(ValueError, match="n_neighbors must be at least 1, found 0"):
        learner.score(NEW, NEW_Y, n_neighbors=0)
    with pytest.raises(ValueError, match="each of the 6 samples"):
        learner.score(NEW, NEW_Y[:5])


def test_a_failed_fit_leaves_the_last_one():
    learner = GroundMetricLearner().fit(X, Y)
    before = learner.components_
    with pytest.raises(ValueError, match="only the class"):
        learner.fit(X, ["a"] * 12)
    assert learner.components_ is before


def test_score_of_continuous_labels_is_a_rank_correlation():
    rng = np.random.default_rng(0)
    values = np.linspace(0, 3, 16)
    samples = [rng.normal(size=(20, 3)) + [3 * v, 0, 0] for v in values]
    learner = GroundMetricLearner(label_kind="continuous").fit(samples[::2], values[::2])
    assert learner.score(samples[1::2], values[1::2], n_neighbors=2) > 0.9
    assert learner.score(samples[1::2], values[1::2], n_neighbors=8) == 0  # all predictions are equal


@pytest.mark.parametrize(
    ("kind", "known", "given"),
    [
        ("class", Y, np.arange(12) % 2),
        ("class", np.arange(12) % 2, Y),
        ("ordinal", np.arange(12) % 3, Y),
        ("continuous", np.linspace(0, 1, 12), Y),
    ],
)
def test_score_of_labels_of_another_kind_is_refused(kind, known, given):
    learner = GroundMetricLearner(label_kind=kind).fit(X, known)
    assert 0 <= abs(learner.score(X, known)) <= 1
    with pytest.raises(TypeError, match=r"y must hold \w+ like the labels of the training samples, found \w+, such as"):
        learner.score(X, given)


def test_tensors_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"X\[0\] must be an array of NumPy.*found Tensor of torch.*\.numpy\(\)"):
        GroundMetricLearner().fit([torch.from_numpy(x) for x in X], Y)


def test_missing_values_of_nullable_columns_are_named():
    frames = [pd.DataFrame(x).astype("Float64") for x in X]
    frames[2].iloc[3, 1] = pd.NA
    with pytest.raises(ValueError, match=r"X\[2\] has 1 values that are NaN or infinite.*feature 1 \(1\)"):
        GroundMetricLearner().fit(frames, Y)
