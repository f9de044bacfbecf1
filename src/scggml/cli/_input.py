"""Cells from an h5ad file, and whether they can be written to one again."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import h5py
import pandas as pd
import scipy.sparse as sp

from scggml._anndata._columns import is_numeric
from scggml._check import check_column, listed

from ._errors import is_out_of_space, one_line
from ._hdf5 import write_h5ad

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anndata import AnnData

    from ._results import Results

_TRIAL = "trial.h5ad"
_MAX_NUMBERS = 2  # of a label that are taken for classes unasked: two have no order that could be lost
_OTHER_KINDS = {  # groups of a file: what it is, and how to make an h5ad file of it
    ("mod",): ("a MuData file of several modalities", "mudata.read_h5mu(FILE).mod[NAME].write_h5ad(...)"),
    ("matrix", "row_attrs"): ("a loom file", "anndata.io.read_loom(FILE).write_h5ad(...)"),
    ("matrix",): ("a count matrix of Cell Ranger", "scanpy.read_10x_h5(FILE), then add samples and labels to obs"),
    ("assays",): ("an h5Seurat file", 'SeuratDisk::Convert(FILE, dest = "h5ad") in R'),
}
_PLACE = re.compile(r"while writing key '(?P<key>.*)' of .* to /(?P<parent>.*)")  # in a note of anndata


def check_cells(path: Path, columns: Mapping[str, str | None], label_kind: str | None = "class") -> None:
    """Refuse what is no h5ad file, or has no such columns, without reading the matrices, which take long.

    Parameters
    ----------
    path
        The file.
    columns
        Arguments and the columns of `obs` that they name; None for those that are not used.
    label_kind
        What labels are; None if the user has not said so.
    """
    from anndata.io import read_elem

    if path.is_dir():
        msg = (
            f"{path} is a folder, not an h5ad file. Of a zarr store, make one in Python: "
            "anndata.io.read_zarr(FOLDER).write_h5ad(...)."
        )
        raise IsADirectoryError(msg)
    path.open("rb").close()  # is it there, and may it be read?
    if not h5py.is_hdf5(path):
        msg = f"{path} is not an h5ad file: its content is not HDF5. It may be another file with this name, or cut off."
        raise OSError(msg)
    with _told(path), h5py.File(path, "r") as file:
        groups = set(file)
        is_h5ad = {"obs", "var"} <= groups and "mod" not in groups
        obs = read_elem(file["obs"]) if is_h5ad else None
    if not is_h5ad:
        kinds = [found for group, found in _OTHER_KINDS.items() if set(group) <= groups]
        kind, remedy = kinds[0] if kinds else (f"HDF5 with {listed(sorted(groups))}", "write it with anndata")
        msg = f"{path} is not an h5ad file, but {kind}. Make one: {remedy}."
        raise ValueError(msg)
    if isinstance(obs, pd.DataFrame):  # files of old hold records
        for name, key in columns.items():
            column = None if key is None else check_column(name, key, obs)
            if name == "label_key" and column is not None and label_kind is None:
                _check_classes(str(key), column)


def read_cells(path: Path) -> AnnData:
    """Return the cells of an h5ad file; an error names the file."""
    from anndata.io import read_h5ad

    with _told(path):
        return read_h5ad(path)


def _check_classes(label_key: str, column: pd.Series) -> None:
    """Refuse numbers as classes unless the user asks for it: ages would be as many classes, without an order."""
    n = column.nunique()
    if is_numeric(column) and n > _MAX_NUMBERS:
        msg = (
            f"label_key={label_key!r} holds {n} different numbers. Say what they are: --label-kind continuous (such as "
            "ages), ordinal (such as grades), or class, if they are names of classes without an order."
        )
        raise ValueError(msg)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file in errors of those who read it, which are of many types where it is damaged."""
    try:
        yield
    except MemoryError as error:
        msg = (
            f"{path}, {path.stat().st_size / 1e9:.2g} GB on disk, does not fit into memory. Keep fewer cells or genes."
        )
        raise MemoryError(msg) from error
    except Exception as error:
        msg = (
            f"{path} cannot be read as an h5ad file ({one_line(error)}). It may be damaged or cut off, or open in "
            "another program: close that, copy or download the file again, or update anndata."
        )
        raise OSError(msg) from error


def check_can_be_written(adata: AnnData, path: Path, results: Results) -> None:
    """Refuse cells that h5ad files cannot hold, by writing all of them but the matrices once."""
    from anndata import AnnData

    frames = {
        slot: {key: value for key, value in getattr(adata, slot).items() if isinstance(value, pd.DataFrame)}
        for slot in ("obsm", "varm")
    }
    trial = AnnData(obs=adata.obs.copy(), var=adata.var.copy(), uns=dict(adata.uns), **frames)
    if adata.raw is not None:
        trial.raw = AnnData(sp.csr_matrix(adata.raw.shape), obs=adata.obs[[]], var=adata.raw.var.copy())
    try:
        write_h5ad(trial, results.partial / _TRIAL)
    except Exception as error:
        found = _PLACE.search(" ".join(getattr(error, "__notes__", [])))
        if found is None or is_out_of_space(error):
            raise
        slot = _slot(found["parent"], found["key"])
        column = "['_index']" if "'_index'" in str(error) else ""
        msg = (
            f"{path} holds {slot}, which cannot be written to the results ({one_line(error)}). Remove or rename it in "
            f"Python first, for example with del adata.{slot}{column}, and write the file again."
        )
        raise ValueError(msg) from error
    finally:
        results.discard(_TRIAL)


def _slot(parent: str, key: str) -> str:
    """Return a place in the file as one of an AnnData: `raw.var`, `uns['colors']`."""
    first, *rest = [part for part in (*parent.split("/"), key) if part]
    if first == "raw" and rest:
        first, rest = f"raw.{rest[0]}", rest[1:]
    return first + "".join(f"[{part!r}]" for part in rest)
