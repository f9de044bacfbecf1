"""Held-out accuracy, and power of the separation test, in smaller cohorts: random subsets of patients and of cells."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import joblib
import numpy as np
import pandas as pd

from scggml._strata import strata_of
from scggml.core._probabilities import N_NEIGHBORS, relative_class_scores
from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import n_threads, single_threaded_blas
from scggml.core.metric._discriminant import metric_matrix, ridge_of_size
from scggml.core.metric._label_signal import Relabelings
from scggml.core.metric._options import TrainingOptions
from scggml.core.metric._pair_moments import pack, unpack
from scggml.core.metric._targets import Targets
from scggml.core.metric._training import exponents, uses_signal
from scggml.core.transport._exact import square_pairs

from ._intervals import label_intervals, share_interval
from ._permutations import Exchange
from ._separation import learned_statistic, moments_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._pair_moments import PairMoments

LEVEL = 0.05  # of the separation test
N_PERMUTATIONS = 99  # with which a test can have exactly this level
COLUMNS = (
    *("n_samples", "n_repeats", "balanced_accuracy", "accuracy_low", "accuracy_high"),
    *("power", "power_low", "power_high"),
)
_MIN_LEFT = 2  # samples of a class that a metric is learned from
_TRIALS = 100  # random subsets, one of which has what a metric needs
_SIZES = 5


@dataclass(frozen=True, eq=False)
class Design:
    """Which samples there are, and what belongs together.

    Parameters
    ----------
    codes
        Class of each sample, 0..n_classes-1, (n_samples,).
    donors, batches
        Donor and batch of each sample, (n_samples,), or None.
    """

    codes: NDArray[np.int64]
    donors: NDArray[np.object_] | None = None
    batches: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def units(self) -> NDArray[np.int64]:
        """Independent unit of each sample, 0..n_units-1, (n_samples,): its donor, or the sample itself."""
        return np.arange(len(self)) if self.donors is None else np.unique(self.donors, return_inverse=True)[1]

    @property
    def targets(self) -> Targets:
        """Labels and strata, as a metric is learned from them."""
        return Targets.of_classes(self.codes, strata_of(self.batches, self.donors, self.codes))

    def take(self, index: NDArray[np.integer]) -> Design:
        """Return that of the samples at these positions."""
        donors, batches = (None if x is None else x[index] for x in (self.donors, self.batches))
        return Design(self.codes[index], donors, batches)

    def is_enough(self, n_classes: int) -> bool:
        """Whether a metric can be learned whichever unit is held out."""
        strata = self.targets.strata
        strata = np.zeros(len(self), dtype=np.int64) if strata is None else strata
        units = self.units
        of_unit = np.zeros((int(units.max()) + 1, int(strata.max()) + 1, n_classes), dtype=np.int64)
        np.add.at(of_unit, (units, strata, self.codes), 1)
        left = of_unit.sum(axis=0) - of_unit  # by unit that is held out, stratum and class
        can_compare = ((left > 0).sum(axis=2) > 1).any(axis=1)
        return bool(((left.sum(axis=1) >= _MIN_LEFT).all(axis=1) & can_compare).all())


def draw_subset(design: Design, size: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
    """Return a random subset of units that is enough to learn from, as sorted positions of samples, or None.

    Units with the same classes make up the same share of the subset as of all, up to rounding.

    Parameters
    ----------
    design
        All samples.
    size
        Number of units.
    rng
        Source of the subset.
    """
    units, n_classes = design.units, int(design.codes.max()) + 1
    has_class = np.zeros((int(units.max()) + 1, n_classes), dtype=bool)
    has_class[units, design.codes] = True
    kinds, kind = np.unique(has_class, axis=0, return_inverse=True)
    kind = kind.ravel()
    exact = np.bincount(kind) * size / len(kind)
    for _ in range(_TRIALS):
        numbers = exact.astype(np.int64)
        # what is left goes to the largest remainders, equal ones in random order
        order = np.lexsort((rng.random(len(kinds)), -(exact - numbers).round(9)))
        numbers[order[: size - numbers.sum()]] += 1
        chosen = [rng.choice(np.flatnonzero(kind == k), n, replace=False) for k, n in enumerate(numbers)]
        subset = np.flatnonzero(np.isin(units, np.concatenate(chosen)))
        part = design.take(subset)
        if len(np.unique(part.codes)) == n_classes and part.is_enough(n_classes):
            return subset
    return None


def planned_subsets(
    design: Design, sizes: Sequence[int] | None, n_repeats: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return random subsets of every size, one after the other; of all units there is one only.

    Parameters
    ----------
    design
        All samples.
    sizes
        Numbers of units; None for about five, from the smallest possible one to all.
    n_repeats
        Number of subsets of each size.
    rng
        Source of the subsets.
    """
    n, what = int(design.units.max()) + 1, "samples" if design.donors is None else "donors"
    needs = f"with one of the {what} held out, two samples of each class"
    needs += "" if design.targets.strata is None else " and two comparable samples of different classes"
    if not design.is_enough(int(design.codes.max()) + 1):
        msg = f"the cohort of {n} {what} is too small: {needs} must be left. Add {what}."
        raise ValueError(msg)
    trial_rng, rng = rng.spawn(2)
    smallest = bisect.bisect_left(
        range(n + 1), True, lo=2, key=lambda size: draw_subset(design, size, trial_rng) is not None
    )
    if sizes is None:
        sizes = [int(size) for size in np.unique(np.linspace(smallest, n, _SIZES).round())]
    if max(sizes) > n:
        msg = (
            f"n_samples={max(sizes)} is larger than the cohort of {n} {what}. A pilot does not show what a larger "
            "cohort would: simulate one with sg.datasets.simulated_cohort, and take random subsets of that."
        )
        raise ValueError(msg)
    if min(sizes) < smallest:
        msg = (
            f"n_samples={min(sizes)} is too small: {needs} must be left. The smallest possible number is {smallest} "
            f"{what}, with the classes in the same shares as in the cohort."
        )
        raise ValueError(msg)
    found = []
    for size in sizes:
        for _ in range(1 if size == n else n_repeats):
            subset = draw_subset(design, size, rng)
            if subset is None:
                msg = (
                    f"n_samples={size} is too small: of {_TRIALS} random subsets of {size} {what} not one had what a "
                    f"metric is learned from: {needs}. Pass larger numbers."
                )
                raise ValueError(msg)
            found.append(subset)
    return found


@dataclass(frozen=True, eq=False)
class Pilot:
    """Labelled samples with the moments of transport between them, which hold for any of them and for any labels.

    Parameters
    ----------
    moments
        Moments of the samples.
    design
        Their classes, donors and batches.
    sizes
        Numbers of their cells, (n_samples,).
    n_features
        Number of features, of which the moments may hold the leading directions only.
    """

    moments: PairMoments
    design: Design
    sizes: NDArray[np.int64]
    n_features: int

    @classmethod
    def of(cls, measures: Measures, design: Design, *, n_jobs: int | None = None) -> Pilot:
        """Solve transport between all samples, scaled, under the Euclidean metric."""
        return cls(moments_of(measures, n_jobs=n_jobs)[0], design, measures.sizes, measures.n_features)

    def take(self, index: NDArray[np.int64]) -> Pilot:
        """Return the samples at these positions, which are a cohort of their own."""
        moments = replace(self.moments, packed=self.moments.packed[np.ix_(index, index)])
        return replace(self, moments=moments, design=self.design.take(index), sizes=self.sizes[index])

    def confusion(self) -> NDArray[np.float64]:
        """Return how many samples of each class (rows) are predicted as each class (columns).

        One unit is held out at a time. The metric is the closed form of the others with its defaults, distances are
        root mean squared transport along the plans of the moments, and the rule is "class_mean".
        """
        codes, units, targets = self.design.codes, self.design.units, self.design.targets
        n_classes = int(codes.max()) + 1
        table = np.zeros((n_classes, n_classes))
        for unit in range(int(units.max()) + 1):
            train, test = np.flatnonzero(units != unit), np.flatnonzero(units == unit)
            metric = self._metric(targets.take(train), train)
            squared = self.moments.packed[np.ix_(test, train)] @ pack(metric)
            scores = relative_class_scores(np.sqrt(np.maximum(squared, 0.0)), codes[train], n_neighbors=N_NEIGHBORS)
            np.add.at(table, (codes[test], scores.argmax(axis=1)), 1.0)
        return table

    def is_significant(self, rng: np.random.Generator) -> bool:
        """Whether the learned statistic of the separation test has p <= 0.05.

        Permutations end when so many have reached the statistic that the p-value cannot be small any more.
        """
        exchange = Exchange.of(self.design.codes, self.design.donors, self.design.batches)
        exact = exchange.n_possible <= N_PERMUTATIONS
        relabelings = exchange.everything() if exact else exchange.draw(N_PERMUTATIONS, rng)
        n_allowed = int(LEVEL * (len(relabelings) + (not exact)) + 1e-9) - (not exact)
        targets, ridge = self.design.targets, ridge_of_size(int(self.sizes.sum()), self.n_features)

        def statistic(codes: NDArray[np.int64]) -> float:
            return learned_statistic(self.moments, targets, codes, ridge=ridge, power=1.0, whitening=1.0)

        least = statistic(exchange.codes)
        least -= 1e-9 * max(abs(least), 1e-300)  # as in `PermutationTest`
        n_reached = 0
        for codes in relabelings:
            if n_reached > n_allowed:
                break
            n_reached += statistic(codes) >= least
        return n_reached <= n_allowed

    def _metric(self, targets: Targets, train: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the closed form of the training samples, (d, d)."""
        pairs, d = square_pairs(len(targets)), self.moments.n_features
        packed = self.moments.packed[train[pairs[:, 0]], train[pairs[:, 1]]]
        ridge = ridge_of_size(int(self.sizes[train].sum()), self.n_features)
        options, signal = TrainingOptions(), None
        if uses_signal(options, self.n_features):
            signal = Relabelings(packed, pairs, d).signal(targets, ridge=ridge)
        power, whitening = exponents(options, self.n_features, signal)
        within, between = (unpack(weights @ packed, d) for weights in targets.pair_weights(pairs))
        return metric_matrix(within, between, ridge=ridge, power=power, whitening=whitening, contrast=targets.contrast)


def learning_curve(
    pilot: Pilot, subsets: Sequence[NDArray[np.int64]], *, rng: np.random.Generator, n_jobs: int | None = None
) -> pd.DataFrame:
    """Return held-out accuracy, and power of the separation test, of random subsets of the samples.

    Parameters
    ----------
    pilot
        The samples.
    subsets
        Positions of samples, as from `planned_subsets`.
    rng
        Source of the permutations.
    n_jobs
        Threads; the result does not depend on it.

    Returns
    -------
    One row per number of units, with the columns `COLUMNS`.
    """

    def outcome(subset: NDArray[np.int64], generator: np.random.Generator) -> tuple[NDArray[np.float64], bool]:
        part = pilot.take(subset)
        return part.confusion(), part.is_significant(generator)

    found = []
    with single_threaded_blas, progress_bar(len(subsets), "subsets", "subset") as bar:
        threads = joblib.Parallel(n_jobs=n_threads(n_jobs), backend="threading", return_as="generator")
        tasks = zip(subsets, rng.spawn(len(subsets)), strict=True)
        for result in threads(joblib.delayed(outcome)(*task) for task in tasks):
            found.append(result)
            bar.update()
    design = pilot.design
    units, n_classes = design.units, int(design.codes.max()) + 1
    of_class = np.array([len(np.unique(units[design.codes == c])) for c in range(n_classes)], dtype=np.float64)
    n_units = np.array([len(np.unique(units[subset])) for subset in subsets])
    rows = []
    for size in dict.fromkeys(n_units.tolist()):
        here = [result for result, n in zip(found, n_units, strict=True) if n == size]
        confusion = np.mean([table for table, _ in here], axis=0)
        accuracy = float((np.diag(confusion) / confusion.sum(axis=1)).mean())
        bounds = label_intervals(confusion, of_class)["balanced_accuracy"]
        power = float(np.mean([significant for _, significant in here]))
        # a mean over all subsets varies at most as much as one over subsets without a common unit (Hoeffding 1948)
        n_apart = (int(units.max()) + 1) / size
        rows.append([size, len(here), accuracy, *bounds, power, *map(float, share_interval(power * n_apart, n_apart))])
    return pd.DataFrame(rows, columns=list(COLUMNS))
