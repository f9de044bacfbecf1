"""Distances between samples, against `ot.emd2` called directly."""

from __future__ import annotations

import anndata as ad
import numpy as np
import ot
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

import scggml as sg
from scggml._anndata._stored_metric import StoredMetric
from scggml.tl import _sample_distances as module


def dense(x):
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)


def by_emd2(points, samples, cost="euclidean"):
    """Distances between samples in the order of their names, one `ot.emd2` per pair."""
    samples = samples.astype(str).to_numpy()
    clouds = [points[samples == name] for name in sorted(set(samples))]
    matrix = np.zeros((len(clouds), len(clouds)))
    for i, x in enumerate(clouds):
        for j, y in enumerate(clouds):
            if i != j:
                matrix[i, j] = ot.emd2([], [], cdist(x, y, cost))
    return matrix


def assert_distances(found, expected):
    assert type(found) is np.ndarray and found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(found, found.T)
    assert (np.diag(found) == 0).all() and (found[~np.eye(len(found), dtype=bool)] > 0).all()


@pytest.mark.parametrize("name", ["fitted", "fitted_x"])
def test_learned_is_emd2_in_the_learned_space(name, request):
    adata = request.getfixturevalue(name)
    pdata = sg.tl.sample_distances(adata)
    assert_distances(pdata.obsp["ggml_distances"], by_emd2(adata.obsm["X_ggml"], adata.obs["sample"]))


@pytest.mark.parametrize("metric", ["euclidean", "cityblock", "cosine"])
@pytest.mark.parametrize("use_rep", [None, "X", "X_df", "layer"])
def test_fixed_metrics_are_emd2_on_raw_features(cohort, metric, use_rep):
    features = {"layer": "counts"} if use_rep == "layer" else {"use_rep": use_rep}
    points = {
        None: cohort.obsm["X_pca"],
        "X": dense(cohort.X),
        "X_df": cohort.obsm["X_df"].to_numpy(),
        "layer": dense(cohort.layers["counts"]),
    }[use_rep]
    pdata = sg.tl.sample_distances(cohort, "sample", metric=metric, **features)  # no fit needed
    assert_distances(pdata.obsp["ggml_distances"], by_emd2(points, cohort.obs["sample"], metric))
    entry = pdata.uns["ggml"]
    assert entry["metric"] == metric and entry["solver"] == "exact"
    assert entry["params"] == {"sample_key": "sample"} | (
        {"use_rep": "X", "layer": "counts"} if use_rep == "layer" else {"use_rep": use_rep or "X_pca"}
    )


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix, np.asarray])
def test_formats_of_x_agree(cohort, kind):
    expected = by_emd2(dense(cohort.X), cohort.obs["sample"])
    cohort.X = dense(cohort.X) if kind is np.asarray else kind(cohort.X)
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean", use_rep="X")
    np.testing.assert_allclose(pdata.obsp["ggml_distances"], expected, rtol=1e-6)


def test_solvers(cohort, fitted, tmp_path):
    exact = sg.tl.sample_distances(fitted)
    by_pot = sg.tl.sample_distances(fitted, solver="pot", checkpoint=tmp_path / "pairs")
    assert by_pot.uns["ggml"]["solver"] == "pot" and (tmp_path / "pairs").exists()
    np.testing.assert_allclose(by_pot.obsp["ggml_distances"], exact.obsp["ggml_distances"], rtol=1e-9)
    found = sg.tl.sample_distances(fitted, solver=sg.Sinkhorn(reg=0.3))
    cells = [fitted.obsm["X_ggml"][(fitted.obs["sample"] == name).to_numpy()] for name in found.obs_names[:2]]
    epsilon = found.uns["ggml"]["epsilon"]
    a, b = (np.full(len(x), 1 / len(x)) for x in cells)
    plan = ot.sinkhorn(a, b, cost := cdist(*cells), epsilon, stopThr=1e-10)
    entropy = (plan * np.log(plan / np.outer(a, b))).sum()
    assert found.obsp["ggml_distances"][0, 1] == pytest.approx((plan * cost).sum() + epsilon * entropy, rel=1e-5)
    # a metric that was learned with one gives it to its distances
    sg.tl.fit_metric(cohort, "sample", "label", learner=sg.GroundMetricLearner(solver=sg.Sinkhorn(reg=0.3)))
    own = sg.tl.sample_distances(cohort)
    assert own.uns["ggml"]["solver"] == "sinkhorn" and own.uns["ggml"]["epsilon"] == cohort.uns["ggml"]["epsilon"] > 0
    assert "epsilon" not in sg.tl.sample_distances(cohort, solver="exact").uns["ggml"]
    with pytest.raises(ValueError, match=r"checkpoint='file' .* entropic\. Pass solver='exact'"):
        sg.tl.sample_distances(cohort, checkpoint="file")


def test_triangle_inequality(pdata):
    d = pdata.obsp["ggml_distances"]
    assert (d[:, :, None] + d[None, :, :] >= d[:, None, :] * (1 - 1e-12)).all()


def test_sample_level_anndata(fitted, assert_same_anndata):
    fitted.obs["constant_text"] = "same"
    fitted.obs["n_cells"] = 1.5  # replaced by the count
    fitted.obs["unknown"] = pd.Categorical(np.where(fitted.obs["sample"] == "p2", None, "known"))
    fitted.obs["mixed"] = np.where(np.arange(fitted.n_obs) == 0, np.nan, 1.0)
    before = fitted.copy()
    pdata = sg.tl.sample_distances(fitted)
    assert_same_anndata(fitted, before)
    assert isinstance(pdata, ad.AnnData) and pdata.shape == (8, 0)
    assert list(pdata.obs_names) == [f"p{i}" for i in range(1, 9)]
    # cell_type, score and mixed vary within samples
    assert set(pdata.obs.columns) == {"sample", "label", "age", "constant_text", "n_cells", "unknown"}
    groups = fitted.obs.groupby("sample", observed=True)
    for column in ("label", "age", "constant_text"):
        assert list(pdata.obs[column]) == [groups.get_group(name)[column].iloc[0] for name in pdata.obs_names]
    assert list(pdata.obs["n_cells"]) == [len(groups.get_group(name)) for name in pdata.obs_names]
    assert pd.api.types.is_integer_dtype(pdata.obs["n_cells"])
    assert pdata.obs["unknown"].isna().tolist() == [name == "p2" for name in pdata.obs_names]
    assert isinstance(pdata.obs["label"].dtype, pd.CategoricalDtype)
    assert set(pdata.uns) == {"label_colors", "ggml"}
    assert set(pdata.uns["ggml"]) == {"version", "params", "distances_key", "metric", "status", "solver", "gap"}
    assert pdata.uns["ggml"]["distances_key"] == "ggml_distances" and pdata.uns["ggml"]["metric"] == "learned"
    assert 0 <= pdata.uns["ggml"]["gap"] < 1e-9
    assert pdata.uns["ggml"]["params"] == fitted.uns["ggml"]["params"]


def test_names_are_ordered_as_text(cohort):
    cohort.obs["sample"] = cohort.obs["sample"].astype(str).str[1:].astype(int) + 7
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean")
    assert list(pdata.obs_names) == ["10", "11", "12", "13", "14", "15", "8", "9"]
    assert list(pdata.obs["sample"]) == [10, 11, 12, 13, 14, 15, 8, 9]
    np.testing.assert_allclose(
        pdata.obsp["ggml_distances"], by_emd2(cohort.obsm["X_pca"], cohort.obs["sample"]), rtol=1e-10
    )


def test_colors_follow_their_categories(fitted):
    fitted.obs["stage"] = fitted.obs["label"].cat.rename_categories({"well": "b", "sick": "c"})
    fitted.obs["stage"] = fitted.obs["stage"].cat.set_categories(["a", "b", "c"])
    fitted.uns["stage_colors"] = ["#000001", "#000002", "#000003"]
    fitted.uns["cell_type_colors"] = ["#000004", "#000005"]
    pdata = sg.tl.sample_distances(fitted)
    assert list(pdata.uns["label_colors"]) == ["#112233", "#aa0000"]
    assert list(pdata.obs["stage"].cat.categories) == ["b", "c"]
    assert list(pdata.uns["stage_colors"]) == ["#000002", "#000003"]
    assert "cell_type_colors" not in pdata.uns  # samples have no cell type


def test_key_and_key_added(cohort, fitted):
    sg.tl.fit_metric(cohort, "sample", "label", key_added="mine")
    pdata = sg.tl.sample_distances(cohort, key="mine")
    assert "mine_distances" in pdata.obsp and pdata.uns["mine"]["distances_key"] == "mine_distances"
    pdata = sg.tl.sample_distances(cohort, key="mine", key_added="theirs")
    assert list(pdata.obsp) == ["theirs_distances"] and "theirs" in pdata.uns and "mine" not in pdata.uns
    expected = sg.tl.sample_distances(fitted).obsp["ggml_distances"]
    np.testing.assert_array_equal(pdata.obsp["theirs_distances"], expected)


def test_another_sample_key(fitted):
    fitted.obs["half"] = np.where(np.arange(fitted.n_obs) < 40, "first", "second")
    pdata = sg.tl.sample_distances(fitted, "half")
    np.testing.assert_allclose(
        pdata.obsp["ggml_distances"], by_emd2(fitted.obsm["X_ggml"], fitted.obs["half"]), rtol=1e-10
    )
    assert pdata.uns["ggml"]["params"]["sample_key"] == "half"


def test_view_is_read_and_stays_a_view(fitted):
    view = fitted[fitted.obs["label"] == "sick"]
    pdata = sg.tl.sample_distances(view)
    assert view.is_view and pdata.n_obs == 4
    whole = sg.get.distances(sg.tl.sample_distances(fitted))
    np.testing.assert_array_equal(pdata.obsp["ggml_distances"], whole.loc[pdata.obs_names, pdata.obs_names].to_numpy())


def test_metric_is_data(cohort, fitted):
    cohort.uns["ggml"] = fitted.uns["ggml"]
    pdata = sg.tl.sample_distances(cohort)
    np.testing.assert_array_equal(pdata.obsp["ggml_distances"], sg.tl.sample_distances(fitted).obsp["ggml_distances"])


def test_metric_needs_no_labels_and_takes_new_samples(cohort, fitted):
    new = cohort[cohort.obs["sample"].isin(["p1", "p2"])].copy()
    del new.obs["label"]
    new.obs["sample"] = new.obs["sample"].cat.rename_categories({"p1": "n1", "p2": "n2"})
    new.obsm["X_pca"] = new.obsm["X_pca"] + 1.0
    new.uns["ggml"] = fitted.uns["ggml"]
    pdata = sg.tl.sample_distances(new)
    w = fitted.uns["ggml"]["components"] / fitted.uns["ggml"]["scale"]
    assert_distances(pdata.obsp["ggml_distances"], by_emd2(new.obsm["X_pca"] @ w.T, new.obs["sample"]))


def test_genes_are_matched_by_name(cohort, fitted_x):
    expected = sg.tl.sample_distances(fitted_x).obsp["ggml_distances"]
    extra = ad.AnnData(sp.csr_matrix(np.ones((cohort.n_obs, 1), dtype=np.float32)), obs=cohort.obs)
    extra.var_names = ["new"]
    shuffled = ad.concat([cohort[:, ::-1], extra], axis=1, merge="first")
    assert list(shuffled.var_names[:2]) == ["g11", "g10"] and shuffled.n_vars == 13
    shuffled.uns["ggml"] = fitted_x.uns["ggml"]
    for convert in (lambda x: x, sp.csc_matrix, lambda x: x.toarray()):
        shuffled.X = convert(shuffled.X)
        found = sg.tl.sample_distances(shuffled).obsp["ggml_distances"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_columns_of_a_data_frame_are_matched_by_name(cohort):
    sg.tl.fit_metric(cohort, "sample", "label", use_rep="X_df")
    expected = sg.tl.sample_distances(cohort).obsp["ggml_distances"]
    cohort.obsm["X_df"] = cohort.obsm["X_df"][["w", "u", "v"]]
    np.testing.assert_allclose(sg.tl.sample_distances(cohort).obsp["ggml_distances"], expected, rtol=1e-12)
    cohort.obsm["X_df"] = cohort.obsm["X_df"].rename(columns={"u": "other"})
    with pytest.raises(ValueError, match=r"1 are not in obsm\['X_df'\]: u\."):
        sg.tl.sample_distances(cohort)


def test_missing_genes_are_named(fitted_x):
    other = fitted_x[:, fitted_x.var_names.difference(["g3", "g7"])].copy()
    with pytest.raises(ValueError, match=r"12 features, of which 2 are not in X: g3, g7\. Use data"):
        sg.tl.sample_distances(other)


def test_repeated_genes_are_refused(fitted_x):
    fitted_x.var_names = ["g0", "g0", *fitted_x.var_names[2:]]
    with pytest.raises(ValueError, match="not unique.*var_names_make_unique"):
        sg.tl.sample_distances(fitted_x)


def test_representation_of_another_width(fitted):
    fitted.obsm["X_pca"] = fitted.obsm["X_pca"][:, :3]
    with pytest.raises(ValueError, match=r"on 'X_pca' in uns\['ggml'\] was learned on 5 features, but .* has 3\. Use"):
        sg.tl.sample_distances(fitted)


def test_representation_may_be_renamed(fitted):
    expected = sg.tl.sample_distances(fitted).obsp["ggml_distances"]
    fitted.obsm["X_harmony"] = fitted.obsm.pop("X_pca")
    with pytest.raises(KeyError, match="use_rep='X_pca' is not in obsm"):
        sg.tl.sample_distances(fitted)
    found = sg.tl.sample_distances(fitted, use_rep="X_harmony")
    np.testing.assert_array_equal(found.obsp["ggml_distances"], expected)
    assert found.uns["ggml"]["params"]["use_rep"] == "X_harmony"


def test_metric_of_a_layer_reads_the_layer(cohort):
    sg.tl.fit_metric(cohort, "sample", "label", layer="counts")
    pdata = sg.tl.sample_distances(cohort)
    assert pdata.uns["ggml"]["params"]["layer"] == "counts"
    np.testing.assert_allclose(
        pdata.obsp["ggml_distances"], by_emd2(cohort.obsm["X_ggml"], cohort.obs["sample"]), rtol=1e-10
    )
    del cohort.layers["counts"]
    with pytest.raises(KeyError, match="layer='counts' is not in layers"):
        sg.tl.sample_distances(cohort)


def test_x_instead_of_a_layer_is_noted(cohort):
    sg.tl.fit_metric(cohort, "sample", "label", layer="counts")
    pdata = sg.tl.sample_distances(cohort, use_rep="X")
    assert pdata.uns["ggml"]["params"]["use_rep"] == "X" and "layer" not in pdata.uns["ggml"]["params"]


def no_metric(adata):
    del adata.uns["ggml"]


def damaged_metric(adata):
    del adata.uns["ggml"]["components"]


def text_metric(adata):
    adata.uns["ggml"] = "metric"


def missing_sample(adata):
    adata.obs.loc[adata.obs_names[3], "sample"] = np.nan


def no_sample(adata):
    del adata.obs["sample"]


def one_cell(adata):
    adata.obs["sample"] = np.where(np.arange(adata.n_obs) == 0, "lone", adata.obs["sample"].astype(str))


def empty_cell(adata):
    adata.X = adata.X.toarray()
    adata.X[4] = 0


def empty_category(adata):
    adata.obs["sample"] = adata.obs["sample"].cat.add_categories(["ghost"])


def nan_in_pca(adata):
    adata.obsm["X_pca"][3, 2] = np.nan


CASES = {
    "no metric": (no_metric, {}, KeyError, ["uns['ggml']", "sg.tl.fit_metric", "copy the entry"]),
    "other key": (None, {"key": "mine"}, KeyError, ["uns['mine']", "key_added='mine'"]),
    "damaged": (damaged_metric, {}, ValueError, ["uns['ggml']", "components missing"]),
    "text": (text_metric, {}, ValueError, ["uns['ggml']", "not a learned metric"]),
    "metric": (None, {"metric": "manhattan"}, ValueError, ["metric", "cityblock", "'manhattan'"]),
    "no sample key": (None, {"metric": "euclidean"}, ValueError, ["sample_key", "metric='euclidean'", "column of obs"]),
    "sample key": (None, {"sample_key": "donor"}, KeyError, ["sample_key='donor'", "sample, label"]),
    "stored sample key": (no_sample, {}, KeyError, ["sample_key='sample'", "label, age"]),
    "sample NaN": (missing_sample, {}, ValueError, ["sample_key='sample'", "1 of 87", "cell3"]),
    "one cell": (one_cell, {}, ValueError, ["lone (1)", "filter_samples"]),
    "no cells": (empty_category, {}, ValueError, ["ghost", "without cells"]),
    "cosine": (
        empty_cell,
        {"metric": "cosine", "sample_key": "sample", "use_rep": "X"},
        ValueError,
        ["metric='cosine'", "all-zero cells", "1 of them in X", "Remove them"],
    ),
    "NaN": (nan_in_pca, {}, ValueError, ["obsm['X_pca']", "feature 2 (1)"]),
    "use_rep": (None, {"use_rep": "X_none"}, KeyError, ["use_rep='X_none'", "X_pca"]),
    "layer and use_rep": (None, {"use_rep": "X_pca", "layer": "counts"}, ValueError, ["layer='counts'", "exclude"]),
    "solver": (None, {"solver": "sinkhorn"}, (ValueError, TypeError), ["solver", "'sinkhorn'", "Sinkhorn"]),
    "no strength": (None, {"sinkhorn_reg": 0.1}, TypeError, ["sinkhorn_reg"]),
    "entropic cityblock": (
        None,
        {"solver": sg.Sinkhorn(), "metric": "cityblock", "sample_key": "sample"},
        ValueError,
        ["solver=Sinkhorn", "metric='cityblock'", "solver='exact'"],
    ),
    "entropic checkpoint": (
        None,
        {"solver": sg.Sinkhorn(), "checkpoint": "file"},
        ValueError,
        ["checkpoint='file'", "exact", "solver=Sinkhorn"],
    ),
    "checkpoint": (None, {"checkpoint": 1}, TypeError, ["checkpoint", "path", "int"]),
    "n_jobs": (None, {"n_jobs": 0}, ValueError, ["n_jobs"]),
    "key": (None, {"key": 1}, TypeError, ["key must be", "1"]),
    "key_added": (None, {"key_added": "a/b"}, ValueError, ["key_added", "'a/b'"]),
    "unknown": (None, {"sampel_key": "sample"}, TypeError, ["sampel_key"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(fitted, assert_same_anndata, monkeypatch, case):
    change, arguments, error, texts = CASES[case]
    if change is not None:
        change(fitted)

    def no_work(*args, **kwargs):
        raise AssertionError("transport started before the input was checked")

    monkeypatch.setattr("scggml.tl._sample_distances.pairwise_distances", no_work)
    before = fitted.copy()
    with pytest.raises(error) as caught:
        sg.tl.sample_distances(fitted, **arguments)
    for part in texts:
        assert part in str(caught.value.args[0])
    assert_same_anndata(fitted, before)


def test_no_anndata(cohort):
    with pytest.raises(TypeError, match="adata must be an AnnData, found DataFrame"):
        sg.tl.sample_distances(cohort.obs)
    with pytest.raises(ValueError, match="adata has no observations"):
        sg.tl.sample_distances(cohort[:0].copy())


def test_columns_that_are_no_use_stop_nothing_or_all_before_the_work(fitted, monkeypatch):
    fitted.obs["visits"] = [[1]] * fitted.n_obs
    assert "visits" not in sg.tl.sample_distances(fitted).obs
    fitted.obs = pd.concat([fitted.obs, fitted.obs[["age"]]], axis=1)

    def no_work(*args, **kwargs):
        raise AssertionError("distances were computed before the input was checked")

    monkeypatch.setattr("scggml.tl._sample_distances.pairwise_distances", no_work)
    with pytest.raises(ValueError, match="several columns of the same name: age"):
        sg.tl.sample_distances(fitted)


def test_raw_counts_are_warned_about_once(cohort):
    cohort.layers["counts"] = cohort.layers["counts"] * 20
    with pytest.warns(UserWarning, match="looks like raw counts") as caught:
        sg.tl.sample_distances(cohort, "sample", metric="euclidean", layer="counts")
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="looks like raw counts") as caught:
        sg.tl.fit_metric(cohort, "sample", "label", layer="counts", rng=0)
    assert len(caught) == 1
    sg.tl.sample_distances(cohort)  # the metric was warned about


@pytest.mark.parametrize("options", [{}, {"metric": "cityblock", "sample_key": "sample"}])
@pytest.mark.parametrize("sketched", [False, "n_points", "cell_type_key"])
def test_a_checkpoint_belongs_to_features_metric_samples_and_sketch(fitted, tmp_path, monkeypatch, options, sketched):
    """Not to the projected cells: another machine may compute them to other last bits."""
    path = tmp_path / "distances"
    if sketched:
        sg.pp.sketch(fitted, "sample", **({"n_points": 4} if sketched == "n_points" else {sketched: "cell_type"}))
        options = {**options, "sketch_key": "sketch"}
    if not options.get("metric"):
        options = {**options, "metric": "learned"}
    expected = sg.tl.sample_distances(fitted, checkpoint=path, **options)
    project = StoredMetric.project
    monkeypatch.setattr(StoredMetric, "project", lambda *args: np.nextafter(project(*args), 9))
    found = sg.tl.sample_distances(fitted, checkpoint=path, **options)
    np.testing.assert_array_equal(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])

    def refused(adata):
        with pytest.raises(ValueError, match="holds distances of other samples, or under another metric"):
            sg.tl.sample_distances(adata, checkpoint=path, **options)

    other = fitted.copy()
    other.obsm["X_pca"][5, 0] = np.nextafter(other.obsm["X_pca"][5, 0], 9)
    refused(other)
    if options["metric"] == "learned":
        other = fitted.copy()
        other.uns["ggml"]["components"] = other.uns["ggml"]["components"] * (1 + 1e-15)
        refused(other)
    if sketched == "n_points":
        other = fitted.copy()
        sg.pp.sketch(other, "sample", n_points=4, rng=1)
        refused(other)


def test_a_checkpoint_made_from_a_file_serves_in_memory(fitted, tmp_path):
    options = {"metric": "euclidean", "sample_key": "sample", "use_rep": "X", "checkpoint": tmp_path / "distances"}
    fitted.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    first = sg.tl.sample_distances(backed, **options)
    size = (tmp_path / "distances").stat().st_size
    found = sg.tl.sample_distances(fitted, **options)
    assert (tmp_path / "distances").stat().st_size == size
    np.testing.assert_array_equal(found.obsp["ggml_distances"], first.obsp["ggml_distances"])


@pytest.mark.parametrize("name", ["none/distances", "."])
def test_a_checkpoint_that_cannot_be_written_is_refused_before_any_work(fitted, tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "read_metric", None)
    with pytest.raises(ValueError, match="checkpoint='.*' cannot be written"):
        sg.tl.sample_distances(fitted, checkpoint=tmp_path / name)
