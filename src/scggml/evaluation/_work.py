"""How much there is to do to evaluate methods, counted as the evaluation does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml.core.metric._pair_moments import n_directions
from scggml.core.metric._work import distances_work, held_out_work, moments_work, pair_moments_work, signal_seconds
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._work import Work, transport_work
from scggml.estimators import GroundMetricLearner
from scggml.estimators._checks import as_targets, training_options

from ._canonical_variates import MAX_CELLS, USUAL_ROUNDS, CanonicalVariates
from ._cell_metrics import N_COMPS, CellMetric
from ._divergences import N_PROJECTIONS, Divergence
from ._methods import FixedTransport, Learned
from ._power import N_PERMUTATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from scggml.core.metric._targets import Targets
    from scggml.core.transport._work import Extent

    from ._held import Method
    from ._permutations import Exchange
    from ._samples import Samples
    from ._splits import Split
    from ._tuning import Search

_FIT = {"nca": 3.0, "wda": 1.0}  # seconds
_PER_PAIR = {"gloscope": 60e-9, "mmd": 20e-9, "energy": 10e-9}  # seconds, of cells
_SLICED = 0.2e-6  # seconds for each cell of a pair of samples and each direction


def evaluation_work(extent: Extent, samples: Samples, methods: Iterable[Method], splits: Sequence[Split]) -> Work:
    """Return the work of `cross_validate`, without that of functions and estimators of the user.

    Parameters
    ----------
    extent
        The samples.
    samples, methods, splits
        As in `cross_validate`.
    """
    total, pairs = Work(), square_pairs(len(extent))
    for method in methods:
        if isinstance(method, FixedTransport):
            total += transport_work(extent, pairs, cost=method.cost)
        elif isinstance(method, CellMetric):
            space = extent.projected(min(N_COMPS, extent.n_features))
            for split in splits:
                total += distances_work(space, split.train, split.test)
            total += Work(serial_seconds=_FIT.get(method.kind, 0.0) * len(splits))
        elif isinstance(method, Divergence):
            total += _divergence_work(extent, pairs, method.name)
        elif isinstance(method, CanonicalVariates):
            total += _canonical_work(extent, splits)
        elif isinstance(method, Learned) and isinstance(method.estimator, GroundMetricLearner):
            total += _learner_work(extent, _targets(samples), method.estimator.get_params(deep=False), splits)
    return total


def tuning_work(extent: Extent, samples: Samples, settings: Sequence[Mapping[str, Any]], search: Search) -> Work:
    """Return the work of `tune`.

    Parameters
    ----------
    extent
        The samples.
    samples, settings
        As in `tune`.
    search
        Its folds.
    """
    targets, defaults = _targets(samples), GroundMetricLearner().get_params(deep=False)
    total, n_splits = Work(), len(search.seeds)
    for setting in settings:
        params = {**defaults, **setting}
        for outer, inner, n in ((0, search.inner[0], n_splits), (-1, search.inner[-1], 1)):
            train = search.outer[outer].train
            pairs = [(train[split.train], train[split.test]) for split in inner]
            options = training_options(params, extent.n_features)
            total += held_out_work(extent, targets, options, pairs, within=True).times(n)
    # the chosen settings, which take about as long as any
    return total + _learner_work(extent, targets, params, search.outer[:-1])


def separation_work(extent: Extent, exchange: Exchange, n_permutations: int) -> Work:
    """Return the work of `separation_tests`.

    Parameters
    ----------
    extent
        The samples.
    exchange, n_permutations
        As in `separation_tests`.
    """
    n = len(extent)
    seconds = _relabeling_seconds(n, n_directions(n, extent.n_features)) * min(n_permutations, exchange.n_possible)
    return _pair_moments_work(extent) + Work(seconds=seconds)


def power_work(extent: Extent, subsets: Sequence[NDArray[np.int64]], n_cells: Sequence[int]) -> Work:
    """Return the work of `learning_curve` for every number of cells.

    Parameters
    ----------
    extent
        The samples.
    subsets
        As in `learning_curve`.
    n_cells
        Numbers of cells.
    """
    d = n_directions(len(extent), extent.n_features)
    sizes, counts = np.unique([float(len(subset)) for subset in subsets], return_counts=True)
    seconds = N_PERMUTATIONS * _relabeling_seconds(sizes, d) + sizes * signal_seconds(sizes**2 / 2, d)
    of_subsets = float(counts @ seconds)
    total = Work()
    for n in n_cells:
        total += _pair_moments_work(extent.thinned(n)) + Work(seconds=of_subsets)
    return total


def _pair_moments_work(extent: Extent) -> Work:
    """Return the work of transport between all samples and its moments."""
    pairs = square_pairs(len(extent))
    d = n_directions(len(extent), extent.n_features)
    n_edges = float(extent.sizes[pairs].sum())
    total = transport_work(extent, pairs, keep_plans=True) + pair_moments_work(len(pairs), n_edges, d)
    return total if d == extent.n_features else total + moments_work(extent, n_edges)


def _relabeling_seconds(n: Any, d: int) -> Any:
    """Return the time of a closed form without each of n samples, for one relabeling."""
    return 2.5e-4 + 1e-9 * (0.4 * n * d**3 + 1.2 * n**2 * d**2)


def _learner_work(extent: Extent, targets: Targets, params: Mapping[str, Any], splits: Sequence[Split]) -> Work:
    options = training_options(dict(params), extent.n_features)
    return held_out_work(extent, targets, options, [(split.train, split.test) for split in splits], within=True)


def _divergence_work(extent: Extent, pairs: NDArray[np.int64], name: str) -> Work:
    sizes = extent.sizes[pairs].astype(np.float64)
    if name == "sliced":
        return Work(seconds=_SLICED * N_PROJECTIONS * float(sizes.sum()))
    return Work(seconds=_PER_PAIR[name] * float(sizes.prod(axis=1).sum()))


def _canonical_work(extent: Extent, splits: Sequence[Split]) -> Work:
    total = Work()
    for split in splits:
        train = extent.take(split.train).thinned(MAX_CELLS)
        once = transport_work(train, square_pairs(len(train)), cost="sqeuclidean", keep_plans=True)
        total += once.times(USUAL_ROUNDS)
        total += distances_work(extent.projected(min(N_COMPS, extent.n_features)), split.train, split.test)
    return total


def _targets(samples: Samples) -> Targets:
    return as_targets(samples.y, len(samples), samples.kind, samples.strata)[0]
