from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from scggml.core.transport._costs import COSTS, cost_matrix
from scggml.core.transport._dense_costs import PRODUCTS_FROM

KINDS = {"dense": np.asarray, "float32": lambda x: x.astype(np.float32), "csr": sp.csr_array}


def two_clouds(d, seed=0):
    """Points that coincide, and some that nearly do; a third of the values are zero."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, d)), rng.normal(size=(7, d))
    if d > 3:
        x[rng.random(x.shape) < 0.3] = 0
    y[2] = x[3]
    y[4] = x[5] * (1 + 1e-6)
    return x, y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 3, PRODUCTS_FROM - 1, PRODUCTS_FROM, 50, 200])
def test_euclidean_costs_to_ten_digits(d, kind):
    x, y = (KINDS[kind](p) for p in two_clouds(d))
    dense = [np.asarray(p.toarray() if kind == "csr" else p, dtype=np.float64) for p in (x, y)]
    costs = cost_matrix(x, y, "euclidean")
    assert costs.dtype == np.float64
    assert costs.flags.c_contiguous
    np.testing.assert_allclose(costs, cdist(*dense), rtol=1e-10, atol=0)
    assert costs[3, 2] == 0


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("d", [3, PRODUCTS_FROM])
def test_euclidean_costs_far_from_the_origin_keep_their_digits(d, kind):
    # the inner-product form of the distance cancels here
    for shift in (10, 1e3, 1e6):
        x, y = (shift + p for p in two_clouds(d))
        costs = cost_matrix(KINDS[kind](x), KINDS[kind](y), "euclidean")
        np.testing.assert_allclose(costs, cdist(x, y), rtol=1e-10, atol=0)


@pytest.mark.parametrize("cost", COSTS)
def test_costs_between_sparse_and_dense_points(cost):
    x, y = two_clouds(9)
    for one, other in ((sp.csr_array(x), y), (x, sp.csr_array(y))):
        np.testing.assert_allclose(cost_matrix(one, other, cost), cdist(x, y, cost), rtol=1e-10, atol=1e-15)


def test_many_close_points_are_measured_in_parts():
    rng = np.random.default_rng(1)
    x, y = (1e4 + rng.normal(size=(n, 40_000)) for n in (6, 11))  # 66 close pairs, 50 at a time
    np.testing.assert_allclose(cost_matrix(x, y, "euclidean"), cdist(x, y), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cost", ["cityblock", "cosine"])
def test_other_costs_equal_scipy(cost, kind):
    for d in (3, PRODUCTS_FROM + 1):
        x, y = (KINDS[kind](p) for p in two_clouds(d))
        dense = [np.asarray(p.toarray() if kind == "csr" else p, dtype=np.float64) for p in (x, y)]
        costs = cost_matrix(x, y, cost)
        np.testing.assert_allclose(costs, cdist(*dense, cost), rtol=1e-12, atol=1e-15)
        assert costs[3, 2] <= 1e-15
        assert costs.min() >= 0
        assert costs.flags.c_contiguous


def test_cosine_is_never_negative():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 20))
    parallel = x * rng.uniform(0.1, 10, size=(60, 1))
    assert cost_matrix(x, parallel, "cosine").min() >= 0  # older versions of scipy leave -1e-16


def test_names_of_the_costs():
    x, y = two_clouds(4)
    assert COSTS == ("euclidean", "cityblock", "cosine")
    for cost in COSTS:
        np.testing.assert_allclose(cost_matrix(x, y, cost), cdist(x, y, cost), rtol=1e-12, atol=1e-15)
