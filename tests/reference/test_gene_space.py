"""The map from genes to components, against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.reference._gene_space import GeneSpace

N_GENES = 20


@pytest.fixture
def genes():
    rng = np.random.default_rng(0)
    return rng.poisson(1.0, size=(80, N_GENES)) * rng.uniform(0.5, 2.0, size=N_GENES)


def space_of(x, n_comps=6):
    mean = x.mean(axis=0)
    loadings = np.linalg.svd(x - mean, full_matrices=False)[2][:n_comps].T
    return GeneSpace(loadings, np.ones(x.shape[1]), -mean @ loadings, mean)


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scaled", [False, True])
def test_fit_is_principal_component_analysis(genes, as_matrix, scaled):
    unit = genes.std(axis=0) if scaled else np.ones(N_GENES)
    space = GeneSpace.fit(as_matrix(genes), unit, 6)
    x = genes / unit
    centred = x - x.mean(axis=0)
    vectors = np.linalg.svd(centred, full_matrices=False)[2][:6]
    np.testing.assert_allclose(np.abs(vectors @ space.loadings), np.eye(6), atol=1e-8)
    np.testing.assert_allclose(space.project(as_matrix(genes)), centred @ space.loadings, atol=1e-9)
    np.testing.assert_allclose(space.mean, genes.mean(axis=0))


def test_fewer_cells_than_components(genes):
    assert GeneSpace.fit(genes[:4], np.ones(N_GENES), 6).loadings.shape == (N_GENES, 3)


def test_unknown_genes_are_at_the_mean(genes):
    space = space_of(genes)
    present = np.arange(N_GENES) % 3 > 0
    filled = np.where(present, genes, space.mean)
    part = space.restricted(present)
    np.testing.assert_allclose(part.project(genes[:, present]), space.project(filled))
    # the axes span the values of the present genes over all points of the space
    axes = part.orthonormal()
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-12)
    seen = space.loadings[present]
    np.testing.assert_allclose(axes @ (axes.T @ seen), seen, atol=1e-12)
    assert space.restricted(np.ones(N_GENES, dtype=bool)) is space
