"""From an AnnData to samples: names, cells, labels, batches and donors."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg
from scggml._anndata._cohort import read_samples


def test_samples_are_sorted_by_name(cohort):
    found = read_samples(cohort, "sample", features=False)
    assert list(found.names) == [f"p{i}" for i in range(1, 9)] and len(found) == 8
    assert list(found.names[found.codes]) == list(cohort.obs["sample"])
    assert list(found.sizes) == list(cohort.obs["sample"].value_counts().reindex(found.names))
    assert list(found.codes[found.order]) == sorted(found.codes)


@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_measures_hold_each_samples_cells_in_their_order(cohort, use_rep):
    found = read_samples(cohort, "sample", use_rep=use_rep).measures
    points = cohort.X if use_rep == "X" else cohort.obsm[use_rep]
    assert len(found) == 8
    for i in range(8):
        cells, weights = found[i]
        rows = (cohort.obs["sample"] == f"p{i + 1}").to_numpy()
        assert sp.issparse(cells) == (use_rep == "X")
        expected = points[rows].toarray() if sp.issparse(points) else points[rows]
        np.testing.assert_array_equal(cells.toarray() if sp.issparse(cells) else cells, expected)
        np.testing.assert_allclose(weights, 1 / rows.sum())


def test_points_of_a_sketch(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    found = read_samples(cohort, "sample", sketch_key="sketch")
    assert list(found.measures.sizes) == [4] * 8
    assert list(found.sizes) == list(cohort.obs["sample"].value_counts().reindex(found.names))  # of cells


def test_what_is_evaluated(cohort):
    """The labelled samples that evaluation takes, with the default scale of the representation."""
    cohort.obs["donor"] = cohort.obs["sample"].map({f"p{i}": f"d{i // 2}" for i in range(1, 9)})
    cohort.obs["batch"] = cohort.obs["sample"].map({f"p{i}": "xy"[i % 5 < 2] for i in range(1, 9)})
    for use_rep, scale in (("X", "feature"), ("X_pca", "global")):
        found = read_samples(cohort, "sample", "label", batch_key="batch", donor_key="donor", use_rep=use_rep).samples
        assert found.scale == scale and list(found.names) == [f"p{i}" for i in range(1, 9)]
        first = cohort.obs.groupby("sample", observed=True)[["label", "donor", "batch"]].first()
        for name, values in (("label", found.labels), ("donor", found.donors), ("batch", found.batches)):
            assert list(values) == list(first[name])
        assert found.values is None and len(found.strata) == 8
    ages = read_samples(cohort, "sample", "age", label_kind="continuous").samples
    assert list(ages.values) == list(cohort.obs.groupby("sample", observed=True)["age"].first())
    assert ages.kind == "continuous" and ages.donors is None and ages.strata is None


def cells(sizes, labels):
    from anndata import AnnData

    names = [f"s{i:02d}" for i in range(len(sizes))]
    obs = pd.DataFrame({"sample": np.repeat(names, sizes), "label": np.repeat(labels, sizes)})
    obs.index = obs.index.astype(str)
    return AnnData(np.ones((len(obs), 1)), obs=obs)


@pytest.mark.parametrize(
    ("labels", "kind", "text"),
    [
        (["a", "b"] * 6, "class", r"number of cells depends on the class; .*: a \(10\), b \(40\)"),
        (np.tile([1, 2], 6), "ordinal", r"number of cells depends on the label; .*: 1 \(10\), 2 \(40\)"),
        (np.tile([1.0, 2.0], 6) + np.arange(12) / 99, "continuous", r"depends on the label; rank correlation 0\.8"),
    ],
)
def test_sizes_that_depend_on_the_label_are_warned_about(labels, kind, text):
    found = read_samples(cells([10, 40] * 6, labels), "sample", "label", label_kind=kind)
    with pytest.warns(UserWarning, match=text):
        found.warn_about_sizes()


def test_other_sizes_are_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sizes in ([10] * 12, [10, 10, 40, 40] * 3):  # all alike, or alike in both classes
            read_samples(cells(sizes, ["a", "b"] * 6), "sample", "label").warn_about_sizes()


@pytest.mark.parametrize(
    ("sizes", "small"), [([60] * 9 + [14], r"s09 \(14\)"), ([3, 5] + [400] * 9, r"s00 \(3\), s01 \(5\)")]
)
def test_small_samples_are_named(sizes, small):
    found = read_samples(cells(sizes, ["a"] * len(sizes)), "sample", features=False)
    with pytest.warns(
        UserWarning, match=rf"far fewer cells than the median sample \(\d+\): {small}\. .*filter_samples"
    ):
        found.warn_about_sizes()


@pytest.mark.parametrize("sizes", [[60] * 9 + [15], [2000] * 9 + [100], [3, 4, 5, 6], [5]])
def test_samples_that_are_not_much_smaller_are_not_warned_about(sizes):
    read_samples(cells(sizes, ["a"] * len(sizes)), "sample", features=False).warn_about_sizes()


def test_one_warning_of_small_samples_that_are_those_of_a_class():
    found = read_samples(cells([5, 60] * 6, ["a", "b"] * 6), "sample", "label")
    with pytest.warns(UserWarning) as caught:
        found.warn_about_sizes()
    assert len(caught) == 1 and "depends on the class" in str(caught[0].message)


def test_the_advice_to_take_the_same_number_of_cells_works():
    adata = cells([3, *[60] * 9], ["a"] * 10)
    adata.X = np.random.default_rng(0).normal(size=adata.shape)
    with pytest.warns(UserWarning, match="Take|take") as caught:
        before = sg.tl.sample_distances(adata, "sample", metric="euclidean").obsp["ggml_distances"]
    advice = str(caught[0].message).split("each sample: ")[1].removesuffix(".")
    equal = eval(advice, {"adata": adata})
    assert equal.obs["sample"].value_counts().eq(3).all()
    after = sg.tl.sample_distances(equal, "sample", metric="euclidean").obsp["ggml_distances"]
    first, others = before.mean(axis=1)[0], before.mean(axis=1)[1:]
    assert first > 1.5 * others.mean()  # one distribution: the small sample looks like an outlier
    assert after.mean(axis=1)[0] < 1.3 * after.mean(axis=1)[1:].mean()
