"""Which classes, and therefore which pairs of samples, are compared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._warnings import warn

from ._excess import class_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._excess import ClassMeans


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Pairs of classes to compare, and the pairs of samples that belong to each.

    Parameters
    ----------
    names
        Names of the classes.
    codes
        Class of each sample, (n_samples,). Every class has at least one sample.
    classes
        The two classes of each comparison. Two different classes come first. Then each class with at least two samples
        is compared with itself.
    pairs
        Pairs of samples, (n_pairs, 2). The first sample belongs to the first class.
    comparisons
        Comparison of each pair, (n_pairs,).
    """

    names: NDArray[np.object_]
    codes: NDArray[np.int64]
    classes: list[tuple[int, int]]
    pairs: NDArray[np.int64]
    comparisons: NDArray[np.int64]

    @classmethod
    def of_classes(cls, codes: NDArray[np.int64], names: NDArray[np.object_]) -> Comparisons:
        """Compare all classes with one another and with themselves."""
        members = [np.flatnonzero(codes == c) for c in range(len(names))]
        classes = list(combinations(range(len(names)), 2))
        classes += [(c, c) for c, own in enumerate(members) if len(own) > 1]
        pairs = [
            list(combinations(members[a], 2)) if a == b else list(product(members[a], members[b])) for a, b in classes
        ]
        comparisons = np.repeat(np.arange(len(classes)), [len(some) for some in pairs])
        return cls(names, codes, classes, np.array([p for some in pairs for p in some]).reshape(-1, 2), comparisons)

    @property
    def undirected(self) -> NDArray[np.bool_]:
        """Which comparisons are of a class with itself, (n_comparisons,)."""
        return np.array([a == b for a, b in self.classes], dtype=bool)

    @property
    def columns(self) -> dict[str, NDArray[np.object_]]:
        """The names of both classes as columns of a table, (n_comparisons,) each."""
        a, b = np.array(self.classes).T
        return {"class_a": self.names[a], "class_b": self.names[b]}

    def repeated_columns(self, n: int) -> dict[str, NDArray[np.object_]]:
        """The names of both classes, each `n` times in a row."""
        return {name: np.repeat(values, n) for name, values in self.columns.items()}

    def means(self, sums: NDArray[np.float64]) -> list[tuple[ClassMeans, ClassMeans, int]]:
        """Return for each comparison the means over pairs, those without each sample, and the size of the first class.

        The means between the classes are NaN for a class with itself.

        Parameters
        ----------
        sums
            Sum over the pairs of each sample, (n_comparisons, n_samples, ...).
        """
        position = {pair: q for q, pair in enumerate(self.classes)}
        found = []
        for q, (a, b) in enumerate(self.classes):
            first, second = np.flatnonzero(self.codes == a), np.flatnonzero(self.codes == b)
            # a class with one sample is not compared with itself: class_means ignores the sums that stand in here
            own = [sums[position.get((c, c), q)][members] for c, members in ((a, first), (b, second))]
            between = sums[q][np.concatenate([first, second])]
            means, without = class_means(between if a != b else np.full_like(between, np.nan), *own)
            found.append((means, without, len(first)))
        return found


def compare_classes(
    labels: NDArray[np.object_], classes: list[str], chosen: Any, label_key: str
) -> tuple[NDArray[np.bool_], Comparisons]:
    """Return which samples take part, (n_samples,), and how they are compared. Warn of classes with one sample.

    Parameters
    ----------
    labels
        Class of each sample, (n_samples,).
    classes
        All classes, in their order.
    chosen
        Two classes to compare, or None for all.
    label_key
        Name of the labels in messages.
    """
    if chosen is not None:
        classes = _two("classes", chosen, classes, f"classes of label_key={label_key!r}")
    code = {name: c for c, name in enumerate(classes)}
    takes_part = np.array([label in code for label in labels])
    codes = np.array([code[label] for label in labels[takes_part]], dtype=np.int64)
    if len(codes) < 2:
        msg = (
            f"label_key={label_key!r} has {len(codes)} sample(s) of these classes: at least two samples are needed to "
            "compare"
        )
        raise ValueError(msg)
    single = [classes[c] for c in np.flatnonzero(np.bincount(codes) == 1)]
    if single and len(classes) > 1:
        msg = (
            f"{len(single)} class(es) of label_key={label_key!r} have one sample only ({check.listed(single)}): the "
            "distances within such a class are not known, so the excess of its distances to other classes is NaN"
        )
        warn(msg)
    return takes_part, Comparisons.of_classes(codes, np.array(classes, dtype=object))


def compare_samples(names: NDArray[np.object_], chosen: Any) -> tuple[NDArray[np.bool_], Comparisons]:
    """Return which samples take part, (n_samples,), and their comparison. Each of the two is a class of its own.

    Parameters
    ----------
    names
        Names of all samples, (n_samples,).
    chosen
        Two samples to compare.
    """
    pair = _two("samples", chosen, [str(name) for name in names], "samples")
    takes_part = np.isin(names, pair)
    codes = np.array([pair.index(name) for name in names[takes_part]])
    return takes_part, Comparisons.of_classes(codes, np.array(pair, dtype=object))


def _two(argument: str, value: Any, known: list[str], what: str) -> list[str]:
    """Return two different names out of those that are known."""
    remedy = f"Pass two of: {check.listed(known, limit=20)}"
    if isinstance(value, str) or not isinstance(value, Collection) or len(value) != 2:
        msg = f"{argument} must be two {what}, found {check.shown(value)}. {remedy}"
        raise ValueError(msg)
    pair = [str(item) for item in value]
    unknown = [item for item in pair if item not in known]
    if unknown:
        msg = f"{argument}={check.shown(value)}: {check.listed(unknown)} not among the {what}. {remedy}"
        raise KeyError(msg)
    if pair[0] == pair[1]:
        msg = f"{argument} must be two different {what}, found {check.shown(value)}. {remedy}"
        raise ValueError(msg)
    return pair
