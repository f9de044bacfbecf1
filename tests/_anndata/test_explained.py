"""Checks that distances and cells belong together, on hand-made arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scggml._anndata._explained import (
    check_same_distances,
    check_same_samples,
    classes_of_samples,
    warn_about_absent_types,
)

NAMES = np.array(["p", "q", "r"], dtype=object)


def test_same_samples_in_any_order():
    check_same_samples(pd.Index(["r", "p", "q"]), NAMES, "sample")


def test_samples_on_one_side_only_are_refused():
    text = (
        r"obs\['sample'\] must hold the same samples, found 2 in pdata only \(s, t\) and 1 in adata only \(q\).*Subset"
    )
    with pytest.raises(ValueError, match=text):
        check_same_samples(pd.Index(["p", "r", "s", "t"]), NAMES, "sample")
    with pytest.raises(ValueError, match="pdata.obs_names are not unique: 'p' appears more than once"):
        check_same_samples(pd.Index(["p", "p", "q", "r"]), NAMES, "sample")


def test_same_distances():
    stored = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    check_same_distances(np.array([1 + 9e-7, 2, 0]), stored, pairs, NAMES)
    for wrong in ([1 + 2e-6, 2, 0], [1, np.nan, 0], [1, 2, 1e-9]):
        with pytest.raises(ValueError, match="do not belong to the cells and the metric in adata.*sample_distances"):
            check_same_distances(np.array(wrong), stored, pairs, NAMES)
    with pytest.raises(ValueError, match="between p and r, pdata stores 2, but the cells give 3"):
        check_same_distances(np.array([1.0, 3.0, 0.0]), stored, pairs, NAMES)


def test_absent_types():
    types, sizes = np.array(["B", "T"], dtype=object), np.array([2, 3, 1])
    warn_about_absent_types("type", types, sizes[:2], np.array([0, 1, 1, 1, 0]))
    text = r"1 cell type\(s\) of cell_type_key='type' are absent from some samples: B \(from 2 of 3\)"
    with pytest.warns(UserWarning, match=text):
        warn_about_absent_types("type", types, sizes, np.array([0, 1, 1, 1, 1, 1]))


def samples():
    obs = pd.DataFrame(
        {
            "stage": pd.Categorical(["late", "early", "late"], categories=["early", "late", "never"]),
            "age": [31.5, 40.5, 52.0],
            "site": ["b", None, "a"],
        },
        index=["p", "q", "r"],
    )
    return AnnData(obs=obs)


def test_classes_are_in_the_order_of_their_categories():
    labels, classes = classes_of_samples(samples(), "stage", continuous=False)
    assert labels.to_dict() == {"p": "late", "q": "early", "r": "late"}
    assert classes == ["early", "late"]


CASES = {
    "none": (None, False, "label_key is needed.*Pass a column of pdata.obs. Found: stage, age, site"),
    "missing": ("site", False, r"label_key='site' is missing for 1 sample\(s\): q. Fill"),
    "numbers": ("age", False, "label_key='age' is a continuous label: 3 different numbers for 3 samples.*pandas.cut"),
    "continuous": ("stage", True, "label_key='stage' is a continuous label"),
}


@pytest.mark.parametrize("case", CASES)
def test_columns_that_are_no_classes(case):
    label_key, continuous, text = CASES[case]
    with pytest.raises(ValueError, match=text):
        classes_of_samples(samples(), label_key, continuous=continuous)
