"""From an AnnData to samples, labels and features."""

from __future__ import annotations

import anndata as ad
import numpy as np
import ot
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

import scggml as sg
from scggml._anndata._cohort import read_cohort, read_representation, read_sketch, standard_deviation
from scggml.core.measures._on_disk import StoredPoints


def test_samples_are_sorted_by_name(cohort):
    found = read_cohort(cohort, "sample")
    assert list(found.names) == [f"p{i}" for i in range(1, 9)]
    assert list(found.names[found.codes]) == list(cohort.obs["sample"])
    assert list(found.sizes) == list(cohort.obs["sample"].value_counts().reindex(found.names))


@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_measures_hold_each_samples_cells_in_their_order(cohort, use_rep):
    found = read_cohort(cohort, "sample").measures(read_representation(cohort, use_rep, None).points)
    points = cohort.X if use_rep == "X" else cohort.obsm[use_rep]
    assert len(found) == 8
    for i in range(8):
        cells, weights = found[i]
        rows = (cohort.obs["sample"] == f"p{i + 1}").to_numpy()
        assert sp.issparse(cells) == (use_rep == "X")
        expected = points[rows].toarray() if sp.issparse(points) else points[rows]
        np.testing.assert_array_equal(cells.toarray() if sp.issparse(cells) else cells, expected)
        np.testing.assert_allclose(weights, 1 / rows.sum())


def test_sample_obs_with_missing_values(cohort):
    cohort.obs["batch"] = cohort.obs["sample"].map({f"p{i}": i if i > 2 else np.nan for i in range(1, 9)}).astype(float)
    cohort.obs["when"] = pd.Timestamp("2024-01-01")
    table = read_cohort(cohort, "sample").sample_obs(cohort.obs)
    assert list(table.index) == [f"p{i}" for i in range(1, 9)]
    assert set(table.columns) == {"sample", "label", "age", "batch", "when", "n_cells"}
    np.testing.assert_array_equal(table["batch"], [np.nan, np.nan, 3, 4, 5, 6, 7, 8])
    assert table["n_cells"].sum() == cohort.n_obs
    assert "n_cells" not in cohort.obs


def test_sample_obs_drops_unused_categories(cohort):
    cohort.obs["label"] = cohort.obs["label"].cat.add_categories(["dead"])
    table = read_cohort(cohort, "sample").sample_obs(cohort.obs)
    assert list(table["label"].cat.categories) == ["well", "sick"]
    assert list(cohort.obs["label"].cat.categories) == ["well", "sick", "dead"]


@pytest.mark.parametrize(
    ("use_rep", "layer", "text", "names"),
    [
        (None, None, "obsm['X_pca']", None),
        ("X", None, "X", "var"),
        (None, "counts", "layers['counts']", "var"),
        ("X_df", None, "obsm['X_df']", ["u", "v", "w"]),
    ],
)
def test_representation(cohort, use_rep, layer, text, names):
    found = read_representation(cohort, use_rep, layer)
    assert found.text == text and found.layer == layer
    assert found.points.shape[0] == cohort.n_obs
    if names is None:
        assert found.names is None
    else:
        assert list(found.names) == (list(cohort.var_names) if names == "var" else names)


def test_csr_is_not_copied_and_csc_is_converted(cohort):
    assert read_representation(cohort, "X", None).points is cohort.X
    cohort.X = sp.csc_matrix(cohort.X)
    found = read_representation(cohort, "X", None).points
    assert found.format == "csr" and cohort.X.format == "csc"
    np.testing.assert_array_equal(found.toarray(), cohort.X.toarray())


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, sp.csc_array])
def test_standard_deviation(kind):
    x = np.random.default_rng(0).poisson(0.7, size=(50, 6)).astype(np.float32)
    x[:, 2] = 0
    np.testing.assert_allclose(standard_deviation(kind(x)), x.std(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array])
def test_standard_deviation_of_large_values(kind):
    x = np.random.default_rng(0).normal(3000.0, 1.0, size=(50, 6)).astype(np.float32)
    np.testing.assert_allclose(standard_deviation(kind(x)), x.std(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_a_backed_matrix_is_not_loaded(cohort, tmp_path, kind):
    if kind == "dense":
        cohort.X = cohort.X.toarray()
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = read_representation(backed, "X", None)
    assert found.text == "X" and list(found.names) == list(cohort.var_names)
    assert isinstance(found.points, StoredPoints) and found.points.shape == cohort.shape
    assert found.points.dtype == np.float32 and found.points.size == cohort.X.size
    rows = np.array([50, 3, 3])
    for part in (slice(10, 30), rows):
        block, expected = found.points[part], cohort.X[part]
        assert sp.issparse(block) == (kind == "csr") and block.dtype == np.float32
        np.testing.assert_array_equal(*(x.toarray() if sp.issparse(x) else x for x in (block, expected)))
    np.testing.assert_array_equal(standard_deviation(found.points), standard_deviation(cohort.X))
    samples = read_cohort(backed, "sample")
    measures = samples.measures(found.points)
    assert sp.issparse(measures.points) == (kind == "csr")
    backed.file.close()
    found.points[0:5]  # has been read into memory as a whole, and is taken from there


# reading a sketch, after the AnnData has changed


def read(adata, key="sketch"):
    return read_sketch(adata, key, "sample", read_cohort(adata, "sample"))


def by_hand(adata, points, key="sketch"):
    """Cells, support cells and weights of each sample, from the columns alone."""
    samples = adata.obs["sample"].astype(str).to_numpy()
    for name in sorted(set(samples)):
        own = np.flatnonzero(samples == name)
        groups = adata.obs[key].to_numpy()[own]
        support = own[adata.obs[f"{key}_support"].to_numpy()[own]]
        weights = np.array([(groups == adata.obs[key].iloc[cell]).mean() for cell in support])
        yield name, points[own], points[support], weights


def test_dropped_samples_and_order_of_cells_do_not_matter(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    expected = {name: (support, weights) for name, _, support, weights in by_hand(cohort, cohort.obsm["X_pca"])}
    some = cohort[np.random.default_rng(0).permutation(cohort.n_obs)]
    some = some[~some.obs["sample"].isin(["p2", "p7"])].copy()
    measures = read(some).measures(some.obsm["X_pca"])
    for i, name in enumerate(["p1", "p3", "p4", "p5", "p6", "p8"]):
        points, weights = measures[i]
        support, expected_weights = expected[name]
        order, expected_order = np.lexsort(points.T), np.lexsort(support.T)
        np.testing.assert_array_equal(points[order], support[expected_order])
        np.testing.assert_allclose(weights[order], expected_weights[expected_order])


def test_weights_and_means_are_those_of_the_cells_that_are_left(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    sg.pp.sketch(cohort, "sample", cell_type_key="cell_type", key_added="types")
    drop = np.flatnonzero(~cohort.obs["sketch_support"].to_numpy())[::2]
    left = cohort[np.setdiff1d(np.arange(cohort.n_obs), drop)].copy()
    pca = left.obsm["X_pca"]
    found = read(left)
    for i, (_, cells, support, weights) in enumerate(by_hand(left, pca)):
        np.testing.assert_array_equal(found.measures(pca)[i][0], support)
        np.testing.assert_allclose(found.measures(pca)[i][1], weights)
        least = ot.emd2(np.full(len(cells), 1 / len(cells)), weights, cdist(cells, support))
        assert found.errors(pca)[i] >= least * (1 - 1e-12)  # rounding
    keys = [left.obs["sample"], left.obs["cell_type"]]
    means = pd.DataFrame(pca, index=left.obs_names).groupby(keys, observed=True).mean()
    np.testing.assert_allclose(read(left, "types").measures(pca).points, means.to_numpy())


def test_a_group_may_go_as_a_whole(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    gone = (cohort.obs["sample"] == "p1") & (cohort.obs["sketch"] == 2)
    left = cohort[~gone].copy()
    assert list(read(left).sizes) == [3, 4, 4, 4, 4, 4, 4, 4]


def without_support(adata):
    keep = ~(adata.obs["sketch_support"] & adata.obs["sample"].isin(["p1", "p3"]) & (adata.obs["sketch"] == 0))
    assert (~keep).sum() == 2
    return adata[keep].copy()


def joined(adata):
    new = adata[adata.obs["sample"] == "p1"].copy()
    new.obs = new.obs[["sample"]]
    new.obs["sample"] = "new"
    new.obs_names = new.obs_names + "new"
    return ad.concat([adata, new], join="outer", merge="first", uns_merge="first")


def concatenated(adata):
    return ad.concat([adata[adata.obs["label"] == name] for name in ("sick", "well")])


def merged_samples(adata):
    adata.obs["sample"] = adata.obs["sample"].astype(str).replace({"p2": "p1"})
    return adata


def renamed(adata):
    adata.obs["sample"], adata.obs["donor"] = adata.obs["sample"], adata.obs["sample"]
    adata.uns["sketch"]["params"]["sample_key"] = "donor"
    return adata


def negative(adata):
    adata.obs["sketch"] -= 1
    return adata


def fractions(adata):
    adata.obs["sketch"] = adata.obs["sketch"] / 2
    return adata


def no_column(adata):
    del adata.obs["sketch"]
    return adata


def no_support_column(adata):
    del adata.obs["sketch_support"]
    return adata


def support_as_numbers(adata):
    adata.obs["sketch_support"] = adata.obs["sketch_support"].astype(int)
    return adata


def not_a_sketch(adata):
    adata.uns["sketch"] = {"params": {"sample_key": "sample"}}
    return adata


CHANGES = {
    "support gone": (
        without_support,
        ValueError,
        ["sketch_key='sketch' has no support cell in 2 group(s), of the samples p1 (1), p3 (1)", "sg.pp.sketch again"],
    ),
    "merged": (merged_samples, ValueError, ["more than one support cell in 4 group(s)", "p1 (4)", "obs['sample']"]),
    "joined": (joined, ValueError, ["obs['sketch'] has missing values in 10 of 97 cells", "joined", "again"]),
    "concat": (concatenated, KeyError, ["no sketch in uns['sketch']", "sg.pp.sketch(", "anndata.concat", "copy it"]),
    "sample key": (renamed, ValueError, ["samples in 'donor'", "sample_key='sample'", "sg.pp.sketch(adata, 'sample'"]),
    "negative": (negative, ValueError, ["obs['sketch'] is not what sg.pp.sketch wrote", "int32", "-1"]),
    "fractions": (fractions, ValueError, ["obs['sketch'] is not what sg.pp.sketch wrote", "float64"]),
    "no column": (no_column, KeyError, ["sketch_key='sketch' needs obs['sketch']", "again"]),
    "no support": (no_support_column, KeyError, ["sketch_key='sketch' needs obs['sketch_support']"]),
    "numbers": (support_as_numbers, ValueError, ["obs['sketch_support'] is not what", "int64"]),
    "no sketch": (not_a_sketch, ValueError, ["uns['sketch'] is not a sketch", "key_added"]),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_sketch_that_no_longer_fits_is_refused(cohort, case):
    change, error, texts = CHANGES[case]
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    changed = change(cohort)
    with pytest.raises(error) as caught:
        read(changed)
    for part in texts:
        assert part in str(caught.value.args[0])


def test_concatenated_parts_with_the_entry_copied(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    both = concatenated(cohort)
    both.uns["sketch"] = cohort.uns["sketch"]
    np.testing.assert_array_equal(read(both).errors(both.obsm["X_pca"]), read(cohort).errors(cohort.obsm["X_pca"]))
