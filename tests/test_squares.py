from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import scggml as sg
from scggml._data import check_squares
from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances
from scggml.estimators._checks import as_measures

FORMS = {"dense": np.asarray, "csr": sp.csr_array}


class Stored:
    """Points in blocks of two rows."""

    def __init__(self, points):
        self.points, self.shape = points, points.shape

    def blocks(self):
        return (sp.csr_array(self.points[k : k + 2]) for k in range(0, self.shape[0], 2))


def points(**values):
    x = np.arange(12.0).reshape(4, 3)
    x[0] = 0
    for name, column in values.items():
        x[:, "abc".index(name)] = column
    return x


@pytest.mark.parametrize("form", [*FORMS.values(), Stored])
def test_features_that_cannot_be_squared_are_named(form):
    large, small = points(b=[1, -1e200, 0, 2]), points(a=[0, 1e-200, -3e-200, 0], c=[1e-300, 0, 0, 0])
    with pytest.raises(ValueError, match=r"^X has values above 1e\+100 in size in 1 feature\(s\): b \(1e\+200\)\. "):
        check_squares(form(large), ["a", "b", "c"], name="X")
    with pytest.raises(ValueError, match=r"in 2 feature\(s\): feature 0 \(3e-200\), feature 2 \(1e-300\)\. "):
        check_squares(form(small), None, name="X")


@pytest.mark.parametrize("form", [*FORMS.values(), Stored])
def test_all_others_pass(form):
    check_squares(form(points(a=0, b=[1e-200, 0, 0, 1], c=[1e99, -1e99, 0, 1e-99])), None, name="X")
    check_squares(form(np.zeros((4, 3))), None, name="X")


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_other_types_hold_no_such_values(dtype):
    info = np.finfo(dtype).max if dtype is np.float32 else dtype(1)
    for form in FORMS.values():
        check_squares(form(np.full((2, 2), info, dtype=dtype)), None, name="X")


def test_many_features_are_listed_in_part():
    with pytest.raises(ValueError, match=r"12 feature\(s\): .*feature 4 \(1e\+150\) and 7 more\."):
        check_squares(np.full((2, 12), 1e150), None, name="X")


@pytest.mark.parametrize("unit", [0.9e100, 1e-99])
def test_distances_within_the_bounds_are_right(unit):
    clouds = list(np.random.default_rng(0).normal(size=(5, 20, 40)) / 10)
    expected = pairwise_distances(Measures.from_arrays(clouds))[0]
    found = pairwise_distances(Measures.from_arrays([unit * x for x in clouds]))[0]
    np.testing.assert_allclose(found, unit * expected, rtol=1e-12)


@pytest.mark.parametrize(("value", "words"), [(1e200, "values above"), (1e160, "values above")])
def test_one_huge_value_is_an_error_of_the_estimator(value, words):
    clouds = list(np.random.default_rng(0).normal(size=(6, 10, 3)))
    clouds[3][2, 1] = value
    with pytest.raises(ValueError, match=rf"X has {words} .*feature 1"):
        sg.GroundMetricLearner().fit(clouds, ["a", "b"] * 3)


def test_tiny_features_are_an_error_of_the_estimator():
    clouds = [1e-200 * x for x in np.random.default_rng(0).normal(size=(6, 10, 3))]
    with pytest.raises(ValueError, match="X has no values above 1e-100"):
        sg.GroundMetricLearner().fit(clouds, ["a", "b"] * 3)
    clouds[0] *= 1e200  # beside which the others are zero
    assert len(as_measures(clouds)) == 6
