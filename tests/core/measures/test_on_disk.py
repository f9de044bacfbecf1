"""Points that are read by blocks of rows: the same as in memory, and no row is read more often than it must be."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_info, threadpool_limits

from scggml.core.measures import _on_disk as module
from scggml.core.measures._measures import Measures, as_points
from scggml.core.measures._moments import weighted_moments
from scggml.core.measures._on_disk import StoredPoints, clouds
from scggml.core.metric._ground_metric import GroundMetric
from scggml.core.transport._sketch import Sketch, coresets
from scggml.reference._gene_space import GeneSpace

N, D = 53, 7


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_SIZE", 30)


def matrix(kind):
    x = np.random.default_rng(0).poisson(0.8, size=(N, D)).astype(np.float32)
    x[11] = 0
    return sp.csr_array(x) if kind == "csr" else x


def stored(x, cuts=None, row_size=D):
    """Stored points and the list of what has been read of them."""
    log = []

    def read(start, stop):
        log.append((start, stop))
        return x[start:stop]

    return StoredPoints(read, x.shape, np.arange(x.shape[0] + 1) if cuts is None else np.array(cuts), row_size), log


def assert_same(found, expected):
    assert type(found) is type(expected) and found.dtype == expected.dtype and found.shape == expected.shape
    if sp.issparse(expected):
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
    else:
        np.testing.assert_array_equal(found, expected)


both = pytest.mark.parametrize("kind", ["dense", "csr"])


@both
@pytest.mark.parametrize("cuts", [None, [0, 53], [0, 1, 40, 41, 53]])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 53), (3, 50), (39, 42), (52, 53), (40, 99)])
def test_slices(kind, cuts, start, stop):
    x = matrix(kind)
    points, _ = stored(x, cuts)
    assert_same(points[start:stop], x[start:stop])


@both
@pytest.mark.parametrize("cuts", [None, [0, 53], [0, 1, 40, 41, 53]])
@pytest.mark.parametrize(
    "rows", [np.arange(N), np.random.default_rng(1).permutation(N), np.array([5, 50, 5, 0, 11]), np.array([11])]
)
def test_lists_of_rows_in_any_order(kind, cuts, rows):
    x = matrix(kind)
    points, _ = stored(x, cuts)
    assert_same(points[rows], x[rows])


@both
@pytest.mark.parametrize("step", [1, 3, 10, 53])
def test_a_pass_through_all_rows_reads_each_of_them_once(kind, step):
    x = matrix(kind)
    points, log = stored(x, [0, 10, 20, 30, 40, 50, 53])
    for _ in points.blocks():
        pass
    first = list(log)
    assert [start for start, _ in first] == [0, *(stop for _, stop in first[:-1])] and first[-1][1] == N
    log.clear()
    for start in range(0, N, step):
        points[start : start + step]
    assert [start for start, _ in log] == [0, *(stop for _, stop in log[:-1])] and log[-1][1] == N


@both
def test_what_is_known_of_them(kind):
    x = matrix(kind)
    points, log = stored(x)
    assert points.shape == x.shape and not log
    assert points.dtype == np.float32 and len(log) == 1
    assert points.size == x.size
    assert as_points(points) is points


def test_pieces_of_storage_are_not_cut_and_small_ones_are_joined():
    points, log = stored(matrix("dense"), [0, 1, 2, 3, 30, 31, 53])
    for _ in points.blocks():
        pass
    assert log == [(0, 3), (3, 30), (30, 31), (31, 53)]


def test_blocks_are_larger_where_rows_turn_out_to_store_little():
    points, log = stored(matrix("csr"))
    sizes = [block.shape[0] for block in points.blocks()]
    assert sizes[0] == 4  # as if they were dense
    log.clear()
    points[0:N]
    assert log[0] == (0, 30 * N // points.size)


@both
def test_only_what_is_needed_is_read(kind):
    points, log = stored(matrix(kind), row_size=3 * D)  # a row at a time
    for _ in points.blocks():
        pass
    log.clear()
    points[np.array([50, 3, 51])]
    assert sum(stop - start for start, stop in log) <= 3 + 2  # rows in between, at most


@both
def test_once_loaded_nothing_is_read_again(kind):
    x = matrix(kind)
    points, log = stored(x)
    order = np.random.default_rng(1).permutation(N)
    assert_same(points.load(order), x[order])
    log.clear()
    assert_same(points[2:40], x[2:40])
    assert_same(points[order[::2]], x[order[::2]])
    assert not log


@both
def test_columns(kind):
    x = matrix(kind)
    index = np.array([5, 0, 6])
    points, log = stored(x)
    found = points.columns(index)
    assert found.shape == (N, 3) and found.size >= x[:, index].size
    expected = x[:, index]
    for rows in (slice(2, 40), np.array([4, 1, 52])):
        np.testing.assert_array_equal(*(y.toarray() if sp.issparse(y) else y for y in (found[rows], expected[rows])))
    metric = GroundMetric(np.random.default_rng(0).normal(size=(2, 3)), np.ones(3))
    np.testing.assert_array_equal(metric.project(found), metric.project(expected))


@both
def test_clouds_are_read_together_as_far_as_they_fit(kind):
    x = matrix(kind)
    rows = np.split(np.random.default_rng(1).permutation(N), [2, 4, 6, 40, 41])
    points, _ = stored(x)
    found = list(clouds(points, rows))
    assert len(found) == len(rows)
    for cloud, own in zip(found, rows, strict=True):
        assert_same(sp.csr_array(cloud) if kind == "csr" else cloud, x[own])
    assert all(a is not None for a in clouds(x, rows))
    # cells that follow one another: each row is read once
    points, log = stored(x)
    for _ in points.blocks():
        pass
    log.clear()
    list(clouds(points, np.split(np.arange(N), [9, 20, 21, 45])))
    assert sum(stop - start for start, stop in log) == N


@both
def test_what_core_makes_of_them_is_the_same_to_the_last_bit(kind, monkeypatch):
    monkeypatch.setattr("scggml.core.measures._blocks.row_blocks.__defaults__", (50,))
    monkeypatch.setattr("scggml.core.transport._sketch._BLOCK_ENTRIES", 40)
    x = matrix(kind)
    codes = np.random.default_rng(2).integers(4, size=N)
    groups = np.random.default_rng(3).integers(3, size=N)
    metric = GroundMetric(np.random.default_rng(0).normal(size=(2, D)), np.full(D, 2.0))

    def results(points):
        weights = np.full(N, 1 / N)
        yield metric.project(points)
        yield from weighted_moments(points, weights)
        sketch = coresets(points, codes, 4, 5, rng=np.random.default_rng(0))
        yield sketch.groups
        for found in (sketch, Sketch.from_codes(codes, 4, groups)):
            measures = found.measures(points)
            yield measures.points
            yield measures.weights
            yield found.errors(points)
            yield found.errors(points, "cityblock")
        measures = Measures.from_codes(points, codes, 4)
        yield measures.points
        yield metric.project(points)

    for found, expected in zip(results(stored(x, [0, 3, 20, 44, 53])[0]), results(x), strict=True):
        assert found.dtype == expected.dtype and sp.issparse(found) == sp.issparse(expected)
        np.testing.assert_array_equal(*(y.toarray() if sp.issparse(y) else y for y in (found, expected)))


def test_projections_take_one_thread_of_blas():
    """More would change the last bits of wide products, and with them those of distances."""
    seen = []

    def read(start, stop):
        seen.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return matrix("dense")[start:stop]

    points = StoredPoints(read, (N, D), np.arange(N + 1), D)
    with threadpool_limits(2, user_api="blas"):
        GroundMetric(np.ones((2, D)), np.ones(D)).project(points)
        GeneSpace(np.eye(D)[:, :2], np.ones(D), np.zeros(2), np.zeros(D)).project(points)
    assert set(seen) == {1}
