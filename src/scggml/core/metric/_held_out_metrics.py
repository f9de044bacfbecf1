"""Metrics that are learned without some of the samples, in one unit that does not depend on labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeAlias

import joblib
import numpy as np

from scggml.core.measures._moments import feature_scale
from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import n_threads, single_threaded_blas
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._solvers import Exact
from scggml.core.transport._work import Extent

from ._discriminant import WIDE, moment_discriminant, ridge_of_size
from ._ground_metric import GroundMetric
from ._label_signal import LabelSignal, Relabelings
from ._pair_moments import moments_of_plans, pack, stacked_moments, unpack
from ._training import (
    cells_per_sample,
    choose_triplets,
    components_of,
    exponents,
    n_components,
    train,
    uses_signal,
)
from ._triplets import n_all_triplets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._transport import Transport

    from ._options import TrainingOptions
    from ._targets import Targets

    _Found: TypeAlias = tuple[NDArray[np.float64], float]  # components on scaled features, and their unit

MAX_MOMENTS = 1_000_000_000  # bytes for the moments of all pairs of samples
_N_FOR_UNIT = 2000  # pairs of samples


def metrics_without(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    left: Sequence[NDArray[np.int64]],
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Iterator[GroundMetric]:
    """Yield the metric that is learned from some of the samples, for each choice of these, all metrics in one unit.

    A closed form with one sweep takes transport plans that do not depend on labels. They are solved once. With other
    settings each metric is learned by `train`. Metrics are divided by the root mean square of transport along plans
    without labels, of the same pairs of samples for all metrics.

    Labels of the other samples have no effect on a metric, with three exceptions: in cohorts with more than 500,000
    triplets they take part in the choice of the pairs that are solved; ordinal labels are ranked among all samples; and
    strata are those of all samples. The scale of the features, the plans and the unit are those of all samples. With
    several sweeps or a refinement, scale and plans are those of the samples that a metric is learned from.

    Parameters
    ----------
    measures
        One measure per sample, raw points.
    targets
        Label of each sample.
    options
        How metrics are learned.
    left
        Positions of the samples that each metric is learned from, in rising order. Their labels must suffice.
    rng
        Source of sampled pairs, and of what training draws.
    n_jobs
        Threads; the result does not depend on it.
    """
    pair_rng, unit_rng, train_rng = rng.spawn(3)
    unit_pairs = square_pairs(len(measures))
    if len(unit_pairs) > _N_FOR_UNIT:
        unit_pairs = unit_pairs[np.sort(unit_rng.permutation(len(unit_pairs))[:_N_FOR_UNIT])]
    pairs = unit_pairs if is_learned_anew(options) else _pairs_of_plans(targets, unit_pairs, pair_rng)
    scale, constant = feature_scale(measures, options.scale)
    thinned = measures.thinned(cells_per_sample(Extent.of(measures), pairs, options.max_cells))
    given = _Given(thinned, targets, options, scale, ~constant, pairs, _are_among(pairs, unit_pairs), n_jobs)
    if is_learned_anew(options):
        found = _trained(given, measures, left, train_rng.spawn(len(left)))
    elif moments_fit(len(pairs), measures.n_features):
        found = _from_moments(given, left)
    else:
        found = _from_plans(given, left)
    with progress_bar(len(left), "held-out metrics", "metric") as bar:
        for components, unit in found:
            yield GroundMetric(components / unit, scale)
            bar.update()


def is_learned_anew(options: TrainingOptions) -> bool:
    """Whether metrics depend on labels by more than weights of plans, so that each must be learned from the start."""
    return options.refine is not None or options.n_sweeps > 1


def moments_fit(n_pairs: int, n_features: int) -> bool:
    """Whether the moments of so many pairs of samples are kept in memory, so that each metric is a small problem."""
    return n_pairs * n_features * (n_features + 1) * 4 <= MAX_MOMENTS


def _pairs_of_plans(targets: Targets, unit_pairs: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the pairs whose plans are solved: all, or in large cohorts those of sampled triplets and of the unit."""
    triplets = choose_triplets(targets, "auto", rng)
    if len(triplets) == n_all_triplets(targets):
        return square_pairs(len(targets))
    return np.unique(np.concatenate([np.sort(triplets.pairs, axis=1), unit_pairs]), axis=0)


def _are_among(pairs: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pairs are among some of them, (n_pairs,)."""
    n = int(pairs.max()) + 1
    return np.isin(pairs @ [n, 1], some @ [n, 1])


@dataclass(frozen=True, eq=False)
class _Given:
    """What all metrics are learned from.

    Parameters
    ----------
    measures
        The samples, with the cells that take part.
    targets, options
        Of all samples.
    scale, active
        Unit of each feature, and which features vary, (n_features,).
    pairs, for_unit
        Pairs of samples with plans, (n_pairs, 2), and which of these give the unit of a metric, (n_pairs,).
    n_jobs
        Threads.
    """

    measures: Measures
    targets: Targets
    options: TrainingOptions
    scale: NDArray[np.float64]
    active: NDArray[np.bool_]
    pairs: NDArray[np.int64]
    for_unit: NDArray[np.bool_]
    n_jobs: int | None

    @cached_property
    def space(self) -> Measures:
        """The samples in scaled features."""
        return self.measures.scaled(self.active / self.scale)

    def solve(self) -> Transport:
        """Return the plans of the pairs, without labels."""
        solver = self.options.solver.at(self.space)
        return solver.solve(self.space, self.pairs, keep_plans=True, n_jobs=self.n_jobs, progress="transport")

    def moments(self) -> NDArray[np.float64]:
        """Return the packed moment of each pair, (n_pairs, d (d + 1) / 2)."""
        points, d = self.space.points, self.space.n_features
        found: Iterator[NDArray[np.float64]]
        if isinstance(self.options.solver, Exact):
            dense = points if isinstance(points, np.ndarray) else points.toarray()
            found = moments_of_plans(dense, self.solve().known_plans)
        else:  # entropic plans are dense, so that those of one pair are kept at a time
            solver, both = self.options.solver.at(self.space), np.array([[0, 1]])
            clouds = map(self.space.take, self.pairs)
            found = (pack(solver.solve(two, both, n_jobs=1).second_moment(two.points, np.ones(1))) for two in clouds)
        with single_threaded_blas:
            return stacked_moments(found, len(self.pairs), d)

    def weights(self, left: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the weights of the pairs within and between labels, (n_pairs,) both, of some samples."""
        return self.targets.pair_weights(self.pairs, self.only(left))

    def only(self, left: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return one for some samples and zero for the others, (n_samples,)."""
        return np.isin(np.arange(len(self.targets)), left).astype(np.float64)

    def ridge(self, left: NDArray[np.int64]) -> float:
        """Return the ridge of a metric that is learned from some samples."""
        if self.options.ridge != "auto":
            return self.options.ridge
        return ridge_of_size(int(self.measures.sizes[left].sum()), self.measures.n_features)

    def signal(self, relabelings: Relabelings | None, left: NDArray[np.int64]) -> LabelSignal | None:
        """Return the signal of the labels of some samples."""
        if relabelings is None:
            return None
        return relabelings.signal(self.targets, ridge=self.ridge(left), sample_weights=self.only(left))

    def unit_of(self, solved: Transport) -> Callable[[NDArray[np.float64]], float]:
        """Return what gives the unit of components: their root mean square of transport between the pairs of the unit.

        Its pairs are chosen without labels.
        """
        if self.measures.n_features <= WIDE:
            with single_threaded_blas:
                moment = solved.second_moment(self.space.points, self.for_unit / self.for_unit.sum())
            return partial(_length, moment)
        plans = solved.known_plans

        def length(components: NDArray[np.float64]) -> float:
            points = GroundMetric(components, self.scale).project(self.measures.points)
            return float(np.sqrt(plans.sum_by_pair(plans.edge_lengths(points) ** 2)[self.for_unit].mean()))

        return length


def _length(moment: NDArray[np.float64], components: NDArray[np.float64]) -> float:
    """Return the root mean square of transport with this second moment, under components."""
    return float(np.sqrt(np.sum((components @ moment) * components)))


def _check_different(lengths: NDArray[np.float64]) -> None:
    if not lengths.any():
        msg = (
            "samples with different labels hold the same cells when two folds are held out: there is no difference to "
            "learn from. Pass more folds, or cv=None."
        )
        raise ValueError(msg)


def _from_moments(given: _Given, left: Sequence[NDArray[np.int64]]) -> Iterator[_Found]:
    """Yield closed forms from the moments of each pair: sums of these, and a small eigenproblem each."""
    packed, d = given.moments(), given.measures.n_features
    unit_of = partial(_length, unpack(packed[given.for_unit].mean(axis=0), d))
    options, ones, n_active = given.options, np.ones(d), int(given.active.sum())
    relabelings = None
    if uses_signal(options, n_active):
        seen = packed if n_active == d else pack(unpack(packed, d)[:, given.active][:, :, given.active])
        relabelings = Relabelings(seen, given.pairs, n_active)

    def closed_form(chosen: NDArray[np.int64]) -> _Found:
        s_w, s_b = unpack(np.stack(given.weights(chosen)) @ packed, d)
        _check_different(s_b)
        power, whitening = exponents(options, n_active, given.signal(relabelings, chosen))
        components = moment_discriminant(
            s_w, s_b, scale=ones, active=given.active, n_comps=n_components(options, n_active),
            ridge=given.ridge(chosen), power=power, whitening=whitening, contrast=given.targets.contrast,
        )  # fmt: skip
        return components, unit_of(components)

    threads = joblib.Parallel(n_jobs=n_threads(given.n_jobs), backend="threading", return_as="generator")
    with single_threaded_blas:
        yield from threads(joblib.delayed(closed_form)(chosen) for chosen in left)


def _from_plans(given: _Given, left: Sequence[NDArray[np.int64]]) -> Iterator[_Found]:
    """Yield closed forms from plans whose moments would take too much memory."""
    solved = given.solve()
    unit_of = given.unit_of(solved)
    relabelings = None
    if uses_signal(given.options, int(given.active.sum())):
        relabelings = Relabelings.of(given.space, given.active, solved.known_plans, solved.pairs)
    for chosen in left:
        _check_different(solved.distances * given.weights(chosen)[1])
        components = components_of(
            given.measures, solved, given.targets, replace(given.options, ridge=given.ridge(chosen)),
            given.signal(relabelings, chosen), scale=given.scale, active=given.active,
            sample_weights=given.only(chosen), n_jobs=given.n_jobs,
        )  # fmt: skip
        yield components, unit_of(components)


def _trained(
    given: _Given, measures: Measures, left: Sequence[NDArray[np.int64]], generators: Sequence[np.random.Generator]
) -> Iterator[_Found]:
    """Yield metrics with several sweeps or a refinement, whose plans depend on the labels."""
    unit_of = given.unit_of(given.solve())
    for chosen, rng in zip(left, generators, strict=True):
        part, labels = measures.take(chosen), given.targets.take(chosen)
        metric = train(part, labels, given.options, rng=rng, n_jobs=given.n_jobs).metric
        components = metric.components * (given.scale / metric.scale)
        yield components, unit_of(components)
