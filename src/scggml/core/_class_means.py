"""Where the means of classes lie under a learned metric, and which features set them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from ._measures import as_points
from ._metric import row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._measures import Points


def group_means(points: Points, codes: NDArray[np.integer], n_groups: int) -> NDArray[np.float64]:
    """Return the mean of the rows of each group, (n_groups, n_features); CSR is never densified, stored points never loaded.

    Parameters
    ----------
    points
        Rows, (n_points, n_features).
    codes
        Group of each row, 0..n_groups-1, (n_points,).
    n_groups
        Number of groups, none of them empty.
    """
    total = np.zeros((n_groups, points.shape[1]))
    for rows in row_blocks(points):
        block = as_points(points[rows])
        part = codes[rows]
        indicator = sp.csr_array((np.ones(len(part)), (part, np.arange(len(part)))), shape=(n_groups, len(part)))
        summed = indicator @ block
        total += summed.toarray() if sp.issparse(summed) else summed
    return total / np.bincount(codes, minlength=n_groups)[:, None]


def separation_shares(means: NDArray[np.float64], loadings: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return the share of each feature in the squared distances between the means of classes, (n_features,).

    Two means that differ by :math:`\delta` are :math:`\|A \delta\|^2 = \sum_g \delta_g (A^\top A \delta)_g` apart: what two features
    have in common is shared half and half. Shares sum to one, or are all zero where the means do not differ; a feature that
    works against the others has a negative one.

    Parameters
    ----------
    means
        Mean of each class, (n_classes, n_features).
    loadings
        The map A, transposed, (n_features, n_components).
    """
    centred = means - means.mean(axis=0)  # the sum over all pairs is that over differences from the mean
    shares = (centred * ((centred @ loadings) @ loadings.T)).sum(axis=0)
    total = float(shares.sum())
    return shares / total if total > 0 else np.zeros_like(shares)
