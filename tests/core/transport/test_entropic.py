from __future__ import annotations

import threading
import tracemalloc
import warnings

import numpy as np
import ot
import pytest
import scipy.sparse as sp
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from scggml.core.measures._measures import Measures
from scggml.core.transport import _entropic as module
from scggml.core.transport._entropic import solve_pairs_entropic
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._sinkhorn import SinkhornIteration, backend_of

SIZES = (1, 2, 5, 17, 30, 41)
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def cohort(rng, sizes=SIZES, k=3, *, weighted=True, shift=1.0):
    clouds = [rng.normal(size=(n, k)) + shift * rng.normal(size=k) for n in sizes]
    return Measures.from_arrays(clouds, [rng.uniform(0.05, 1, size=n) for n in sizes] if weighted else None)


def far_modes(rng, n_measures=4, n=60):
    """Equal groups far apart, between which next to nothing flows: plain Sinkhorn takes thousands of sweeps."""
    modes = np.repeat([[0.0, 0.0], [40.0, 50.0], [20.0, 15.0]], n // 3, axis=0)
    return Measures.from_arrays([modes + rng.normal(0, 1.5, size=(n, 2)) for _ in range(n_measures)])


def pot_plan(measures, pair, epsilon):
    (x, a), (y, b) = measures[pair[0]], measures[pair[1]]
    costs = cdist(x, y)
    if min(len(a), len(b)) == 1:  # nothing to solve, and POT would look for the wrong shape
        return costs, np.outer(a, b)
    return costs, ot.sinkhorn(a, b, costs, epsilon, method="sinkhorn_log", stopThr=1e-12, numItermax=100_000)


def pot_value(measures, pair, epsilon):
    costs, plan = pot_plan(measures, pair, epsilon)
    ratio = plan / np.outer(measures[pair[0]][1], measures[pair[1]][1])
    return (plan * costs).sum() + epsilon * (plan * np.log(ratio)).sum()


def own_value(measures, i, epsilon):
    """Transport of a measure to itself by the averaged fixed point, on which POT's plain sweeps are slow."""
    x, a = measures[i]
    costs, f = cdist(x, x), np.zeros(len(x))
    for _ in range(500):
        f = (f - epsilon * logsumexp((f - costs) / epsilon, b=a, axis=1)) / 2
    return 2 * f @ a


def plan_of(measures, solved, p):
    """The plan that a pair's potentials stand for, written down independently."""
    (x, a), (y, b) = measures[solved.pairs[p, 0]], measures[solved.pairs[p, 1]]
    f, g = np.split(solved.potentials[solved.offsets[p] : solved.offsets[p + 1]], [len(a)])
    costs = cdist(x, y)
    return costs, np.outer(a, b) * np.exp((f[:, None] + g[None, :] - costs) / solved.epsilon)


# --- against POT ---


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("epsilon", [2.0, 0.2, 0.05])
def test_values_and_costs_equal_pot(epsilon, weighted):
    measures = cohort(np.random.default_rng(0), weighted=weighted)
    pairs = square_pairs(len(measures))
    solved = solve_pairs_entropic(measures, pairs, epsilon=epsilon, tol=1e-11)
    assert solved.epsilon == epsilon
    for p, (i, j) in enumerate(pairs):
        (x, a), (y, b) = measures[i], measures[j]
        np.testing.assert_allclose(solved.distances[p], pot_value(measures, (i, j), epsilon), rtol=1e-9)
        if min(len(a), len(b)) > 1:
            expected = ot.sinkhorn2(
                a, b, cdist(x, y), epsilon, method="sinkhorn_log", stopThr=1e-13, numItermax=100_000
            )  # fmt: skip
            np.testing.assert_allclose(solved.costs[p], expected, rtol=1e-9)
    assert solved.converged.all() and (solved.marginal_error <= 1e-11).all()


def test_values_approach_the_exact_distance_from_above():
    measures = cohort(np.random.default_rng(1), weighted=True)
    pairs = square_pairs(len(measures))
    exact = np.array([ot.emd2(measures[i][1], measures[j][1], cdist(measures[i][0], measures[j][0])) for i, j in pairs])
    entropy = np.array([-(w * np.log(w)).sum() for _, w in (measures[i] for i in range(len(measures)))])
    before = np.inf
    for epsilon in (1.0, 0.1, 0.01, 0.001):
        solved = solve_pairs_entropic(measures, pairs, epsilon=epsilon, max_iter=20_000, tol=1e-8)
        excess = solved.distances - exact
        assert (excess >= -1e-7).all()
        assert (excess <= epsilon * entropy[pairs].min(axis=1) + 1e-7).all()
        assert (excess <= before + 1e-7).all()
        assert (solved.costs <= solved.distances + 1e-7).all()
        before = excess
    np.testing.assert_allclose(solved.costs, exact, rtol=2e-3)


@pytest.mark.parametrize("epsilon", [0.5, 0.05])
def test_debiased_equals_pot(epsilon):
    measures = cohort(np.random.default_rng(2), (1, 2, 5, 17, 22))
    pairs = square_pairs(len(measures))
    solved = solve_pairs_entropic(measures, pairs, epsilon=epsilon, debiased=True, tol=1e-11)
    own = [own_value(measures, i, epsilon) for i in range(len(measures))]
    for p, (i, j) in enumerate(pairs):
        expected = pot_value(measures, (i, j), epsilon) - (own[i] + own[j]) / 2
        np.testing.assert_allclose(solved.distances[p], expected, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(
            solved.costs[p], (np.multiply(*pot_plan(measures, (i, j), epsilon))).sum(), rtol=1e-9
        )
    assert (solved.distances > 0).all()
    np.testing.assert_array_equal(solved.self_terms.pairs, np.stack([np.arange(5)] * 2, axis=1))
    np.testing.assert_allclose(solved.self_terms.distances, own, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.01])
def test_debiased_is_zero_on_equal_clouds_and_symmetric(epsilon):
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(20, 3)), rng.uniform(0.1, 1, size=20)
    order = rng.permutation(20)
    measures = Measures.from_arrays([x, x[order], rng.normal(size=(9, 3))], [w, w[order], np.ones(9)])
    pairs = np.array([[0, 1], [1, 0], [0, 0], [0, 2], [2, 0]])
    solved = solve_pairs_entropic(measures, pairs, epsilon=epsilon, debiased=True, tol=1e-9)
    np.testing.assert_allclose(solved.distances[:3], 0, atol=1e-9)
    assert (solved.distances >= 0).all() and solved.distances[3] > 0.01
    assert solved.distances[3] == solved.distances[4]
    plain = solve_pairs_entropic(measures, pairs, epsilon=epsilon, tol=1e-9)
    assert plain.distances[0] > 0.005  # it is the debiasing that makes it zero
    assert plain.self_terms is None


def test_self_terms_take_few_sweeps():
    measures = cohort(np.random.default_rng(4), (40, 50))
    solved = solve_pairs_entropic(measures, square_pairs(2), epsilon=0.01, debiased=True)
    assert solved.self_terms.n_iter.max() <= 15 < solved.n_iter.min()


# --- plans and convergence ---


@pytest.mark.parametrize("epsilon", [0.3, 0.02, 1e-3, 1e-4])
def test_plans_have_their_marginals(epsilon):
    # the last two are beyond what exp(-cost / epsilon) can hold
    measures = cohort(np.random.default_rng(5), (8, 12, 9))
    solved = solve_pairs_entropic(measures, square_pairs(3), epsilon=epsilon, tol=1e-7, max_iter=30_000)
    for p, (i, j) in enumerate(solved.pairs):
        costs, plan = plan_of(measures, solved, p)
        a, b = measures[i][1], measures[j][1]
        error = abs(plan.sum(axis=1) - a).sum() + abs(plan.sum(axis=0) - b).sum()
        assert error <= 1.1e-7
        np.testing.assert_allclose(solved.marginal_error[p], error, atol=1e-9)
        np.testing.assert_allclose(solved.costs[p], (plan * costs).sum(), rtol=1e-8)
        f, g = np.split(solved.potentials[solved.offsets[p] : solved.offsets[p + 1]], [len(a)])
        np.testing.assert_allclose(solved.distances[p], f @ a + g @ b, rtol=1e-6)


def test_far_modes_are_solved_in_few_sweeps():
    measures = far_modes(np.random.default_rng(6))
    solved = solve_pairs_entropic(measures, square_pairs(4), epsilon=1.5, tol=1e-8)
    assert solved.converged.all() and solved.n_iter.max() <= 150
    for p in range(len(solved.pairs)):
        _, plan = plan_of(measures, solved, p)
        np.testing.assert_allclose(plan.sum(axis=1), 1 / 60, atol=1e-9)


def test_small_strengths_are_annealed_to():
    rng = np.random.default_rng(5)
    measures = cohort(rng, (8, 12, 9, 15, 7))
    solved = solve_pairs_entropic(measures, square_pairs(5), epsilon=1e-3, max_iter=5000)
    assert solved.converged.all() and solved.n_iter.mean() <= 250


@pytest.mark.parametrize("debiased", [False, True])
def test_values_are_right_to_second_order(debiased):
    measures, pairs = cohort(np.random.default_rng(6)), square_pairs(len(SIZES))
    options = {"epsilon": 0.05, "debiased": debiased}
    right = solve_pairs_entropic(measures, pairs, **options, tol=1e-11)
    for tol in (1e-2, 1e-3):
        rough = solve_pairs_entropic(measures, pairs, **options, tol=tol)
        assert rough.marginal_error.max() > tol / 100
        assert abs(rough.distances - right.distances).max() < tol**2


def test_values_are_dual_values():
    measures = cohort(np.random.default_rng(6))
    with pytest.warns(UserWarning, match="did not reach a marginal error"):
        solved = solve_pairs_entropic(measures, square_pairs(6), epsilon=0.3, max_iter=3, tol=1e-15, debiased=True)
    for i in range(len(measures)):
        a = measures[i][1]
        f, g = np.split(solved.self_terms.potentials[solved.self_terms.offsets[i] :][: 2 * len(a)], 2)
        mass = plan_of(measures, solved.self_terms, i)[1].sum()
        np.testing.assert_allclose(solved.self_terms.distances[i], f @ a + g @ a - 0.3 * (mass - 1), rtol=1e-12)


def test_groups_that_exchange_next_to_nothing():
    # their masses differ by a little, which has to find its way through entries of e^-100
    rng = np.random.default_rng(7)
    clouds = [np.repeat([[0.0], [1.0]], 5, axis=0) + 0.01 * rng.normal(size=(10, 1)) for _ in range(2)]
    weights = [np.repeat([share / 5, (1 - share) / 5], 5) for share in (0.3, 0.3007)]
    measures = Measures.from_arrays(clouds, weights)
    solved = solve_pairs_entropic(measures, square_pairs(2), epsilon=0.01, tol=1e-9)
    assert solved.n_iter[0] <= 300
    _, plan = plan_of(measures, solved, 0)
    np.testing.assert_allclose(plan[:5].sum(axis=0)[:5].sum(), 0.3, rtol=1e-4)
    np.testing.assert_allclose(plan[5:].sum(axis=0)[:5].sum(), 0.0007, rtol=1e-4)


@pytest.mark.parametrize("debiased", [False, True])
def test_bad_extrapolations_are_taken_back(monkeypatch, debiased):
    measures, pairs = cohort(np.random.default_rng(8)), square_pairs(len(SIZES))
    options = {"epsilon": 0.1, "tol": 1e-8, "debiased": debiased, "max_iter": 3000}
    fast = solve_pairs_entropic(measures, pairs, **options)

    def astray(self, _):
        s = self.state
        s.fallback, s.x = s.x, s.x + 30 * np.random.default_rng(0).normal(size=s.x.shape)

    monkeypatch.setattr(module.SinkhornIteration, "extrapolate", astray)
    slow = solve_pairs_entropic(measures, pairs, **options)
    assert slow.converged.all() and slow.n_iter.sum() > 1.5 * fast.n_iter.sum()
    np.testing.assert_allclose(slow.distances, fast.distances, rtol=1e-8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("epsilon", [1e-2, 1e-5, 1e-9])
def test_too_few_sweeps_are_said(epsilon, debiased, dtype):
    measures = far_modes(np.random.default_rng(8), 3, 30)
    with pytest.warns(
        UserWarning, match=r"3 of 3 pairs did not reach a marginal error of 1e-06 within 4 sweeps, .* raise max_iter"
    ):
        solved = solve_pairs_entropic(
            measures, square_pairs(3), epsilon=30 * epsilon, max_iter=4, debiased=debiased, dtype=dtype
        )
    assert not solved.converged.any()
    assert (solved.marginal_error > 1e-6).all() and (solved.n_iter == 6).all()
    for values in (solved.distances, solved.costs, solved.marginal_error, solved.gradient(np.ones(3))):
        assert np.isfinite(values).all()
    if dtype == "float64" and not debiased and epsilon > 1e-9:
        for p in range(3):
            _, plan = plan_of(measures, solved, p)
            error = abs(plan.sum(axis=1) - 1 / 30).sum() + abs(plan.sum(axis=0) - 1 / 30).sum()
            np.testing.assert_allclose(solved.marginal_error[p], error, rtol=1e-6)


def test_some_pairs_that_do_not_converge_are_counted():
    rng = np.random.default_rng(9)
    easy, hard = rng.normal(size=(2, 10, 2)), [30 * rng.normal(size=(40, 2)) for _ in range(2)]
    measures = Measures.from_arrays([*easy, *hard])
    with pytest.warns(
        UserWarning, match=r"^1 of 2 pairs .* raise max_iter, or the entropic strength \(now epsilon = 1\)"
    ):
        solved = solve_pairs_entropic(measures, np.array([[0, 1], [2, 3]]), epsilon=1.0, max_iter=15)
    np.testing.assert_array_equal(solved.converged, [True, False])


# --- derivatives and moments ---


@pytest.mark.parametrize("debiased", [False, True])
def test_gradient_equals_finite_differences(debiased):
    rng = np.random.default_rng(10)
    measures = cohort(rng, (6, 1, 9, 4))
    pairs = np.array([[0, 1], [2, 0], [1, 2], [3, 3], [3, 0]])
    slope = np.array([1.0, -2.0, 0.5, 0.7, 0.0])

    def value(points):
        solved = solve_pairs_entropic(measures.with_points(points), pairs, epsilon=0.15, tol=1e-12, debiased=debiased)
        return slope @ solved.distances, solved

    gradient = value(measures.points)[1].gradient(slope)
    assert gradient.shape == measures.points.shape
    h = 1e-5
    for index in [*np.ndindex(*gradient.shape)][::3]:
        step = np.zeros_like(gradient)
        step[index] = h
        difference = (value(measures.points + step)[0] - value(measures.points - step)[0]) / (2 * h)
        np.testing.assert_allclose(gradient[index], difference, rtol=2e-5, atol=1e-7)


def test_gradient_equals_the_formula_on_pots_plan():
    measures = cohort(np.random.default_rng(11), (12, 7))
    solved = solve_pairs_entropic(measures, np.array([[1, 0]]), epsilon=0.1, tol=1e-11)
    costs, plan = pot_plan(measures, (1, 0), 0.1)
    x, y = measures[1][0], measures[0][0]
    pull = (plan / costs)[:, :, None] * (x[:, None] - y[None])
    expected = np.concatenate([-pull.sum(axis=0), pull.sum(axis=1)])
    np.testing.assert_allclose(solved.gradient(np.array([3.0])), 3 * expected, rtol=1e-7, atol=1e-10)


def test_no_length_no_pull():
    measures = Measures.from_arrays([np.zeros((1, 2)), np.zeros((1, 2)), np.array([[0.0, 0.0], [3.0, 4.0]])])
    solved = solve_pairs_entropic(measures, square_pairs(3), epsilon=0.1)
    np.testing.assert_allclose(solved.distances, [0, 2.5, 2.5], atol=1e-12)
    np.testing.assert_array_equal(solved.gradient(np.array([1.0, 0, 0])), 0)
    expected = np.array([[-0.3, -0.4], [0, 0], [0, 0], [0.3, 0.4]])
    np.testing.assert_allclose(solved.gradient(np.array([0, 1.0, 0])), expected, atol=1e-9)
    np.testing.assert_array_equal(solved.gradient(np.zeros(3)), 0)


@pytest.mark.parametrize("kind", ["dense", "float32", "csr"])
def test_second_moment_equals_pots_plan(kind, monkeypatch):
    rng = np.random.default_rng(12)
    measures = cohort(rng, (11, 6, 14, 3))
    x = np.where(rng.random((34, 8)) < 0.5, 0, rng.normal(size=(34, 8)) + 2)
    x = x.astype(np.float32) if kind == "float32" else x
    pairs, weights = square_pairs(4), np.array([1.0, 0.5, 0.0, 2.0, -1.0, 0.3])
    solved = solve_pairs_entropic(measures, pairs, epsilon=0.2, tol=1e-11)
    expected = np.zeros((8, 8))
    for (i, j), w in zip(pairs, weights, strict=True):
        _, plan = pot_plan(measures, (i, j), 0.2)
        own = [x[measures.offsets[m] : measures.offsets[m + 1]].astype(float) for m in (i, j)]
        difference = own[0][:, None] - own[1][None]
        expected += w * np.einsum("ab,abd,abe->de", plan, difference, difference)
    points = sp.csr_array(x) if kind == "csr" else x
    moment = solved.second_moment(points, weights)
    np.testing.assert_allclose(moment, expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(moment, moment.T)
    monkeypatch.setattr(module, "column_blocks", lambda *_: [slice(0, 3), slice(3, 6), slice(6, 8)])
    np.testing.assert_allclose(solved.second_moment(points, weights), expected, rtol=1e-8, atol=1e-9)


def test_second_moment_uses_the_plans_own_marginals():
    # it is a sum over entries, so moving all points together changes nothing, converged or not
    rng = np.random.default_rng(13)
    measures = far_modes(rng, 2, 30)
    with pytest.warns(UserWarning, match="1 of 1 pairs"):
        solved = solve_pairs_entropic(measures, square_pairs(2), epsilon=0.3, max_iter=3)
    _, plan = plan_of(measures, solved, 0)
    x = rng.normal(size=(60, 3)) + 100
    difference = x[:30, None] - x[None, 30:]
    expected = np.einsum("ab,abd,abe->de", plan, difference, difference)
    np.testing.assert_allclose(solved.second_moment(x, np.ones(1)), expected, rtol=1e-8)


# --- chunks ---


def assert_same(one, other):
    """Where a solver stops may change with the last digit of a sum; values then change in second order only."""
    np.testing.assert_allclose(one.distances, other.distances, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(one.costs, other.costs, rtol=1e-7)
    np.testing.assert_allclose(one.potentials, other.potentials, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one.n_iter, other.n_iter, atol=6)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("chunk_entries", [1, 300, 5000])
def test_chunks_do_not_matter(chunk_entries, debiased):
    rng = np.random.default_rng(14)
    measures = cohort(rng, (3, 40, 7, 22, 40, 18, 5))
    pairs = square_pairs(7)[rng.permutation(21)]
    options = {"epsilon": 0.1, "debiased": debiased, "tol": 1e-9}
    whole = solve_pairs_entropic(measures, pairs, **options, chunk_entries=10**9)
    parts = solve_pairs_entropic(measures, pairs, **options, chunk_entries=chunk_entries)
    assert_same(whole, parts)
    slope, x = rng.normal(size=21), rng.normal(size=(len(measures.weights), 4))
    np.testing.assert_allclose(whole.gradient(slope), parts.gradient(slope), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(whole.second_moment(x, slope), parts.second_moment(x, slope), rtol=1e-6, atol=1e-7)


def test_a_pair_alone_is_a_pair_among_others():
    rng = np.random.default_rng(15)
    measures = cohort(rng, (25, 31, 8, 30, 28))
    pairs = square_pairs(5)
    together = solve_pairs_entropic(measures, pairs, epsilon=0.05, tol=1e-8, chunk_entries=10**9)
    for p in range(len(pairs)):
        alone = solve_pairs_entropic(measures, pairs[p : p + 1], epsilon=0.05, tol=1e-8)
        np.testing.assert_allclose(alone.distances[0], together.distances[p], rtol=1e-11)
        np.testing.assert_allclose(alone.costs[0], together.costs[p], rtol=1e-6)
        turned = solve_pairs_entropic(measures, pairs[p : p + 1, ::-1], epsilon=0.05, tol=1e-8)
        assert turned.distances[0] == alone.distances[0] and turned.costs[0] == alone.costs[0]


def test_runs_are_reproducible_whatever_the_threads():
    rng = np.random.default_rng(16)
    measures, pairs = cohort(rng, (20,) * 8), square_pairs(8)
    slope = rng.normal(size=len(pairs))
    options = {"epsilon": 0.05, "debiased": True, "chunk_entries": 2000}
    one, two, again = (solve_pairs_entropic(measures, pairs, **options, n_jobs=n) for n in (1, 2, 2))
    for other in (two, again):
        for name in ("distances", "costs", "marginal_error", "potentials", "n_iter"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(one.gradient(slope), other.gradient(slope))


def peak(function):
    """The most numbers held at a time."""
    tracemalloc.start()
    function()
    held = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    return held


def test_memory_is_bounded_by_chunk_entries():
    measures, pairs = cohort(np.random.default_rng(17), (60,) * 25), square_pairs(25)
    x, ones = np.ones((1500, 30)), np.ones(len(pairs))

    def everything(chunk_entries):
        solved = solve_pairs_entropic(measures, pairs, epsilon=0.5, chunk_entries=chunk_entries, n_jobs=1, device="cpu")
        solved.gradient(ones)
        solved.second_moment(x, ones)

    assert peak(lambda: everything(20_000)) < 800_000 < 3_000_000 < peak(lambda: everything(10**6))


def test_memory_is_bounded_for_small_clouds_of_many_features():
    measures, pairs = cohort(np.random.default_rng(17), (4,) * 60), square_pairs(60)
    x, ones = np.ones((240, 300)), np.ones(len(pairs))
    solved = solve_pairs_entropic(measures, pairs, epsilon=0.5, chunk_entries=30_000, n_jobs=1)
    assert peak(lambda: solved.second_moment(x, ones)) < 800_000 < 4 * 300 * len(pairs)


def test_little_is_padding():
    rng = np.random.default_rng(18)
    measures = cohort(rng, rng.integers(3, 200, size=20))
    clouds = solve_pairs_entropic(measures, square_pairs(20), epsilon=5.0)._clouds
    pairs = square_pairs(20)
    chunks = clouds.chunks(pairs, np.arange(len(pairs)))
    np.testing.assert_array_equal(np.sort(np.concatenate([c.index for c in chunks])), np.arange(len(pairs)))
    padded = sum(len(c.index) * c.rows[0].shape[1] * c.rows[1].shape[1] for c in chunks)
    assert padded < 1.3 * measures.sizes[pairs].prod(axis=1).sum()
    assert len(chunks) < 60


def test_sizes_from_2_to_2000_in_one_call():
    measures = cohort(np.random.default_rng(18), (2, 2000, 3, 400, 1500, 11))
    pairs = square_pairs(6)
    solved = solve_pairs_entropic(measures, pairs, epsilon=0.9, tol=1e-9)
    assert solved.converged.all()
    for p in (0, 2, 5, 6, 12, 14):
        np.testing.assert_allclose(solved.distances[p], pot_value(measures, pairs[p], solved.epsilon), rtol=1e-9)


# --- starts ---


@pytest.mark.parametrize("debiased", [False, True])
def test_a_start_saves_sweeps_and_changes_nothing(debiased):
    rng = np.random.default_rng(19)
    measures = cohort(rng, (15, 30, 22))
    pairs = np.array([[0, 1], [2, 1], [0, 2]])
    options = {"epsilon": 0.03, "tol": 1e-8, "debiased": debiased}
    cold = solve_pairs_entropic(measures, pairs, **options)
    warm = solve_pairs_entropic(measures, pairs, **options, start=cold)
    np.testing.assert_allclose(warm.distances, cold.distances, rtol=1e-9)
    assert (warm.n_iter == 3).all() and cold.n_iter.min() > 10
    moved = measures.with_points(measures.points + 1e-4 * rng.normal(size=measures.points.shape))
    there = solve_pairs_entropic(moved, pairs, **options)
    warm = solve_pairs_entropic(moved, pairs, **options, start=cold)
    np.testing.assert_allclose(warm.distances, there.distances, rtol=1e-9)
    assert (warm.n_iter < there.n_iter).all()
    if debiased:
        assert warm.self_terms.n_iter.sum() < there.self_terms.n_iter.sum()


@pytest.mark.parametrize("epsilon", [0.05, 2e-3])
def test_a_bad_start_is_no_harm(epsilon):
    rng = np.random.default_rng(20)
    measures, pairs = cohort(rng, (15, 30, 22)), square_pairs(3)
    elsewhere = measures.with_points(1e4 * rng.normal(size=measures.points.shape))
    start = solve_pairs_entropic(elsewhere, pairs, epsilon=1e4, debiased=True)
    options = {"epsilon": epsilon, "debiased": True, "tol": 1e-9, "max_iter": 5000}
    expected = solve_pairs_entropic(measures, pairs, **options)
    solved = solve_pairs_entropic(measures, pairs, **options, start=start)
    np.testing.assert_allclose(solved.distances, expected.distances, rtol=1e-9)


def test_a_start_of_other_pairs_is_refused():
    measures = cohort(np.random.default_rng(21), (5, 6, 7))
    options = {"epsilon": 1.0}
    start = solve_pairs_entropic(measures, square_pairs(3), **options)
    with pytest.raises(ValueError, match="start must be a solution of the same pairs"):
        solve_pairs_entropic(measures, square_pairs(3)[::-1], **options, start=start)
    with pytest.raises(ValueError, match="start must be a solution of the same pairs"):
        solve_pairs_entropic(cohort(np.random.default_rng(0), (5, 6, 8)), square_pairs(3), **options, start=start)


# --- odd input ---


def test_points_without_mass_do_not_count():
    rng = np.random.default_rng(22)
    full = cohort(rng, (10, 14, 6))
    weights = full.weights.copy()
    weights[[0, 5, 9, 12, 24, 29]] = 0  # firsts and lasts of measures among them
    sums = np.add.reduceat(weights, full.offsets[:-1])
    weights /= np.repeat(sums, full.sizes)
    measures = Measures(full.points, full.offsets, weights)
    there = np.flatnonzero(weights)
    parts = [there[(there >= s) & (there < e)] for s, e in zip(full.offsets, full.offsets[1:], strict=False)]
    dense = Measures.from_arrays([full.points[p] for p in parts], [weights[p] for p in parts])
    pairs, slope, x = square_pairs(3), np.array([1.0, 2.0, -1.0]), rng.normal(size=(30, 4))
    for debiased in (False, True):
        options = {"epsilon": 0.05, "debiased": debiased, "tol": 1e-9}
        solved, expected = (solve_pairs_entropic(m, pairs, **options) for m in (measures, dense))
        np.testing.assert_allclose(solved.distances, expected.distances, rtol=1e-10)
        assert solved.potentials.shape == expected.potentials.shape
        gradient = solved.gradient(slope)
        np.testing.assert_array_equal(gradient[weights == 0], 0)
        np.testing.assert_allclose(gradient[there], expected.gradient(slope), rtol=1e-6, atol=1e-7)
        moments = solved.second_moment(x, slope), expected.second_moment(x[there], slope)
        np.testing.assert_allclose(*moments, rtol=1e-6)


def test_hardly_any_mass():
    rng = np.random.default_rng(23)
    weights = [np.r_[np.full(9, 1.0), 10.0 ** -rng.uniform(5, 19, size=6)] for _ in range(2)]
    measures = Measures.from_arrays([3 * rng.normal(size=(15, 2)) for _ in range(2)], weights)
    kept = Measures.from_arrays([x[:9] for x in measures.split()])
    for epsilon in (0.5, 0.01):
        options = {"epsilon": epsilon, "max_iter": 5000}
        solved, expected = (solve_pairs_entropic(m, square_pairs(2), **options) for m in (measures, kept))
        np.testing.assert_allclose(solved.distances, expected.distances, rtol=1e-3)
        assert np.isfinite(solved.gradient(np.ones(1))).all()


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_units_do_not_matter(unit, debiased):
    measures, pairs = cohort(np.random.default_rng(24)), square_pairs(len(SIZES))
    scaled = measures.with_points(measures.points * unit)
    options = {"debiased": debiased, "tol": 1e-9}
    here = solve_pairs_entropic(measures, pairs, epsilon=0.1, **options)
    there = solve_pairs_entropic(scaled, pairs, epsilon=0.1 * unit, **options)
    np.testing.assert_allclose(there.distances, here.distances * unit, rtol=1e-9)
    np.testing.assert_allclose(there.costs, here.costs * unit, rtol=1e-7)
    slope = np.linspace(-1, 1, len(pairs))
    np.testing.assert_allclose(there.gradient(slope), here.gradient(slope), atol=1e-7)


def test_place_does_not_matter():
    measures, pairs = cohort(np.random.default_rng(25)), square_pairs(len(SIZES))
    measures = measures.with_points(np.round(1024 * measures.points) / 1024)
    moved = measures.with_points(measures.points + 2**30)  # to the last bit
    options = {"epsilon": 0.05, "tol": 1e-11}
    here, there = (solve_pairs_entropic(m, pairs, **options) for m in (measures, moved))
    np.testing.assert_allclose(there.distances, here.distances, rtol=1e-11)
    slope = np.linspace(-1, 1, len(pairs))
    np.testing.assert_allclose(there.gradient(slope), here.gradient(slope), atol=3e-9)


def test_totals_that_are_one_but_for_rounding():
    rng = np.random.default_rng(26)
    measures = cohort(rng, (9, 12))
    nearly = Measures(measures.points, measures.offsets, measures.weights * np.repeat([1 + 5e-10, 1 - 5e-10], [9, 12]))
    solved = solve_pairs_entropic(nearly, square_pairs(2), epsilon=0.1, tol=1e-12)
    np.testing.assert_allclose(solved.distances[0], pot_value(measures, (0, 1), 0.1), rtol=1e-8)


def test_clouds_that_are_one_point_repeated():
    measures = Measures.from_arrays([np.ones((4, 2)), np.ones((7, 2)), np.ones((3, 2)) + [3.0, 4.0]])
    solved = solve_pairs_entropic(measures, square_pairs(3), epsilon=0.01)
    np.testing.assert_allclose(solved.distances, [0, 5, 5], atol=1e-12)
    np.testing.assert_allclose(solved.costs, [0, 5, 5], atol=1e-12)


def test_no_pairs():
    measures = cohort(np.random.default_rng(26))
    solved = solve_pairs_entropic(measures, np.empty((0, 2), dtype=int), epsilon=1.0, debiased=True)
    assert solved.distances.shape == (0,)
    np.testing.assert_array_equal(solved.gradient(np.empty(0)), np.zeros_like(measures.points))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epsilon": 0.0}, "epsilon must be positive and finite, found 0"),
        ({"epsilon": np.nan}, "epsilon must be positive and finite, found nan"),
        ({"epsilon": np.inf}, "epsilon must be positive and finite, found inf"),
        ({"tol": -1.0}, "tol must be positive and finite, found -1"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there: pass None or one of cpu"),
        ({"device": "tpu"}, "device 'tpu' is not there"),
        ({"epsilon": 1e-14}, "raise the entropic strength"),
    ],
)
def test_wrong_arguments(options, match):
    measures = cohort(np.random.default_rng(27))
    with pytest.raises(ValueError, match=match):
        solve_pairs_entropic(measures, square_pairs(3), **{"epsilon": 1.0, **options})


def test_points_must_be_finite():
    measures = Measures.from_arrays([np.array([[0.0], [np.nan]]), np.ones((2, 1))])
    with pytest.raises(ValueError, match="points must be finite"):
        solve_pairs_entropic(measures, square_pairs(2), epsilon=1.0)


# --- backends ---


def results(measures, rng_seed=0, **options):
    rng = np.random.default_rng(rng_seed)
    pairs = square_pairs(len(measures))
    solved = solve_pairs_entropic(measures, pairs, **options)
    slope, x = rng.normal(size=len(pairs)), rng.normal(size=(len(measures.weights), 4))
    return solved, solved.gradient(slope), solved.second_moment(x, slope)


@pytest.mark.parametrize("debiased", [False, True])
def test_torch_equals_numpy(monkeypatch, debiased):
    # what a GPU runs, without one
    measures = cohort(np.random.default_rng(28), (3, 40, 7, 22, 40, 18, 5))
    for epsilon in (0.5, 0.02):
        options = {"epsilon": epsilon, "debiased": debiased, "tol": 1e-9}
        expected, *derived = results(measures, **options, device="cpu")
        with monkeypatch.context() as patch:
            patch.setattr(module, "backend_of", lambda _, dtype: module.Backend(torch, dtype, "cpu"))
            # chunks that are too small for torch to start threads
            found, *derived_there = results(measures, **options, chunk_entries=5000)
        assert_same(expected, found)
        for one, other in zip(derived, derived_there, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("debiased", [False, True])
def test_float32_is_near_float64(debiased):
    measures = cohort(np.random.default_rng(29))
    options = {"epsilon": 0.1, "debiased": debiased, "tol": 2e-5}
    expected, *derived = results(measures, **options)
    found, *derived_there = results(measures, **options, dtype="float32")
    assert found.potentials.dtype == np.float32
    assert found.converged.all()
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-4, atol=1e-5)
    for one, other in zip(derived, derived_there, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@on_gpu
@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("epsilon", [0.5, 0.02])
def test_cuda_equals_cpu(epsilon, debiased):
    measures = cohort(np.random.default_rng(30), (3, 400, 70, 220, 400, 18, 5))
    options = {"epsilon": epsilon, "debiased": debiased, "tol": 1e-9}
    expected, *derived = results(measures, **options, device="cpu")
    found, *derived_there = results(measures, **options, device="cuda")
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.costs, expected.costs, rtol=1e-7)
    for one, other in zip(derived, derived_there, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@on_gpu
def test_cuda_is_the_default_where_there_is_one():
    measures = cohort(np.random.default_rng(31))
    solved = solve_pairs_entropic(measures, square_pairs(3), epsilon=0.5)
    assert solved._clouds.backend.device == "cuda"
    np.testing.assert_array_equal(
        solved.distances, solve_pairs_entropic(measures, square_pairs(3), epsilon=0.5).distances
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device 'cuda' is not there: pass None or one of cpu"):
        solve_pairs_entropic(cohort(np.random.default_rng(0)), square_pairs(2), epsilon=1.0, device="cuda")
    assert module.backend_of(None, "float64").xp is np


def test_nothing_global_changes():
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state().tolist(), np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        solve_pairs_entropic(far_modes(np.random.default_rng(32)), square_pairs(4), epsilon=1e-6, max_iter=9)
    after = torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state().tolist(), np.geterr()
    assert before == after


def test_a_stopped_iteration_ends():
    rng = np.random.default_rng(0)
    backend, stop = backend_of("cpu", "float64"), threading.Event()
    a = np.full((1, 30), 1 / 30)
    iteration = SinkhornIteration(backend, 9 * rng.random((1, 30, 30)), a, a, None, symmetric=False)
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with np.errstate(all="ignore"):
        iteration.run(10**9, -1.0, stop)  # never exact enough
    assert stop.is_set()
