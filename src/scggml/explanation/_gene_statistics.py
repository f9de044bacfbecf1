"""How genes differ between classes, and which of them set the means of classes apart under a learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


def correlations(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of each feature of rows (n, n_features) with values (n,), (n_features,); zero where it is constant."""
    centred, apart = rows - rows.mean(axis=0), values - values.mean()
    length = np.linalg.norm(centred, axis=0) * np.linalg.norm(apart)
    return np.divide(apart @ centred, length, out=np.zeros_like(length), where=length > 0)


def fitted_line(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two points, (2, n_features), on the line of rows (n, n_features) over values (n,): for shares, how far apart is no matter."""
    centred = values - values.mean()
    slope = centred / np.abs(centred).max() @ rows
    return np.outer([0.0, 1.0], slope)
