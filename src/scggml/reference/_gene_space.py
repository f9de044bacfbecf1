"""The linear map from genes to principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA

from scggml.core.measures._blocks import row_blocks
from scggml.core.measures._measures import as_points
from scggml.core.measures._threads import single_threaded_blas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points


@dataclass(frozen=True, eq=False)
class GeneSpace:
    """Principal components as features that are linear in genes: `features = (genes / unit) @ loadings + offset`.

    Parameters
    ----------
    loadings
        Loadings of the components, (n_genes, n_features).
    unit
        Divisor of each gene, such as its standard deviation, (n_genes,).
    offset
        Features of a cell without any counts, (n_features,).
    mean
        Mean of each gene over the cells of the reference, before it is divided, (n_genes,).
    axes
        Orthonormal axes of the space, (n_genes, n_features). None computes them from the loadings.
    """

    loadings: NDArray[np.float64]
    unit: NDArray[np.float64]
    offset: NDArray[np.float64]
    mean: NDArray[np.float64]
    axes: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, genes: Points, unit: NDArray[np.float64], n_comps: int) -> GeneSpace:
        """Return the space of the leading principal components.

        Parameters
        ----------
        genes
            Values of the genes, (n_cells, n_genes), dense or CSR.
        unit
            Divisor of each gene, (n_genes,).
        n_comps
            Number of components. Fewer are computed if there are not more cells or genes.
        """
        scaled = in_units(genes, unit)
        n_comps = min(n_comps, min(scaled.shape) - 1)
        model = PCA(n_comps, svd_solver="arpack", random_state=0).fit(scaled)
        mean = np.asarray(model.mean_).ravel()
        return cls(model.components_.T, unit, -mean @ model.components_.T, mean * unit)

    def restricted(self, present: NDArray[np.bool_]) -> GeneSpace:
        """Return the space for cells with some of the genes only. Other genes are set to their mean.

        The residual of such a cell is its difference, in the genes that are present, to the nearest point of the space.

        Parameters
        ----------
        present
            Which genes are present, (n_genes,).
        """
        if present.all():
            return self
        weights = self.loadings / self.unit[:, None]
        axes = self.orthonormal()
        return GeneSpace(
            self.loadings[present],
            self.unit[present],
            self.offset + self.mean[~present] @ weights[~present],
            self.mean[present],
            np.linalg.qr(axes[present])[0],  # spans the values of the present genes over all points of the space
        )

    def project(self, genes: Points) -> NDArray[np.float64]:
        """Return the features of cells, (n_cells, n_features). CSR stays sparse, points on disk are read by blocks."""
        weights = self.loadings / self.unit[:, None]
        found = np.empty((genes.shape[0], self.loadings.shape[1]))
        with single_threaded_blas:  # the same last bits on any number of threads
            for rows in row_blocks(genes):
                found[rows] = as_points(genes[rows]) @ weights + self.offset
        return found

    def orthonormal(self) -> NDArray[np.float64]:
        """Return orthonormal axes of the space, (n_genes, n_features)."""
        return np.linalg.qr(self.loadings)[0] if self.axes is None else self.axes


def in_units(genes: Points, unit: NDArray[np.float64]) -> Points:
    """Return genes divided by their unit, (n_cells, n_genes), dense or CSR."""
    values = as_points(genes).astype(np.float64) * (1 / unit)
    return sp.csr_array(values) if sp.issparse(values) else values
