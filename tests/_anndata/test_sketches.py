"""Reading a sketch after the AnnData has changed."""

from __future__ import annotations

import anndata as ad
import numpy as np
import ot
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

import scggml as sg
from scggml._anndata._cohort import read_samples


def read(adata, key="sketch"):
    found = read_samples(adata, "sample", features=False, sketch_key=key)
    assert found.sketch_key == key
    return found.sketch


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
