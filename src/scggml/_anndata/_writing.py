"""What functions write to an AnnData, and where they may."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check

from ._on_disk import uncopied

if TYPE_CHECKING:
    from anndata import AnnData

    from scggml._keys import Keys


def check_writable(adata: AnnData, *, copy: bool) -> None:
    """Refuse what `writable` could not do, before any work is done."""
    if adata.isbacked and (copy or adata.is_view):
        found = (
            "copy=True cannot copy what is backed by a file"
            if copy
            else "adata is a view of a file, not to be written to"
        )
        msg = (
            f"{found}. Call adata.to_memory() first, which loads its cells, or give them a file of their own with "
            "adata.copy(filename=...)."
        )
        if copy and not adata.is_view:
            msg += " With copy=False, results are written to adata in memory, and the file stays as it is."
        raise ValueError(msg)
    in_files = uncopied(adata) if copy and not adata.is_view else []
    if in_files:
        msg = (
            f"copy=True cannot copy {check.listed(in_files)}, which anndata reads from a file. Call adata.to_memory() "
            "first, or pass copy=False: results are written to adata in memory, and the file stays as it is."
        )
        raise ValueError(msg)


def check_free(adata: AnnData, name: str, what: str, *columns: str, wrote: Collection[str]) -> None:
    """Refuse a `key_added` under which there is something other than an earlier result.

    Parameters
    ----------
    adata
        Where results are to be written.
    name
        The `key_added`, a key of `.uns`.
    what
        What the result is, for messages.
    columns
        Columns of `.obs` that are to be written.
    wrote
        What an entry in `.uns` holds if it is such a result.
    """
    entry = adata.uns.get(name)
    if isinstance(entry, Mapping) and set(wrote) <= set(entry):
        return
    taken = [f"obs[{column!r}]" for column in columns if column in adata.obs]
    taken += [f"uns[{name!r}]"] if name in adata.uns else []
    if taken:
        msg = f"key_added={name!r} would replace {check.listed(taken)}, which is no {what}. Pass another key_added."
        raise ValueError(msg)


def writable(adata: AnnData, *, copy: bool) -> AnnData:
    """Return what a function writes to: a copy, or `adata` itself, which stops being a view."""
    check_writable(adata, copy=copy)
    if copy:
        return adata.copy()
    if adata.is_view:
        adata._init_as_actual(adata.copy())
    return adata


def stored_params(**params: Any) -> dict[str, Any]:
    """Return parameters in a form that files can hold: without None, and of `rng` a seed only."""
    if "rng" in params:
        params["rng"] = int(params["rng"]) if isinstance(params["rng"], Integral) else None
    return {name: _storable(value) for name, value in params.items() if value is not None}


def stored_result(**found: Any) -> dict[str, Any]:
    """Return a result for `.uns`, with the version of scggml that wrote it; None stands for absent."""
    return {"version": version("scggml"), **{name: value for name, value in found.items() if value is not None}}


def _storable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _storable(part) for name, part in value.items() if part is not None}
    return value


def plain(value: Any) -> Any:
    """Return a stored value with Python's numbers and text, which files turn into NumPy's."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def drop_results(adata: AnnData, keys: Keys) -> None:
    """Remove results about an earlier metric of this key."""
    for stale in (keys.gene_ranking, keys.gene_ranking_by_class, keys.stability, keys.enrichment):
        adata.uns.pop(stale, None)
    adata.varm.pop(keys.gene_weights, None)
