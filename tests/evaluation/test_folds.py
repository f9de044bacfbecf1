from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.model_selection import KFold, RepeatedKFold

from scggml.core.measures._measures import Measures
from scggml.core.metric._targets import Targets
from scggml.evaluation._folds import folds_of_samples
from scggml.evaluation._samples import Samples


def folds(labels, cv="auto", *, donors=None, strata=None, max_folds=20, seed=0):
    labels = np.array(labels, dtype=object)
    names = np.array([f"s{i:02}" for i in range(len(labels))], dtype=object)
    donors = None if donors is None else np.array(donors, dtype=object)
    samples = Samples(Measures.from_arrays([np.eye(2)] * len(labels)), names, labels, donors=donors)
    targets = Targets.of_classes(np.unique(labels, return_inverse=True)[1], strata)
    return folds_of_samples(samples, targets, cv, max_folds=max_folds, rng=np.random.default_rng(seed))


def test_as_many_folds_as_the_smallest_class_has_samples():
    labels = np.array(["a"] * 6 + ["b"] * 9)
    found = folds(labels)
    np.testing.assert_array_equal(np.bincount(found[labels == "a"]), [1] * 6)  # one in each fold
    assert sorted(np.bincount(found[labels == "b"])) == [1, 1, 1, 2, 2, 2]
    assert folds(labels, max_folds=4).max() == 3
    assert not np.array_equal(found, folds(labels, seed=1))
    np.testing.assert_array_equal(folds(labels, "leave_one_out"), np.arange(15))


def test_donors_stay_together():
    donors = np.repeat([f"d{i}" for i in range(8)], 2)
    found = folds(["a"] * 8 + ["b"] * 8, donors=donors)
    np.testing.assert_array_equal(found[::2], found[1::2])
    assert found.max() == 3  # 4 donors of each class
    paired = folds(["a", "b"] * 5, donors=np.repeat(list("vwxyz"), 2))
    np.testing.assert_array_equal(paired[::2], paired[1::2])
    assert len(np.unique(paired)) == 5


@pytest.mark.parametrize(
    ("labels", "cv", "more", "texts"),
    [
        ("aaabbbb", "auto", {}, ["at least 4 samples of every class", "a (3)", "no number of folds"]),
        ("aabbbbb", "leave_one_out", {}, ["cv='leave_one_out'", "a (2)", "cv=None"]),
        ("aaaabbbbb", 2, {}, ["folds 0 and 1|cv makes 2 folds", "cv=4"]),
        ("aaaaabbbbb", 3, {}, ["folds", "fewer than 2 samples of the class", "1 of 5", "cv=5"]),
        ("aaaabbbb", KFold(4), {}, ["when folds 0 and 1 of cv are held out (s00, s01, s02, s03)", "a (0 of 4)"]),
        ("aaaaabbbbb", RepeatedKFold(n_splits=5, n_repeats=2), {}, ["exactly once", "2 times for sample s00"]),
        ("aaaaabbbbb", [(range(1, 10), [0])], {}, ["exactly once", "0 times for sample s01"]),
        ("aaaabbbb", "auto", {"donors": list("kkllmmnn")}, ["at least 4 donors of every class", "a (2), b (2)"]),
        (
            "aaaabbbb",
            [([i for i in range(8) if i != j], [j]) for j in range(8)],
            {"donors": list("klmnopqq")},
            ["b (3)"],
        ),
        ("aaaabbbb", 9, {}, ["cv=9 folds", "cv=4"]),
        ("aaaabbbb", 1, {}, ["cv must be at least 2"]),
        (
            "abababcccc".replace("c", "a") + "bbb",
            "leave_one_out",
            {"strata": np.array([0, 0, *range(1, 12)])},
            ["no two comparable samples with different labels left", "add samples to those that hold several labels"],
        ),
    ],
)
def test_folds_that_leave_too_little(labels, cv, more, texts):
    with pytest.raises(ValueError, match=".") as caught:
        folds(list(labels), cv, **more)
    for text in texts:
        assert any(part in str(caught.value) for part in text.split("|")), str(caught.value)


def test_folds_are_drawn_until_any_two_leave_a_batch_with_both_classes():
    strata = np.array([0, 0, 1, 1, 0, 0, 1, 1])  # two samples of each class in each of two batches
    labels = np.array(list("aaaabbbb"))
    for seed in range(30):
        found = folds(labels, strata=strata, seed=seed)
        assert sorted(np.bincount(found)) == [2] * 4
        for i, j in combinations(range(4), 2):
            left = ~np.isin(found, [i, j])
            assert any(len(set(labels[left & (strata == s)])) == 2 for s in (0, 1))


def test_donors_across_folds_are_refused():
    splits = [([i for i in range(10) if i not in test], test) for test in ([0, 5], [1, 6], [2, 7], [3, 8], [4, 9])]
    with pytest.raises(ValueError, match="samples of donor 'x' in training and test"):
        folds(list("aaaaabbbbb"), splits, donors=list("xxbcdefghi"))
