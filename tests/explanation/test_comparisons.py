from __future__ import annotations

import numpy as np
import pytest

from scggml.explanation._comparisons import Comparisons, compare_classes, compare_samples
from scggml.explanation._excess import excess_over_within

CODES = np.array([1, 0, 2, 1, 0, 1])
NAMES = np.array(["a", "b", "c"], dtype=object)


def test_all_pairs_of_classes():
    found = Comparisons.of_classes(CODES, NAMES)
    assert found.classes == [(0, 1), (0, 2), (1, 2), (0, 0), (1, 1)]  # the third has one sample
    assert list(found.columns["class_b"]) == ["b", "c", "c", "a", "b"]
    assert list(found.undirected) == [False] * 3 + [True] * 2
    assert np.bincount(found.comparisons).tolist() == [6, 2, 3, 1, 3]
    for (i, j), q in zip(found.pairs, found.comparisons, strict=True):
        assert (CODES[i], CODES[j]) == found.classes[q]
    assert len({frozenset(pair) for pair in found.pairs.tolist()}) == len(found.pairs) == 15


def test_excess():
    found = Comparisons.of_classes(CODES, NAMES)
    values = np.array([5.0, 6, 7, 1, 2])
    np.testing.assert_array_equal(excess_over_within(found.classes, values), [3.5, np.nan, np.nan, np.nan, np.nan])


def test_means_count_each_pair_once():
    distances = np.random.default_rng(0).random((6, 6))
    distances += distances.T
    found = Comparisons.of_classes(CODES, NAMES)
    sums = np.zeros((5, 6))
    for (i, j), q in zip(found.pairs, found.comparisons, strict=True):
        sums[q, [i, j]] += distances[i, j]
    means, without, n_first = found.means(sums)[0]
    assert n_first == 2 and without.between.shape == (5,)
    np.testing.assert_allclose(means.between, distances[np.ix_([1, 4], [0, 3, 5])].mean())
    np.testing.assert_allclose([means.first, means.second], [distances[1, 4], distances[[0, 0, 3], [3, 5, 5]].mean()])
    assert np.isnan(found.means(sums)[1][0].excess)  # one sample only
    assert np.isnan(found.means(sums)[3][0].excess)  # a class with itself


def test_chosen_classes():
    labels = NAMES[CODES]
    with pytest.warns(UserWarning, match=r"1 class\(es\) of label_key='stage' have one sample only \(c\)"):
        chosen, found = compare_classes(labels, list(NAMES), ("c", "b"), "stage")
    assert list(chosen) == [True, False, True, True, False, True]
    assert list(found.names) == ["c", "b"] and list(found.codes) == [1, 0, 1, 1]
    chosen, found = compare_classes(labels[CODES < 2], ["a", "b"], None, "stage")
    assert chosen.all() and len(found.pairs) == 10


def test_chosen_samples():
    names = np.array(["p1", "p2", "p3"], dtype=object)
    chosen, found = compare_samples(names, ("p3", "p1"))
    assert list(chosen) == [True, False, True]
    assert found.pairs.tolist() == [[1, 0]] and list(found.columns["class_a"]) == ["p3"]


def test_columns_repeat_each_comparison():
    found = Comparisons.of_classes(CODES, NAMES).repeated_columns(2)
    assert list(found["class_a"]) == ["a", "a", "a", "a", "b", "b", "a", "a", "b", "b"]
    assert list(found["class_b"]) == ["b", "b", "c", "c", "c", "c", "a", "a", "b", "b"]


CASES = {
    "one": (("a",), ValueError, "classes must be two classes of label_key='stage', found .*Pass two of: a, b, c"),
    "text": ("ab", ValueError, "classes must be two classes of label_key='stage', found 'ab'"),
    "unknown": (("a", "d"), KeyError, "d not among the classes of label_key='stage'"),
    "equal": (("a", "a"), ValueError, "two different classes of label_key='stage'"),
}


@pytest.mark.parametrize("case", CASES)
def test_chosen_classes_that_cannot_be_compared(case):
    chosen, error, text = CASES[case]
    with pytest.raises(error, match=text):
        compare_classes(NAMES[CODES], list(NAMES), chosen, "stage")


def test_samples_that_cannot_be_compared():
    with pytest.raises(KeyError, match="p4 not among the samples. Pass two of: p1, p2"):
        compare_samples(np.array(["p1", "p2"], dtype=object), ("p1", "p4"))
    with pytest.raises(ValueError, match=r"label_key='stage' has 1 sample\(s\) of these classes: at least two"):
        compare_classes(np.array(["a"], dtype=object), ["a"], None, "stage")
