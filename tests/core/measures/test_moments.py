from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from scggml.core.measures import _moments as module
from scggml.core.measures._blocks import row_blocks
from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import feature_scale, typical_cost
from scggml.core.metric._ground_metric import GroundMetric


def clouds(rng, sizes=(3, 7, 20), d=4):
    result = []
    for n in sizes:
        cloud = rng.normal(loc=5, scale=[1, 10, 0.1, 3], size=(n, d))
        cloud[rng.random(cloud.shape) < 0.4] = 0.0
        result.append(cloud)
    return result


def brute_variance(arrays):
    """Each sample counts alike: E[(x - m)^2] over samples of means over cells."""
    mean = np.mean([x.mean(axis=0) for x in arrays], axis=0)
    return np.mean([((x - mean) ** 2).mean(axis=0) for x in arrays], axis=0)


def test_project_and_mahalanobis_matrix_give_the_definition():
    rng = np.random.default_rng(0)
    components, scale = rng.normal(size=(2, 4)), rng.uniform(0.5, 3, size=4)
    metric = GroundMetric(components, scale)
    x, y = rng.normal(size=(2, 4))
    expected = np.linalg.norm(components @ ((x - y) / scale))
    z = metric.project(np.stack([x, y]))
    assert z.shape == (2, 2)
    np.testing.assert_allclose(np.linalg.norm(z[0] - z[1]), expected, rtol=1e-12)
    np.testing.assert_allclose((x - y) @ metric.mahalanobis_matrix() @ (x - y), expected**2, rtol=1e-12)
    np.testing.assert_allclose(metric.linear_map @ x, z[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_project_sparse_equals_dense(dtype):
    rng = np.random.default_rng(1)
    metric = GroundMetric(rng.normal(size=(3, 6)), np.full(6, 2.0))
    x = sp.csr_array((rng.random((9, 6)) * (rng.random((9, 6)) < 0.4)).astype(dtype))
    z = metric.project(x)
    assert isinstance(z, np.ndarray)
    assert z.dtype == np.float64
    np.testing.assert_allclose(z, x.toarray().astype(float) @ (metric.components / 2).T, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("components", "scale", "text"),
    [
        (np.ones((2, 3)), np.ones(2), "do not fit"),
        (np.ones(3), np.ones(3), "do not fit"),
        (np.ones((2, 3)), np.array([1.0, 0.0, 1.0]), "positive"),
        (np.ones((2, 3)), np.array([1.0, np.inf, 1.0]), "finite"),
        (np.full((2, 3), np.nan), np.ones(3), "finite"),
    ],
)
def test_broken_metrics_are_refused(components, scale, text):
    with pytest.raises(ValueError, match=text):
        GroundMetric(components, scale)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_feature_scale_is_the_sample_balanced_standard_deviation(kind):
    arrays = clouds(np.random.default_rng(2))
    scale, constant = feature_scale(Measures.from_arrays([kind(x) for x in arrays]), "feature")
    np.testing.assert_allclose(scale, np.sqrt(brute_variance(arrays)), rtol=1e-12)
    assert not constant.any()


def test_feature_scale_does_not_depend_on_the_number_of_cells():
    arrays = clouds(np.random.default_rng(3))
    more = [arrays[0], np.vstack([arrays[1]] * 5), arrays[2]]
    one, two = (feature_scale(Measures.from_arrays(a), "feature")[0] for a in (arrays, more))
    np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_global_scale_is_one_root_mean_variance_of_varying_features(kind):
    arrays = [np.column_stack([x, np.zeros(len(x))]) for x in clouds(np.random.default_rng(4))]
    scale, constant = feature_scale(Measures.from_arrays([kind(x) for x in arrays]), "global")
    np.testing.assert_allclose(scale, np.full(5, np.sqrt(brute_variance(arrays)[:4].mean())), rtol=1e-12)
    np.testing.assert_array_equal(constant, [False] * 4 + [True])


def test_no_scale_is_ones():
    scale, constant = feature_scale(Measures.from_arrays(clouds(np.random.default_rng(5))), None)
    np.testing.assert_array_equal(scale, np.ones(4))
    assert not constant.any()


@pytest.mark.parametrize("n_samples", [3, 7, 13])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((value, np.asarray) for value in (0.0, 3.3, -1e6, 1e-9)),
        (0.0, sp.csr_array),
        *((value, sp.csr_array) for value in (3.3, -1e6, 1e-9)),
    ],
)
def test_constant_features_are_found_and_have_scale_one(kind, value, n_samples):
    rng = np.random.default_rng(6)
    arrays = [
        np.column_stack([cloud, np.full(len(cloud), value)]) for cloud in clouds(rng, rng.integers(3, 12, n_samples))
    ]
    scale, constant = feature_scale(Measures.from_arrays([kind(x) for x in arrays]), "feature")
    np.testing.assert_array_equal(constant, [False] * 4 + [True])
    assert scale[4] == 1


def test_values_stored_in_parts_are_added_up():
    parts = sp.csr_array((np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 0, 0]), np.array([0, 2, 3, 4])), shape=(3, 1))
    scale, _ = feature_scale(Measures.from_arrays([parts]), "feature")
    np.testing.assert_allclose(scale, np.std([3.0, 3.0, 4.0]))


def test_barely_varying_feature_is_not_constant():
    x = np.column_stack([np.arange(6.0), 1000 + 1e-4 * np.arange(6.0)])
    scale, constant = feature_scale(Measures.from_arrays([x, x[::-1]]), "feature")
    assert not constant.any()
    np.testing.assert_allclose(scale[1], 1e-4 * np.std(np.arange(6.0)), rtol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, (sp.csr_array)])
def test_float32_points_are_averaged_in_double_precision(kind):
    rng = np.random.default_rng(7)
    x = (1e4 + rng.normal(size=(500, 1))).astype(np.float32)
    scale, _ = feature_scale(Measures.from_arrays([kind(x)]), "feature")
    np.testing.assert_allclose(scale, x.astype(float).std(axis=0), rtol=1e-9)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_blocks_of_rows_do_not_matter(monkeypatch, kind):
    arrays = clouds(np.random.default_rng(8))
    monkeypatch.setattr(module, "row_blocks", lambda points: row_blocks(points, budget=8))
    scale, _ = feature_scale(Measures.from_arrays([kind(x) for x in arrays]), "feature")
    np.testing.assert_allclose(scale, np.sqrt(brute_variance(arrays)), rtol=1e-12)


def test_typical_cost_is_the_root_mean_squared_distance():
    x = np.random.default_rng(1).normal(size=(40, 3)) * [1, 2, 5]
    measures = Measures.from_arrays([x[:20], x[20:]])
    np.testing.assert_allclose(typical_cost(measures), np.sqrt((cdist(x, x) ** 2).mean()), rtol=1e-12)
