"""From genes to components, against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core import GeneSpace

N_GENES = 20


@pytest.fixture
def genes():
    rng = np.random.default_rng(0)
    return rng.poisson(1.0, size=(80, N_GENES)) * rng.uniform(0.5, 2.0, size=N_GENES)


@pytest.fixture
def codes():
    return np.random.default_rng(1).permutation(np.repeat([0, 1], [45, 35]))


def space_of(x, n_comps=6):
    mean = x.mean(axis=0)
    loadings = np.linalg.svd(x - mean, full_matrices=False)[2][:n_comps].T
    return GeneSpace(loadings, np.ones(x.shape[1]), -mean @ loadings, mean)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scaled", [False, True])
def test_fit_is_principal_component_analysis(genes, kind, scaled):
    unit = genes.std(axis=0) if scaled else np.ones(N_GENES)
    space = GeneSpace.fit(kind(genes), unit, 6)
    x = genes / unit
    centred = x - x.mean(axis=0)
    vectors = np.linalg.svd(centred, full_matrices=False)[2][:6]
    np.testing.assert_allclose(np.abs(vectors @ space.loadings), np.eye(6), atol=1e-8)
    np.testing.assert_allclose(space.project(kind(genes)), centred @ space.loadings, atol=1e-9)
    np.testing.assert_allclose(space.mean, genes.mean(axis=0))


def test_fewer_cells_than_components(genes):
    assert GeneSpace.fit(genes[:4], np.ones(N_GENES), 6).loadings.shape == (N_GENES, 3)


def outside_by_hand(space, x, codes):
    found = []
    for i in range(codes.max() + 1):
        r = x[codes == i] / space.unit - space.mean / space.unit
        coordinates = r @ space.loadings
        rest = r - coordinates @ space.loadings.T
        n = len(rest)
        q = min(5, max(n // 5 - 1, 0))
        design = np.column_stack([np.ones(n), coordinates[:, :q]])
        fit = design @ np.linalg.lstsq(design, rest, rcond=None)[0]
        variance = ((rest - fit) ** 2).sum() / (n - q - 1)
        found.append(np.sqrt(max((fit**2).sum() - (q + 1) * variance, 0.1 * variance) / n))
    return found


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_shifts_outside_are_those_of_a_regression(genes, codes, kind):
    space = space_of(genes)
    moved = genes + np.where(codes[:, None] == 1, 1.0, 0.0) * (np.arange(N_GENES) == 3)
    found = space.shifts_outside(kind(moved), codes, 2)
    np.testing.assert_allclose(found, outside_by_hand(space, moved, codes))
    assert found[1] > found[0]


def test_small_samples(genes):
    space, codes = space_of(genes), np.repeat(np.arange(8), 10)
    found = space.shifts_outside(genes, codes, 8)
    np.testing.assert_allclose(found, outside_by_hand(space, genes, codes))
    two = space.shifts_outside(genes[:2], np.zeros(2, dtype=int), 1)
    assert np.isfinite(two).all() and (two > 0).all()


def test_unknown_genes_are_at_the_mean(genes, codes):
    space = space_of(genes)
    present = np.arange(N_GENES) % 3 > 0
    filled = np.where(present, genes, space.mean)
    part = space.restricted(present)
    np.testing.assert_allclose(part.project(genes[:, present]), space.project(filled))
    inside = GeneSpace(np.linalg.qr(space.loadings[present])[0], np.ones(part.mean.size), space.offset, part.mean)
    expected = outside_by_hand(inside, genes[:, present], codes)
    np.testing.assert_allclose(part.shifts_outside(genes[:, present], codes, 2), expected)
    assert space.restricted(np.ones(N_GENES, dtype=bool)) is space


def test_absent_genes_do_not_make_a_sample_unusual():
    """Cells that lie in the space do so also where a third of their genes is unknown; a shift out of it is still seen."""
    rng = np.random.default_rng(3)
    loadings = np.linalg.qr(rng.normal(size=(60, 4)))[0]
    space = GeneSpace(loadings, np.ones(60), np.zeros(4), np.zeros(60))
    cells = 5 * rng.normal(size=(100, 4)) @ loadings.T + 3 * loadings[:, 0] + 1e-3 * rng.normal(size=(100, 60))
    present = np.arange(60) % 3 > 0
    part, codes = space.restricted(present), np.zeros(100, dtype=int)
    assert part.shifts_outside(cells[:, present], codes, 1)[0] < 0.01
    moved = cells + rng.normal(size=60)
    assert part.shifts_outside(moved[:, present], codes, 1)[0] > 4


def test_sampling_noise_is_taken_off():
    """Samples of one distribution lie outside by nothing on average, of whatever size; shifts come out at their length."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(200, 4)))[0]
    space = GeneSpace(loadings, np.ones(200), np.zeros(4), np.zeros(200))
    shift = rng.normal(size=200)
    shift -= loadings @ (loadings.T @ shift)
    shift *= 3 / np.linalg.norm(shift)
    for n in (40, 400):
        codes = np.repeat(np.arange(50), n)
        noise = rng.normal(size=(50 * n, 200))
        squares = space.shifts_outside(noise + shift, codes, 50) ** 2
        assert abs(squares.mean() - 9) < 3 * squares.std() / np.sqrt(50) + 0.05
        assert np.median(space.shifts_outside(noise, codes, 50)) < 0.9
