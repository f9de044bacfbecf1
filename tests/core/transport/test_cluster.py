"""The pair solver on a dask cluster: the same bits as with threads, whatever happens to workers."""

from __future__ import annotations

import os
import signal
import time

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.transport import _cluster
from scggml.core.transport import _exact as module
from scggml.core.transport._exact import solve_pairs, square_pairs

pytest.importorskip("distributed", reason="the extra dask is not installed")

import dask
from distributed import Client, LocalCluster
from distributed.comm.tcp import TCP

PLENTY = 120  # seconds until something is taken for broken


def start(**options):
    return LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="CRITICAL", **options)


@pytest.fixture(scope="module")
def shared():
    # a restarted worker may take its time on a slow machine
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": PLENTY}),
        start() as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def client(shared):
    shared.wait_for_workers(2, timeout=PLENTY)
    with joblib.parallel_config(backend="dask"):
        yield shared


@pytest.fixture(autouse=True)
def many_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 20_000)


class Watched:
    """A checkpoint that keeps nothing and calls a function once, when the first distances are there."""

    def __init__(self, function):
        self.function = function

    def read(self, pairs):
        return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)

    def append(self, pairs, distances, gaps):
        function, self.function = self.function, lambda: None
        function()


def clouds(kind="dense", n=40, size=30, d=8, weighted=False):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(size + i % 3, d)) + rng.normal(size=d) for i in range(n)]
    weights = [rng.uniform(0.1, 1, size=len(x)) for x in arrays] if weighted else None
    if kind == "csr":
        arrays = [sp.csr_array(np.where(rng.random(x.shape) < 0.6, 0, x)) for x in arrays]
    measures = Measures.from_arrays(arrays, weights)
    return measures.with_points(measures.points.astype(np.float32)) if kind == "float32" else measures


def by_threads(measures, **options):
    with joblib.parallel_config(backend="threading"):
        return solve_pairs(measures, square_pairs(len(measures)), n_jobs=2, **options)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.gap == expected.gap
    assert (found.plans is None) == (expected.plans is None)
    for name in ("offsets", "rows", "cols", "mass") if found.plans is not None else ():
        np.testing.assert_array_equal(getattr(found.plans, name), getattr(expected.plans, name))
        assert getattr(found.plans, name).dtype == getattr(expected.plans, name).dtype


def until(condition):
    deadline = time.monotonic() + PLENTY
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "d"), [("dense", 8), ("float32", 8), ("dense", 300), ("csr", 60)])
def test_same_bits(client, kind, d, weighted):
    measures = clouds(kind, d=d, weighted=weighted)
    pairs = square_pairs(len(measures))
    assert_same(solve_pairs(measures, pairs, keep_plans=True), by_threads(measures, keep_plans=True))
    assert_same(solve_pairs(measures, pairs), by_threads(measures))


def test_same_bits_from_given_trees(client):
    measures = clouds()
    pairs, moved = square_pairs(len(measures)), measures.with_points(1.1 * measures.points + 0.01)
    trees = by_threads(measures, keep_plans=True, keep_trees=True).plans
    found = solve_pairs(moved, pairs, keep_plans=True, start=trees)
    assert_same(found, by_threads(moved, keep_plans=True, start=trees))


def test_functions(client, cohort, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 1_000)
    sg.tl.fit_metric(cohort, "sample", "label", rng=0)
    found = sg.tl.sample_distances(cohort).obsp["ggml_distances"]
    with joblib.parallel_config(backend="threading"):
        sg.tl.fit_metric(cohort, "sample", "label", rng=0, key_added="threads")
        expected = sg.tl.sample_distances(cohort, key="threads").obsp["threads_distances"]
    np.testing.assert_array_equal(cohort.uns["ggml"]["components"], cohort.uns["threads"]["components"])
    np.testing.assert_array_equal(found, expected)


def test_arrays_are_sent_once(client, monkeypatch):
    measures = clouds(d=250)
    pairs = square_pairs(len(measures))
    sizes, keys = [], []
    write, submit = TCP.write, client.submit

    async def counted(self, *args, **kwargs):
        sizes.append(await write(self, *args, **kwargs))
        return sizes[-1]

    monkeypatch.setattr(TCP, "write", counted)  # of client and scheduler, which are in this process
    monkeypatch.setattr(client, "submit", lambda *args, **kwargs: keys.append(kwargs["key"]) or submit(*args, **kwargs))
    solve_pairs(measures, pairs)
    assert len(keys) > 15
    # to the scheduler and to one worker; the other has it from there
    assert sum(sizes) < 2.5 * measures.points.nbytes


@pytest.mark.parametrize("n_killed", [1, 2])
def test_dead_workers_cost_their_blocks_only(client, n_killed):
    pids = list(client.run(os.getpid).values())
    measures = clouds()

    def kill():
        for pid in pids[:n_killed]:
            os.kill(pid, signal.SIGKILL)

    found = solve_pairs(measures, square_pairs(len(measures)), keep_plans=True, checkpoint=Watched(kill))
    assert_same(found, by_threads(measures, keep_plans=True))
    until(lambda: len(client.nthreads()) == 2 and not set(pids[:n_killed]) & set(client.run(os.getpid).values()))


def test_errors_leave_nothing_behind(client):
    measures = clouds()

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve_pairs(measures, square_pairs(len(measures)), checkpoint=Watched(fail))
    until(lambda: not client.cluster.scheduler.tasks)
    points = measures.points.copy()
    points[7] = np.nan
    with pytest.raises(ValueError, match="finite"):
        solve_pairs(measures.with_points(points), square_pairs(len(measures)))
    until(lambda: not client.cluster.scheduler.tasks)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_tasks_at_a_time(client, monkeypatch, n_jobs):
    submit, futures, most = client.submit, [], []

    def counted(function, *args, **kwargs):
        future = submit(function, *args, **kwargs)
        if function is _cluster._run:
            futures.append(future)
            most.append(sum(not f.done() for f in futures))
        return future

    monkeypatch.setattr(client, "submit", counted)
    measures = clouds(n=20)
    solve_pairs(measures, square_pairs(20), n_jobs=n_jobs)
    assert len(most) > n_jobs >= max(most)


def test_tasks_at_a_time_follow_the_cluster():
    threads = {"a": 2, "b": 1}
    assert _cluster._at_a_time(None, threads) == _cluster._at_a_time(-1, threads) == 6
    assert _cluster._at_a_time(5, threads) == 5
    assert _cluster._at_a_time(-2, threads) == 2
    assert _cluster._at_a_time(-9, threads) == _cluster._at_a_time(None, {}) == 1
    assert _cluster._least_busy(threads, _cluster.Counter("aab")) in threads
    assert _cluster._least_busy(threads, _cluster.Counter("a")) == "b"
    assert _cluster._least_busy({}, _cluster.Counter()) is None


def test_no_pairs(client):
    measures = clouds(n=2)
    assert len(solve_pairs(measures, np.empty((0, 2), dtype=np.int64)).distances) == 0


def test_closed_cluster_is_an_error():
    measures = clouds()
    with start(processes=False) as cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        with pytest.raises(RuntimeError, match="the dask cluster was closed"):
            solve_pairs(measures, square_pairs(len(measures)), checkpoint=Watched(cluster.close))


def test_processes_give_the_same_bits():
    measures = clouds(d=250)  # large enough for joblib to map it into memory, read-only
    assert measures.points.nbytes > 1e6
    with joblib.parallel_config(backend="loky", n_jobs=2):
        found = solve_pairs(measures, square_pairs(len(measures)), keep_plans=True)
    assert_same(found, by_threads(measures, keep_plans=True))


def test_evaluation(client, cohort):
    arguments = {"cv": 2, "methods": ["ggml", "euclidean"], "rng": 0}
    found = sg.tl.cross_validate(cohort, "sample", "label", **arguments)
    table = sg.tl.separation_test(cohort, "sample", "label", n_permutations=19, rng=0)
    with joblib.parallel_config(backend="threading"):
        pd.testing.assert_frame_equal(found, sg.tl.cross_validate(cohort, "sample", "label", **arguments))
        pd.testing.assert_frame_equal(table, sg.tl.separation_test(cohort, "sample", "label", n_permutations=19, rng=0))
