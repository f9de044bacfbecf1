"""Which samples are held out together, and whether every training set can be learned from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

from scggml import _check as check

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MANY = 50  # samples or groups, beyond which "auto" does not leave out one at a time
_AUTO_FOLDS = 5
_MIN_TRAINING = 2  # samples of a class, without which no metric is learned


@dataclass(frozen=True, eq=False)
class Split:
    """Training and held-out samples.

    Parameters
    ----------
    repeat, fold
        Number of the repeat, and of the fold within it.
    train, test
        Positions of samples.
    """

    repeat: int
    fold: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def make_splits(
    labels: NDArray[np.object_],
    groups: NDArray[np.object_] | None,
    *,
    cv: Any = "auto",
    n_repeats: int = 1,
    rng: np.random.Generator,
) -> list[Split]:
    """Return the splits, each checked to leave at least two training samples of every class.

    Parameters
    ----------
    labels
        Class of each sample, (n_samples,).
    groups
        Samples of one group are held out together, (n_samples,); None lets each sample be its own group.
    cv
        "leave_one_out", a number of stratified folds, a splitter of scikit-learn, or "auto": leave one out for at most 50
        groups, else five folds.
    n_repeats
        Repetitions with other folds.
    rng
        Source of the folds.
    """
    check.check_integer("n_repeats", n_repeats, minimum=1)
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_units = int(units.max()) + 1
    if n_units < 2:
        msg = f"group_key holds one group only ({groups[0]!r}): nothing can be held out"  # type: ignore[index]
        raise ValueError(msg)
    if isinstance(cv, str):
        check.check_choice("cv", cv, ("auto", "leave_one_out"))
        if cv == "auto":
            cv = "leave_one_out" if n_units <= _MANY else _AUTO_FOLDS
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        _check_folds(labels, units, int(cv), groups)
        seeds = [int(child.integers(2**31)) for child in rng.spawn(n_repeats)]
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        splitters: list[Any] = [kind(int(cv), shuffle=True, random_state=seed) for seed in seeds]
    elif isinstance(cv, str):
        _check_once(n_repeats, "leave_one_out")
        splitters = [LeaveOneGroupOut()]
    elif hasattr(cv, "split"):
        _check_once(n_repeats, f"a splitter of its own ({type(cv).__name__})")
        splitters = [cv]
    else:
        msg = f"cv must be 'auto', 'leave_one_out', a number of folds or a splitter of scikit-learn, found {cv!r}"
        raise TypeError(msg)
    placeholder = np.zeros((len(labels), 1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The groups parameter is ignored")  # checked below
        splits = [
            Split(repeat, fold, _positions(train), _positions(test))
            for repeat, splitter in enumerate(splitters)
            for fold, (train, test) in enumerate(splitter.split(placeholder, labels, units))
        ]
    if not splits:
        msg = f"cv={cv!r} makes no folds"
        raise ValueError(msg)
    for split in splits:
        _check_split(split, labels, units, groups)
    return splits


def _positions(chosen: Any) -> NDArray[np.int64]:
    chosen = np.asarray(chosen)
    return np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)


def _check_once(n_repeats: int, what: str) -> None:
    if n_repeats > 1:
        msg = f"n_repeats={n_repeats} has no meaning for cv={what}, which would be the same each time. Pass a number of folds as cv."
        raise ValueError(msg)


def _check_folds(
    labels: NDArray[np.object_], units: NDArray[np.int64], n_folds: int, groups: NDArray[np.object_] | None
) -> None:
    check.check_integer("cv", n_folds, minimum=2)
    what = "samples" if groups is None else "groups"
    counts = {name: len(np.unique(units[labels == name])) for name in np.unique(labels)}
    few = [f"{name} ({count})" for name, count in counts.items() if count < n_folds]
    if few:
        fewest = min(counts.values())
        remedy = f"Pass cv={fewest} or cv='leave_one_out', or merge classes."
        if fewest <= _MIN_TRAINING:
            remedy = (
                f"Drop such classes with sg.pp.filter_samples(..., min_samples={_MIN_TRAINING + 1}), or merge them."
            )
        msg = f"cv={n_folds} folds need at least {n_folds} {what} of every class, found fewer in {check.listed(few)}. {remedy}"
        raise ValueError(msg)


def _check_split(
    split: Split, labels: NDArray[np.object_], units: NDArray[np.int64], groups: NDArray[np.object_] | None
) -> None:
    if not len(split.test):
        msg = f"fold {split.fold} of cv holds out nothing"
        raise ValueError(msg)
    shared = np.intersect1d(units[split.train], units[split.test])
    if len(shared):
        what = f"sample {shared[0]}" if groups is None else f"samples of group {groups[units == shared[0]][0]!r}"
        msg = (
            f"cv puts {what} into training and test at once. Pass a splitter that keeps them apart, such as "
            f"{'KFold' if groups is None else 'GroupKFold'}."
        )
        raise ValueError(msg)
    left = {name: int((labels[split.train] == name).sum()) for name in np.unique(labels)}
    poor = [
        f"{name} ({count} left of {(labels == name).sum()})" for name, count in left.items() if count < _MIN_TRAINING
    ]
    if not poor:
        return
    held = "" if groups is None else f" (group {check.listed(np.unique(groups[split.test]))})"
    msg = (
        f"fold {split.fold}{held} leaves fewer than {_MIN_TRAINING} training samples of the class {check.listed(poor)}. "
        + ("A group that holds most of a class cannot be held out. " if groups is not None else "")
        + "Drop the class with sg.pp.filter_samples(..., min_samples=3), merge it with another, or pass other folds."
    )
    raise ValueError(msg)
