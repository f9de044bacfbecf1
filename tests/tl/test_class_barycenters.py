from __future__ import annotations

import anndata as ad
import numpy as np
import ot
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

import scggml as sg


def sample_means(adata, values, label):
    """Mean over the samples of a class of the mean of their cells."""
    rows = (adata.obs["label"] == label).to_numpy()
    table = pd.DataFrame(values[rows], index=adata.obs["sample"][rows].astype(str))
    return table.groupby(level=0).mean().mean().to_numpy()


@pytest.mark.parametrize("name", ["fitted", "fitted_x"])
def test_points_stand_for_samples_of_their_class(name, request, assert_same_anndata):
    adata = request.getfixturevalue(name)
    before = adata.copy()
    points = sg.tl.class_barycenters(adata, n_points=15, cell_type_key="cell_type", rng=0)
    assert_same_anndata(adata, before)
    assert points.shape == (30, 12)
    assert points.obs["label"].cat.categories.tolist() == ["well", "sick"]
    assert points.obs["label"].tolist() == ["well"] * 15 + ["sick"] * 15
    np.testing.assert_allclose(points.obs["weight"], 1 / 15)
    types = pd.get_dummies(adata.obs["cell_type"]).to_numpy(dtype=float)
    for label in ("well", "sick"):
        own = points[points.obs["label"] == label]
        # mass is kept, so that means are those of the samples, each counting alike
        for found, values in (
            (own.X, adata.X.toarray()),
            (own.obsm["X_ggml"], adata.obsm["X_ggml"]),
            (own.obsm["cell_types"].to_numpy(), types),
        ):
            np.testing.assert_allclose(found.mean(axis=0), sample_means(adata, values, label), rtol=1e-5)
    entry = points.uns["ggml_barycenters"]
    assert entry["classes"].tolist() == ["well", "sick"] and entry["n_samples"].tolist() == [4, 4]
    assert points.uns["label_colors"] == ["#112233", "#aa0000"]


def test_objective_against_pot(fitted):
    points = sg.tl.class_barycenters(fitted, n_points=10, rng=0)
    entry = points.uns["ggml_barycenters"]
    for name, objective in zip(entry["classes"], entry["objective"], strict=True):
        own = points.obsm["X_ggml"][points.obs["label"] == name]
        cells = fitted[fitted.obs["label"] == name]
        squared = [
            ot.emd2(
                np.full(10, 0.1),
                np.full(rows.sum(), 1 / rows.sum()),
                cdist(own, cells.obsm["X_ggml"][rows], "sqeuclidean"),
            )
            for sample in cells.obs["sample"].unique()
            for rows in [(cells.obs["sample"] == sample).to_numpy()]
        ]
        assert objective == pytest.approx(np.mean(squared))
        history = entry["history"].query("`class` == @name")["objective"]
        assert history.iloc[-1] == objective and (history.diff().dropna() <= 1e-12).all()
    assert entry["converged"].all()


def test_genes_are_those_of_the_transported_cells(fitted):
    """With one point, all cells of a class are transported to it."""
    fitted.X = fitted.layers["counts"]  # the metric is on X_pca
    points = sg.tl.class_barycenters(fitted, n_points=1, cell_type_key="cell_type", rng=0)
    for row, label in zip(points.X, points.obs["label"], strict=True):
        np.testing.assert_allclose(row, sample_means(fitted, fitted.layers["counts"].toarray(), label), rtol=1e-6)
    shares = points.obsm["cell_types"]
    assert shares.columns.tolist() == ["B", "T"]
    assert points.obs["cell_type"].tolist() == shares.idxmax(axis=1).tolist()


def test_one_sample_as_a_class(fitted):
    fitted.obs["own"] = pd.Categorical(np.where(fitted.obs["sample"] == "p5", "single", "rest"))
    cells = fitted[fitted.obs["own"] == "single"]
    points = sg.tl.class_barycenters(fitted, "own", classes=["single"], n_points=cells.n_obs, rng=0)
    order = cdist(points.obsm["X_ggml"], cells.obsm["X_ggml"]).argmin(axis=1)
    assert sorted(order) == list(range(cells.n_obs))
    np.testing.assert_allclose(points.obsm["X_ggml"], cells.obsm["X_ggml"][order], atol=1e-9)
    np.testing.assert_allclose(points.X, cells.X.toarray()[order], atol=1e-6)


def test_classes_keep_the_order_of_categories(fitted):
    points = sg.tl.class_barycenters(fitted, classes=["sick", "well"], n_points=3)
    assert points.obs["label"].cat.categories.tolist() == ["well", "sick"]
    sick = sg.tl.class_barycenters(fitted, classes=["sick"], n_points=3)
    assert sick.n_obs == 3 and sick.uns["label_colors"] == ["#aa0000"]


def test_numbers_as_classes_and_order_of_cells(fitted):
    fitted.obs["label"] = fitted.obs["label"].cat.codes.astype(int)
    points = sg.tl.class_barycenters(fitted, n_points=4, rng=0)
    assert points.obs["label"].cat.categories.tolist() == ["0", "1"]
    assert points.obs_names.tolist() == [f"{label}_{i}" for label in "01" for i in range(1, 5)]


def test_seed_and_metric_of_another(fitted, cohort):
    one = sg.tl.class_barycenters(fitted, n_points=8, rng=3)
    two = sg.tl.class_barycenters(fitted, n_points=8, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(one.obsm["X_ggml"], two.obsm["X_ggml"])
    np.testing.assert_array_equal(one.X, two.X)
    assert not np.array_equal(one.X, sg.tl.class_barycenters(fitted, n_points=8, rng=4).X)
    cohort.uns["typical"] = fitted.uns["ggml"]
    other = sg.tl.class_barycenters(cohort, "label", key="typical", n_points=8, rng=3)
    np.testing.assert_array_equal(one.obsm["X_ggml"], other.obsm["X_typical"])
    assert "typical_barycenters" in other.uns
    del cohort.X
    assert sg.tl.class_barycenters(cohort, key="typical", n_points=8).X is None


def test_survives_files(fitted, tmp_path, assert_same_anndata):
    points = sg.tl.class_barycenters(fitted, n_points=8, rng=3, cell_type_key="cell_type")
    points.write_h5ad(tmp_path / "a.h5ad")
    assert_same_anndata(ad.read_h5ad(tmp_path / "a.h5ad"), points)


def test_genes_of_a_backed_file(fitted, tmp_path):
    fitted.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    points = sg.tl.class_barycenters(backed, n_points=8, rng=3)
    np.testing.assert_allclose(points.X, sg.tl.class_barycenters(fitted, n_points=8, rng=3).X)


def test_out_of_iterations_is_logged(fitted, caplog, monkeypatch):
    from scggml.core.transport._barycenters import free_support_barycenter

    def one_iteration(*args, **kwargs):
        return free_support_barycenter(*args, **kwargs, max_iter=1)

    monkeypatch.setattr("scggml.tl._class_barycenters.free_support_barycenter", one_iteration)
    with caplog.at_level("INFO", logger="scggml"):
        points = sg.tl.class_barycenters(fitted, n_points=10, rng=0)
    assert "barycenter of well was still improving after 1 iterations" in caplog.text
    assert not points.uns["ggml_barycenters"]["converged"].any()


CASES = {
    "key": ({"key": "mine"}, KeyError, ["no learned metric in uns['mine']", "sg.tl.fit_metric"]),
    "label_key": ({"label_key": "state"}, KeyError, ["label_key='state'", "Found: sample"]),
    "mixed label": ({"label_key": "cell_type"}, ValueError, ["one value of label_key='cell_type'"]),
    "classes": ({"classes": ["ill"]}, ValueError, ["classes", "label_key='label'", "well, sick", "found ill"]),
    "no classes": ({"classes": []}, ValueError, ["classes", "found none"]),
    "classes text": ({"classes": "well"}, TypeError, ["classes", "['well']"]),
    "cell_type_key": ({"cell_type_key": "type"}, KeyError, ["cell_type_key='type'"]),
    "cell type is label": ({"cell_type_key": "label"}, ValueError, ["cell_type_key='label'", "label_key"]),
    "n_points": ({"n_points": 0}, ValueError, ["n_points", "at least 1"]),
    "n_points float": ({"n_points": 5.0}, TypeError, ["n_points", "integer"]),
    "rng": ({"rng": "a"}, TypeError, ["rng", "'a'"]),
    "key with a slash": ({"key": "a/b"}, ValueError, ["key", "'a/b'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(fitted, assert_same_anndata, case):
    arguments, error, texts = CASES[case]
    before = fitted.copy()
    with pytest.raises(error) as caught:
        sg.tl.class_barycenters(fitted, **arguments)
    for part in texts:
        assert part in str(caught.value.args[0])
    assert_same_anndata(fitted, before)


def test_metric_of_a_continuous_label(fitted):
    fitted.uns["ggml"]["params"] |= {"label_key": "age", "label_kind": "continuous"}
    with pytest.raises(ValueError, match="learned from the continuous label 'age'. Pass label_key"):
        sg.tl.class_barycenters(fitted)
    assert sg.tl.class_barycenters(fitted, label_key="label", n_points=2).n_obs == 4


def test_a_label_called_weight(fitted):
    fitted.obs["weight"] = fitted.obs["label"]
    with pytest.raises(ValueError, match="no column may be called 'weight'"):
        sg.tl.class_barycenters(fitted, label_key="weight")
    with pytest.raises(TypeError, match="adata must be an AnnData, found NoneType"):
        sg.tl.class_barycenters(None)


def test_types_with_a_slash_can_be_written(fitted, tmp_path, assert_same_anndata):
    fitted.obs["cell_type"] = fitted.obs["cell_type"].cat.rename_categories({"T": "T/NK"})
    points = sg.tl.class_barycenters(fitted, n_points=5, cell_type_key="cell_type", rng=0)
    assert points.obsm["cell_types"].columns.tolist() == ["B", "T_NK"]
    assert points.obs["cell_type"].cat.categories.tolist() == ["B", "T/NK"]
    points.write_h5ad(tmp_path / "points.h5ad")
    assert_same_anndata(ad.read_h5ad(tmp_path / "points.h5ad"), points)
    fitted.obs["cell_type"] = np.where(fitted.obs["cell_type"] == "B", "T_NK", "T/NK")
    with pytest.raises(ValueError, match="has types that differ in '/' and '_' only: T/NK, T_NK"):
        sg.tl.class_barycenters(fitted, n_points=5, cell_type_key="cell_type")
