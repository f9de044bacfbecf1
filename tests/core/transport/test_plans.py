from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.transport._exact import solve_pairs, square_pairs
from scggml.core.transport._plans import Plans


@pytest.fixture
def by_hand():
    """Two pairs: three entries between points 0, 1 and 2, 3; one entry from point 4 to point 0."""
    return Plans(
        offsets=np.array([0, 3, 4]),
        rows=np.array([0, 0, 1, 4]),
        cols=np.array([2, 3, 3, 0]),
        mass=np.array([0.25, 0.25, 0.5, 1.0]),
    )


POINTS = np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 4.0], [0.0, 2.0], [6.0, 8.0]])


def test_sizes_lengths_and_sums(by_hand):
    np.testing.assert_array_equal(by_hand.sizes, [3, 1])
    lengths = by_hand.edge_lengths(POINTS)
    np.testing.assert_allclose(lengths, [5, 2, np.sqrt(2), 10])
    np.testing.assert_allclose(by_hand.sum_by_pair(lengths), [1.25 + 0.5 + 0.5 * np.sqrt(2), 10])
    np.testing.assert_allclose(by_hand.sum_by_pair(np.ones(4)), [1, 1])


def test_moved_plans_connect_other_rows(by_hand):
    moved = by_hand.moved(np.array([10, 20, 30, 40, 50]))
    np.testing.assert_array_equal(moved.rows, [10, 10, 20, 50])
    np.testing.assert_array_equal(moved.cols, [30, 40, 40, 10])
    np.testing.assert_array_equal(moved.mass, by_hand.mass)
    np.testing.assert_array_equal(moved.offsets, by_hand.offsets)
    np.testing.assert_array_equal(by_hand.rows, [0, 0, 1, 4])


def test_laplacian_by_hand(by_hand):
    found = by_hand.laplacian(np.array([1.0, 2.0, 3.0, 4.0]), 5).toarray()
    expected = [[7, 0, -1, -2, -4], [0, 3, 0, -3, 0], [-1, 0, 1, 0, 0], [-2, -3, 0, 5, 0], [-4, 0, 0, 0, 4]]
    np.testing.assert_array_equal(found, expected)


def test_laplacian_is_the_sum_over_entries():
    rng = np.random.default_rng(7)
    measures = Measures.from_arrays([rng.normal(size=(n, 3)) for n in (3, 4, 2)])
    plans = solve_pairs(measures, square_pairs(3), keep_plans=True).plans
    weights, x = rng.normal(size=len(plans.mass)), measures.points
    expected = np.zeros((3, 3))
    for weight, row, col in zip(weights, plans.rows, plans.cols, strict=True):
        expected += weight * np.outer(x[row] - x[col], x[row] - x[col])
    found = x.T @ (plans.laplacian(weights, len(x)) @ x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_masses_of_weighted_pairs(by_hand):
    np.testing.assert_array_equal(by_hand.of_pairs(np.array([2.0, 3.0])), [0.5, 0.5, 1, 3])


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_second_moment_is_the_sum_over_entries(by_hand, kind):
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    differences = POINTS[by_hand.rows] - POINTS[by_hand.cols]
    expected = (differences * weights[:, None]).T @ differences
    np.testing.assert_allclose(by_hand.second_moment(kind(POINTS), weights), expected, rtol=1e-12)


def test_lengths_of_wide_points_are_measured_in_parts():
    rng = np.random.default_rng(8)
    points = rng.normal(size=(12, 300_000))  # six entries at a time
    rows, cols = np.arange(10), np.arange(2, 12)
    plans = Plans(np.array([0, 10]), rows, cols, np.full(10, 0.1))
    expected = [np.linalg.norm(points[row] - points[col]) for row, col in zip(rows, cols, strict=True)]
    np.testing.assert_allclose(plans.edge_lengths(points), expected, rtol=1e-12)
