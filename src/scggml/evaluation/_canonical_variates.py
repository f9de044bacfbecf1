"""Canonical variates in Wasserstein space: the subspace with the largest Fisher ratio of squared distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import solve_pairs, square_pairs

from ._cell_metrics import scaled_cells
from ._held import Held

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._exact import ExactTransport
    from scggml.core.transport._plans import Plans

    from ._samples import Samples
    from ._splits import Split

N_COMPS = 10
MAX_CELLS = 100  # of each sample, to learn from
MAX_ROUNDS = 10
USUAL_ROUNDS = 5  # solved, for estimates of time
_SETTLED = 1e-3  # relative gain of the ratio
_RIDGE = 1e-6  # fraction of the mean variance within classes, so that these can be inverted


@dataclass(frozen=True, eq=False)
class CanonicalVariates:
    """Wasserstein-2 distances in the subspace of :cite:t:`li2024`, which is learned from the training samples."""

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        train, test = scaled_cells(samples, split, "canonical_variates")
        directions = canonical_variates(train.thinned(MAX_CELLS), samples.codes[split.train], n_jobs=n_jobs)
        train, test = (m.with_points(m.points @ directions) for m in (train, test))
        squared = [
            pairwise_distances(test, other, cost="sqeuclidean", n_jobs=n_jobs)[0]
            for other in ((train, None) if len(test) > 1 else (train,))
        ]
        return Held(*map(np.sqrt, squared))


def canonical_variates(
    measures: Measures, codes: NDArray[np.integer], *, n_comps: int = N_COMPS, n_jobs: int | None = None
) -> NDArray[np.float64]:
    r"""Return the directions that maximise Fisher's ratio of mean squared Wasserstein-2 distances, (n_features, k).

    The ratio is that of the mean over pairs of samples of different classes to the mean over pairs of one class. As in
    :cite:t:`li2024`, plans and directions are found in turn. For plans held fixed, with :math:`S_b` and :math:`S_w` the
    mean second moments of transported differences between and within classes, the directions are the leading
    solutions of :math:`S_b v = \lambda S_w v` with :math:`v^\top S_w v = 1`. The next plans are optimal for
    differences along these. The best directions are returned once the ratio gains less than 0.1 %, after ten rounds
    at most.

    Parameters
    ----------
    measures
        Samples.
    codes
        Class of each sample, (n_samples,).
    n_comps
        Upper bound on the number of directions.
    n_jobs
        Threads.
    """
    points, pairs = measures.points, square_pairs(len(measures))
    same = codes[pairs[:, 0]] == codes[pairs[:, 1]]

    def transported(directions: NDArray[np.float64]) -> ExactTransport:
        projected = measures.with_points(points @ directions)
        return solve_pairs(projected, pairs, cost="sqeuclidean", keep_plans=True, n_jobs=n_jobs)

    solved, best = transported(np.eye(points.shape[1])), -np.inf
    for _ in range(MAX_ROUNDS):
        directions = _leading(points, solved.known_plans, same, n_comps)
        solved = transported(directions)
        ratio = solved.distances[~same].mean() / max(solved.distances[same].mean(), np.finfo(float).tiny)
        if ratio > best:
            found = directions
        if ratio <= best * (1 + _SETTLED):
            break
        best = ratio
    return found


def _leading(points: NDArray[np.float64], plans: Plans, same: NDArray[np.bool_], n_comps: int) -> NDArray[np.float64]:
    """Return the directions with the largest ratio of second moments along the plans, (n_features, n)."""
    between, within = (plans.second_moment(points, plans.of_pairs(pair / pair.sum())) for pair in (~same, same))
    d = points.shape[1]
    within = within + _RIDGE * np.trace(within) / d * np.eye(d)
    top = [max(d - n_comps, 0), d - 1]
    return np.ascontiguousarray(scipy.linalg.eigh(between, within, subset_by_index=top)[1][:, ::-1])
