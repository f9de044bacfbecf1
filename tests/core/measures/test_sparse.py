from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures import _sparse as module


def matrix(n, m, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return sp.csr_array(rng.random((n, m)) * (rng.random((n, m)) < 0.3)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inner_products(dtype):
    x, y = matrix(7, 11, dtype), matrix(5, 11, dtype, seed=1)
    found = module.inner_products(x, y)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, x.toarray() @ y.toarray().T, rtol=1e-6 if dtype == np.float32 else 1e-12)


def test_inner_products_of_empty_rows():
    x = sp.csr_array((3, 4), dtype=np.float64)
    np.testing.assert_array_equal(module.inner_products(x, matrix(2, 4)), np.zeros((3, 2)))


def test_edge_inner_products():
    x, weights = matrix(9, 13), np.linspace(0.5, 2, 13)
    rows, cols = np.array([0, 3, 8, 8, 2]), np.array([1, 3, 0, 8, 5])
    dense = x.toarray()
    expected = ((dense[rows] * dense[cols]) @ weights).ravel()
    np.testing.assert_allclose(module.edge_inner_products(x, rows, cols, weights), expected, rtol=1e-12)
    empty = np.empty(0, dtype=np.int64)
    assert module.edge_inner_products(x, empty, empty, weights).shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [1, 2, None])
def test_times(dtype, n_jobs):
    x, block = matrix(50, 11, dtype), np.random.default_rng(3).normal(size=(11, 6))
    found = module.times(x, block, n_jobs)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, x.toarray() @ block, rtol=1e-4, atol=1e-5 if dtype == np.float32 else 1e-12)


def test_times_covers_rows_without_entries():
    x = sp.csr_array((np.ones(2), np.array([0, 1]), np.array([0, 0, 0, 2, 2, 2])), shape=(5, 2))
    np.testing.assert_array_equal(module.times(x, np.ones((2, 1)))[:, 0], [0, 0, 2, 0, 0])
    np.testing.assert_array_equal(module.times(sp.csr_array((3, 2)), np.ones((2, 1))), np.zeros((3, 1)))
