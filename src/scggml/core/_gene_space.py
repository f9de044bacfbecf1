"""From genes to principal components, and what of a sample these do not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from ._measures import as_points
from ._metric import row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._measures import Points

_N_ALONG = 5
_MIN_SIGNAL = 0.1  # of the sampling noise: keeps logarithms of shifts finite


@dataclass(frozen=True, eq=False)
class GeneSpace:
    """Features that are linear in genes: `features = (genes / unit) @ loadings + offset`.

    Parameters
    ----------
    loadings
        Principal components, (n_genes, n_features).
    unit
        What the values of each gene are divided by, (n_genes,).
    offset
        Features of a cell without any counts, (n_features,).
    mean
        Mean of each gene over the reference's cells, before it is divided, (n_genes,).
    axes
        Orthonormal axes of the space, (n_genes, n_features); None computes them from the loadings.
    """

    loadings: NDArray[np.float64]
    unit: NDArray[np.float64]
    offset: NDArray[np.float64]
    mean: NDArray[np.float64]
    axes: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, genes: Points, unit: NDArray[np.float64], n_comps: int) -> GeneSpace:
        """Return the space of the leading principal components of cells, (n_cells, n_genes), dense or CSR."""
        from sklearn.decomposition import PCA

        scaled = genes * (1 / unit)
        scaled = sp.csr_array(scaled) if sp.issparse(scaled) else scaled
        n_comps = min(n_comps, min(scaled.shape) - 1)
        model = PCA(n_comps, svd_solver="arpack", random_state=0).fit(scaled.astype(np.float64))
        mean = np.asarray(model.mean_).ravel()
        return cls(model.components_.T, unit, -mean @ model.components_.T, mean * unit)

    def restricted(self, present: NDArray[np.bool_]) -> GeneSpace:
        """Return the space for cells of which only these genes are known, (n_genes,); the others are taken at their mean.

        They say nothing of what lies outside: that is what the genes that are there differ in from all points of the space.
        """
        if present.all():
            return self
        weights = self.loadings / self.unit[:, None]
        axes = np.linalg.qr(self.loadings)[0] if self.axes is None else self.axes
        return GeneSpace(
            self.loadings[present],
            self.unit[present],
            self.offset + self.mean[~present] @ weights[~present],
            self.mean[present],
            np.linalg.qr(axes[present])[0],  # what the genes that are there could be of any point of the space
        )

    def project(self, genes: Points) -> NDArray[np.float64]:
        """Return the features of cells, (n_cells, n_features); CSR is never densified, stored points never loaded."""
        weights = self.loadings / self.unit[:, None]
        found = np.empty((genes.shape[0], self.loadings.shape[1]))
        for rows in row_blocks(genes):
            found[rows] = as_points(genes[rows]) @ weights + self.offset
        return found

    def shifts_outside(self, genes: Points, codes: NDArray[np.integer], n_measures: int) -> NDArray[np.float64]:
        """Return how far each sample lies outside of the space, (n_measures,), in units of the scaled genes.

        What the axes do not show of a sample's cells, as differences from the mean of the reference, is fitted by a constant and
        the 5 leading axes: whatever all of its cells have in common, and whatever changes from one kind of its cells to another.
        The result is the root mean square length of the fit, less what it owes on average to the sampling of cells.

        Parameters
        ----------
        genes
            Values of the genes, (n_cells, n_genes).
        codes
            Sample of each cell, at least two of each, (n_cells,). Of a sample with less than 30 cells, fewer axes take part.
        n_measures
            Number of samples.
        """
        axes = np.linalg.qr(self.loadings)[0] if self.axes is None else self.axes
        mean = self.mean / self.unit
        found = np.empty(n_measures)
        for i in range(n_measures):
            block = as_points(genes[np.flatnonzero(codes == i)]).astype(np.float64)
            block = sp.csr_array(block * (1 / self.unit)) if sp.issparse(block) else block / self.unit
            n_cells = block.shape[0]
            coordinates = block @ axes - mean @ axes
            n_along = min(_N_ALONG, max(n_cells // 5 - 1, 0), axes.shape[1])
            fitted = np.linalg.qr(np.column_stack([np.ones(n_cells), coordinates[:, :n_along]]))[0].T
            # what is orthogonal to the axes has the squared length of the whole less that of its coordinates
            own = block.multiply(block).sum() if sp.issparse(block) else (block**2).sum()
            total = own - 2 * (block @ mean).sum() + n_cells * (mean @ mean) - (coordinates**2).sum()
            along = fitted @ block - np.outer(fitted.sum(axis=1), mean)
            explained = (along**2).sum() - ((fitted @ coordinates) ** 2).sum()
            variance = max(float(total - explained), 0.0) / max(n_cells - len(fitted), 1)
            signal = max(float(explained) - len(fitted) * variance, _MIN_SIGNAL * variance, np.finfo(float).tiny)
            found[i] = np.sqrt(signal / n_cells)
        return found
