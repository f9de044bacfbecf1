from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import ot
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.transport import _network_simplex as compiled
from scggml.core.transport import _simplex as simplex
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import solve_pairs, square_pairs

some = settings(max_examples=150, deadline=None, derandomize=True, database=None)
few = settings(max_examples=30, deadline=None, derandomize=True, database=None)

COSTS = ("euclidean", "plane", "grid", "random", "equal", "lognormal", "outlier", "zeros", "one cheap", "concentrated")
WEIGHTS = ("uniform", "dirichlet", "uneven", "vanishing", "multiples")


def make_costs(kind, n, m, rng):
    if kind == "euclidean":
        return cdist(rng.normal(size=(n, 6)), 1 + rng.normal(size=(m, 6)))
    if kind == "plane":
        return cdist(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)))
    if kind == "grid":  # many ties, many zeros
        return cdist(rng.integers(0, 4, size=(n, 2)), rng.integers(0, 4, size=(m, 2)), "cityblock")
    if kind == "random":
        return rng.random((n, m))
    if kind == "equal":
        return np.full((n, m), 0.7)
    if kind == "lognormal":
        return np.exp(3 * rng.normal(size=(n, m)))
    costs = rng.random((n, m))
    if kind == "outlier":
        costs[rng.integers(n), rng.integers(m)] = 1e6
    elif kind == "zeros":
        costs[rng.random((n, m)) < 0.7] = 0
    elif kind == "one cheap":
        costs = np.ones((n, m))
        costs[rng.integers(n), rng.integers(m)] = 0
    elif kind == "concentrated":  # as in high dimensions, with one cell that both samples share
        costs = 30 + 1e-3 * costs
        costs[rng.integers(n), rng.integers(m)] = 0
    return costs


def make_weights(kind, n, rng):
    if kind == "uniform":
        return np.full(n, 1 / n)
    if kind == "dirichlet":
        weights = rng.dirichlet(np.ones(n))
    elif kind == "uneven":
        weights = np.where(rng.random(n) < 0.5, 1e-9, 1.0)
    elif kind == "vanishing":
        weights = 10.0 ** rng.uniform(-60, 0, size=n)
    elif kind == "multiples":
        weights = rng.integers(1, 4, size=n).astype(float)
    return weights / weights.sum()


def by_pot(costs, a, b):
    """Distance by POT, whose tolerance is absolute."""
    unit = abs(costs).max() or 1.0
    return unit * float(ot.emd2(a, b, costs / unit, numItermax=10**7))


def solved_well(costs, a, b):
    """Solve, assert all that must hold of a solution by itself, and return the distance."""
    n, m = costs.shape
    before = costs.copy(), a.copy(), b.copy()
    distance, bound, rows, cols, mass = simplex.solve(costs, a, b)
    for array, copy in zip((costs, a, b), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    largest = costs.max()
    assert len(rows) == len(cols) == len(mass) <= n + m - 1
    assert (mass > 0).all()
    assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == len(rows)
    np.testing.assert_allclose(np.bincount(rows, mass, minlength=n), a, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.bincount(cols, mass, minlength=m), b, rtol=0, atol=1e-14)
    np.testing.assert_allclose(mass @ costs[rows, cols], distance, rtol=1e-13, atol=0)
    assert bound <= distance + 5e-14 * largest
    assert bound >= distance - 2e-13 * largest
    return distance


# solve


@some
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 40),
    costs=st.sampled_from(COSTS),
    weights=st.tuples(st.sampled_from(WEIGHTS), st.sampled_from(WEIGHTS)),
    seed=st.integers(0, 2**32 - 1),
)
@example(n=1, m=1, costs="random", weights=("uniform", "uniform"), seed=0)
@example(n=1, m=40, costs="random", weights=("uniform", "dirichlet"), seed=0)
@example(n=40, m=1, costs="random", weights=("uneven", "uniform"), seed=0)
def test_solution_equals_pot(n, m, costs, weights, seed):
    rng = np.random.default_rng(seed)
    costs = make_costs(costs, n, m, rng)
    a, b = make_weights(weights[0], n, rng), make_weights(weights[1], m, rng)
    np.testing.assert_allclose(solved_well(costs, a, b), by_pot(costs, a, b), rtol=1e-12, atol=3e-13 * costs.max())


@pytest.mark.parametrize("weights", [("uniform", "uniform"), ("dirichlet", "dirichlet"), ("uneven", "multiples")])
@pytest.mark.parametrize("costs", ["euclidean", "plane", "random", "grid"])
def test_distance_and_bound_agree_to_twelve_digits(costs, weights):
    for n, m in ((5, 5), (12, 31), (38, 37)):
        rng = np.random.default_rng(n)
        c, a, b = make_costs(costs, n, m, rng), make_weights(weights[0], n, rng), make_weights(weights[1], m, rng)
        distance, bound = simplex.solve(c, a, b)[:2]
        np.testing.assert_allclose(distance, by_pot(c, a, b), rtol=1e-12)
        np.testing.assert_allclose(bound, distance, rtol=1e-12)


def test_uniform_squares_are_assignments():
    for n in (1, 2, 3, 7, 20, 60):
        rng = np.random.default_rng(n)
        for costs in (rng.random((n, n)), make_costs("grid", n, n, rng)):
            rows, cols = linear_sum_assignment(costs)
            distance, _, found_rows, _, mass = simplex.solve(costs, np.full(n, 1 / n), np.full(n, 1 / n))
            np.testing.assert_allclose(distance, costs[rows, cols].mean(), rtol=1e-13)
            np.testing.assert_array_equal(np.sort(found_rows), np.arange(n))
            np.testing.assert_array_equal(mass, np.full(n, 1 / n))


def test_tiny_problems_equal_a_linear_program():
    for n, m, seed in ((2, 2, 0), (3, 2, 1), (4, 5, 2), (6, 3, 3)):
        rng = np.random.default_rng(seed)
        costs, a, b = rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
        marginals = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
        expected = linprog(costs.ravel(), A_eq=marginals, b_eq=np.concatenate([a, b]), method="highs")
        np.testing.assert_allclose(solved_well(costs, a, b), expected.fun, rtol=1e-9)


def test_one_dimension_equals_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(33, 1)), rng.normal(size=(18, 1))
    for a, b in (
        (np.full(33, 1 / 33), np.full(18, 1 / 18)),
        (make_weights("dirichlet", 33, rng), make_weights("uneven", 18, rng)),
    ):
        expected = wasserstein_distance(x.ravel(), y.ravel(), a, b)
        np.testing.assert_allclose(solved_well(cdist(x, y), a, b), expected, rtol=1e-12)


def test_two_points_by_hand():
    costs = np.array([[0.0, 3.0], [4.0, 1.0]])
    distance, bound, rows, cols, mass = simplex.solve(costs, np.array([0.75, 0.25]), np.array([0.25, 0.75]))
    plan = np.zeros((2, 2))
    plan[rows, cols] = mass
    # row 0 stays as far as there is room, the rest goes across
    np.testing.assert_allclose(plan, [[0.25, 0.5], [0, 0.25]])
    np.testing.assert_allclose([distance, bound], 0.5 * 3 + 0.25 * 1)


def test_one_row_or_one_column_leaves_no_choice():
    rng = np.random.default_rng(1)
    for m in (1, 2, 25):
        costs, b = rng.random((1, m)), rng.dirichlet(np.ones(m))
        np.testing.assert_allclose(solved_well(costs, np.ones(1), b), costs[0] @ b, rtol=1e-14)
        np.testing.assert_allclose(solved_well(costs.T.copy(), b, np.ones(1)), costs[0] @ b, rtol=1e-14)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("width", [1, 2, 30])
def test_identical_clouds_are_at_distance_zero(weights, width):
    rng = np.random.default_rng(width)
    x, a = rng.normal(size=(35, width)), make_weights(weights, 35, rng)
    order = rng.permutation(35)
    assert solved_well(cdist(x, x), a, a) == 0
    assert solved_well(cdist(x, x[order]), a, a[order]) == 0


def test_equal_costs_are_the_distance_whatever_the_weights():
    rng = np.random.default_rng(2)
    for n, m in ((4, 4), (13, 29)):
        for cost in (0.0, 2.5):
            a, b = make_weights("uneven", n, rng), make_weights("dirichlet", m, rng)
            np.testing.assert_allclose(solved_well(np.full((n, m), cost), a, b), cost, rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e-3, 1e12, 1e150])
@pytest.mark.parametrize("weights", ["uniform", "dirichlet"])
def test_scale_of_costs_does_not_matter(scale, weights):
    rng = np.random.default_rng(3)
    costs, a, b = rng.random((21, 30)), make_weights(weights, 21, rng), make_weights(weights, 30, rng)
    expected, found = simplex.solve(costs, a, b), simplex.solve(scale * costs, a, b)
    np.testing.assert_allclose(found[:2], scale * np.array(expected[:2]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e9])
def test_an_outlier_costs_no_more_than_its_rounding(outlier):
    rng = np.random.default_rng(4)
    for n, m in ((20, 20), (15, 40)):
        x, y = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
        x[3], y[5] = outlier, 2 * outlier  # must be met
        costs = cdist(x, y)
        a, b = np.full(n, 1 / n), make_weights("dirichlet", m, rng)
        np.testing.assert_allclose(solved_well(costs, a, b), by_pot(costs, a, b), rtol=1e-11)


def test_a_forbidden_pair_is_avoided():
    rng = np.random.default_rng(5)
    costs = rng.random((25, 25))
    a = np.full(25, 1 / 25)
    for entry in range(25):
        costs[entry, linear_sum_assignment(costs)[1][entry]] = 1e4
        np.testing.assert_allclose(solved_well(costs, a, a), by_pot(costs, a, a), rtol=1e-9)


@pytest.mark.parametrize("n", [60, 150, 400])
def test_a_shared_point_among_equidistant_ones(n):
    # the cost of the pair is many standard deviations below all others
    rng = np.random.default_rng(n)
    for costs in (make_costs("one cheap", n, n, rng), make_costs("concentrated", n, n - 7, rng)):
        a, b = (make_weights("uniform", size, rng) for size in costs.shape)
        np.testing.assert_allclose(solved_well(costs, a, b), by_pot(costs, a, b), rtol=1e-12)


@pytest.mark.parametrize("weights", ["uniform", "dirichlet", "uneven"])
@pytest.mark.parametrize("shape", [(300, 300), (500, 37), (37, 500)])
def test_larger_problems(shape, weights):
    rng = np.random.default_rng(sum(shape))
    for costs in ("euclidean", "grid"):
        c, a, b = (
            make_costs(costs, *shape, rng),
            make_weights(weights, shape[0], rng),
            make_weights(weights, shape[1], rng),
        )
        np.testing.assert_allclose(solved_well(c, a, b), by_pot(c, a, b), rtol=1e-11)


@pytest.mark.parametrize("weights", [("uniform", "uniform"), ("dirichlet", "uneven"), ("vanishing", "multiples")])
@pytest.mark.parametrize("costs", COSTS)
def test_many_points_against_few(costs, weights):
    for n, m in ((64, 1), (400, 3), (3, 400), (900, 7)):
        rng = np.random.default_rng(n)
        c, a, b = make_costs(costs, n, m, rng), make_weights(weights[0], n, rng), make_weights(weights[1], m, rng)
        np.testing.assert_allclose(solved_well(c, a, b), by_pot(c, a, b), rtol=1e-12, atol=3e-13 * c.max())


def test_first_tree_of_many_points_against_few_is_nearly_optimal():
    rng = np.random.default_rng(8)
    costs, (supply, demand) = cdist(rng.normal(size=(800, 4)), rng.normal(size=(4, 4))), perturbed(800, 4, rng)
    best = by_pot(costs, supply / supply.sum(), demand / demand.sum())
    rows, cols, flow = greedy_tree(costs, supply, demand, compiled._starting_potentials(costs, supply, demand))
    assert flow.min() > 0
    assert flow @ costs[rows, cols] / supply.sum() < 1.01 * best


def test_masses_of_many_points_are_as_exact_as_others():
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(10**5, 1)), rng.normal(size=(2, 1))
    a, b = make_weights("dirichlet", 10**5, rng), np.array([0.3, 0.7])
    solved = solve_pairs(Measures.from_arrays([x, y], [a, b]), square_pairs(2))
    np.testing.assert_allclose(solved.distances, wasserstein_distance(x[:, 0], y[:, 0], a, b), rtol=1e-12)


@few
@given(
    n=st.integers(1, 30),
    m=st.integers(1, 30),
    costs=st.sampled_from(COSTS),
    weights=st.sampled_from(WEIGHTS),
    seed=st.integers(0, 2**32 - 1),
)
def test_order_and_direction_do_not_matter(n, m, costs, weights, seed):
    rng = np.random.default_rng(seed)
    c, a, b = make_costs(costs, n, m, rng), make_weights(weights, n, rng), make_weights(weights, m, rng)
    expected, slack = solved_well(c, a, b), {"rtol": 1e-12, "atol": 3e-13 * c.max()}
    rows, cols = rng.permutation(n), rng.permutation(m)
    np.testing.assert_allclose(solved_well(c[np.ix_(rows, cols)], a[rows], b[cols]), expected, **slack)
    np.testing.assert_allclose(solved_well(c.T.copy(), b, a), expected, **slack)


@few
@given(n=st.integers(2, 25), m=st.integers(2, 25), seed=st.integers(0, 2**32 - 1))
def test_costs_of_single_points_add_to_the_distance(n, m, seed):
    rng = np.random.default_rng(seed)
    c, a, b = rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    f, g = rng.random(n), 10 * rng.random(m)
    expected = solved_well(c, a, b) + f @ a + g @ b
    np.testing.assert_allclose(solved_well(c + f[:, None] + g[None, :], a, b), expected, rtol=1e-12)


def test_repeated_points_are_one_heavier_point():
    rng = np.random.default_rng(6)
    costs, counts = rng.random((9, 14)), rng.integers(1, 5, size=9)
    a, b = counts / counts.sum(), make_weights("uniform", 14, rng)
    expected = solved_well(costs, a, b)
    repeated = np.repeat(costs, counts, axis=0)
    np.testing.assert_allclose(solved_well(repeated, np.full(counts.sum(), 1 / counts.sum()), b), expected, rtol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_costs_that_are_not_finite_are_an_error(bad):
    with pytest.raises(ValueError, match="ground costs must be finite"):
        simplex.solve(np.full((4, 3), bad), np.full(4, 1 / 4), np.full(3, 1 / 3))


# integer masses


def test_integer_masses_are_positive_and_proportional():
    rng = np.random.default_rng(7)
    for kind in WEIGHTS:
        for n in (1, 2, 17, 2000):
            weights, total = make_weights(kind, n, rng), simplex.integer_total(n)
            masses = simplex.integer_masses(weights, total)
            assert masses.dtype == np.int64
            assert masses.min() >= 1
            np.testing.assert_allclose(masses / total, weights, rtol=1e-15, atol=1 / total)
            assert len(np.unique(masses)) <= len(np.unique(weights))


def test_integer_total_leaves_room_for_the_perturbation():
    for n in (1, 2, 1000, 10**6):
        assert simplex.integer_total(n) * (2 * n + 1) + n < 2**62  # `_pivot` takes this for infinity
        assert simplex.integer_total(n) * (2 * n + 1) > 2**60


def test_points_of_few_are_perturbed_where_there_are_many_others():
    assert simplex.n_units(30, 20) == 30
    assert simplex.n_units(20, 30) == 20
    for n, m in ((10**6, 3), (3, 10**6)):
        assert simplex.n_units(n, m) == 3
    assert (simplex.n_units(np.array([1, 5, 320, 319]), np.array([63, 320, 5, 5])) == [1, 5, 5, 319]).all()


def test_uniform_means_all_alike():
    assert simplex.is_uniform(np.full(7, 1 / 7))
    assert simplex.is_uniform(np.ones(1))
    assert not simplex.is_uniform(np.array([0.5, 0.25, 0.25]))
    assert not simplex.is_uniform(np.array([0.3, 0.3, 0.4]))


# blocks


def clouds_back_to_back(rng, sizes, width, weights="dirichlet"):
    points = rng.normal(size=(sum(sizes), width))
    masses = [make_weights(weights if i % 2 else "uniform", n, rng) for i, n in enumerate(sizes)]
    total = simplex.integer_total(max(sizes))
    return simplex.Clouds(
        points,
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate(masses),
        np.concatenate([simplex.integer_masses(w, total) for w in masses]),
        np.array([simplex.is_uniform(w) for w in masses]),
    ), masses


def test_clouds_of_measures():
    expected, weights = clouds_back_to_back(np.random.default_rng(0), (4, 9, 1, 6), 3)
    measures = Measures.from_arrays(np.split(expected.points, expected.offsets[1:-1]), weights)
    found = simplex.Clouds.of(measures, square_pairs(4))
    np.testing.assert_array_equal(found.points, expected.points)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_allclose(found.masses, expected.masses, rtol=1e-12)
    np.testing.assert_array_equal(found.uniform, [True, False, True, False])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("width", [1, 3, 8])
def test_block_equals_pair_by_pair(width, dtype):
    rng = np.random.default_rng(width)
    sizes = (1, 6, 30, 30, 11, 17)
    clouds, weights = clouds_back_to_back(rng, sizes, width)
    points, offsets = clouds.points.astype(dtype), clouds.offsets
    clouds = replace(clouds, points=points)
    pairs = np.array([(i, j) for i in range(6) for j in range(6) if i != j])
    distances, bounds, n_entries, rows, cols, mass = simplex.solve_block(clouds, pairs, keep_plans=True)
    ends = np.cumsum(n_entries)
    assert len(rows) == len(cols) == len(mass) == ends[-1]
    for p, (i, j) in enumerate(pairs):
        x, y = points[offsets[i] : offsets[i + 1]], points[offsets[j] : offsets[j + 1]]
        costs = simplex.euclidean(x, y)
        expected = simplex.solve(costs, weights[i], weights[j])
        np.testing.assert_allclose([distances[p], bounds[p]], expected[:2], rtol=1e-13)
        here = slice(ends[p] - n_entries[p], ends[p])
        plan = np.zeros(costs.shape)
        plan[rows[here] - offsets[i], cols[here] - offsets[j]] = mass[here]
        np.testing.assert_allclose(plan.sum(axis=1), weights[i], rtol=0, atol=1e-14)
        np.testing.assert_allclose(plan.sum(axis=0), weights[j], rtol=0, atol=1e-14)
        np.testing.assert_allclose((plan * costs).sum(), distances[p], rtol=1e-13)
        if clouds.uniform[i] and clouds.uniform[j]:  # the same integers
            for found, wanted in zip(
                (rows[here] - offsets[i], cols[here] - offsets[j], mass[here]), expected[2:], strict=True
            ):
                np.testing.assert_array_equal(found, wanted)


def test_block_without_plans_has_the_same_distances():
    clouds, _ = clouds_back_to_back(np.random.default_rng(8), (40, 2, 9), 4)
    pairs = np.array([(1, 2), (2, 0), (0, 1), (1, 1)])
    full, bare = (simplex.solve_block(clouds, pairs, keep_plans=keep) for keep in (True, False))
    for found, expected in zip(bare[:3], full[:3], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [len(x) for x in bare[3:]] == [0, 0, 0]


def test_block_without_pairs():
    clouds, _ = clouds_back_to_back(np.random.default_rng(9), (4, 2), 3)
    for keep_plans in (False, True):
        found = simplex.solve_block(clouds, np.empty((0, 2), dtype=np.int64), keep_plans=keep_plans)
        assert [len(x) for x in found] == [0] * 6


# trees to start from


def with_trees(clouds, pairs, start=None):
    """Solve, check the trees, and return the distances and what to start from the next time."""
    distances, bounds, n_entries, rows, cols, mass = simplex.solve_block(
        clouds, pairs, keep_plans=True, keep_trees=True, start=start
    )
    sizes, ends = np.diff(clouds.offsets), np.concatenate([[0], np.cumsum(n_entries)])
    np.testing.assert_array_equal(n_entries, sizes[pairs].sum(axis=1) - 1)
    assert mass.min() >= 0
    for first, last in zip(ends[:-1], ends[1:], strict=True):
        assert len(set(zip(rows[first:last].tolist(), cols[first:last].tolist(), strict=True))) == last - first
        np.testing.assert_allclose(mass[first:last].sum(), 1)
    np.testing.assert_allclose(bounds, distances, rtol=1e-12)
    return distances, (ends, rows, cols)


ALL_PAIRS = np.array([(i, j) for i in range(6) for j in range(6) if i != j])


@pytest.mark.parametrize("moved", [0.0, 1e-9, 1e-3, 10.0])
def test_last_tree_as_a_start_does_not_change_the_distance(moved):
    rng = np.random.default_rng(11)
    clouds, _ = clouds_back_to_back(rng, (1, 6, 30, 30, 11, 17), 3, "uniform")
    _, trees = with_trees(clouds, ALL_PAIRS)
    clouds = replace(clouds, points=clouds.points + moved * rng.normal(size=clouds.points.shape))
    expected = simplex.solve_block(clouds, ALL_PAIRS, keep_plans=False)[0]
    found, again = with_trees(clouds, ALL_PAIRS, trees)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    if moved == 0:  # nothing to do
        for tree, tree_again in zip(trees, again, strict=True):
            np.testing.assert_array_equal(np.sort(tree), np.sort(tree_again))
    bare = simplex.solve_block(clouds, ALL_PAIRS, keep_plans=True, start=trees)
    np.testing.assert_array_equal(bare[0], found)
    assert bare[5].min() > 0
    assert len(bare[5]) < len(again[1])


def test_a_start_is_taken_where_every_tree_is_optimal():
    rng = np.random.default_rng(12)
    sizes, pairs = (9, 14), np.array([[0, 1]])
    clouds, _ = clouds_back_to_back(rng, sizes, 3)
    spread = with_trees(clouds, pairs)[1]
    together = replace(clouds, points=np.repeat([[0.0, 0, 0], [1.0, 0, 0]], sizes, axis=0))
    for start in (spread, with_trees(replace(clouds, points=clouds.points[::-1].copy()), pairs)[1]):
        distances, trees = with_trees(together, pairs, start)
        np.testing.assert_allclose(distances, 1, rtol=1e-14)
        assert {*zip(trees[1], trees[2], strict=True)} == {*zip(start[1], start[2], strict=True)}
    assert {*zip(start[1], start[2], strict=True)} != {*zip(spread[1], spread[2], strict=True)}


def wrong_trees(offsets, pairs, rng):
    none = np.empty(0, dtype=np.int64)
    yield "none", (np.zeros(len(pairs) + 1, dtype=np.int64), none, none)
    first, last = offsets[pairs], offsets[pairs + 1]
    n_edges = (last - first).sum(axis=1) - 1
    ends = np.concatenate([[0], np.cumsum(n_edges)])
    of_pair = np.repeat(np.arange(len(pairs)), n_edges)
    yield "one edge many times", (ends, first[of_pair, 0], first[of_pair, 1])
    rows, cols = (rng.integers(first[of_pair, k], last[of_pair, k]) for k in (0, 1))
    yield "not a tree", (ends, rows, cols)
    for far in (-1, 10**6, -(10**6)):
        wild = rows.copy()
        wild[::3] += far
        yield f"rows {far} away", (ends, wild, cols)
        yield f"columns {far} away", (ends, rows, cols + far)
    # a star of all columns at the first row, and of all rows at the last column: a tree, whose flows do not fit
    stars = [
        [*((a, y) for y in range(c, d)), *((x, d - 1) for x in range(a + 1, b))]
        for (a, c), (b, d) in zip(first, last, strict=True)
    ]
    yield "stars", (ends, *np.concatenate(stars).T.copy())
    yield "too long", (ends + 2 * np.arange(len(ends)), *np.zeros((2, ends[-1] + 2 * len(ends)), dtype=np.int64))


def test_what_is_no_tree_is_passed_over():
    rng = np.random.default_rng(13)
    clouds, _ = clouds_back_to_back(rng, (1, 6, 30, 30, 11, 17), 3)
    expected = simplex.solve_block(clouds, ALL_PAIRS, keep_plans=True)
    for name, start in wrong_trees(clouds.offsets, ALL_PAIRS, rng):
        found = simplex.solve_block(clouds, ALL_PAIRS, keep_plans=True, start=start)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-13, err_msg=name)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-13, err_msg=name)
        if name != "stars":  # some of which are as good as any tree
            for mine, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(mine, theirs, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8, 9, 300])
def test_euclidean_equals_cdist(width, dtype):
    rng = np.random.default_rng(width)
    x, y = rng.normal(size=(7, width)).astype(dtype), 100 + rng.normal(size=(5, width)).astype(dtype)
    y[2] = x[3]
    found = simplex.euclidean(x, y)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, cdist(x.astype(np.float64), y.astype(np.float64)), rtol=1e-14)
    assert found[3, 2] == 0


# the parts


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 16, 101])
def test_lowest_and_where_find_the_minimum(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        costs, potential = rng.integers(0, 6, size=n) / 4, rng.integers(-3, 4, size=n) / 4
        potential[rng.random(n) < 0.3] = np.inf  # columns that are full
        reduced = costs + potential
        lowest = compiled._lowest(costs, potential)
        assert lowest == reduced.min()
        if np.isfinite(lowest):
            assert compiled._where(costs, potential, lowest) == reduced.argmin()
            assert compiled._where(costs, potential, lowest - 1) == reduced.argmin()  # reached by no column


def perturbed(n, m, rng, weights="dirichlet"):
    """Integer masses as `_simplex` gets them: no part of the rows weighs as much as a part of the columns."""
    supply = np.maximum(1, (10**6 * make_weights(weights, n, rng)).astype(np.int64))
    demand = np.maximum(1, (10**6 * make_weights(weights, m, rng)).astype(np.int64))
    demand[demand.argmax()] += supply.sum() - demand.sum()
    spread = 2 * n + 1
    demand *= spread
    demand[-1] += n
    return supply * spread + 1, demand


def greedy_tree(costs, supply, demand, potential):
    """Rows, columns and flows, these by taking off one leaf after the other."""
    rows, cols = compiled._greedy_tree(costs, supply, demand, potential)
    n, m = costs.shape
    assert len(rows) == len(cols) == n + m - 1
    ends, left, flow = (
        [{*e} for e in zip(rows, n + cols, strict=True)],
        np.concatenate([supply, demand]),
        np.zeros_like(rows),
    )
    edges = {x: {e for e in range(n + m - 1) if x in ends[e]} for x in range(n + m)}
    leaves = [x for x in edges if len(edges[x]) == 1]
    while leaves:
        x = leaves.pop()
        for e in edges[x]:
            (y,) = ends[e] - {x}
            flow[e], left[y] = left[x], left[y] - left[x]
            edges[y].remove(e)
            if len(edges[y]) == 1:
                leaves.append(y)
        edges[x] = set()
    return rows, cols, flow


@pytest.mark.parametrize("weights", ["uniform", "dirichlet", "uneven"])
def test_greedy_tree_is_a_feasible_spanning_tree(weights):
    rng = np.random.default_rng(10)
    for n, m in ((1, 1), (1, 6), (6, 1), (5, 5), (9, 4), (12, 30)):
        costs, (supply, demand) = rng.random((n, m)), perturbed(n, m, rng, weights)
        potential = rng.normal(size=m)
        copies = supply.copy(), demand.copy(), potential.copy()
        rows, cols, flow = greedy_tree(costs, supply, demand, potential)
        for array, copy in zip((supply, demand, potential), copies, strict=True):
            np.testing.assert_array_equal(array, copy)
        assert flow.min() > 0
        graph = np.zeros((n + m, n + m))
        graph[rows, n + cols] = 1
        assert connected_components(graph, directed=False)[0] == 1
        plan = np.zeros((n, m), dtype=np.int64)
        plan[rows, cols] = flow
        np.testing.assert_array_equal(plan.sum(axis=1), supply)
        np.testing.assert_array_equal(plan.sum(axis=0), demand)


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize("weights", ["uniform", "uneven", "vanishing"])
def test_starting_potentials_are_finite(costs, weights):
    for n, m in ((1, 1), (2, 30), (200, 150)):
        rng = np.random.default_rng(n)
        c, (supply, demand) = make_costs(costs, n, m, rng), perturbed(n, m, rng, weights)
        assert np.isfinite(compiled._starting_potentials(c, supply, demand)).all()


def test_starting_potentials_bring_the_first_tree_near_the_optimum():
    excess = {"zero": 0.0, "start": 0.0}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        # two groups of points: where a column is cheap says little about who should get it
        x, y = rng.normal(size=(80, 5)), rng.normal(size=(60, 5))
        y[:30] += 1
        costs, (supply, demand) = 1e-3 * cdist(x, y), perturbed(80, 60, rng)
        best = by_pot(costs, supply / supply.sum(), demand / demand.sum())
        start = compiled._starting_potentials(costs, supply, demand)
        for name, potential in (("zero", np.zeros(60)), ("start", start)):
            rows, cols, flow = greedy_tree(costs, supply, demand, potential)
            excess[name] += flow @ costs[rows, cols] / supply.sum() / best - 1
    assert excess["start"] < 0.4 * excess["zero"]


# the tree after every pivot

FIELDS = ("parent", "size", "after", "before", "last", "flow", "potential")


class Tree:
    """The arrays of `_simplex`, pivoted in Python with a look at all of them after every step."""

    def __init__(self, costs, supply, demand, rng):
        self.costs, self.supply, self.demand = costs, supply, demand
        self.n, n_nodes = len(supply), sum(costs.shape)
        edges = compiled._greedy_tree.py_func(costs, supply, demand, rng.normal(size=len(demand)))  # far from optimal
        for name in FIELDS:
            dtype = {"flow": np.int64, "potential": np.float64}.get(name, np.int32)
            setattr(self, name, np.full(n_nodes, -9, dtype))
        assert compiled._hang_up.py_func(costs, supply, demand, *edges, *self.arrays)

    @property
    def arrays(self):
        return [getattr(self, name) for name in FIELDS]

    @property
    def root(self):
        return int(np.flatnonzero(self.parent == -1)[0])

    def reduced(self):
        return self.costs - self.potential[: self.n, None] + self.potential[None, self.n :]

    def pivot(self, row, col):
        reduced = self.reduced()[row, col]
        compiled._pivot.py_func(self.n, row, self.n + col, reduced, *self.arrays)

    def total_cost(self):
        rows, cols, flow = self.edges()
        return flow @ self.costs[rows, cols]

    def edges(self):
        nodes = np.flatnonzero(self.parent >= 0)
        ends = np.sort(np.stack([nodes, self.parent[nodes]]), axis=0)
        return ends[0], ends[1] - self.n, self.flow[nodes]

    def check(self):
        n, n_nodes = self.n, len(self.parent)
        assert np.count_nonzero(self.parent == -1) == 1
        children = [[] for _ in range(n_nodes)]
        for x in range(n_nodes):
            if self.parent[x] >= 0:
                assert (x < n) != (self.parent[x] < n)  # rows hang from columns, columns from rows
                children[self.parent[x]].append(x)
        # in preorder, from the root all around
        order = [self.root]
        while len(order) < n_nodes:
            order.append(int(self.after[order[-1]]))
        assert sorted(order) == list(range(n_nodes))
        assert self.after[order[-1]] == self.root
        np.testing.assert_array_equal(self.before[self.after], np.arange(n_nodes))
        position = np.argsort(order)

        def descendants(x):
            return [x, *(z for y in children[x] for z in descendants(y))]

        for x in range(n_nodes):
            below = descendants(x)
            assert self.size[x] == len(below)
            positions = np.sort(position[below])
            # one piece of the list, x first
            np.testing.assert_array_equal(positions, position[x] + np.arange(len(below)))
            assert self.last[x] == order[positions[-1]]
        rows, cols, flow = self.edges()
        assert flow.min() > 0
        np.testing.assert_array_equal(np.bincount(rows, flow, minlength=n), self.supply)
        np.testing.assert_array_equal(np.bincount(cols, flow, minlength=n_nodes - n), self.demand)
        np.testing.assert_allclose(self.reduced()[rows, cols], 0, atol=1e-12)


@pytest.mark.parametrize("rule", ["best", "any"])
@pytest.mark.parametrize("costs", ["plane", "grid"])
def test_tree_stays_consistent_over_all_pivots(costs, rule, monkeypatch):
    monkeypatch.setattr(compiled, "_turn", compiled._turn.py_func)
    kept_root = new_root = 0
    for n, m in ((1, 7), (7, 1), (2, 2), (3, 5), (6, 6), (13, 5), (4, 14), (11, 12)):
        rng = np.random.default_rng(100 * n + m)
        tree = Tree(make_costs(costs, n, m, rng), *perturbed(n, m, rng), rng)
        tree.check()
        while (reduced := tree.reduced()).min() < -1e-12:
            if rule == "best":
                row, col = np.unravel_index(reduced.argmin(), reduced.shape)
            else:
                row, col = rng.choice(np.argwhere(reduced < -1e-12))
            gain, root, potential, cost = reduced[row, col], tree.root, tree.potential.copy(), tree.total_cost()
            tree.pivot(row, col)
            tree.check()
            assert tree.total_cost() <= cost + gain * 0.99  # at least one unit moved
            n_moved = np.count_nonzero(tree.potential != potential)
            assert 1 <= n_moved <= (n + m) // 2  # always the smaller part
            kept_root += tree.root == root
            new_root += tree.root != root
        a, b = tree.supply / tree.supply.sum(), tree.demand / tree.demand.sum()
        np.testing.assert_allclose(tree.total_cost() / tree.supply.sum(), by_pot(tree.costs, a, b), rtol=1e-12)
    assert min(kept_root, new_root) > 0  # both ways to move a part


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3])
def test_nearly_one_dimensional_clouds_come_to_an_end(noise):
    """Of nearly as many optimal trees as there are, rounding must not lead from one to the next for ever."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, y = (np.column_stack([1000 * rng.normal(size=300), noise * rng.normal(size=300)]) for _ in range(2))
        weights = np.full(300, 1 / 300)
        distance, bound, *_ = simplex.solve(simplex.euclidean(x, y), weights, weights)
        assert bound <= distance * (1 + 1e-12)
        np.testing.assert_allclose(bound, distance, rtol=1e-9)
        np.testing.assert_allclose(distance, wasserstein_distance(x[:, 0], y[:, 0]), rtol=1e-6)


@pytest.fixture
def patience():
    """What stops the solver after a minute, so that a solution without an end is a failure."""
    stop = np.zeros(1, dtype=bool)
    timer = threading.Timer(60, stop.__setitem__, (0, True))
    timer.start()
    yield stop
    timer.cancel()


@pytest.mark.parametrize("seed", [17, 358, 507, 1093, 1727])
def test_candidates_by_rounding_alone_do_not_keep_the_solver_from_its_end(seed, patience):
    x, y = np.random.default_rng(seed).uniform(0, 60, size=(2, 300, 2))
    linear = np.array([[1177.7152, 0.0030272], [0.0002975, -0.00005729]])
    weights, costs = np.full(300, 1 / 300), cdist(x @ linear.T, y @ linear.T)
    distance, bound, *_ = simplex.solve(simplex.euclidean(x @ linear.T, y @ linear.T), weights, weights, patience)
    assert not patience[0], "the solver did not come to an end"
    np.testing.assert_allclose(distance, by_pot(costs, weights, weights), rtol=1e-11)
    assert distance * (1 - 1e-11) < bound <= distance * (1 + 1e-14)


def test_costs_near_the_smallest_number_come_to_an_end(patience):
    rng = np.random.default_rng(0)
    costs = 5e-324 * rng.integers(0, 50, size=(30, 40)).astype(float)
    a, b = make_weights("dirichlet", 30, rng), make_weights("uniform", 40, rng)
    distance = simplex.solve(costs, a, b, patience)[0]
    assert not patience[0], "the solver did not come to an end"
    np.testing.assert_allclose(distance, 5e-324 * by_pot(costs / 5e-324, a, b), rtol=0, atol=5e-324 * 35)


def test_a_stopped_solver_ends_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    clouds, _ = clouds_back_to_back(rng, (2000, 2000), 2)
    stop = np.ones(1, dtype=bool)
    start = time.process_time()
    simplex.solve(rng.random((30, 30)), np.full(30, 1 / 30), np.full(30, 1 / 30), stop)
    pairs = np.array([[0, 1]] * 500)  # for minutes
    distances, bounds, n_entries, *_ = simplex.solve_block(clouds, pairs, keep_plans=False, stop=stop)
    assert not np.any([distances, bounds, n_entries])  # and nothing that memory held before
    assert time.process_time() - start < 5


def test_raw_cohorts_with_one_loud_feature_come_to_an_end():
    adata = sg.datasets.synthetic_cohort("synth_2d", rng=1)
    clouds = [adata.X[(adata.obs["sample"] == name).to_numpy()] for name in adata.obs["sample"].cat.categories[:6]]
    for seed in range(4):
        linear = np.random.default_rng(seed).uniform(-1, 1, size=(2, 2))
        distances, gap = pairwise_distances(Measures.from_arrays([x @ linear.T for x in clouds]))
        assert gap < 1e-9
        costs = simplex.euclidean(clouds[0] @ linear.T, clouds[5] @ linear.T)
        unit, n, m = costs.max(), *costs.shape
        expected = unit * ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), costs / unit, numItermax=10**7)
        np.testing.assert_allclose(distances[0, 5], expected, rtol=1e-8)
