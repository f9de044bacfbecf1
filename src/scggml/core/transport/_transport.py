"""Solved transport problems: the interface that exact and entropic solutions share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures, Points

    from ._plans import Plans


@dataclass(frozen=True, eq=False)
class Transport(ABC):
    """Solved pairs of measures.

    Parameters
    ----------
    pairs
        Indices of the measures that were compared, (n_pairs, 2).
    distances
        Distance of each pair, (n_pairs,).
    plans
        Sparse optimal plans. None if they were not asked for, and for entropic transport, whose plans are dense.
    """

    pairs: NDArray[np.int64]
    distances: NDArray[np.float64]
    plans: Plans | None

    @property
    @abstractmethod
    def error(self) -> float:
        """How far from exact the pairs are: the largest relative duality gap, or the largest marginal error."""

    @property
    @abstractmethod
    def start(self) -> Any:
        """From where the same solver can solve the same pairs again when the points have moved."""

    @abstractmethod
    def gradient(self, pair_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of `sum_p w_p distances_p` with respect to the points, (n_points, n_components)."""

    @abstractmethod
    def second_moment(self, points: Points, pair_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `sum_p w_p sum_ab P_ab (x_a - x_b)(x_a - x_b)^T` over the plans `P` of the pairs, (d, d).

        Parameters
        ----------
        points
            The points of all measures in any features, dense or CSR, (n_points, d).
        pair_weights
            Weight of each pair, (n_pairs,).
        """

    def second_moments(
        self, points: Points, pair_weights: Sequence[NDArray[np.float64]], *, n_jobs: int | None = None
    ) -> list[NDArray[np.float64]]:
        """Return the `second_moment` of each of several weightings of the pairs."""
        return [self.second_moment(points, weights) for weights in pair_weights]

    @abstractmethod
    def moved(self, measures: Measures) -> Transport:
        """Return the transport of the same pairs at other points, cheaply: near enough for a gradient step."""

    @property
    def known_plans(self) -> Plans:
        """The sparse plans, which must be there."""
        if self.plans is None:
            msg = "this transport has no sparse plans. Solve exactly, with keep_plans=True."
            raise ValueError(msg)
        return self.plans
