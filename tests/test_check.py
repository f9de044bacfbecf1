"""The checks at the boundary, one by one."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scggml import _check as check
from scggml import _check_samples as check_samples


def test_integer_is_returned_as_int():
    for value in (3, np.int8(3), np.uint64(3)):
        found = check.check_integer("n", value, minimum=3, maximum=3)
        assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [3.0, np.float32(3), "3", None, True, np.bool_(True), 2 + 0j])
def test_integer_refuses_other_types(value):
    with pytest.raises(TypeError, match=rf"n must be an integer, found {re.escape(repr(value))}.*\. Pass"):
        check.check_integer("n", value, minimum=1)


def test_integer_bounds():
    with pytest.raises(ValueError, match=r"n must be at least 1, found 0\. Pass a larger number"):
        check.check_integer("n", 0, minimum=1)
    with pytest.raises(ValueError, match=r"n must be at most 5 of them, found 6\. Pass a smaller number"):
        check.check_integer("n", 6, minimum=1, maximum=5, unit=" of them")


def test_number_is_returned_as_float():
    for value in (1, 1.0, np.float32(1), np.int64(1)):
        found = check.check_number("x", value, minimum=1, maximum=1)
        assert found == 1.0 and type(found) is float


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (-0.1, {"minimum": 0}, "x must be finite and at least 0, found -0.1"),
        (0, {"above": 0}, "x must be finite and greater than 0, found 0"),
        (1.1, {"minimum": 0, "maximum": 1}, "x must be finite and at least 0 and at most 1, found 1.1"),
        (np.inf, {}, "x must be finite, found inf"),
        (np.nan, {"minimum": 0}, "x must be finite and at least 0, found nan"),
    ],
)
def test_number_bounds(value, bounds, text):
    with pytest.raises(ValueError, match=text):
        check.check_number("x", value, **bounds)


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1]])
def test_number_refuses_other_types(value):
    with pytest.raises(TypeError, match="x must be a number, found .* Pass an int or a float"):
        check.check_number("x", value)


def test_choice():
    check.check_choice("kind", "a", ("a", None))
    check.check_choice("kind", "".join(["a"]), ("a", None))
    check.check_choice("kind", None, ("a", None))
    for value in ("A", "", 0, np.array(["a", "a"])):  # an array must not be compared element by element
        with pytest.raises(ValueError, match="kind must be one of a, None, found"):
            check.check_choice("kind", value, ("a", None))
    with pytest.raises(ValueError, match="True, False, found 1"):
        check.check_choice("kind", 1, (True, False))


@pytest.mark.parametrize(
    ("value", "error"),
    [("", ValueError), ("a/b", ValueError), ("a\0", ValueError), (None, TypeError), (1, TypeError), (b"a", TypeError)],
)
def test_name(value, error):
    check.check_name("key", "a b.c")
    with pytest.raises(error, match="key must be a non-empty text without '/', found"):
        check.check_name("key", value)


def test_names_are_text_and_stay_apart():
    assert list(check.as_names("key", "s", pd.Series([2, 10, 2]))) == ["2", "10", "2"]
    assert list(check.as_names("key", "s", pd.Series(pd.Categorical([1.5, 0.5])))) == ["1.5", "0.5"]
    with pytest.raises(ValueError, match="key='s' holds different values that read the same as text"):
        check.as_names("key", "s", pd.Series([1, "1"], dtype=object))


def test_sizes_are_named():
    names = np.array(["a", "b", "c"], dtype=object)
    check_samples.check_sizes(names, np.array([2, 3, 4]))
    with pytest.raises(ValueError, match=r"at least 2 cells .* found fewer in a \(0\), c \(1\)\. Drop them"):
        check_samples.check_sizes(names, np.array([0, 2, 1]))


def test_one_label():
    names = np.array(["a", "b"], dtype=object)
    check_samples.check_one_value(
        names, np.array([0, 0, 1]), "label_key", "label", np.array(["x", "x", "y"], dtype=object)
    )
    with pytest.raises(ValueError, match=r"one value of label_key='label', found several in b \('x', 'y'\)"):
        check_samples.check_one_value(
            names, np.array([0, 1, 1]), "label_key", "label", np.array(["x", "x", "y"], dtype=object)
        )


def test_many_mixed_samples_are_counted():
    names = np.array([f"s{i}" for i in range(9)], dtype=object)
    codes, labels = np.repeat(np.arange(9), 2), np.array(["x", "y"] * 9, dtype=object)
    with pytest.raises(ValueError, match=r"s0 .*, s4 \('x', 'y'\) and 4 more"):
        check_samples.check_one_value(names, codes, "label_key", "label", labels)


def test_classes():
    check_samples.check_classes(["a", "a", "b", "b"], name="y")
    check_samples.check_classes(np.array([0, 1, 0, 1]), name="y")
    with pytest.raises(ValueError, match="y has only the class 'a': at least two classes"):
        check_samples.check_classes(["a", "a"], name="y")
    with pytest.raises(ValueError, match="each class of y needs at least 2 samples, found one in b, c"):
        check_samples.check_classes(["a", "a", "b", "c"], name="y")


def test_classes_of_a_larger_minimum():
    check_samples.check_classes(["a"] * 3 + ["b"] * 3, name="y", minimum=3)
    with pytest.raises(ValueError, match="at least 3 samples, found fewer in b"):
        check_samples.check_classes(["a"] * 3 + ["b"] * 2, name="y", minimum=3)


def test_generators():
    generator = np.random.default_rng(0)
    for value in (generator, 3, np.int64(3), 2**100, None):
        check.check_random_generator("rng", value)
    for value, error in ((-1, ValueError), (1.0, TypeError), ("a", TypeError), (True, TypeError)):
        with pytest.raises(error, match="rng must be"):
            check.check_random_generator("rng", value)


def test_jobs():
    for value in (None, -1, 4):
        check.check_jobs("n_jobs", value)
    for value, error in ((0, ValueError), (1.5, TypeError), ("all", TypeError)):
        with pytest.raises(error, match="n_jobs must"):
            check.check_jobs("n_jobs", value)


def test_device():
    for value in (None, "cpu"):
        check.check_device("device", value)
    with pytest.raises(ValueError, match="device must be None or one of .*cpu.*, found 'tpu'"):
        check.check_device("device", "tpu")


def test_column():
    obs = pd.DataFrame({"s": ["a", None], "t": ["a", "b"]}, index=["c1", "c2"])
    assert list(check.check_column("key", "t", obs)) == ["a", "b"]
    with pytest.raises(KeyError, match="key='u' is not a column of obs. Found: s, t"):
        check.check_column("key", "u", obs)
    with pytest.raises(TypeError, match="key must be the name of a column of obs, found 3"):
        check.check_column("key", 3, obs)
    with pytest.raises(ValueError, match="key='s' has missing values in 1 of 2 cells, first 'c2'"):
        check.check_column("key", "s", obs)
    with pytest.raises(ValueError, match="key='t' names 2 columns of obs"):
        check.check_column("key", "t", obs[["t", "t"]])


def test_anndata():
    from anndata import AnnData

    check.check_anndata("adata", AnnData(np.ones((2, 1))))
    with pytest.raises(ValueError, match="adata has no observations"):
        check.check_anndata("adata", AnnData(np.ones((0, 1))))
    with pytest.raises(TypeError, match="adata must be an AnnData, found dict"):
        check.check_anndata("adata", {})
    mudata = pytest.importorskip("mudata")
    cells = AnnData(np.ones((2, 1)), var=pd.DataFrame(index=["g"]))
    mdata = mudata.MuData({"rna": cells})
    with pytest.raises(TypeError, match=r"found MuData\. Join its modalities with sg\.pp\.join_modalities\(mdata\)"):
        check.check_anndata("mdata", mdata)


def test_categories_without_cells():
    column = pd.Series(pd.Categorical(["a", "a"], categories=["a", "b"]))
    check_samples.check_declared_samples("s", column.cat.remove_unused_categories())
    check_samples.check_declared_samples("s", column.astype(str))
    with pytest.raises(ValueError, match=r"sample_key='s' has 1 sample\(s\) without cells: b"):
        check_samples.check_declared_samples("s", column)


def confounded(labels, batches):
    return check_samples.check_not_confounded("label", np.array(list(labels)), "batch", np.array(list(batches)))


def test_batches_and_classes():
    assert confounded("xyxy", "aabb") is None
    assert confounded("xyxy", "aaaa") is None
    assert "1 of 2 batches" in confounded("xyxx", "aabb") and "(b)" in confounded("xyxx", "aabb")
    assert "4 of 4 batches" in confounded("xxyy", "abcd")  # classes have several batches, which may be averaged
    with pytest.raises(ValueError, match="'label' and batch_key='batch' are confounded: no batch holds two classes"):
        confounded("xxyy", "aabb")


def test_strata_hold_something_to_compare():
    check_samples.check_strata(np.array([0, 1]), None)
    check_samples.check_strata(np.array([0, 1, 1]), np.array([0, 0, 1]))
    with pytest.raises(
        ValueError, match="keys must have a stratum that holds samples with different labels, found none"
    ):
        check_samples.check_strata(np.array([0, 1, 1]), np.array([0, 1, 1]), name="keys")


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ([1, np.nan, np.inf, 2], "continuous", "y has 2 values that are NaN or infinite"),
        ([1, 1, 1, 1], "continuous", "y has only the value 1: there is no order to learn"),
        ([1, 2, 3, 4], "ordinal", "no ordinal label of y has 2 samples"),
        ([1, 2, 3], "continuous", "y has 3 samples, too few to learn an order from"),
    ],
)
def test_ordered(values, kind, text):
    check_samples.check_ordered(np.array([1.0, 1, 2, 3]), kind, name="y")
    with pytest.raises(ValueError, match=text):
        check_samples.check_ordered(np.array(values, dtype=float), kind, name="y")


def test_unique_genes():
    check.check_unique_genes("adata", pd.Index(["a", "b"]))
    with pytest.raises(ValueError, match="found several of a. Call adata.var_names_make_unique"):
        check.check_unique_genes("adata", pd.Index(["a", "b", "a"]))


def test_listed():
    assert check.listed([]) == "none"
    assert check.listed([1, "a"]) == "1, a"
    assert check.listed(range(5)) == "0, 1, 2, 3, 4"
    assert check.listed(range(7)) == "0, 1, 2, 3, 4 and 2 more"
    assert check.listed(range(7), limit=None) == "0, 1, 2, 3, 4, 5, 6"


def test_listed_items_are_short():
    assert len(check.listed(["x" * 1000] * 1000)) < 500
    assert check.listed(["x" * 100], limit=None) == "x" * 77 + "..."


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        (None, "None"),
        (np.float64(0.5), "np.float64(0.5)"),
        (np.array(3), "array(3) of type ndarray"),
        (np.zeros((5, 2)), "ndarray of shape (5, 2)"),
        (pd.Series([1, 2]), "Series of shape (2,)"),
        (pd.DataFrame({"a": range(1000)}), "DataFrame of shape (1000, 1)"),
        (sp.eye_array(3).tocsr(), "csr_array of shape (3, 3)"),
        ([1, [2]], "[1, [2]] of type list"),
        ({"a": 1}, "{'a': 1} of type dict"),
    ],
)
def test_shown(value, text):
    assert check.shown(value) == text


@pytest.mark.parametrize(
    "value", ["x" * 10**6, list(range(10**5)), {i: i for i in range(10**4)}, 10**4000, Unprintable()]
)
def test_shown_is_short(value):
    assert len(check.shown(value)) <= 80


@pytest.mark.parametrize("text", ["nan", "NaN", "NA", "na", "N/A", "None", "null", "<NA>", "NaT", "", "  "])
def test_text_that_stands_for_missing(text):
    obs = pd.DataFrame({"s": ["a", text, text, "none"]}, index=["c1", "c2", "c3", "c4"])
    for column in (obs["s"], obs["s"].astype("category")):
        with pytest.raises(
            ValueError, match=r"key='s' has text that stands for missing, .*in 2 of 4 cells, first 'c2'"
        ):
            check.check_column("key", "s", column.to_frame())


def test_the_advice_about_text_for_missing_works():
    obs = pd.DataFrame({"s": pd.Categorical(["a", "NA", "b"])})
    with pytest.raises(ValueError, match=r"adata\[~adata\.obs\['s'\]\.isin\(\['NA'\]\)\].*rename it"):
        check.check_column("key", "s", obs)
    check.check_column("key", "s", obs[~obs["s"].isin(["NA"])])
    check.check_column("key", "s", obs.assign(s=obs["s"].cat.rename_categories({"NA": "not available"})))


def test_words_that_are_no_missing_values():
    obs = pd.DataFrame({"s": ["unknown", "none", "Nan", "Na+", "not available", "0", "nano"]})
    check.check_column("key", "s", obs)


def test_columns_of_lists_are_refused():
    with pytest.raises(TypeError, match="key='s' holds values of type list, which are no names"):
        check.check_column("key", "s", pd.DataFrame({"s": [[1], [2]]}))


def test_columns_of_the_same_name():
    check.check_unique_columns(pd.Index(["a", "b"]))
    with pytest.raises(ValueError, match="adata.obs has several columns of the same name: 1. Rename"):
        check.check_unique_columns(pd.Index([1, "1", "a"], dtype=object))


def test_messages_about_many_values_are_short():
    n = 5000
    names, values = np.array(["s"], dtype=object), np.array([f"{i / 7}" for i in range(n)], dtype=object)
    with pytest.raises(ValueError, match="4998 more") as caught:
        check_samples.check_one_value(names, np.zeros(n, dtype=int), "label_key", "score", values)
    assert len(str(caught.value)) < 600
    labels = np.array([f"class {i}" * 40 for i in range(n)])
    with pytest.raises(ValueError, match=r"confounded(.|\n)*5000 rows and 5000 columns in all") as caught:
        check_samples.check_not_confounded("label", labels[:n], "batch", np.arange(n))
    assert len(str(caught.value)) < 20_000


def test_numbers_that_are_no_classes_are_told_of_label_kind():
    with pytest.raises(ValueError, match="found one in .*label_kind='continuous'"):
        check_samples.check_classes(np.arange(8), name="y", numeric=True)
    with pytest.raises(ValueError, match="found one in") as caught:
        check_samples.check_classes(list("abcd"), name="y")
    assert "label_kind" not in str(caught.value)


def test_categories_that_are_no_text_are_named_like_text():
    column = pd.Series(
        pd.Categorical([("a",), ("b",), ("a",)], categories=pd.Index([("a",), ("b",)], tupleize_cols=False))
    )
    assert check.as_names("sample_key", "sample", column).tolist() == ["('a',)", "('b',)", "('a',)"]
