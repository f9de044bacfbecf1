"""Ground costs between two clouds of points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from ._sparse import inner_products

try:
    from ._simplex import euclidean
except ImportError:  # no numba for this Python
    from scipy.spatial.distance import cdist as euclidean  # type: ignore[no-redef]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._measures import Points

Cost: TypeAlias = Literal["euclidean", "cityblock", "cosine"]

COSTS = ("euclidean", "cityblock", "cosine")
DIRECT_WIDTH = 256  # from here on one matrix product beats the direct differences


def cost_matrix(x: Points, y: Points, cost: Cost) -> NDArray[np.float64]:
    """Return the ground costs between two clouds, (n, m), in float64; Euclidean ones to 1e-10 relative."""
    if cost == "euclidean":
        if sp.issparse(x) or x.shape[1] >= DIRECT_WIDTH:
            return _euclidean_by_gram(x, y)
        return euclidean(x, y)
    dense = [p.toarray() if sp.issparse(p) else p for p in (x, y)]
    # rounding can leave tiny negative cosine costs, and identical points a little above zero
    return np.maximum(cdist(*(p.astype(np.float64, copy=False) for p in dense), metric=cost), 0.0)


def _euclidean_by_gram(x: Points, y: Points) -> NDArray[np.float64]:
    x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    norms = np.asarray((x * x).sum(axis=1)).ravel()[:, None] + np.asarray((y * y).sum(axis=1)).ravel()[None, :]
    inner = inner_products(sp.csr_array(x), sp.csr_array(y)) if sp.issparse(x) or sp.issparse(y) else x @ y.T
    squared = norms - 2 * inner
    # close points lose digits to cancellation: measure those directly
    rows, cols = np.nonzero(squared < 1e-5 * norms)
    step = max(1, 2_000_000 // x.shape[1])
    for start in range(0, len(rows), step):
        r, c = rows[start : start + step], cols[start : start + step]
        difference = x[r] - y[c]
        squared[r, c] = np.asarray((difference * difference).sum(axis=1)).ravel()
    return np.sqrt(squared)
