"""Several modalities side by side in one AnnData."""

from __future__ import annotations

import logging

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg
from scggml._anndata import _modalities
from scggml._anndata._modalities import modality_shares


def dense(x):
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)


def cite(seed=0, n=10, n_cells=15):
    """Cells of two classes that differ in one gene and in one protein."""
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
        mods[mod] = ad.AnnData(x, obs=pd.DataFrame(index=names))
        mods[mod].var_names = [f"{mod}{i}" for i in range(x.shape[1])]
    mdata = md.MuData(mods)
    mdata.obs["sample"] = pd.Categorical([f"s{i}" for i in codes])
    mdata.obs["label"] = pd.Categorical(np.array(["well", "sick"])[sick[codes]])
    return mdata


def add_pca(adata, n_comps=3):
    x = dense(adata.X)
    pcs = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:n_comps].T
    adata.obsm["X_pca"], adata.varm["PCs"] = (x - x.mean(axis=0)) @ pcs, pcs


def rebuilt(mdata, **mods):
    """Build a MuData of other modalities with the same columns."""
    other = md.MuData(mods)
    other.obs[["sample", "label"]] = mdata.obs[["sample", "label"]].loc[other.obs_names]
    return other


@pytest.fixture
def mdata():
    return cite()


def test_each_modality_has_a_total_variance_of_one(mdata):
    add_pca(mdata.mod["rna"])
    adata = sg.pp.join_modalities(mdata)
    pca, prot = mdata.mod["rna"].obsm["X_pca"], mdata.mod["prot"].X
    # PCs are divided by one number, proteins each by their own
    expected = [pca / np.sqrt(pca.var(axis=0).sum()), prot / prot.std(axis=0) / np.sqrt(4)]
    np.testing.assert_allclose(adata.obsm["X_joint"], np.concatenate(expected, axis=1))
    variance = adata.obsm["X_joint"].var(axis=0)
    assert variance[:3].sum() == pytest.approx(1) and variance[3:].sum() == pytest.approx(1)


def test_fields(mdata):
    add_pca(mdata.mod["rna"])
    adata = sg.pp.join_modalities(mdata)
    assert list(adata.obs_names) == list(mdata.obs_names)
    pd.testing.assert_frame_equal(adata.obs[["sample", "label"]], mdata.obs[["sample", "label"]])
    assert list(adata.var_names) == [f"rna{i}" for i in range(6)] + [f"prot{i}" for i in range(4)]
    assert list(adata.var["modality"]) == ["rna"] * 6 + ["prot"] * 4
    assert list(adata.var["modality"].cat.categories) == ["rna", "prot"]
    np.testing.assert_array_equal(adata.X, np.concatenate([mdata.mod["rna"].X, mdata.mod["prot"].X], axis=1))
    entry = adata.uns["X_joint"]
    assert entry["use_rep"] == {"rna": "X_pca", "prot": "X"}
    assert list(entry["modalities"]) == ["rna", "prot"] and list(entry["n_features"]) == [3, 4]
    assert list(entry["features"]) == ["rna:0", "rna:1", "rna:2", *(f"prot:prot{i}" for i in range(4))]
    raw = np.concatenate([mdata.mod["rna"].obsm["X_pca"], mdata.mod["prot"].X], axis=1)
    np.testing.assert_allclose(adata.obsm["X_joint"] * entry["unit"], raw)
    assert entry["version"] == sg.__version__
    assert adata.varm["joint_loadings"].shape == (10, 7)


@pytest.mark.parametrize("sparse", [False, True])
def test_loadings_lead_from_the_values_to_the_joint_space(mdata, sparse, monkeypatch):
    if sparse:
        mdata.mod["prot"].X = sp.csc_matrix(mdata.mod["prot"].X)
        monkeypatch.setattr(_modalities, "_MAX_DENSE", 10)
        monkeypatch.setattr(_modalities, "_MAX_DENSITY", 0.5)
    add_pca(mdata.mod["rna"])
    adata = sg.pp.join_modalities(mdata)
    for matrix in (adata.X, adata.obsm["X_joint"], adata.varm["joint_loadings"]):
        assert (sp.issparse(matrix) and matrix.format == "csr") == sparse
    difference = dense(adata.X) @ dense(adata.varm["joint_loadings"]) - dense(adata.obsm["X_joint"])
    np.testing.assert_allclose(np.ptp(difference, axis=0), 0, atol=1e-12)


def test_values_do_not_alias_those_of_the_modalities(mdata):
    before = mdata.mod["prot"].X.copy()
    adata = sg.pp.join_modalities(mdata, {"prot": "X"})
    adata.X[:], adata.obs["sample"] = 0, "s"
    np.testing.assert_array_equal(mdata.mod["prot"].X, before)
    assert mdata.obs["sample"].nunique() == 10


def test_the_metric_is_that_of_features_side_by_side(mdata):
    """Fit on the joint space, and on the same features put together by hand."""
    adata = sg.pp.join_modalities(mdata)
    parts = [mdata.mod[m].X for m in ("rna", "prot")]
    unit = np.concatenate([x.std(axis=0) * np.sqrt(x.shape[1]) for x in parts])
    flat = ad.AnnData(obs=mdata.obs, obsm={"X_flat": np.concatenate(parts, axis=1) / unit})
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_joint", rng=0)
    sg.tl.fit_metric(flat, "sample", "label", use_rep="X_flat", rng=0)
    np.testing.assert_allclose(
        sg.tl.sample_distances(adata).obsp["ggml_distances"],
        sg.tl.sample_distances(flat).obsp["ggml_distances"],
        rtol=1e-9,
        atol=1e-12,
    )


def test_shares_of_the_modalities_and_gene_weights_by_hand(mdata):
    adata = sg.pp.join_modalities(mdata)
    rng = np.random.default_rng(1)
    linear_map = rng.normal(size=(3, 10))
    shares = modality_shares(adata, linear_map)
    raw = {m: x / x.std(axis=0) / np.sqrt(x.shape[1]) for m, x in ((m, mdata.mod[m].X) for m in ("rna", "prot"))}
    parts = {"rna": linear_map[:, :6], "prot": linear_map[:, 6:]}
    # the variance of a linear map is the trace of W C W'
    variances = {m: np.trace(w @ np.cov(raw[m].T, ddof=0) @ w.T) for m, w in parts.items()}
    assert list(shares) == ["rna", "prot"] and sum(shares.values()) == pytest.approx(1)
    assert shares["rna"] == pytest.approx(variances["rna"] / sum(variances.values()))
    # one standard deviation of a gene moves a cell by the column of the map, in units of the modality
    moved = adata.X.std(axis=0)[:, None] * (adata.varm["joint_loadings"] @ linear_map.T)
    expected = np.concatenate([parts["rna"].T / np.sqrt(6), parts["prot"].T / np.sqrt(4)])
    np.testing.assert_allclose(moved, expected)


def test_shares_of_sparse_features_and_of_a_joint_space_without_its_record(mdata):
    adata = sg.pp.join_modalities(mdata)
    linear_map = np.random.default_rng(1).normal(size=(2, 10))
    expected = modality_shares(adata, linear_map)
    assert modality_shares(adata, np.zeros((2, 10))) is None
    adata.obsm["X_joint"] = sp.csr_matrix(adata.obsm["X_joint"])
    assert modality_shares(adata, linear_map) == pytest.approx(expected)
    del adata.uns["X_joint"]
    assert modality_shares(adata, linear_map) is None


def test_units_do_not_matter(mdata):
    other = mdata.copy()
    other.mod["prot"].X = other.mod["prot"].X * 1000
    joined = [sg.pp.join_modalities(each).obsm["X_joint"] for each in (mdata, other)]
    np.testing.assert_allclose(joined[1], joined[0])


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("sparse", [False, True])
def test_survives_files(mdata, assert_same_anndata, tmp_path, kind, sparse, monkeypatch):
    if sparse:
        mdata.mod["rna"].X = sp.csr_matrix(mdata.mod["rna"].X)
        monkeypatch.setattr(_modalities, "_MAX_DENSE", 10)
        monkeypatch.setattr(_modalities, "_MAX_DENSITY", 0.5)
    mdata.mod["rna"].var["selected"] = [True, False] * 3
    mdata.mod["prot"].var["isotype"] = ["IgG", "IgG", "IgM", None]
    mdata.mod["prot"].var["clone"] = pd.Categorical(["a", "b", "b", "b"])
    adata = sg.pp.join_modalities(mdata)
    getattr(adata, f"write_{kind}")(tmp_path / f"cells.{kind}")
    found = getattr(ad, f"read_{kind}")(tmp_path / f"cells.{kind}")
    assert_same_anndata(found, adata)
    linear_map = np.ones((1, 10))
    assert modality_shares(found, linear_map) == pytest.approx(modality_shares(adata, linear_map))


def test_modalities_that_do_not_lead_back_to_variables(mdata, assert_same_anndata, tmp_path):
    rna = mdata.mod["rna"]
    rna.obsm["X_scVI"] = rna.X[:, :2]
    with pytest.warns(UserWarning, match=r"no variables of these modalities.*: rna \(obsm\['X_scVI'\]\)") as record:
        adata = sg.pp.join_modalities(mdata, {"rna": "X_scVI", "prot": "X"})
    assert record[0].filename == __file__
    assert set(adata.var["modality"]) == {"prot"} and adata.X.shape == (150, 4)
    assert adata.obsm["X_joint"].shape == (150, 6)
    assert list(adata.uns["X_joint"]["features"][:2]) == ["rna:0", "rna:1"]
    assert adata.varm["joint_loadings"].shape == (4, 6) and not adata.varm["joint_loadings"][:, :2].any()
    rna.obsm["X_pca"] = rna.X[:, :2]
    with pytest.warns(UserWarning, match=r"rna \(varm\['PCs'\] is missing\)"):
        adata = sg.pp.join_modalities(mdata, {"rna": "X_pca"})
    assert adata.X is None and adata.shape == (150, 0) and adata.varm["joint_loadings"].shape == (0, 2)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    assert_same_anndata(ad.read_h5ad(tmp_path / "cells.h5ad"), adata)
    add_pca(rna)
    rna.obsm["X_pca"] = rna.obsm["X_pca"][:, :2]
    with pytest.warns(UserWarning, match=r"rna \(varm\['PCs'\] is 3 wide, not 2 like obsm\['X_pca'\]\)"):
        sg.pp.join_modalities(mdata)
    add_pca(rna)
    rna.X = None
    with pytest.warns(UserWarning, match=r"rna \(X is None\)"):
        sg.pp.join_modalities(mdata)


def test_cells_of_one_modality_only(mdata):
    partial = rebuilt(mdata, rna=mdata.mod["rna"].copy(), prot=mdata.mod["prot"][5:].copy())
    with pytest.raises(ValueError, match=r"rna \(5\) have cells that others lack, 145 cells.*Pass intersect=True"):
        sg.pp.join_modalities(partial)
    whole = rebuilt(mdata, **{m: mdata.mod[m][5:].copy() for m in ("rna", "prot")})
    found, expected = sg.pp.join_modalities(partial, intersect=True), sg.pp.join_modalities(whole)
    np.testing.assert_array_equal(found.obsm["X_joint"], expected.obsm["X_joint"])
    np.testing.assert_array_equal(found.X, expected.X)
    assert list(found.obs_names) == list(mdata.obs_names[5:]) and list(found.obs["sample"]) == list(whole.obs["sample"])


def test_the_choice_of_modalities_and_their_order(mdata):
    mdata.mod["far"] = ad.AnnData(np.ones((2, 1)), obs=pd.DataFrame(index=["x", "y"]))
    adata = sg.pp.join_modalities(mdata, {"prot": None, "rna": "X"})  # cells of others do not matter
    assert list(adata.uns["X_joint"]["modalities"]) == ["prot", "rna"]
    assert list(adata.var["modality"].unique()) == ["prot", "rna"]
    one = sg.pp.join_modalities(mdata, {"prot": "X"})
    np.testing.assert_array_equal(one.obsm["X_joint"], adata.obsm["X_joint"][:, :4])


def test_cells_in_another_order_in_a_modality(mdata):
    order = np.random.default_rng(0).permutation(mdata.n_obs)
    mdata.mod["prot"].obs["batch"] = np.arange(mdata.n_obs) % 3
    other = rebuilt(mdata, rna=mdata.mod["rna"].copy(), prot=mdata.mod["prot"][order].copy())
    found, expected = sg.pp.join_modalities(other), sg.pp.join_modalities(mdata)
    found = found[expected.obs_names]
    np.testing.assert_allclose(found.obsm["X_joint"], expected.obsm["X_joint"])
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.obs["batch"], expected.obs["batch"])


def test_views_and_categories_that_are_not_used(mdata):
    view = mdata[(mdata.obs["sample"] != "s3").to_numpy()]
    for each in (view, view.copy()):
        adata = sg.pp.join_modalities(each)
        assert adata.n_obs == 135 and "s3" not in adata.obs["sample"].cat.categories and not adata.is_view


def test_columns_of_obs(mdata, caplog):
    for mod in mdata.mod:
        mdata.mod[mod].obs["donor"] = mdata.obs["sample"].astype(str)
        mdata.mod[mod].obs["total"] = mdata.mod[mod].X.sum(axis=1)
        mdata.mod[mod].obs["label"] = "wrong"  # that of the MuData counts
    mdata.mod["prot"].obs["panel"] = "a"
    with caplog.at_level(logging.INFO, logger="scggml"):
        adata = sg.pp.join_modalities(mdata)
    assert list(adata.obs["donor"]) == list(mdata.obs["sample"]) and set(adata.obs["panel"]) == {"a"}
    assert list(adata.obs["label"]) == list(mdata.obs["label"])
    assert "total" not in adata.obs and "differ between modalities are left out: total" in caplog.text
    pulled = mdata.copy()
    pulled.obs["rna:total"] = mdata.mod["rna"].obs["total"].to_numpy()  # as MuData.pull_obs calls it
    assert "rna:total" in sg.pp.join_modalities(pulled).obs


def test_columns_and_names_of_var(mdata):
    rna, prot = mdata.mod["rna"], mdata.mod["prot"]
    rna.var_names = ["CD4", *rna.var_names[1:]]
    prot.var_names = [*prot.var_names[:3], "CD4"]
    rna.var["selected"], rna.var["mean"], prot.var["mean"] = True, rna.X.mean(axis=0), prot.X.mean(axis=0)
    rna.var["n"], prot.var["n"], prot.var["rank"] = np.arange(6), np.arange(4.0), [3, 1, 0, 2]
    rna.var["chromosome"], prot.var["chromosome"] = pd.Categorical(list("abcabc")), list("cdcd")
    adata = sg.pp.join_modalities(mdata)
    assert adata.var_names[0] == "rna:CD4" and adata.var_names[-1] == "prot:CD4" and adata.var_names[1] == "rna1"
    assert adata.uns["X_joint"]["features"][0] == "rna:CD4"
    assert list(adata.var["selected"][:6]) == [True] * 6 and adata.var["selected"][6:].isna().all()
    np.testing.assert_array_equal(adata.var["mean"], np.concatenate([rna.var["mean"], prot.var["mean"]]))
    np.testing.assert_array_equal(adata.var["n"], [*range(6), *range(4)])
    np.testing.assert_array_equal(adata.var["rank"], [np.nan] * 6 + [3, 1, 0, 2])
    assert list(adata.var["chromosome"]) == list("abcabccdcd")
    prot.var["mean"], prot.var["modality"] = "high", "x"
    with pytest.warns(UserWarning, match="columns of var are left out.*: mean, modality") as record:
        adata = sg.pp.join_modalities(mdata)
    assert record[0].filename == __file__
    assert "mean" not in adata.var and set(adata.var["modality"]) == {"rna", "prot"}


def test_names_that_the_prefix_does_not_make_unique(mdata):
    mdata.mod["rna"].var_names = ["CD4", "prot:CD4", "c", "d", "e", "f"]
    mdata.mod["prot"].var_names = ["CD4", "x", "y", "z"]
    with pytest.raises(ValueError, match="would not be unique with the modality before them: prot:CD4"):
        sg.pp.join_modalities(mdata)
    mdata.mod["prot"].var_names = ["x", "x", "y", "z"]
    with pytest.raises(ValueError, match=r"mdata\.mod\['prot'\]\.var_names are not unique.*x\. Call"):
        sg.pp.join_modalities(mdata)


@pytest.mark.parametrize(
    ("use_rep", "error", "text"),
    [
        (
            "X",
            TypeError,
            "use_rep must be a mapping from modalities to representations, such as {'rna': 'X'}, found 'X'",
        ),
        (["rna"], TypeError, "use_rep must be a mapping from modalities"),
        ({"rna": "X", "atac": "X"}, ValueError, "use_rep names atac.*Found there: rna, prot"),
        ({}, ValueError, "use_rep is empty.*Found there: rna, prot"),
        ({"rna": "X_pca"}, KeyError, "modality 'rna': use_rep='X_pca' is not in obsm"),
        ({"rna": 3}, TypeError, r"use_rep\['rna'\] must be 'X' or a key of obsm as text, found 3"),
    ],
)
def test_bad_use_rep(mdata, use_rep, error, text):
    with pytest.raises(error, match=text):
        sg.pp.join_modalities(mdata, use_rep)


def test_bad_input(mdata):
    with pytest.raises(TypeError, match="intersect must be True or False, found 'yes'"):
        sg.pp.join_modalities(mdata, intersect="yes")
    with pytest.raises(TypeError, match="mdata must be a MuData, found AnnData"):
        sg.pp.join_modalities(mdata.mod["rna"])
    with pytest.raises(ValueError, match="mdata has no observations"):
        sg.pp.join_modalities(mdata[:0])
    mdata.mod["prot"].obs_names = ["c0", *mdata.mod["prot"].obs_names[:-1]]
    with pytest.raises(ValueError, match="cells of modality 'prot' have names that are not unique"):
        sg.pp.join_modalities(mdata)
    mdata.mod["prot"].obs_names = [f"x{i}" for i in range(mdata.n_obs)]
    apart = md.MuData({m: mdata.mod[m].copy() for m in ("rna", "prot")})
    with pytest.raises(ValueError, match=r"no cell is in all modalities: rna \(150\), prot \(150\)"):
        sg.pp.join_modalities(apart, intersect=True)


def test_modality_without_variation(mdata, monkeypatch):
    monkeypatch.setattr(_modalities, "_side_by_side", None)  # no work before the checks
    mdata.mod["prot"].X = np.zeros_like(mdata.mod["prot"].X)
    with pytest.raises(ValueError, match="no feature of X of modality 'prot' varies"):
        sg.pp.join_modalities(mdata)
    mdata.mod["prot"].X[0, 0] = np.nan
    with pytest.raises(ValueError, match="modality 'prot': X has 1 values that are NaN"):
        sg.pp.join_modalities(mdata)


def test_modalities_that_are_not_in_memory(mdata, tmp_path):
    dask = pytest.importorskip("dask.array")
    lazy = mdata.copy()
    lazy.mod["prot"].X = dask.from_array(lazy.mod["prot"].X, chunks=(50, 4))
    with pytest.raises(TypeError, match=r"modality 'prot': X is not in memory.*to_memory\(\)"):
        sg.pp.join_modalities(lazy)
    add_pca(mdata.mod["rna"])
    mdata.write(tmp_path / "cells.h5mu")
    backed = md.read_h5mu(tmp_path / "cells.h5mu", backed="r")
    try:
        with pytest.raises(TypeError, match="modality 'rna': X, the values of the variables behind the PCs, is not in"):
            sg.pp.join_modalities(backed, {"rna": "X_pca"})
        with pytest.raises(TypeError, match="modality 'prot': X is not in memory"):
            sg.pp.join_modalities(backed)
    finally:
        backed.file.close()


def test_new_cells_in_a_joint_space(mdata):
    """Units of a second data set are its own, so that its joint space is another one; a reference keeps its units."""
    adata, new = sg.pp.join_modalities(mdata), sg.pp.join_modalities(cite(seed=1))
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_joint", rng=0)
    new.uns["ggml"] = adata.uns["ggml"]
    with pytest.raises(ValueError, match=r"in another space than obsm\['X_joint'\].*varm\['joint_loadings'\] differ"):
        sg.tl.sample_distances(new)
    reference = sg.tl.make_reference(adata, sg.tl.sample_distances(adata), cv=None)
    sg.tl.project(new, reference)
    assert sg.tl.sample_distances(new).n_obs == 10


EVALUATIONS = {
    "cross_validate": {"methods": ["ggml", "euclidean"], "cv": 5},
    "separation_test": {"n_permutations": 19},
}


@pytest.mark.parametrize("function", EVALUATIONS)
def test_a_single_modality_is_evaluated_as_it_is_alone(mdata, function):
    one = mdata.mod["prot"].copy()
    one.obs = mdata.obs.copy()
    run, settings = getattr(sg.tl, function), EVALUATIONS[function]
    joined = sg.pp.join_modalities(mdata, {"prot": "X"})
    found = run(joined, "sample", "label", use_rep="X_joint", rng=0, **settings)
    expected = run(one, "sample", "label", use_rep="X", rng=0, **settings)
    name = "p_value" if function == "separation_test" else "value"
    rows = slice(None) if function == "separation_test" else (found["method"] == "ggml").to_numpy()
    np.testing.assert_allclose(found[name][rows], expected[name][rows])  # of one modality, the unit makes no difference


def test_other_functions_refuse_a_mudata(mdata):
    with pytest.raises(TypeError, match=r"adata must be an AnnData, found MuData\. Join .*sg\.pp\.join_modalities"):
        sg.pp.filter_samples(mdata, "sample")


def test_gene_weights_of_a_joint_metric_lead_through_the_loadings(mdata):
    add_pca(mdata.mod["rna"])
    adata = sg.pp.join_modalities(mdata)
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_joint", rng=0)
    entry = adata.uns["ggml"]
    linear_map = entry["components"] / entry["scale"]
    pcs = mdata.mod["rna"].varm["PCs"]
    rna = pcs @ linear_map[:, :3].T / np.sqrt(mdata.mod["rna"].obsm["X_pca"].var(axis=0).sum())
    np.testing.assert_allclose(adata.varm["ggml"][:6], rna * mdata.mod["rna"].X.std(axis=0)[:, None])
    np.testing.assert_allclose(adata.varm["ggml"][6:], linear_map[:, 3:].T / np.sqrt(4))
    assert entry["modality_weights"] == pytest.approx(modality_shares(adata, linear_map))
