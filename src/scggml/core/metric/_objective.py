"""The objective: hinge over triplets plus a regulariser, with gradients in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ._options import Refinement
    from ._triplets import Triplets

Regularizer: TypeAlias = Literal["frobenius", "l1", "l21", "nuclear", "max_column_sum"]


@dataclass(frozen=True, eq=False)
class Objective:
    """Hinge over triplets plus a regulariser.

    Absolute: `sum_t w_t relu(D(anchor, positive) - D(anchor, negative) + m_t margin) + reg * R(W)`, as in the paper,
    where all `m_t` are one. Relative: the same with every distance, and `R(W) / reference`, divided by the median
    distance. It does not change when `W` is multiplied by a number, so that scaling up the metric does not lower it.

    Parameters
    ----------
    triplets
        The triplets; distances below are those of `triplets.pairs`.
    margin
        Required difference, in the unit of the distances or, if relative, in median distances.
    reg
        Weight of the regulariser.
    regularizer
        Which norm of the components, a key of `REGULARIZERS`.
    relative
        Whether distances are taken relative to their median.
    reference
        Norm of the components that counts as one; used if relative.
    """

    triplets: Triplets
    margin: float
    reg: float
    regularizer: Regularizer
    relative: bool
    reference: float = 1.0

    @classmethod
    def of(cls, triplets: Triplets, options: Refinement) -> Objective:
        """Return the objective of a refinement, with a reference of one."""
        return cls(triplets, options.margin, options.reg, options.regularizer, options.relative)

    def __call__(
        self, components: NDArray[np.float64], distances: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return the value, its slope in each distance (n_pairs,), and its own gradient in the components (k, d)."""
        norm, norm_gradient = REGULARIZERS[self.regularizer](components)
        if not self.relative:
            value, slope = hinge(self.triplets, distances, self.margin)
            return value + self.reg * norm, slope, self.reg * norm_gradient
        unit, unit_slope = median_and_slope(distances)
        value, slope = hinge(self.triplets, distances / unit, self.margin)
        reg = self.reg / (self.reference * unit)
        # the quotient rule: the part of the slope due to the median
        slope = slope / unit - (slope @ distances / unit**2 + reg * norm / unit) * unit_slope
        return value + reg * norm, slope, reg * norm_gradient

    def satisfied(self, distances: NDArray[np.float64]) -> bool:
        """Return whether every triplet keeps its margin."""
        unit = float(np.median(distances)) if self.relative else 1.0
        return hinge(self.triplets, distances / unit, self.margin)[0] == 0


def hinge(triplets: Triplets, distances: NDArray[np.float64], margin: float) -> tuple[float, NDArray[np.float64]]:
    """Return the weighted mean of `relu(D(anchor, positive) - D(anchor, negative) + margin)` and its slope per pair.

    Parameters
    ----------
    triplets
        The triplets.
    distances
        Distance of each of `triplets.pairs`, (n_pairs,).
    margin
        Required difference of a triplet of margin one, in the unit of the distances.

    Returns
    -------
    The value, and its derivative with respect to each distance, (n_pairs,).
    """
    slack = distances[triplets.same] - distances[triplets.other] + margin * triplets.margin
    active = slack > 0
    weight = triplets.weight[active]
    pull = np.bincount(triplets.same[active], weight, minlength=len(distances))
    push = np.bincount(triplets.other[active], weight, minlength=len(distances))
    slope: NDArray[np.float64] = np.subtract(pull, push, dtype=np.float64)
    return float(weight @ slack[active]), slope


def median_and_slope(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the median and its derivative with respect to each value."""
    order = np.argsort(values, kind="stable")
    middle = order[(len(values) - 1) // 2 : len(values) // 2 + 1]
    slope = np.zeros_like(values)
    slope[middle] = 1 / len(middle)
    return float(values[middle].mean()), slope


def _frobenius(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    norm = float(np.linalg.norm(w))
    return norm, w / norm if norm > 0 else np.zeros_like(w)


def _l1(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    return float(np.abs(w).sum()), np.asarray(np.sign(w), dtype=np.float64)


def _l21(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    norms = np.linalg.norm(w, axis=0)
    return float(norms.sum()), np.divide(w, norms, out=np.zeros_like(w), where=norms > 0)


def _nuclear(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    rank = s > s[0] * 1e-12
    return float(s.sum()), u[:, rank] @ vt[rank]


def _max_column_sum(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    sums = np.abs(w).sum(axis=0)
    column = int(sums.argmax())
    gradient = np.zeros_like(w)
    gradient[:, column] = np.sign(w[:, column])
    return float(sums[column]), gradient


#: Norms of the components (n_components, n_features), each returning its value and a (sub)gradient: `l21` sums the
#: norms of whole features; `max_column_sum` is the operator 1-norm that the paper used on its synthetic cohorts.
REGULARIZERS: dict[str, Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]] = {
    "frobenius": _frobenius,
    "l1": _l1,
    "l21": _l21,
    "nuclear": _nuclear,
    "max_column_sum": _max_column_sum,
}
