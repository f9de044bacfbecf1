"""Euclidean distances between two dense clouds, compiled.

Code compiled elsewhere contains these functions: numba does not notice that it is outdated when this file changes. Then
delete the `__pycache__` beside it.
"""

from __future__ import annotations

import numpy as np

from scggml.core.measures._compiled import njit

PRODUCTS_FROM = 32  # features from which one matrix product beats direct differences
_NEAR = 1e-4  # of the squared norms: below, a product loses too many digits to cancellation
FAST = {"nnan", "nsz", "reassoc", "contract", "arcp"}  # infinities are used


@njit(nogil=True, cache=True)
def euclidean(x, y, costs):  # type: ignore[no-untyped-def]
    if x.shape[1] < PRODUCTS_FROM:
        _by_differences(x, y, costs)
    else:
        _by_products(x, y, costs)


@njit(nogil=True, cache=True, fastmath=FAST)
def _by_differences(x, y, costs):  # type: ignore[no-untyped-def]
    n, m, width = x.shape[0], y.shape[0], x.shape[1]
    across = np.empty((width, m))
    for j in range(m):
        for d in range(width):
            across[d, j] = y[j, d]
    costs[:] = 0
    point = np.empty(width)
    for i in range(n):
        line = costs[i]
        for d in range(width):
            point[d] = x[i, d]
        for d in range(0, width - 3, 4):  # four features at a time: fewer trips to the line
            p0, p1, p2, p3 = point[d], point[d + 1], point[d + 2], point[d + 3]
            q0, q1, q2, q3 = across[d], across[d + 1], across[d + 2], across[d + 3]
            for j in range(m):
                e0, e1, e2, e3 = p0 - q0[j], p1 - q1[j], p2 - q2[j], p3 - q3[j]
                line[j] += (e0 * e0 + e1 * e1) + (e2 * e2 + e3 * e3)
        for d in range(width - width % 4, width):
            here, there = point[d], across[d]
            for j in range(m):
                line[j] += (here - there[j]) ** 2
        for j in range(m):
            line[j] = np.sqrt(line[j])


@njit(nogil=True, cache=True, fastmath=FAST)
def _by_products(x, y, costs):  # type: ignore[no-untyped-def]
    """As above by one matrix product, which many features repay; pairs near each other are measured directly."""
    centre = np.zeros(x.shape[1])
    for i in range(len(x)):
        for d in range(len(centre)):
            centre[d] += x[i, d]
    centre /= len(x)
    x, x_squared = _shifted(x, centre)
    y, y_squared = _shifted(y, centre)
    np.dot(x, y.T, costs)
    for i in range(len(x)):
        line, here = costs[i], x_squared[i]
        for j in range(len(y)):
            line[j] = here + y_squared[j] - 2 * line[j]
        n_near = 0
        for j in range(len(y)):
            n_near += line[j] < _NEAR * (here + y_squared[j])
        if n_near > 0:
            for j in range(len(y)):
                if line[j] < _NEAR * (here + y_squared[j]):
                    line[j] = 0.0
                    for d in range(len(centre)):
                        line[j] += (x[i, d] - y[j, d]) ** 2
        for j in range(len(y)):
            line[j] = np.sqrt(line[j])


@njit(nogil=True, cache=True, fastmath=FAST)
def _shifted(x, centre):  # type: ignore[no-untyped-def]
    """Return points from a new origin, and their squared norms."""
    shifted, squared = np.empty(x.shape), np.zeros(len(x))
    for i in range(len(x)):
        norm = 0.0
        for d in range(len(centre)):
            shifted[i, d] = x[i, d] - centre[d]
            norm += shifted[i, d] ** 2
        squared[i] = norm
    return shifted, squared
