"""Several threads on one AnnData, processes of every start method, joblib and dask: the bits of one call after another."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import anndata as ad
import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import scggml as sg

N_THREADS = 4

# as (function, positional arguments, named arguments): public functions can be sent to processes, those of tests cannot
ON_CELLS = {
    "fit_metric": (sg.tl.fit_metric, ("sample", "label"), {"rng": 0, "copy": True}),
    "fit_metric on X": (sg.tl.fit_metric, ("sample", "label"), {"use_rep": "X", "rng": 0, "copy": True}),
    "fit_metric by gradient": (
        sg.tl.fit_metric,
        ("sample", "label"),
        {"learner": sg.GroundMetricLearner(refine=sg.Refinement(max_iter=2)), "rng": 0, "copy": True},
    ),
    "sample_distances": (sg.tl.sample_distances, (), {}),
    "class_barycenters": (sg.tl.class_barycenters, (), {"n_points": 5, "rng": 0}),
    "rank_genes": (sg.tl.rank_genes, (), {"n_boot": 5, "rng": 0, "copy": True}),
    "sketch": (sg.pp.sketch, ("sample",), {"n_points": 4, "rng": 0, "copy": True}),
}
SENT = ("fit_metric on X", "sample_distances")


def call(adata, name):
    function, positional, named = ON_CELLS[name]
    return function(adata, *positional, **named)


def threads_of_blas():
    return {library["filepath"]: library["num_threads"] for library in threadpool_info()}


@pytest.mark.parametrize("name", ON_CELLS)
def test_threads_on_one_anndata(fitted, assert_same_anndata, name):
    before, expected, blas = fitted.copy(), call(fitted, name), threads_of_blas()
    barrier = Barrier(N_THREADS)

    def at_once():
        barrier.wait(60)
        return call(fitted, name)

    with ThreadPoolExecutor(N_THREADS) as pool:
        for future in [pool.submit(at_once) for _ in range(N_THREADS)]:
            assert_same_anndata(future.result(), expected)
    assert_same_anndata(fitted, before)
    assert threads_of_blas() == blas


def test_different_functions_at_once(fitted, assert_same_anndata):
    names = ("fit_metric", "fit_metric on X", "sample_distances", "rank_genes", "sketch")
    expected = {name: call(fitted, name) for name in names}
    with ThreadPoolExecutor(N_THREADS) as pool:
        futures = [(name, pool.submit(call, fitted, name)) for name in 2 * names]
    for name, future in futures:
        assert_same_anndata(future.result(), expected[name])


def test_threads_write_to_copies_of_their_own(cohort, fitted, assert_same_anndata):
    copies = [cohort.copy() for _ in range(N_THREADS)]

    def write(adata):
        sg.tl.fit_metric(adata, "sample", "label", rng=0)

    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(write, copies))
    for copy in copies:
        assert_same_anndata(copy, fitted)


def test_processes(fitted, assert_same_anndata, tmp_path):
    """In an interpreter of its own: a process with as many threads as that of the tests should not be forked."""
    fitted.write_h5ad(tmp_path / "cells.h5ad")
    code = f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        import anndata as ad
        import scggml as sg

        adata = ad.read_h5ad({str(tmp_path / "cells.h5ad")!r})
        sg.tl.sample_distances(adata)  # threads have run before processes start
        for method in multiprocessing.get_all_start_methods():
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
                fit = pool.submit(sg.tl.fit_metric, adata, "sample", "label", use_rep="X", rng=0, copy=True)
                distances = pool.submit(sg.tl.sample_distances, adata)
                fit.result(120).write_h5ad({str(tmp_path)!r} + f"/{{method}} fit_metric on X.h5ad")
                distances.result(120).write_h5ad({str(tmp_path)!r} + f"/{{method}} sample_distances.h5ad")
    """
    script = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    subprocess.run(script, check=True, timeout=300, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    for name in SENT:
        expected = call(fitted, name)
        for method in multiprocessing.get_all_start_methods():
            assert_same_anndata(ad.read_h5ad(tmp_path / f"{method} {name}.h5ad"), expected)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_calls_by_joblib(fitted, assert_same_anndata, backend):
    calls = [ON_CELLS[name] for name in 2 * SENT]
    parallel = joblib.Parallel(n_jobs=2, backend=backend)
    results = parallel(joblib.delayed(function)(fitted, *args, **named) for function, args, named in calls)
    for name, found in zip(2 * SENT, results, strict=True):
        assert_same_anndata(found, call(fitted, name))


def test_calls_by_dask(fitted, assert_same_anndata):
    dask = pytest.importorskip("dask", reason="dask is not installed")
    tasks = [dask.delayed(call, pure=False)(fitted, name) for name in 2 * SENT]
    for name, found in zip(2 * SENT, dask.compute(*tasks, scheduler="threads"), strict=True):
        assert_same_anndata(found, call(fitted, name))


def test_calls_on_a_dask_cluster(fitted, assert_same_anndata):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        cells = client.scatter(fitted)
        futures = [client.submit(call, cells, name, pure=False) for name in 2 * SENT]
        for name, future in zip(2 * SENT, futures, strict=True):
            assert_same_anndata(future.result(120), call(fitted, name))


def test_seeds_do_not_depend_on_the_order_of_threads(cohort):
    def fit(seed):
        adata = sg.pp.sketch(cohort, "sample", n_points=4, rng=seed, copy=True)
        sg.tl.fit_metric(adata, "sample", "label", sketch_key="sketch", rng=seed)
        return adata.uns["ggml"]["components"]

    expected = [fit(seed) for seed in range(6)]
    with ThreadPoolExecutor(N_THREADS) as pool:
        for found, components in zip(pool.map(fit, range(6)), expected, strict=True):
            np.testing.assert_array_equal(found, components)
