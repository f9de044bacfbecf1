"""Checks of samples and of their labels, and the texts of their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml._check import listed, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MAX_ROWS, _MAX_COLUMNS = 20, 8  # of a table in a message
_MIN_CELLS = 2  # one cell is a point, not a distribution
_MIN_SAMPLES = 2  # per class: a triplet needs an anchor and a positive
_MIN_ORDERED = 4


def check_declared_samples(key: str, column: pd.Series) -> None:
    """Refuse categories of the sample column that no cell belongs to."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        unused = column.cat.categories.difference(column.cat.remove_unused_categories().cat.categories)
        if len(unused):
            msg = (
                f"sample_key={key!r} has {len(unused)} sample(s) without cells: {listed(unused)}. "
                f"Remove them with sg.pp.filter_samples or adata.obs[{key!r}].cat.remove_unused_categories()."
            )
            raise ValueError(msg)


def check_sizes(names: NDArray[np.object_], sizes: NDArray[np.integer]) -> None:
    """Refuse samples with fewer than two cells."""
    small = np.flatnonzero(sizes < _MIN_CELLS)
    if len(small):
        found = listed([f"{names[i]} ({sizes[i]})" for i in small])
        msg = (
            f"a sample needs at least {_MIN_CELLS} cells to be a distribution, found fewer in {found}. "
            f"Drop them with sg.pp.filter_samples(adata, sample_key, min_cells={_MIN_CELLS})."
        )
        raise ValueError(msg)


def check_one_value(
    names: NDArray[np.object_], codes: NDArray[np.integer], name: str, key: str, values: NDArray[np.object_]
) -> None:
    """Refuse samples whose cells carry more than one value, such as a label."""
    table = pd.DataFrame({"sample": codes, "value": values}).drop_duplicates()
    mixed = table[table["sample"].duplicated(keep=False)].groupby("sample")["value"].agg(list)
    if len(mixed):
        found = listed(
            [
                f"{names[i]} ({listed(map(repr, found), limit=2)})"
                for i, found in zip(mixed.index.to_numpy(), mixed, strict=True)
            ]
        )
        msg = f"each sample must have one value of {name}={key!r}, found several in {found}."
        if name == "label_key":
            msg += " If one patient was measured in several states, make each (patient, state) a sample of its own."
        raise ValueError(msg)


def check_not_confounded(
    label_key: str, labels: NDArray[np.object_], batch_key: str, batches: NDArray[np.object_]
) -> str | None:
    """Refuse classes that cannot be separated from batches; return a warning where some batch holds one class only."""
    table = pd.crosstab(pd.Series(batches, name=batch_key), pd.Series(labels, name=label_key))
    single = table.index[(table > 0).sum(axis=1) == 1]
    if len(table) < 2 or not len(single):
        return None
    if len(single) == len(table) and ((table > 0).sum(axis=0) == 1).any():  # else batches differ within classes too
        msg = (
            f"label_key={label_key!r} and batch_key={batch_key!r} are confounded: no batch holds two classes, so that "
            "differences between classes cannot be separated from those between batches. Samples by batch and class:\n"
            f"{_table_text(table)}"
        )
        raise ValueError(msg)
    return (
        f"{len(single)} of {len(table)} batches of batch_key={batch_key!r} hold one class of label_key={label_key!r} "
        f"only ({listed(single)}), where classes cannot be separated from batches. Samples by batch and class:\n"
        f"{_table_text(table)}"
    )


def _table_text(table: pd.DataFrame) -> str:
    """Return the first rows and columns of a table, and how many there are if that is not all."""
    part = table.iloc[:_MAX_ROWS, :_MAX_COLUMNS].rename(index=shortened, columns=shortened)
    if part.shape == table.shape:
        return part.to_string()
    return f"{part.to_string()}\n... ({len(table)} rows and {table.shape[1]} columns in all)"


def check_strata(codes: NDArray[np.integer], strata: NDArray[np.integer] | None, *, name: str = "strata") -> None:
    """Refuse strata if none of them holds samples with different labels."""
    if strata is None:
        return
    table = pd.DataFrame({"stratum": strata, "code": codes}).drop_duplicates()
    if not table["stratum"].duplicated().any():
        msg = (
            f"{name} must have a stratum that holds samples with different labels, found none: differences between "
            f"labels cannot be separated from differences between strata. Leave {name} out, knowing that the metric "
            "may learn the latter, or add samples."
        )
        raise ValueError(msg)


def check_ordered(values: NDArray[np.float64], label_kind: str, *, name: str) -> None:
    """Refuse ordinal or continuous labels from which no order can be learned."""
    if not np.isfinite(values).all():
        msg = (
            f"{name} has {int((~np.isfinite(values)).sum())} values that are NaN or infinite. Drop these samples, or "
            "fill them in."
        )
        raise ValueError(msg)
    counts = np.unique(values, return_counts=True)[1]
    if len(counts) < 2:
        msg = f"{name} has only the value {values[0]:g}: there is no order to learn"
        raise ValueError(msg)
    if label_kind == "ordinal" and (counts < _MIN_SAMPLES).all():
        msg = (
            f"no ordinal label of {name} has {_MIN_SAMPLES} samples to compare with one another. Pass "
            "label_kind='continuous', or merge labels."
        )
        raise ValueError(msg)
    if len(values) < _MIN_ORDERED:
        msg = f"{name} has {len(values)} samples, too few to learn an order from (at least {_MIN_ORDERED})"
        raise ValueError(msg)


def check_classes(
    labels: Sequence[Any] | NDArray[Any], *, name: str, minimum: int = _MIN_SAMPLES, numeric: bool = False
) -> None:
    """Refuse labels from which no metric can be learned: one class only, or a class with too few samples."""
    counts = pd.Series(list(labels)).value_counts(sort=False)
    if len(counts) < 2:
        msg = (
            f"{name} has only the class {str(counts.index[0])!r}: at least two classes are needed to learn what "
            "separates them"
        )
        raise ValueError(msg)
    few = counts[counts < minimum]
    if len(few):
        found = "one" if minimum == _MIN_SAMPLES else "fewer"
        msg = (
            f"each class of {name} needs at least {minimum} samples, found {found} in {listed(few.index)}. Merge it "
            "with another class or drop its samples, for example with sg.pp.filter_samples(..., "
            f"min_samples={minimum})."
        )
        if numeric:
            msg += (
                " If these numbers are no classes, pass label_kind='continuous' (such as ages) or 'ordinal' (such as "
                "grades)."
            )
        raise ValueError(msg)
