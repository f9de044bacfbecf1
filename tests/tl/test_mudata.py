"""One metric on several modalities."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg

pytestmark = pytest.mark.filterwarnings("ignore:From 0.4 .update")  # mudata announces its next default


def cite(seed=0, n=10, n_cells=15, dtype=np.float64):
    """Cells whose RNA tells the class in one gene and whose proteins tell it in one protein."""
    rng = np.random.default_rng(seed)
    sick = np.arange(n) % 2
    codes = np.repeat(np.arange(n), n_cells)
    rna = rng.normal(size=(len(codes), 6)) * 10
    prot = rng.normal(size=(len(codes), 4)) * 0.1
    rna[:, 2] += 25 * sick[codes]
    prot[:, 1] += 0.25 * sick[codes]
    names = [f"c{i}" for i in range(len(codes))]
    mods = {}
    for mod, x in {"rna": rna, "prot": prot}.items():
        mods[mod] = ad.AnnData(x.astype(dtype), obs=pd.DataFrame(index=names))
        mods[mod].var_names = [f"{mod}{i}" for i in range(x.shape[1])]
    mdata = md.MuData(mods)
    mdata.obs["sample"] = pd.Categorical([f"s{i}" for i in codes])
    mdata.obs["label"] = pd.Categorical(np.array(["well", "sick"])[sick[codes]])
    return mdata


@pytest.fixture
def mdata():
    return cite()


@pytest.fixture
def flat(mdata):
    """The same features side by side, in the units of the joint metric."""
    parts = [mdata.mod[m].X for m in ("rna", "prot")]
    unit = np.concatenate([x.std(axis=0) * np.sqrt(x.shape[1]) for x in parts])
    return ad.AnnData(obs=mdata.obs, obsm={"X_flat": np.concatenate(parts, axis=1) / unit})


def test_the_joint_metric_is_that_of_features_side_by_side(mdata, flat):
    sg.tl.fit_metric(mdata, "sample", "label", rng=0)
    sg.tl.fit_metric(flat, "sample", "label", use_rep="X_flat", rng=0)
    np.testing.assert_allclose(
        mdata.obsm["X_ggml"] - mdata.obsm["X_ggml"][0], flat.obsm["X_ggml"] - flat.obsm["X_ggml"][0], atol=1e-9
    )
    distances = sg.tl.sample_distances(mdata)
    np.testing.assert_allclose(
        distances.obsp["ggml_distances"], sg.tl.sample_distances(flat).obsp["ggml_distances"], rtol=1e-9, atol=1e-12
    )
    assert list(distances.obs_names) == sorted(mdata.obs["sample"].unique()) and "label" in distances.obs


def test_modality_weights_and_gene_weights(mdata):
    sg.tl.fit_metric(mdata, "sample", "label", mod=["rna", "prot"], use_rep={"rna": "X", "prot": "X"}, rng=0)
    entry = mdata.uns["ggml"]
    assert sum(entry["modality_weights"].values()) == pytest.approx(1)
    components = entry["components"] / entry["scale"]
    shares = {
        m: np.var(mdata.mod[m].X @ components[:, part].T, axis=0).sum()
        for m, part in (("rna", slice(0, 6)), ("prot", slice(6, 10)))
    }
    assert entry["modality_weights"]["rna"] == pytest.approx(shares["rna"] / sum(shares.values()))
    for mod, part in (("rna", slice(0, 6)), ("prot", slice(6, 10))):
        expected = components[:, part].T * mdata.mod[mod].X.std(axis=0)[:, None]
        np.testing.assert_allclose(mdata.mod[mod].varm["ggml"], expected)
    table = sg.get.gene_weights(mdata)
    assert set(table.index[:2]) == {"rna2", "prot1"} and len(table) == 10
    assert table.loc["prot1", "modality"] == "prot" and table["share"].sum() == pytest.approx(1)
    sg.pl.gene_weights(mdata, n_genes=3)


def test_units_do_not_matter(mdata):
    other = mdata.copy()
    other.mod["prot"].X = other.mod["prot"].X * 1000
    for each in (mdata, other):
        sg.tl.fit_metric(each, "sample", "label", rng=0)
    np.testing.assert_allclose(
        sg.tl.sample_distances(other).obsp["ggml_distances"],
        sg.tl.sample_distances(mdata).obsp["ggml_distances"],
        rtol=1e-8,
    )
    euclid = [
        sg.tl.sample_distances(each, "sample", metric="euclidean").obsp["ggml_distances"] for each in (mdata, other)
    ]
    np.testing.assert_allclose(euclid[1], euclid[0], rtol=1e-8)


def test_round_trip_and_new_cells(mdata, tmp_path):
    sg.tl.fit_metric(mdata, "sample", "label", rng=0)
    mdata.write(tmp_path / "cells.h5mu")
    back = md.read(tmp_path / "cells.h5mu")
    np.testing.assert_array_equal(back.uns["ggml"]["components"], mdata.uns["ggml"]["components"])
    expected = sg.tl.sample_distances(mdata).obsp["ggml_distances"]
    np.testing.assert_array_equal(sg.tl.sample_distances(back).obsp["ggml_distances"], expected)
    new = cite(seed=1)
    new.uns["ggml"] = back.uns["ggml"]
    assert sg.tl.sample_distances(new).n_obs == 10


def test_sparse_features_give_the_same(mdata):
    other = mdata.copy()
    other.mod["rna"].X = sp.csr_matrix(other.mod["rna"].X)
    for each in (mdata, other):
        sg.tl.fit_metric(each, "sample", "label", rng=0)
    np.testing.assert_allclose(other.uns["ggml"]["components"], mdata.uns["ggml"]["components"], rtol=1e-6, atol=1e-9)


def test_cells_of_one_modality_only(mdata):
    partial = md.MuData({"rna": mdata.mod["rna"].copy(), "prot": mdata.mod["prot"][5:].copy()})
    partial.obs[["sample", "label"]] = mdata.obs[["sample", "label"]]
    with pytest.raises(
        ValueError, match=r"rna \(5\) have cells of their own, 145 are in all of rna, prot\. Pass intersect=True"
    ):
        sg.tl.fit_metric(partial, "sample", "label")
    assert "ggml" not in partial.uns and "X_ggml" not in partial.obsm
    sg.tl.fit_metric(partial, "sample", "label", intersect=True, rng=0)
    assert np.isnan(partial.obsm["X_ggml"][:5]).all() and np.isfinite(partial.obsm["X_ggml"][5:]).all()
    whole = md.MuData({m: mdata.mod[m][5:].copy() for m in ("rna", "prot")})
    whole.obs[["sample", "label"]] = mdata.obs[["sample", "label"]].iloc[5:]
    sg.tl.fit_metric(whole, "sample", "label", rng=0)
    np.testing.assert_allclose(partial.obsm["X_ggml"][5:], whole.obsm["X_ggml"])
    np.testing.assert_allclose(
        sg.tl.sample_distances(partial).obsp["ggml_distances"], sg.tl.sample_distances(whole).obsp["ggml_distances"]
    )


def test_columns_of_the_modalities_serve(mdata):
    for mod in mdata.mod:
        mdata.mod[mod].obs["donor"] = mdata.obs["sample"].astype(str)
    del mdata.obs["sample"]
    sg.tl.fit_metric(mdata, "donor", "label", rng=0)
    assert sg.tl.sample_distances(mdata).n_obs == 10
    mdata.mod["prot"].obs["donor"] = "other"
    with pytest.raises(ValueError, match="'donor' differs between the modalities 'rna' and 'prot'"):
        sg.tl.fit_metric(mdata, "donor", "label")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"mod": "rna"}, TypeError, "mod must be a list of modalities, found 'rna'"),
        ({"mod": ["rna", "atac"]}, ValueError, "Found there: rna, prot"),
        ({"mod": []}, ValueError, "mod must name modalities"),
        ({"use_rep": "X"}, TypeError, "use_rep must be a mapping from modalities"),
        ({"use_rep": {"atac": "X"}}, ValueError, "use_rep names atac"),
        ({"use_rep": {"rna": "X_pca"}}, KeyError, "modality 'rna': use_rep='X_pca' is not in obsm"),
        ({"layer": "counts"}, ValueError, "layer='counts' has no meaning for a MuData"),
        ({"sketch_key": "sketch"}, ValueError, "sketch_key='sketch' has no meaning for a MuData"),
        ({"intersect": "yes"}, ValueError, "intersect must be one of True, False"),
    ],
)
def test_bad_arguments(mdata, arguments, error, text):
    with pytest.raises(error, match=text):
        sg.tl.fit_metric(mdata, "sample", "label", **arguments)
    assert "ggml" not in mdata.uns and "X_ggml" not in mdata.obsm


def with_own_fit(mdata):
    rna = mdata.mod["rna"]
    rna.obs[["sample", "label"]] = mdata.obs[["sample", "label"]]
    sg.tl.fit_metric(rna, "sample", "label", rng=0)
    return rna


def test_metrics_of_single_modalities_are_left_alone(mdata):
    rna = with_own_fit(mdata)
    own = rna.varm["ggml"].copy()
    with pytest.raises(
        ValueError, match=r"modalities rna have a metric of their own in uns\['ggml'\].*another key_added"
    ):
        sg.tl.fit_metric(mdata, "sample", "label", rng=0)
    assert "ggml" not in mdata.uns and "X_ggml" not in mdata.obsm
    sg.tl.fit_metric(mdata, "sample", "label", mod=["prot"], rng=0)
    np.testing.assert_array_equal(rna.varm["ggml"], own)
    assert list(sg.get.gene_weights(mdata).index) == list(
        sg.get.gene_weights(mdata).index[sg.get.gene_weights(mdata)["modality"] == "prot"]
    )
    sg.tl.fit_metric(mdata, "sample", "label", key_added="joint", rng=0)
    assert set(sg.get.gene_weights(mdata, key="joint")["modality"]) == {"rna", "prot"}


def test_cells_in_another_order_in_a_modality(mdata):
    order = np.random.default_rng(0).permutation(mdata.n_obs)
    other = md.MuData({"rna": mdata.mod["rna"].copy(), "prot": mdata.mod["prot"][order].copy()})
    other.obs[["sample", "label"]] = mdata.obs[["sample", "label"]].loc[other.obs_names]
    for each in (mdata, other):
        sg.tl.fit_metric(each, "sample", "label", rng=0)
    places = pd.DataFrame(other.obsm["X_ggml"], index=other.obs_names).loc[mdata.obs_names]
    np.testing.assert_allclose(places, mdata.obsm["X_ggml"], atol=1e-9)


def test_other_modalities_than_those_learned_on(mdata):
    sg.tl.fit_metric(mdata, "sample", "label", rng=0)
    with pytest.raises(
        ValueError, match=r"mod=\['rna'\], but the metric in uns\['ggml'\] was learned on \['rna', 'prot'\]"
    ):
        sg.tl.sample_distances(mdata, mod=["rna"])


def test_ordered_labels_and_batches_in_the_columns_of_a_modality(mdata, tmp_path):
    number = mdata.obs["sample"].astype(str).str[1:].astype(int).to_numpy()
    mdata.mod["rna"].obs["batch"] = np.where(number // 2 % 2, "x", "y")
    mdata.obs["years"] = number % 5 + 0.5
    sg.tl.fit_metric(mdata, "sample", "years", label_kind="continuous", batch_key="batch", rng=0)
    assert mdata.uns["ggml"]["params"]["batch_key"] == "batch" and len(mdata.uns["ggml"]["classes"]) == 0
    distances = sg.tl.sample_distances(mdata)
    assert {"batch", "years"} <= set(distances.obs)
    mdata.write(tmp_path / "cells.h5mu")
    back = sg.tl.sample_distances(md.read(tmp_path / "cells.h5mu"))
    np.testing.assert_array_equal(back.obsp["ggml_distances"], distances.obsp["ggml_distances"])


def test_disjoint_cells(mdata):
    mdata.mod["prot"].obs_names = [f"x{i}" for i in range(mdata.mod["prot"].n_obs)]
    apart = md.MuData({m: mdata.mod[m].copy() for m in ("rna", "prot")})
    apart.obs["sample"], apart.obs["label"] = "s", "l"
    with pytest.raises(ValueError, match=r"no cell is in all modalities: rna \(150\), prot \(150\)"):
        sg.tl.fit_metric(apart, "sample", "label", intersect=True)


def test_one_kind_of_data_at_a_time(mdata):
    with pytest.raises(ValueError, match=r"mod=\['rna'\] has no meaning for an AnnData"):
        sg.tl.fit_metric(mdata.mod["rna"], "sample", "label", mod=["rna"])
    with pytest.raises(TypeError, match=r"must be an AnnData, found MuData\. Pass one of its modalities"):
        sg.tl.rank_genes(mdata)
    with pytest.raises(ValueError, match=r"view of a MuData cannot be written to"):
        sg.tl.fit_metric(mdata[:80], "sample", "label")
    copied = sg.tl.fit_metric(mdata, "sample", "label", rng=0, copy=True)
    assert "ggml" in copied.uns and "ggml" not in mdata.uns and "ggml" not in mdata.mod["rna"].varm


def test_constant_modality(mdata):
    mdata.mod["prot"].X = np.zeros_like(mdata.mod["prot"].X)
    with pytest.raises(ValueError, match="no feature of X of modality 'prot' varies"):
        sg.tl.fit_metric(mdata, "sample", "label")


def test_samples_that_were_taken_out(mdata):
    part = mdata[(mdata.obs["sample"] != "s3").to_numpy()].copy()
    assert "s3" in part.obs["sample"].cat.categories
    sg.tl.fit_metric(part, "sample", "label", rng=0)
    assert "s3" not in sg.tl.sample_distances(part).obs_names


def test_verbs_for_one_representation_refuse_a_joint_metric(mdata):
    sg.tl.fit_metric(mdata, "sample", "label", rng=0)
    pdata = sg.tl.sample_distances(mdata)
    rna = mdata.mod["rna"].copy()
    rna.obs = mdata.obs.copy()
    rna.uns["ggml"] = mdata.uns["ggml"]
    for verb in (
        lambda: sg.tl.make_reference(rna, pdata),
        lambda: sg.tl.class_barycenters(rna),
        lambda: sg.tl.explain_distances(rna, pdata),
    ):
        with pytest.raises(ValueError, match=r"several modalities \(rna, prot\)"):
            verb()
    fixed = sg.tl.sample_distances(mdata, "sample", metric="euclidean")
    with pytest.raises(ValueError, match="those of several modalities, which are not told apart"):
        sg.tl.explain_distances(rna, fixed, label_key="label")


VERBS = {
    "cross_validate": {"methods": ["ggml", "euclidean"], "cv": 5},
    "separation_test": {"n_permutations": 19},
    "tune": {"grid": {"ridge": [0.1, 1.0]}, "cv": 5, "inner_cv": 2},
}
ENTRIES = {"cross_validate": "cross_validation", "separation_test": "separation", "tune": "tuning"}


@pytest.mark.parametrize("verb", VERBS)
def test_evaluation_is_that_of_features_side_by_side(mdata, flat, verb, tmp_path):
    run = getattr(sg.tl, verb)
    found = run(mdata, "sample", "label", rng=0, **VERBS[verb])
    expected = run(flat, "sample", "label", use_rep="X_flat", rng=0, **VERBS[verb])
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
    entry = f"ggml_{ENTRIES[verb]}"
    params = mdata.uns[entry]["params"]
    assert params["use_rep"] == {"rna": "X", "prot": "X"} and list(params["mod"]) == ["rna", "prot"]
    mdata.write(tmp_path / "m.h5mu")
    again = md.read(tmp_path / "m.h5mu")
    if verb == "cross_validate":
        pd.testing.assert_frame_equal(sg.get.scores(again), sg.get.scores(flat))
        sg.pl.cross_validation(again)
    elif verb == "tune":
        sg.pl.tuning(again)


@pytest.mark.parametrize("verb", VERBS)
def test_evaluation_of_some_modalities(mdata, verb):
    one = mdata.mod["prot"].copy()
    one.obs = mdata.obs.copy()
    settings = {**VERBS[verb], **({"methods": ["ggml"]} if verb == "cross_validate" else {})}
    found = getattr(sg.tl, verb)(mdata, "sample", "label", mod=["prot"], rng=0, **settings)
    expected = getattr(sg.tl, verb)(one, "sample", "label", use_rep="X", rng=0, **settings)
    name = "p_value" if verb == "separation_test" else "score" if verb == "tune" else "value"
    np.testing.assert_allclose(found[name], expected[name])  # of one modality, its unit makes no difference
    with pytest.raises(ValueError, match="mod=\\['prot'\\] has no meaning for an AnnData"):
        getattr(sg.tl, verb)(one, "sample", "label", mod=["prot"])
    with pytest.raises(ValueError, match="layer='x' has no meaning for a MuData"):
        getattr(sg.tl, verb)(mdata, "sample", "label", layer="x")
    with pytest.raises(ValueError, match="mod must name modalities"):
        getattr(sg.tl, verb)(mdata, "sample", "label", mod=["atac"])
