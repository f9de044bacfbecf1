"""Sketches against transport by POT, nearest points by brute force, and hand-computed groups."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_info, threadpool_limits

from scggml.core.measures._measures import Measures
from scggml.core.transport import _sketch
from scggml.core.transport._sketch import Sketch, coresets

# two measures, cells in mixed order; groups 0 and 3 of the first, 3 of the second
CODES = np.array([1, 0, 0, 1, 0])
GROUPS = np.array([3, 0, 3, 3, 3])
CELLS = np.array([[0.0, 0.0], [5.0, 5.0], [1.0, 0.0], [3.0, 4.0], [1.0, 2.0]])
SUPPORT = np.array([True, True, False, False, True])


def dense(x):
    return np.asarray(x.toarray() if sp.issparse(x) else x)


def clouds(sizes, d, seed=0, dtype=np.float64):
    """Cells of samples in mixed order, and the sample of each."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = rng.normal(size=(len(codes), d)) + 3 * rng.integers(0, 3, size=(len(codes), 1)) + codes[:, None]
    return x.astype(dtype), codes


def w1(x, measure, cost="euclidean"):
    """Transport of all cells, weighing alike, to a sketch, by `ot.emd2`."""
    points, weights = measure
    return ot.emd2(np.full(len(x), 1 / len(x)), weights, cdist(x, dense(points), cost))


def test_groups_are_numbered_through_all_measures():
    found = Sketch.from_codes(CODES, 2, GROUPS, SUPPORT)
    np.testing.assert_array_equal(found.groups, [2, 0, 1, 2, 1])
    np.testing.assert_array_equal(found.offsets, [0, 2, 3])
    np.testing.assert_array_equal(found.sizes, [2, 1])
    np.testing.assert_array_equal(found.support, [1, 4, 0])


@pytest.mark.parametrize(
    "support",
    [[True, True, False, False, False], [True, True, True, False, True], [False, True, False, False, True]],
    ids=["none", "two", "none in the last"],
)
def test_every_group_needs_one_cell_that_stands_for_it(support):
    with pytest.raises(ValueError, match="exactly one cell"):
        Sketch.from_codes(CODES, 2, GROUPS, np.array(support))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("by_means", [False, True])
def test_measures_by_hand(kind, dtype, by_means):
    sketch = Sketch.from_codes(CODES, 2, GROUPS, None if by_means else SUPPORT)
    found = sketch.measures(kind(CELLS.astype(dtype)))
    np.testing.assert_allclose(found.weights, [1 / 3, 2 / 3, 1])
    expected = [[5, 5], [1, 1], [1.5, 2]] if by_means else [[5, 5], [1, 2], [0, 0]]
    np.testing.assert_allclose(dense(found.points), expected)
    assert sp.issparse(found.points) == (kind is not np.asarray)
    assert found.points.dtype == (np.float32 if dtype is np.float32 else np.float64)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    ("by_means", "cost", "expected"),
    [
        (False, "euclidean", [2 / 3, 5 / 2]),
        (False, "cityblock", [2 / 3, 7 / 2]),
        (True, "euclidean", [2 / 3, 5 / 2]),
        (True, "cityblock", [2 / 3, 7 / 2]),
    ],
)
def test_errors_by_hand(monkeypatch, kind, by_means, cost, expected):
    sketch = Sketch.from_codes(CODES, 2, GROUPS, None if by_means else SUPPORT)
    for block in (2, 1_000):  # one cell at a time, and all at once
        monkeypatch.setattr(_sketch, "_BLOCK_ENTRIES", block)
        np.testing.assert_allclose(sketch.errors(kind(CELLS), cost), expected)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_errors_of_float32_do_not_lose_digits(kind):
    cells = np.array([[0.1], [1000.3]], dtype=np.float32)
    sketch = Sketch.from_codes(np.zeros(2, int), 1, np.zeros(2, int), np.array([True, False]))
    expected = (float(cells[1, 0]) - float(cells[0, 0])) / 2
    np.testing.assert_allclose(sketch.errors(kind(cells)), expected, rtol=1e-15)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("d", [1, 2, 8, 300])
def test_error_is_the_distance_of_the_sample_to_its_sketch(kind, d):
    x, codes = clouds((60, 5, 90, 20), d)
    found = coresets(kind(x), codes, 4, 20, rng=np.random.default_rng(0))
    measures, errors = found.measures(kind(x)), found.errors(kind(x))
    np.testing.assert_array_equal(found.sizes, [20, 5, 20, 20])
    for i in range(4):
        own = np.flatnonzero(codes == i)
        points, weights = measures[i]
        # the cells that were chosen are cells of the sample, and every cell is in the group of the closest
        support = found.support[found.offsets[i] : found.offsets[i + 1]]
        assert set(support) <= set(own)
        np.testing.assert_array_equal(dense(points), x[support])
        distance = cdist(x[own], x[support])
        chosen = distance[np.arange(len(own)), found.groups[own] - found.offsets[i]]
        np.testing.assert_allclose(chosen, distance.min(axis=1), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(errors[i], distance.min(axis=1).mean(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(errors[i], w1(x[own], (points, weights)), rtol=1e-9, atol=1e-12)
    assert errors[1] == errors[3] == 0 < min(errors[0], errors[2])


@pytest.mark.parametrize("d", [2, 300])
def test_chosen_cells_cost_less_than_random_ones(d):
    x, codes = clouds((300,) * 6, d)
    errors = coresets(x, codes, 6, 30, rng=np.random.default_rng(0)).errors(x)
    rng = np.random.default_rng(1)
    for i in range(6):
        own = x[codes == i]
        by_chance = [cdist(own, rng.permutation(own)[:30]).min(axis=1).mean() for _ in range(20)]
        assert errors[i] < min(by_chance)


def test_optimum_on_a_line():
    # 5 clumps, far apart: the best 5 points are the clumps' middle cells
    rng = np.random.default_rng(0)
    middle = np.repeat(np.arange(5) * 100.0, 9)
    x = (middle + np.tile(np.arange(-4, 5) * 0.1, 5))[rng.permutation(45)][:, None]
    found = coresets(x, np.zeros(45, int), 1, 5, rng=rng)
    np.testing.assert_allclose(np.sort(found.measures(x).points.ravel()), np.arange(5) * 100.0, atol=1e-9)
    np.testing.assert_allclose(found.measures(x).weights, 0.2)
    np.testing.assert_allclose(found.errors(x), 0.1 * 20 / 9)


def test_more_points_cost_less():
    x, codes = clouds((200,) * 3, 5)
    errors = [coresets(x, codes, 3, n, rng=np.random.default_rng(0)).errors(x) for n in (1, 5, 20, 80, 199, 200)]
    assert (np.diff(errors, axis=0) < 0).all()
    assert (errors[-1] == 0).all()


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("d", [2, 300])
def test_equal_cells_share_a_point(kind, d):
    x = np.repeat(np.arange(3.0), 10)[:, None] * np.ones(d)  # the first clump has no stored entry
    found = coresets(kind(x), np.zeros(30, int), 1, 7, rng=np.random.default_rng(0))
    assert found.sizes[0] == 3 and found.errors(kind(x))[0] == 0
    np.testing.assert_allclose(found.measures(kind(x)).weights, 1 / 3)


def test_equal_cells_of_a_small_sample_all_stay():
    x = np.ones((4, 2))
    found = coresets(x, np.zeros(4, int), 1, 4, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found.groups, [0, 1, 2, 3])


def test_sparse_is_dense():
    x, codes = clouds((50, 40), 6)
    x = np.maximum(np.round(x), 0)  # counts: sums of squares are exact either way
    a, b = (coresets(kind(x), codes, 2, 10, rng=np.random.default_rng(0)) for kind in (np.asarray, sp.csr_array))
    np.testing.assert_array_equal(a.support, b.support)
    np.testing.assert_array_equal(a.groups, b.groups)


@pytest.mark.parametrize("d", [4, 300])
def test_same_seed_and_any_n_jobs_give_the_same_bits(d):
    x, codes = clouds((60, 5, 90, 20, 70), d, dtype=np.float32)
    found = [coresets(x, codes, 5, 20, rng=np.random.default_rng(3), n_jobs=n) for n in (1, 2, 4, -1, None)]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].groups, other.groups)
        np.testing.assert_array_equal(found[0].support, other.support)
        np.testing.assert_array_equal(found[0].errors(x), other.errors(x))
    other = coresets(x, codes, 5, 20, rng=np.random.default_rng(4))
    assert not np.array_equal(found[0].support, other.support)


def test_blocks_do_not_matter(monkeypatch):
    x, codes = clouds((80, 60), 4)
    whole = coresets(x, codes, 2, 15, rng=np.random.default_rng(0))
    monkeypatch.setattr(_sketch, "_BLOCK_ENTRIES", 100)
    parts = coresets(x, codes, 2, 15, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(whole.groups, parts.groups)
    np.testing.assert_array_equal(whole.support, parts.support)


@pytest.mark.parametrize("interrupted", [False, True])
def test_threads_of_blas_are_as_before(monkeypatch, interrupted):
    inside, original = [], _sketch._coreset

    def threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    def watched(*args):
        inside.append(threads())
        if interrupted:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(_sketch, "_coreset", watched)
    x, codes = clouds((80, 60), 4)
    with threadpool_limits(2, "blas"):
        before = threads()
        with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
            coresets(x, codes, 2, 15, rng=np.random.default_rng(0), n_jobs=1)
        assert threads() == before
    assert before and set(inside[0]) == {1}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), by_means=st.booleans(), cost=st.sampled_from(["euclidean", "cityblock"]))
def test_bound_holds_under_any_metric(seed, by_means, cost):
    rng = np.random.default_rng(seed)
    x, codes = clouds((12, 15), 3, seed)
    sketch = coresets(x, codes, 2, int(rng.integers(1, 8)), rng=rng)
    if by_means:
        sketch = Sketch.from_codes(codes, 2, sketch.groups)
    z = x @ (rng.normal(size=(3, 2)) * rng.exponential(size=2))  # a metric that the sketch was not made in
    (p, a), (q, b) = (m := sketch.measures(z))[0], m[1]
    e = sketch.errors(z, cost)
    full = Measures.from_codes(z, codes, 2)
    exact = ot.emd2([], [], cdist(full[0][0], full[1][0], cost))
    assert abs(ot.emd2(a, b, cdist(p, q, cost)) - exact) <= e.sum() * (1 + 1e-9)
    for i in range(2):
        assert w1(full[i][0], m[i], cost) <= e[i] * (1 + 1e-9)
