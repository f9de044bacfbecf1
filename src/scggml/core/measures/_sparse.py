"""Products of CSR rows, compiled: what costs and moments of sparse clouds need, without forming sparse results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import joblib
import numpy as np
import scipy.sparse as sp

from ._compiled import njit
from ._threads import n_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_ROW_BLOCKS = 16


def inner_products(x: sp.csr_array, y: sp.csr_array) -> NDArray[np.float64]:
    """Return `x y^T` of two CSR arrays as a dense array, (n, m)."""
    by_feature = sp.csr_array(y.T)
    return _inner_products(
        x.data, x.indices, x.indptr, by_feature.data, by_feature.indices, by_feature.indptr, y.shape[0]
    )


def edge_inner_products(
    x: sp.csr_array, rows: NDArray[np.integer], cols: NDArray[np.integer], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return `sum_f weights_f x_rf x_cf` for each edge (r, c); `x` has sorted indices, `weights` is (n_features,)."""
    return _edge_inner_products(x.data, x.indices, x.indptr, rows, cols, weights)


def times(x: sp.csr_array, block: NDArray[np.floating], n_jobs: int | None = None) -> NDArray[np.floating]:
    """Return `x block` in the precision of `x`, (n, n_vectors), in threads over blocks of rows."""
    block = np.ascontiguousarray(block, dtype=x.dtype)
    result = np.zeros((x.shape[0], block.shape[1]), dtype=x.dtype)
    # blocks of equal work, whatever n_jobs
    bounds = np.searchsorted(x.indptr, np.linspace(0, x.nnz, _N_ROW_BLOCKS + 1)[1:-1])
    bounds = np.unique(np.concatenate([[0], bounds, [x.shape[0]]]))
    joblib.Parallel(n_jobs=n_threads(n_jobs), backend="threading")(
        joblib.delayed(_times)(x.data, x.indices, x.indptr, block, result, start, stop)
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
    )
    return result


@njit(nogil=True, cache=True, fastmath={"contract"})
def _times(data, indices, indptr, block, result, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        line = result[i]
        for e in range(indptr[i], indptr[i + 1]):
            value, other = data[e], block[indices[e]]
            for v in range(len(line)):
                line[v] += value * other[v]


@njit(nogil=True, cache=True)
def _inner_products(data, indices, indptr, by_data, by_indices, by_indptr, m):  # type: ignore[no-untyped-def]
    n = len(indptr) - 1
    result = np.zeros((n, m))
    for i in range(n):
        line = result[i]
        for e in range(indptr[i], indptr[i + 1]):
            value, feature = np.float64(data[e]), indices[e]
            for f in range(by_indptr[feature], by_indptr[feature + 1]):
                line[by_indices[f]] += value * by_data[f]
    return result


@njit(nogil=True, cache=True)
def _edge_inner_products(data, indices, indptr, rows, cols, weights):  # type: ignore[no-untyped-def]
    result = np.zeros(len(rows))
    for k in range(len(rows)):
        e, e_end = indptr[rows[k]], indptr[rows[k] + 1]
        f, f_end = indptr[cols[k]], indptr[cols[k] + 1]
        while e < e_end and f < f_end:
            if indices[e] < indices[f]:
                e += 1
            elif indices[e] > indices[f]:
                f += 1
            else:
                result[k] += weights[indices[e]] * data[e] * data[f]
                e += 1
                f += 1
    return result
