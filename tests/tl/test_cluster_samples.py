from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster
from scipy.cluster.hierarchy import linkage as hierarchy
from scipy.spatial.distance import cdist, squareform
from sklearn.metrics import adjusted_rand_score, silhouette_score

import scggml as sg


def groups(sizes=(4, 6, 3), seed=0):
    """Points around far centres, as samples with distances."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    places = 10 * np.eye(len(sizes))[codes] + rng.normal(size=(len(codes), len(sizes)))
    sdata = ad.AnnData(obs={"group": codes.astype(str)}, obsp={"ggml_distances": cdist(places, places)})
    sdata.obs_names = [f"s{i}" for i in range(len(codes))]
    return sdata


def test_groups_are_found_and_the_largest_comes_first():
    sdata = groups()
    assert sg.tl.cluster_samples(sdata) is None
    found = sdata.obs["ggml_cluster"]
    assert found.value_counts().to_dict() == {"0": 6, "1": 4, "2": 3}
    assert adjusted_rand_score(sdata.obs["group"], found) == 1
    expected = silhouette_score(sdata.obsp["ggml_distances"], found, metric="precomputed")
    assert sdata.uns["ggml_cluster"]["silhouette"] == pytest.approx(expected)


@pytest.mark.parametrize("linkage", ["complete", "average", "single"])
def test_clusters_are_those_of_scipy(linkage):
    sdata = groups((5, 5, 5, 5), seed=3)
    sg.tl.cluster_samples(sdata, 6, linkage=linkage)
    tree = hierarchy(squareform(sdata.obsp["ggml_distances"], checks=False), linkage)
    assert adjusted_rand_score(sdata.obs["ggml_cluster"], fcluster(tree, 6, "maxclust")) == 1
    assert list(sdata.obs["ggml_cluster"].cat.categories) == list("012345")


def test_equal_clusters_are_named_in_the_order_of_samples():
    sdata = groups((4, 4))
    sg.tl.cluster_samples(sdata, 2)
    assert sdata.obs["ggml_cluster"].iloc[0] == "0"


def test_order_of_samples_does_not_matter():
    sdata = groups()
    shuffled = sdata[np.random.default_rng(1).permutation(sdata.n_obs)].copy()
    for each in (sdata, shuffled):
        sg.tl.cluster_samples(each, key_added="mine")
    assert (shuffled.obs["mine"] == sdata.obs["mine"].reindex(shuffled.obs_names)).all()


def test_copy_view_and_round_trip(sdata, tmp_path, assert_same_anndata):
    before = sdata.copy()
    copied = sg.tl.cluster_samples(sdata, 2, copy=True)
    assert_same_anndata(sdata, before)
    view = sdata[:6]
    sg.tl.cluster_samples(view, 2)
    assert not view.is_view
    assert_same_anndata(sdata, before)
    copied.write_h5ad(tmp_path / "s.h5ad")
    assert_same_anndata(ad.read_h5ad(tmp_path / "s.h5ad"), copied)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"n_clusters": 13}, "n_clusters must be at most 12 for 13 samples|n_clusters must be"),
        ({"n_clusters": 1}, "n_clusters must be at least 2"),
        ({"linkage": "ward"}, "linkage must be one of complete, average, single, found 'ward'"),
        ({"key": "none"}, "obsp\\['none_distances'\\] does not exist"),
        ({"key_added": "a/b"}, "key_added must be"),
    ],
)
def test_bad_arguments(arguments, text, assert_same_anndata):
    sdata = groups()
    before = sdata.copy()
    with pytest.raises((KeyError, ValueError), match=text):
        sg.tl.cluster_samples(sdata, **arguments)
    assert_same_anndata(sdata, before)


def test_distances_that_are_none():
    sdata = groups()
    sdata.obsp["ggml_distances"][0, 1] += 1
    with pytest.raises(ValueError, match="finite, not negative and symmetric"):
        sg.tl.cluster_samples(sdata)
    with pytest.raises(ValueError, match="2 samples, too few to group"):
        sg.tl.cluster_samples(groups((1, 1)))
