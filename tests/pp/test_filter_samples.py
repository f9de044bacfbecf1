from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scggml as sg

# of the shared cohort: p5 9, p3 12, p1 10, p7 14, p2 11, p8 8, p4 13, p6 10 cells; p1, p2, p4, p5 are well


def three_classes(adata):
    """P1 is the only sample of class rare."""
    rare = adata.obs["sample"] == "p1"
    adata.obs["label"] = pd.Categorical(np.where(rare, "rare", adata.obs["label"].astype(str)))


def messages(record):
    """Our warnings: dependencies deprecate things."""
    return [str(w.message) for w in record if issubclass(w.category, UserWarning)]


def test_small_samples_are_dropped_and_named(cohort, assert_same_anndata):
    expected = cohort[~cohort.obs["sample"].isin(["p5", "p8"])].copy()
    with pytest.warns(UserWarning, match="dropped") as record:
        assert sg.pp.filter_samples(cohort, "sample", min_cells=10) is None
    assert messages(record) == ["dropped 2 sample(s) with fewer than 10 cells: p5 (9), p8 (8) (17 cells)"]
    assert record[0].filename == __file__
    assert_same_anndata(cohort, expected)
    assert list(cohort.obs["sample"].cat.categories) == ["p1", "p2", "p3", "p4", "p6", "p7"]


def test_rare_classes_are_dropped_and_named(cohort, assert_same_anndata):
    three_classes(cohort)
    expected = cohort[cohort.obs["sample"] != "p1"].copy()
    with pytest.warns(UserWarning, match="dropped") as record:
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=1, min_samples=2)
    assert messages(record) == ["dropped 1 class(es) with fewer than 2 samples: rare (1) (10 cells)"]
    assert_same_anndata(cohort, expected)
    assert list(cohort.obs["label"].cat.categories) == ["sick", "well"]


def test_classes_are_counted_after_samples(cohort):
    # p5 (9 cells) goes first, and with it one of two samples of class "few"
    few = cohort.obs["sample"].isin(["p5", "p1"])
    cohort.obs["label"] = np.where(few, "few", cohort.obs["label"].astype(str))
    with pytest.warns(UserWarning, match=r"1 sample.*fewer than 9 cells: p8 \(8\)"):
        kept = sg.pp.filter_samples(cohort, "sample", "label", min_cells=9, copy=True)
    assert "few" in set(kept.obs["label"])
    with pytest.warns(UserWarning, match=r"p5 \(9\), p8 \(8\); 1 class\(es\) .* few \(1\) \(27 cells\)"):
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=10)
    assert set(cohort.obs["sample"]) == {"p2", "p3", "p4", "p6", "p7"}


def test_bounds_are_inclusive(cohort):
    with pytest.warns(UserWarning, match=r"1 sample\(s\) with fewer than 9 cells: p8 \(8\) \(8 cells\)"):
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=9, min_samples=3)
    assert set(cohort.obs["sample"]) == {"p1", "p2", "p3", "p4", "p5", "p6", "p7"}


def test_nothing_dropped_means_no_warning_and_no_change(cohort, assert_same_anndata, caplog):
    before = cohort.copy()
    with caplog.at_level(logging.INFO, logger="scggml"):
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=8, min_samples=4)
    assert "kept 8 of 8 samples" in caplog.text
    assert_same_anndata(cohort, before)


def test_text_columns(cohort):
    cohort.obs["sample"] = cohort.obs["sample"].astype(str)
    cohort.obs["label"] = cohort.obs["label"].cat.codes.astype(int)
    with pytest.warns(UserWarning, match=r"p5 \(9\), p8 \(8\)"):
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=10)
    assert cohort.n_obs == 70 and cohort.obs["label"].dtype == int


def test_copy_leaves_the_input(cohort, assert_same_anndata):
    before = cohort.copy()
    with pytest.warns(UserWarning, match="dropped"):
        result = sg.pp.filter_samples(cohort, "sample", min_cells=10, copy=True)
    assert_same_anndata(cohort, before)
    assert result.n_obs == 70 and not result.is_view
    result.obsm["X_pca"][:] = 0
    assert_same_anndata(cohort, before)


def test_view_becomes_actual_and_parent_is_untouched(cohort, assert_same_anndata):
    before = cohort.copy()
    view = cohort[cohort.obs["sample"] != "p1"]
    with pytest.warns(UserWarning, match="dropped"):
        sg.pp.filter_samples(view, "sample", min_cells=10)
    assert not view.is_view
    assert_same_anndata(view, cohort[~cohort.obs["sample"].isin(["p1", "p5", "p8"])].copy())
    assert_same_anndata(cohort, before)


def test_makes_a_cohort_fit(cohort):
    three_classes(cohort)
    cohort.obs["sample"] = cohort.obs["sample"].cat.add_categories(["ghost"])
    with pytest.raises(ValueError, match="ghost"):
        sg.tl.fit_metric(cohort, "sample", "label")
    with pytest.warns(UserWarning, match="rare"):
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=2)
    sg.tl.fit_metric(cohort, "sample", "label")
    assert list(cohort.uns["ggml"]["classes"]) == ["sick", "well"]


def test_unused_categories_go_where_nothing_is_dropped(cohort):
    cohort.obs["sample"] = cohort.obs["sample"].cat.add_categories(["ghost"])
    sg.pp.filter_samples(cohort, "sample", "label", min_cells=2)
    assert "ghost" not in cohort.obs["sample"].cat.categories


@pytest.mark.parametrize(
    "min_cells",
    [2, 10],
)
def test_colors_stay_with_their_classes(cohort, min_cells):
    cohort.obs["label"] = cohort.obs["label"].cat.set_categories(["dead", "well", "sick"])
    cohort.uns["label_colors"] = ["#000000", "#112233", "#aa0000"]
    if min_cells == 2:
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=min_cells)
    else:
        with pytest.warns(UserWarning, match="dropped"):
            sg.pp.filter_samples(cohort, "sample", "label", min_cells=min_cells)
    assert list(cohort.obs["label"].cat.categories) == ["well", "sick"]
    assert list(cohort.uns["label_colors"]) == ["#112233", "#aa0000"]


def missing_sample(adata):
    adata.obs.loc[adata.obs_names[3], "sample"] = np.nan


def missing_label(adata):
    adata.obs.loc[adata.obs_names[3], "label"] = np.nan


def two_labels(adata):
    adata.obs.loc[adata.obs_names[(adata.obs["sample"] == "p1").to_numpy()][0], "label"] = "sick"


CASES = {
    "sample_key": (None, {"sample_key": "donor"}, KeyError, ["sample_key='donor'", "sample, label"]),
    "label_key": (None, {"label_key": "state"}, KeyError, ["label_key='state'", "sample, label"]),
    "sample NaN": (missing_sample, {}, ValueError, ["sample_key='sample'", "1 of 87", "cell3"]),
    "label NaN": (missing_label, {}, ValueError, ["label_key='label'", "1 of 87", "cell3"]),
    "two labels": (two_labels, {}, ValueError, ["label_key='label'", "p1", "'sick'", "'well'"]),
    "nothing left": (None, {"min_cells": 15}, ValueError, ["nothing would be left", "8 sample(s)", "min_cells=15"]),
    "no class left": (
        None,
        {"min_samples": 5, "min_cells": 1},
        ValueError,
        ["nothing would", "well (4)", "min_samples=5"],
    ),
    "min_cells": (None, {"min_cells": 0}, ValueError, ["min_cells", "at least 1", "found 0"]),
    "min_cells float": (None, {"min_cells": 2.0}, TypeError, ["min_cells", "integer", "2.0"]),
    "min_samples": (None, {"min_samples": 0}, ValueError, ["min_samples", "at least 1", "found 0"]),
    "unknown": (None, {"min_cell": 3}, TypeError, ["min_cell"]),
}


@pytest.mark.parametrize("as_view", [False, True], ids=["actual", "view"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input(cohort, assert_same_anndata, case, as_view):
    change, arguments, error, texts = CASES[case]
    if change is not None:
        change(cohort)
    before = cohort.copy()
    given = cohort[:] if as_view else cohort
    with pytest.raises(error) as caught:
        sg.pp.filter_samples(given, **{"sample_key": "sample", "label_key": "label", **arguments})
    for part in texts:
        assert part in str(caught.value.args[0])
    assert given.is_view == as_view
    assert_same_anndata(cohort, before)


def test_backed_says_to_memory(cohort, tmp_path):
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    try:
        with pytest.raises((TypeError, ValueError), match="to_memory"):
            sg.pp.filter_samples(backed, "sample", min_cells=10)
        assert backed.shape == cohort.shape
    finally:
        backed.file.close()


def test_no_anndata(cohort):
    with pytest.raises(TypeError, match="adata must be an AnnData, found DataFrame"):
        sg.pp.filter_samples(cohort.obs, "sample")
    with pytest.raises(ValueError, match="adata has no observations"):
        sg.pp.filter_samples(cohort[:0].copy(), "sample")
