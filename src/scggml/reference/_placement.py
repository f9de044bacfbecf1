"""Coordinates of new samples on a map of others, which stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import NDArray


_N_STARTS = 10
_N_AROUND = 500
_SEED = 0  # coordinates are a function of the distances


def place_on_map(coordinates: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coordinates of new samples on a map of others, (n_new, n_dims).

    Its coordinates minimise the sum of squared differences between its distances
    and those on the map. There may be several minima. The least is sought by descent from the best ten of many points:
    Gower's interpolation for classical scaling :cite:p:`gower1968`, the samples on the map, and points around them.

    Parameters
    ----------
    coordinates
        The map, (n, n_dims).
    distances
        Distances of new samples to those on the map, (n_new, n).
    """
    centre = coordinates.mean(axis=0)
    centred = coordinates - centre
    unit = max(float(np.abs(centred).max()), float(distances.max(initial=0.0)), np.finfo(float).tiny)
    centred, distances = centred / unit, distances / unit
    # differences of squared Euclidean distances are linear in the new point
    squares = (centred**2).sum(axis=1)
    inverse = np.linalg.pinv(centred)
    starts = 0.5 * (squares - distances**2 - (squares - distances**2).mean(axis=1, keepdims=True)) @ inverse.T
    around = np.random.default_rng(_SEED).uniform(-1, 1, size=(_N_AROUND, coordinates.shape[1]))
    candidates = np.concatenate([centred + 1e-3, around])
    lengths = cdist(candidates, centred)
    found = np.empty((len(distances), coordinates.shape[1]))
    for i, wanted in enumerate(distances):
        best = np.argsort(((lengths - wanted) ** 2).sum(axis=1), kind="stable")[:_N_STARTS]
        ends = [_descend(start, centred, wanted) for start in (starts[i], *candidates[best])]
        found[i] = min(ends, key=lambda end: end[0])[1]
    return found * unit + centre


def _descend(
    start: NDArray[np.float64], coordinates: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    def differences(point: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(coordinates - point, axis=1) - wanted)

    def jacobian(point: NDArray[np.float64]) -> NDArray[np.float64]:
        away = point - coordinates
        length = np.linalg.norm(away, axis=1, keepdims=True)
        return np.asarray(np.divide(away, length, out=np.zeros_like(away), where=length > 0))

    end = least_squares(differences, start, jacobian, method="trf", xtol=1e-12, ftol=1e-14, gtol=1e-12)
    return float(end.cost), end.x
