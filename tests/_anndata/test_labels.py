"""Reading classes, ordinal and continuous labels, and the strata within which they are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scggml._anndata._cohort import read_samples

SAMPLES = [f"p{i}" for i in range(1, 9)]


def put(cohort, name, values, **kwargs):
    of_sample = dict(zip(SAMPLES, values, strict=True))
    column = cohort.obs["sample"].astype(str).map(of_sample)
    cohort.obs[name] = pd.Categorical(column, **kwargs) if kwargs else column.to_numpy()
    return cohort


def read(cohort, key, **kwargs):
    return read_samples(cohort, "sample", key, features=False, **kwargs).labels


def test_classes(cohort):
    found = read(cohort, "label")
    assert found.kind == "class" and list(found.classes) == ["sick", "well"]
    first = cohort.obs.groupby("sample", observed=True)["label"].first()
    assert list(found.text) == list(found.y) == list(first.reindex(SAMPLES))
    assert list(found.classes[found.targets.codes]) == list(found.text)
    assert found.strata is None


def test_ordinal_labels_take_the_order_of_categories_and_leave_out_those_not_there(cohort):
    grades = ["mild", "none", "severe", "none", "mild", "severe", "none", "mild"]
    put(cohort, "grade", grades, categories=["none", "mild", "moderate", "severe"], ordered=True)
    found = read(cohort, "grade", label_kind="ordinal")
    assert list(found.classes) == ["none", "mild", "severe"]
    assert list(found.values) == [["none", "mild", "severe"].index(g) for g in grades]
    assert found.targets.kind == "ordinal"


def test_ordinal_labels_may_be_numbers(cohort):
    put(cohort, "grade", [10, 2, 2, 30, 10, 2, 2, 10])
    found = read(cohort, "grade", label_kind="ordinal")
    assert list(found.classes) == ["2", "10", "30"]
    assert list(found.values) == [1, 0, 0, 2, 1, 0, 0, 1]


def test_continuous_labels(cohort):
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
        ("ordinal", range(8), ValueError, "no ordinal label .* has 2 samples.*label_kind='continuous'"),
        ("class", range(8), ValueError, "each class .* needs at least 2 samples"),
    ],
)
def test_labels_that_do_not_fit_their_kind(cohort, kind, values, error, text):
    put(cohort, "target", list(values))
    with pytest.raises(error, match=text):
        read(cohort, "target", label_kind=kind)


def test_strata_are_batch_and_donor_at_once(cohort):
    put(cohort, "batch", list("aaaabbbb"))
    put(cohort, "donor", list("uuvvuuvv"))
    put(cohort, "state", list("xyxyxyxy"))
    found = [
        read(cohort, "state", batch_key=b, donor_key=d).targets.strata
        for b, d in (("batch", None), (None, "donor"), ("batch", "donor"))
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
    with pytest.raises(ValueError, match="^batch_key='batch' must have a stratum .* different labels, found none"):
        read(cohort, "state", batch_key="batch")
    assert read(cohort, "state", donor_key="batch").strata is None  # donors of one class are compared with one another


def test_batch_and_donor_without_anything_to_compare(cohort):
    put(cohort, "state", list("xyxyxyxy"))
    put(cohort, "batch", list("abababab"))
    put(cohort, "donor", list("aabbccdd"))
    keys = {"batch_key": "batch", "donor_key": "donor"}
    with pytest.raises(ValueError, match="batch_key='batch' are confounded"):
        read(cohort, "state", **keys)
    put(cohort, "years", [1, 2, 1, 2, 1, 2, 1, 2])
    with pytest.raises(ValueError, match="^batch_key='batch' with donor_key='donor' must have a stratum"):
        read(cohort, "years", label_kind="continuous", **keys)


def test_batches_of_one_class_are_warned_about(cohort):
    put(cohort, "state", list("xyxyxyxx"))
    put(cohort, "batch", list("aaaaaabb"))
    with pytest.warns(UserWarning, match=r"1 of 2 batches .* hold one class .* \(b\)"):
        read(cohort, "state", batch_key="batch")
    read(cohort, "state", donor_key="batch")  # warnings are errors here
    read(cohort, "state", batch_key="batch", donor_key="batch", warn=False)


def test_continuous_labels_alike_in_each_batch(cohort):
    put(cohort, "years", [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    put(cohort, "batch", list("aaaabbbb"))
    with pytest.raises(ValueError, match="^batch_key='batch' must have a stratum"):
        read(cohort, "years", label_kind="continuous", batch_key="batch")


def test_one_label_for_each_sample(cohort):
    cohort.obs["cellwise"] = np.arange(cohort.n_obs) % 3
    with pytest.raises(ValueError, match="one value of label_key='cellwise'"):
        read(cohort, "cellwise", label_kind="continuous")
