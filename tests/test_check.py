"""The checks at the boundary, one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scggml import _check as check


def test_integer_is_returned_as_int():
    for value in (3, np.int8(3), np.uint64(3)):
        found = check.check_integer("n", value, minimum=3, maximum=3)
        assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [3.0, np.float32(3), "3", None, True, np.bool_(True), 2 + 0j])
def test_integer_refuses_other_types(value):
    with pytest.raises(TypeError, match=rf"n must be an integer, found .* of type {type(value).__name__}\. Pass"):
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


@pytest.mark.parametrize("value", ["", "a/b", None, 1, b"a"])
def test_name(value):
    check.check_name("key", "a b.c")
    with pytest.raises(ValueError, match="key must be a non-empty text without '/', found"):
        check.check_name("key", value)


def test_names_are_text_and_stay_apart():
    assert list(check.as_names("key", "s", pd.Series([2, 10, 2]))) == ["2", "10", "2"]
    assert list(check.as_names("key", "s", pd.Series(pd.Categorical([1.5, 0.5])))) == ["1.5", "0.5"]
    with pytest.raises(ValueError, match="key='s' holds different values that read the same as text"):
        check.as_names("key", "s", pd.Series([1, "1"], dtype=object))


def test_sizes_are_named():
    names = np.array(["a", "b", "c"], dtype=object)
    check.check_sizes(names, np.array([2, 3, 4]))
    with pytest.raises(ValueError, match=r"at least 2 cells .* found fewer in a \(0\), c \(1\)\. Drop them"):
        check.check_sizes(names, np.array([0, 2, 1]))


def test_one_label():
    names = np.array(["a", "b"], dtype=object)
    check.check_one_value(names, np.array([0, 0, 1]), "label_key", "label", np.array(["x", "x", "y"], dtype=object))
    with pytest.raises(ValueError, match=r"one value of label_key='label', found several in b \('x', 'y'\)"):
        check.check_one_value(names, np.array([0, 1, 1]), "label_key", "label", np.array(["x", "x", "y"], dtype=object))


def test_many_mixed_samples_are_counted():
    names = np.array([f"s{i}" for i in range(9)], dtype=object)
    codes, labels = np.repeat(np.arange(9), 2), np.array(["x", "y"] * 9, dtype=object)
    with pytest.raises(ValueError, match=r"s0 .*, s4 \('x', 'y'\) and 4 more"):
        check.check_one_value(names, codes, "label_key", "label", labels)


def test_classes():
    check.check_classes(["a", "a", "b", "b"], name="y")
    check.check_classes(np.array([0, 1, 0, 1]), name="y")
    with pytest.raises(ValueError, match="y has only the class 'a': at least two classes"):
        check.check_classes(["a", "a"], name="y")
    with pytest.raises(ValueError, match="each class of y needs at least 2 samples, found one in b, c"):
        check.check_classes(["a", "a", "b", "c"], name="y")


def test_classes_of_a_larger_minimum():
    check.check_classes(["a"] * 3 + ["b"] * 3, name="y", minimum=3)
    with pytest.raises(ValueError, match="at least 3 samples, found fewer in b"):
        check.check_classes(["a"] * 3 + ["b"] * 2, name="y", minimum=3)


def test_generators():
    generator = np.random.default_rng(0)
    assert check.check_random_generator(generator) is generator
    assert check.check_random_generator(3).integers(99) == np.random.default_rng(3).integers(99)
    assert check.check_random_generator(None) is not check.check_random_generator(None)
    for value, error in ((-1, ValueError), (1.0, TypeError), ("a", TypeError), (True, TypeError)):
        with pytest.raises(error, match="rng must be"):
            check.check_random_generator(value)


def test_jobs():
    for value in (None, -1, 4):
        check.check_jobs(value)
    for value, error in ((0, ValueError), (1.5, TypeError), ("all", TypeError)):
        with pytest.raises(error, match="n_jobs must"):
            check.check_jobs(value)


def test_device():
    for value in (None, "cpu"):
        check.check_device(value)
    with pytest.raises(ValueError, match="device must be None or one of .*cpu.*, found 'tpu'"):
        check.check_device("tpu")


def test_column():
    obs = pd.DataFrame({"s": ["a", None], "t": ["a", "b"]}, index=["c1", "c2"])
    assert list(check.check_column("key", "t", obs)) == ["a", "b"]
    with pytest.raises(KeyError, match="key='u' is not a column of obs. Found: s, t"):
        check.check_column("key", "u", obs)
    with pytest.raises(TypeError, match="key must be the name of a column of obs, found 3 of type int"):
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
    check.check_declared_samples("s", column.cat.remove_unused_categories())
    check.check_declared_samples("s", column.astype(str))
    with pytest.raises(ValueError, match=r"sample_key='s' has 1 sample\(s\) without cells: b"):
        check.check_declared_samples("s", column)


def confounded(labels, batches):
    return check.check_not_confounded("label", np.array(list(labels)), "batch", np.array(list(batches)))


def test_batches_and_classes():
    assert confounded("xyxy", "aabb") is None
    assert confounded("xyxy", "aaaa") is None
    assert "1 of 2 batches" in confounded("xyxx", "aabb") and "(b)" in confounded("xyxx", "aabb")
    assert "4 of 4 batches" in confounded("xxyy", "abcd")  # classes have several batches, which may be averaged
    with pytest.raises(ValueError, match="'label' and batch_key='batch' are confounded: no batch holds two classes"):
        confounded("xxyy", "aabb")


def test_strata_hold_something_to_compare():
    check.check_strata(np.array([0, 1]), None)
    check.check_strata(np.array([0, 1, 1]), np.array([0, 0, 1]))
    with pytest.raises(
        ValueError, match="keys must have a stratum that holds samples with different labels, found none"
    ):
        check.check_strata(np.array([0, 1, 1]), np.array([0, 1, 1]), name="keys")


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
    check.check_ordered(np.array([1.0, 1, 2, 3]), kind, name="y")
    with pytest.raises(ValueError, match=text):
        check.check_ordered(np.array(values, dtype=float), kind, name="y")


def test_unique_genes():
    check.check_unique_genes("adata", pd.Index(["a", "b"]))
    with pytest.raises(ValueError, match="found several of a. Call adata.var_names_make_unique"):
        check.check_unique_genes("adata", pd.Index(["a", "b", "a"]))


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite(kind, dtype):
    x = np.ones((6, 4), dtype=dtype)
    check.check_finite(kind(x), None, name="X")
    x[0, 1] = np.nan
    x[[2, 3], 3] = np.inf
    with pytest.raises(
        ValueError, match=r"X has 3 values that are NaN or infinite, in 2 feature\(s\): c \(2\), b \(1\)\."
    ):
        check.check_finite(kind(x), list("xbyc"), name="X")
    with pytest.raises(ValueError, match=r"feature 3 \(2\), feature 1 \(1\)"):
        check.check_finite(kind(x), None, name="X")


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_finite_whatever_the_kind_of_number(kind):
    for dtype in (bool, np.uint8, np.int64):
        check.check_finite(kind(np.ones((3, 2), dtype=dtype)), None, name="X")


def test_large_values_are_finite():
    check.check_finite(np.full((4, 2), 3e38, dtype=np.float32), None, name="X")


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_values_whose_sum_overflows_are_finite(kind):
    check.check_finite(kind(np.full((4, 2), 1e308)), None, name="X")


def test_listed():
    assert check.listed([]) == "none"
    assert check.listed([1, "a"]) == "1, a"
    assert check.listed(range(5)) == "0, 1, 2, 3, 4"
    assert check.listed(range(7)) == "0, 1, 2, 3, 4 and 2 more"
    assert check.listed(range(7), limit=None) == "0, 1, 2, 3, 4, 5, 6"
