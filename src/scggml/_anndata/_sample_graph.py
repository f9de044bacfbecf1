"""Scanpy's graph of the samples that are close to one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml.core.measures._compiled import cached_imports

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_N_NEIGHBORS, _N_DIFFUSION_COMPS = 15, 15  # scanpy's defaults


def sample_graph(matrix: NDArray[np.float64], n_neighbors: int) -> AnnData:
    """Return an AnnData of the samples with scanpy's graph of their nearest neighbours by these distances."""
    with cached_imports():
        import scanpy as sc
    from anndata import AnnData
    from sklearn.neighbors import KNeighborsTransformer

    graph = AnnData(matrix)
    transformer = KNeighborsTransformer(mode="distance", n_neighbors=n_neighbors, metric="precomputed")
    sc.pp.neighbors(graph, n_neighbors=n_neighbors, use_rep="X", transformer=transformer)
    return graph


def diffusion_map(graph: AnnData, n_comps: int) -> NDArray[np.float64]:
    """Return scanpy's diffusion map without its first component, which is constant, (n_samples, n_comps)."""
    with cached_imports():
        import scanpy as sc

    with np.printoptions():  # scanpy sets the precision of printed numbers for good
        sc.tl.diffmap(graph, n_comps=max(n_comps + 1, 3))
    return graph.obsm["X_diffmap"][:, 1 : n_comps + 1]


def trajectory_graph(matrix: NDArray[np.float64]) -> AnnData:
    """Return an AnnData of the samples with graph and diffusion map of scanpy's defaults, as patpy takes them."""
    with cached_imports():
        import scanpy as sc
    from anndata import AnnData

    graph, n = AnnData(matrix), len(matrix)
    n_neighbors = _N_NEIGHBORS if n >= _N_NEIGHBORS else 1 + n // 2  # scanpy takes these too, and logs a warning
    sc.pp.neighbors(graph, n_neighbors, use_rep="X", metric="precomputed", transformer="sklearn")
    diffusion_map(graph, _N_DIFFUSION_COMPS - 1)
    return graph


def pseudotime_since(graph: AnnData, root: int) -> NDArray[np.float64]:
    """Return scanpy's diffusion pseudotime of each sample of such a graph, (n_samples,)."""
    with cached_imports():
        import scanpy as sc

    graph.uns["iroot"] = root
    sc.tl.dpt(graph, n_dcs=min(10, graph.n_obs - 1))
    return graph.obs["dpt_pseudotime"].to_numpy(dtype=np.float64)
