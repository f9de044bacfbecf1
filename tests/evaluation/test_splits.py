from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, RepeatedStratifiedKFold, ShuffleSplit

from scggml.evaluation._splits import make_splits

LABELS = np.array(list("aaaaaabbbbbbcccc"), dtype=object)


class Fixed:
    """A splitter that makes what it was given."""

    def __init__(self, folds):
        self.folds = folds

    def split(self, x, y=None, groups=None):
        return iter(self.folds)


def test_masks_are_positions():
    test = np.zeros(16, dtype=bool)
    test[[0, 7]] = True
    (split,) = splits(cv=Fixed([(~test, test)]))
    assert split.test.tolist() == [0, 7] and len(split.train) == 14


def splits(labels=LABELS, donors=None, seed=0, **options):
    return make_splits(labels, donors, rng=np.random.default_rng(seed), **options)


def test_leave_one_out_is_the_default_of_small_cohorts():
    for cv in ("auto", "leave_one_out"):
        found = splits(cv=cv)
        assert [s.test.tolist() for s in found] == [[i] for i in range(len(LABELS))]
        assert all(set(s.train) | set(s.test) == set(range(len(LABELS))) for s in found)
    large = splits(np.repeat(np.array(["a", "b"], dtype=object), 30))
    assert len(large) == 5
    labels = np.array(["a", "b"] * 26, dtype=object)
    assert [len(splits(labels[:n])) for n in (50, 51)] == [50, 5]
    donors = np.array([f"d{min(i, 49):02d}" for i in range(51)], dtype=object)  # 50 donors of 51 samples
    assert len(splits(labels[:51], donors)) == 50


def test_folds_are_stratified():
    found = splits(cv=4)
    assert [(s.repeat, s.fold) for s in found] == [(0, f) for f in range(4)]
    assert sorted(np.concatenate([s.test for s in found])) == list(range(len(LABELS)))
    assert all({"a", "b", "c"} == set(LABELS[s.test]) for s in found)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(found, splits(cv=4), strict=True))
    assert not np.array_equal(found[0].test, splits(cv=4, seed=1)[0].test)


def test_a_repeat_begins_where_a_sample_is_held_out_again():
    found = splits(cv=RepeatedStratifiedKFold(n_splits=4, n_repeats=3, random_state=0))
    assert [(s.repeat, s.fold) for s in found] == [(r, f) for r in range(3) for f in range(4)]
    for repeat in range(3):
        tests = [s.test for s in found if s.repeat == repeat]
        assert sorted(np.concatenate(tests)) == list(range(len(LABELS)))
    tests = [[0], [1, 2], [3], [2, 4], [5], [0], [0]]
    found = splits(cv=Fixed([(np.setdiff1d(np.arange(16), t), t) for t in tests]))
    assert [(s.repeat, s.fold) for s in found] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    for repeat in {s.repeat for s in splits(cv=ShuffleSplit(9, test_size=3, random_state=0))}:
        held = [
            i for s in splits(cv=ShuffleSplit(9, test_size=3, random_state=0)) if s.repeat == repeat for i in s.test
        ]
        assert len(set(held)) == len(held)


def test_splits_of_ones_own():
    pairs = [([i for i in range(16) if i not in t], list(t)) for t in ((0, 6), (1, 7))]
    for cv in (pairs, iter(pairs), [(np.array(train), np.array(test)) for train, test in pairs]):
        found = splits(cv=cv)
        assert [s.test.tolist() for s in found] == [[0, 6], [1, 7]]
        assert [s.train.tolist() for s in found] == [train for train, _ in pairs]


def test_donors_are_held_out_together():
    donors = np.array([f"d{i // 2}" for i in range(16)], dtype=object)
    labels = np.array(["ctrl", "stim"] * 8, dtype=object)
    for cv in ("leave_one_out", 4, GroupKFold(4)):
        for split in splits(labels, donors, cv=cv):
            assert not set(donors[split.train]) & set(donors[split.test])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cv": 5}, ValueError, r"at least 5 samples of every class, found fewer in c \(4\).*cv=4"),
        ({"cv": 1}, ValueError, "cv must be at least 2"),
        (
            {"cv": "loo"},
            ValueError,
            "cv must be 'auto', 'leave_one_out' or a number of folds, or a splitter, found 'loo'",
        ),
        ({"cv": 2.5}, TypeError, "a number of folds, a splitter"),
        ({"cv": True}, TypeError, "a number of folds, a splitter"),
        ({"cv": {"train": [0], "test": [1]}}, TypeError, "an iterable of .train, test. positions"),
        ({"cv": [0, 1]}, TypeError, "must yield .train, test. positions of samples, found 0"),
        ({"cv": [([0, 1], [16])]}, ValueError, "split 0 of cv must hold different positions of samples, from 0 to 15"),
        ({"cv": [([0, 1], [-1])]}, ValueError, "from 0 to 15, found -1"),
        ({"cv": [([0, 1], [3, 3])]}, ValueError, "must hold different positions"),
        (
            {"cv": [(["s0", "s1"], ["s2"])]},
            TypeError,
            "split 0 of cv must hold positions .* in the order of the sample names",
        ),
        ({"cv": []}, ValueError, "cv=list makes no folds"),
        ({"cv": Fixed([])}, ValueError, "cv=Fixed makes no folds"),
        ({"cv": Fixed([(range(16), [])])}, ValueError, "split 0 of cv holds out nothing"),
        ({"cv": Fixed([(range(16), [3, 4])])}, ValueError, "has sample 3 in training and test.* such as KFold"),
        ({"cv": KFold(2)}, ValueError, "split 0 of cv leaves fewer than 2 training samples of the class a"),
    ],
)
def test_bad_folds(options, error, text):
    with pytest.raises(error, match=text):
        splits(**options)


def test_what_is_advised_would_work():
    with pytest.raises(ValueError, match=r"found fewer in b \(2\)\. Drop classes with fewer than 3 samples"):
        splits(np.array(list("aaaaabb"), dtype=object), cv=3)


def test_a_class_of_two_cannot_lose_one():
    labels = np.array(list("aaaabb"), dtype=object)
    with pytest.raises(
        ValueError, match=r"split 4 of cv leaves fewer than 2 training samples of the class b \(1 left of 2\)"
    ):
        splits(labels)


def test_a_donor_that_holds_a_class_is_refused():
    donors = np.array(["x"] * 6 + ["y"] * 3 + ["z"] * 7, dtype=object)
    with pytest.raises(ValueError, match=r"donor x\) leaves fewer .* class a \(0 left of 6\).*A donor with most"):
        splits(donors=donors)
    with pytest.raises(ValueError, match="donor_key holds one donor only"):
        splits(donors=np.array(["x"] * 16, dtype=object))
    with pytest.raises(ValueError, match=r"at least 3 donors of every class, found fewer in a \(1\)"):
        splits(donors=donors, cv=3)


def test_splitters_that_tear_donors_apart_are_refused():
    donors = np.array([f"d{i // 2}" for i in range(16)], dtype=object)
    with pytest.raises(ValueError, match="samples of donor .* in training and test.* such as GroupKFold"):
        splits(donors=donors, cv=KFold(4, shuffle=True, random_state=0))
