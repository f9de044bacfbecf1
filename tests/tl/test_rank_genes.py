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


def test_bootstrap_tells_stable_genes_from_noise(fitted_x, tmp_path):
    sg.tl.rank_genes(fitted_x, n_boot=40, n_top=2, rng=0)
    table = fitted_x.uns["ggml_rank_genes"]
    assert table.columns.tolist() == ["weight", "share", "rank", "component", "low", "high", "selected"]
    assert (table["low"] <= table["high"]).all()
    assert table.loc["g3", "selected"] == 1.0
    assert table["selected"].sum() == pytest.approx(2)
    stability = fitted_x.uns["ggml_stability"]
    assert stability["alignment"].shape == (40,)
    assert ((stability["alignment"] > 0) & (stability["alignment"] <= 1 + 1e-12)).all()
    assert stability["principal_angles"].shape == (40, stability["n_comps"])
    assert ((stability["principal_angles"] >= 0) & (stability["principal_angles"] <= 90 + 1e-9)).all()
    fitted_x.write_h5ad(tmp_path / "a.h5ad")
    sg.tl.rank_genes(fitted_x)
    assert "ggml_stability" not in fitted_x.uns and "low" not in fitted_x.uns["ggml_rank_genes"]


def test_bootstrap_repeats_itself_whatever_n_jobs(fitted):
    tables = []
    for n_jobs in (1, 2):
        sg.tl.rank_genes(fitted, n_boot=5, rng=3, n_jobs=n_jobs)
        tables.append(fitted.uns["ggml_rank_genes"])
    pd.testing.assert_frame_equal(*tables)
    sg.tl.rank_genes(fitted, n_boot=5, rng=4)
    assert not fitted.uns["ggml_rank_genes"].equals(tables[0])


def test_bootstrap_needs_the_closed_form(fitted):
    sg.tl.fit_metric(fitted, "sample", "label", use_rep="X", max_iter=3)
    with pytest.raises(ValueError, match=r"closed form alone, found max_iter=3 in uns\['ggml'\]"):
        sg.tl.rank_genes(fitted, n_boot=5)
    assert "ggml_rank_genes" not in fitted.uns


@pytest.mark.parametrize(
    ("name", "value"), [("n_boot", -1), ("n_boot", 2.5), ("n_top", 0), ("rng", "x"), ("n_jobs", 0)]
)
def test_bad_bootstrap_arguments(fitted, name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        sg.tl.rank_genes(fitted, **{"n_boot": 5, name: value})
