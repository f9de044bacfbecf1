from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scggml as sg

BASIC = ["weight", "share", "rank", "component"]


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
    pd.testing.assert_frame_equal(table[BASIC], expected_table(adata), check_names=False)
    assert table.index[0] == "g3" and table["share"].sum() == pytest.approx(1)


def test_only_the_ranking_is_written(fitted, assert_same_anndata):
    before = fitted.copy()
    sg.tl.rank_genes(fitted)
    del fitted.uns["ggml_rank_genes"], fitted.uns["ggml_rank_genes_groups"]
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
    pd.testing.assert_frame_equal(
        result.uns["mine_rank_genes"][BASIC], expected_table(fitted, "mine"), check_names=False
    )
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


def test_bootstrap_separates_stable_genes_from_noise(fitted_x, tmp_path, monkeypatch):
    monkeypatch.setattr("scggml.explanation._gene_ranking.N_TOP", 2)
    sg.tl.rank_genes(fitted_x, n_boot=40, rng=0)
    table = fitted_x.uns["ggml_rank_genes"]
    assert table.columns.tolist() == [*BASIC, "highest", "lowest", "shift", "separation", "low", "high", "selected"]
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


def test_bootstrap_repeats_itself(fitted):
    tables = []
    for rng in (3, np.random.default_rng(3)):
        sg.tl.rank_genes(fitted, n_boot=5, rng=rng)
        tables.append(fitted.uns["ggml_rank_genes"])
    pd.testing.assert_frame_equal(*tables)
    sg.tl.rank_genes(fitted, n_boot=5, rng=4)
    assert not fitted.uns["ggml_rank_genes"].equals(tables[0])


def test_bootstrap_needs_the_closed_form(fitted):
    learners = {
        "n_sweeps=2": sg.GroundMetricLearner(n_sweeps=2),
        "refine=Refinement": sg.GroundMetricLearner(refine=sg.Refinement(max_iter=2)),
        "solver=Sinkhorn": sg.GroundMetricLearner(solver=sg.Sinkhorn()),
    }
    for text, learner in learners.items():
        sg.tl.fit_metric(fitted, "sample", "label", use_rep="X", learner=learner)
        with pytest.raises(ValueError, match=rf"closed form alone, found {text}.* in uns\['ggml'\]"):
            sg.tl.rank_genes(fitted, n_boot=5)
        assert "ggml_rank_genes" not in fitted.uns


@pytest.mark.parametrize(("name", "value"), [("n_boot", -1), ("n_boot", 2.5), ("rng", "x"), ("copy", "yes")])
def test_bad_bootstrap_arguments(fitted, name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        sg.tl.rank_genes(fitted, **{"n_boot": 5, name: value})


def dense(x):
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=float)


def class_means(adata, key="label"):
    by_sample = pd.DataFrame(dense(adata.X), columns=adata.var_names).groupby(adata.obs["sample"].to_numpy()).mean()
    label = adata.obs.groupby("sample", observed=True)[key].first().astype(str).reindex(by_sample.index.astype(str))
    return by_sample, by_sample.groupby(label.to_numpy()).mean()


@pytest.mark.parametrize("name", ["fitted", "fitted_x"])
def test_direction_and_share_of_the_separation(name, request):
    adata = request.getfixturevalue(name)
    sg.tl.rank_genes(adata)
    table = adata.uns["ggml_rank_genes"]
    _, means = class_means(adata)
    assert list(table["highest"]) == list(means.idxmax()[table.index])
    assert list(table["lowest"]) == list(means.idxmin()[table.index])
    difference = means.loc["sick"] - means.loc["well"]
    np.testing.assert_allclose(table["shift"], (difference.abs() / dense(adata.X).std(axis=0))[table.index])
    entry = adata.uns["ggml"]
    a = entry["components"] / entry["scale"]
    if name == "fitted":
        a = a @ adata.varm["PCs"].T
    delta = difference.to_numpy()
    expected = pd.Series(delta * (a.T @ (a @ delta)), index=adata.var_names)
    assert expected.sum() == pytest.approx(np.sum((a @ delta) ** 2))
    np.testing.assert_allclose(table["separation"], (expected / expected.sum())[table.index], atol=1e-12)
    assert table["separation"].sum() == pytest.approx(1)


def test_genes_by_class_in_the_shape_of_scanpy(fitted_x, tmp_path):
    import anndata as ad
    import scanpy as sc

    sg.tl.rank_genes(fitted_x)
    table, (_, means) = fitted_x.uns["ggml_rank_genes"], class_means(fitted_x)
    for group, other in (("sick", "well"), ("well", "sick")):
        found = sc.get.rank_genes_groups_df(fitted_x, group, key="ggml_rank_genes_groups").set_index("names")
        difference = (means.loc[group] - means.loc[other])[found.index]
        np.testing.assert_allclose(found["scores"], table["weight"][found.index] * np.sign(difference))
        np.testing.assert_allclose(found["logfoldchanges"], difference / np.log(2))
        assert (np.diff(found["scores"]) <= 0).all() and found["pvals"].isna().all()
    fitted_x.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        sc.get.rank_genes_groups_df(back, None, key="ggml_rank_genes_groups"),
        sc.get.rank_genes_groups_df(fitted_x, None, key="ggml_rank_genes_groups"),
    )


def test_scanpy_draws_it(fitted_x, pyplot):
    import scanpy as sc

    sg.tl.rank_genes(fitted_x)
    sc.pl.rank_genes_groups(fitted_x, key="ggml_rank_genes_groups", n_genes=5, show=False)
    assert len(pyplot.gcf().axes) == 2


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
def test_trend_with_ordered_labels(fitted_x, kind):
    fitted_x.obs["years"] = fitted_x.obs["sample"].astype(str).str[1:].astype(int) % 4
    sg.tl.fit_metric(fitted_x, "sample", "years", label_kind=kind, use_rep="X")
    sg.tl.rank_genes(fitted_x, n_boot=3, rng=0)
    table = fitted_x.uns["ggml_rank_genes"]
    by_sample, _ = class_means(fitted_x)
    years = by_sample.index.astype(str).str[1:].astype(int) % 4
    expected = by_sample.apply(lambda gene: np.corrcoef(gene, years)[0, 1])
    np.testing.assert_allclose(table["trend"], expected[table.index], atol=1e-12)
    assert ("highest" in table) == (kind == "ordinal") == ("ggml_rank_genes_groups" in fitted_x.uns)
    assert table["separation"].sum() == pytest.approx(1)


def test_separation_along_a_continuous_label(fitted_x):
    fitted_x.obs["years"] = fitted_x.obs["sample"].astype(str).str[1:].astype(int) ** 1.5
    sg.tl.fit_metric(fitted_x, "sample", "years", label_kind="continuous", use_rep="X")
    sg.tl.rank_genes(fitted_x)
    by_sample, _ = class_means(fitted_x)
    years = by_sample.index.astype(str).str[1:].astype(int).to_numpy() ** 1.5
    slope = np.polyfit(years, by_sample.to_numpy(), 1)[0]
    entry = fitted_x.uns["ggml"]
    a = entry["components"] / entry["scale"]
    expected = pd.Series(slope * (a.T @ (a @ slope)), index=fitted_x.var_names)
    table = fitted_x.uns["ggml_rank_genes"]
    np.testing.assert_allclose(table["separation"], (expected / expected.sum())[table.index], atol=1e-9)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_genes_with_the_same_name(fitted_x, assert_same_anndata):
    fitted_x.var_names = ["twice", "twice", *fitted_x.var_names[2:]]
    before = fitted_x.copy()
    with pytest.raises(ValueError, match=r"adata\.var_names are not unique, found several of twice\. Call"):
        sg.tl.rank_genes(fitted_x)
    assert_same_anndata(fitted_x, before)


def test_classes_if_the_kind_of_label_is_not_stored(fitted_x):
    del fitted_x.uns["ggml"]["params"]["label_kind"]
    sg.tl.rank_genes(fitted_x)
    assert "highest" in fitted_x.uns["ggml_rank_genes"]


def test_labels_that_are_gone(fitted_x, assert_same_anndata):
    del fitted_x.obs["label"]
    before = fitted_x.copy()
    with pytest.raises(KeyError, match="label_key='label' is not a column of obs"):
        sg.tl.rank_genes(fitted_x)
    assert_same_anndata(fitted_x, before)
    assert len(sg.get.gene_weights(fitted_x)) == fitted_x.n_vars
