from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scggml as sg


def expected_table(adata, key="ggml"):
    length = {gene: sum(v * v for v in row) ** 0.5 for gene, row in zip(adata.var_names, adata.varm[key], strict=True)}
    order = sorted(length, key=lambda gene: -length[gene])
    total = sum(w * w for w in length.values())
    strongest = dict(zip(adata.var_names, np.abs(adata.varm[key]).argmax(axis=1), strict=True))
    return pd.DataFrame(
        {
            "weight": [length[gene] for gene in order],
            "share": [length[gene] ** 2 / total for gene in order],
            "rank": range(1, len(order) + 1),
            "component": [strongest[gene] for gene in order],
        },
        index=order,
    )


@pytest.mark.parametrize("name", ["fitted", "fitted_x"])
def test_table(name, request):
    adata = request.getfixturevalue(name)
    assert sg.tl.rank_genes(adata) is None
    table = adata.uns["ggml_rank_genes"]
    pd.testing.assert_frame_equal(table, expected_table(adata), check_names=False)
    assert table.index[0] == "g3" and table["share"].sum() == pytest.approx(1)


def test_only_the_ranking_is_written(fitted, assert_same_anndata):
    before = fitted.copy()
    sg.tl.rank_genes(fitted)
    del fitted.uns["ggml_rank_genes"]
    assert_same_anndata(fitted, before)


def test_rotation_does_not_matter(fitted):
    sg.tl.rank_genes(fitted)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(fitted.varm["ggml"].shape[1],) * 2))[0]
    turned = fitted.copy()
    turned.varm["ggml"] = turned.varm["ggml"] @ rotation
    sg.tl.rank_genes(turned)
    columns = ["weight", "share", "rank"]
    pd.testing.assert_frame_equal(turned.uns["ggml_rank_genes"][columns], fitted.uns["ggml_rank_genes"][columns])


def test_key_copy_and_view(fitted, assert_same_anndata):
    sg.tl.fit_metric(fitted, "sample", "label", use_rep="X", key_added="mine")
    before = fitted.copy()
    result = sg.tl.rank_genes(fitted, key="mine", copy=True)
    pd.testing.assert_frame_equal(result.uns["mine_rank_genes"], expected_table(fitted, "mine"), check_names=False)
    view = fitted[:, :6]
    sg.tl.rank_genes(view)
    assert not view.is_view and sorted(view.uns["ggml_rank_genes"].index) == sorted(view.var_names)
    assert_same_anndata(fitted, before)


def test_errors(cohort, fitted, assert_same_anndata):
    before = cohort.copy()
    with pytest.raises(KeyError, match=r"no learned metric in uns\['ggml'\].*sg\.tl\.fit_metric"):
        sg.tl.rank_genes(cohort)
    assert_same_anndata(cohort, before)
    sg.tl.fit_metric(fitted, "sample", "label", use_rep="X_df")
    with pytest.raises(KeyError, match=r"varm\['ggml'\] does not exist: .*'X_df'.*use_rep='X'"):
        sg.tl.rank_genes(fitted)
    with pytest.raises(TypeError, match="adata must be an AnnData, found NoneType"):
        sg.tl.rank_genes(None)
