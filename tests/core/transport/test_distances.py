from __future__ import annotations

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import typical_cost
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._entropic import solve_pairs_entropic
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._solvers import Entropic, Exact


@pytest.fixture
def measures():
    rng = np.random.default_rng(0)
    return Measures.from_arrays([rng.normal(i, size=(10 + i, 3)) for i in range(4)])


def exact(x, y):
    return ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cdist(x, y))


def test_square_and_cross(measures):
    clouds = measures.split()
    expected = np.array([[exact(x, y) for y in clouds] for x in clouds])
    matrix, error = pairwise_distances(measures)
    np.testing.assert_allclose(matrix, expected, rtol=1e-10, atol=1e-12)
    assert (np.diag(matrix) == 0).all() and 0 <= error < 1e-10
    others = Measures.from_arrays(clouds[:2])
    np.testing.assert_allclose(pairwise_distances(measures, others)[0], expected[:, :2], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
def test_entropic(measures, debiased):
    epsilon = 0.1 * typical_cost(measures)
    matrix, error = pairwise_distances(measures, solver=Entropic(epsilon, debiased))
    solved = solve_pairs_entropic(measures, square_pairs(4), epsilon=epsilon, debiased=debiased)
    np.testing.assert_allclose(matrix[np.triu_indices(4, k=1)], solved.distances, rtol=1e-6)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 0).all() and 0 < error <= 1e-6


def test_pot_gives_the_same_distances(measures):
    matrix, error = pairwise_distances(measures, solver=Exact("pot"))
    np.testing.assert_allclose(matrix, pairwise_distances(measures)[0], rtol=1e-12)
    assert 0 <= error < 1e-10


def test_checkpoint_is_read_back(measures, tmp_path):
    path = tmp_path / "distances.bin"
    first = pairwise_distances(measures, checkpoint=path)
    size = path.stat().st_size
    second = pairwise_distances(measures, checkpoint=path)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1] and path.stat().st_size == size
    with pytest.raises(ValueError, match="holds distances of other samples, or under another metric"):
        pairwise_distances(measures, cost="cityblock", checkpoint=path)
