from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.metric._objective import REGULARIZERS, Objective, hinge, median_and_slope
from scggml.core.metric._targets import Targets
from scggml.core.metric._triplets import all_triplets
from scggml.core.transport._exact import solve_pairs

NORMS = {
    "frobenius": lambda w: np.sqrt((w**2).sum()),
    "l1": lambda w: sum(abs(x) for x in w.ravel()),
    "l21": lambda w: sum(np.sqrt((column**2).sum()) for column in w.T),
    "nuclear": lambda w: np.linalg.norm(w, "nuc"),
    "max_column_sum": lambda w: np.linalg.norm(w, 1),
}


def central_differences(f, w, step=1e-6):
    gradient = np.empty_like(w)
    for index in np.ndindex(w.shape):
        shifted = [w.copy(), w.copy()]
        shifted[0][index] += step
        shifted[1][index] -= step
        gradient[index] = (f(shifted[0]) - f(shifted[1])) / (2 * step)
    return gradient


def brute_loss(w, clouds, codes, emd2, *, margin, reg, norm, relative, reference):
    """The paper's objective from its definition, transport solved by `ot.emd2` at this W."""
    n = len(clouds)
    d = np.zeros((n, n))
    for i, j in itertools.combinations(range(n), 2):
        d[i, j] = d[j, i] = emd2(clouds[i] @ w.T, clouds[j] @ w.T)
    unit = np.median(d[np.triu_indices(n, 1)]) if relative else 1.0
    means = []
    for own, foreign in itertools.permutations(sorted(set(codes)), 2):
        terms = [
            max(0.0, (d[i, j] - d[j, k]) / unit + margin)
            for j, i, k in itertools.product(range(n), repeat=3)
            if i != j and codes[i] == codes[j] == own and codes[k] == foreign
        ]
        means.append(np.mean(terms))
    return np.mean(means) + reg * norm(w) / (reference * unit if relative else 1.0)


@pytest.fixture(scope="module")
def problem():
    def make(codes, seed):
        rng = np.random.default_rng(seed)
        clouds = [rng.normal(size=(n, 3)) for n in rng.integers(2, 6, size=len(codes))]
        return clouds, np.array(codes), rng.normal(size=(2, 3))

    return make


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("codes", [[0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 1, 2]], ids=["odd", "three classes"])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_value_and_gradient_of_the_full_objective(emd2, problem, name, relative, codes, kind):
    clouds, codes, w = problem(codes, seed=3)
    settings = {"margin": 0.5, "reg": 0.7, "relative": relative, "reference": 1.7}
    measures = Measures.from_arrays([kind(x) for x in clouds])
    triplets = all_triplets(Targets.of_classes(codes))
    objective = Objective(triplets, regularizer=name, **settings)
    solved = solve_pairs(measures.with_points(measures.points @ w.T), triplets.pairs, keep_plans=True)
    value, slope, explicit = objective(w, solved.distances)
    gradient = (measures.points.T @ solved.gradient(slope)).T + explicit

    def brute(at):
        return brute_loss(at, clouds, codes, emd2, norm=NORMS[name], **settings)

    np.testing.assert_allclose(value, brute(w), rtol=1e-10)
    expected = central_differences(brute, w)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("n", [4, 5])
def test_median_of_an_even_and_an_odd_number(n):
    values = np.random.default_rng(n).normal(size=n)
    median, slope = median_and_slope(values)
    assert median == np.median(values)
    np.testing.assert_allclose(slope, central_differences(np.median, values), atol=1e-8)


def test_hinge_slope_by_hand():
    # one triplet is violated: anchor 1, positive 0, negative 2
    triplets = all_triplets(Targets.of_classes(np.array([0, 0, 1])))
    np.testing.assert_array_equal(triplets.pairs, [[0, 1], [0, 2], [1, 2]])
    value, slope = hinge(triplets, np.array([1.0, 4.0, 1.5]), 1.0)
    np.testing.assert_allclose(value, 0.25)
    np.testing.assert_allclose(slope, [0.5, 0, -0.5])


def test_satisfied_means_that_every_triplet_keeps_its_margin():
    triplets = all_triplets(Targets.of_classes(np.array([0, 0, 1])))
    distances = np.array([1.0, 2.0, 3.0])  # slacks -1 and -2, median 2
    for relative, limit in ((False, 1.0), (True, 0.5)):
        for margin, expected in ((limit, True), (1.01 * limit, False)):
            assert Objective(triplets, margin, 0.1, "l1", relative).satisfied(distances) == expected


@pytest.mark.parametrize("name", NORMS)
def test_relative_objective_does_not_depend_on_the_size_of_the_map(problem, name):
    clouds, codes, w = problem([0, 1, 0, 1, 0, 1], seed=4)
    triplets, measures = all_triplets(Targets.of_classes(codes)), Measures.from_arrays(clouds)
    objective = Objective(triplets, 0.5, 0.3, name, relative=True, reference=2.0)
    values = [
        objective(
            factor * w, solve_pairs(measures.with_points(factor * measures.points @ w.T), triplets.pairs).distances
        )[0]
        for factor in (1, 1000)
    ]
    np.testing.assert_allclose(*values, rtol=1e-10)


@pytest.mark.parametrize("name", NORMS)
def test_norms_and_their_gradients(name):
    w = np.random.default_rng(5).normal(size=(3, 4))
    value, gradient = REGULARIZERS[name](w)
    np.testing.assert_allclose(value, NORMS[name](w), rtol=1e-12)
    np.testing.assert_allclose(gradient, central_differences(NORMS[name], w), atol=1e-8)


@pytest.mark.parametrize("name", NORMS)
def test_norms_have_a_subgradient_where_features_or_all_entries_are_zero(name):
    rng = np.random.default_rng(6)
    features = rng.normal(size=(2, 4))
    features[:, 1] = 0
    low_rank = np.outer([1.0, -2.0], [1.0, 0.0, 3.0])
    for w in (features, low_rank, np.zeros((2, 3))):
        value, gradient = REGULARIZERS[name](w)
        assert np.isfinite(gradient).all()
        for _ in range(30):  # a norm lies above each of its tangents
            other = w + rng.normal(scale=rng.choice([1e-3, 1]), size=w.shape)
            assert NORMS[name](other) >= value + (gradient * (other - w)).sum() - 1e-12


def test_l21_is_the_unit_vector_of_each_feature_and_zero_for_a_dropped_one():
    value, gradient = REGULARIZERS["l21"](np.array([[3.0, 0.0], [4.0, 0.0]]))
    assert value == 5
    np.testing.assert_allclose(gradient, [[0.6, 0], [0.8, 0]])


def test_cells_that_coincide_pull_with_no_nan():
    x = np.array([[0.0, 0.0], [1.0, 0.0]])
    measures = Measures.from_arrays([x, x + [[0, 0], [0, 2]]])
    w = np.array([[1.0, 0.5]])
    solved = solve_pairs(measures.with_points(measures.points @ w.T), np.array([[0, 1]]), keep_plans=True)
    gradient = (measures.points.T @ solved.gradient(np.ones(1))).T
    # one of two cells stays, the other moves by W (0, 2): D = |2 w_2| / 2
    np.testing.assert_allclose(solved.distances, [0.5])
    np.testing.assert_allclose(gradient, [[0, 1.0]])


def test_margins_of_triplets_enter_the_loss():
    triplets = all_triplets(Targets(np.array([1.5, 0.2, 0.9, 3.0, 2.2, 0.1, 4.0]), "continuous"))
    rng = np.random.default_rng(0)
    distances = rng.uniform(1, 2, size=len(triplets.pairs))
    table = {tuple(p): d for p, d in zip(triplets.pairs.tolist(), distances, strict=True)}

    def d(i, j):
        return table[tuple(sorted((int(i), int(j))))]

    objective = Objective(triplets, 0.7, 0.0, "frobenius", relative=False)
    slack = [
        max(0.0, d(j, i) - d(j, k) + 0.7 * m)
        for j, i, k, m in zip(triplets.anchor, triplets.positive, triplets.negative, triplets.margin, strict=True)
    ]
    assert objective(np.ones((1, 1)), distances)[0] == pytest.approx(float(triplets.weight @ slack))
