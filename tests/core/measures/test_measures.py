from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures, as_points

A, B = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]), np.array([[6.0, 7.0]])


def test_from_arrays_stacks_ragged_clouds_with_uniform_weights():
    measures = Measures.from_arrays([A, B])
    assert (len(measures), measures.n_features) == (2, 2)
    np.testing.assert_array_equal(measures.offsets, [0, 3, 4])
    np.testing.assert_array_equal(measures.sizes, [3, 1])
    np.testing.assert_allclose(measures.weights, [1 / 3, 1 / 3, 1 / 3, 1])
    for i, cloud in enumerate((A, B)):
        np.testing.assert_array_equal(measures[i][0], cloud)
        np.testing.assert_array_equal(measures.split()[i], cloud)


def test_weights_are_normalised():
    measures = Measures.from_arrays([A, B], weights=[[1, 2, 5], [7]])
    np.testing.assert_allclose(measures.weights, [0.125, 0.25, 0.625, 1])
    np.testing.assert_allclose(measures[0][1], [0.125, 0.25, 0.625])


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array, sp.coo_array, sp.csr_matrix])
def test_sparse_clouds_become_one_csr_array(kind):
    measures = Measures.from_arrays([kind(A), B])
    assert isinstance(measures.points, sp.csr_array)
    np.testing.assert_array_equal(measures.points.toarray(), np.vstack([A, B]))
    np.testing.assert_array_equal(measures[1][0].toarray(), B)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float64),
        (int, np.float64),
        (bool, np.float64),
    ],
)
def test_dtype_of_dense_points(given, found):
    assert as_points(A.astype(given)).dtype == found


@pytest.mark.parametrize(("given", "found"), [(np.float32, np.float32), (np.int32, np.float64)])
def test_dtype_of_sparse_points(given, found):
    assert as_points(sp.csr_array(A.astype(given))).dtype == found


def test_points_are_not_copied():
    csr = sp.csr_array(A)
    assert np.shares_memory(as_points(csr).data, csr.data)
    assert np.shares_memory(as_points(A), A)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_from_codes_groups_rows_in_their_order(kind):
    rows = np.arange(12.0).reshape(6, 2)
    codes = np.array([1, 0, 1, 2, 0, 1])
    measures = Measures.from_codes(kind(rows), codes, 3)
    for code in range(3):
        points, weights = measures[code]
        points = points.toarray() if sp.issparse(points) else points
        np.testing.assert_array_equal(points, rows[codes == code])
        np.testing.assert_allclose(weights, 1 / (codes == code).sum())


def test_from_codes_leaves_sorted_rows_in_place():
    assert np.shares_memory(Measures.from_codes(A, np.array([0, 0, 1]), 2).points, A)


@pytest.mark.parametrize("kinds", [(np.asarray, np.asarray), (sp.csr_array, np.asarray), (np.asarray, sp.csr_array)])
def test_concat_appends(kinds):
    left = Measures.from_arrays([kinds[0](A)], weights=[[1, 1, 2]])
    right = Measures.from_arrays([kinds[1](B), kinds[1](A)], weights=[[1], [5, 3, 2]])
    both = left.concat(right)
    np.testing.assert_array_equal(both.offsets, [0, 3, 4, 7])
    np.testing.assert_allclose(both.weights, [0.25, 0.25, 0.5, 1, 0.5, 0.3, 0.2])
    points = both.points.toarray() if sp.issparse(both.points) else both.points
    np.testing.assert_array_equal(points, np.vstack([A, B, A]))


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_take_gives_measures_in_any_order_and_twice(kind):
    arrays, weights = [A, B, 10 * A], [[1, 1, 2], [1], [5, 3, 2]]
    measures, chosen = Measures.from_arrays([kind(x) for x in arrays], weights), [2, 0, 1, 2]
    found = measures.take(np.array(chosen))
    expected = Measures.from_arrays([arrays[i] for i in chosen], [weights[i] for i in chosen])
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.weights, expected.weights)
    np.testing.assert_array_equal(
        found.points.toarray() if sp.issparse(found.points) else found.points, expected.points
    )


def test_concat_stays_sparse_or_dense():
    dense, sparse = Measures.from_arrays([A]), Measures.from_arrays([sp.csr_array(B)])
    assert isinstance(dense.concat(dense).points, np.ndarray)
    for both in (dense.concat(sparse), sparse.concat(dense), sparse.concat(sparse)):
        assert isinstance(both.points, sp.csr_array)


def test_uniform_measures():
    assert Measures.from_arrays([A, B]).are_uniform is True
    assert Measures.from_arrays([A, B], [[1, 1, 2], [1]]).are_uniform is False


def test_points_without_mass_can_be_left_out():
    measures = Measures.from_arrays([A, B, A], [[1, 0, 3], [1], [0, 0, 1]])
    found = measures.restricted(measures.weights > 0)
    np.testing.assert_array_equal(found.offsets, [0, 2, 3, 4])
    np.testing.assert_array_equal(found.points, np.vstack([A[[0, 2]], B, A[2:]]))
    np.testing.assert_allclose(found.weights, [0.25, 0.75, 1, 1])


def test_drawn_points_differ_and_keep_their_order():
    cloud = np.arange(10.0)[:, None]
    measures = Measures.from_arrays([cloud, 100 + cloud[:3], 200 + cloud])
    found = measures.drawn(4, np.random.default_rng(0))
    np.testing.assert_array_equal(found.sizes, [4, 3, 4])
    np.testing.assert_allclose(found.weights, np.repeat([1 / 4, 1 / 3, 1 / 4], [4, 3, 4]))
    for part, whole in zip(found.split(), measures.split(), strict=True):
        assert (np.diff(part.ravel()) > 0).all()
        assert set(part.ravel()) <= set(whole.ravel())
    # each point is drawn with the same frequency
    rng = np.random.default_rng(1)
    times = np.bincount(np.concatenate([measures.drawn(4, rng)[0][0].ravel().astype(int) for _ in range(500)]))
    assert times.min() > 160 and times.max() < 240


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_scaled_multiplies_features(kind):
    scaled = Measures.from_arrays([kind(A), kind(B)]).scaled(np.array([10.0, 0.0]))
    points = scaled.points
    assert isinstance(points, sp.csr_array) == (kind is sp.csr_array)
    points = points.toarray() if sp.issparse(points) else points
    np.testing.assert_array_equal(points, np.vstack([A, B]) * [10, 0])


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_thinned_keeps_evenly_spaced_rows(kind):
    cloud = np.arange(10.0)[:, None]
    measures = Measures.from_arrays([kind(cloud), kind(cloud[:3])], weights=[np.arange(1, 11), [1, 1, 2]]).thinned(4)
    points = measures.points.toarray() if sp.issparse(measures.points) else measures.points
    np.testing.assert_array_equal(points.ravel(), [0, 2, 5, 7, 0, 1, 2])
    np.testing.assert_array_equal(measures.sizes, [4, 3])
    np.testing.assert_allclose(np.add.reduceat(measures.weights, measures.offsets[:-1]), 1)


def test_thinned_leaves_small_measures_alone():
    measures = Measures.from_arrays([A, B], weights=[[1, 1, 2], [1]])
    assert measures.thinned(3) is measures


@pytest.mark.parametrize(
    ("arrays", "weights", "text"),
    [
        ([], None, "at least one measure"),
        ([A, B[:, :1]], None, r"same number of features, found \[1, 2\]"),
        ([A[0]], None, "two-dimensional"),
        ([A, A[:0]], None, "at least one point, measure 1 has 0"),
        ([B], [[0.0]], "positive sum"),
        ([A], [[1, -1, 2]], "not negative and have a positive sum, found a sum of 2"),
        ([A], [[1, np.nan, 2]], "finite"),
        ([A], [[1, 2]], "one entry per point"),
    ],
)
def test_bad_clouds_are_refused(arrays, weights, text):
    with pytest.raises(ValueError, match=text):
        Measures.from_arrays(arrays, weights)


@pytest.mark.parametrize(
    ("offsets", "weights", "text"),
    [
        ([0, 2], np.full(3, 1 / 3), "offsets must run from 0 to 3"),
        ([1, 3], np.full(3, 1 / 3), "offsets must run from 0 to 3"),
        ([0, 3], np.full(3, 0.4), "measure 0 sum to 1.2 instead of 1"),
        ([0, 1, 3], np.array([1.0, 1.5, -0.5]), "not negative"),
        ([0, 3], np.array([0.5, 0.5, np.inf]), "finite"),
    ],
)
def test_inconsistent_fields_are_refused(offsets, weights, text):
    with pytest.raises(ValueError, match=text):
        Measures(A, np.array(offsets), weights)
