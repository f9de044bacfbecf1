from __future__ import annotations

import joblib
import numpy as np
import ot
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from scggml.core import Measures, cross_pairs, pairwise_distances, solve_pairs, square_pairs
from scggml.core import _transport as module

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
    distances, gap = pairwise_distances(Measures.from_arrays(points, weights))
    expected = emd2_matrix(clouds, weights=weights)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(distances, expected, rtol=1e-10, atol=0)
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_array_equal(np.diag(distances), 0)
    assert 0 <= gap < 1e-12


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
            distances, gap = pairwise_distances(Measures.from_arrays([kind(x), kind(x[::-1].copy())]))
            np.testing.assert_array_equal(distances, 0)
            assert gap == 0


@pytest.mark.parametrize("cost", ["cityblock", "cosine"])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_other_costs_equal_emd2(cost, kind):
    clouds = [1 + x for x in ragged(np.random.default_rng(3), 50)]
    distances, gap = pairwise_distances(Measures.from_arrays([kind(x) for x in clouds]), cost=cost)
    for i, x in enumerate(clouds):
        for j, y in enumerate(clouds[:i]):
            expected = ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cdist(x, y, cost))
            np.testing.assert_allclose(distances[i, j], expected, rtol=1e-10)
    np.testing.assert_array_equal(distances, distances.T)
    assert gap < 1e-12


def test_against_other_samples(emd2_matrix):
    rng = np.random.default_rng(4)
    left, right = [rng.normal(size=(n, 3)) for n in (3, 5)], [rng.normal(size=(n, 3)) for n in (4, 2, 6)]
    distances, _ = pairwise_distances(Measures.from_arrays(left), Measures.from_arrays(right))
    np.testing.assert_allclose(distances, emd2_matrix(left, right), rtol=1e-10)


def test_single_sample_and_no_pairs():
    measures = Measures.from_arrays([np.eye(3)])
    distances, gap = pairwise_distances(measures)
    np.testing.assert_array_equal(distances, [[0.0]])
    solved = solve_pairs(measures, np.empty((0, 2), dtype=np.int64), keep_plans=True)
    assert len(solved.distances) == len(solved.plans.mass) == 0
    assert gap == solved.gap == 0


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
        assert module._n_threads(None) == 2
        assert module._n_threads(3) == 3


def test_plans_have_the_marginals_and_cost_of_the_pair():
    rng = np.random.default_rng(6)
    measures = Measures.from_arrays(ragged(rng, 3), random_weights(rng))
    pairs = square_pairs(len(measures))[::-1]
    solved = solve_pairs(measures, pairs, keep_plans=True)
    plans = solved.plans
    lengths = plans.edge_lengths(measures.points)
    np.testing.assert_allclose(plans.sum_by_pair(lengths), solved.distances, rtol=1e-12)
    np.testing.assert_array_equal(plans.sizes, np.diff(plans.offsets))
    for p, (i, j) in enumerate(pairs):
        entries = slice(plans.offsets[p], plans.offsets[p + 1])
        for measure, index in ((i, plans.rows[entries]), (j, plans.cols[entries])):
            mass = np.bincount(index, plans.mass[entries], minlength=len(measures.weights))
            own = np.zeros(len(measures.weights))
            own[measures.offsets[measure] : measures.offsets[measure + 1]] = measures[measure][1]
            np.testing.assert_allclose(mass, own, atol=1e-14)
        assert plans.sizes[p] <= measures.sizes[i] + measures.sizes[j] - 1


def test_plans_are_kept_on_request_only():
    measures = Measures.from_arrays([np.eye(2), np.ones((1, 2))])
    assert solve_pairs(measures, square_pairs(2)).plans is None


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


def test_gap_is_a_true_bound(emd2):
    rng = np.random.default_rng(8)
    x, y, a, b = rng.normal(size=(7, 2)), rng.normal(size=(5, 2)), rng.random(7), rng.random(5)
    a[2] = 0
    a, b = a / a.sum(), b / b.sum()
    costs = cdist(x, y)
    best = emd2(x, y, a, b)
    independent = float(a @ costs @ b)
    solved = solve_pairs(Measures.from_arrays([x, y], [a, b]), square_pairs(2))
    np.testing.assert_allclose(solved.distances, best, rtol=1e-12)
    assert solved.gap < 1e-12
    potential = ot.emd2(a, b, costs, return_matrix=True, log=True)[1]["u"]
    # optimal potentials: the gap is exactly what a worse plan costs too much
    excess = (independent - best) / independent
    np.testing.assert_allclose(module._relative_gap(independent, costs, a, b, potential), excess, rtol=1e-9)
    # any other potentials: the bound is looser, never too tight
    for seed in range(5):
        u = potential + np.random.default_rng(seed).normal(scale=0.3, size=7)
        assert module._relative_gap(independent, costs, a, b, u) > excess
        assert module._relative_gap(best, costs, a, b, u) > 0


@pytest.mark.filterwarnings("ignore:numItermax reached")  # by POT itself
def test_unsolved_problems_are_an_error(monkeypatch):
    rng = np.random.default_rng(9)
    measures = Measures.from_arrays([rng.normal(size=(40, 2)) for _ in range(2)])
    monkeypatch.setattr(module, "_MAX_SIMPLEX_ITERATIONS", 1)
    with pytest.raises(RuntimeError, match="between measures 0 and 1 was not solved"):
        solve_pairs(measures, square_pairs(2), n_jobs=1)
