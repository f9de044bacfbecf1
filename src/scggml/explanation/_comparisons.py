"""Which classes, and so which samples, are compared with one another."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check

from ._excess import class_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._excess import ClassMeans

_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Pairs of classes to compare, and the pairs of samples that this takes.

    Parameters
    ----------
    names
        Names of the classes.
    codes
        Class of each sample, (n_samples,); each class has a sample.
    classes
        The two classes of each comparison: two different classes first, each class that has two samples with itself after these.
    pairs
        Samples to compare, the first of the first class, (n_pairs, 2).
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
        numbers = np.repeat(np.arange(len(classes)), [len(some) for some in pairs])
        return cls(names, codes, classes, np.array([p for some in pairs for p in some]).reshape(-1, 2), numbers)

    @property
    def undirected(self) -> NDArray[np.bool_]:
        """Which comparisons are of a class with itself, (n_comparisons,)."""
        return np.array([a == b for a, b in self.classes], dtype=bool)

    @property
    def groups(self) -> dict[str, NDArray[np.object_]]:
        """The names of the classes, (n_comparisons,) each."""
        a, b = np.array(self.classes).T
        return {"group_a": self.names[a], "group_b": self.names[b]}

    def repeated(self, n: int) -> dict[str, NDArray[np.object_]]:
        """The names of the classes, each `n` times."""
        return {name: np.repeat(values, n) for name, values in self.groups.items()}

    def less_within(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of comparisons (n_comparisons, ...) less their means within both classes; NaN where there are none."""
        excess = np.full_like(values, np.nan)
        place = {pair: q for q, pair in enumerate(self.classes)}
        for q, (a, b) in enumerate(self.classes):
            if a != b and (a, a) in place and (b, b) in place:
                excess[q] = values[q] - (values[place[a, a]] + values[place[b, b]]) / 2
        return excess

    def means(self, sums: NDArray[np.float64]) -> list[tuple[ClassMeans, ClassMeans, int]]:
        """Return for each comparison the means over pairs, the same without each sample, and the samples of the first class.

        All are NaN for a class with itself.
        """
        place = {pair: q for q, pair in enumerate(self.classes)}
        found = []
        for q, (a, b) in enumerate(self.classes):
            first, second = np.flatnonzero(self.codes == a), np.flatnonzero(self.codes == b)
            # a class with one sample has no comparison with itself, and its sums count for nothing
            own = [sums[place.get((c, c), q)][members] for c, members in ((a, first), (b, second))]
            between = sums[q][np.concatenate([first, second])]
            means, without = class_means(between if a != b else np.full_like(between, np.nan), *own)
            found.append((means, without, len(first)))
        return found


def compare_classes(
    labels: NDArray[np.object_], classes: list[str], groups: Any, label_key: str
) -> tuple[NDArray[np.bool_], Comparisons]:
    """Return which samples take part, (n_samples,), and how they are compared; warn of classes with one sample.

    Parameters
    ----------
    labels
        Class of each sample, (n_samples,).
    classes
        The classes in their order.
    groups
        Two of them that are asked for, or None for all.
    label_key
        What error messages call them.
    """
    if groups is not None:
        classes = _two("groups", groups, classes, f"classes of label_key={label_key!r}")
    code = {name: c for c, name in enumerate(classes)}
    chosen = np.array([label in code for label in labels])
    codes = np.array([code[label] for label in labels[chosen]], dtype=np.int64)
    if len(codes) < 2:
        msg = f"distances are between two samples at least, found {len(codes)}"
        raise ValueError(msg)
    single = [classes[c] for c in np.flatnonzero(np.bincount(codes) == 1)]
    if single and len(classes) > 1:
        msg = (
            f"{len(single)} class(es) of label_key={label_key!r} have one sample only ({check.listed(single)}): how samples "
            "differ within them is not known, and the excess of their distances to other classes is NaN"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    return chosen, Comparisons.of_classes(codes, np.array(classes, dtype=object))


def compare_samples(names: NDArray[np.object_], samples: Any) -> tuple[NDArray[np.bool_], Comparisons]:
    """Return which samples take part, (n_samples,), and their comparison: each of the two is a class of its own."""
    pair = _two("samples", samples, [str(name) for name in names], "samples")
    chosen = np.isin(names, pair)
    codes = np.array([pair.index(name) for name in names[chosen]])
    return chosen, Comparisons.of_classes(codes, np.array(pair, dtype=object))


def check_same_samples(rows: pd.Index, names: NDArray[np.object_], sample_key: str) -> None:
    """Refuse samples of which some have no row or no cells.

    Parameters
    ----------
    rows
        Names of the samples with distances.
    names
        Names of the samples with cells, (n_samples,).
    sample_key
        What error messages call the samples of cells.
    """
    if rows.has_duplicates:
        msg = f"pdata has several samples of the name {rows[rows.duplicated()][0]!r}. Make names unique."
        raise ValueError(msg)
    without_cells, without_row = rows.difference(list(names)), pd.Index(names).difference(list(rows))
    if len(without_cells) or len(without_row):
        msg = (
            f"pdata and adata.obs[{sample_key!r}] must have the same samples, found {len(without_cells)} in pdata only "
            f"({check.listed(without_cells)}) and {len(without_row)} in adata only ({check.listed(without_row)}). Subset the "
            f"one, for example adata[adata.obs[{sample_key!r}].isin(pdata.obs_names)], or compute distances again."
        )
        raise ValueError(msg)


def check_same_distances(
    found: NDArray[np.float64], stored: NDArray[np.float64], pairs: NDArray[np.int64], names: NDArray[np.object_]
) -> None:
    """Refuse a matrix of distances of which those of some pairs are not what was found, beyond a relative 1e-6."""
    expected = stored[pairs[:, 0], pairs[:, 1]]
    wrong = np.flatnonzero(~(abs(found - expected) <= _TOLERANCE * np.maximum(abs(expected), np.finfo(float).tiny)))
    if len(wrong):
        a, b = names[pairs[wrong[0]]]
        msg = (
            f"the distances in pdata are not those of these cells and this metric: {a} and {b} are {expected[wrong[0]]:.6g} apart "
            f"in pdata, {found[wrong[0]]:.6g} by adata. Compute them again with sg.tl.sample_distances."
        )
        raise ValueError(msg)


def warn_about_absent_types(
    cell_type_key: str, types: NDArray[np.object_], sizes: NDArray[np.int64], codes: NDArray[np.int64]
) -> None:
    """Warn of types that some samples lack.

    Parameters
    ----------
    cell_type_key
        What the warning calls the types.
    types
        Names of the types, (n_types,).
    sizes
        Points of each sample, (n_samples,).
    codes
        Type of each point, sample after sample, (n_points,).
    """
    sample = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.bincount(sample * len(types) + codes, minlength=len(sizes) * len(types)).reshape(-1, len(types))
    n_absent = (counts == 0).sum(axis=0)
    if n_absent.any():
        found = [f"{name} (in {n} of {len(sizes)})" for name, n in zip(types, n_absent, strict=True) if n]
        msg = (
            f"{len(found)} type(s) of cell_type_key={cell_type_key!r} are absent from some samples: {check.listed(found)}. There all "
            "cells of the type in other samples are matched with cells of other types, which counts as composition"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def _two(name: str, value: Any, known: list[str], what: str) -> list[str]:
    """Return two different names out of those that are known."""
    if isinstance(value, str) or not isinstance(value, Collection) or len(value) != 2:
        msg = f"{name} must be two {what}, found {value!r}. Pass two of: {check.listed(known, limit=20)}"
        raise ValueError(msg)
    pair = [str(item) for item in value]
    unknown = [item for item in pair if item not in known]
    if unknown:
        msg = f"{name}={value!r}: {check.listed(unknown)} not among the {what}. Found: {check.listed(known, limit=20)}"
        raise KeyError(msg)
    if pair[0] == pair[1]:
        msg = f"{name} must be two different {what}, found {value!r}. Pass two of: {check.listed(known, limit=20)}"
        raise ValueError(msg)
    return pair
