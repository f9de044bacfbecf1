"""Loadings that lead from genes to features, and those that do not."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import scggml as sg
from scggml._anndata._features import read_features
from scggml._anndata._genes import required_genes


def fit(adata, **kwargs):
    return sg.tl.fit_metric(adata, "sample", "label", rng=0, **kwargs)


def not_a_number(adata):
    adata.varm["PCs"][2, 1] = np.nan


def corrected(adata):
    """As Harmony does."""
    adata.obsm["X_pca"] = adata.obsm["X_pca"] + 0.2 * np.random.default_rng(0).normal(size=adata.obsm["X_pca"].shape)


def other_values(adata):
    adata.X = adata.layers["counts"]


def concatenated(adata):
    """Two parts with components of their own."""
    is_first = adata.obs["sample"].isin(["p1", "p2", "p3", "p7"])
    parts = [adata[mask].copy() for mask in (is_first, ~is_first)]
    for part in parts:
        sc.pp.pca(part, n_comps=5)
    both = ad.concat(parts)
    assert "PCs" not in both.varm
    both.varm["PCs"] = parts[0].varm["PCs"]
    adata._init_as_actual(both)


CHANGES = {
    "NaN": (not_a_number, r"varm\['PCs'\] has 1 values that are NaN or infinite"),
    "corrected": (corrected, r"X @ varm\['PCs'\] plus a constant leaves \d+\.\d% of its spread.*Harmony.*use_rep='X'"),
    "other values": (other_values, r"plus a constant leaves .*other values than X"),
    "concatenated": (concatenated, r"plus a constant leaves .*parts of the cells"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_loadings_that_do_not_lead_to_the_features(cohort, fitted, name):
    change, text = CHANGES[name]
    change(cohort)
    with pytest.warns(UserWarning, match=f"no gene weights .*{text}") as record:
        fit(cohort)
    assert len(record) == 1 and record[0].filename == __file__
    assert "ggml" not in cohort.varm and np.isfinite(cohort.uns["ggml"]["components"]).all()
    assert ("space" in cohort.uns["ggml"]) == (name != "NaN")
    pdata = sg.tl.sample_distances(cohort)
    with pytest.warns(UserWarning, match=r"PCs'\]"):
        sg.tl.make_reference(cohort, pdata, cv=None)
    # the same after the fit
    cohort.varm["ggml"] = fitted.varm["ggml"]
    for function in (sg.tl.rank_genes, lambda adata: sg.tl.enrich_genes(adata, {"a": [f"g{i}" for i in range(6)]})):
        with pytest.raises(KeyError if name == "NaN" else ValueError, match=f"does not lead back to genes: .*{text}"):
            function(cohort)


def scaled(adata):
    sc.pp.scale(adata)
    sc.pp.pca(adata, n_comps=4)


def some_genes(adata):
    sc.pp.pca(adata, n_comps=4, mask_var=np.arange(12) % 4 > 0)


def not_centred(adata):
    sc.pp.pca(adata, n_comps=4, zero_center=False)


def in_float32(adata):
    adata.obsm["X_pca"] = adata.obsm["X_pca"].astype(np.float32) + np.float32(3)
    adata.varm["PCs"] = adata.varm["PCs"].astype(np.float32)


@pytest.mark.parametrize("change", [scaled, some_genes, not_centred, in_float32])
def test_loadings_that_lead_to_the_features(cohort, change):
    cohort.X = cohort.X.toarray()
    change(cohort)
    fit(cohort)
    w = cohort.uns["ggml"]["components"] / cohort.uns["ggml"]["scale"]
    expected = (cohort.varm["PCs"].astype(np.float64) @ w.T) * cohort.X.std(axis=0, dtype=np.float64)[:, None]
    np.testing.assert_allclose(cohort.varm["ggml"], expected, rtol=1e-5, atol=1e-9)
    sg.tl.rank_genes(cohort)


def test_components_of_scaled_values_beside_values_that_are_not(cohort):
    """Weights are those of one standard deviation of X, as if X were scaled itself."""
    both = cohort.copy()
    both.X = both.X.toarray()
    scaled(both)
    fit(both)
    cohort.obsm["X_pca"], cohort.varm["PCs"] = both.obsm["X_pca"], both.varm["PCs"]
    fit(cohort)
    np.testing.assert_allclose(cohort.varm["ggml"], both.varm["ggml"], rtol=1e-5, atol=1e-8)


def test_fewer_genes_keep_their_weights(fitted):
    """What X of some genes leaves over is not told from what other genes carry."""
    sg.tl.rank_genes(fitted)
    some = fitted[:, ["g3", "g1", "g8", "g5"]].copy()
    sg.tl.rank_genes(some)
    whole = fitted.uns["ggml_rank_genes"]["weight"]
    found = some.uns["ggml_rank_genes"]["weight"]
    np.testing.assert_array_equal(found, whole[found.index])
    with pytest.raises(ValueError, match="does not lead back to genes"):
        required_genes(some, read_features(some, "X_pca", None))


@pytest.mark.parametrize("name", ["loadings", "X", "width"])
def test_nothing_that_leads_to_genes(fitted, name, assert_same_anndata):
    if name == "loadings":
        del fitted.varm["PCs"]
    elif name == "X":
        fitted.X = None
    else:
        fitted.varm["PCs"] = fitted.varm["PCs"][:, :3]
    before = fitted.copy()
    text = {"loadings": r"varm\['PCs'\] is missing", "X": "is None", "width": "3 wide, not 5"}[name]
    with pytest.raises(KeyError, match=text):
        sg.tl.rank_genes(fitted)
    assert_same_anndata(fitted, before)


@pytest.mark.parametrize("as_view", [False, True])
def test_masked_loadings_lead_to_no_genes(cohort, as_view):
    cohort.varm["PCs"] = np.ma.masked_array(cohort.varm["PCs"], np.arange(60).reshape(12, 5) == 0)
    given = cohort[:, :] if as_view else cohort
    with pytest.warns(UserWarning, match=r"no gene weights .*varm\['PCs'\] has masked values"):
        sg.tl.fit_metric(given, "sample", "label", rng=0)
    assert "ggml" not in given.varm


@pytest.mark.parametrize("damaged", [lambda x: x[:, :, None], lambda x: x.astype(str)], ids=["three axes", "text"])
def test_loadings_that_are_no_matrix_of_numbers(cohort, damaged):
    cohort.varm["PCs"] = damaged(cohort.varm["PCs"])
    with pytest.warns(UserWarning, match=r"varm\['PCs'\] is not a matrix of numbers"):
        sg.tl.fit_metric(cohort, "sample", "label", rng=0)
    assert "ggml" not in cohort.varm
    assert sg.tl.sample_distances(cohort).n_obs == 8
