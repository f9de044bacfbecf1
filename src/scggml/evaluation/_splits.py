"""Splits into training and held-out samples, checked before anything is learned."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

from scggml import _check as check

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MANY = 50  # samples or donors beyond which "auto" does not leave out one at a time
_AUTO_FOLDS = 5
_MIN_TRAINING = 2  # samples of a class that a metric needs


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
    donors: NDArray[np.object_] | None,
    *,
    cv: Any = "auto",
    rng: np.random.Generator,
) -> list[Split]:
    """Return the splits. Each leaves at least two training samples of every class.

    A new repeat begins with the first split that holds out a sample for the second time.

    Parameters
    ----------
    labels
        Class of each sample, (n_samples,).
    donors
        Donor of each sample, (n_samples,). Samples of one donor are held out together. None if each sample has its own
        donor.
    cv
        "leave_one_out"; a number of stratified folds; a splitter of scikit-learn; an iterable of (train, test)
        positions of samples, which are sorted by name; or "auto": "leave_one_out" for at most 50 samples (or donors),
        else five folds.
    rng
        Source of the folds.
    """
    units = np.arange(len(labels)) if donors is None else np.unique(donors, return_inverse=True)[1]
    n_units = int(units.max()) + 1
    if n_units < 2:
        msg = (
            f"donor_key holds one donor only ({donors[0]!r}), so that nothing can be held out. "  # type: ignore[index]
            "Leave donor_key out, or add donors."
        )
        raise ValueError(msg)
    parts = list(_parts(labels, units, donors, cv, n_units, rng))
    if not parts:
        msg = f"cv={_named(cv)} makes no folds. Pass a number of folds or 'leave_one_out'."
        raise ValueError(msg)
    splits: list[Split] = []
    seen: set[int] = set()
    repeat = fold = 0
    for number, (train, test) in enumerate(parts):
        positions = [_positions(chosen, len(labels), number) for chosen in (train, test)]
        if not seen.isdisjoint(positions[1].tolist()):
            seen, repeat, fold = set(), repeat + 1, 0
        seen.update(positions[1].tolist())
        splits.append(Split(repeat, fold, *positions))
        fold += 1
    for number, split in enumerate(splits):
        _check_split(number, split, labels, units, donors)
    return splits


def _parts(
    labels: NDArray[np.object_],
    units: NDArray[np.int64],
    donors: NDArray[np.object_] | None,
    cv: Any,
    n_units: int,
    rng: np.random.Generator,
) -> Iterable[tuple[Any, Any]]:
    """Return pairs of training and held-out samples."""
    if isinstance(cv, str):
        check.check_choice("cv", cv, ("auto", "leave_one_out"), otherwise="a number of folds, or a splitter")
        if cv == "auto":
            cv = "leave_one_out" if n_units <= _MANY else _AUTO_FOLDS
    splitter: Any = cv
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        _check_folds(labels, units, int(cv), donors)
        kind = StratifiedKFold if donors is None else StratifiedGroupKFold
        splitter = kind(int(cv), shuffle=True, random_state=int(rng.integers(2**31)))
    elif isinstance(cv, str):
        splitter = LeaveOneGroupOut()
    elif not hasattr(cv, "split") or isinstance(cv, type | ModuleType | bytes):
        if not isinstance(cv, Iterable) or isinstance(cv, Mapping | bytes) or getattr(cv, "ndim", 1) == 0:
            msg = (
                "cv must be 'auto', 'leave_one_out', a number of folds, a splitter of scikit-learn or an iterable of "
                f"(train, test) positions, found {check.shown(cv)}"
            )
            raise TypeError(msg)
        pairs = list(cv)
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                msg = f"cv must yield (train, test) positions of samples, found {check.shown(pair)}"
                raise TypeError(msg)
        return [(train, test) for train, test in pairs]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The groups parameter is ignored")  # checked in _check_split
        return list(splitter.split(np.zeros((len(labels), 1)), labels, units))


def _named(cv: Any) -> str:
    return repr(cv) if isinstance(cv, str | Integral) else type(cv).__name__


def _positions(chosen: Any, n: int, number: int) -> NDArray[np.int64]:
    """Return the positions of samples; a mask is turned into these."""
    found = np.asarray(chosen)
    if found.dtype == bool and found.shape == (n,):
        return np.flatnonzero(found)
    if found.size == 0:
        return np.empty(0, dtype=np.int64)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        msg = (
            f"split {number} of cv must hold positions of samples, integers from 0 to {n - 1} in the order of the "
            f"sample names, found {check.shown(chosen)}"
        )
        raise TypeError(msg)
    if found.min() < 0 or found.max() >= n or len(np.unique(found)) < len(found):
        msg = (
            f"split {number} of cv must hold different positions of samples, from 0 to {n - 1}, "
            f"found {check.listed(found)}. Positions count samples in the order of their names."
        )
        raise ValueError(msg)
    return found.astype(np.int64)


def _check_folds(
    labels: NDArray[np.object_], units: NDArray[np.int64], n_folds: int, donors: NDArray[np.object_] | None
) -> None:
    check.check_integer("cv", n_folds, minimum=2)
    what = "samples" if donors is None else "donors"
    counts = units_of_classes(labels, units)
    few = [f"{name} ({count})" for name, count in counts.items() if count < n_folds]
    if few:
        fewest = min(counts.values())
        remedy = f"Pass cv={fewest} or cv='leave_one_out', or merge classes."
        if fewest <= _MIN_TRAINING:
            remedy = f"Drop classes with fewer than {_MIN_TRAINING + 1} {what}, or merge them."
        msg = (
            f"cv={n_folds} folds need at least {n_folds} {what} of every class, found fewer in {check.listed(few)}. "
            f"{remedy}"
        )
        raise ValueError(msg)


def units_of_classes(labels: NDArray[np.object_], units: NDArray[Any]) -> dict[str, int]:
    """Return the number of independent units, samples or donors, of each class."""
    return {str(name): len(np.unique(units[labels == name])) for name in np.unique(labels)}


def _check_split(
    number: int,
    split: Split,
    labels: NDArray[np.object_],
    units: NDArray[np.int64],
    donors: NDArray[np.object_] | None,
) -> None:
    if not len(split.test):
        msg = f"split {number} of cv holds out nothing. Pass splits with at least one held-out sample each."
        raise ValueError(msg)
    shared = np.intersect1d(units[split.train], units[split.test])
    if len(shared):
        what = f"sample {shared[0]}" if donors is None else f"samples of donor {donors[units == shared[0]][0]!r}"
        msg = (
            f"split {number} of cv has {what} in training and test. Pass a splitter that keeps them apart, such as "
            f"{'KFold' if donors is None else 'GroupKFold'}."
        )
        raise ValueError(msg)
    left = {name: int((labels[split.train] == name).sum()) for name in np.unique(labels)}
    poor = [
        f"{name} ({count} left of {(labels == name).sum()})" for name, count in left.items() if count < _MIN_TRAINING
    ]
    if not poor:
        return
    held = "" if donors is None else f" (donor {check.listed(np.unique(donors[split.test]))})"
    msg = (
        f"split {number} of cv{held} leaves fewer than {_MIN_TRAINING} training samples of the class "
        f"{check.listed(poor)}. "
        + ("A donor with most samples of a class cannot be held out. " if donors is not None else "")
        + "Drop the class, merge it with another, or pass other folds."
    )
    raise ValueError(msg)
