"""Permutation tests of the distances between samples with different labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import joblib
import numpy as np

from scggml import _check as check
from scggml.core._neighbors import class_neighbors, mean_of_nearest, neighbor_means
from scggml.core._probabilities import N_NEIGHBORS
from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import n_threads, single_threaded_blas
from scggml.core.metric._discriminant import default_ridge
from scggml.core.metric._pair_moments import PairMoments, without
from scggml.core.transport._exact import solve_pairs, square_pairs

from ._scores import spearman

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._targets import Targets

    from ._permutations import Exchange

_PER_TASK = 8
_MIN_SAMPLES = 3  # of a class: two are left to learn from when one is held out


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """A statistic and its null distribution.

    Parameters
    ----------
    statistic
        Its value for the given labels.
    null
        Its values under relabelings, (n_permutations,).
    exact
        Whether these are all possible relabelings, the given labels among them.
    """

    statistic: float
    null: NDArray[np.float64]
    exact: bool

    @property
    def p_value(self) -> float:
        """The share of relabelings with at least this statistic; the given labels are added to random ones."""
        # equal labelings give equal statistics up to rounding
        as_good = int((self.null >= self.statistic - 1e-9 * max(abs(self.statistic), 1e-300)).sum())
        return as_good / len(self.null) if self.exact else (as_good + 1) / (len(self.null) + 1)


def check_left_out(targets: Targets, names: NDArray[np.object_]) -> None:
    """Refuse labels from which no metric can be learned without one of the samples.

    Parameters
    ----------
    targets
        Labels of the samples.
    names
        Names of the samples, (n_samples,).
    """
    if targets.kind == "class":
        counts = np.bincount(targets.codes)
        if counts.min() < _MIN_SAMPLES:
            example = names[targets.codes == counts.argmin()]
            msg = (
                f"each class needs at least {_MIN_SAMPLES} samples, because two must be left when one is held out. "
                f"Found {counts.min()} in the class of {check.listed(example)}. Merge the class with another, or drop "
                "its samples."
            )
            raise ValueError(msg)
    for left_out, name in enumerate(names):
        lacks = what_lacks(without(targets, left_out))
        if lacks:
            msg = (
                f"when sample {name} is held out, there are {' and '.join(lacks)}, so that no metric can be learned. "
                "Add samples, or leave batch_key or donor_key out if these keep samples from being compared."
            )
            raise ValueError(msg)


def what_lacks(targets: Targets) -> list[str]:
    """Return what samples with these labels lack for a metric to be learned from them, as text."""
    i, j = np.triu_indices(len(targets), k=1)
    apart = targets.differences(i, j)
    lacks = []
    if not (apart == 0).any() and targets.kind == "ordinal":
        lacks.append("no two samples with the same label")
    if not (targets.comparable(i, j) & (apart > 0)).any():
        lacks.append("no two comparable samples with different labels")
    return lacks


def separation_tests(
    measures: Measures,
    targets: Targets,
    exchange: Exchange,
    *,
    n_permutations: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> dict[str, PermutationTest]:
    """Test whether distances between samples depend on their labels: "learned", "euclidean" and "permanova".

    "learned" and "euclidean" are `mean_margin` for classes and `neighbor_correlation` for ordinal and continuous
    labels, the first under metrics that are refitted without each sample and for each relabeling. "permanova" is the
    pseudo-F ratio of Euclidean transport distances, `pseudo_f` for classes and `regression_f` for the others.

    Plans between samples under the Euclidean metric do not depend on labels. They are solved once. Metrics are not
    shrunk towards the Euclidean one, which would itself take many relabelings.

    Parameters
    ----------
    measures
        The samples, scaled.
    targets
        Their labels, and the strata within which metrics are learned. Labels must suffice without any one sample, see
        `check_left_out`.
    exchange
        Exchange of `targets.codes`.
    n_permutations, rng, n_jobs
        As in `permutation_tests`.
    """
    moments, distances = moments_of(measures, n_jobs=n_jobs)
    learned = partial(learned_statistic, moments, targets, ridge=default_ridge(measures), power=1.0, whitening=1.0)
    statistics: dict[str, Callable[[NDArray[np.int64]], float]]
    if targets.kind == "class":
        euclidean, permanova = partial(mean_margin, distances), partial(pseudo_f, distances)
        statistics = {"learned": learned, "euclidean": euclidean, "permanova": permanova}
    else:
        values = np.unique(targets.values)
        statistics = {
            "learned": learned,
            "euclidean": lambda codes: neighbor_correlation(distances, values[codes]),
            "permanova": lambda codes: regression_f(distances, values[codes]),
        }
    return permutation_tests(statistics, exchange, n_permutations=n_permutations, rng=rng, n_jobs=n_jobs)


def moments_of(measures: Measures, *, n_jobs: int | None = None) -> tuple[PairMoments, NDArray[np.float64]]:
    """Return the moments of Euclidean transport between all samples, and the distances, (n_samples, n_samples)."""
    pairs = square_pairs(len(measures))
    solved = solve_pairs(measures, pairs, keep_plans=True, n_jobs=n_jobs, progress="transport")
    if not solved.distances.any():
        msg = "all samples hold the same cells, so that there is no difference between them to test"
        raise ValueError(msg)
    distances = np.zeros((len(measures),) * 2)
    distances[pairs[:, 0], pairs[:, 1]] = distances[pairs[:, 1], pairs[:, 0]] = solved.distances
    return PairMoments.from_plans(measures, solved.known_plans, pairs), distances


def permutation_tests(
    statistics: dict[str, Callable[[NDArray[np.int64]], float]],
    exchange: Exchange,
    *,
    n_permutations: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> dict[str, PermutationTest]:
    """Compare each statistic of the labels with its values for the same relabelings.

    Parameters
    ----------
    statistics
        Functions of the codes of labels, (n_samples,). Larger values are evidence against the null hypothesis.
    exchange
        Exchange of the labels.
    n_permutations
        Number of random relabelings. If there are no more possible ones, each is taken once.
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
    with single_threaded_blas, progress_bar(len(relabelings), "permutations", "permutation") as bar:
        observed = of_part(exchange.codes[None])[0]
        threads = joblib.Parallel(n_jobs=n_threads(n_jobs), backend="threading", return_as="generator")
        for values in threads(joblib.delayed(of_part)(part) for part in parts):
            found.append(values)
            bar.update(len(values))
    null = np.concatenate(found)
    return {name: PermutationTest(float(observed[s]), null[:, s], exact) for s, name in enumerate(statistics)}


def learned_statistic(
    moments: PairMoments,
    targets: Targets,
    codes: NDArray[np.int64],
    *,
    ridge: float,
    power: float,
    whitening: float,
) -> float:
    """Return `mean_margin` or `neighbor_correlation` under metrics that are refitted without each sample.

    Parameters
    ----------
    moments
        Moments of the samples.
    targets
        Kind, values and strata of the labels as given.
    codes
        Position of the label of each sample in the sorted values of `targets`, (n_samples,).
    ridge, power, whitening
        As in `transport_discriminant`.
    """
    relabelled = replace(targets, values=np.unique(targets.values)[codes])
    distances = moments.held_out_distances(relabelled, ridge=ridge, power=power, whitening=whitening)
    return (
        mean_margin(distances, codes) if targets.kind == "class" else neighbor_correlation(distances, relabelled.values)
    )


def mean_margin(distances: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """Return the mean margin of the true class.

    The margin of a sample is `(other - own) / (other + own)`. Here `own` is its mean distance to the nearest samples of
    its class, and `other` that to the nearest samples of the closest other class. Margins are averaged over each class,
    then over classes.

    Parameters
    ----------
    distances
        Distances of each sample (rows) to the others, (n, n); need not be symmetric.
    codes
        Class of each sample, (n,).
    """
    n, n_classes = len(codes), int(codes.max()) + 1
    to_others = np.where(np.eye(n, dtype=bool), np.inf, distances)
    counts = np.bincount(codes, minlength=n_classes)
    near = np.empty((n, n_classes))
    for c in range(n_classes):
        nearest = np.sort(to_others[:, codes == c], axis=1)
        for own_class in range(n_classes):
            left = counts - (np.arange(n_classes) == own_class)  # without the sample itself
            rows = codes == own_class
            near[rows, c] = mean_of_nearest(nearest[rows], class_neighbors(left, N_NEIGHBORS)[c])
    is_own = codes[:, None] == np.arange(n_classes)
    own, other = near[is_own], np.where(is_own, np.inf, near).min(axis=1)
    lead = (other - own) / np.maximum(other + own, np.finfo(float).tiny)
    return float(np.mean([lead[codes == c].mean() for c in range(n_classes)]))


def pseudo_f(distances: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """Return the pseudo-F ratio of PERMANOVA :cite:p:`anderson2001`.

    Parameters
    ----------
    distances
        Distances between samples, (n, n).
    codes
        Class of each sample, (n,).
    """
    squared = distances**2
    n, n_classes = len(codes), int(codes.max()) + 1
    total = squared.sum() / (2 * n)
    within = sum(squared[np.ix_(codes == c, codes == c)].sum() / (2 * (codes == c).sum()) for c in range(n_classes))
    between = total - within
    return float(between / (n_classes - 1) / max(within / (n - n_classes), np.finfo(float).tiny))


def neighbor_correlation(distances: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return Spearman's correlation between labels and the mean label of the round(sqrt(n)) nearest other samples.

    Parameters
    ----------
    distances
        Distances of each sample (rows) to the others, (n, n); need not be symmetric.
    values
        Label of each sample, (n,).
    """
    n = len(values)
    to_others = np.where(np.eye(n, dtype=bool), np.inf, distances)
    return spearman(values, neighbor_means(to_others, values, n_neighbors=round(np.sqrt(n))))


def regression_f(distances: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return the pseudo-F ratio of distance-based regression on the labels :cite:p:`mcardle2001`.

    For two classes with the values 0 and 1 it equals that of PERMANOVA.

    Parameters
    ----------
    distances
        Distances between samples, (n, n).
    values
        Label of each sample, (n,); not all equal.
    """
    n = len(values)
    half = -0.5 * distances**2
    inner = half - half.mean(axis=0) - half.mean(axis=1)[:, None] + half.mean()  # Gower's centred matrix
    direction = values - values.mean()
    explained = direction @ inner @ direction / (direction @ direction)
    residual = np.trace(inner) - explained
    return float(explained / max(residual / (n - 2), np.finfo(float).tiny))
