from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.transport import _work as module
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._solvers import Exact, Sinkhorn
from scggml.core.transport._work import Extent, Work, measured_pace, pair_seconds, threads_of, transport_work


def measures_of(*sizes, d=3):
    rng = np.random.default_rng(0)
    return Measures.from_arrays([rng.normal(size=(n, d)) for n in sizes])


def test_extent_of_measures():
    found = Extent.of(measures_of(4, 6))
    assert (found.sizes.tolist(), found.n_features, found.n_values, found.sparse) == ([4, 6], 3, 3.0, False)
    csr = sp.csr_array(np.array([[1.0, 0, 0], [0, 0, 2], [0, 0, 0], [0, 3, 0]]))
    found = Extent.of(Measures.from_arrays([csr]))
    assert (found.n_features, found.n_values, found.sparse) == (3, 0.75, True)
    assert Extent.of(measures_of(4, 6, 5)).take(np.array([2, 0])).thinned(4).sizes.tolist() == [4, 4]
    assert Extent.of(measures_of(4, 6)).thinned(None).sizes.tolist() == [4, 6]
    projected = found.projected(2)
    assert (projected.n_features, projected.n_values, projected.sparse) == (2, 2, False)


def test_work_of_pairs():
    extent = Extent.of(measures_of(10, 30, 20))
    found = transport_work(extent, square_pairs(3), keep_plans=True)
    assert (found.n_pairs, found.largest) == (3, (30, 20))
    assert found.pair_bytes == 30 * 20 * 12 + 50 * 160
    assert found.kept_bytes == 32 * (39 + 29 + 49)
    assert found.seconds == pytest.approx(pair_seconds(extent, square_pairs(3)).sum())
    assert transport_work(extent, square_pairs(3)).kept_bytes == 0
    assert transport_work(extent, square_pairs(3)[:0]) == Work()
    entropic = transport_work(extent, square_pairs(3), Sinkhorn(), keep_plans=True)
    assert (entropic.pair_bytes, entropic.kept_bytes) == (30 * 20 * 16 + 50 * 160, 0)


def test_sums_of_work():
    assert Work() == Work(0, 0.0, 0.0, (0, 0), 0, 0)
    small, large = Work(3, 2.0, 0.5, (5, 5), 300, 10), Work(2, 8.0, 0.25, (9, 2), 500, 4)
    assert small + large == large + small == Work(5, 10.0, 0.75, (9, 2), 500, 10)
    assert small.times(4) == Work(12, 8.0, 2.0, (5, 5), 300, 10)
    assert large.duration(4) == 2.25


def test_model_of_the_time_of_a_pair():
    """Times on one core of an AMD EPYC in ms, which the model meets within a factor of two."""
    measured = {
        (30, 30, 10): 0.050, (100, 100, 10): 0.29, (300, 300, 2): 2.2, (300, 300, 50): 2.9, (1000, 1000, 10): 32,
        (1000, 1000, 1000): 70, (2000, 2000, 10): 230, (4000, 4000, 10): 1160, (6000, 6000, 10): 3018,
        (100, 1000, 10): 4.3, (30, 3000, 10): 14, (10000, 10, 10): 143, (3, 3, 10): 0.017,
    }  # fmt: skip
    for (n, m, d), milliseconds in measured.items():
        (found,) = pair_seconds(Extent(np.array([n, m]), d, d), np.array([[0, 1]]))
        assert 0.5 < 1000 * found / milliseconds < 2, (n, m, d)


@pytest.mark.parametrize(("n", "milliseconds"), [(300, 2.2), (1000, 16), (2000, 95)])
def test_model_of_the_time_of_an_entropic_pair(n, milliseconds):
    """Measured as above, with the default regularisation."""
    (found,) = pair_seconds(Extent(np.array([n, n]), 10, 10), np.array([[0, 1]]), Sinkhorn())
    assert 0.5 < 1000 * found / milliseconds < 2


def test_what_makes_pairs_slower():
    extent, pairs = Extent(np.array([500, 400]), 10, 10), np.array([[0, 1]])
    plain = pair_seconds(extent, pairs)
    assert 2 * plain < pair_seconds(extent, pairs, Exact("pot")) < 3 * plain
    assert 0.2 * plain < pair_seconds(extent, pairs, warm=True) < 0.5 * plain
    assert pair_seconds(Extent(extent.sizes, 20_000, 900, True), pairs) > 10 * plain
    assert pair_seconds(extent, pairs, Sinkhorn()) > pair_seconds(extent, pairs, Sinkhorn(), warm=True)


def test_entropic_time_grows_with_the_entries_of_the_costs():
    small, large = (pair_seconds(Extent(np.array([n, n]), 2, 2), np.array([[0, 1]]), Sinkhorn()) for n in (1000, 3000))
    assert large == pytest.approx(9 * small, rel=0.1)


def test_threads_of_a_cluster(monkeypatch):
    class Cluster:
        def effective_n_jobs(self, n_jobs):
            return {-1: 0, 5: 5}[n_jobs]  # none yet, when all are asked for

    monkeypatch.setattr(module, "dask_backend", Cluster)
    assert (threads_of(2, 5), threads_of(2, None)) == (5, 1)


def test_threads():
    assert threads_of(100, 3) == 3
    assert threads_of(2, 3) == 2
    assert threads_of(0, 3) == 1
    assert threads_of(10**6, -1) >= 1


def test_pace_is_that_of_some_pairs(monkeypatch):
    """By a clock that is twice as slow as the model."""
    measures = measures_of(*range(4, 44), 3000)
    solved, now = [], [0.0]

    class Spy(Exact):
        def solve(self, measures, pairs, **options):
            extent = Extent.of(measures)
            solved.append((extent.sizes.max(), len(pairs), len(extent)))
            now[0] += 2 * pair_seconds(extent, pairs).sum() / options["n_jobs"]
            return super().solve(measures, pairs, **options)

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "_TRIAL", 1e-3)
    assert measured_pace(measures, Spy(), n_jobs=2) == pytest.approx(2)
    (first, second) = solved
    assert first == (2, 1, 41)
    assert second[0] <= module._TRIAL_POINTS
    assert 2 <= second[1] < 60
    assert second[2] == 41
