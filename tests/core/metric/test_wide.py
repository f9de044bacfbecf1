from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import feature_scale
from scggml.core.metric import _discriminant as discriminant
from scggml.core.metric import _wide as module
from scggml.core.metric._discriminant import transport_discriminant
from scggml.core.metric._targets import Targets
from scggml.core.transport._exact import solve_pairs, square_pairs


def cohort(d=60, n_samples=8, n_cells=25, seed=0, kind=sp.csr_array):
    """Sparse samples with a few strong directions; three of the features differ between the two classes."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n_samples) % 2
    loadings = rng.normal(size=(5, d))
    clouds = []
    for code in codes:
        cloud = np.exp(0.5 * rng.normal(size=(n_cells, 5)) @ loadings)
        cloud[:, :3] += 2 * code
        cloud[rng.random(cloud.shape) < 0.5] = 0
        cloud[:, 5] = 0  # a constant feature
        clouds.append(kind(cloud))
    return Measures.from_arrays(clouds), codes


def graph(seed=0, n=30):
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.4), k=1)
    weights = weights + weights.T
    return sp.csr_array(np.diag(weights.sum(axis=1)) - weights)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_moment_is_the_matrix(kind):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 9)) * (rng.random((30, 9)) < 0.6)
    unit = np.append(rng.uniform(0.5, 2, size=8), 0.0)
    matrix = np.diag(unit) @ x.T @ graph().toarray() @ x @ np.diag(unit)
    points = kind(x)
    transposed = sp.csr_array(points.T) if sp.issparse(points) else points.T
    moment = module.Moment(points, transposed, graph(), unit, 1)
    np.testing.assert_allclose(moment(np.eye(9)), matrix, atol=1e-12)
    np.testing.assert_allclose(moment.trace(), np.trace(matrix), rtol=1e-12)


def test_block_krylov_finds_leading_eigenvectors():
    rng = np.random.default_rng(2)
    q = np.linalg.qr(rng.normal(size=(80, 80)))[0]
    spectrum = np.concatenate([[10, 7, 5], np.linspace(1, 0.1, 77)])
    matrix = (q * spectrum) @ q.T
    values, vectors, residuals = module.block_krylov(lambda v: matrix @ v, np.ones(80, dtype=bool), 3, 1e-12)
    np.testing.assert_allclose(values, [10, 7, 5], rtol=1e-10)
    np.testing.assert_allclose(abs(vectors.T @ q[:, :3]), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(residuals, 0, atol=1e-5)


def test_block_krylov_leaves_other_features_alone_and_stops_when_the_space_is_full():
    matrix, active = np.diag([3.0, 0, 2, 1]), np.array([True, False, True, True])
    values, vectors, _ = module.block_krylov(lambda v: matrix @ v, active, 3, 0.0)
    np.testing.assert_allclose(values, [3, 2, 1])
    np.testing.assert_allclose(vectors[1], 0, atol=1e-15)


@pytest.mark.parametrize("exponent", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("shift", [0.05, 5.0])
def test_inverse_power_is_the_power_of_the_matrix(exponent, shift):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 40)) * np.geomspace(10, 0.3, 40)
    moment = module.Moment(x, x.T, graph(n=60), np.ones(40), 1)
    values, vectors = np.linalg.eigh(moment(np.eye(40)))
    shift = shift * values.mean()
    expected = (vectors * (np.maximum(values, 0) + shift) ** -exponent) @ vectors.T
    found = module._inverse_power(moment, shift, exponent, np.ones(40, dtype=bool))(np.eye(40))
    np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize(("whitening", "ridge"), [(0.0, 0.3), (0.5, 0.3), (0.5, 3.0), (1.0, 1.0)])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_wide_metric_is_that_of_the_matrices(monkeypatch, kind, whitening, ridge):
    measures, codes = cohort(kind=kind)
    scale, constant = feature_scale(measures, "feature")
    pairs = square_pairs(len(measures))
    transport = solve_pairs(measures.scaled(~constant / scale), pairs, keep_plans=True)
    options = {"scale": scale, "active": ~constant, "n_comps": 6, "ridge": ridge, "power": 1.0, "whitening": whitening}
    full = transport_discriminant(measures, transport, Targets.of_classes(codes), **options)
    monkeypatch.setattr(discriminant, "WIDE", 10)
    wide = transport_discriminant(measures, transport, Targets.of_classes(codes), **options)
    assert wide.shape == full.shape
    np.testing.assert_array_equal(wide[:, 5], 0)
    expected = full.T @ full
    np.testing.assert_allclose(wide.T @ wide, expected, atol=5e-3 * abs(expected).max())


def test_single_precision_stays_and_is_enough(monkeypatch):
    monkeypatch.setattr(discriminant, "WIDE", 10)
    seen = []
    times = module.times
    monkeypatch.setattr(module, "times", lambda x, block, n_jobs: seen.append(times(x, block, n_jobs)) or seen[-1])
    metrics = []
    for dtype in (np.float64, np.float32):
        measures, codes = cohort()
        measures = measures.with_points(measures.points.astype(dtype))
        scale, constant = feature_scale(measures, "feature")
        pairs = square_pairs(len(measures))
        transport = solve_pairs(measures.scaled(~constant / scale), pairs, keep_plans=True)
        w = transport_discriminant(
            measures,
            transport,
            Targets.of_classes(codes),
            scale=scale,
            active=~constant,
            n_comps=6,
            ridge=0.3,
            power=1.0,
            whitening=0.5,
        )
        metrics.append(w.T @ w)
        assert {product.dtype for product in seen} == {np.dtype(dtype)}
        seen.clear()
    np.testing.assert_allclose(metrics[1], metrics[0], atol=5e-3 * abs(metrics[0]).max())


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(discriminant, "WIDE", 10)
    measures, codes = cohort()
    scale, constant = feature_scale(measures, "feature")
    pairs = square_pairs(len(measures))
    transport = solve_pairs(measures.scaled(~constant / scale), pairs, keep_plans=True)
    one, two = (
        transport_discriminant(
            measures, transport, Targets.of_classes(codes), scale=scale, active=~constant, n_comps=6, ridge=0.3,
            power=1.0, whitening=0.5, n_jobs=n_jobs,
        )
        for n_jobs in (1, 2)
    )  # fmt: skip
    np.testing.assert_array_equal(one, two)
