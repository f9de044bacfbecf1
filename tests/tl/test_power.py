from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scggml as sg
from scggml.tl import _power


@pytest.fixture(scope="module")
def whole():
    return sg.datasets.synthetic_cohort(n_points_per_mode=4, rng=0)


@pytest.fixture
def adata(whole):
    return whole.copy()


def of_first(adata, n):
    """The first samples of each class."""
    kept = adata.obs.groupby("label", observed=True)["sample"].unique().map(lambda names: list(names[:n])).sum()
    return adata[adata.obs["sample"].isin(kept)].copy()


def test_table_and_what_is_stored(adata, tmp_path):
    table = sg.tl.power(adata, "sample", "label", n_samples=[12, 24], n_cells=[12, 4], n_repeats=4, rng=0)
    assert table[["n_samples", "n_cells"]].to_numpy().tolist() == [[12, 12], [24, 12], [12, 4], [24, 4]]
    assert (table["accuracy_low"] <= table["balanced_accuracy"]).all()
    assert (table["balanced_accuracy"] <= table["accuracy_high"]).all()
    assert (table["power_low"] <= table["power"]).all() and (table["power"] <= table["power_high"]).all()
    assert table.loc[1, "balanced_accuracy"] > 0.9 and table.loc[1, "power"] == 1
    entry = adata.uns["ggml_power"]
    assert set(entry) == {"version", "params", "classes", "table"}
    assert entry["params"]["n_units"] == adata.obs["sample"].nunique()
    adata.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(anndata.read_h5ad(tmp_path / "a.h5ad").uns["ggml_power"]["table"], table)


def test_defaults_end_with_all_samples_and_the_cells_of_the_smallest(adata):
    small = of_first(adata, 4)
    small = small[~((small.obs["sample"] == small.obs["sample"].iloc[0]) & (np.arange(small.n_obs) < 3))].copy()
    table = sg.tl.power(small, "sample", "label", n_repeats=2, rng=0)
    assert table["n_samples"].tolist() == [9, 10, 11, 12]
    assert table["n_repeats"].tolist() == [2, 2, 2, 1]
    assert (table["n_cells"] == 9).all()


def test_all_samples_as_in_cross_validation(adata):
    """Plans solved anew under the metric make no difference where classes are far apart."""
    small = of_first(adata, 5)
    table = sg.tl.power(small, "sample", "label", n_samples=15, n_cells=12, rng=0)
    sg.tl.cross_validate(small, "sample", "label", methods=["ggml"], cv="leave_one_out", rng=0)
    scores = sg.get.scores(small).query("classifier == 'class_mean' and score == 'balanced_accuracy'")
    assert table["balanced_accuracy"].item() == pytest.approx(scores["value"].item())
    assert table["accuracy_low"].item() == pytest.approx(scores["ci_low"].item())


def test_same_seed_same_result_whatever_n_jobs(adata):
    small = of_first(adata, 4)
    one, two = (sg.tl.power(small, "sample", "label", n_repeats=3, rng=0, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_donors_are_counted(adata):
    small = of_first(adata, 6)
    number = small.obs["sample"].cat.remove_unused_categories().cat.codes
    small.obs["donor"] = small.obs["label"].astype(str) + (number // 2 % 3).astype(str)
    n = small.obs["donor"].nunique()
    table = sg.tl.power(small, "sample", "label", donor_key="donor", n_samples=n, rng=0)
    assert table["n_samples"].item() == n == small.uns["ggml_power"]["params"]["n_units"]
    with pytest.raises(ValueError, match=f"larger than the cohort of {n} donors"):
        sg.tl.power(small, "sample", "label", donor_key="donor", n_samples=n + 1)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_samples": 100}, ValueError, "n_samples=100 is larger than the cohort of 30 samples. A pilot does not"),
        ({"n_samples": [4, 12]}, ValueError, "n_samples=4 is too small: .* The smallest possible number is 9 samples"),
        ({"n_samples": [12, 12]}, ValueError, "n_samples holds the same number more than once"),
        ({"n_samples": []}, ValueError, "n_samples must not be empty"),
        ({"n_samples": 12.5}, TypeError, "n_samples must be an integer"),
        ({"n_cells": [4, 13]}, ValueError, "n_cells=13 is more than 30 of 30 samples have.*filter_samples"),
        ({"n_cells": 1}, ValueError, "n_cells must be at least 2"),
        ({"n_repeats": 0}, ValueError, "n_repeats must be at least 1"),
        ({"donor_key": "label"}, ValueError, "too small: with one of the donors held out"),
        ({"label_kind": "continuous"}, TypeError, "label_kind"),
    ],
)
def test_bad_input(adata, options, error, text):
    assert adata.obs["sample"].nunique() == 30
    with pytest.raises(error, match=text):
        sg.tl.power(adata, "sample", "label", **options)
    assert "ggml_power" not in adata.uns


def test_each_class_needs_three_samples(adata):
    with pytest.raises(ValueError, match="each class needs at least 3 samples"):
        sg.tl.power(of_first(adata, 2), "sample", "label")


def test_labels_that_are_numbers_of_each_sample_are_refused(adata):
    adata.obs["age"] = adata.obs["sample"].cat.codes + 0.5
    with pytest.raises(ValueError, match="label_key='age' holds numbers.*Only classes have an accuracy.*pandas.cut"):
        sg.tl.power(adata, "sample", "age")


def test_nothing_varies(adata):
    adata.X = np.ones(adata.shape)
    with pytest.raises(ValueError, match="no feature of X varies"):
        sg.tl.power(adata, "sample", "label", use_rep="X")


def test_an_interrupt_leaves_the_earlier_result(adata, monkeypatch, assert_same_anndata):
    small = of_first(adata, 4)
    sg.tl.power(small, "sample", "label", n_samples=12, rng=0)
    before = small.copy()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_power, "learning_curve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.power(small, "sample", "label", rng=0)
    assert_same_anndata(small, before)
