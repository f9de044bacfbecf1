"""Distance matrices, by the exact solver or the entropic one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._checkpoint import Checkpoint
from ._entropic import solve_pairs_entropic
from ._exact import cross_pairs, solve_pairs, square_pairs

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._costs import Cost


@dataclass(frozen=True)
class Entropic:
    """How to solve entropic problems.

    Parameters
    ----------
    epsilon
        Entropic strength, in the unit of the costs.
    debiased
        Whether distances are Sinkhorn divergences.
    device
        Where torch computes; None for a GPU if there is one.
    """

    epsilon: float
    debiased: bool = False
    device: str | None = None


def pairwise_distances(
    measures: Measures,
    other: Measures | None = None,
    *,
    cost: Cost = "euclidean",
    entropic: Entropic | None = None,
    n_jobs: int | None = None,
    progress: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Return the distances of all pairs of measures, and how exact they are.

    Parameters
    ----------
    measures
        Point clouds, already in the space in which `cost` is to be measured.
    other
        Clouds to compare with; None compares `measures` with one another.
    cost
        Ground cost between points; entropic problems take Euclidean ones.
    entropic
        How to solve; None for exactly.
    n_jobs, progress
        As in `solve_pairs`.
    checkpoint
        File in which finished distances are kept, and from which an interrupted computation goes on; exact solver only.

    Returns
    -------
    The matrix, (n, n) symmetric with zero diagonal or (n, m) against `other`; and the largest relative duality gap or, of
    entropic problems, the largest marginal error.
    """
    n = len(measures)
    both = measures if other is None else measures.concat(other)
    pairs = square_pairs(n) if other is None else cross_pairs(n, len(other))
    if entropic is None:
        record = None if checkpoint is None else Checkpoint.open(checkpoint, both, pairs, cost)
        solved = solve_pairs(both, pairs, cost=cost, n_jobs=n_jobs, progress=progress, checkpoint=record)
        distances, error = solved.distances, solved.gap
    else:
        smooth = solve_pairs_entropic(
            both, pairs, reg=1.0, cost_scale=entropic.epsilon, debiased=entropic.debiased, device=entropic.device,
            n_jobs=n_jobs, progress=progress,
        )  # fmt: skip
        distances, error = smooth.distances, float(smooth.marginal_error.max(initial=0.0))
    if other is not None:
        return distances.reshape(n, len(other)), error
    matrix = np.zeros((n, n))
    matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = distances
    return matrix, error
