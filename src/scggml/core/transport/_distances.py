"""Distance matrices, by any solver."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from scggml.core.measures._digest import digest

from ._checkpoint import Checkpoint
from ._exact import cross_pairs, square_pairs
from ._solvers import Exact, Solver

if TYPE_CHECKING:
    import os
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._costs import Cost


def pairwise_distances(
    measures: Measures,
    other: Measures | None = None,
    *,
    cost: Cost = "euclidean",
    solver: Solver = Exact(),  # noqa: B008 it is frozen
    n_jobs: int | None = None,
    progress: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    identity: str | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Return the distances of all pairs of measures, and how exact they are.

    Parameters
    ----------
    measures
        Point clouds, already in the space in which `cost` is to be measured.
    other
        Clouds to compare with; None compares `measures` with one another.
    cost
        Ground cost between points; entropic transport takes "euclidean" only.
    solver
        How to solve.
    n_jobs, progress
        As in `solve_pairs`.
    checkpoint
        File in which finished distances are stored, and from which an interrupted computation continues; exact solver
        only.
    identity
        Digest of all that the points were computed from, by which a checkpoint is known again. The points themselves
        may differ in their last bits from one machine to another. None takes the digest of the points.

    Returns
    -------
    The matrix, (n, n) symmetric with zero diagonal or (n, m) against `other`; and the largest relative duality gap or,
    of entropic transport, the largest marginal error.
    """
    n = len(measures)
    both = measures if other is None else measures.concat(other)
    pairs = square_pairs(n) if other is None else cross_pairs(n, len(other))
    opened: AbstractContextManager[Checkpoint | None] = nullcontext()
    if checkpoint is not None:
        points = digest(both.points) if identity is None else identity
        opened = Checkpoint.open(checkpoint, digest(cost, points, both.offsets, both.weights, pairs))
    with opened as record:
        solved = solver.solve(both, pairs, cost=cost, n_jobs=n_jobs, progress=progress, checkpoint=record)
    distances = solved.distances
    if other is not None:
        return distances.reshape(n, len(other)), solved.error
    matrix = np.zeros((n, n))
    matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = distances
    return matrix, solved.error
