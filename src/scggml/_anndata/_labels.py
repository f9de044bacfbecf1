"""The labels that a metric is learned from: classes, grades or numbers, and the blocks within which they are compared."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check

from ._cohort import sample_column, sample_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.metric._targets import LabelKind, Targets

    from ._cohort import Cohort


@dataclass(frozen=True, eq=False)
class Labels:
    """The label of each sample.

    Parameters
    ----------
    kind
        What they are.
    text
        As text, (n_samples,).
    classes
        Classes in alphabetical order, or grades in theirs, as text, (n_classes,); none of numbers.
    values
        Position in `classes`, or the number itself, (n_samples,).
    blocks
        Batch, donor, or both, of each sample as text, (n_samples,); None for one block.
    """

    kind: LabelKind
    text: NDArray[np.object_]
    classes: NDArray[np.object_]
    values: NDArray[np.float64]
    blocks: NDArray[np.object_] | None

    @property
    def y(self) -> NDArray[Any]:
        """What estimators take, (n_samples,): classes as text, grades as numbers."""
        return self.text if self.kind == "class" else self.values

    @property
    def targets(self) -> Targets:
        """What `core` takes."""
        from scggml.core.metric._targets import Targets

        codes = None if self.blocks is None else np.unique(self.blocks, return_inverse=True)[1]
        return Targets(self.values, self.kind, codes)


def read_labels(
    adata: AnnData,
    cohort: Cohort,
    label_key: str,
    *,
    label_kind: Any = "class",
    batch_key: str | None = None,
    group_key: str | None = None,
    warn: bool = True,
) -> Labels:
    """Return the labels of samples, checked; refuse or, with `warn`, warn where batches cannot be told from them."""
    from scggml.core.metric._targets import LABEL_KINDS

    check.check_choice("label_kind", label_kind, LABEL_KINDS)
    column = check.check_column("label_key", label_key, adata.obs)
    text = sample_labels(adata.obs, label_key, cohort.names, cohort.codes)
    name = f"label_key={label_key!r}"
    if label_kind == "class":
        check.check_classes(text, name=name)
        classes, codes = np.unique(text, return_inverse=True)
        values = codes.astype(np.float64)
    else:
        values, classes = _ordered(column, label_key, label_kind, cohort)
        check.check_ordered(values, label_kind, name=name)
    blocks, warned = _blocks(adata.obs, label_key, text, label_kind, batch_key, group_key, cohort)
    for found in warned if warn else []:
        warnings.warn(found, UserWarning, stacklevel=3)
    return Labels(label_kind, text, classes, values, blocks)


def label_params(params: dict[str, Any]) -> dict[str, Any]:
    """Return how the labels of a stored metric are read."""
    return {name: params.get(name) for name in ("batch_key", "group_key")} | {
        "label_kind": params.get("label_kind", "class")
    }


def _ordered(
    column: pd.Series, label_key: str, label_kind: str, cohort: Cohort
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Return the grade, by position, or the number of each sample; and the grades in order."""
    first = pd.Series(np.arange(len(column))).groupby(cohort.codes).first().to_numpy()
    of_samples = column.iloc[first]
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if label_kind == "continuous":
        if not numeric:
            msg = (
                f"label_key={label_key!r} must hold numbers with label_kind='continuous', found {column.iloc[0]!r} of dtype "
                f"{column.dtype}. Convert it with adata.obs[{label_key!r}].astype(float), or pass label_kind='ordinal'."
            )
            raise TypeError(msg)
        return of_samples.to_numpy(dtype=np.float64), np.empty(0, dtype=object)
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        grades = [grade for grade in column.cat.categories if (of_samples == grade).any()]
    elif numeric:
        grades = sorted(of_samples.unique())
    else:
        found = check.listed([repr(value) for value in column.unique()])
        msg = (
            f"label_key={label_key!r} has no order, which label_kind='ordinal' needs; found {found}. Say which: adata.obs[{label_key!r}] = "
            f"pd.Categorical(adata.obs[{label_key!r}], categories=[lowest, ..., highest], ordered=True)."
        )
        raise ValueError(msg)
    position = {grade: float(i) for i, grade in enumerate(grades)}
    return np.array([position[grade] for grade in of_samples]), np.array([str(grade) for grade in grades], dtype=object)


def _blocks(
    obs: pd.DataFrame,
    label_key: str,
    text: NDArray[np.object_],
    label_kind: str,
    batch_key: str | None,
    group_key: str | None,
    cohort: Cohort,
) -> tuple[NDArray[np.object_] | None, list[str]]:
    """Return the block of each sample: its batch, its group, or both at once; and what to warn about."""
    batches = sample_column(obs, "batch_key", batch_key, cohort)
    groups = sample_column(obs, "group_key", group_key, cohort)
    warned = []
    if batches is not None and label_kind == "class":
        warned.append(check.check_not_confounded(label_key, text, str(batch_key), batches))
    given = [column for column in (batches, groups) if column is not None]
    if not given:
        return None, []
    keys = [f"{name}={key!r}" for name, key in (("batch_key", batch_key), ("group_key", group_key)) if key is not None]
    blocks = np.array(["\x1f".join(names) for names in zip(*given, strict=True)], dtype=object)
    codes = np.unique(blocks, return_inverse=True)[1]
    check.check_blocks(np.unique(text, return_inverse=True)[1], codes, name=" with ".join(keys))
    if groups is not None:
        warned.append(_unpaired(str(group_key), groups, text))
    return blocks, [found for found in warned if found is not None]


def _unpaired(group_key: str, groups: NDArray[np.object_], text: NDArray[np.object_]) -> str | None:
    n_labels = pd.Series(text).groupby(groups).nunique()
    single = n_labels.index[n_labels == 1]
    if not len(single):
        return None
    return (
        f"{len(single)} of {len(n_labels)} groups of group_key={group_key!r} hold one label only ({check.listed(single)}): their samples "
        "are compared with others of the same label, not with other labels."
    )
