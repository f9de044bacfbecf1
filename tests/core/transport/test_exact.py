from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import joblib
import numpy as np
import ot
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from scggml.core.measures._measures import Measures
from scggml.core.transport import _exact as module
from scggml.core.transport._dense_costs import PRODUCTS_FROM
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import cross_pairs, solve_pairs, square_pairs
from scggml.core.transport._solvers import Exact

SIZES = (1, 4, 9, 6, 3, 7)
few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


def ragged(rng, d, sizes=SIZES):
    """Clouds with points that coincide within and between samples, and some that nearly do."""
    clouds = [rng.normal(size=(n, d)) + rng.normal(size=d) for n in sizes]
    clouds[2][3] = clouds[2][0]
    clouds[3][:2] = clouds[1][:2]
    clouds[4][1] = clouds[2][5] + 1e-6 * rng.normal(size=d)
    return clouds


def random_weights(rng, sizes=SIZES):
    weights = [rng.uniform(0.05, 1, size=n) for n in sizes]
    return [w / w.sum() for w in weights]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["dense", "float32", "csr"])
@pytest.mark.parametrize("d", [1, 3, 47, 48, 130])
def test_distances_equal_emd2(emd2_matrix, d, kind, weighted):
    rng = np.random.default_rng(d)
    clouds = ragged(rng, d)
    if kind == "csr":
        clouds = [np.where(rng.random(x.shape) < 0.3, 0, x) for x in clouds]
    clouds = [x.astype(np.float32) for x in clouds] if kind == "float32" else clouds
    points = [sp.csr_array(x) for x in clouds] if kind == "csr" else clouds
    weights = random_weights(rng) if weighted else None
    distances, error = pairwise_distances(Measures.from_arrays(points, weights))
    expected = emd2_matrix(clouds, weights=weights)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(distances, expected, rtol=1e-10, atol=0)
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_array_equal(np.diag(distances), 0)
    assert 0 <= error < 1e-12


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_distances_far_from_the_origin_keep_their_digits(emd2_matrix, kind):
    # the inner-product form of the distance cancels here
    clouds = [1e3 + x for x in ragged(np.random.default_rng(0), 60)]
    distances, _ = pairwise_distances(Measures.from_arrays([kind(x) for x in clouds]))
    expected = emd2_matrix(clouds)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(distances, expected, rtol=1e-10, atol=0)


def test_one_dimension_equals_scipy():
    rng = np.random.default_rng(1)
    clouds, weights = [rng.normal(size=(n, 1)) for n in SIZES], random_weights(rng)
    solved = solve_pairs(Measures.from_arrays(clouds, weights), square_pairs(len(SIZES)))
    for (i, j), distance in zip(square_pairs(len(SIZES)), solved.distances, strict=True):
        expected = wasserstein_distance(clouds[i].ravel(), clouds[j].ravel(), weights[i], weights[j])
        np.testing.assert_allclose(distance, expected, rtol=1e-10)


def test_two_points_by_hand():
    # half of the mass stays, the other half moves by 5
    measures = Measures.from_arrays([[[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [3.0, 4.0]]])
    np.testing.assert_allclose(pairwise_distances(measures)[0], [[0, 2.5], [2.5, 0]])


def test_copies_of_a_sample_are_at_distance_exactly_zero():
    for d in (3, 60):
        x = 100 + np.random.default_rng(2).normal(size=(8, d))
        for kind in (np.asarray, sp.csr_array):
            distances, error = pairwise_distances(Measures.from_arrays([kind(x), kind(x[::-1].copy())]))
            np.testing.assert_array_equal(distances, 0)
            assert error == 0


@pytest.mark.parametrize("cost", ["cityblock", "cosine"])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_other_costs_equal_emd2(cost, kind):
    clouds = [1 + x for x in ragged(np.random.default_rng(3), 50)]
    distances, error = pairwise_distances(Measures.from_arrays([kind(x) for x in clouds]), cost=cost)
    for i, x in enumerate(clouds):
        for j, y in enumerate(clouds[:i]):
            expected = ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cdist(x, y, cost))
            np.testing.assert_allclose(distances[i, j], expected, rtol=1e-10)
    np.testing.assert_array_equal(distances, distances.T)
    assert error < 1e-12


def test_against_other_samples(emd2_matrix):
    rng = np.random.default_rng(4)
    left, right = [rng.normal(size=(n, 3)) for n in (3, 5)], [rng.normal(size=(n, 3)) for n in (4, 2, 6)]
    distances, _ = pairwise_distances(Measures.from_arrays(left), Measures.from_arrays(right))
    np.testing.assert_allclose(distances, emd2_matrix(left, right), rtol=1e-10)


def test_single_sample_and_no_pairs():
    measures = Measures.from_arrays([np.eye(3)])
    distances, error = pairwise_distances(measures)
    np.testing.assert_array_equal(distances, [[0.0]])
    solved = solve_pairs(measures, np.empty((0, 2), dtype=np.int64), keep_plans=True)
    assert len(solved.distances) == len(solved.plans.mass) == 0
    assert error == solved.error == solved.gap == 0


def test_pairs():
    np.testing.assert_array_equal(square_pairs(3), [[0, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(cross_pairs(2, 3), [[0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]])
    assert square_pairs(1).shape == cross_pairs(2, 0).shape == (0, 2)


@few
@given(seed=st.integers(0, 2**32 - 1), d=st.sampled_from([2, 50]))
def test_triangle_inequality(seed, d):
    rng = np.random.default_rng(seed)
    distances, _ = pairwise_distances(Measures.from_arrays(ragged(rng, d), random_weights(rng)), n_jobs=1)
    detour = (distances[:, :, None] + distances[None, :, :]).min(axis=1)
    assert (distances <= detour * (1 + 1e-12)).all()


@few
@given(seed=st.integers(0, 2**32 - 1), d=st.sampled_from([2, 50]))
def test_order_of_cells_and_samples_does_not_matter(seed, d):
    rng = np.random.default_rng(seed)
    clouds, weights = ragged(rng, d), random_weights(rng)
    expected, _ = pairwise_distances(Measures.from_arrays(clouds, weights), n_jobs=1)
    order = rng.permutation(len(clouds))
    cells = [rng.permutation(len(x)) for x in clouds]
    shuffled = Measures.from_arrays([clouds[i][cells[i]] for i in order], [weights[i][cells[i]] for i in order])
    found, _ = pairwise_distances(shuffled, n_jobs=1)
    np.testing.assert_allclose(found, expected[np.ix_(order, order)], rtol=1e-11, atol=0)


@few
@given(
    seed=st.integers(0, 2**32 - 1),
    factor=st.floats(1e-3, 1e3),
    shift=st.floats(-10, 10),
    d=st.sampled_from([2, 50]),
)
def test_translation_and_scale(seed, factor, shift, d):
    rng = np.random.default_rng(seed)
    clouds = ragged(rng, d)
    expected, _ = pairwise_distances(Measures.from_arrays(clouds), n_jobs=1)
    direction = rng.normal(size=d)
    moved, _ = pairwise_distances(Measures.from_arrays([factor * (x + shift * direction) for x in clouds]), n_jobs=1)
    np.testing.assert_allclose(moved, factor * expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("block", [1, 60, 10**9])
def test_jobs_and_blocks_do_not_change_a_bit(monkeypatch, block):
    rng = np.random.default_rng(5)
    measures = Measures.from_arrays(ragged(rng, 4), random_weights(rng))
    pairs = square_pairs(len(measures))
    reference = solve_pairs(measures, pairs, keep_plans=True, n_jobs=1)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", block)
    for n_jobs in (1, 2, 4, None):
        solved = solve_pairs(measures, pairs, keep_plans=True, n_jobs=n_jobs)
        assert solved.gap == reference.gap
        np.testing.assert_array_equal(solved.distances, reference.distances)
        for name in ("offsets", "rows", "cols", "mass"):
            np.testing.assert_array_equal(getattr(solved.plans, name), getattr(reference.plans, name))


def test_blocks_cover_every_pair_once(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 40)
    sizes, pairs = np.array(SIZES), square_pairs(len(SIZES))
    blocks = list(module._blocks(sizes, pairs))
    np.testing.assert_array_equal(np.concatenate(blocks), pairs)
    assert len(blocks) > 3


def test_threads_follow_the_active_joblib_configuration():
    with joblib.parallel_config(n_jobs=2):
        assert module.n_threads(None) == 2
        assert module.n_threads(3) == 3
    for one in ({"n_jobs": 1}, {"backend": "threading", "n_jobs": 1}, {"backend": "sequential"}):
        with joblib.parallel_config(**one):
            assert module.n_threads(None) == 1
    for all_cores in ({"backend": "threading"}, {"n_jobs": -1}):
        with joblib.parallel_config(**all_cores):
            assert module.n_threads(None) == joblib.cpu_count()


def test_plans_are_kept_on_request_only():
    measures = Measures.from_arrays([np.eye(2), np.ones((1, 2))])
    assert solve_pairs(measures, square_pairs(2)).plans is None


# the three ways to solve a pair: "simplex" by blocks or pair by pair, and "pot"


def validated(measures, pairs, solved):
    """Assert that plans are plans of the pairs, between the points of the caller; return their cost."""
    plans = solved.plans
    np.testing.assert_array_equal(plans.sizes, np.diff(plans.offsets))
    for p, (i, j) in enumerate(pairs):
        entries = slice(plans.offsets[p], plans.offsets[p + 1])
        for measure, index in ((i, plans.rows[entries]), (j, plans.cols[entries])):
            mass = np.bincount(index, plans.mass[entries], minlength=len(measures.weights))
            own = np.zeros(len(measures.weights))
            own[measures.offsets[measure] : measures.offsets[measure + 1]] = measures[measure][1]
            np.testing.assert_allclose(mass, own, rtol=0, atol=1e-14)
        assert (plans.mass[entries] > 0).all()
        assert plans.sizes[p] <= np.count_nonzero(measures[i][1]) + np.count_nonzero(measures[j][1]) - 1
    return plans.sum_by_pair(plans.edge_lengths(measures.points.astype(np.float64)))


ENGINES = ("compiled blocks", "compiled pairs", "pot")


@pytest.fixture
def use_engine(monkeypatch):
    """Return the method of an engine, and a list of the calls of `solve_block`."""
    solve_block, calls = module.simplex.solve_block, []

    def counted(*args, **kwargs):
        calls.append(1)
        return solve_block(*args, **kwargs)

    def use(engine):
        if engine == "compiled pairs":
            monkeypatch.setattr(module, "sp", SimpleNamespace(issparse=lambda points: True))
        monkeypatch.setattr(module.simplex, "solve_block", counted)
        return ("pot" if engine == "pot" else "simplex"), calls

    return use


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["uniform", "random", "some without mass", "mixed"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_engines_agree(use_engine, emd2, engine, kind, dtype):
    rng = np.random.default_rng(10)
    clouds, weights = [x.astype(dtype) for x in ragged(rng, 3)], random_weights(rng)
    if kind == "some without mass":
        for w in weights[1:]:
            w[rng.integers(len(w))] = 0
            w /= w.sum()
    elif kind == "mixed":
        weights[::2] = [np.full(len(w), 1 / len(w)) for w in weights[::2]]
    measures = Measures.from_arrays(clouds, None if kind == "uniform" else weights)
    pairs = np.concatenate([square_pairs(len(clouds)), [[2, 0], [3, 3]]])
    method, calls = use_engine(engine)
    solved = solve_pairs(measures, pairs, method=method, keep_plans=True)
    assert bool(calls) == (engine == "compiled blocks")
    np.testing.assert_allclose(validated(measures, pairs, solved), solved.distances, rtol=1e-12, atol=1e-15)
    split = [measures[i] for i in range(len(measures))]
    expected = [emd2(split[i][0], split[j][0], split[i][1], split[j][1]) for i, j in pairs]
    np.testing.assert_allclose(solved.distances, expected, rtol=1e-12, atol=1e-15)
    assert 0 <= solved.gap < 1e-12
    bare = solve_pairs(measures, pairs, method=method)
    assert bare.plans is None
    np.testing.assert_array_equal(bare.distances, solved.distances)
    assert bare.gap == solved.gap


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_give_zero_to_copies_in_another_order(use_engine, engine):
    rng = np.random.default_rng(11)
    x, order = 100 + rng.normal(size=(40, 3)), rng.permutation(40)
    weights = rng.integers(1, 4, size=40).astype(float)  # many alike
    method, _ = use_engine(engine)
    for w in (np.ones(40), weights):
        copies = Measures.from_arrays([x, x[order]], [w, w[order]])
        distances, error = pairwise_distances(copies, solver=Exact(method))
        np.testing.assert_allclose(distances, 0, atol=1e-14)
        if engine != "pot":
            np.testing.assert_array_equal(distances, 0)
            assert error == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_trees_of_points_elsewhere_as_a_start(use_engine, monkeypatch, engine):
    rng = np.random.default_rng(19)
    weights = random_weights(rng)
    for w in weights[1:]:
        w[rng.integers(len(w))] = 0
    measures = Measures.from_arrays(ragged(rng, 3), weights)
    pairs = square_pairs(len(measures))[::-1]
    moved = measures.with_points(measures.points + 0.01 * rng.normal(size=measures.points.shape))
    expected = solve_pairs(moved, pairs, keep_plans=True)
    method, _ = use_engine(engine)
    trees = solve_pairs(measures, pairs, method=method, keep_plans=True, keep_trees=True).plans
    positive = np.add.reduceat(measures.weights > 0, measures.offsets[:-1])
    if engine == "compiled blocks":
        np.testing.assert_array_equal(trees.sizes, positive[pairs].sum(axis=1) - 1)
    assert (measures.weights[trees.rows] > 0).all()
    for block in (1, 40, 10**9):
        monkeypatch.setattr(module, "_BLOCK_ENTRIES", block)
        solved = solve_pairs(moved, pairs, method=method, keep_plans=True, start=trees)
        np.testing.assert_allclose(solved.distances, expected.distances, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(validated(moved, pairs, solved), solved.distances, rtol=1e-12, atol=1e-15)
        assert solved.gap < 1e-12


@pytest.mark.parametrize("n_without_mass", [0, 2])
def test_the_start_of_a_pair_is_its_own(monkeypatch, n_without_mass):
    rng = np.random.default_rng(20)
    weights = random_weights(rng)[1:]
    for w in weights:
        w[:n_without_mass] = 0
    spread = Measures.from_arrays(ragged(rng, 3)[1:], weights)
    pairs = square_pairs(len(spread))
    trees = solve_pairs(spread, pairs, keep_plans=True, keep_trees=True).plans
    # all points of a sample in one place: every tree is optimal, so that a start is kept
    place = np.repeat(rng.normal(size=(len(spread), 3)), spread.sizes, axis=0)
    for block in (1, 60, 10**9):
        monkeypatch.setattr(module, "_BLOCK_ENTRIES", block)
        kept = solve_pairs(spread.with_points(place), pairs, keep_plans=True, keep_trees=True, start=trees).plans
        for p in range(len(pairs)):
            entries = slice(trees.offsets[p], trees.offsets[p + 1])
            assert {*zip(kept.rows[entries], kept.cols[entries], strict=True)} == {
                *zip(trees.rows[entries], trees.cols[entries], strict=True)
            }


def test_very_different_sizes_in_one_cohort(emd2_matrix):
    rng = np.random.default_rng(12)
    clouds = [rng.normal(size=(n, 2)) for n in (2, 2000, 30, 1, 2)]
    weights = [None, *random_weights(rng, (2000, 30, 1, 2))]
    weights[0] = np.array([1e-9, 1 - 1e-9])
    measures, pairs = Measures.from_arrays(clouds, weights), square_pairs(5)
    solved = solve_pairs(measures, pairs, keep_plans=True)
    np.testing.assert_allclose(validated(measures, pairs, solved), solved.distances, rtol=1e-12)
    expected = emd2_matrix(clouds, weights=weights)[pairs[:, 0], pairs[:, 1]]
    np.testing.assert_allclose(solved.distances, expected, rtol=1e-11)
    assert solved.gap < 1e-12


def test_points_without_mass_take_no_part():
    rng = np.random.default_rng(13)
    clouds, weights = ragged(rng, 3), random_weights(rng)
    far = [np.concatenate([x, np.full((2, 3), 1e6), x])[rng.permutation(2 * len(x) + 2)] for x in clouds]
    padded = []
    for cloud, x, w in zip(far, clouds, weights, strict=True):
        mass = np.zeros(len(cloud))
        for point, share in zip(x, w, strict=True):
            mass[np.flatnonzero((cloud == point).all(axis=1))[0]] += share
        padded.append(mass)
    pairs = square_pairs(len(clouds))
    expected = solve_pairs(Measures.from_arrays(clouds, weights), pairs)
    measures = Measures.from_arrays(far, padded)
    solved = solve_pairs(measures, pairs, keep_plans=True)
    np.testing.assert_allclose(solved.distances, expected.distances, rtol=1e-12)
    np.testing.assert_allclose(validated(measures, pairs, solved), solved.distances, rtol=1e-12)
    assert (measures.weights[solved.plans.rows] > 0).all()
    assert (measures.weights[solved.plans.cols] > 0).all()


@pytest.mark.parametrize("d", [3, PRODUCTS_FROM])
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_backends_do_not_change_a_bit(monkeypatch, backend, d):
    rng = np.random.default_rng(14)
    measures = Measures.from_arrays(ragged(rng, d), random_weights(rng))
    pairs = square_pairs(len(measures))
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 100)
    expected = solve_pairs(measures, pairs, keep_plans=True, n_jobs=1)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        for n_jobs in (None, 2):
            solved = solve_pairs(measures, pairs, keep_plans=True, n_jobs=n_jobs)
            assert solved.gap == expected.gap
            np.testing.assert_array_equal(solved.distances, expected.distances)
            for name in ("offsets", "rows", "cols", "mass"):
                np.testing.assert_array_equal(getattr(solved.plans, name), getattr(expected.plans, name))


def test_a_backend_that_keeps_results_back_is_an_error():
    measures = Measures.from_arrays(ragged(np.random.default_rng(14), 3))
    with joblib.parallel_config(backend="multiprocessing"):
        with pytest.raises(ValueError, match=r"MultiprocessingBackend cannot .*\(backend='loky'\)"):
            pairwise_distances(measures)
    with joblib.parallel_config(backend="sequential"):
        pairwise_distances(measures)


def test_blocks_are_of_like_work(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 1000)
    sizes = np.array([30, 2, 20, 25, 40, 1, 10, 33])
    pairs = square_pairs(len(sizes))
    work = sizes[pairs[:, 0]] * sizes[pairs[:, 1]]
    blocks = list(module._blocks(sizes, pairs))
    np.testing.assert_array_equal(np.concatenate(blocks), pairs)
    totals = [np.prod(sizes[block], axis=1).sum() for block in blocks]
    assert max(totals) <= 1000 + work.max()
    assert len(blocks) >= work.sum() / (1000 + work.max())
    assert list(module._blocks(sizes, pairs[:0])) == []


@pytest.mark.filterwarnings("ignore:numItermax reached")  # by POT itself
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_pot_does_not_solve_is_an_error(monkeypatch, n_jobs):
    rng = np.random.default_rng(9)
    measures = Measures.from_arrays([rng.normal(size=(n, 2)) for n in (40, 30)])
    monkeypatch.setattr(module, "_MAX_SIMPLEX_ITERATIONS", 1)
    with pytest.raises(RuntimeError, match="of 40 x 30 points was not solved: numItermax reached"):
        solve_pairs(measures, square_pairs(2), method="pot", n_jobs=n_jobs)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_by_pot_whatever_the_scale(scale):
    rng = np.random.default_rng(15)
    costs, a, b = scale * rng.random((12, 9)), *random_weights(rng, (12, 9))
    distance, bound, rows, cols, mass = module._by_pot(costs, a, b)
    np.testing.assert_allclose(distance, module.simplex.solve(costs, a, b)[0], rtol=1e-12)
    np.testing.assert_allclose(bound, distance, rtol=1e-12)
    np.testing.assert_allclose(mass @ costs[rows, cols], distance, rtol=1e-12)
    assert module._by_pot(np.zeros((2, 2)), np.full(2, 0.5), np.full(2, 0.5))[:2] == (0, 0)


def test_bound_is_below_the_distance_when_the_plan_is_not_optimal(monkeypatch):
    rng = np.random.default_rng(16)
    costs, a, b = rng.random((7, 5)), *random_weights(rng, (7, 5))
    best = module.simplex.solve(costs, a, b)[0]
    emd = ot.emd

    def worse(a, b, costs, **kwargs):
        _, log = emd(a, b, costs, **kwargs)
        return np.outer(a, b), {**log, "u": log["u"] + shift}

    monkeypatch.setattr(ot, "emd", worse)
    shift = 0.0  # optimal potentials: the bound is the optimum, whatever the plan
    distance, bound, *_ = module._by_pot(costs, a, b)
    np.testing.assert_allclose(distance, a @ costs @ b)
    np.testing.assert_allclose(bound, best, rtol=1e-12)
    for _ in range(5):  # any other potentials: looser, never too tight
        shift = rng.normal(scale=0.3, size=7)
        assert module._by_pot(costs, a, b)[1] < best


def test_relative_gaps():
    distances, bounds = np.array([2.0, 2.0, 2.0, 0.0, 0.0]), np.array([1.5, 2.0, 2.1, 0.0, -1e-17])
    np.testing.assert_array_equal(module._relative_gaps(distances, bounds), [0.25, 0, 0, 0, 0])
    assert module._relative_gaps(np.empty(0), np.empty(0)).shape == (0,)


def test_gap_is_the_largest_of_the_pairs(monkeypatch):
    measures = Measures.from_arrays([np.eye(3), 2 * np.eye(3), np.ones((2, 3))])
    solve_block = module.simplex.solve_block

    def looser(clouds, pairs, **options):
        distances, _, *rest = solve_block(clouds, pairs, **options)
        return distances, distances * (1 - 0.1 * (pairs == [0, 2]).all(axis=1)), *rest

    monkeypatch.setattr(module.simplex, "solve_block", looser)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 1)
    np.testing.assert_allclose(solve_pairs(measures, square_pairs(3)).gap, 0.1)


@pytest.mark.parametrize("cost", ["cityblock", "cosine"])
def test_other_costs_have_plans(cost):
    rng = np.random.default_rng(17)
    measures = Measures.from_arrays([1 + x for x in ragged(rng, 5)], random_weights(rng))
    pairs = square_pairs(len(measures))
    solved = solve_pairs(measures, pairs, cost=cost, keep_plans=True)
    validated(measures, pairs, solved)
    x, plans = measures.points, solved.plans
    costs = cdist(x, x, cost)[plans.rows, plans.cols]
    np.testing.assert_allclose(plans.sum_by_pair(costs), solved.distances, rtol=1e-12, atol=1e-15)


# errors and interrupts


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_an_error_ends_the_computation(monkeypatch, n_jobs):
    measures = Measures.from_arrays(list(np.random.default_rng(18).normal(size=(60, 4, 2))))
    n_calls, solve_block = 0, module._solve_block

    def failing(*args):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 10:
            raise RuntimeError("no luck")
        return solve_block(*args)

    monkeypatch.setattr(module, "_solve_block", failing)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 1)
    with pytest.raises(RuntimeError, match="no luck"):
        solve_pairs(measures, square_pairs(60), n_jobs=n_jobs)
    assert n_calls < 900  # of 1770: threads that have begun may go on for a while


INTERRUPTS = """
import os, signal, threading, time
import numpy as np
from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background

def interrupt():
    global sent
    sent = time.process_time()  # which other work on the machine does not lengthen
    os.kill(os.getpid(), signal.SIGINT)

rng = np.random.default_rng(0)
small, large = (60, 800), (2, 9000)  # many pairs, and a single one that takes some eight seconds
for (n, size), width, n_jobs, cost in (
    (small, 10, 1, "euclidean"), (small, 10, 2, "euclidean"), (small, {wide}, 1, "euclidean"),
    (small, {wide}, 2, "euclidean"), (large, 10, 1, "euclidean"), (large, 10, 2, "euclidean"), (large, 2, 1, "cityblock"),
):
    pairwise_distances(Measures.from_arrays(list(rng.normal(size=(3, 20, width)))), cost=cost)  # compiled by now
    measures = Measures.from_arrays(list(rng.normal(size=(n, size, width))))
    threading.Timer(0.5 if n > 2 else 1.5, interrupt).start()
    try:
        pairwise_distances(measures, n_jobs=n_jobs, cost=cost)
        print("finished")
    except KeyboardInterrupt:
        print("interrupted after", time.process_time() - sent)
    ended, last = time.process_time(), -1.0
    for _ in range(200):  # until no thread is busy, which takes longer on a busy machine
        if time.process_time() - last < 0.01:
            break
        last = time.process_time()
        time.sleep(0.25)
    else:
        print("still busy")
    print("then busy for", time.process_time() - ended)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_comes_back_soon_and_leaves_nothing_running():
    program = INTERRUPTS.format(wide=PRODUCTS_FROM)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stderr == ""
    words = [line.split() for line in ran.stdout.splitlines()]
    assert [" ".join(w[:-1]) for w in words] == ["interrupted after", "then busy for"] * 7
    assert max(float(w[-1]) for w in words[::2]) < 2
    # seconds of processor time: the matrix of costs is not interrupted
    assert max(float(w[-1]) for w in words[1::2]) < 5
