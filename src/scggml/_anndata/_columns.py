"""Columns of obs: which sample a cell belongs to, and what is known of each sample."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml import _check_samples as check_samples
from scggml._keys import N_CELLS, colors

from ._schema import Numbers, check_entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_RESERVED = "_index"  # in files, of the names of the rows


def sample_codes(obs: pd.DataFrame, sample_key: str) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the sorted names of the samples, (n_samples,), and the sample of each cell, (n_obs,)."""
    column = check.check_column("sample_key", sample_key, obs)
    return np.unique(check.as_names("sample_key", sample_key, column), return_inverse=True)


def sample_values(
    obs: pd.DataFrame, name: str, key: str, names: NDArray[np.object_], codes: NDArray[np.int64]
) -> NDArray[np.object_]:
    """Return the one value of each sample in the column that the argument `name` names, as text, (n_samples,)."""
    text = check.as_names(name, key, check.check_column(name, key, obs))
    check_samples.check_one_value(names, codes, name, key, text)
    values = np.empty(len(names), dtype=object)
    values[codes] = text
    return values


def sample_table(obs: pd.DataFrame, names: NDArray[np.object_], codes: NDArray[np.int64]) -> pd.DataFrame:
    """Return one row per sample: `n_cells` and every column that is constant within samples, as files can hold it.

    Columns of lists or dicts are left out. Columns of numbers and text, dates and the like become text.
    """
    check.check_unique_columns(obs.columns)
    first = first_cells(codes)
    constant, without_order = [], []
    for column in obs.columns:
        try:
            value = pd.factorize(obs[column])[0]  # missing values are a value of their own
        except TypeError:
            without_order.append(column)
            continue
        if (value == value[first][codes]).all() and column != _RESERVED:
            constant.append(column)
    if without_order:
        logger.info("columns of obs with lists or the like are left out: %s", check.listed(without_order))
    table = obs.iloc[first][constant].copy()
    for column in constant:
        table[column] = _storable(table[column])
    table.index = pd.Index(names)
    table.columns = table.columns.astype(str)
    table[N_CELLS] = np.bincount(codes, minlength=len(names))
    return table


def sample_sizes(pdata: AnnData, remedy: str) -> NDArray[np.int64]:
    """Return the number of cells of each sample, (n_samples,); refuse a column that holds no such numbers."""
    return sample_numbers(pdata, N_CELLS, remedy, minimum=1).astype(np.int64)


def sample_numbers(pdata: AnnData, name: str, remedy: str, *, minimum: float) -> NDArray[np.float64]:
    """Return a column of `.obs` that holds a finite number for each sample, (n_samples,); refuse any other."""
    column = pdata.obs[name] if name in pdata.obs else None
    check_entry(column, Numbers(("n_samples",), minimum=minimum), f"obs[{name!r}]", remedy)
    return np.asarray(column, dtype=np.float64)


def _storable(column: pd.Series) -> pd.Series:
    """Return a column in a type that h5ad and zarr hold: categories of text, numbers, booleans or text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()
        text = column.cat.categories.astype(str)
        is_text = pd.api.types.is_string_dtype(column.cat.categories)
        return column if is_text or not text.is_unique else column.cat.rename_categories(list(text))
    column = column.infer_objects()
    if pd.api.types.is_numeric_dtype(column.dtype):
        if isinstance(column.array, pd.arrays.IntegerArray | pd.arrays.BooleanArray | pd.arrays.NumpyExtensionArray):
            return column
        return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index)
    return column.astype(str).astype(object).where(column.notna(), None)


def first_cells(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first cell of each sample, (n_samples,)."""
    return np.unique(codes, return_index=True)[1]


def is_numeric(column: pd.Series) -> bool:
    """Return whether a column holds numbers; booleans are none."""
    types = pd.api.types
    return types.is_numeric_dtype(column) and not types.is_bool_dtype(column) and not types.is_complex_dtype(column)


def names_in_order(column: pd.Series) -> list[str]:
    """Return the values of a column that are there as text, in the order of its categories where it has any."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [str(name) for name in column.cat.remove_unused_categories().cat.categories]
    return sorted(column.astype(str).unique())


def read_cell_types(adata: AnnData, cell_type_key: str) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the cell types in their order, and the type of each cell, (n_obs,)."""
    column = check.check_column("cell_type_key", cell_type_key, adata.obs)
    text = check.as_names("cell_type_key", cell_type_key, column)
    types = names_in_order(column)
    return types, pd.Index(types).get_indexer(pd.Index(text)).astype(np.int64)


def kept_colors(adata: AnnData, key: str, kept: pd.Index) -> list[Any] | None:
    """Return scanpy's colours of the categories of `obs[key]` that are kept; None where there are none."""
    palette, categories = adata.uns.get(colors(key)), adata.obs[key].cat.categories
    if not isinstance(palette, list | np.ndarray) or len(palette) < len(categories):
        return None
    return [palette[categories.get_loc(name)] for name in kept]


def colors_of_samples(adata: AnnData, table: pd.DataFrame) -> dict[str, Any]:
    """Return scanpy's colours, as entries of `.uns`, of the categorical columns that a table of samples shares."""
    columns = [name for name in table.columns.intersection(adata.obs.columns) if table[name].dtype == "category"]
    return kept_palettes(adata, {name: table[name].cat.categories for name in columns})


def kept_palettes(adata: AnnData, kept: Mapping[str, pd.Index]) -> dict[str, Any]:
    """Return scanpy's colours, as entries of `.uns`, of the categories of each column that are kept."""
    found = {colors(name): kept_colors(adata, name, categories) for name, categories in kept.items()}
    return {key: palette for key, palette in found.items() if palette is not None}
