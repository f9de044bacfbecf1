"""Columns of obs: the samples, and what is constant within them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

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


def test_table_without_columns_of_lists(cohort, caplog):
    cohort.obs["visits"] = [[1, 2]] * cohort.n_obs
    cohort.obs["doses"] = [{"a": 1}] * cohort.n_obs
    with caplog.at_level("INFO", logger="scggml"):
        table = sample_table(cohort.obs, *sample_codes(cohort.obs, "sample"))
    assert not {"visits", "doses"} & set(table.columns)
    assert "left out: visits, doses" in caplog.text


def test_columns_of_the_same_name_are_refused(cohort):
    obs = pd.concat([cohort.obs, cohort.obs[["age"]]], axis=1)
    with pytest.raises(ValueError, match="several columns of the same name: age. Rename or drop"):
        sample_table(obs, *sample_codes(obs, "sample"))


DAYS = pd.date_range("2024-01-01", periods=8)
# each: one value per sample, and what is read back from a file
KINDS = {
    "dates": (DAYS, [f"2024-01-0{i}" for i in range(1, 9)]),
    "periods": (pd.period_range("2024-01", periods=8, freq="M"), [f"2024-0{i}" for i in range(1, 9)]),
    "intervals": (pd.interval_range(0, 8), [f"({i}, {i + 1}]" for i in range(8)]),
    "categories of dates": (pd.Categorical(DAYS), [f"2024-01-0{i}" for i in range(1, 9)]),
    "categories of numbers": (pd.Categorical(range(8)), [str(i) for i in range(8)]),
    "categories with gaps": (pd.Categorical([None, *"abcdefg"]), [None, *"abcdefg"]),
    "numbers and text": (np.array([1, *"abcdefg"], dtype=object), ["1", *"abcdefg"]),
    "booleans and gaps": (np.array([None, *[True] * 7], dtype=object), [None, *["True"] * 7]),
    "objects that are numbers": (np.array(range(8), dtype=object), list(range(8))),
    "nullable numbers": (pd.array([None, *range(7)], dtype="Int64"), [None, *range(7)]),
    "nullable fractions": (pd.array([None, *range(7)], dtype="Float64"), [None, *map(float, range(7))]),
    "nullable booleans": (pd.array([None, *[True] * 7], dtype="boolean"), [None, *[True] * 7]),
    "nullable text": (pd.array([None, *"abcdefg"], dtype="string"), [None, *"abcdefg"]),
    "sparse numbers": (pd.arrays.SparseArray(range(8)), list(map(float, range(8)))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_table_can_be_written_and_read(cohort, tmp_path, kind):
    values, expected = KINDS[kind]
    names, codes = sample_codes(cohort.obs, "sample")
    cohort.obs["extra"] = pd.Series(values)[codes].array
    table = sample_table(cohort.obs, names, codes)
    ad.AnnData(obs=table).write_h5ad(tmp_path / "samples.h5ad")
    read = ad.read_h5ad(tmp_path / "samples.h5ad").obs["extra"]
    assert [None if pd.isna(value) else value for value in read] == expected


@pytest.mark.parametrize("dtype", ["category", "string", "string[pyarrow]"])
def test_samples_of_any_text(cohort, dtype):
    names, codes = sample_codes(cohort.obs, "sample")
    if dtype == "string[pyarrow]":
        pytest.importorskip("pyarrow")
    cohort.obs["sample"] = cohort.obs["sample"].astype(str).astype(dtype)
    found, again = sample_codes(cohort.obs, "sample")
    assert list(found) == list(names)
    np.testing.assert_array_equal(again, codes)
