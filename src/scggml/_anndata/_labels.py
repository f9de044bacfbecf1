"""The label of each sample, and the strata within which different labels are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml import _check_samples as check_samples
from scggml import _warnings
from scggml._strata import strata_of
from scggml.core.metric._targets import LabelKind, Targets

from ._columns import first_cells, is_numeric, sample_values

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Labels:
    """The label of each sample.

    Parameters
    ----------
    kind
        "class", "ordinal" or "continuous".
    text
        Labels as text, (n_samples,).
    classes
        Classes in alphabetical order, or ordinal labels in theirs, as text, (n_classes,); none of continuous labels.
    values
        Position in `classes`, or the continuous label itself, (n_samples,).
    strata
        Stratum of each sample, by batch and donor, (n_samples,); None for a single one.
    """

    kind: LabelKind
    text: NDArray[np.object_]
    classes: NDArray[np.object_]
    values: NDArray[np.float64]
    strata: NDArray[np.int64] | None

    @property
    def y(self) -> NDArray[Any]:
        """What estimators take, (n_samples,): classes as text, other labels as numbers."""
        return self.text if self.kind == "class" else self.values

    @property
    def targets(self) -> Targets:
        """What `core` takes."""
        return Targets(self.values, self.kind, self.strata)


def read_labels(
    obs: pd.DataFrame,
    names: NDArray[np.object_],
    codes: NDArray[np.int64],
    label_key: str,
    *,
    label_kind: Any,
    batches: NDArray[np.object_] | None,
    batch_key: str | None,
    donors: NDArray[np.object_] | None,
    donor_key: str | None,
    warn: bool,
) -> Labels:
    """Return the labels of samples, checked; refuse or warn where classes cannot be separated from batches."""
    column = check.check_column("label_key", label_key, obs)
    text = sample_values(obs, "label_key", label_key, names, codes)
    name = f"label_key={label_key!r}"
    if label_kind == "class":
        check_samples.check_classes(text, name=name, numeric=is_numeric(column))
        classes, positions = np.unique(text, return_inverse=True)
        values = positions.astype(np.float64)
    else:
        values, classes = _ordered(column, label_key, label_kind, codes)
        check_samples.check_ordered(values, label_kind, name=name)
    warning = None
    if batches is not None and label_kind == "class":
        warning = check_samples.check_not_confounded(label_key, text, str(batch_key), batches)
    strata = strata_of(batches, donors, text)
    if strata is not None:
        given = (("batch_key", batch_key), ("donor_key", donor_key))
        keys = " with ".join(f"{argument}={key!r}" for argument, key in given if key is not None)
        check_samples.check_strata(np.unique(text, return_inverse=True)[1], strata, name=keys)
    if warning is not None and warn:
        _warnings.warn(warning)
    return Labels(label_kind, text, classes, values, strata)


def _ordered(
    column: pd.Series, label_key: str, label_kind: str, codes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Return the position of each ordinal label, or the continuous labels; and the ordinal labels in order."""
    of_samples = column.iloc[first_cells(codes)]
    numeric = is_numeric(column)
    if label_kind == "continuous":
        if not numeric:
            msg = (
                f"label_key={label_key!r} must hold numbers with label_kind='continuous', found "
                f"{check.shown(column.iloc[0])} of dtype {column.dtype}. {_as_numbers(column, label_key)}"
            )
            raise TypeError(msg)
        return of_samples.to_numpy(dtype=np.float64), np.empty(0, dtype=object)
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        ordered = [label for label in column.cat.categories if (of_samples == label).any()]
    elif numeric:
        ordered = sorted(of_samples.unique())
    else:
        found = check.listed([check.shown(value) for value in column.unique()])
        msg = (
            f"label_key={label_key!r} has no order, which label_kind='ordinal' needs; found {found}. Give it one: "
            f"adata.obs[{label_key!r}] = pd.Categorical(adata.obs[{label_key!r}], categories=[lowest, ..., highest], "
            "ordered=True)."
        )
        raise ValueError(msg)
    position = {label: float(i) for i, label in enumerate(ordered)}
    texts = np.array([str(label) for label in ordered], dtype=object)
    return np.array([position[label] for label in of_samples]), texts


def _as_numbers(column: pd.Series, label_key: str) -> str:
    """Return how a column that holds no numbers becomes one."""
    cells = f"adata.obs[{label_key!r}]"
    dates = {"M": f"({cells} - {cells}.min()).dt.days", "m": f"{cells}.dt.days"}
    if isinstance(column.dtype, pd.PeriodDtype):
        return f"Convert it with {cells}.dt.start_time, and then to days: (start - start.min()).dt.days."
    kind = getattr(column.dtype, "kind", "O")
    if kind in dates:
        return f"Convert it, for example to days: {cells} = {dates[kind]}."
    values = column.astype(object)
    if pd.to_numeric(values, errors="coerce").notna().all():
        return f"Convert it with {cells} = {cells}.astype(float)."
    return "Pass label_kind='ordinal' with an ordered categorical, or label_kind='class'."
