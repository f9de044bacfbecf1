"""Means of rows, and of groups of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from ._blocks import row_blocks
from ._measures import as_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._measures import Points


def share_means(shares: sp.csr_array, values: Points) -> NDArray[np.float64]:
    """Return `shares @ values`, (n_points, n_values), dense; CSR and stored values are read by blocks of rows."""
    means = np.zeros((shares.shape[0], values.shape[1]))
    by_cell = sp.csc_array(shares)
    for rows in row_blocks(values):
        block = by_cell[:, rows] @ as_points(values[rows])
        means += block.toarray() if sp.issparse(block) else block
    return means


def group_means(points: Points, codes: NDArray[np.integer], n_groups: int) -> NDArray[np.float64]:
    """Return the mean of the rows of each group, (n_groups, n_features); CSR stays sparse, stored points stay on disk.

    Parameters
    ----------
    points
        Rows, (n_points, n_features).
    codes
        Group of each row, 0..n_groups-1, (n_points,).
    n_groups
        Number of groups, none of them empty.
    """
    share = 1.0 / np.bincount(codes, minlength=n_groups)[codes]
    shape = (n_groups, len(codes))
    return share_means(sp.csr_array((share, (codes, np.arange(len(codes)))), shape=shape), points)
