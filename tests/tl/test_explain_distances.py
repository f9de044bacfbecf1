"""The parts of distances, against `ot.emd` called directly and loops over samples and entries."""

from __future__ import annotations

from itertools import combinations, product

import anndata as ad
import numpy as np
import ot
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

import scggml as sg

CLASSES = ("well", "sick")


def dense(x):
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)


@pytest.fixture
def explained(fitted, pdata):
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    return pdata


def entry(pdata, key="ggml"):
    return pdata.uns[f"{key}_explanation"]


def by_hand(z, x, m, sample, cell_type, a, b):
    """Carried, state, composition and contributions of features for one pair of samples, entry by entry."""
    sample, cell_type = (np.asarray(column.astype(str)) for column in (sample, cell_type))
    types = sorted(set(cell_type))
    rows = [np.flatnonzero(sample == name) for name in (a, b)]
    plan = ot.emd([], [], cdist(z[rows[0]], z[rows[1]]))
    share = [np.array([(cell_type[r] == t).mean() for t in types]) for r in rows]
    flow, features = np.zeros((2, len(types), len(types))), np.zeros(x.shape[1])
    for i, j in zip(*np.nonzero(plan), strict=True):
        p, q = rows[0][i], rows[1][j]
        place = types.index(cell_type[p]), types.index(cell_type[q])
        length = np.linalg.norm(z[p] - z[q])
        flow[(0, *place)] += plan[i, j] * length
        flow[(1, *place)] += plan[i, j]
        delta = x[p] - x[q]
        features += plan[i, j] / length * (np.outer(delta, delta) * m).sum(axis=1)
    cost, mass = flow
    state = np.diag(cost)
    composition = np.zeros(len(types))
    for t in range(len(types)):
        for gap, axis in ((share[0][t] - share[1][t], 1), (share[1][t] - share[0][t], 0)):
            crossing = mass.sum(axis=axis)[t] - mass[t, t]
            if crossing > 0:
                composition[t] += max(gap, 0) / crossing * (cost.sum(axis=axis)[t] - cost[t, t]) / 2
    return {
        "distance": (cost.sum(axis=0) + cost.sum(axis=1)) / 2,
        "state": state,
        "composition": composition,
        "mass": np.diag(mass),
        "shared": np.minimum(*share),
        "features": features,
        "flow": flow,
    }


def by_classes(parts, label):
    """Means of parts between and within both classes."""
    members = [[name for name in label.index if label[name] == group] for group in CLASSES]

    def mean(pairs):
        return {
            name: np.mean([parts[a, b][name] for a, b in pairs], axis=0) for name in parts[members[0][0], members[1][0]]
        }

    return mean(list(product(*members))), *(mean(list(combinations(own, 2))) for own in members)


@pytest.fixture
def hand(fitted, pdata):
    w = fitted.uns["ggml"]["components"] / fitted.uns["ggml"]["scale"]
    a = w @ fitted.varm["PCs"].T
    label = pdata.obs["label"].astype(str)
    parts = {
        (i, j): by_hand(fitted.obsm["X_pca"] @ w.T, dense(fitted.X), a.T @ a, fitted.obs["sample"], fitted.obs["cell_type"], i, j)
        for i, j in product(pdata.obs_names, repeat=2)
        if i != j
    }  # fmt: skip
    return parts, label


def test_pairs(explained, hand):
    parts, label = hand
    pairs = entry(explained)["pairs"]
    assert len(pairs) == 16 + 6 + 6
    distances = sg.get.distances(explained)
    for row in pairs.itertuples():
        own = parts[row.sample_a, row.sample_b]
        assert (label[row.sample_a], label[row.sample_b]) == (row.class_a, row.class_b)
        found = [row.distance, row.state, row.composition, row.state + row.exchange + row.composition]
        expected = [own["distance"].sum(), own["state"].sum(), own["composition"].sum(), row.distance]
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        np.testing.assert_allclose(row.distance, distances.loc[row.sample_a, row.sample_b], rtol=1e-12)


def test_tables_of_classes(explained, hand):
    parts, label = hand
    means = by_classes(parts, label)
    summary, types, flows = (entry(explained)[name] for name in ("summary", "cell_types", "flows"))
    assert list(zip(summary["class_a"], summary["class_b"], strict=True)) == [CLASSES, ("well",) * 2, ("sick",) * 2]
    assert list(summary["n_pairs"]) == [16, 6, 6]
    for q, mean in enumerate(means):
        row, table = summary.iloc[q], types.iloc[2 * q : 2 * q + 2]
        assert list(table["cell_type"]) == ["B", "T"]
        for name in ("distance", "state", "composition"):
            np.testing.assert_allclose(table[name], mean[name], rtol=1e-8, err_msg=name)
            np.testing.assert_allclose(row[name], mean[name].sum(), rtol=1e-8)
        np.testing.assert_allclose(
            table["exchange"], mean["distance"] - mean["state"] - mean["composition"], atol=1e-10
        )
        np.testing.assert_allclose(table["share"], mean["distance"] / mean["distance"].sum(), rtol=1e-8)
        np.testing.assert_allclose(table["mass_within_type"], mean["mass"], rtol=1e-8)
        np.testing.assert_allclose(table["state_per_cell"], mean["state"] / mean["mass"], rtol=1e-8)
        per_cell = (mean["distance"] - mean["composition"]) / mean["shared"]
        np.testing.assert_allclose(table["distance_per_cell"], per_cell, rtol=1e-8)
        shares = [row[f"{part}_share"] for part in ("state", "exchange", "composition")]
        np.testing.assert_allclose(sum(shares), 1, rtol=1e-12)
        cost, mass = mean["flow"]
        if q:
            cost, mass = (cost + cost.T) / 2, (mass + mass.T) / 2
        np.testing.assert_allclose(flows["cost"].iloc[4 * q : 4 * q + 4], cost.ravel(), rtol=1e-8)
        np.testing.assert_allclose(flows["mass"].iloc[4 * q : 4 * q + 4], mass.ravel(), rtol=1e-8)
    between, *within = (mean["flow"][0] for mean in means)
    within = sum(cost + cost.T for cost in within) / 4
    np.testing.assert_allclose(flows["excess"][:4], (between - within).ravel(), rtol=1e-7)
    assert list(flows["source"][:4]) == ["B", "B", "T", "T"] and list(flows["target"][:4]) == ["B", "T", "B", "T"]
    assert flows["excess"][4:].isna().all()


def statistics(parts, label):
    """The excess of each type and of all, and what follows from it."""
    between, *within = by_classes(parts, label)
    found = {}
    for mean in (between, *within):
        mean["exchange"] = mean["distance"] - mean["state"] - mean["composition"]
        mean["state_per_cell"] = mean["state"] / mean["mass"]
        mean["distance_per_cell"] = (mean["state"] + mean["exchange"]) / mean["shared"]
    for name in ("distance", "state", "exchange", "composition", "state_per_cell", "distance_per_cell"):
        excess = between[name] - (within[0][name] + within[1][name]) / 2
        found["excess" if name == "distance" else f"{name}_excess"] = excess
    return found


def test_excess_and_its_jackknife(explained, hand):
    parts, label = hand
    full = statistics(parts, label)
    without = [statistics(parts, label.drop(name)) for name in label.index]
    first = (label == "well").to_numpy()

    def error(values):
        values = np.array(values)
        return np.sqrt(sum((own.sum() - 1) * values[own].var(axis=0) for own in (first, ~first)))

    types, row = entry(explained)["cell_types"].iloc[:2], entry(explained)["summary"].iloc[0]
    for name, value in full.items():
        np.testing.assert_allclose(types[name], value, rtol=1e-7, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(types[f"{name}_se"], error([w[name] for w in without]), rtol=1e-7, err_msg=name)
        if "per_cell" not in name:
            np.testing.assert_allclose(row[name], value.sum(), rtol=1e-7)
            np.testing.assert_allclose(row[f"{name}_se"], error([w[name].sum() for w in without]), rtol=1e-7)
    for part in ("state", "exchange", "composition"):
        share = [w[f"{part}_excess"].sum() / w["excess"].sum() for w in (full, *without)]
        np.testing.assert_allclose(row[f"{part}_excess_share"], share[0], rtol=1e-7)
        np.testing.assert_allclose(row[f"{part}_excess_share_se"], error(share[1:]), rtol=1e-7)
    np.testing.assert_allclose(types["excess_share"].sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(row["distance"] - row["within_classes"], row["excess"], rtol=1e-12)
    np.testing.assert_allclose(types["distance"] - types["within_classes"], types["excess"], rtol=1e-9)
    later = entry(explained)["summary"].iloc[1:]
    about_excess = [name for name in later if "excess" in name or "within" in name]
    assert len(about_excess) == 15 and later[about_excess].isna().all(axis=None)


def test_genes(explained, hand):
    parts, label = hand
    genes = entry(explained)["genes"]
    assert list(genes["names"]) == [f"g{i}" for i in range(12)]
    assert list(genes["parts"]) == ["B", "T", "exchange", "composition"]
    assert genes["distance"].shape == (3, 4, 12)
    for q, mean in enumerate(by_classes(parts, label)):
        np.testing.assert_allclose(genes["distance"][q].sum(axis=0), mean["features"], rtol=1e-7, atol=1e-10)
    summary, types = entry(explained)["summary"], entry(explained)["cell_types"]
    costs = np.column_stack([types["state"].to_numpy().reshape(3, 2), summary["exchange"], summary["composition"]])
    np.testing.assert_allclose(genes["distance"].sum(axis=2) + genes["remainder"], costs, rtol=1e-8)
    assert (abs(genes["remainder"]).sum(axis=1) < 1e-8 * summary["distance"]).all()  # X_pca is made of X here


def test_metric_on_genes(fitted_x, hand):
    pdata = sg.tl.sample_distances(fitted_x)
    sg.tl.explain_distances(fitted_x, pdata, cell_type_key="cell_type", classes=CLASSES)
    w = fitted_x.uns["ggml"]["components"] / fitted_x.uns["ggml"]["scale"]
    x = dense(fitted_x.X)
    own = [
        by_hand(x @ w.T, x, w.T @ w, fitted_x.obs["sample"], fitted_x.obs["cell_type"], a, b)
        for a, b in product(*(pdata.obs_names[pdata.obs["label"] == group] for group in CLASSES))
    ]
    found = entry(pdata)["genes"]["distance"][0].sum(axis=0)
    np.testing.assert_allclose(found, np.mean([parts["features"] for parts in own], axis=0), rtol=1e-8, atol=1e-12)
    dense_pdata = pdata.copy()
    fitted_x.X = x
    sg.tl.explain_distances(fitted_x, dense_pdata, cell_type_key="cell_type")
    np.testing.assert_allclose(
        entry(dense_pdata)["genes"]["distance"], entry(pdata)["genes"]["distance"], rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("use_rep", ["X", "X_pca", "X_df", "layer"])
def test_euclidean(cohort, use_rep):
    features = {"layer": "counts"} if use_rep == "layer" else {"use_rep": use_rep}
    points, names = {
        "X": (dense(cohort.X), cohort.var_names),
        "X_pca": (cohort.obsm["X_pca"], cohort.var_names),
        "X_df": (cohort.obsm["X_df"].to_numpy(), ["u", "v", "w"]),
        "layer": (dense(cohort.layers["counts"]), cohort.var_names),
    }[use_rep]
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean", **features)
    sg.tl.explain_distances(cohort, pdata, cell_type_key="cell_type", samples=["p3", "p5"])
    values, m = points, np.eye(points.shape[1])
    if use_rep == "X_pca":
        values, m = dense(cohort.X), cohort.varm["PCs"] @ cohort.varm["PCs"].T
    own = by_hand(points, values, m, cohort.obs["sample"], cohort.obs["cell_type"], "p3", "p5")
    genes = entry(pdata)["genes"]
    assert list(genes["names"]) == list(names)
    np.testing.assert_allclose(genes["distance"][0].sum(axis=0), own["features"], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(genes["distance"].sum(), pdata.obsp["ggml_distances"][2, 4], rtol=1e-8)
    np.testing.assert_allclose(entry(pdata)["cell_types"]["distance"], own["distance"], rtol=1e-8)


def test_features_of_another_representation(cohort):
    cohort.obsm["X_flow"] = cohort.obsm["X_pca"][:, :3] + 1
    sg.tl.fit_metric(cohort, "sample", "label", use_rep="X_flow")
    pdata = sg.tl.sample_distances(cohort)
    sg.tl.explain_distances(cohort, pdata)
    genes = entry(pdata)["genes"]
    assert list(genes["names"]) == ["X_flow_0", "X_flow_1", "X_flow_2"]
    np.testing.assert_allclose(genes["distance"].sum(axis=(1, 2)), entry(pdata)["summary"]["distance"], rtol=1e-10)


def test_pca_without_loadings(fitted, pdata):
    del fitted.varm["PCs"]
    with pytest.warns(UserWarning, match=r"varm\['PCs'\] is missing"):
        sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    assert "genes" not in entry(pdata)


def test_remainder_of_corrected_pcs(fitted):
    """PCs that are not X times their loadings leave something over, which is told and counted."""
    rng = np.random.default_rng(0)
    fitted.obsm["X_pca"] = fitted.obsm["X_pca"] + 0.3 * rng.normal(size=fitted.obsm["X_pca"].shape)
    del fitted.obsm["X_ggml"]  # of the components before
    pdata = sg.tl.sample_distances(fitted)
    with pytest.warns(UserWarning, match=r"genes leave over up to 0\.\d+ of a distance.*remainder.*use_rep='X'"):
        sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    genes = entry(pdata)["genes"]
    total = genes["distance"].sum(axis=(1, 2)) + genes["remainder"].sum(axis=1)
    np.testing.assert_allclose(total, entry(pdata)["summary"]["distance"], rtol=1e-8)
    assert (abs(genes["remainder"]).sum(axis=1) > 1e-3 * entry(pdata)["summary"]["distance"]).all()


def test_without_cell_types(explained, fitted, pdata):
    other = pdata.copy()
    sg.tl.explain_distances(fitted, other)
    assert list(entry(other)["cell_types"]["cell_type"]) == ["all"] * 3
    summary = entry(other)["summary"]
    np.testing.assert_allclose(summary["state_share"], 1)
    np.testing.assert_allclose(summary["excess"], entry(explained)["summary"]["excess"], rtol=1e-9)
    np.testing.assert_allclose(summary["excess_se"], entry(explained)["summary"]["excess_se"], rtol=1e-9)
    np.testing.assert_allclose(
        entry(other)["genes"]["distance"][:, 0], entry(explained)["genes"]["distance"].sum(axis=1), atol=1e-10
    )


def test_two_samples(explained, fitted, pdata, hand):
    other = pdata.copy()
    sg.tl.explain_distances(fitted, other, cell_type_key="cell_type", samples=("p7", "p2"))
    own = hand[0]["p7", "p2"]
    table = entry(other)["cell_types"]
    assert list(table["class_a"]) == ["p7"] * 2 and list(table["class_b"]) == ["p2"] * 2
    np.testing.assert_allclose(table["distance"], own["distance"], rtol=1e-8)
    np.testing.assert_allclose(entry(other)["flows"]["cost"], own["flow"][0].ravel(), rtol=1e-8)
    assert table["excess"].isna().all() and entry(other)["summary"]["excess_se"].isna().all()
    assert list(entry(other)["params"]["samples"]) == ["p7", "p2"] and "label_key" not in entry(other)["params"]


def test_classes_have_the_order_asked_for(explained, fitted, pdata):
    other = pdata.copy()
    sg.tl.explain_distances(fitted, other, cell_type_key="cell_type", classes=["sick", "well"])
    found, expected = (entry(s)["flows"].iloc[:4] for s in (other, explained))
    assert set(found["class_a"]) == {"sick"}
    np.testing.assert_allclose(
        found["cost"].to_numpy().reshape(2, 2), expected["cost"].to_numpy().reshape(2, 2).T, rtol=1e-8
    )
    columns = ["distance", "excess", "excess_se", "composition_excess_share"]
    np.testing.assert_allclose(
        entry(other)["summary"][columns].iloc[0], entry(explained)["summary"][columns].iloc[0], rtol=1e-8
    )


def test_order_of_samples_is_irrelevant(explained, fitted, pdata, assert_same_anndata):
    other = pdata[::-1].copy()
    shuffled = fitted[np.random.default_rng(0).permutation(fitted.n_obs)].copy()
    sg.tl.explain_distances(shuffled, other, cell_type_key="cell_type")
    for name in ("summary", "cell_types", "flows", "pairs"):
        pd.testing.assert_frame_equal(entry(other)[name], entry(explained)[name], rtol=1e-7, atol=1e-12)


def test_classes_of_samples_only(explained, fitted, pdata):
    """Labels are those of samples, which cells need not have."""
    pdata.obs["cluster"] = [f"c{i % 3}" for i in range(8)]
    del fitted.obs["label"]
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", label_key="cluster")
    summary = entry(pdata)["summary"]
    assert list(summary["class_a"]) == ["c0", "c0", "c1", "c0", "c1", "c2"]
    assert list(summary["n_pairs"]) == [9, 6, 6, 3, 3, 1]
    assert summary["excess"][:3].notna().all() and list(summary["excess_se"][:3].isna()) == [False, True, True]


def test_class_with_one_sample(fitted, pdata):
    pdata.obs["stage"] = ["a"] * 5 + ["b"] * 2 + ["c"]
    with pytest.warns(UserWarning, match=r"1 class\(es\) of label_key='stage' have one sample only \(c\)"):
        sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", label_key="stage")
    summary = entry(pdata)["summary"].set_index(["class_a", "class_b"])
    assert ("c", "c") not in summary.index and len(summary) == 5
    assert summary["excess"].notna().to_dict() == {pair: pair == ("a", "b") for pair in summary.index}
    assert summary["distance"].notna().all()


def test_absent_types(fitted, pdata):
    fitted.obs["cell_type"] = fitted.obs["cell_type"].cat.add_categories(["rare", "never"])
    fitted.obs.loc[fitted.obs["sample"].isin(["p1", "p2"]) & (fitted.obs["cell_type"] == "T"), "cell_type"] = "rare"
    with pytest.warns(UserWarning, match=r"2 cell type\(s\) of cell_type_key='cell_type' are absent from some samples: T \(from 2 of 8\), rare \(from 6 of 8\)"):  # fmt: skip
        sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    table = entry(pdata)["cell_types"]
    assert list(table["cell_type"][:3]) == ["B", "T", "rare"]  # what no cell has is left out
    np.testing.assert_allclose(table.groupby(["class_a", "class_b"])["share"].sum(), 1, rtol=1e-10)
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", samples=["p3", "p4"])
    assert list(entry(pdata)["cell_types"]["cell_type"]) == ["B", "T"]  # those of the two


def test_sketch_of_cell_types(cohort):
    sg.pp.sketch(cohort, "sample", cell_type_key="cell_type")
    sg.tl.fit_metric(cohort, "sample", "label", rng=0)
    pdata = sg.tl.sample_distances(cohort, sketch_key="sketch")
    sg.tl.explain_distances(cohort, pdata, cell_type_key="cell_type")
    genes, summary = entry(pdata)["genes"], entry(pdata)["summary"]
    np.testing.assert_allclose(genes["distance"].sum(axis=(1, 2)), summary["distance"], rtol=1e-6)  # means in float32
    proportions = cohort.obs.groupby("sample", observed=True)["cell_type"].value_counts(normalize=True).unstack()
    well = proportions[(pdata.obs["label"] == "well").to_numpy()].mean()
    np.testing.assert_allclose(entry(pdata)["cell_types"]["proportion_a"][:2], well[["B", "T"]], rtol=1e-10)


def test_sketch_of_mixed_types(fitted, pdata):
    sg.pp.sketch(fitted, "sample", n_points=4, rng=0)
    pdata = sg.tl.sample_distances(fitted, sketch_key="sketch")
    with pytest.raises(
        ValueError,
        match="several types of cell_type_key='cell_type'.*sketch_key=False.*sketch.*cell_type_key='cell_type'",
    ):
        sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    sg.tl.explain_distances(fitted, pdata)  # genes need no types
    np.testing.assert_allclose(
        entry(pdata)["genes"]["distance"].sum(axis=(1, 2)), entry(pdata)["summary"]["distance"], rtol=1e-8
    )


def test_metric_of_other_patients(cohort, fitted):
    cohort.uns["ggml"] = fitted.uns["ggml"]
    new = cohort[cohort.obs["sample"].isin(["p1", "p2", "p5", "p6", "p7"])].copy()
    new.obs["sample"] = new.obs["sample"].cat.remove_unused_categories()
    pdata = sg.tl.sample_distances(new)
    sg.tl.explain_distances(new, pdata, cell_type_key="cell_type", classes=CLASSES)
    assert len(entry(pdata)["pairs"]) == 10


def test_copy_views_and_keys(fitted, pdata, assert_same_anndata):
    before, cells = pdata.copy(), fitted.copy()
    found = sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", copy=True)
    assert_same_anndata(pdata, before)
    view = pdata[:]
    assert sg.tl.explain_distances(fitted, view, cell_type_key="cell_type") is None
    assert not view.is_view
    assert_same_anndata(pdata, before)
    assert_same_anndata(view, found)
    assert set(found.uns) - set(before.uns) == {"ggml_explanation"}
    assert_same_anndata(fitted, cells)
    fitted.uns["mine"] = fitted.uns["ggml"]
    mine = sg.tl.sample_distances(fitted, key="mine")
    sg.tl.explain_distances(fitted, mine, key="mine", cell_type_key="cell_type")
    assert set(mine.uns) - set(before.uns) == {"mine", "mine_explanation"}
    pd.testing.assert_frame_equal(entry(mine, "mine")["cell_types"], entry(found)["cell_types"])
    del fitted.uns["mine"]
    part = fitted[:, ::-1]
    sg.tl.explain_distances(part, pdata, cell_type_key="cell_type")
    assert part.is_view
    order = np.argsort(entry(pdata)["genes"]["names"].astype(str))
    same = np.argsort(entry(found)["genes"]["names"].astype(str))
    np.testing.assert_allclose(
        entry(pdata)["genes"]["distance"][..., order],
        entry(found)["genes"]["distance"][..., same],
        rtol=1e-7,
        atol=1e-9,
    )


@pytest.mark.parametrize("arguments", [{"cell_type_key": "cell_type"}, {"samples": ["p1", "p2"]}, {"classes": CLASSES}])
def test_round_trip(fitted, pdata, tmp_path, assert_same_anndata, arguments):
    sg.tl.explain_distances(fitted, pdata, **arguments)
    pdata.write_h5ad(tmp_path / "samples.h5ad")
    found = ad.read_h5ad(tmp_path / "samples.h5ad")
    assert_same_anndata(pdata, found)
    for table in ("summary", "cell_types", "flows", "pairs", "genes"):
        pd.testing.assert_frame_equal(sg.get.explanation(found, table), sg.get.explanation(pdata, table))


@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_cells_in_a_file(cohort, tmp_path, use_rep):
    order = np.argsort(cohort.obs["cell_type"], kind="stable")  # samples are not together
    cohort = cohort[order].copy()
    sg.tl.fit_metric(cohort, "sample", "label", use_rep=use_rep, rng=0)
    expected = sg.tl.sample_distances(cohort)
    found = expected.copy()
    sg.tl.explain_distances(cohort, expected, cell_type_key="cell_type")
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    sg.tl.explain_distances(backed, found, cell_type_key="cell_type")
    backed.file.close()
    np.testing.assert_allclose(entry(found)["genes"]["distance"], entry(expected)["genes"]["distance"], atol=1e-12)
    pd.testing.assert_frame_equal(entry(found)["cell_types"], entry(expected)["cell_types"])


def test_numbers_as_names(cohort):
    cohort.obs["sample"] = cohort.obs["sample"].cat.codes.astype(int)
    cohort.obs["label"] = (cohort.obs["label"] == "sick").to_numpy()
    cohort.obs["cell_type"] = cohort.obs["cell_type"].cat.codes.astype(int)
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean")
    sg.tl.explain_distances(cohort, pdata, cell_type_key="cell_type", label_key="label", classes=(True, False))
    assert list(entry(pdata)["cell_types"]["cell_type"][:2]) == ["0", "1"]
    assert entry(pdata)["summary"]["class_a"][0] == "True"
    sg.tl.explain_distances(cohort, pdata, samples=(3, 5))
    assert entry(pdata)["summary"]["class_b"][0] == "5"


def test_what_was_planted_is_found():
    """A programme in T cells of half the patients."""
    adata = sg.datasets.simulated_cohort(n_samples=12, n_cells=60, n_genes=300, effect_size=1.2, rng=0)
    adata.obsm["X_log"] = np.log1p(adata.X.toarray())
    pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean", use_rep="X_log")
    sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type", label_key="label")
    table = sg.get.explanation(pdata, "cell_types", classes=["healthy", "disease"]).set_index("cell_type")
    assert table["excess"].idxmax() == "T" and table["state_per_cell_excess"].idxmax() == "T"
    genes = sg.get.explanation(pdata, "genes", classes=["healthy", "disease"], cell_type="T", n_genes=20)["gene"]
    found = [int(name.split("_")[-1]) for name in genes]
    assert adata.var["programme"].to_numpy()[found].mean() > 0.7
