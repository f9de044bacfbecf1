"""Canonical variates and Wasserstein discriminant analysis, against POT and a loop."""

from __future__ import annotations

import builtins
import itertools
from dataclasses import replace

import numpy as np
import ot
import pytest
import scipy.linalg

from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances
from scggml.evaluation._canonical_variates import canonical_variates
from scggml.evaluation._methods import named_methods
from scggml.evaluation._splits import Split

SPLIT = Split(0, 0, np.array([0, 1, 2, 3, 5, 6, 7, 8]), np.array([4, 9]))


def plan_and_distance(x, y, a, b):
    cost = ot.dist(x, y)
    plan = ot.emd(a, b, cost)
    return plan, (plan * cost).sum()


def moments(measures, codes, directions):
    """Mean second moments of differences between and within classes, and mean squared distances, by loops over pairs."""
    d = measures.n_features
    sums = {same: [np.zeros((d, d)), 0.0, 0] for same in (True, False)}
    for i, j in itertools.combinations(range(len(measures)), 2):
        (x, a), (y, b) = measures[i], measures[j]
        plan, squared = plan_and_distance(x @ directions, y @ directions, a, b)
        moment = sum(plan[r, c] * np.outer(x[r] - y[c], x[r] - y[c]) for r, c in zip(*np.nonzero(plan), strict=True))
        part = sums[bool(codes[i] == codes[j])]
        part[0] += moment
        part[1] += squared
        part[2] += 1
    return [(total / n, squared / n) for total, squared, n in (sums[False], sums[True])]


def reference(measures, codes, k, n_rounds=10):
    directions, best, found = np.eye(measures.n_features), -np.inf, None
    (between, _), (within, _) = moments(measures, codes, directions)
    for _ in range(n_rounds):
        ridge = 1e-6 * np.trace(within) / len(within) * np.eye(len(within))
        values, vectors = scipy.linalg.eig(between, within + ridge)
        order = np.argsort(-values.real)[:k]
        directions = vectors[:, order].real
        directions /= np.sqrt(np.einsum("ik,ij,jk->k", directions, within + ridge, directions))
        (between, far), (within, near) = moments(measures, codes, directions)
        if far / near > best:
            found = directions
        if far / near <= best * 1.001:
            break
        best = far / near
    return found, best


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_directions_are_those_of_a_loop_with_plans_of_pot(cohort, k, weighted):
    samples = cohort(n_cells=10, n_per_class=4)
    arrays = samples.measures.split()
    weights = [np.random.default_rng(i).uniform(0.5, 1, len(x)) for i, x in enumerate(arrays)]
    measures = Measures.from_arrays(arrays, weights if weighted else None)
    found = canonical_variates(measures, samples.codes, n_comps=k, n_jobs=1)
    expected, _ = reference(measures, samples.codes, k)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-4, atol=1e-6)  # signs are arbitrary


def test_held_out_distances_are_wasserstein_2_in_the_subspace(cohort):
    samples = cohort()
    train, test = samples.take(SPLIT.train).measures, samples.take(SPLIT.test).measures
    sd = np.sqrt(train.weights @ (train.points - train.weights @ train.points / 8) ** 2 / 8)
    scaled = [m.with_points(m.points / sd) for m in (train, test)]
    directions = canonical_variates(scaled[0], samples.codes[SPLIT.train])
    expected = [
        [np.sqrt(plan_and_distance(x @ directions, y @ directions, ot.unif(len(x)), ot.unif(len(y)))[1])
         for y in scaled[0].split()]
        for x in scaled[1].split()
    ]  # fmt: skip
    found = named_methods(["canonical_variates"], samples=samples)["canonical_variates"].held_out(samples, SPLIT, 0, 1)
    np.testing.assert_allclose(found.to_train, expected, rtol=1e-6)
    assert found.class_scores is None


def test_it_finds_the_direction_of_the_classes(cohort):
    """The first feature is the label's, the second is noise that is four times as large."""
    samples = cohort(n_cells=30, effect=3.0)
    directions = canonical_variates(samples.measures, samples.codes, n_comps=1)[:, 0]
    assert abs(directions[0]) > 5 * np.abs(directions[1:]).max()


def test_constant_features_take_no_part(cohort):
    samples = cohort()
    points = np.column_stack([samples.measures.points, np.full(samples.measures.points.shape[0], 7.0)])
    more = replace(samples, measures=samples.measures.with_points(points))
    one, other = (
        named_methods(["canonical_variates"], samples=s)["canonical_variates"].held_out(s, SPLIT, 0, 1)
        for s in (samples, more)
    )
    np.testing.assert_allclose(one.to_train, other.to_train)


@pytest.mark.parametrize(
    ("name", "kind", "needed"),
    [
        ("canonical_variates", "ordinal", "needs classes, not ordinal ones"),
        ("canonical_variates", "continuous", "needs classes, not continuous ones"),
        ("wda", "continuous", "needs classes or ordinal labels, not continuous ones"),
        ("lda", "continuous", "needs classes or ordinal labels, not continuous ones"),
    ],
)
def test_kinds_of_labels_that_they_cannot_take(cohort, name, kind, needed):
    samples = replace(cohort(), kind=kind, values=np.arange(10.0))
    with pytest.raises(ValueError, match=f"methods holds '{name}', which {needed}. Leave it out."):
        named_methods([name], samples=samples)


def test_discriminant_analysis_of_pot(cohort):
    pytest.importorskip("autograd", reason="the extra wda is not installed")
    from ot.dr import wda
    from pymanopt.optimizers import SteepestDescent
    from sklearn.decomposition import PCA

    samples = cohort(d=5)
    train, test = samples.take(SPLIT.train).measures, samples.take(SPLIT.test).measures
    sd = np.sqrt(train.weights @ (train.points - train.weights @ train.points / 8) ** 2 / 8)
    codes = np.repeat(samples.codes[SPLIT.train], train.sizes)
    x = train.points / sd
    # all cells take part, but in the order in which they were drawn
    order = np.random.default_rng(0).permutation(len(x))
    order = np.concatenate([order[codes[order] == c] for c in (0, 1)])
    start = PCA(2, svd_solver="full").fit(x[order]).components_.T
    solver = SteepestDescent(max_iterations=50, verbosity=0)
    directions, _ = wda(x[order].copy(), codes[order], p=2, P0=start, solver=solver)
    expected = pairwise_distances(*(m.with_points(m.points / sd @ directions) for m in (test, train)))[0]
    found = named_methods(["wda"], samples=samples)["wda"].held_out(samples, SPLIT, 0, 1)
    np.testing.assert_allclose(found.to_train, expected, rtol=1e-6)


def test_what_discriminant_analysis_needs_is_said(cohort, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "ot.dr":
            raise ImportError("no autograd")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        ImportError, match=r'needs autograd and pymanopt. Install them with: pip install "scggml\[wda\]"'
    ):
        named_methods(["wda"], samples=cohort())
