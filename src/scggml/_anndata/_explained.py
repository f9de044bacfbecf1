"""The input of an explanation: whether distances and cells belong together, and the classes of the samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._warnings import warn

from ._columns import names_in_order

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_TOLERANCE = 1e-6  # relative difference between stored and recomputed distances


def check_same_samples(rows: pd.Index, names: NDArray[np.object_], sample_key: str) -> None:
    """Refuse samples without a row in `pdata` or without cells in `adata`.

    Parameters
    ----------
    rows
        Names of the samples in `pdata`.
    names
        Names of the samples in `adata`, (n_samples,).
    sample_key
        Column of `adata.obs` with the samples.
    """
    if rows.has_duplicates:
        msg = (
            f"pdata.obs_names are not unique: {rows[rows.duplicated()][0]!r} appears more than once. Make the names "
            "unique."
        )
        raise ValueError(msg)
    without_cells, without_row = rows.difference(list(names)), pd.Index(names).difference(list(rows))
    if len(without_cells) or len(without_row):
        msg = (
            f"pdata and adata.obs[{sample_key!r}] must hold the same samples, found {len(without_cells)} in pdata only "
            f"({check.listed(without_cells)}) and {len(without_row)} in adata only ({check.listed(without_row)}). "
            f"Subset one of them, for example adata[adata.obs[{sample_key!r}].isin(pdata.obs_names)], or compute the "
            "distances again with sg.tl.sample_distances."
        )
        raise ValueError(msg)


def check_same_distances(
    found: NDArray[np.float64], stored: NDArray[np.float64], pairs: NDArray[np.int64], names: NDArray[np.object_]
) -> None:
    """Refuse stored distances that differ from recomputed ones by more than a relative 1e-6.

    Parameters
    ----------
    found
        Recomputed distance of each pair, (n_pairs,).
    stored
        Distances in `pdata`, (n_samples, n_samples).
    pairs
        Pairs of samples, (n_pairs, 2).
    names
        Names of the samples, (n_samples,).
    """
    expected = stored[pairs[:, 0], pairs[:, 1]]
    wrong = np.flatnonzero(~(abs(found - expected) <= _TOLERANCE * np.maximum(abs(expected), np.finfo(float).tiny)))
    if len(wrong):
        a, b = names[pairs[wrong[0]]]
        msg = (
            f"the distances in pdata do not belong to the cells and the metric in adata: between {a} and {b}, pdata "
            f"stores {expected[wrong[0]]:.6g}, but the cells give {found[wrong[0]]:.6g}. Compute the distances again "
            "with sg.tl.sample_distances."
        )
        raise ValueError(msg)


def warn_about_absent_types(
    cell_type_key: str, types: NDArray[np.object_], sizes: NDArray[np.int64], codes: NDArray[np.int64]
) -> None:
    """Warn of cell types that are absent from some samples.

    Parameters
    ----------
    cell_type_key
        Column of `adata.obs` with the cell types.
    types
        Names of the types, (n_types,).
    sizes
        Number of points of each sample, (n_samples,).
    codes
        Type of each point, sample after sample, (n_points,).
    """
    sample = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.bincount(sample * len(types) + codes, minlength=len(sizes) * len(types)).reshape(-1, len(types))
    n_absent = (counts == 0).sum(axis=0)
    if n_absent.any():
        found = [f"{name} (from {n} of {len(sizes)})" for name, n in zip(types, n_absent, strict=True) if n]
        msg = (
            f"{len(found)} cell type(s) of cell_type_key={cell_type_key!r} are absent from some samples: "
            f"{check.listed(found)}. There, all cells of this type in other samples are matched with cells of other "
            "types, which counts as composition"
        )
        warn(msg)


def classes_of_samples(pdata: AnnData, label_key: str | None, *, continuous: bool) -> tuple[pd.Series, list[str]]:
    """Return the class of each sample, by name, and the classes in their order.

    Parameters
    ----------
    pdata
        Samples.
    label_key
        Column of `pdata.obs` with the classes.
    continuous
        Whether the metric was learned from this column as a continuous label, which is no class.
    """
    if label_key is None:
        msg = (
            "label_key is needed, because these distances do not come from a metric that was learned with labels. "
            f"Pass a column of pdata.obs. Found: {check.listed(pdata.obs.columns, limit=20)}"
        )
        raise ValueError(msg)
    if isinstance(label_key, str) and label_key in pdata.obs and pdata.obs[label_key].isna().any():
        missing = pdata.obs_names[pdata.obs[label_key].isna()]
        msg = (
            f"label_key={label_key!r} is missing for {len(missing)} sample(s): {check.listed(missing)}. Fill the "
            "values in, or remove these samples from adata and pdata."
        )
        raise ValueError(msg)
    column = check.check_column("label_key", label_key, pdata.obs)
    text = pd.Series(check.as_names("label_key", label_key, column), index=pdata.obs_names.astype(str))
    sizes = text.value_counts()
    if continuous or (pd.api.types.is_float_dtype(column.dtype) and (sizes == 1).sum() > len(sizes) / 2):
        msg = (
            f"label_key={label_key!r} is a continuous label: {len(sizes)} different numbers for {len(text)} samples. "
            f"Cut it into classes, pdata.obs['class'] = pandas.cut(pdata.obs[{label_key!r}], 3).astype(str), and pass "
            "label_key='class'."
        )
        raise ValueError(msg)
    return text, names_in_order(column)
