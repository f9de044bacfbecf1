from __future__ import annotations

import numpy as np
import pytest

from scggml._strata import strata_of


def strata(labels, donors=None, batches=None):
    found = strata_of(*(None if x is None else np.array(list(x), dtype=object) for x in (batches, donors, labels)))
    return None if found is None else found.tolist()


@pytest.mark.parametrize(
    ("labels", "donors", "batches", "expected"),
    [
        ("abab", None, None, None),
        ("abab", None, "xxxx", None),  # one batch says nothing
        ("abab", None, "xyyx", [0, 1, 1, 0]),
        ("aabb", "1122", None, None),  # no donor has several labels
        ("abab", "1122", None, [0, 0, 1, 1]),
        ("ababa", "11111", None, None),  # one donor only
        ("ababba", "112345", None, [1, 1, 0, 0, 0, 0]),  # donors with one label are compared with one another
        ("abab" * 2, "11223344", "xxxxyyyy", [0, 0, 1, 1, 2, 2, 3, 3]),
        ("aabbab", "112233", "xxxyyy", [0, 0, 0, 1, 2, 2]),
        ("abab", "1111", "xxyy", [0, 0, 1, 1]),  # one donor in two batches
    ],
)
def test_strata(labels, donors, batches, expected):
    assert strata(labels, donors, batches) == expected


def test_numbers_are_labels_too():
    donors = np.array([7, 7, 9, 9])
    assert strata_of(None, donors, np.array([0.5, 0.25, 1.0, 1.0])).tolist() == [1, 1, 0, 0]
    assert strata_of(None, donors, np.array([0.5, 0.5, 1.0, 1.0])) is None
