from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scggml as sg


@pytest.mark.parametrize("name", ["fitted", "fitted_x"])
def test_table_with_and_without_a_stored_ranking(name, request, assert_same_anndata):
    adata = request.getfixturevalue(name)
    before = adata.copy()
    computed = sg.get.gene_weights(adata)
    assert_same_anndata(adata, before)
    sg.tl.rank_genes(adata)
    pd.testing.assert_frame_equal(sg.get.gene_weights(adata), adata.uns["ggml_rank_genes"])
    pd.testing.assert_frame_equal(sg.get.gene_weights(adata)[computed.columns], computed)
    lengths = np.sqrt((adata.varm["ggml"] ** 2).sum(axis=1))
    np.testing.assert_allclose(computed["weight"].reindex(adata.var_names), lengths, rtol=1e-12)
    assert computed["weight"].is_monotonic_decreasing
    assert list(computed.columns) == ["weight", "share", "rank", "component"]
    assert list(computed["rank"]) == list(range(1, 13))


def test_result_is_a_copy(fitted):
    sg.tl.rank_genes(fitted)
    table = sg.get.gene_weights(fitted)
    table["weight"] = -1.0
    assert (fitted.uns["ggml_rank_genes"]["weight"] > 0).all()


def test_equal_weights_keep_the_order_of_genes(fitted):
    fitted.varm["ggml"] = np.ones_like(fitted.varm["ggml"])
    table = sg.get.gene_weights(fitted)
    assert list(table.index) == list(fitted.var_names)
    np.testing.assert_allclose(table["share"], 1 / 12)


def test_weights_of_zero_have_no_share(fitted):
    fitted.varm["ggml"] = np.zeros_like(fitted.varm["ggml"])
    assert (sg.get.gene_weights(fitted)["share"] == 0).all()


def test_modalities_of_a_joint_metric(fitted):
    fitted.var["modality"] = pd.Categorical(["rna"] * 7 + ["prot"] * 5)
    assert "modality" not in sg.get.gene_weights(fitted)  # a metric on X_pca has one modality
    fitted.uns["ggml"]["params"]["use_rep"] = "X_joint"
    table = sg.get.gene_weights(fitted)
    assert table["modality"].to_dict() == fitted.var["modality"].to_dict()
    assert list(table.index) == list(sg.get.gene_weights(fitted).index)


def test_errors(cohort, fitted):
    with pytest.raises(KeyError, match=r"no learned metric in uns\['ggml'\]"):
        sg.get.gene_weights(cohort)
    with pytest.raises(KeyError, match=r"no learned metric in uns\['mine'\].*key_added='mine'"):
        sg.get.gene_weights(fitted, key="mine")
    with pytest.raises(TypeError, match="adata must be an AnnData, found str"):
        sg.get.gene_weights("cells.h5ad")
    del fitted.varm["ggml"]
    with pytest.raises(KeyError, match=r"varm\['ggml'\] does not exist.*'X_pca'"):
        sg.get.gene_weights(fitted)


@pytest.mark.parametrize("change", ["fewer", "order", "names"])
def test_table_follows_the_genes(fitted, change):
    """A ranking of other genes is not shown for those that are there."""
    sg.tl.rank_genes(fitted)
    ranking = fitted.uns["ggml_rank_genes"]
    if change == "fewer":
        some = fitted[:, :5]
        found = sg.get.gene_weights(some)
        assert sorted(found.index) == [f"g{i}" for i in range(5)] and list(found["rank"]) == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(found["weight"], ranking["weight"][found.index])
        assert found["share"].sum() == pytest.approx(1)
        assert len(sg.pl.gene_weights(some).patches) == 5
    elif change == "order":
        pd.testing.assert_frame_equal(sg.get.gene_weights(fitted[:, ::-1]), ranking)
    else:
        fitted.var_names = [f"ENSG{i}" for i in range(12)]
        assert sorted(sg.get.gene_weights(fitted).index) == sorted(fitted.var_names)


def test_tables_of_others_are_not_shown(fitted):
    expected = sg.get.gene_weights(fitted)
    fitted.uns["ggml_rank_genes"] = pd.DataFrame({"mine": np.zeros(12)}, index=fitted.var_names)
    pd.testing.assert_frame_equal(sg.get.gene_weights(fitted), expected)


def test_something_else_in_place_of_the_ranking(fitted):
    expected = sg.get.gene_weights(fitted)
    fitted.uns["ggml_rank_genes"] = dict.fromkeys(("weight", "share", "rank", "component"), 1)
    pd.testing.assert_frame_equal(sg.get.gene_weights(fitted), expected)
