from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from scggml.core._diffusion import diffusion_distances


def random_graph(n, seed=0):
    rng = np.random.default_rng(seed)
    coordinates = rng.normal(size=(n, 2))
    weights = np.exp(-((coordinates[:, None] - coordinates) ** 2).sum(axis=2))
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("seed", range(3))
def test_sum_over_all_walks(seed):
    weights = random_graph(8, seed)
    density = weights.sum(axis=0)
    kernel = weights / density[:, None] / density
    degree = kernel.sum(axis=0)
    transition = kernel / np.sqrt(degree)[:, None] / np.sqrt(degree)
    stationary = np.outer(np.sqrt(degree), np.sqrt(degree)) / degree.sum()
    walks = sum(np.linalg.matrix_power(transition, t) - stationary for t in range(1, 3000))
    expected = np.linalg.norm(walks - walks[2], axis=1)
    np.testing.assert_allclose(diffusion_distances(weights, 2), expected, atol=1e-8 * expected.max())


def test_close_to_scanpy():
    import scanpy as sc
    from anndata import AnnData

    rng = np.random.default_rng(0)
    time = rng.uniform(size=40)
    graph = AnnData(np.stack([np.cos(3 * time), np.sin(3 * time)], axis=1) + 0.05 * rng.normal(size=(40, 2)))
    sc.pp.neighbors(graph, n_neighbors=15, use_rep="X")
    with np.printoptions():
        sc.tl.diffmap(graph)
    graph.uns["iroot"] = 0
    sc.tl.dpt(graph)
    found = diffusion_distances(graph.obsp["connectivities"].toarray().astype(np.float64), 0)
    assert spearmanr(found, graph.obs["dpt_pseudotime"])[0] > 0.995
    np.testing.assert_allclose(found / found.max(), graph.obs["dpt_pseudotime"], atol=0.05)


def test_bottleneck():
    """Two groups that hardly know of each other: whoever is on the other side is further."""
    weights = np.ones((10, 10)) - np.eye(10)
    weights[:5, 5:] = weights[5:, :5] = 0
    weights[4, 5] = weights[5, 4] = 1e-7
    found = diffusion_distances(weights, 0)
    assert found[1:5].max() < found[5:].min() / 1000


def test_order_of_nodes():
    weights, order = random_graph(12), np.random.default_rng(1).permutation(12)
    moved = diffusion_distances(weights[np.ix_(order, order)], int(np.flatnonzero(order == 3)[0]))
    np.testing.assert_allclose(moved, diffusion_distances(weights, 3)[order], rtol=1e-9, atol=1e-12)
