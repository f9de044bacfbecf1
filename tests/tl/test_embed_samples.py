"""Maps of samples: geometry that is known beforehand, and what is promised of seeds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist, squareform

import scggml as sg

METHODS = ("mds", "umap", "diffmap", "tsne")


def samples_at(coordinates, key="ggml"):
    n = len(coordinates)
    pdata = AnnData(obsp={f"{key}_distances": squareform(pdist(coordinates))}, shape=(n, 0))
    pdata.obs_names = [f"s{i}" for i in range(n)]
    return pdata


@pytest.fixture(scope="module")
def two_groups():
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(24, 3))
    coordinates[12:, 0] += 30
    return samples_at(coordinates)


@pytest.mark.parametrize(
    ("method", "n_components"),
    [("mds", 1), ("mds", 2), ("mds", 3), ("diffmap", 1), ("diffmap", 2), ("diffmap", 3), ("umap", 2), ("tsne", 2)],
)
def test_shape_and_key(two_groups, method, n_components):
    pdata = two_groups.copy()
    assert sg.tl.embed_samples(pdata, method, n_components=n_components, rng=0) is None
    assert list(pdata.obsm) == [f"X_{method}"]
    coordinates = pdata.obsm[f"X_{method}"]
    assert (
        coordinates.shape == (24, n_components) and coordinates.dtype == np.float64 and np.isfinite(coordinates).all()
    )


@pytest.mark.parametrize("method", METHODS)
def test_groups_stay_apart(two_groups, method):
    pdata = two_groups.copy()
    sg.tl.embed_samples(pdata, method, n_neighbors=None if method == "mds" else 14, rng=0)
    matrix = squareform(pdist(pdata.obsm[f"X_{method}"]))
    np.fill_diagonal(matrix, np.inf)
    assert ((matrix.argmin(axis=1) < 12) == (np.arange(24) < 12)).all()


@pytest.mark.parametrize("n_components", [2, 3])
def test_mds_gives_euclidean_coordinates_back(n_components):
    truth = np.random.default_rng(1).normal(size=(9, n_components)) * np.arange(1, n_components + 1)
    pdata = samples_at(truth)
    sg.tl.embed_samples(pdata, "mds", n_components=n_components)
    found = pdata.obsm["X_mds"]
    np.testing.assert_allclose(pdist(found), pdist(truth), rtol=1e-4)
    assert procrustes(truth, found)[2] < 1e-8
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-10)
    covariance = found.T @ found  # longest axis first, axes uncorrelated
    assert (np.diff(np.diag(covariance)) <= 0).all()
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-8 * covariance[0, 0])


def test_axes_beyond_the_classical_solution_are_zero():
    around = np.abs(np.subtract.outer(np.arange(9.0), np.arange(9)))
    around = np.minimum(around, 9 - around)  # ways around a circle: only four axes have positive eigenvalues
    pdata = AnnData(obsp={"ggml_distances": around}, shape=(9, 0))
    found = sg.tl.embed_samples(pdata, n_components=7, copy=True).obsm["X_mds"]
    np.testing.assert_allclose(found[:, 4:], 0, atol=1e-6)
    expected = sg.tl.embed_samples(pdata, n_components=4, copy=True).obsm["X_mds"]
    np.testing.assert_allclose(pdist(found), pdist(expected), rtol=1e-6)


@pytest.mark.parametrize("method", ["mds", "diffmap"])
def test_deterministic_without_a_seed(two_groups, method):
    first, second = two_groups.copy(), two_groups.copy()
    sg.tl.embed_samples(first, method)
    np.random.default_rng(5)
    sg.tl.embed_samples(second, method, rng=3)
    np.testing.assert_array_equal(first.obsm[f"X_{method}"], second.obsm[f"X_{method}"])


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_seeded(two_groups, method):
    results = []
    for rng in (1, 1, np.random.default_rng(1), 2):
        pdata = two_groups.copy()
        sg.tl.embed_samples(pdata, method, rng=rng)
        results.append(pdata.obsm[f"X_{method}"])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    assert not np.allclose(results[0], results[3])


@pytest.mark.parametrize("method", METHODS)
def test_four_samples_suffice(method):
    pdata = samples_at(np.random.default_rng(2).normal(size=(4, 2)))
    sg.tl.embed_samples(pdata, method, rng=0)
    assert pdata.obsm[f"X_{method}"].shape == (4, 2) and np.isfinite(pdata.obsm[f"X_{method}"]).all()


@pytest.mark.parametrize("method", ["mds", "umap", "diffmap"])
def test_global_random_state_is_left_alone(two_groups, method):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 the legacy state is what is tested
    sg.tl.embed_samples(two_groups.copy(), method, rng=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_any_precomputed_distances(two_groups):
    pdata = two_groups.copy()
    matrix = pdata.obsp.pop("ggml_distances")
    pdata.obsp["mine_distances"] = sp.csr_matrix(matrix)
    sg.tl.embed_samples(pdata, "mds", key="mine")
    expected = two_groups.copy()
    sg.tl.embed_samples(expected, "mds")
    np.testing.assert_array_equal(pdata.obsm["X_mds"], expected.obsm["X_mds"])
    assert list(pdata.obsm) == ["X_mds"]


def test_copy_and_view(two_groups, assert_same_anndata):
    before = two_groups.copy()
    result = sg.tl.embed_samples(two_groups, "mds", copy=True)
    assert "X_mds" in result.obsm
    view = two_groups[:10]
    sg.tl.embed_samples(view, "mds")
    assert not view.is_view and view.obsm["X_mds"].shape == (10, 2)
    np.testing.assert_allclose(view.obsp["ggml_distances"], before.obsp["ggml_distances"][:10, :10])
    assert_same_anndata(two_groups, before)


CASES = {
    "method": ({"method": "pca"}, ValueError, ["method", "mds, umap, diffmap, tsne", "'pca'"]),
    "key": ({"key": "mine"}, KeyError, ["obsp['mine_distances']", "ggml_distances", "sg.tl.sample_distances"]),
    "n_components 0": ({"n_components": 0}, ValueError, ["n_components", "at least 1"]),
    "n_components float": ({"n_components": 2.0}, TypeError, ["n_components", "integer"]),
    "n_components large": ({"n_components": 23}, ValueError, ["n_components", "at most 22 for 24 samples", "23"]),
    "n_neighbors of mds": ({"n_neighbors": 5}, ValueError, ["n_neighbors=5", "no effect", "'mds'"]),
    "n_neighbors": ({"n_neighbors": 1, "method": "umap"}, ValueError, ["n_neighbors", "at least 2", "found 1"]),
    "rng": ({"rng": -3}, ValueError, ["rng", "not negative", "-3"]),
    "rng text": ({"rng": "a"}, TypeError, ["rng", "'a'"]),
    "empty key": ({"key": ""}, ValueError, ["key", "''"]),
    "unknown": ({"perplexity": 3}, TypeError, ["perplexity"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(two_groups, assert_same_anndata, case):
    arguments, error, texts = CASES[case]
    before = two_groups.copy()
    with pytest.raises(error) as caught:
        sg.tl.embed_samples(two_groups, **arguments)
    for part in texts:
        assert part in str(caught.value.args[0])
    assert_same_anndata(two_groups, before)


@pytest.mark.parametrize("method", METHODS)
def test_too_few_samples(method):
    pdata = samples_at(np.array([[0.0], [1.0], [3.0]]))
    with pytest.raises(ValueError, match="a map needs at least 4 samples, pdata has 3"):
        sg.tl.embed_samples(pdata, method)
    assert not pdata.obsm


def test_cells_instead_of_samples(fitted):
    with pytest.raises(KeyError, match=r"obsp\['ggml_distances'\] does not exist.*sample_distances"):
        sg.tl.embed_samples(fitted)
    with pytest.raises(TypeError, match="pdata must be an AnnData, found ndarray"):
        sg.tl.embed_samples(np.eye(5))


@pytest.mark.parametrize("method", METHODS)
def test_samples_that_do_not_differ(method):
    pdata = samples_at(np.zeros((6, 1)))
    with pytest.raises(ValueError, match="all distances of key='ggml' are zero: samples do not differ"):
        sg.tl.embed_samples(pdata, method)
    assert not pdata.obsm
