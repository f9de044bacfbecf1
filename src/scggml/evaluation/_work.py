"""How much there is to do to evaluate methods, counted as the evaluation does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml.core.metric._pair_moments import n_directions
from scggml.core.metric._work import held_out_work, moments_work
from scggml.core.transport._exact import cross_pairs, square_pairs
from scggml.core.transport._work import Work, transport_work
from scggml.estimators import GroundMetricLearner
from scggml.estimators._checks import as_targets, training_options

from ._methods import N_COMPS, CellMetric, FixedTransport, Learned
from ._tuning import N_INNER_FOLDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scggml.core.metric._targets import Targets
    from scggml.core.transport._work import Extent

    from ._methods import Method
    from ._permutations import Exchange
    from ._samples import Samples
    from ._splits import Split

_NCA = 3.0  # seconds of a fit to a thousand cells


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
                both = space.take(np.concatenate([split.test, split.train]))
                total += transport_work(both, cross_pairs(len(split.test), len(split.train)))
                total += transport_work(both, square_pairs(len(split.test)))
            total += Work(serial_seconds=_NCA * len(splits) * (method.kind == "nca"))
        elif isinstance(method, Learned) and isinstance(method.estimator, GroundMetricLearner):
            total += _learner_work(extent, _targets(samples), method.estimator.get_params(deep=False), splits)
    return total


def tuning_work(
    extent: Extent, samples: Samples, settings: Sequence[Mapping[str, Any]], splits: Sequence[Split]
) -> Work:
    """Return the work of `tune`.

    Parameters
    ----------
    extent
        The samples.
    samples, settings, splits
        As in `tune`.
    """
    targets, everyone = _targets(samples), np.arange(len(samples))
    defaults = GroundMetricLearner().get_params(deep=False)
    total, last = Work(), Work()
    trained = splits[0].train
    for setting in settings:
        params = {**defaults, **setting}
        for training, n in ((trained, len(splits)), (everyone, 1)):
            held = np.arange(len(training)) % N_INNER_FOLDS == 0
            inner = training[~held], training[held]
            work = held_out_work(
                extent, targets, training_options(params, extent.n_features), [inner] * N_INNER_FOLDS, within=True
            )
            total += work.times(n)
        last = _learner_work(extent, targets, params, splits)
    return total + last  # the chosen settings, which take about as long as any


def separation_work(extent: Extent, exchange: Exchange, n_permutations: int) -> Work:
    """Return the work of `separation_tests`.

    Parameters
    ----------
    extent
        The samples.
    exchange, n_permutations
        As in `separation_tests`.
    """
    n, pairs = len(extent), square_pairs(len(extent))
    d = n_directions(n, extent.n_features)
    n_edges = float(extent.sizes[pairs].sum())
    moments = len(pairs) * 5e-5 + 1e-9 * n_edges * (5 * d + 0.3 * d**2)
    # a closed form without each sample, and sums of the moments of all pairs
    relabeling = 1e-3 + 1e-9 * (n * (2 * d**3 + 100 * d**2) + 5.5 * n**2 * d**2)
    total = transport_work(extent, pairs, keep_plans=True)
    total += Work(seconds=relabeling * min(n_permutations, exchange.n_possible), serial_seconds=moments)
    return total if d == extent.n_features else total + moments_work(extent, n_edges)


def _learner_work(extent: Extent, targets: Targets, params: Mapping[str, Any], splits: Sequence[Split]) -> Work:
    options = training_options(dict(params), extent.n_features)
    several = any(len(split.test) > 1 for split in splits)
    return held_out_work(extent, targets, options, [(split.train, split.test) for split in splits], within=several)


def _targets(samples: Samples) -> Targets:
    return as_targets(samples.y, len(samples), samples.kind, samples.strata)[0]
