"""Ground costs between two clouds of points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from scggml.core.measures._blocks import column_blocks
from scggml.core.measures._sparse import inner_products

from ._simplex import euclidean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points

Cost: TypeAlias = Literal["euclidean", "cityblock", "cosine", "sqeuclidean"]  # the last gives no distance: barycenters

COSTS = ("euclidean", "cityblock", "cosine")


def cost_matrix(x: Points, y: Points, cost: Cost) -> NDArray[np.float64]:
    """Return the ground costs between two clouds, (n, m), in float64; Euclidean ones to 1e-10 relative."""
    if cost == "euclidean":
        return _sparse_euclidean(x, y) if sp.issparse(x) or sp.issparse(y) else euclidean(x, y)
    dense = [p.toarray() if sp.issparse(p) else p for p in (x, y)]
    # rounding can leave tiny negative cosine costs, and identical points a little above zero
    return np.maximum(cdist(*(p.astype(np.float64, copy=False) for p in dense), metric=cost), 0.0)


def _sparse_euclidean(x: Points, y: Points) -> NDArray[np.float64]:
    x, y = (sp.csr_array(p).astype(np.float64, copy=False) for p in (x, y))
    norms = x.multiply(x).sum(axis=1)[:, None] + y.multiply(y).sum(axis=1)[None, :]
    squared = norms - 2 * inner_products(x, y)
    # close points lose digits to cancellation: measure those directly
    rows, cols = np.nonzero(squared < 1e-5 * norms)
    for part in column_blocks(x.shape[1], len(rows), budget=2_000_000):
        r, c = rows[part], cols[part]
        difference = x[r] - y[c]
        squared[r, c] = difference.multiply(difference).sum(axis=1)
    return np.sqrt(squared)
