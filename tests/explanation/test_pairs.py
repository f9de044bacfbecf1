"""Parts of distances, against plans of `ot.emd` and sums over their entries, one at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from scipy.stats import special_ortho_group

from scggml.core.measures._measures import Measures
from scggml.explanation import _pairs
from scggml.explanation._pairs import CARRIED, COMPOSITION, MASS, SHARED, STATE, Features, explain_pairs

N_TYPES = 3
SIZES = (6, 9, 7, 5)
PAIRS = np.array([[0, 1], [0, 2], [3, 1], [3, 2], [0, 3], [1, 2]])
COMPARISONS = np.array([0, 0, 0, 0, 1, 2])
UNDIRECTED = np.array([False, True, True])


def by_hand(z, w, types, x, m):
    """All parts of the distance of two weighted clouds, entry by entry; `m` is the Mahalanobis matrix of features."""
    plan = ot.emd(w[0], w[1], cdist(*z))
    share = [np.array([w[i][types[i] == t].sum() for t in range(N_TYPES)]) for i in (0, 1)]
    cost, mass = np.zeros((N_TYPES, N_TYPES)), np.zeros((N_TYPES, N_TYPES))
    for a, b in zip(*np.nonzero(plan), strict=True):
        flow = types[0][a], types[1][b]
        cost[flow] += plan[a, b] * np.linalg.norm(z[0][a] - z[1][b])
        mass[flow] += plan[a, b]
    crossing = mass - np.diag(np.diag(mass))
    part = np.zeros_like(mass)  # fraction of the flow between two types that is composition
    for s in range(N_TYPES):
        for t in range(N_TYPES):
            if s != t and mass[s, t] > 0:
                surplus = max(share[0][s] - share[1][s], 0) / crossing[s].sum()
                deficit = max(share[1][t] - share[0][t], 0) / crossing[:, t].sum()
                part[s, t] = (surplus + deficit) / 2
    features = np.zeros((N_TYPES + 2, len(m)))
    for a, b in zip(*np.nonzero(plan), strict=True):
        s, t = types[0][a], types[1][b]
        delta = x[0][a] - x[1][b]
        length = np.sqrt(delta @ m @ delta)
        if length == 0:
            continue
        value = plan[a, b] / length * (np.outer(delta, delta) * m).sum(axis=1)  # halves of the cross terms
        if s == t:
            features[s] += value
        else:
            features[-2] += (1 - part[s, t]) * value
            features[-1] += part[s, t] * value
    return {"cost": cost, "mass": mass, "composition": part * cost, "features": features, "share": share}


@pytest.fixture
def problem():
    rng = np.random.default_rng(3)
    n = sum(SIZES)
    x = rng.poisson(1.5, size=(n, 8)).astype(np.float64) + rng.normal(size=(n, 8)) * (rng.random((n, 8)) < 0.5)
    linear_map = rng.normal(size=(2, 8))
    types = np.concatenate([np.arange(n - 7) % N_TYPES, rng.integers(2, size=7)])
    x += types[:, None] * rng.normal(size=8)
    weights = rng.random(n)
    weights[8] = 0.0
    offsets = np.concatenate([[0], np.cumsum(SIZES)])
    weights /= np.repeat(np.add.reduceat(weights, offsets[:-1]), SIZES)
    return Measures(x @ linear_map.T, offsets, weights), types, x, linear_map


def parts_of(problem, i, j):
    measures, types, x, linear_map = problem
    rows = [slice(measures.offsets[k], measures.offsets[k + 1]) for k in (i, j)]
    clouds = [(measures.points[r], measures.weights[r], types[r], x[r]) for r in rows]
    return by_hand(*zip(*clouds, strict=True), linear_map.T @ linear_map)


def explain(problem, **kwargs):
    measures, types, x, linear_map = problem
    kwargs = {"features": Features(x, np.arange(len(x)), linear_map)} | kwargs
    return explain_pairs(measures, PAIRS, COMPARISONS, types, undirected=UNDIRECTED, n_types=N_TYPES, **kwargs)


def assert_same(left, right, rtol=1e-9):
    for name in ("distances", "state", "composition", "cost", "mass", "composition_cost", "sums", "features"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), rtol=rtol, atol=1e-12, err_msg=name)


def test_all_parts_are_sums_over_entries(problem):
    found = explain(problem)
    hand = [parts_of(problem, i, j) for i, j in PAIRS]
    for p, (parts, pair) in enumerate(zip(hand, PAIRS, strict=True)):
        i, j = (slice(problem[0].offsets[k], problem[0].offsets[k + 1]) for k in pair)
        plan_cost = ot.emd2(
            problem[0].weights[i], problem[0].weights[j], cdist(problem[0].points[i], problem[0].points[j])
        )
        np.testing.assert_allclose(found.distances[p], plan_cost, rtol=1e-10)
        np.testing.assert_allclose(found.state[p], np.trace(parts["cost"]), rtol=1e-10)
        np.testing.assert_allclose(found.composition[p], parts["composition"].sum(), rtol=1e-9, atol=1e-14)
    for q in range(3):
        own = [hand[p] for p in np.flatnonzero(COMPARISONS == q)]
        for name, key in (("cost", "cost"), ("mass", "mass"), ("composition_cost", "composition")):
            mean = np.mean([parts[key] for parts in own], axis=0)
            mean = (mean + mean.T) / 2 if UNDIRECTED[q] else mean
            np.testing.assert_allclose(getattr(found, name)[q], mean, rtol=1e-9, atol=1e-13)
        mean = np.mean([parts["features"] for parts in own], axis=0)
        np.testing.assert_allclose(found.features[q], mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.features[q].sum(), found.distances[COMPARISONS == q].mean(), rtol=1e-10)


def test_sums_of_samples(problem):
    found = explain(problem)
    expected = np.zeros_like(found.sums)
    for q, pair in zip(COMPARISONS, PAIRS, strict=True):
        parts = parts_of(problem, *pair)
        cost, composition = parts["cost"], parts["composition"]
        state = np.diag(cost)
        quantities = np.empty((5, N_TYPES))
        quantities[CARRIED] = state + ((cost.sum(axis=0) - state) + (cost.sum(axis=1) - state)) / 2
        quantities[STATE] = state
        quantities[MASS] = np.diag(parts["mass"])
        quantities[SHARED] = np.minimum(*parts["share"])
        for t in range(N_TYPES):
            leaves, arrives = (parts["mass"].sum(axis=a)[t] - parts["mass"][t, t] for a in (1, 0))
            surplus, deficit = parts["share"][0][t] - parts["share"][1][t], parts["share"][1][t] - parts["share"][0][t]
            own = max(surplus, 0) / leaves * (cost[t].sum() - cost[t, t]) / 2 if leaves > 0 else 0.0
            own += max(deficit, 0) / arrives * (cost[:, t].sum() - cost[t, t]) / 2 if arrives > 0 else 0.0
            quantities[COMPOSITION, t] = own
        np.testing.assert_allclose(quantities[COMPOSITION].sum(), composition.sum(), rtol=1e-9, atol=1e-14)
        for i in pair:
            expected[q, i] += quantities
    np.testing.assert_allclose(found.sums, expected, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(found.sums[:, :, CARRIED].sum() / 2, found.distances.sum(), rtol=1e-12)


def test_composition_moves_the_total_variation(problem):
    """With all costs 1, the cost of composition is its mass."""
    measures, types, _, _ = problem
    points = np.eye(measures.points.shape[0]) / np.sqrt(2)  # all distances are one
    found = explain_pairs(
        measures.with_points(points), PAIRS, COMPARISONS, types, undirected=UNDIRECTED, n_types=N_TYPES
    )
    np.testing.assert_allclose(found.distances, 1, rtol=1e-12)
    for p, (i, j) in enumerate(PAIRS):
        shares = [
            np.bincount(types[a:b], measures.weights[a:b], minlength=N_TYPES)
            for a, b in ((measures.offsets[k], measures.offsets[k + 1]) for k in (i, j))
        ]
        np.testing.assert_allclose(found.composition[p], abs(shares[0] - shares[1]).sum() / 2, rtol=1e-9)
    assert found.features is None


def test_equal_proportions_have_no_composition():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12, 2))
    types = np.tile([0, 1, 2, 0, 1, 2], 2)
    measures = Measures(points, np.array([0, 6, 12]), np.full(12, 1 / 6))
    found = explain_pairs(measures, np.array([[0, 1]]), np.array([0]), types, undirected=np.array([False]), n_types=3)
    assert found.state[0] < 0.9 * found.distances[0]  # types are mixed
    np.testing.assert_allclose(found.composition, 0, atol=1e-14)


def test_two_points_in_closed_form():
    measures = Measures(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([0, 1, 2]), np.ones(2))
    pair, one = np.array([[0, 1]]), np.array([0])
    found = explain_pairs(
        measures, pair, one, np.array([0, 0]), undirected=np.array([False]), n_types=2, own_features=True
    )
    np.testing.assert_allclose(found.features, [[[9 / 5, 16 / 5], [0, 0], [0, 0], [0, 0]]], rtol=1e-15)
    found = explain_pairs(
        measures, pair, one, np.array([0, 1]), undirected=np.array([False]), n_types=2, own_features=True
    )
    np.testing.assert_allclose(found.features, [[[0, 0], [0, 0], [0, 0], [9 / 5, 16 / 5]]], rtol=1e-15)
    np.testing.assert_allclose(found.sums[0, 0, [CARRIED, STATE, COMPOSITION]], [[2.5, 2.5], [0, 0], [2.5, 2.5]])
    np.testing.assert_allclose(found.cost, [[[0, 5], [0, 0]]])


def test_identical_clouds_have_nothing_to_share(problem):
    measures, types, x, linear_map = problem
    twice = measures.take(np.array([0, 0]))
    rows = np.tile(np.arange(SIZES[0]), 2)
    found = explain_pairs(
        twice, np.array([[0, 1]]), np.array([0]), types[rows], undirected=np.array([True]), n_types=N_TYPES,
        features=Features(x, rows, linear_map),
    )  # fmt: skip
    assert found.distances[0] == 0
    assert (found.features == 0).all() and np.isfinite(found.sums).all()


def test_sparse_features_are_dense_ones(problem):
    _, _, x, linear_map = problem
    expected = explain(problem)
    found = explain(problem, features=Features(sp.csr_array(x), np.arange(len(x)), linear_map))
    assert_same(found, expected)


def test_rows_may_be_anywhere(problem):
    _, _, x, linear_map = problem
    order = np.random.default_rng(0).permutation(len(x))
    rows = np.argsort(order)
    features = Features(x[order], rows, linear_map)
    assert_same(explain(problem, features=features), explain(problem))
    np.testing.assert_array_equal(features.take(np.array([4, 2])).rows, rows[[4, 2]])


def test_own_features_are_those_of_the_identity(problem):
    measures, types, x, _ = problem
    problem = (measures.with_points(x), types, x, np.eye(x.shape[1]))
    expected = explain(problem)
    assert_same(explain(problem, features=None, own_features=True), expected)
    problem = (measures.with_points(sp.csr_array(x)), *problem[1:])
    assert_same(explain(problem, features=None, own_features=True), expected)


@pytest.mark.parametrize("block_entries", [1, 20, 40])
def test_blocks_change_nothing(problem, block_entries, monkeypatch):
    measures, types, x, linear_map = problem
    expected = explain(problem)
    monkeypatch.setattr("scggml.explanation._pairs._BLOCK_VALUES", 30)
    assert_same(explain(problem, block_entries=block_entries), expected)
    own = (measures.with_points(sp.csr_array(x)), types, x, linear_map)
    found = explain(own, features=None, own_features=True, block_entries=block_entries)
    monkeypatch.undo()
    assert_same(found, explain(own, features=None, own_features=True))


def test_plans_are_solved_in_blocks(problem, monkeypatch):
    seen = []
    solve = _pairs.solve_pairs
    monkeypatch.setattr(_pairs, "solve_pairs", lambda m, pairs, **kw: seen.append(len(pairs)) or solve(m, pairs, **kw))
    explain(problem, block_entries=26)
    assert max(seen) <= 2 and sum(seen) == len(PAIRS)


def test_rotations_change_nothing(problem):
    measures, types, x, linear_map = problem
    turn = special_ortho_group.rvs(2, random_state=0)
    turned = (measures.with_points(measures.points @ turn.T), types, x, turn @ linear_map)
    assert_same(explain(turned), explain(problem))


def test_threads_change_nothing(problem):
    left, right = explain(problem, n_jobs=1), explain(problem, n_jobs=2)
    for name in ("distances", "cost", "sums", "features"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def test_direction(problem):
    """Pairs the other way round move mass the other way, and cost the same."""
    measures, types, x, linear_map = problem
    expected = explain(problem)
    found = explain_pairs(
        measures, PAIRS[:, ::-1], COMPARISONS, types, undirected=UNDIRECTED, n_types=N_TYPES,
        features=Features(x, np.arange(len(x)), linear_map),
    )  # fmt: skip
    for name in ("cost", "mass", "composition_cost"):
        assert not np.allclose(getattr(expected, name)[0], getattr(expected, name)[0].T)
    directed = ("cost", "mass", "composition_cost")
    assert_same(replace(found, **{name: getattr(found, name).swapaxes(1, 2) for name in directed}), expected)
