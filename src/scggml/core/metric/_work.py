"""How much there is to do to learn a metric, counted as the training does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scggml.core.transport._exact import cross_pairs, square_pairs
from scggml.core.transport._solvers import Exact
from scggml.core.transport._work import Work, transport_work

from ._discriminant import WIDE
from ._held_out_metrics import is_learned_anew, moments_fit
from ._label_signal import N_RELABELINGS
from ._options import Refinement
from ._out_of_fold import fold_pairs, left_without
from ._refinement import STEPS_PER_SOLVE
from ._training import cells_per_sample, kind_of_triplets, n_components, pairs_that_count, uses_signal
from ._triplets import n_all_triplets, sample_triplets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scggml.core.transport._solvers import SolverSpec
    from scggml.core.transport._work import Extent

    from ._options import TrainingOptions
    from ._targets import Targets

_STEP = 1.2e-6  # seconds that the gradient steps between two solves take for each point of a pair
_N_LOOKED_AT = 3  # splits
_WIDE_PASSES = 2500  # over the values of wide points, for the leading directions of the closed form


def training_work(extent: Extent, targets: Targets, options: TrainingOptions) -> Work:
    """Return the work of `train`; of a refinement, if it takes all iterations.

    Parameters
    ----------
    extent
        The samples.
    targets, options
        As in `train`.
    """
    work = Work()
    settings = options.refine or Refinement()
    if settings.start == "discriminant":
        work += closed_form_work(extent, targets, options).times(options.n_sweeps)
    pairs, n_triplets = _pairs(targets, settings.triplets, options, extent.n_features)
    space = extent.thinned(settings.max_cells).projected(n_components(options, extent.n_features))
    work += transport_work(space, pairs, options.solver, keep_plans=True)
    if options.refine is None:
        return work
    again = transport_work(space, pairs, options.solver, warm=True)
    if isinstance(options.solver, Exact):
        again += Work(serial_seconds=_STEP * float(space.sizes[pairs].sum()))
    elif settings.minibatch is None:
        again = again.times(STEPS_PER_SOLVE)  # entropic plans are solved at each step
    if settings.minibatch is None:
        return work + again.times(settings.max_iter - 1)
    in_batch = len(pairs) * -np.expm1(-2 * settings.minibatch / len(pairs))  # pairs, of which some are drawn twice
    n_batches = np.ceil(n_triplets / settings.minibatch)
    return work + again.times(settings.max_iter * n_batches * in_batch / len(pairs))


def closed_form_work(extent: Extent, targets: Targets, options: TrainingOptions) -> Work:
    """Return the work of one sweep of the closed form."""
    plans, moments = _sweep(extent, targets, options)
    return plans + moments


def bootstrap_work(extent: Extent, targets: Targets, options: TrainingOptions, n_boot: int) -> Work:
    """Return the work of `bootstrap_metrics`, which solves plans once."""
    plans, moments = _sweep(extent, targets, options)
    return plans + moments.times(n_boot)


def _sweep(extent: Extent, targets: Targets, options: TrainingOptions) -> tuple[Work, Work]:
    """Return the work of the plans and of the moments of one sweep."""
    pairs = _pairs(targets, "auto", options, extent.n_features)[0]
    seen = extent.thinned(cells_per_sample(extent, pairs, options.max_cells))
    plans = transport_work(seen, pairs, options.solver, keep_plans=True)
    n_edges = float(seen.sizes[pairs].sum())
    if uses_signal(options, extent.n_features):
        plans += signal_work(seen, len(pairs), n_edges)
    return plans, moments_work(seen, n_edges)


def signal_work(extent: Extent, n_pairs: int, n_edges: float) -> Work:
    """Return the work of the signal of the labels, for known plans with so many entries."""
    d = extent.n_features
    return pair_moments_work(n_pairs, n_edges, d) + Work(serial_seconds=signal_seconds(n_pairs, d))


def signal_seconds(n_pairs: Any, d: int) -> Any:
    """Return the time of `Relabelings.signal` with so many pairs in d directions."""
    # of each relabeling the weights of the pairs, their moments, and a system of d equations
    return N_RELABELINGS * 1e-9 * (6e4 + 40 * n_pairs + 0.06 * n_pairs * d**2 + 0.3 * d**3)


def pair_moments_work(n_pairs: int, n_edges: float, d: int) -> Work:
    """Return the work of the moments of each pair in d directions, for known plans with so many entries in all."""
    return Work(serial_seconds=n_pairs * 2e-5 + 1e-9 * n_edges * (d + 0.08 * d**2))


def moments_work(extent: Extent, n_edges: float) -> Work:
    """Return the work of the closed form for known plans with so many entries."""
    d, values = extent.n_features, float(extent.sizes.sum()) * extent.n_values
    if d > WIDE:
        return Work(seconds=1e-9 * _WIDE_PASSES * (values + 50 * n_edges))
    # those within and between classes side by side
    return Work(serial_seconds=5e-3 + 0.5e-9 * (n_edges * (200 + 2 * extent.n_values) + 0.1 * values * d + 2 * d**3))


def _pairs(
    targets: Targets, kind: Literal["auto", "all"] | int, options: TrainingOptions, n_features: int
) -> tuple[NDArray[np.int64], int]:
    """Return the pairs of samples whose distances count, and the number of triplets."""
    kind = kind_of_triplets(targets, kind)
    if kind == "all":
        return pairs_that_count(targets, options, n_features), n_all_triplets(targets)
    triplets = sample_triplets(targets, kind, np.random.default_rng(0))  # any have about as many pairs
    return triplets.pairs, len(triplets)


def held_out_work(
    extent: Extent,
    targets: Targets,
    options: TrainingOptions,
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    *,
    within: bool,
) -> Work:
    """Return the work of learning a metric without some samples, and of their distances under it, for all splits.

    Parameters
    ----------
    extent, targets
        All samples.
    options
        As in `train`.
    splits
        Training and held-out samples of each split.
    within
        Whether distances between held-out samples are computed too.
    """
    total = Work()
    looked_at = splits[:: max(len(splits) // _N_LOOKED_AT, 1)]  # the others are about as large
    for train, test in looked_at:
        total += training_work(extent.take(train), targets.take(train), options)
        space = extent.projected(n_components(options, extent.n_features))
        total += distances_work(space, train, test, options.solver, within=within)
    return total.times(len(splits) / max(len(looked_at), 1))


def out_of_fold_work(
    extent: Extent,
    targets: Targets,
    options: TrainingOptions,
    folds: NDArray[np.int64],
    solver: SolverSpec,
) -> Work:
    """Return the work of `out_of_fold_distances`.

    Parameters
    ----------
    extent, targets
        All samples.
    options, folds, solver
        As in `out_of_fold_distances`.
    """
    pairs, d = square_pairs(len(extent)), extent.n_features
    left = [left_without(folds, pair) for pair in fold_pairs(int(folds.max()) + 1)]
    seen = extent.thinned(cells_per_sample(extent, pairs, options.max_cells))
    n_edges = float(seen.sizes[pairs].sum())
    total = transport_work(seen, pairs, options.solver, keep_plans=True)
    total += transport_work(extent.projected(n_components(options, d)), pairs, solver)
    if is_learned_anew(options):
        looked_at = left[:: max(len(left) // _N_LOOKED_AT, 1)]
        for chosen in looked_at:
            total += training_work(extent.take(chosen), targets.take(chosen), options).times(len(left) / len(looked_at))
        return total
    if moments_fit(len(pairs), d):
        moments = pair_moments_work(len(pairs), n_edges, d)
        one = Work(seconds=1e-3 + 1e-9 * (len(pairs) * d**2 + 30 * d**3))
        return total + moments + one.times(len(left))
    return total + moments_work(seen, n_edges).times(len(left))


def distances_work(
    extent: Extent,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    solver: SolverSpec = Exact(),  # noqa: B008 it is frozen
    *,
    within: bool = True,
) -> Work:
    """Return the work of the distances from held-out to training samples, and between held-out ones if `within`."""
    both = extent.take(np.concatenate([test, train]))
    total = transport_work(both, cross_pairs(len(test), len(train)), solver)
    return total + transport_work(both, square_pairs(len(test)), solver) if within else total
