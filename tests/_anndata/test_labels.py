"""Reading classes, grades and numbers, and the blocks within which they are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scggml._anndata._cohort import read_cohort
from scggml._anndata._labels import read_labels

SAMPLES = [f"p{i}" for i in range(1, 9)]


def put(cohort, name, values, **kwargs):
    of_sample = dict(zip(SAMPLES, values, strict=True))
    column = cohort.obs["sample"].astype(str).map(of_sample)
    cohort.obs[name] = pd.Categorical(column, **kwargs) if kwargs else column.to_numpy()
    return cohort


def read(cohort, key, **kwargs):
    return read_labels(cohort, read_cohort(cohort, "sample"), key, **kwargs)


def test_classes(cohort):
    found = read(cohort, "label")
    assert found.kind == "class" and list(found.classes) == ["sick", "well"]
    first = cohort.obs.groupby("sample", observed=True)["label"].first()
    assert list(found.text) == list(found.y) == list(first.reindex(SAMPLES))
    assert list(found.classes[found.targets.codes]) == list(found.text)
    assert found.blocks is None


def test_grades_take_the_order_of_categories_and_leave_out_those_not_there(cohort):
    grades = ["mild", "none", "severe", "none", "mild", "severe", "none", "mild"]
    put(cohort, "grade", grades, categories=["none", "mild", "moderate", "severe"], ordered=True)
    found = read(cohort, "grade", label_kind="ordinal")
    assert list(found.classes) == ["none", "mild", "severe"]
    assert list(found.values) == [["none", "mild", "severe"].index(g) for g in grades]
    assert found.targets.kind == "ordinal"


def test_grades_may_be_numbers(cohort):
    put(cohort, "grade", [10, 2, 2, 30, 10, 2, 2, 10])
    found = read(cohort, "grade", label_kind="ordinal")
    assert list(found.classes) == ["2", "10", "30"]
    assert list(found.values) == [1, 0, 0, 2, 1, 0, 0, 1]


def test_numbers(cohort):
    ages = [3.5, 7.0, 1.0, 2.0, 9.0, 4.0, 4.0, 6.0]
    put(cohort, "years", ages)
    found = read(cohort, "years", label_kind="continuous")
    assert list(found.values) == list(found.y) == ages and len(found.classes) == 0


@pytest.mark.parametrize(
    ("kind", "values", "error", "text"),
    [
        ("ordinal", list("abcabcab"), ValueError, "has no order.*pd.Categorical.*ordered=True"),
        ("continuous", list("abcabcab"), TypeError, r"must hold numbers.*found 'a'.*label_kind='ordinal'"),
        ("continuous", [1.0] * 8, ValueError, "only the value 1: there is no order"),
        ("continuous", [1.0, np.inf, *range(6)], ValueError, "1 values that are NaN or infinite"),
        ("ordinal", range(8), ValueError, "no grade .* has 2 samples.*label_kind='continuous'"),
        ("class", range(8), ValueError, "each class .* needs at least 2 samples"),
        (
            "grades",
            list("abcabcab"),
            ValueError,
            "label_kind must be one of class, ordinal, continuous, found 'grades'",
        ),
    ],
)
def test_labels_that_do_not_fit_their_kind(cohort, kind, values, error, text):
    put(cohort, "target", list(values))
    with pytest.raises(error, match=text):
        read(cohort, "target", label_kind=kind)


def test_blocks_are_batch_and_group_at_once(cohort):
    put(cohort, "batch", list("aaaabbbb"))
    put(cohort, "donor", list("uuvvuuvv"))
    put(cohort, "state", list("xyxyxyxy"))
    found = [
        read(cohort, "state", batch_key=b, group_key=g).targets.blocks
        for b, g in (("batch", None), (None, "donor"), ("batch", "donor"))
    ]
    assert list(found[0]) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert list(found[1]) == [0, 0, 1, 1, 0, 0, 1, 1]
    assert list(found[2]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_batches_that_explain_the_classes_are_refused(cohort):
    put(cohort, "state", list("xxxxyyyy"))
    put(cohort, "batch", list("aaaabbbb"))
    with pytest.raises(ValueError, match=r"'state' and batch_key='batch' are confounded[\s\S]*a\s+4\s+0"):
        read(cohort, "state", batch_key="batch")
    put(cohort, "batch", list("aabbccdd"))  # batches differ within classes too, but none holds both
    for name in ("batch_key", "group_key"):
        with pytest.raises(ValueError, match=f"^{name}='batch' has no block that holds samples with different labels"):
            read(cohort, "state", **{name: "batch"})


def test_batches_and_groups_of_one_class_are_told(cohort):
    put(cohort, "state", list("xyxyxyxx"))
    put(cohort, "batch", list("aaaaaabb"))
    with pytest.warns(UserWarning, match=r"1 of 2 batches .* hold one class .* \(b\)"):
        read(cohort, "state", batch_key="batch")
    with pytest.warns(UserWarning, match=r"1 of 2 groups .* hold one label only \(b\)"):
        read(cohort, "state", group_key="batch")
    read(cohort, "state", batch_key="batch", group_key="batch", warn=False)  # warnings are errors here


def test_numbers_alike_in_each_batch(cohort):
    put(cohort, "years", [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    put(cohort, "batch", list("aaaabbbb"))
    with pytest.raises(ValueError, match="batch_key='batch' has no block that holds samples with different labels"):
        read(cohort, "years", label_kind="continuous", batch_key="batch")


def test_one_label_for_each_sample(cohort):
    cohort.obs["cellwise"] = np.arange(cohort.n_obs) % 3
    with pytest.raises(ValueError, match="one value of label_key='cellwise'"):
        read(cohort, "cellwise", label_kind="continuous")
