"""Coordinates of new samples: points of a known plane, and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brute
from scipy.spatial.distance import cdist

from scggml.reference._placement import place_on_map


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_euclidean_coordinates_are_found(n_dims):
    rng = np.random.default_rng(n_dims)
    coordinates, new = 5 + rng.normal(size=(9, n_dims)), rng.normal(size=(4, n_dims)) * 3
    before = coordinates.copy()
    np.testing.assert_allclose(place_on_map(coordinates, cdist(new, coordinates)), new, atol=1e-6)
    np.testing.assert_array_equal(coordinates, before)


def test_a_known_sample_gets_its_own_coordinates():
    coordinates = np.random.default_rng(0).normal(size=(6, 2))
    np.testing.assert_allclose(place_on_map(coordinates, cdist(coordinates, coordinates)), coordinates, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_stress_is_least(seed):
    rng = np.random.default_rng(seed)
    coordinates = rng.normal(size=(8, 2))
    wanted = rng.uniform(0.5, 3.0, size=(1, 8))  # of no point of the plane

    def stress(point):
        return float(((cdist(point[None], coordinates) - wanted) ** 2).sum())

    best = brute(stress, [(-4, 4)] * 2, Ns=50)  # on a grid, and down from its best point
    assert stress(place_on_map(coordinates, wanted)[0]) <= stress(best) * (1 + 1e-6)


def test_unit_and_position_of_the_map_do_not_matter():
    rng = np.random.default_rng(0)
    coordinates, wanted = rng.normal(size=(8, 2)), rng.uniform(0.5, 3.0, size=(3, 8))
    found = place_on_map(coordinates, wanted)
    np.testing.assert_allclose(place_on_map(1e6 * coordinates + 7, 1e6 * wanted), 1e6 * found + 7, rtol=1e-5, atol=1)


def test_samples_at_one_point_and_on_a_line():
    assert np.isfinite(place_on_map(np.zeros((4, 2)), np.ones((2, 4)))).all()
    line = np.column_stack([np.arange(4.0), np.zeros(4)])
    found = place_on_map(line, cdist([[1.5, 2.0]], line))[0]
    np.testing.assert_allclose(
        cdist(found[None], line), cdist([[1.5, 2.0]], line), atol=1e-5
    )  # of two mirror images, one


def test_no_new_samples():
    assert place_on_map(np.ones((4, 2)), np.empty((0, 4))).shape == (0, 2)
