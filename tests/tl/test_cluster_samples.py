from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster
from scipy.cluster.hierarchy import linkage as hierarchy
from scipy.spatial.distance import cdist, squareform
from sklearn.metrics import adjusted_rand_score, silhouette_score

import scggml as sg


def clustered(sizes=(4, 6, 3), seed=0):
    """Points around far centres, as samples with distances."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    places = 10 * np.eye(len(sizes))[codes] + rng.normal(size=(len(codes), len(sizes)))
    pdata = ad.AnnData(obs={"group": codes.astype(str)}, obsp={"ggml_distances": cdist(places, places)})
    pdata.obs_names = [f"s{i}" for i in range(len(codes))]
    return pdata


def test_groups_are_found_and_the_largest_comes_first():
    pdata = clustered()
    assert sg.tl.cluster_samples(pdata) is None
    found = pdata.obs["ggml_cluster"]
    assert found.value_counts().to_dict() == {"0": 6, "1": 4, "2": 3}
    assert adjusted_rand_score(pdata.obs["group"], found) == 1
    expected = silhouette_score(pdata.obsp["ggml_distances"], found, metric="precomputed")
    assert pdata.uns["ggml_cluster"]["silhouette"] == pytest.approx(expected)


@pytest.mark.parametrize("n_clusters", [3, 6])
def test_clusters_are_those_of_scipy(n_clusters):
    pdata = clustered((5, 5, 5, 5), seed=3)
    sg.tl.cluster_samples(pdata, n_clusters)
    tree = hierarchy(squareform(pdata.obsp["ggml_distances"], checks=False), "complete")
    assert adjusted_rand_score(pdata.obs["ggml_cluster"], fcluster(tree, n_clusters, "maxclust")) == 1
    assert list(pdata.obs["ggml_cluster"].cat.categories) == list("012345"[:n_clusters])


def test_equal_clusters_are_named_in_the_order_of_samples():
    pdata = clustered((4, 4))
    sg.tl.cluster_samples(pdata, 2)
    assert pdata.obs["ggml_cluster"].iloc[0] == "0"


def test_order_of_samples_does_not_matter():
    pdata = clustered()
    shuffled = pdata[np.random.default_rng(1).permutation(pdata.n_obs)].copy()
    for each in (pdata, shuffled):
        sg.tl.cluster_samples(each, key_added="mine")
    assert (shuffled.obs["mine"] == pdata.obs["mine"].reindex(shuffled.obs_names)).all()


def test_copy_view_and_round_trip(pdata, tmp_path, assert_same_anndata):
    before = pdata.copy()
    copied = sg.tl.cluster_samples(pdata, 2, copy=True)
    assert_same_anndata(pdata, before)
    view = pdata[:6]
    sg.tl.cluster_samples(view, 2)
    assert not view.is_view
    assert_same_anndata(pdata, before)
    copied.write_h5ad(tmp_path / "s.h5ad")
    assert_same_anndata(ad.read_h5ad(tmp_path / "s.h5ad"), copied)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"n_clusters": 13}, "n_clusters must be at most 12 for 13 samples, found 13"),
        ({"n_clusters": 1}, "n_clusters must be at least 2"),
        ({"key": "none"}, "obsp\\['none_distances'\\] does not exist"),
        ({"key_added": "a/b"}, "key_added must be"),
    ],
)
def test_bad_arguments(arguments, text, assert_same_anndata):
    pdata = clustered()
    before = pdata.copy()
    with pytest.raises((KeyError, ValueError), match=text):
        sg.tl.cluster_samples(pdata, **arguments)
    assert_same_anndata(pdata, before)


def test_distances_that_are_none():
    pdata = clustered()
    pdata.obsp["ggml_distances"][0, 1] += 1
    with pytest.raises(ValueError, match=r"obsp\['ggml_distances'\] must be symmetric"):
        sg.tl.cluster_samples(pdata)
    with pytest.raises(ValueError, match="clustering needs at least 3 samples, pdata has 2"):
        sg.tl.cluster_samples(clustered((1, 1)))
