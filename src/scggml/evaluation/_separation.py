"""Whether classes of samples are further apart than chance would have it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import joblib
import numpy as np
from tqdm.auto import tqdm

from scggml.core._neighbors import class_neighbors, mean_of_nearest
from scggml.core.measures._threads import n_threads, single_threaded_blas
from scggml.core.metric._discriminant import default_ridge
from scggml.core.metric._pair_moments import PairMoments
from scggml.core.transport._exact import solve_pairs, square_pairs
from scggml.estimators import GroundMetricLearner

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._targets import Targets

    from ._permutations import Exchange

_PER_TASK = 8


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """A statistic, and what it is under relabelings.

    Parameters
    ----------
    statistic
        Its value for the labels as they are.
    null
        Its values under relabelings, (n_permutations,).
    exact
        Whether these are all relabelings that there are, the labels as they are among them.
    """

    statistic: float
    null: NDArray[np.float64]
    exact: bool

    @property
    def p_value(self) -> float:
        """The share of relabelings that do as well, ties included; random ones count the labels as they are besides."""
        # equal labelings give equal statistics but for rounding
        as_good = int((self.null >= self.statistic - 1e-9 * max(abs(self.statistic), 1e-300)).sum())
        return as_good / len(self.null) if self.exact else (as_good + 1) / (len(self.null) + 1)


def separation_tests(
    measures: Measures,
    targets: Targets,
    exchange: Exchange,
    *,
    n_permutations: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> dict[str, PermutationTest]:
    """Test how far apart classes are: "learned", "euclidean" and "permanova".

    Plans between samples under the Euclidean metric, which do not depend on labels, are solved once.

    Parameters
    ----------
    measures
        The samples, scaled.
    targets
        Their classes, and the blocks within which metrics are learned.
    exchange, n_permutations, rng, n_jobs
        As in `permutation_tests`.
    """
    pairs = square_pairs(len(measures))
    solved = solve_pairs(measures, pairs, keep_plans=True, n_jobs=n_jobs, progress="transport")
    if not solved.distances.any():
        msg = "all samples hold the same cells: there is no difference between classes to test"
        raise ValueError(msg)
    distances = np.zeros((len(measures),) * 2)
    distances[pairs[:, 0], pairs[:, 1]] = distances[pairs[:, 1], pairs[:, 0]] = solved.distances
    defaults = GroundMetricLearner().get_params()
    learned = partial(
        learned_margin,
        PairMoments.from_plans(measures, solved.known_plans, pairs),
        blocks=targets.blocks,
        ridge=default_ridge(measures),
        power=defaults["power"],
        whitening=defaults["whitening"],
    )
    return permutation_tests(
        {"learned": learned, "euclidean": partial(mean_margin, distances), "permanova": partial(pseudo_f, distances)},
        exchange,
        n_permutations=n_permutations,
        rng=rng,
        n_jobs=n_jobs,
    )


def permutation_tests(
    statistics: dict[str, Callable[[NDArray[np.int64]], float]],
    exchange: Exchange,
    *,
    n_permutations: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> dict[str, PermutationTest]:
    """Compare statistics of labels with those of relabelings, the same ones for each.

    Parameters
    ----------
    statistics
        Functions of the class of each sample, (n_samples,); larger is further apart.
    exchange
        Which labels can be exchanged.
    n_permutations
        Number of random relabelings. Where there are no more than that, each is taken once.
    rng
        Source of random relabelings.
    n_jobs
        Threads; the result does not depend on it.
    """
    exact = exchange.n_possible <= n_permutations
    relabelings = exchange.everything() if exact else exchange.draw(n_permutations, rng)

    def of_part(part: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([[statistic(codes) for statistic in statistics.values()] for codes in part])

    parts = [relabelings[start : start + _PER_TASK] for start in range(0, len(relabelings), _PER_TASK)]
    found = []
    with single_threaded_blas, tqdm(total=len(relabelings), desc="permutations", delay=2, disable=None) as bar:
        observed = of_part(exchange.codes[None])[0]
        threads = joblib.Parallel(n_jobs=n_threads(n_jobs), backend="threading", return_as="generator")
        for values in threads(joblib.delayed(of_part)(part) for part in parts):
            found.append(values)
            bar.update(len(values))
    null = np.concatenate(found)
    return {name: PermutationTest(float(observed[s]), null[:, s], exact) for s, name in enumerate(statistics)}


def learned_margin(
    moments: PairMoments,
    codes: NDArray[np.int64],
    *,
    blocks: NDArray[np.integer] | None = None,
    ridge: float,
    power: float,
    whitening: float,
) -> float:
    """Return the mean lead of the true class under metrics that were learned without the sample."""
    distances = moments.held_out_distances(codes, blocks=blocks, ridge=ridge, power=power, whitening=whitening)
    return mean_margin(distances, codes)


def mean_margin(distances: NDArray[np.float64], codes: NDArray[np.int64], n_neighbors: int = 3) -> float:
    """Return by how much a sample is nearer to its own class than to the best other, relative to both; mean of class means.

    Parameters
    ----------
    distances
        Distances of each sample (rows) to the others, (n, n); need not be symmetric.
    codes
        Class of each sample, (n,).
    n_neighbors
        Nearest samples of the largest class whose mean distance counts, as in `class_scores`.
    """
    n, n_classes = len(codes), int(codes.max()) + 1
    to_others = np.where(np.eye(n, dtype=bool), np.inf, distances)
    counts = np.bincount(codes, minlength=n_classes)
    near = np.empty((n, n_classes))
    for c in range(n_classes):
        nearest = np.sort(to_others[:, codes == c], axis=1)
        for own_class in range(n_classes):
            left = counts - (np.arange(n_classes) == own_class)  # the sample itself is not there
            rows = codes == own_class
            near[rows, c] = mean_of_nearest(nearest[rows], class_neighbors(left, n_neighbors)[c])
    is_own = codes[:, None] == np.arange(n_classes)
    own, other = near[is_own], np.where(is_own, np.inf, near).min(axis=1)
    lead = (other - own) / np.maximum(other + own, np.finfo(float).tiny)
    return float(np.mean([lead[codes == c].mean() for c in range(n_classes)]))


def pseudo_f(distances: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """Return the pseudo-F ratio of PERMANOVA :cite:p:`anderson2001`."""
    squared = distances**2
    n, n_classes = len(codes), int(codes.max()) + 1
    total = squared.sum() / (2 * n)
    within = sum(squared[np.ix_(codes == c, codes == c)].sum() / (2 * (codes == c).sum()) for c in range(n_classes))
    between = total - within
    return float(between / (n_classes - 1) / max(within / (n - n_classes), np.finfo(float).tiny))
