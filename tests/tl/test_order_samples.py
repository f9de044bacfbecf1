"""Trajectories: an order that is known beforehand."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

import scggml as sg


def on_a_curve(n, noise=0.05, seed=0):
    """Samples on three quarters of a turn of a helix, in random order; the coordinates along it, and the samples."""
    rng = np.random.default_rng(seed)
    time = rng.uniform(size=n)
    time[[3, 5]] = 0, 1
    coordinates = np.stack([np.cos(1.3 * np.pi * time), np.sin(1.3 * np.pi * time), time], axis=1)
    pdata = AnnData(
        obsp={"ggml_distances": squareform(pdist(coordinates + noise * rng.normal(size=(n, 3))))}, shape=(n, 0)
    )
    pdata.obs_names = [f"s{i}" for i in range(n)]
    third = np.digitize(time, [0.3, 0.7])
    pdata.obs["label"] = pd.Categorical(np.array(["early", "middle", "late"])[third])
    return time, pdata


@pytest.fixture
def curve():
    return on_a_curve(40)[1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "noise"), [(20, 0.02), (40, 0.1), (100, 0.1)])
def test_order_along_a_noisy_curve(n, noise, seed):
    time, pdata = on_a_curve(n, noise, seed)
    assert sg.tl.order_samples(pdata, "s3") is None
    found = pdata.obs["ggml_pseudotime"]
    assert spearmanr(found, time)[0] > 0.95
    assert found["s3"] == found.min() == 0 and found.max() == 1
    sg.tl.order_samples(pdata, "s5")
    assert spearmanr(pdata.obs["ggml_pseudotime"], time)[0] < -0.95


def test_order_of_samples_does_not_matter(curve):
    shuffled = curve[np.random.default_rng(0).permutation(curve.n_obs)].copy()
    for pdata in (curve, shuffled):
        sg.tl.order_samples(pdata, "s3")
    found = shuffled.obs["ggml_pseudotime"].reindex(curve.obs_names)
    np.testing.assert_allclose(found, curve.obs["ggml_pseudotime"], atol=1e-6)
    assert spearmanr(found, curve.obs["ggml_pseudotime"])[0] > 0.999


def test_the_medoid_of_a_class_is_the_root(curve):
    sg.tl.order_samples(curve, "middle", "label")
    root = curve.uns["ggml_trajectory"]["root"]
    members = np.flatnonzero(curve.obs["label"] == "middle")
    totals = {curve.obs_names[i]: sum(curve.obsp["ggml_distances"][i, j] for j in members) for i in members}
    assert root == min(totals, key=totals.get)
    assert curve.obs.loc[root, "ggml_pseudotime"] == 0
    assert curve.uns["ggml_trajectory"]["params"]["label_key"] == "label"


def test_a_name_of_a_sample_comes_before_that_of_a_class(curve):
    curve.obs_names = ["early" if name == "s5" else name for name in curve.obs_names]
    curve.uns["ggml"] = {"params": {"label_key": "label"}}
    sg.tl.order_samples(curve, "early")
    assert curve.uns["ggml_trajectory"]["root"] == "early" and curve.obs.loc["early", "ggml_pseudotime"] == 0


def test_label_key_of_the_metric(pdata):
    sg.tl.order_samples(pdata, "well")
    assert pdata.obs.loc[pdata.uns["ggml_trajectory"]["root"], "label"] == "well"


def test_fewest_neighbors_that_connect(curve):
    def n_parts(k):
        from scggml._anndata._sample_graph import sample_graph

        return connected_components(sample_graph(curve.obsp["ggml_distances"], k).obsp["connectivities"])[0]

    sg.tl.order_samples(curve, "s3")
    used = curve.uns["ggml_trajectory"]["n_neighbors"]
    assert n_parts(used) == 1 and (used == 5 or n_parts(used - 1) > 1)
    distant = curve.copy()  # six samples far from the others: five neighbours do not connect them
    position = np.concatenate([np.arange(6.0), 1000.0 + np.arange(curve.n_obs - 6)])
    distant.obsp["ggml_distances"] = abs(position[:, None] - position)
    sg.tl.order_samples(distant, "s3")
    used = distant.uns["ggml_trajectory"]["n_neighbors"]
    curve = distant
    assert used > 5 and n_parts(used) == 1 and n_parts(used - 1) > 1
    _, small = on_a_curve(6)
    sg.tl.order_samples(small, "s3")
    assert small.uns["ggml_trajectory"]["n_neighbors"] < 5
    _, large = on_a_curve(88)
    sg.tl.order_samples(large, "s3")
    assert large.uns["ggml_trajectory"]["n_neighbors"] == 11
    _, larger = on_a_curve(136)
    sg.tl.order_samples(larger, "s3")
    assert larger.uns["ggml_trajectory"]["n_neighbors"] == 15


def test_files_copy_and_view(curve, tmp_path, assert_same_anndata):
    before = curve.copy()
    result = sg.tl.order_samples(curve, "s3", copy=True)
    assert_same_anndata(curve, before)
    result.write_h5ad(tmp_path / "a.h5ad")
    assert_same_anndata(ad.read_h5ad(tmp_path / "a.h5ad"), result)
    view = curve[:20]
    sg.tl.order_samples(view, "s3")
    assert not view.is_view and view.obs["ggml_pseudotime"].notna().all()
    assert_same_anndata(curve, before)


def test_print_options_are_left_alone(curve):
    before = np.get_printoptions()
    sg.tl.order_samples(curve, "s3")
    assert np.get_printoptions() == before


def test_two_islands():
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(20, 2))
    coordinates[12:] += 50
    pdata = AnnData(obsp={"ggml_distances": squareform(pdist(coordinates))}, shape=(20, 0))
    pdata.obs_names = [f"s{i}" for i in range(20)]
    sg.tl.order_samples(pdata, "s0")
    assert pdata.uns["ggml_trajectory"]["n_neighbors"] > 5  # else the islands are not connected
    assert pdata.obs["ggml_pseudotime"].iloc[:12].max() < pdata.obs["ggml_pseudotime"].iloc[12:].min()


CASES = {
    "key": ({"root": "s3", "key": "mine"}, KeyError, ["obsp['mine_distances']", "sg.tl.sample_distances"]),
    "root": ({"root": "x", "label_key": "label"}, ValueError, ["root='x'", "s0, s1", "early, late, middle"]),
    "root without label_key": ({"root": "early"}, ValueError, ["root='early'", "Pass label_key"]),
    "root number": ({"root": 3}, TypeError, ["root", "3", "as text"]),
    "label_key": ({"root": "x", "label_key": "state"}, KeyError, ["label_key='state'", "label"]),
    "empty key": ({"root": "s3", "key": ""}, ValueError, ["key"]),
    "copy": ({"root": "s3", "copy": 1}, TypeError, ["copy", "True or False"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(curve, assert_same_anndata, case):
    arguments, error, texts = CASES[case]
    before = curve.copy()
    with pytest.raises(error) as caught:
        sg.tl.order_samples(curve, **arguments)
    for part in texts:
        assert part in str(caught.value.args[0])
    assert_same_anndata(curve, before)


def test_bad_samples(curve):
    with pytest.raises(ValueError, match="a trajectory needs at least 4 samples, pdata has 3"):
        sg.tl.order_samples(curve[:3], "s0")
    curve.obs_names = ["s3", "s3", *curve.obs_names[2:]]
    with pytest.raises(ValueError, match="names 3 samples.*obs_names_make_unique"):
        sg.tl.order_samples(curve, "s3")
    curve.obsp["ggml_distances"][0, 1] = np.nan
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        sg.tl.order_samples(curve, "s4")


def test_samples_that_do_not_differ(curve):
    curve.obsp["ggml_distances"][:] = 0
    with pytest.raises(ValueError, match="all distances of key='ggml' are zero: samples do not differ"):
        sg.tl.order_samples(curve, "s3")


def test_label_key_without_effect_is_refused(curve):
    with pytest.raises(ValueError, match="label_key='nonsense' has no effect: root='s1' is the name of a sample"):
        sg.tl.order_samples(curve, "s1", "nonsense")
