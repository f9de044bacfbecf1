"""Folds of samples for distances under metrics that are learned without two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml.core.metric._out_of_fold import fold_pairs, left_without

from ._separation import what_lacks
from ._splits import make_splits, units_of_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scggml.core.metric._targets import Targets

    from ._samples import Samples
    from ._splits import Split

_LEFT = 2  # samples of a class that a metric needs
_MIN_UNITS = 4  # samples or donors of a class: two are held out, each in its fold, and two are left
_MIN_FOLDS = 3  # with two, nothing is left
_MAX_DRAWS = 100  # of folds, until any two leave enough


def folds_of_samples(
    samples: Samples, targets: Targets, cv: Any, *, max_folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the fold of each sample, 0, 1, ..., (n_samples,). Without any two folds a metric can be learned.

    Parameters
    ----------
    samples
        The samples. Those of one donor are in one fold.
    targets
        Their labels.
    cv
        As in `make_splits`. A number of folds is drawn again until any two leave enough. "auto" takes as many
        stratified folds as the smallest class has samples or donors, at most `max_folds`. A fold then holds a sample of
        each class, so that any two folds leave classes of the same sizes. If single samples are held out, one class is
        smaller by two where both have the same label: the metric then is sharper, and such pairs are closer, also if
        labels mean nothing.
    max_folds
        Most folds of "auto".
    rng
        Source of the folds.
    """
    labels, units = samples.stratify_by(), samples.units
    what = "samples" if samples.donors is None else "donors"
    counts = units_of_classes(labels, units)
    few = [f"{name} ({count})" for name, count in counts.items() if count < _MIN_UNITS]
    if few:
        where = "of every class" if len(counts) > 1 else "in all"
        msg = (
            f"cv={check.shown(cv)} needs at least {_MIN_UNITS} {what} {where}: two folds are held out at a time, and "
            f"{_LEFT} samples must be left to learn from. Found fewer in {check.listed(few)}, for which no number of "
            "folds would do. Merge or drop these classes and fit again, or pass cv=None for distances under the metric "
            "that has seen all labels."
        )
        raise ValueError(msg)
    most = min(counts.values())
    remedy = f"Pass cv={most}, which holds out one of the {what} of the smallest class at a time, or cv=None."
    if isinstance(cv, str) and cv == "auto":
        cv, remedy = min(most, max_folds), f"Add {what}, merge classes and fit again, or pass cv=None."
    for _ in range(_MAX_DRAWS if isinstance(cv, (int, np.integer)) else 1):
        folds = _folds_of_splits(samples, make_splits(labels, samples.donors, cv=cv, rng=rng))
        msg = _too_little_left(samples, targets, folds, remedy)
        if not msg:
            return folds
    raise ValueError(msg)


def _folds_of_splits(samples: Samples, splits: Sequence[Split]) -> NDArray[np.int64]:
    """Return the fold of each sample. Every sample must be in the test set of one split."""
    times = np.bincount(np.concatenate([split.test for split in splits]), minlength=len(samples))
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        msg = (
            f"cv must hold out each sample exactly once, found {times[wrong[0]]} times for sample "
            f"{samples.names[wrong[0]]} ({len(wrong)} such samples). Pass a number of folds, 'leave_one_out', or "
            "splits without repeats."
        )
        raise ValueError(msg)
    folds = np.empty(len(samples), dtype=np.int64)
    for number, split in enumerate(splits):
        folds[split.test] = number
    return folds


def _too_little_left(samples: Samples, targets: Targets, folds: NDArray[np.int64], remedy: str) -> str:
    """Return what to say if two of the folds leave too little to learn from, else ""."""
    n_folds = int(folds.max()) + 1
    if n_folds < _MIN_FOLDS:
        return (
            f"cv makes {n_folds} folds. Two folds are held out at a time, so that nothing would be left: at least "
            f"{_MIN_FOLDS} are needed. {remedy}"
        )
    for pair in fold_pairs(n_folds):
        left = left_without(folds, pair)
        few = _few_of_classes(samples.labels, targets, left)
        lacks = [*few, *what_lacks(targets.take(left))]
        if lacks:
            if targets.strata is not None and not few:
                remedy = (
                    "Different labels are compared within batches or donors only: add samples to those that hold "
                    "several labels, or pass cv=None."
                )
            held = samples.names[np.isin(folds, pair)]
            return (
                f"when folds {pair[0]} and {pair[1]} of cv are held out ({check.listed(held)}), there are "
                f"{' and '.join(lacks)} left, so that no metric can be learned. {remedy}"
            )
    return ""


def _few_of_classes(labels: NDArray[np.object_], targets: Targets, left: NDArray[np.int64]) -> list[str]:
    """Return classes of which too few samples are left, as text."""
    if targets.kind != "class":
        return []
    counts = {name: int((labels[left] == name).sum()) for name in np.unique(labels)}
    few = [f"{name} ({count} of {(labels == name).sum()})" for name, count in counts.items() if count < _LEFT]
    return [f"fewer than {_LEFT} samples of the class {check.listed(few)}"] if few else []
