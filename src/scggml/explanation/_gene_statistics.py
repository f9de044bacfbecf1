"""How genes differ between classes, and which genes separate the class means under a learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def separation_shares(means: NDArray[np.float64], loadings: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return the share of each feature in the squared distances between class means, (n_features,).

    The squared distance of two means with difference :math:`\delta` is
    :math:`\|A \delta\|^2 = \sum_g \delta_g (A^\top A \delta)_g`. Each product of two features counts half for either of
    them. Shares sum to one. They are zero if the means do not differ. A feature that counteracts others has a negative
    share.

    Parameters
    ----------
    means
        Mean of each class, (n_classes, n_features).
    loadings
        Transpose of the linear map A, (n_features, n_components).
    """
    centred = means - means.mean(
        axis=0
    )  # the sum over all pairs is proportional to the sum over differences from the mean
    shares = (centred * ((centred @ loadings) @ loadings.T)).sum(axis=0)
    total = float(shares.sum())
    return shares / total if total > 0 else np.zeros_like(shares)


def correlations(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of each feature with a value, (n_features,). Constant features have a correlation of zero.

    Parameters
    ----------
    rows
        Features, (n, n_features).
    values
        Values, (n,).
    """
    centred, deviations = rows - rows.mean(axis=0), values - values.mean()
    length = np.linalg.norm(centred, axis=0) * np.linalg.norm(deviations)
    return np.divide(deviations @ centred, length, out=np.zeros_like(length), where=length > 0)


def fitted_line(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two points on the line that regresses features on a value, (2, n_features).

    One point is the origin: `separation_shares` depends on the direction of the line only.

    Parameters
    ----------
    rows
        Features, (n, n_features).
    values
        Values, (n,).
    """
    centred = values - values.mean()
    slope = centred / np.abs(centred).max() @ rows
    return np.outer([0.0, 1.0], slope)
