"""The mean of several measures: their barycenter in Wasserstein-2 distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.measures._progress import progress_bar

from ._exact import cross_pairs, solve_pairs
from ._work import Work, transport_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ._work import Extent

_USUAL_STEPS = 30
_MIN_STEPS = 2  # the first step leaves an arbitrary start


@dataclass(frozen=True, eq=False)
class Barycenter:
    """A barycenter of equally weighted points.

    Parameters
    ----------
    points
        Coordinates of the points, (n_points, n_features).
    shares
        Share of each cell in the mass that is transported to a point, all measures counting alike, (n_points,
        n_cells), rows summing to one: the mean of a property of the cells at each point is `shares @ property`.
    history
        Mean squared Wasserstein-2 distance to the measures in each iteration, the last that of `points`, (n_iter,).
    converged
        Whether the last iteration improved it by no more than the tolerance.
    """

    points: NDArray[np.float64]
    shares: sp.csr_array
    history: NDArray[np.float64]
    converged: bool


def free_support_barycenter(
    measures: Measures,
    n_points: int,
    *,
    rng: np.random.Generator,
    max_iter: int = 100,
    tol: float = 1e-4,
    n_jobs: int | None = None,
) -> Barycenter:
    """Return points whose mean squared Wasserstein-2 distance to the measures is a local minimum.

    Each iteration transports the points to every measure exactly, and moves each point to the mean of the cells that
    it is transported to (Cuturi and Doucet 2014, algorithm 2, with weights held equal). The objective never rises.

    Parameters
    ----------
    measures
        Dense point clouds; all count alike.
    n_points
        Number of points of the barycenter.
    rng
        Draws the start: cells of all measures.
    max_iter
        Upper bound on the number of iterations.
    tol
        Stop when the objective falls by less than this fraction.
    n_jobs
        Threads; the result does not depend on it.
    """
    n_measures = len(measures)
    points = _start(measures, n_points, rng)
    pairs = cross_pairs(1, n_measures)
    history: list[float] = []
    with progress_bar(max_iter, "barycenter", "iteration") as bar:
        while True:
            own = Measures(points, np.array([0, n_points]), np.full(n_points, 1 / n_points))
            solved = solve_pairs(own.concat(measures), pairs, cost="sqeuclidean", keep_plans=True, n_jobs=n_jobs)
            bar.update()
            plans = solved.known_plans
            history.append(float(solved.distances.mean()))
            shares = sp.csr_array(
                (plans.mass * (n_points / n_measures), (plans.rows, plans.cols - n_points)),
                shape=(n_points, len(measures.weights)),
            )
            converged = len(history) >= _MIN_STEPS and history[-2] - history[-1] <= tol * history[-2]
            if converged or len(history) >= max_iter:
                return Barycenter(points, shares, np.array(history), converged)
            points = shares @ measures.points


def barycenter_work(extent: Extent, members: Sequence[NDArray[np.bool_]], n_points: int) -> Work:
    """Return the work of barycenters of so many points that take an ordinary number of iterations.

    Parameters
    ----------
    extent
        All measures.
    members
        The measures of each barycenter, (n_measures,).
    n_points
        Number of points of each.
    """
    n = len(extent)
    both = replace(extent, sizes=np.append(extent.sizes, n_points))
    total = Work()
    for mask in members:
        own = np.flatnonzero(mask)
        total += transport_work(both, np.stack([np.full(len(own), n), own], axis=1), cost="sqeuclidean")
    return total.times(_USUAL_STEPS)


def _start(measures: Measures, n_points: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw cells at random, from each measure as many as from the others but for one."""
    quota = np.full(len(measures), n_points // len(measures))
    quota[rng.permutation(len(measures))[: n_points % len(measures)]] += 1
    chosen = []
    for i, n_drawn in enumerate(quota):
        points, weights = measures[i]
        enough = n_drawn <= np.count_nonzero(weights)
        chosen.append(points[rng.choice(len(weights), n_drawn, replace=not enough, p=weights)])
    return np.concatenate(chosen).astype(np.float64)
