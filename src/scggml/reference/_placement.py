"""Places of new samples on a map that does not move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares

if TYPE_CHECKING:
    from numpy.typing import NDArray


def place_on_map(places: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where new samples lie on a map of others, (n_new, n_dims).

    Each is placed on its own such that the sum of squared differences between its distances and those on the map is least, by
    descent from two starts: Gower's interpolation of classical scaling :cite:p:`gower1968`, and the nearest known sample.

    Parameters
    ----------
    places
        The map, (n, n_dims).
    distances
        Distances of new samples to those on the map, (n_new, n).
    """
    centre = places.mean(axis=0)
    centred = places - centre
    unit = max(float(np.abs(centred).max()), float(distances.max(initial=0.0)), np.finfo(float).tiny)
    centred, distances = centred / unit, distances / unit
    # squared distances of Euclidean points are linear in the new point
    squares = (centred**2).sum(axis=1)
    inverse = np.linalg.pinv(centred)
    starts = 0.5 * (squares - distances**2 - (squares - distances**2).mean(axis=1, keepdims=True)) @ inverse.T
    found = np.empty((len(distances), places.shape[1]))
    for i, wanted in enumerate(distances):
        ends = [_descend(start, centred, wanted) for start in (starts[i], centred[wanted.argmin()] + 1e-3)]
        found[i] = min(ends, key=lambda end: end[0])[1]
    return found * unit + centre


def _descend(
    start: NDArray[np.float64], places: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    def differences(point: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(places - point, axis=1) - wanted)

    def jacobian(point: NDArray[np.float64]) -> NDArray[np.float64]:
        away = point - places
        length = np.linalg.norm(away, axis=1, keepdims=True)
        return np.asarray(np.divide(away, length, out=np.zeros_like(away), where=length > 0))

    end = least_squares(differences, start, jacobian, method="trf", xtol=1e-12, ftol=1e-14, gtol=1e-12)
    return float(end.cost), end.x
