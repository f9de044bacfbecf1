"""Distances between distributions, against POT, scipy, scikit-learn and loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist
from scipy.stats import energy_distance
from sklearn.metrics.pairwise import rbf_kernel

from scggml.core.measures._measures import Measures
from scggml.evaluation import _divergences
from scggml.evaluation._divergences import DIVERGENCES, N_NEIGHBORS, energy, gloscope, mmd, sliced
from scggml.evaluation._methods import named_methods


def clouds(n_samples=4, n_cells=40, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n_cells + 3 * i, d)) * (1 + 0.3 * i) + 0.5 * i for i in range(n_samples)]


def weighted(arrays, seed=1):
    """Points of random weights, and the same cells one by one: a point of weight w is there w times."""
    rng = np.random.default_rng(seed)
    counts = [rng.integers(1, 4, size=len(x)) for x in arrays]
    return Measures.from_arrays(arrays, counts), Measures.from_arrays(
        [np.repeat(x, n, axis=0) for x, n in zip(arrays, counts, strict=True)]
    )


def test_gloscope_is_the_divergence_of_the_r_package():
    """Cell by cell, as `FNN::KL.dist` of the R package has it: a cell is no neighbour of its own."""
    arrays = clouds()
    trees = [cKDTree(x) for x in arrays]
    n, d = len(arrays), arrays[0].shape[1]
    one_way = np.zeros((n, n))
    for i, x in enumerate(arrays):
        for j, y in enumerate(arrays):
            logs = [
                np.log(trees[j].query(cell, k=N_NEIGHBORS)[0][-1] / trees[i].query(cell, k=N_NEIGHBORS + 1)[0][-1])
                for cell in x
            ]
            one_way[i, j] = d * np.mean(logs) + np.log(len(y) / len(x))
    expected = np.maximum(one_way + one_way.T, 0)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(gloscope(Measures.from_arrays(arrays), 0, 2), expected, rtol=1e-8, atol=1e-12)


def test_gloscope_of_like_samples_is_not_negative():
    found = gloscope(Measures.from_arrays([x for seed in range(6) for x in clouds(1, seed=seed)]), 0, 1)
    assert found.min() == 0 and (found[np.triu_indices(6, 1)] == 0).any()


def test_mmd_is_the_biased_statistic():
    arrays = clouds()
    uniform = Measures.from_arrays([x[:40] for x in arrays])
    width = np.quantile(pdist(uniform.points), 0.5, method="inverted_cdf")
    found = mmd(uniform, 0, 2)
    for i, x in enumerate(uniform.split()):
        for j, y in enumerate(uniform.split()):
            means = [rbf_kernel(a, b, gamma=1 / (2 * width**2)).mean() for a, b in ((x, x), (y, y), (x, y))]
            assert found[i, j] == pytest.approx(np.sqrt(max(means[0] + means[1] - 2 * means[2], 0)), abs=1e-7)


def test_energy_is_that_of_scipy_in_one_dimension():
    arrays = clouds(d=1)
    found = energy(Measures.from_arrays(arrays), 0, 2)
    for i, x in enumerate(arrays):
        for j, y in enumerate(arrays):
            assert found[i, j] == pytest.approx(energy_distance(x[:, 0], y[:, 0]), abs=1e-6)


def test_energy_by_hand():
    """A point at zero and one at (3, 4), and half of the mass at each: sqrt(2 * 5), and sqrt(2 * 2.5 - 2.5)."""
    measures = Measures.from_arrays([np.zeros((1, 2)), np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 4.0]])])
    expected = np.sqrt([[0, 10, 2.5], [10, 0, 2.5], [2.5, 2.5, 0]])
    np.testing.assert_allclose(energy(measures, 0, 1), expected, atol=1e-12)


def test_sliced_is_that_of_pot_with_one_set_of_directions():
    arrays = clouds()
    found = sliced(Measures.from_arrays(arrays), 5, 2)
    directions = ot.sliced.get_random_projections(3, 200, 5)
    for i, x in enumerate(arrays):
        for j, y in enumerate(arrays):
            expected = ot.sliced_wasserstein_distance(x, y, projections=directions, p=2)
            assert found[i, j] == pytest.approx(expected, abs=1e-10)


def test_sliced_of_shifted_samples():
    """A shift by s has the distance |s| / sqrt(d) on average over directions."""
    x = clouds(1, d=2)[0]
    found = sliced(Measures.from_arrays([x, x + [3.0, 0.0]]), 0, 1)[0, 1]
    assert found == pytest.approx(3 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("name", ["mmd", "energy", "sliced"])
def test_weights_stand_for_cells(monkeypatch, name):
    monkeypatch.setattr(_divergences, "_median_distance", lambda _: 1.7)
    one, other = (DIVERGENCES[name](m, 0, 1) for m in weighted(clouds()))
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_the_bandwidth_counts_weights():
    """The smallest distance that half of the mass of all pairs does not exceed."""
    measures = weighted(clouds(n_cells=15))[0]
    points, weights = measures.points, measures.weights
    pairs = [
        (np.linalg.norm(points[a] - points[b]), weights[a] * weights[b])
        for a in range(len(points))
        for b in range(a + 1, len(points))
    ]
    distances, mass = np.array(sorted(pairs)).T
    expected = distances[np.flatnonzero(np.cumsum(mass) >= mass.sum() / 2)[0]]
    assert _divergences._median_distance(measures) == pytest.approx(expected)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_properties(name):
    """Symmetric, zero on the diagonal, the same for cells in any order, on any number of threads, and sparse."""
    arrays = clouds()
    arrays = [np.where(np.abs(x) < 0.2, 0.2, x) for x in arrays]
    found = DIVERGENCES[name](Measures.from_arrays(arrays), 3, 1)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0)
    assert (found >= 0).all() and (found[0, 1:] > 0).all()
    rng = np.random.default_rng(0)
    mixed = [x[rng.permutation(len(x))] for x in arrays]
    np.testing.assert_allclose(DIVERGENCES[name](Measures.from_arrays(mixed), 3, 1), found, rtol=1e-9, atol=1e-7)
    np.testing.assert_array_equal(DIVERGENCES[name](Measures.from_arrays(arrays), 3, 2), found)
    sparse = Measures.from_arrays([sp.csr_array(x) for x in arrays])
    np.testing.assert_allclose(DIVERGENCES[name](sparse, 3, 1), found, rtol=1e-9, atol=1e-7)


def test_cells_for_which_they_are_not_defined(cohort):
    samples = cohort(n_cells=40)
    equal = samples.measures.points.copy()
    equal[samples.measures.offsets[1] : samples.measures.offsets[1] + 25] = 1.0
    some = replace(samples, measures=samples.measures.with_points(equal))
    with pytest.raises(ValueError, match=r"not defined for samples with 25 equal cells, found in s01\."):
        named_methods(["gloscope"], samples=some)
    equal[samples.measures.offsets[1]] = 1.1  # 24 of them may be equal
    named_methods(["gloscope"], samples=replace(some, measures=samples.measures.with_points(equal)))
    most = replace(
        samples, measures=samples.measures.with_points(np.where(np.arange(equal.shape[0])[:, None] % 9, 0, equal))
    )
    with pytest.raises(ValueError, match="'mmd', whose bandwidth is the median distance .* zero here"):
        named_methods(["mmd"], samples=most)
    weights = samples.measures.weights.copy()
    weights[:2] = [1.5 * weights[0], 0.5 * weights[1]]
    weighted = Measures(samples.measures.points, samples.measures.offsets, weights)
    with pytest.raises(ValueError, match="sketch_key gives weighted points, which 'gloscope' of methods cannot take"):
        named_methods(["gloscope"], samples=replace(samples, measures=weighted))
