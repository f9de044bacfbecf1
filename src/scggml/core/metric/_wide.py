"""The transport discriminant for many features: nothing of size features x features, CSR points are never densified."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from scggml.core.measures._sparse import edge_inner_products, times

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points

logger = logging.getLogger(__name__)

_N_LEADING = 24  # directions that may be taken out of the polynomial, which then can be short
_SPLIT_ERROR = 1e-5  # of an eigenvector, in units of the largest eigenvalue
_POLYNOMIAL_ERROR = 1e-6
_MAX_ROUNDS = 6
_SETTLED = 3e-3  # relative to the first eigenvalue: none changes by more
_EXTRA = 10  # more directions than are asked for, so that the last of them settle


class Moment:
    """`D X^T L X D` as an operator on blocks of vectors.

    Parameters
    ----------
    points
        `X`, (n_points, n_features), dense or CSR; products with CSR points are in their precision.
    transposed
        `X^T` in the same format.
    laplacian
        `L`, (n_points, n_points), from `Plans.laplacian`.
    unit
        Diagonal of `D`, (n_features,): one over the scale, zero for features that are left out.
    n_jobs
        Threads for products with CSR points; None for all cores.
    """

    def __init__(
        self,
        points: Points,
        transposed: Points,
        laplacian: sp.csr_array,
        unit: NDArray[np.float64],
        n_jobs: int | None = None,
    ) -> None:
        self.points, self.transposed, self.laplacian = points, transposed, laplacian
        self.unit, self.n_jobs = unit[:, None], n_jobs

    def __call__(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the product with a block of vectors, (n_features, n_vectors)."""
        return self.unit * self._times(self.transposed, self.laplacian @ self._times(self.points, self.unit * vectors))

    def _times(self, matrix: Points, block: NDArray[np.float64]) -> NDArray[np.floating]:
        return times(matrix, block, self.n_jobs) if sp.issparse(matrix) else matrix @ block

    def trace(self) -> float:
        """Return the trace, as the weighted sum of squared lengths of the graph's edges."""
        edges = sp.coo_array(sp.triu(self.laplacian, k=1))
        weights = self.unit.ravel() ** 2
        if sp.issparse(self.points):
            inner = edge_inner_products(self.points, edges.row, edges.col, weights)
            squares = self.points.multiply(self.points) @ weights
            return float(-edges.data @ (squares[edges.row] + squares[edges.col] - 2 * inner))
        total = 0.0
        step = max(1, 4_000_000 // self.points.shape[1])
        for start in range(0, len(edges.data), step):
            part = slice(start, start + step)
            difference = self.points[edges.row[part]] - self.points[edges.col[part]]
            total -= float(edges.data[part] @ (difference**2 @ weights))
        return total


def wide_discriminant(
    points: Points,
    within: sp.csr_array,
    between: sp.csr_array,
    *,
    unit: NDArray[np.float64],
    n_comps: int,
    ridge: float,
    whitening: float,
    contrast: float,
    n_jobs: int | None = None,
) -> NDArray[np.float64]:
    """Return scaled leading eigenvectors of `S_w^(-q) S_b S_w^(-q)`, `q = (1 + whitening) / 2`, (n_features, n_comps).

    That is the metric of `transport_discriminant` for power 1. The fractional power is applied as a Chebyshev
    polynomial of the operator `S_w`, after its leading directions, which would make the polynomial long, have been
    split off; the eigenvectors come from a block Krylov space, which grows until the eigenvalues settle.

    Parameters
    ----------
    points
        Points of all measures, (n_points, n_features).
    within, between
        Graph Laplacians of the plans within and between classes, (n_points, n_points).
    unit
        One over the scale of each feature, zero for features that are left out, (n_features,).
    n_comps
        Number of eigenvectors at most.
    ridge
        This fraction of the mean variance within classes is added to every direction.
    whitening
        As in `transport_discriminant`.
    contrast
        `S_b - contrast * S_w` takes the place of `S_b`; where that leaves nothing, `S_b` stays.
    n_jobs
        Threads; None for all cores.

    Returns
    -------
    Eigenvectors times the square root of their eigenvalues, the first eigenvalue being one.
    """
    transposed = sp.csr_array(points.T) if sp.issparse(points) else points.T
    s_w, s_b = (Moment(points, transposed, graph, unit, n_jobs) for graph in (within, between))
    n_active = int((unit > 0).sum())
    spread = max(s_w.trace(), 1e-8 * s_b.trace())
    shift = max(ridge, 1e-10) * spread / n_active
    shrink = _inverse_power(s_w, shift, (1 + whitening) / 2, unit > 0)
    n_comps = min(n_comps, n_active)

    def contrasted(block: NDArray[np.float64]) -> NDArray[np.float64]:
        inner = shrink(block)
        moved = s_b(inner) - contrast * (s_w(inner) + shift * inner) if contrast else s_b(inner)
        return shrink(moved)

    values, vectors, _ = block_krylov(contrasted, unit > 0, n_comps, _SETTLED)
    if values[0] <= 0:
        values, vectors, _ = block_krylov(lambda block: shrink(s_b(shrink(block))), unit > 0, n_comps, _SETTLED)
    return vectors * np.sqrt(np.maximum(values, 0.0) / values[0]) * (unit > 0)[:, None]


def block_krylov(
    operator: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    active: NDArray[np.bool_],
    n_vectors: int,
    tol: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Find the leading eigenvectors of a symmetric operator on the active features.

    Where many eigenvalues are nearly alike, single eigenvectors mean little and settle late: after a few rounds the
    space is as good as it needs to be, and the rest is left.

    Returns
    -------
    Eigenvalues, falling, (n_vectors,); eigenvectors, (n_features, n_vectors); and the lengths of `A v - value v`.
    """
    n_active = int(active.sum())
    block = np.zeros((len(active), min(n_vectors + _EXTRA, n_active)))
    block[active] = np.random.default_rng(0).standard_normal((n_active, block.shape[1]))
    block = np.linalg.qr(block)[0]
    basis, images = np.empty((len(active), 0)), np.empty((len(active), 0))
    before = np.full(n_vectors, np.inf)
    for _ in range(_MAX_ROUNDS):
        image = operator(block)
        basis, images = np.hstack([basis, block]), np.hstack([images, image])
        projected = basis.T @ images
        values, rotation = scipy.linalg.eigh((projected + projected.T) / 2)
        values, rotation = values[::-1][:n_vectors], rotation[:, ::-1][:, :n_vectors]
        change = float(abs(values - before[: len(values)]).max()) / max(values[0], 1e-300)
        if change <= tol or basis.shape[1] >= n_active:
            break
        before = values
        for _ in range(2):  # twice is enough
            image = image - basis @ (basis.T @ image)
        block, triangle = np.linalg.qr(image)
        kept = abs(np.diag(triangle)) > 1e-12 * max(abs(values[0]), 1e-300)
        block = block[:, kept][:, : n_active - basis.shape[1]]
        if not block.shape[1]:
            break
    logger.debug("block Krylov space of %d directions, last change %.2g", basis.shape[1], change)
    vectors = basis @ rotation
    return values, vectors, np.linalg.norm(images @ rotation - vectors * values, axis=0)


def _inverse_power(
    moment: Moment, shift: float, exponent: float, active: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the operator `(S + shift)^(-exponent)`."""
    values, leading, residuals = block_krylov(moment, active, min(_N_LEADING, int(active.sum())), 1e-4)
    # only directions that are eigenvectors can be split off; the largest of the others bounds what is left
    n_split = int(np.argmin(np.append(residuals <= _SPLIT_ERROR * values[0], False)))
    top = 1.1 * max(values[n_split] + residuals[n_split] if n_split < len(values) else values[-1], 1e-12 * values[0])
    values, leading = values[:n_split], leading[:, :n_split]
    coefficients = _chebyshev(lambda x: (x + shift) ** -exponent, top)
    logger.debug("inverse power: %d leading directions, polynomial of degree %d", n_split, len(coefficients) - 1)

    def apply(block: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = leading.T @ block
        rest = block - leading @ inside
        result = leading @ ((values + shift)[:, None] ** -exponent * inside)
        older, old = rest, (2 / top) * moment(rest) - rest
        result += coefficients[0] * older
        for k, coefficient in enumerate(coefficients[1:], start=1):
            if k > 1:
                older, old = old, 2 * ((2 / top) * moment(old) - old) - older
                old -= leading @ (leading.T @ old)  # rounding would grow here: the polynomial is only for the rest
            result += coefficient * old
        return result

    return apply


def _chebyshev(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], top: float) -> NDArray[np.float64]:
    """Return the coefficients of the shortest Chebyshev series on [0, top] that is accurate enough."""
    degree = 16
    while True:
        nodes = np.polynomial.chebyshev.chebpts1(degree + 1)
        values = function((nodes + 1) * top / 2)
        series = np.asarray(np.polynomial.chebyshev.chebfit(nodes, values, degree), dtype=np.float64)
        small = _POLYNOMIAL_ERROR * abs(series).max()
        if abs(series[-2:]).max() < small or degree >= 2048:
            return series[: np.flatnonzero(abs(series) >= small)[-1] + 1]
        degree *= 2
