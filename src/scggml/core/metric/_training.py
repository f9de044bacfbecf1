"""From samples and labels to a ground metric: the closed form, and its refinement."""

from __future__ import annotations

import bisect
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from scggml.core.measures._moments import feature_scale
from scggml.core.measures._threads import single_threaded_blas
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._solvers import Exact
from scggml.core.transport._work import Extent

from ._discriminant import WIDE, default_ridge, transport_discriminant
from ._ground_metric import GroundMetric
from ._label_signal import Relabelings
from ._options import Refinement
from ._problem import Problem
from ._refinement import evaluate, refine, refine_by_minibatches
from ._triplets import Triplets, all_triplets, n_all_triplets, sample_triplets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._solvers import Solver
    from scggml.core.transport._transport import Transport

    from ._label_signal import LabelSignal
    from ._options import TrainingOptions
    from ._targets import Targets

logger = logging.getLogger(__name__)

_MAX_COMPS = 50
_MAX_SHRUNK = 100  # features of a metric that may be shrunk: the moments of each pair grow with their square
_MAX_TRIPLETS = 500_000  # beyond this "auto" samples
_AUTO_NEIGHBORS = 10
_MAX_COSTS = 10_000_000_000  # ground costs of one sweep under "auto": some minutes on two cores
_MAX_WIDE_VALUES = 30_000_000  # stored values of wide points under "auto": each is read hundreds of times
_MIN_CELLS = 50
_NARROW = 500  # features up to which BLAS takes one thread


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A learned metric and how it was found.

    Parameters
    ----------
    metric
        The learned ground metric.
    constant
        Which features do not vary and so have weight zero, (n_features,).
    loss_history
        Objective at each evaluation on newly solved plans, or its mean over each epoch of minibatches, (n_iter,).
        Without refinement, the objective of a default `Refinement` at the closed form.
    converged
        Whether objective and metric settled before `max_iter`; the closed form without refinement counts as settled.
    gap
        Largest relative duality gap of the transport problems solved last; of entropic ones, the largest marginal
        error.
    solver
        Solver for distances under the metric, in their unit.
    signal
        What the labels have beyond random ones, if it is an exponent of the closed form.
    """

    metric: GroundMetric
    constant: NDArray[np.bool_]
    loss_history: NDArray[np.float64]
    converged: bool
    gap: float
    solver: Solver
    signal: LabelSignal | None


def train(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> TrainingResult:
    """Learn a ground metric from samples and their labels.

    Parameters
    ----------
    measures
        One measure per sample, raw points.
    targets
        Label of each sample.
    options
        How to train.
    rng
        Source of the random start, and of sampled triplets and minibatches.
    n_jobs
        Threads for the transport problems; the result does not depend on it.

    Returns
    -------
    The metric, with loss history and whether training converged.
    """
    # for small matrices more threads mostly wait for one another, and keep a core busy while they wait for more
    with single_threaded_blas if measures.n_features <= _NARROW else nullcontext():
        return _train(measures, targets, options, rng, n_jobs)


def _train(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> TrainingResult:
    scale, constant = feature_scale(measures, options.scale)
    if constant.all():
        msg = "no feature varies between cells: there is nothing to learn a metric from"
        raise ValueError(msg)
    active, signal = ~constant, None
    start_rng, triplet_rng, minibatch_rng = rng.spawn(3)
    settings = options.refine or Refinement()
    if settings.start == "random":
        triplets = choose_triplets(targets, settings.triplets, triplet_rng)
        n_comps = n_components(options, int(active.sum()))
        components = start_rng.uniform(-1, 1, size=(n_comps, measures.n_features)) * active
    else:
        triplets = choose_triplets(targets, "auto", triplet_rng)
        components, signal = _closed_form(
            measures,
            targets,
            closed_form_pairs(targets, triplets, options, int(active.sum())),
            options,
            scale,
            active,
            n_jobs,
        )
        if settings.triplets != "auto":
            triplets = choose_triplets(targets, settings.triplets, triplet_rng)
    logger.debug(
        "training on %d samples, %d cells, %d features: %d components, %d triplets over %d pairs",
        len(measures), len(measures.weights), measures.n_features, len(components), len(triplets), len(triplets.pairs),
    )  # fmt: skip
    seen = measures if settings.max_cells is None else measures.thinned(settings.max_cells)
    space = GroundMetric(components, scale).project_measures(seen)
    problem = Problem(seen, scale, active, options.solver.at(space), n_jobs)
    if options.refine is None:
        found = evaluate(problem, components, triplets, settings)
    elif settings.minibatch is None:
        found = refine(problem, components, triplets, settings)
    else:
        found = refine_by_minibatches(problem, components, triplets, settings, settings.minibatch, minibatch_rng)
    metric = GroundMetric(found.components, scale)
    return TrainingResult(metric, constant, found.loss_history, found.converged, found.error, found.solver, signal)


def choose_triplets(targets: Targets, kind: Literal["auto", "all"] | int, rng: np.random.Generator) -> Triplets:
    """Return all triplets, or a random subset, `kind` positives and negatives per anchor; "auto" counts them."""
    kind = kind_of_triplets(targets, kind)
    return all_triplets(targets) if kind == "all" else sample_triplets(targets, kind, rng)


def kind_of_triplets(targets: Targets, kind: Literal["auto", "all"] | int) -> Literal["all"] | int:
    """Return what "auto" stands for."""
    if kind == "auto":
        return "all" if n_all_triplets(targets) <= _MAX_TRIPLETS else _AUTO_NEIGHBORS
    return kind


def closed_form_pairs(
    targets: Targets, triplets: Triplets, options: TrainingOptions, n_active: int
) -> NDArray[np.int64]:
    """Return the pairs that the closed form takes, (n_pairs, 2): those of sampled triplets, or all that count."""
    return triplets.pairs if len(triplets) < n_all_triplets(targets) else pairs_that_count(targets, options, n_active)


def pairs_that_count(targets: Targets, options: TrainingOptions, n_active: int) -> NDArray[np.int64]:
    """Return all pairs that count in the moments of the closed form, (n_pairs, 2): for other labels, all pairs may.

    A sample whose label cannot be compared with any other is not the anchor of a triplet, but its distances to
    samples with the same label still show variation within classes.
    """
    pairs = square_pairs(len(targets))
    if uses_signal(options, n_active):
        return pairs
    within, between = targets.pair_weights(pairs)
    return pairs[(within > 0) | (between > 0)]


def cells_per_sample(extent: Extent, pairs: NDArray[np.int64], max_cells: Literal["auto"] | int | None) -> int:
    """Return how many cells of a sample take part in the closed form."""
    largest = int(extent.sizes.max())
    if max_cells != "auto":
        return largest if max_cells is None else max_cells
    per_cell = extent.n_values if extent.n_features > WIDE else 0.0

    def fits(limit: int) -> bool:
        sizes = np.minimum(extent.sizes, limit)
        costs = float(sizes[pairs[:, 0]] @ sizes[pairs[:, 1]])
        return costs <= _MAX_COSTS and float(sizes.sum()) * per_cell <= _MAX_WIDE_VALUES

    if fits(largest):
        return largest
    return max(bisect.bisect_left(range(largest), 1, key=lambda n: not fits(n)) - 1, _MIN_CELLS)


def n_components(options: TrainingOptions, n_active: int) -> int:
    """Return the upper bound on the number of components; by default all directions if they can be shrunk."""
    default = n_active if n_active <= _MAX_SHRUNK else _MAX_COMPS
    return min(options.n_comps or default, n_active)


def _closed_form(
    measures: Measures,
    targets: Targets,
    pairs: NDArray[np.int64],
    options: TrainingOptions,
    scale: NDArray[np.float64],
    active: NDArray[np.bool_],
    n_jobs: int | None,
) -> tuple[NDArray[np.float64], LabelSignal | None]:
    """Return the closed form, whose first plans are Euclidean, on scaled features, and the signal along these."""
    limit, largest = cells_per_sample(Extent.of(measures), pairs, options.max_cells), int(measures.sizes.max())
    if limit < largest and options.max_cells == "auto":
        logger.info(
            "the closed form takes at most %d cells of each sample, evenly spaced, of up to %d; max_cells=None takes "
            "all", limit, largest,
        )  # fmt: skip
    measures = measures.thinned(limit)
    space = measures.scaled(active / scale)
    components, signal = np.empty((0, 0)), None
    for sweep in range(options.n_sweeps):
        if sweep:
            space = GroundMetric(components, scale).project_measures(measures)
        progress = f"transport sweep {sweep + 1}/{options.n_sweeps}"
        solved = options.solver.at(space).solve(space, pairs, keep_plans=True, n_jobs=n_jobs, progress=progress)
        if not solved.distances.any():
            msg = "all samples hold the same cells: there is no difference between classes to learn from"
            raise ValueError(msg)
        if not sweep:
            signal = signal_of(space, active, solved, targets, options, ridge=known_ridge(measures, options))
        components = components_of(
            measures, solved, targets, options, signal, scale=scale, active=active, n_jobs=n_jobs
        )
    return components, signal


def signal_of(
    space: Measures,
    active: NDArray[np.bool_],
    solved: Transport,
    targets: Targets,
    options: TrainingOptions,
    *,
    ridge: float,
) -> LabelSignal | None:
    """Return the signal of the labels along Euclidean plans, if the closed form uses it."""
    if not uses_signal(options, int(active.sum())):
        return None
    return Relabelings.of(space, active, solved.known_plans, solved.pairs).signal(targets, ridge=ridge)


def uses_signal(options: TrainingOptions, n_active: int) -> bool:
    """Whether an exponent of the closed form is the signal of the labels.

    Plans must be sparse. With fewer components than features a metric cannot be shrunk to the Euclidean one.
    """
    is_wanted = "auto" in (options.power, options.whitening) and isinstance(options.solver, Exact)
    return is_wanted and n_components(options, n_active) == n_active <= _MAX_SHRUNK


def components_of(
    measures: Measures,
    solved: Transport,
    targets: Targets,
    options: TrainingOptions,
    signal: LabelSignal | None,
    *,
    scale: NDArray[np.float64],
    active: NDArray[np.bool_],
    sample_weights: NDArray[np.float64] | None = None,
    n_jobs: int | None = None,
) -> NDArray[np.float64]:
    """Return the components of the closed form for given plans, (k, n_features), with the settings of `options`."""
    n_active = int(active.sum())
    power, whitening = exponents(options, n_active, signal)
    return transport_discriminant(
        measures, solved, targets, scale=scale, active=active, n_comps=n_components(options, n_active),
        ridge=known_ridge(measures, options), power=power, whitening=whitening, sample_weights=sample_weights,
        n_jobs=n_jobs,
    )  # fmt: skip


def exponents(options: TrainingOptions, n_active: int, signal: LabelSignal | None) -> tuple[float, float]:
    """Return power and whitening as numbers: where they are "auto", the strength of the signal.

    They are 1 if it is not known, or does not shrink the metric.
    """
    strength = signal.strength if signal is not None and uses_signal(options, n_active) else 1.0
    power, whitening = (strength if value == "auto" else value for value in (options.power, options.whitening))
    return power, whitening


def known_ridge(measures: Measures, options: TrainingOptions) -> float:
    return default_ridge(measures) if options.ridge == "auto" else options.ridge
