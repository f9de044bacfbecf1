"""Distances between samples, each under a metric that was learned without either of the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import typical_cost
from scggml.core.measures._progress import progress_bar
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._solvers import Entropic, Exact, Sinkhorn

from ._held_out_metrics import is_learned_anew, metrics_without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from scggml.core.transport._solvers import SolverSpec

    from ._ground_metric import GroundMetric
    from ._options import TrainingOptions
    from ._targets import Targets

    _Batch: TypeAlias = tuple[Measures, NDArray[np.int64], NDArray[np.int64]]

_MAX_CLOUDS = 200_000_000  # bytes for the cells of one batch, in the learned spaces of its metrics
_NARROW, _MEDIUM = 100, 500  # features up to which a metric takes milliseconds, and tenths of a second
_N_CELLS = 100  # of a sample, for the entropic strength


@dataclass(frozen=True, eq=False)
class OutOfFoldDistances:
    """Distances between samples, each under a metric that was learned without either of the two.

    Parameters
    ----------
    matrix
        Distances in units of their median, (n_samples, n_samples), symmetric with zero diagonal.
    gap
        Largest relative duality gap or, of entropic transport, the largest marginal error.
    solver
        The solver, in the unit of the distances.
    n_metrics
        Number of metrics that were learned.
    """

    matrix: NDArray[np.float64]
    gap: float
    solver: Exact | Entropic
    n_metrics: int


def fold_pairs(n_folds: int) -> NDArray[np.int64]:
    """Return the two folds that each metric is learned without, (n_metrics, 2)."""
    return square_pairs(n_folds)


def folds_of_pairs(folds: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the two folds that the metric of each pair of samples is learned without, (n_pairs, 2), in rising order.

    Of two samples of one fold these are that fold and the next, so that all metrics are learned from about as many
    samples. With more samples a metric is less sharp, and distances are longer. Samples of one fold have different
    labels more often than others where folds are stratified, and would be further apart also if labels mean nothing.

    Parameters
    ----------
    folds
        Fold of each sample, 0, 1, ..., (n_samples,).
    pairs
        Pairs of samples, (n_pairs, 2).
    """
    both = folds[pairs]
    same = both[:, 0] == both[:, 1]
    both[same, 1] = (both[same, 1] + 1) % (int(folds.max()) + 1)
    return np.sort(both, axis=1)


def max_folds(n_features: int, options: TrainingOptions) -> int:
    """Return how many folds cost little more than a distance matrix or two: a metric takes longer with more features.

    Parameters
    ----------
    n_features
        Number of features.
    options
        How metrics are learned.
    """
    if is_learned_anew(options) or n_features > _MEDIUM:
        return 5
    return 20 if n_features <= _NARROW else 10


def left_without(folds: NDArray[np.int64], out: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the samples that are left when some folds are held out."""
    return np.flatnonzero(~np.isin(folds, out))


def out_of_fold_distances(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    folds: NDArray[np.int64],
    *,
    compared: Measures | None = None,
    solver: SolverSpec | None = None,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> OutOfFoldDistances:
    """Return distances between samples, each under a metric that was learned without the folds of the two.

    There is one metric for each two folds, see `folds_of_pairs`, in the unit of `metrics_without`. Nothing that enters
    the distance of two samples depends on their labels, up to the common unit, what folds are drawn, and what
    `metrics_without` excepts.

    Parameters
    ----------
    measures
        One measure per sample, raw points, from which metrics are learned.
    targets
        Label of each sample.
    options
        How metrics are learned.
    folds
        Fold of each sample, 0, 1, ..., (n_samples,). Labels must suffice without any two folds.
    compared
        The same samples with the points whose distances are wanted, such as all cells of sketched samples; None takes
        `measures`.
    solver
        Solver of the distances; None takes that of `options`.
    rng
        Source of sampled pairs, and of what training draws.
    n_jobs
        Threads; the result does not depend on it.
    """
    compared = measures if compared is None else compared
    solver = options.solver if solver is None else solver
    out = fold_pairs(int(folds.max()) + 1)
    left = [left_without(folds, pair) for pair in out]
    metrics: Iterable[GroundMetric] = metrics_without(measures, targets, options, left, rng=rng, n_jobs=n_jobs)
    if isinstance(solver, Sinkhorn):  # one strength for all pairs, which depends on all metrics
        metrics, seen = list(metrics), compared.thinned(_N_CELLS)
        cost = float(np.median([typical_cost(metric.project_measures(seen)) for metric in metrics]))
        at: Exact | Entropic = Entropic(solver.reg * cost, solver.debiased, solver.device)
    else:
        at = solver
    return _solved(compared, folds, out, metrics, at, n_jobs)


def _solved(
    measures: Measures,
    folds: NDArray[np.int64],
    out: NDArray[np.int64],
    metrics: Iterable[GroundMetric],
    solver: Exact | Entropic,
    n_jobs: int | None,
) -> OutOfFoldDistances:
    """Return the distances of all pairs, each under the metric without its folds."""
    n, gap = len(measures), 0.0
    matrix = np.zeros((n, n))
    with progress_bar(n * (n - 1) // 2, "held-out distances", "pair") as bar:
        for clouds, local, pairs in _batches(measures, folds, out, metrics):
            solved = solver.solve(clouds, local, n_jobs=n_jobs)
            matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = solved.distances
            gap = max(gap, solved.error)
            bar.update(len(pairs))
    unit = float(np.median(matrix[np.triu_indices(n, k=1)]))
    if not unit > 0:
        msg = "at least half of the pairs of samples are at distance zero, so that there is no unit of distance."
        raise ValueError(msg)
    return OutOfFoldDistances(matrix / unit, gap, solver.in_unit(unit), len(out))


def _batches(
    measures: Measures, folds: NDArray[np.int64], out: NDArray[np.int64], metrics: Iterable[GroundMetric]
) -> Iterator[_Batch]:
    """Yield clouds in the learned spaces of some metrics, their pairs, and which samples these are.

    With each sample in a fold of its own there is one pair for each metric, so that threads would wait for one another.
    """
    pairs = square_pairs(len(measures))
    held = folds_of_pairs(folds, pairs)
    waiting: list[_Batch] = []
    size = 0
    for two, metric in zip(out, metrics, strict=True):
        own = pairs[(held == two).all(axis=1)]
        members, local = np.unique(own, return_inverse=True)
        clouds = metric.project_measures(measures.take(members))
        waiting.append((clouds, local.reshape(own.shape), own))
        size += clouds.points.nbytes
        if size > _MAX_CLOUDS:
            yield _joined(waiting)
            waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[_Batch]) -> _Batch:
    """Return clouds of several spaces as those of one, whose further components are zero."""
    width = max(clouds.n_features for clouds, *_ in parts)
    points = np.concatenate([np.pad(c.points, ((0, 0), (0, width - c.n_features))) for c, *_ in parts])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([clouds.sizes for clouds, *_ in parts]))])
    weights = np.concatenate([clouds.weights for clouds, *_ in parts])
    starts = np.cumsum([0, *(len(clouds) for clouds, *_ in parts)])
    local = np.concatenate([pairs + start for (_, pairs, _), start in zip(parts, starts, strict=False)])
    return Measures(points, offsets, weights), local, np.concatenate([pairs for *_, pairs in parts])
