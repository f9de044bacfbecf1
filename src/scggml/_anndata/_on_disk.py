"""Matrices of an AnnData that are not in memory: which of them can be read by blocks of rows, and how."""

from __future__ import annotations

import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scggml.core.measures._measures import as_points
from scggml.core.measures._on_disk import BLOCK_SIZE, StoredPoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

_USUAL_DENSITY = 0.1


def in_memory(x: Any) -> bool:
    """Whether a matrix is an array or a sparse matrix."""
    return isinstance(x, np.ndarray) or sp.issparse(x)


def matrix_x(adata: AnnData) -> Any:
    """Return `X`, except from a view of a backed AnnData, which would load all of it."""
    if adata.isbacked and adata.is_view:
        msg = (
            "X is in a file, of which adata is a view. Call adata.to_memory(), which loads the cells of the view "
            "only, or give them a file of their own: adata.copy(filename=...)."
        )
        raise TypeError(msg)
    with reading("X"):
        return adata.X


def unreadable(x: Any) -> str | None:
    """Return why a matrix cannot be read by blocks of rows, and what to do; None where it can, or is in memory."""
    kind = None if in_memory(x) else _kind(x)
    if kind == "csc":
        return (
            "is stored by columns (CSC), of which single rows cannot be read. Call adata.to_memory() first, or store "
            "it by rows (CSR), from which blocks are read."
        )
    if kind is None and not in_memory(x):
        return (
            f"is a {type(x).__name__}, which cannot be read by rows. Call adata.to_memory() first, or pass use_rep "
            "with another representation."
        )
    return None


@contextmanager
def reading(text: str, x: Any = None) -> Iterator[None]:
    """Say which matrix, of which file, could not be read, for example because the file was closed or is damaged."""
    try:
        yield
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
        msg = (
            f"{text} could not be read from {_place(x) or 'where it is stored'}: {error}. If the file was closed or "
            "moved, open it again. Otherwise it may be damaged: write it again."
        )
        raise ValueError(msg) from error


def check_sparse(x: Any, text: str) -> None:
    """Refuse a sparse matrix of a damaged file: indices out of its range would be read from anywhere in memory."""
    if not sp.issparse(x) or x.format not in ("csr", "csc"):
        return
    try:
        x.check_format(full_check=True)
    except ValueError as error:
        msg = f"{text} is damaged: {error}. Read it from an undamaged file."
        raise ValueError(msg) from error


def points_on_disk(x: Any, text: str) -> StoredPoints:
    """Return the points of a matrix that is not `unreadable`, to be read by blocks of rows."""
    (n_rows, n_columns), kind = x.shape, _kind(x)
    row_size: float = n_columns
    if kind == "csr":
        row_size = x.group["data"].shape[0] / n_rows
    elif kind == "dask" and sp.issparse(x._meta):
        row_size = _USUAL_DENSITY * n_columns  # until it has been read once
    if kind == "dask":
        cuts = np.concatenate([[0], np.cumsum(x.chunks[0])])
    else:
        piece = (
            getattr(x, "shards", None) or getattr(x, "chunks", None) or (max(1, int(BLOCK_SIZE / max(row_size, 1))),)
        )
        cuts = np.append(np.arange(0, n_rows, piece[0]), n_rows)

    def read(start: int, stop: int) -> Any:
        with reading(text, x):
            block = x[start:stop].compute() if kind == "dask" else x[start:stop]
        check_sparse(block, text)
        if not in_memory(block):
            msg = f"{text} has chunks of type {type(block).__name__}. Make them NumPy arrays or SciPy's CSR."
            raise TypeError(msg)
        block = as_points(block)
        return block if sp.issparse(block) else np.ascontiguousarray(block)

    return StoredPoints(read, (n_rows, n_columns), cuts, row_size)


def uncopied(adata: AnnData) -> list[str]:
    """Return which matrices are in files, of which anndata makes no copies."""
    slots = {} if adata.isbacked else {"X": adata.X}
    for name in ("layers", "obsm"):
        # from anndata 0.13 on, layers[None] is X
        slots |= {f"{name}[{key!r}]": x for key, x in getattr(adata, name).items() if key is not None}
    return [text for text, x in slots.items() if _kind(x) in ("array", "csr", "csc") and not hasattr(x, "copy")]


def _place(x: Any) -> str | None:
    """Return the file that a matrix is in, where it is known."""
    stored = getattr(x, "group", x)  # of a sparse matrix
    with suppress(ValueError):  # of a file that was closed
        file = getattr(getattr(stored, "file", None), "filename", None)  # of h5py
        place = file or getattr(stored, "store_path", None) or getattr(getattr(stored, "store", None), "path", None)
        return None if place is None else str(place)  # of zarr 3, or 2
    return None


def _kind(x: Any) -> str | None:
    """Return "array", "csr" or "csc" for what is in a file, "dask" (also "csc") for dask; None for anything else."""
    from anndata.abc import CSCDataset, CSRDataset

    if isinstance(x, CSRDataset | CSCDataset):
        return "csr" if isinstance(x, CSRDataset) else "csc"
    for base in type(x).__mro__:  # by name: none of these need be installed
        found = base.__module__.partition(".")[0], base.__name__
        if found == ("dask", "Array"):
            return "csc" if getattr(x._meta, "format", None) == "csc" else "dask"
        if found in (("h5py", "Dataset"), ("zarr", "Array")):
            return "array"
    return None
