from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scggml.evaluation._frames import check_distances, frame_values

NAMES = np.array(["1", "10", "2", "3"], dtype=object)
X = np.array([0.0, 1.0, 3.0, 7.0])
DISTANCES = np.abs(X[:, None] - X)


def distances(index=NAMES, columns=NAMES):
    return pd.DataFrame(DISTANCES, index=index, columns=columns)


def test_rows_and_columns_follow_the_names():
    order, other = [2, 0, 3, 1], [1, 3, 0, 2]
    shuffled = pd.DataFrame(DISTANCES[np.ix_(order, other)], index=NAMES[order], columns=NAMES[other])
    for frame in (distances(), shuffled, distances([1, 10, 2, 3], [1, 10, 2, 3])):  # numbers are read as text
        are_distances, found = frame_values("f", frame, NAMES)
        assert are_distances
        np.testing.assert_array_equal(found, DISTANCES)
    profiles = pd.DataFrame(
        {"age": [30, 20, 10, 40], "is_old": [True, False, False, True]}, index=["2", "10", "1", "3"]
    )
    are_distances, found = frame_values("f", profiles, NAMES)
    assert not are_distances
    np.testing.assert_array_equal(found, [[10, 0], [20, 0], [30, 1], [40, 1]])


def test_held_out_distances_of_a_learned_metric_are_taken():
    frame = learned(distances())
    frame.attrs["status"] = "held_out"
    np.testing.assert_array_equal(frame_values("f", frame, NAMES)[1], DISTANCES)


def learned(frame):
    frame.attrs["metric"] = "learned"
    return frame


@pytest.mark.parametrize(
    ("frame", "error", "text"),
    [
        (distances(["1", "10", "2", "x"]), ValueError, "the index of f must .* Found missing: 3; unknown: x"),
        (distances(["1", "10", "2", "2"]), ValueError, "the index of f .* Found more than once: 2; missing: 3"),
        (distances(columns=["1", "10", "2", "x"]), ValueError, "the columns of f .* Found missing: 3; unknown: x"),
        (
            distances(columns=["1", "10", "2", "2"]),
            ValueError,
            "the columns of f .* Found more than once: 2; missing: 3",
        ),
        (distances(list("abcd"), NAMES), ValueError, "f has the samples as columns.* the transpose"),
        (distances().iloc[:3], ValueError, "the index of f .* Found missing: 3"),
        (distances() - 1, ValueError, "f must not be negative"),
        (learned(distances()), ValueError, "f comes from a metric that was learned with the labels of all samples"),
        (pd.DataFrame(index=NAMES), ValueError, "f has no columns"),
        (pd.DataFrame({"sex": list("mfmf"), "age": X}, index=NAMES), TypeError, "in the columns sex.*get_dummies"),
        (pd.DataFrame({"age": [1, 2, np.nan, 4]}, index=NAMES), ValueError, "NaN or infinite in the columns age"),
        (pd.DataFrame({"age": X}, index=["1", "2", "3", "4"]), ValueError, "Found missing: 10; unknown: 4"),
    ],
)
def test_bad_frames(frame, error, text):
    with pytest.raises(error, match=text):
        frame_values("f", frame, NAMES)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda d: d[:3], ValueError, r"between 4 samples, found shape \(3, 4\)"),
        (lambda d: d - 1, ValueError, "must not be negative, found -1"),
        (lambda d: d + np.triu(np.ones((4, 4)), 1), ValueError, "must be symmetric, found .* for samples 0 and 1"),
        (lambda d: d + np.eye(4), ValueError, "zero on its diagonal, found 1"),
        (lambda d: np.where(d > 1, np.nan, d), ValueError, "NaN or infinite"),
        (lambda d: d.astype(str), TypeError, "must hold numbers"),
    ],
)
def test_bad_distances(change, error, text):
    np.testing.assert_array_equal(check_distances("d", DISTANCES, 4), DISTANCES)
    with pytest.raises(error, match=text):
        check_distances("d", change(DISTANCES), 4)


def test_graphs_of_neighbours_are_no_distances():
    graph = sp.csr_array(np.array([[0, 1.0, 0], [1, 0, 2], [0, 2, 0]]))
    with pytest.raises(ValueError, match="sparse and lacks 2 distances"):
        check_distances("d", graph, 3)
