from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold

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


def splits(labels=LABELS, groups=None, seed=0, **options):
    return make_splits(labels, groups, rng=np.random.default_rng(seed), **options)


def test_leave_one_out_is_the_default_of_small_cohorts():
    for cv in ("auto", "leave_one_out"):
        found = splits(cv=cv)
        assert [s.test.tolist() for s in found] == [[i] for i in range(len(LABELS))]
        assert all(set(s.train) | set(s.test) == set(range(len(LABELS))) for s in found)
    large = splits(np.repeat(np.array(["a", "b"], dtype=object), 30))
    assert len(large) == 5


def test_folds_are_stratified_and_repeated():
    found = splits(cv=4, n_repeats=3)
    assert [(s.repeat, s.fold) for s in found] == [(r, f) for r in range(3) for f in range(4)]
    for repeat in range(3):
        tests = [s.test for s in found if s.repeat == repeat]
        assert sorted(np.concatenate(tests)) == list(range(len(LABELS)))
        assert all({"a", "b", "c"} == set(LABELS[test]) for test in tests)
    assert not np.array_equal(found[0].test, found[4].test)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(found, splits(cv=4, n_repeats=3), strict=True))


def test_groups_are_held_out_together():
    groups = np.array([f"d{i // 2}" for i in range(16)], dtype=object)
    labels = np.array(["ctrl", "stim"] * 8, dtype=object)
    for cv in ("leave_one_out", 4, GroupKFold(4)):
        for split in splits(labels, groups, cv=cv):
            assert not set(groups[split.train]) & set(groups[split.test])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cv": 5}, ValueError, r"at least 5 samples of every class, found fewer in c \(4\).*cv=4"),
        ({"cv": 1}, ValueError, "cv must be at least 2"),
        ({"cv": "loo"}, ValueError, "cv must be one of auto, leave_one_out"),
        ({"cv": 2.5}, TypeError, "a number of folds or a splitter"),
        ({"cv": True}, TypeError, "a number of folds or a splitter"),
        ({"cv": "leave_one_out", "n_repeats": 2}, ValueError, "n_repeats=2 has no meaning"),
        ({"n_repeats": 0}, ValueError, "n_repeats must be at least 1"),
        ({"cv": Fixed([])}, ValueError, "makes no folds"),
        ({"cv": Fixed([(range(16), [])])}, ValueError, "fold 0 of cv holds out nothing"),
        ({"cv": Fixed([(range(16), [3, 4])])}, ValueError, "sample 3 into training and test at once.* such as KFold"),
        ({"cv": KFold(2)}, ValueError, "fold 0 leaves fewer than 2 training samples of the class a"),
    ],
)
def test_bad_folds(options, error, text):
    with pytest.raises(error, match=text):
        splits(**options)


def test_what_is_advised_would_work():
    with pytest.raises(ValueError, match=r"found fewer in b \(2\)\. Drop such classes with .*min_samples=3\)"):
        splits(np.array(list("aaaaabb"), dtype=object), cv=3)


def test_a_class_of_two_cannot_lose_one():
    labels = np.array(list("aaaabb"), dtype=object)
    with pytest.raises(ValueError, match=r"fold 4 leaves fewer than 2 training samples of the class b \(1 left of 2\)"):
        splits(labels)


def test_a_group_that_holds_a_class_is_refused():
    groups = np.array(["x"] * 6 + ["y"] * 3 + ["z"] * 7, dtype=object)
    with pytest.raises(ValueError, match=r"group x\) leaves fewer .* class a \(0 left of 6\).*A group that holds"):
        splits(groups=groups)
    with pytest.raises(ValueError, match="group_key holds one group only"):
        splits(groups=np.array(["x"] * 16, dtype=object))


def test_splitters_that_tear_groups_apart_are_refused():
    groups = np.array([f"d{i // 2}" for i in range(16)], dtype=object)
    with pytest.raises(ValueError, match="samples of group .* into training and test at once"):
        splits(groups=groups, cv=KFold(4, shuffle=True, random_state=0))
