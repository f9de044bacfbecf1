"""Exact and entropic solvers behind one interface."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.transport._checkpoint import Checkpoint
from scggml.core.transport._entropic import solve_pairs_entropic
from scggml.core.transport._exact import solve_pairs, square_pairs
from scggml.core.transport._solvers import Entropic, Exact, Sinkhorn, is_on_gpu

EPSILON = 0.5
SOLVERS = {
    "simplex": Exact(),
    "pot": Exact("pot"),
    "entropic": Entropic(EPSILON, device="cpu"),
    "debiased": Entropic(EPSILON, debiased=True, device="cpu"),
}
PAIRS = square_pairs(3)
SLOPE = np.array([1.0, -0.5, 2.0])


@pytest.fixture(params=SOLVERS)
def solver(request):
    return SOLVERS[request.param]


@pytest.fixture
def measures():
    rng = np.random.default_rng(0)
    sizes = (5, 8, 6)
    return Measures.from_arrays(
        [rng.normal(size=(n, 3)) + rng.normal(size=3) for n in sizes], [rng.uniform(0.1, 1, size=n) for n in sizes]
    )


def pot_plan(measures, i, j, solver):
    (x, a), (y, b) = measures[i], measures[j]
    costs = cdist(x, y)
    if isinstance(solver, Exact):
        return costs, ot.emd(a, b, costs)
    return costs, ot.sinkhorn(a, b, costs, solver.epsilon, method="sinkhorn_log", stopThr=1e-12, numItermax=100_000)


def pot_distance(measures, i, j, solver):
    costs, plan = pot_plan(measures, i, j, solver)
    if isinstance(solver, Exact):
        return (plan * costs).sum()
    return (plan * costs).sum() + solver.epsilon * (
        plan * np.log(plan / np.outer(measures[i][1], measures[j][1]))
    ).sum()


def test_distances_equal_pot(measures, solver):
    solved = solver.solve(measures, PAIRS)
    expected = np.array([pot_distance(measures, i, j, solver) for i, j in PAIRS])
    if isinstance(solver, Entropic) and solver.debiased:
        own = np.array([pot_distance(measures, i, i, solver) for i in range(3)])
        expected -= own[PAIRS].mean(axis=1)
    np.testing.assert_allclose(solved.distances, expected, rtol=1e-7)
    np.testing.assert_array_equal(solved.pairs, PAIRS)
    assert 0 <= solved.error <= (1e-12 if isinstance(solver, Exact) else 1e-6)
    assert isinstance(solved.error, float)


def test_gradient_equals_finite_differences(measures, solver):
    gradient = solver.solve(measures, PAIRS, keep_plans=True).gradient(SLOPE)
    assert gradient.shape == measures.points.shape

    def value(points):
        return SLOPE @ solver.solve(measures.with_points(points), PAIRS).distances

    h = 1e-4  # its square is far above the errors of entropic values
    for index in [*np.ndindex(*gradient.shape)][::5]:
        step = np.zeros_like(gradient)
        step[index] = h
        difference = (value(measures.points + step) - value(measures.points - step)) / (2 * h)
        np.testing.assert_allclose(gradient[index], difference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_second_moment_is_a_sum_over_plans(measures, solver, kind):
    x = np.random.default_rng(1).poisson(1.0, size=(len(measures.weights), 4)).astype(float)
    expected = np.zeros((4, 4))
    for weight, (i, j) in zip(SLOPE, PAIRS, strict=True):
        _, plan = pot_plan(measures, i, j, solver)
        own = [x[measures.offsets[m] : measures.offsets[m + 1]] for m in (i, j)]
        for a, b in np.ndindex(*plan.shape):
            difference = own[0][a] - own[1][b]
            expected += weight * plan[a, b] * np.outer(difference, difference)
    solved = solver.solve(measures, PAIRS, keep_plans=True)
    np.testing.assert_allclose(solved.second_moment(kind(x), SLOPE), expected, rtol=1e-5, atol=1e-5)
    both = solved.second_moments(kind(x), [SLOPE, 2 * SLOPE], n_jobs=2)
    np.testing.assert_allclose(both, [expected, 2 * expected], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["simplex", "pot"])
def test_moved_exact_transport_holds_its_plans(measures, method):
    solved = Exact(method).solve(measures, PAIRS, keep_plans=True)
    other = measures.with_points(measures.points + np.random.default_rng(2).normal(size=measures.points.shape))
    moved = solved.moved(other)
    assert moved.plans is solved.plans and moved.measures is other
    lengths = np.linalg.norm(other.points[solved.plans.rows] - other.points[solved.plans.cols], axis=1)
    expected = [part.sum() for part in np.split(solved.plans.mass * lengths, solved.plans.offsets[1:-1])]
    np.testing.assert_allclose(moved.distances, expected, rtol=1e-12)
    best = Exact(method).solve(other, PAIRS).distances
    assert (moved.distances >= best * (1 - 1e-12)).all() and (moved.distances > best * 1.001).any()
    np.testing.assert_array_equal(solved.moved(measures).gradient(SLOPE), solved.gradient(SLOPE))


@pytest.mark.parametrize("debiased", [False, True])
def test_moved_entropic_transport_is_up_to_date(measures, debiased):
    solver = Entropic(0.1, debiased, "cpu")
    solved = solver.solve(measures, PAIRS)
    other = measures.with_points(measures.points + 1e-3 * np.random.default_rng(2).normal(size=measures.points.shape))
    moved, cold = solved.moved(other), solver.solve(other, PAIRS)
    np.testing.assert_allclose(moved.distances, cold.distances, rtol=1e-7)
    np.testing.assert_allclose(moved.gradient(SLOPE), cold.gradient(SLOPE), atol=1e-4)
    assert abs(moved.distances - solved.distances).max() > 1e-5
    assert moved.n_iter.sum() < cold.n_iter.sum()  # from the potentials
    assert (moved.self_terms is not None) == debiased


def test_start_does_not_change_distances(measures, solver):
    first = solver.solve(measures, PAIRS, keep_plans=True, keep_trees=True)
    other = measures.with_points(measures.points + 0.01)
    other.points[0] += 0.3
    again = solver.solve(other, PAIRS, start=first.start)
    np.testing.assert_allclose(again.distances, solver.solve(other, PAIRS).distances, rtol=1e-7)
    assert (abs(again.distances - first.distances)[:2] > 1e-4).all()


def test_options_reach_the_solvers(measures):
    for method in ("simplex", "pot"):
        found = Exact(method).solve(measures, PAIRS, cost="cityblock", keep_plans=True, keep_trees=True, n_jobs=1)
        expected = solve_pairs(measures, PAIRS, cost="cityblock", method=method, keep_plans=True, keep_trees=True)
        np.testing.assert_array_equal(found.distances, expected.distances)
        np.testing.assert_array_equal(found.plans.rows, expected.plans.rows)
    found = Entropic(0.3, debiased=True, device="cpu").solve(measures, PAIRS)
    expected = solve_pairs_entropic(measures, PAIRS, epsilon=0.3, debiased=True, device="cpu")
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.epsilon == 0.3


def test_sparse_plans_are_those_of_exact_transport_that_keeps_them(measures, solver):
    bare = solver.solve(measures, PAIRS)
    assert bare.plans is None
    with pytest.raises(ValueError, match=r"no sparse plans\. Solve exactly, with keep_plans=True"):
        _ = bare.known_plans
    if isinstance(solver, Exact):
        solved = solver.solve(measures, PAIRS, keep_plans=True)
        assert solved.known_plans is solved.plans is solved.start


def test_entropic_transport_refuses_other_costs(measures):
    with pytest.raises(ValueError, match=r"found cost='cityblock'. Pass solver=Exact\(\)"):
        Entropic(EPSILON).solve(measures, PAIRS, cost="cityblock")


def test_entropic_transport_refuses_checkpoints(measures, tmp_path):
    with (
        Checkpoint.open(tmp_path / "distances", "a problem") as checkpoint,
        pytest.raises(ValueError, match=r"entropic transport has no checkpoints.* Leave checkpoint out"),
    ):
        Entropic(EPSILON).solve(measures, PAIRS, checkpoint=checkpoint)


def test_strength_is_relative_to_the_typical_cost():
    x = np.random.default_rng(1).normal(size=(40, 3)) * [1, 2, 5]
    measures = Measures.from_arrays([x[:20], x[20:]])
    found = Sinkhorn(reg=0.2, debiased=True, device="cpu").at(measures)
    assert found == Entropic(found.epsilon, debiased=True, device="cpu")
    np.testing.assert_allclose(found.epsilon, 0.2 * np.sqrt((cdist(x, x) ** 2).mean()), rtol=1e-12)
    np.testing.assert_allclose(Sinkhorn(reg=0.2).at(measures.with_points(7 * x)).epsilon, 7 * found.epsilon, rtol=1e-12)
    assert Sinkhorn() == Sinkhorn(reg=0.05, debiased=False, device=None)


def test_exact_transport_suits_any_measures_and_unit(measures):
    for solver in (Exact(), Exact("pot")):
        assert solver.at(measures) is solver
        assert solver.in_unit(3.0) is solver


@pytest.mark.parametrize("debiased", [False, True])
def test_unit_of_distances(measures, debiased):
    solver = Entropic(EPSILON, debiased, "cpu")
    assert solver.in_unit(4.0) == Entropic(EPSILON / 4, debiased, "cpu")
    found = solver.in_unit(4.0).solve(measures.with_points(measures.points / 4), PAIRS)
    np.testing.assert_allclose(4 * found.distances, solver.solve(measures, PAIRS).distances, rtol=1e-9)


def test_solvers_are_frozen():
    for solver, name in ((Exact(), "method"), (Entropic(1.0), "epsilon"), (Sinkhorn(), "reg")):
        with pytest.raises(FrozenInstanceError):
            setattr(solver, name, getattr(solver, name))


def test_sinkhorn_is_public():
    assert sg.Sinkhorn is Sinkhorn


@pytest.mark.parametrize(("n_gpus", "device", "expected"), [(0, None, False), (1, None, True), (1, "cpu", False)])
def test_which_solvers_are_on_a_gpu(monkeypatch, n_gpus, device, expected):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    assert is_on_gpu(Sinkhorn(device=device)) is is_on_gpu(Entropic(0.1, False, device)) is expected
    assert not is_on_gpu(Exact())
