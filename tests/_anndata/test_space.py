"""A metric is not applied in another space than it was learned in."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import scggml as sg
from scggml._anndata._features import read_features
from scggml._anndata._space import space_of
from scggml._anndata._stored_metric import read_metric


def part(cohort):
    """Some of the cells, with components of their own."""
    some = cohort[cohort.obs["sample"].isin(["p1", "p2", "p3", "p7"])].copy()
    sc.pp.pca(some, n_comps=5)
    return some


def turned(cohort):
    cohort.obsm["X_pca"] = cohort.obsm["X_pca"] * [1, 1, -1, 1, 1]
    cohort.varm["PCs"] = cohort.varm["PCs"] * [1, 1, -1, 1, 1]
    return cohort


def permuted(cohort):
    order = [0, 1, 2, 4, 3]
    cohort.obsm["X_pca"], cohort.varm["PCs"] = cohort.obsm["X_pca"][:, order], cohort.varm["PCs"][:, order]
    return cohort


OTHERS = {"components of its own": part, "a sign": turned, "an order": permuted}
READERS = {
    "sample_distances": lambda a, fitted, pdata: sg.tl.sample_distances(a),
    "class_barycenters": lambda a, fitted, pdata: sg.tl.class_barycenters(a, n_points=3),
    "make_reference": lambda a, fitted, pdata: sg.tl.make_reference(a, pdata, cv=None),
    "explain_distances": lambda a, fitted, pdata: sg.tl.explain_distances(a, pdata),
    "rank_genes": lambda a, fitted, pdata: sg.tl.rank_genes(a),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", OTHERS)
def test_cells_in_another_space(cohort, fitted, pdata, name, reader, assert_same_anndata):
    other = OTHERS[name](cohort)
    other.uns["ggml"], other.varm["ggml"] = fitted.uns["ggml"], fitted.varm["ggml"]
    samples = pdata[np.unique(other.obs["sample"].astype(str))].copy()
    before = other.copy()
    with pytest.raises(
        ValueError, match=r"uns\['ggml'\] was learned in another space than obsm\['X_pca'\].*make_refer"
    ):
        READERS[reader](other, fitted, samples)
    assert_same_anndata(other, before)


def test_space_of_a_projection(cohort, fitted, pdata):
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    with pytest.raises(ValueError, match="was learned in another space"):
        sg.tl.project(part(cohort), reference, use_rep="X_pca")
    new = part(cohort)
    sg.tl.project(new, reference)  # from genes
    rows = fitted.obs_names.get_indexer(new.obs_names)
    np.testing.assert_allclose(new.obsm["X_ggml"], fitted.obsm["X_ggml"][rows], atol=1e-6)


def computed_again(adata):
    sc.pp.pca(adata, n_comps=5)


def corrected(adata):
    """As Harmony does, which leaves the loadings as they are."""
    adata.obsm["X_pca"] = adata.obsm["X_pca"] + 0.1 * np.random.default_rng(0).normal(size=adata.obsm["X_pca"].shape)


def of_another_metric(adata):
    adata.uns["ggml"] = sg.tl.fit_metric(adata, "sample", "cell_type_of_sample", rng=0, copy=True).uns["ggml"]


@pytest.mark.parametrize("change", [computed_again, corrected, of_another_metric])
@pytest.mark.parametrize("reader", READERS)
def test_features_that_were_changed_after_the_fit(fitted, pdata, change, reader, assert_same_anndata):
    fitted.obs["cell_type_of_sample"] = fitted.obs["sample"].isin(["p1", "p2", "p3", "p5"]).map({True: "a", False: "b"})
    change(fitted)
    before = fitted.copy()
    with pytest.raises(ValueError, match=r"after the fit.*[Rr]estore .*sg\.tl\.fit_metric again"):
        READERS[reader](fitted, fitted, pdata)
    assert_same_anndata(fitted, before)


def test_genes_that_were_changed_after_the_fit(fitted_x):
    sg.tl.sample_distances(fitted_x[:40])
    fitted_x.X = fitted_x.layers["counts"]
    with pytest.raises(ValueError, match=r"does not lead from the features to obsm\['X_ggml'\]"):
        sg.tl.sample_distances(fitted_x)


def test_cells_of_the_same_space(cohort, fitted, caplog):
    expected = sg.get.distances(sg.tl.sample_distances(fitted))
    np.testing.assert_array_equal(sg.get.distances(sg.tl.sample_distances(fitted[:, :0])), expected)  # no genes at all
    subset = fitted[fitted.obs["label"] == "well"]
    found = sg.get.distances(sg.tl.sample_distances(subset))
    np.testing.assert_array_equal(found, expected.loc[found.index, found.columns])
    # numbers of half the precision
    for adata in (fitted, cohort):
        adata.obsm["X_pca"] = adata.obsm["X_pca"].astype(np.float32)
        adata.varm["PCs"] = adata.varm["PCs"].astype(np.float32)
    np.testing.assert_allclose(sg.get.distances(sg.tl.sample_distances(fitted)), expected, rtol=1e-5, atol=1e-6)
    # other cells, some of the genes, in another order
    cohort.uns["ggml"] = fitted.uns["ggml"]
    some = cohort[:, ["g7", "g2", "g3"]].copy()
    np.testing.assert_allclose(sg.get.distances(sg.tl.sample_distances(some)), expected, rtol=1e-5, atol=1e-6)
    cohort.var_names = [f"ENSG{i}" for i in range(12)]
    with caplog.at_level(logging.DEBUG, logger="scggml"):
        sg.tl.sample_distances(cohort)
        del cohort.varm["PCs"]
        sg.tl.sample_distances(cohort)
    assert [record.message.split(":")[0] for record in caplog.records if "width" in record.message] == [
        "no gene of the metric's space is in adata",
        "only the width of obsm['X_pca'] can be compared with that of the metric's features",
    ]


def test_what_identifies_a_space(cohort):
    wide = ad.AnnData(np.zeros((3, 300)), obsm={"X_pca": np.ones((3, 2))}, varm={"PCs": np.ones((300, 2))})
    wide.var_names = [f"g{i:03}" for i in range(300)][::-1]
    wide.varm["PCs"][5] = 2.0
    wide.var_names = ["twice" if i in (7, 8) else name for i, name in enumerate(wide.var_names)]
    features = read_features(wide, "X_pca", None)
    found = space_of(wide, features)
    assert found["loadings"].dtype == np.float32 and found["loadings"].shape == (200, 2)
    assert list(found["genes"][:3]) == ["g294", "g000", "g001"] and "twice" not in found["genes"]
    for use_rep in ("X", "X_df"):
        assert space_of(cohort, read_features(cohort, use_rep, None)) is None


@pytest.mark.parametrize("place", ["backed", "dask", "lazy"])
def test_cells_in_files(fitted, tmp_path, place):
    expected = sg.tl.sample_distances(fitted).obsp["ggml_distances"]
    fitted.write_h5ad(tmp_path / "cells.h5ad")
    if place == "backed":
        adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    elif place == "lazy":
        pytest.importorskip("xarray")
        adata = ad.experimental.read_lazy(tmp_path / "cells.h5ad")
        adata.obs = adata.obs.to_memory()
    else:
        dask = pytest.importorskip("dask.array")
        adata = fitted.copy()
        for name in ("X_pca", "X_ggml"):
            adata.obsm[name] = dask.from_array(adata.obsm[name], chunks=(20, -1))
    np.testing.assert_array_equal(sg.tl.sample_distances(adata).obsp["ggml_distances"], expected)
    adata.obsm["X_ggml"] = fitted.obsm["X_ggml"][:, ::-1]
    with pytest.raises(ValueError, match="does not lead from the features"):
        sg.tl.sample_distances(adata)
    if place == "backed":
        adata.file.close()


def test_fingerprint(fitted, fitted_x, cohort, pdata):
    one, other = (read_metric(adata, "ggml") for adata in (fitted, fitted_x))
    w = fitted.uns["ggml"]["components"] / fitted.uns["ggml"]["scale"]
    np.testing.assert_allclose(one.fingerprint, w @ np.cos([1, 2, 3, 4, 5]))
    assert not np.array_equal(one.fingerprint, other.fingerprint)
    sg.tl.project(cohort, sg.tl.make_reference(fitted, pdata, cv=None))
    np.testing.assert_array_equal(read_metric(cohort, "ggml").fingerprint, one.fingerprint)


def test_cells_in_the_learned_space_that_are_text(fitted):
    fitted.obsm["X_ggml"] = fitted.obsm["X_ggml"].astype(str)
    with pytest.raises(TypeError, match=r"obsm\['X_ggml'\] must hold numbers, found <U.*fit_metric again"):
        sg.tl.sample_distances(fitted)
