from __future__ import annotations

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from scggml.core.measures._measures import Measures
from scggml.core.transport._barycenters import free_support_barycenter


def normal_clouds(sizes, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(loc=rng.normal(size=d), size=(n, d)) for n in sizes]


def barycenter(clouds, n_points, weights=None, seed=0, **options):
    return free_support_barycenter(
        Measures.from_arrays(clouds, weights), n_points, rng=np.random.default_rng(seed), **options
    )


def matched(x, y):
    """Largest distance between two clouds of as many points under the best matching."""
    costs = cdist(x, y)
    return costs[linear_sum_assignment(costs**2)].max()


@pytest.mark.parametrize("weighted", [False, True])
def test_same_as_pot_from_the_same_start(weighted):
    clouds = normal_clouds([20, 35, 50])
    rng = np.random.default_rng(1)
    masses = [rng.dirichlet(np.full(len(x), 3.0)) if weighted else np.full(len(x), 1 / len(x)) for x in clouds]
    first = barycenter(clouds, 12, masses, max_iter=1)  # one iteration leaves the start where it was
    expected = ot.lp.free_support_barycenter(clouds, masses, first.points, numItermax=200, stopThr=1e-20)
    found = barycenter(clouds, 12, masses, tol=0.0, max_iter=200)
    np.testing.assert_allclose(found.points, expected, atol=1e-9)
    objective = np.mean(
        [
            ot.emd2(np.full(12, 1 / 12), a, cdist(found.points, x, "sqeuclidean"))
            for x, a in zip(clouds, masses, strict=True)
        ]
    )
    assert found.history[-1] == pytest.approx(objective, rel=1e-9)


@pytest.mark.parametrize("n_points", [7, 30, 100])
def test_never_rises_and_ends_at_a_fixed_point(n_points):
    clouds = normal_clouds([20, 35, 50, 4])
    found = barycenter(clouds, n_points, tol=0.0, max_iter=500)
    assert found.converged and (np.diff(found.history) <= 1e-12).all()
    np.testing.assert_allclose(found.shares @ np.concatenate(clouds), found.points, atol=1e-9)
    early = barycenter(clouds, n_points, tol=0.05)
    assert early.converged and len(early.history) < len(found.history)
    drop = -np.diff(early.history) / early.history[:-1]
    assert drop[-1] <= 0.05 < drop[:-1].min(initial=1)


def test_one_sample_is_its_own_barycenter():
    (cloud,) = normal_clouds([40])
    found = barycenter([cloud], 40)
    assert matched(found.points, cloud) < 1e-9
    assert found.history[-1] < 1e-18


def test_translates():
    rng = np.random.default_rng(2)
    cloud, shifts = rng.normal(size=(30, 3)), rng.normal(size=(5, 3)) * 10
    found = barycenter([cloud + shift for shift in shifts], 30)
    assert matched(found.points, cloud + shifts.mean(axis=0)) < 1e-9
    # what is left is how far the shifts are from their mean
    assert found.history[-1] == pytest.approx(((shifts - shifts.mean(axis=0)) ** 2).sum(axis=1).mean())


def test_on_a_line_quantiles_are_averaged():
    rng = np.random.default_rng(3)
    clouds = [np.sort(rng.lognormal(size=(24, 1)), axis=0) + i for i in range(4)]
    found = barycenter(clouds, 24)
    np.testing.assert_allclose(np.sort(found.points, axis=0), np.mean(clouds, axis=0), atol=1e-9)
    coarse = barycenter(clouds, 6)  # a point for every four of 24 cells
    expected = np.mean(clouds, axis=0).reshape(6, 4).mean(axis=1)
    np.testing.assert_allclose(np.sort(coarse.points.ravel()), expected, atol=1e-9)


def test_samples_count_alike_whatever_their_size():
    rng = np.random.default_rng(4)
    few, many = rng.normal(size=(10, 2)), 6 + rng.normal(size=(400, 2))
    found = barycenter([few, many], 50)
    np.testing.assert_allclose(found.points.mean(axis=0), (few.mean(axis=0) + many.mean(axis=0)) / 2)
    again = barycenter([np.repeat(few, 3, axis=0), many], 50, seed=1)
    np.testing.assert_allclose(again.points.mean(axis=0), found.points.mean(axis=0))


def test_shares_have_the_marginals_of_plans():
    clouds = normal_clouds([20, 35, 5])
    shares = barycenter(clouds, 8).shares
    assert shares.shape == (8, 60)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.sum(axis=0) / 8, np.repeat(1 / 3 / np.array([20, 35, 5]), [20, 35, 5]))


def test_more_points_than_cells_and_points_without_mass():
    clouds = normal_clouds([3, 4])
    assert barycenter(clouds, 50).points.shape == (50, 3)
    weights = [np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0, 2.0])]
    found = barycenter(clouds, 6, weights)
    expected = barycenter([clouds[0][[0, 2]], clouds[1][[0, 1, 3]]], 6, [w[w > 0] for w in weights])
    assert found.shares[:, [1, 5]].nnz == 0
    assert found.history[-1] == pytest.approx(expected.history[-1], rel=0.2)  # from another start


def test_seed_and_threads():
    clouds = normal_clouds([40, 60])
    one, two, other = (barycenter(clouds, 20, n_jobs=n, seed=s) for n, s in ((1, 0), (2, 0), (1, 5)))
    np.testing.assert_array_equal(one.points, two.points)
    assert not np.allclose(one.points, other.points)
    assert one.history[-1] == pytest.approx(other.history[-1], rel=0.1)


def test_out_of_iterations():
    found = barycenter(normal_clouds([40, 60]), 20, max_iter=3, tol=0.0)
    assert not found.converged and len(found.history) == 3
