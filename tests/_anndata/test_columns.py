"""Columns of obs: the samples, and what is constant within them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scggml._anndata._columns import (
    colors_of_samples,
    names_in_order,
    read_cell_types,
    sample_codes,
    sample_table,
    sample_values,
)


def test_names_are_sorted_and_codes_point_to_them(cohort):
    names, codes = sample_codes(cohort.obs, "sample")
    assert list(names) == [f"p{i}" for i in range(1, 9)]
    assert list(names[codes]) == list(cohort.obs["sample"])


def test_values_are_text_in_the_order_of_names(cohort):
    names, codes = sample_codes(cohort.obs, "sample")
    found = sample_values(cohort.obs, "label_key", "age", names, codes)
    expected = cohort.obs.groupby("sample", observed=True)["age"].first().reindex(names)
    assert list(found) == list(expected.astype(str))


def test_table_with_missing_values(cohort):
    cohort.obs["batch"] = cohort.obs["sample"].map({f"p{i}": i if i > 2 else np.nan for i in range(1, 9)}).astype(float)
    cohort.obs["when"] = pd.Timestamp("2024-01-01")
    table = sample_table(cohort.obs, *sample_codes(cohort.obs, "sample"))
    assert list(table.index) == [f"p{i}" for i in range(1, 9)]
    assert set(table.columns) == {"sample", "label", "age", "batch", "when", "n_cells"}
    np.testing.assert_array_equal(table["batch"], [np.nan, np.nan, 3, 4, 5, 6, 7, 8])
    assert table["n_cells"].sum() == cohort.n_obs
    assert "n_cells" not in cohort.obs


def test_table_drops_unused_categories(cohort):
    cohort.obs["label"] = cohort.obs["label"].cat.add_categories(["dead"])
    table = sample_table(cohort.obs, *sample_codes(cohort.obs, "sample"))
    assert list(table["label"].cat.categories) == ["well", "sick"]
    assert list(cohort.obs["label"].cat.categories) == ["well", "sick", "dead"]


def test_order_of_categories_comes_before_that_of_the_alphabet(cohort):
    assert names_in_order(cohort.obs["label"]) == ["well", "sick"]
    assert names_in_order(cohort.obs["label"].cat.add_categories(["dead"])) == ["well", "sick"]
    assert names_in_order(cohort.obs["label"].astype(str)) == ["sick", "well"]


def test_cell_types(cohort):
    types, codes = read_cell_types(cohort, "cell_type")
    assert types == ["B", "T"] and list(np.array(types)[codes]) == list(cohort.obs["cell_type"])


def test_colors_of_the_categories_that_are_left(cohort):
    sick = cohort[cohort.obs["label"] == "sick"]
    table = sample_table(sick.obs, *sample_codes(sick.obs, "sample"))
    assert colors_of_samples(cohort, table) == {"label_colors": ["#aa0000"]}
    del cohort.uns["label_colors"]
    assert colors_of_samples(cohort, table) == {}
