"""Distances of a random walk on a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_GAP = 1e-12  # of an eigenvalue from one


def diffusion_distances(connectivities: NDArray[np.float64], root: int) -> NDArray[np.float64]:
    """Return the distance of each node from a root in diffusion pseudotime, (n_nodes,).

    Let `T` be the symmetric transition matrix of the graph with the density of the nodes divided out, and `M` the sum
    of all its powers without their stationary part: how often walks of any length lead from one node to another
    beyond what chance does. The distance of two nodes is that of their rows of `M` (Haghverdi et al. 2016). It is
    computed from all eigenvectors in double precision, so that slow walks through a bottleneck count as much as they
    should.

    Parameters
    ----------
    connectivities
        Symmetric edge weights of a connected graph, (n_nodes, n_nodes), not negative.
    root
        Node to measure from.
    """
    degree = connectivities.sum(axis=0)
    kernel = connectivities / np.outer(degree, degree)
    length = np.sqrt(kernel.sum(axis=0))
    values, vectors = scipy.linalg.eigh(kernel / np.outer(length, length))
    values, vectors = values[:-1], vectors[:, :-1]  # without the stationary state, of eigenvalue one
    factor = values / np.maximum(1 - values, _LEAST_GAP)
    return np.linalg.norm((vectors - vectors[root]) * factor, axis=1)
