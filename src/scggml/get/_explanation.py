"""What distances between samples consist of, as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._keys import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

_TABLES = ("summary", "cell_types", "flows", "genes", "pairs")
ALL_PARTS = "all"  # states, exchange and composition together


def explanation(
    pdata: AnnData,
    table: Literal["summary", "cell_types", "flows", "genes", "pairs"] = "summary",
    *,
    key: str = "ggml",
    groups: Sequence[str] | None = None,
    cell_type: str | None = None,
    n_genes: int | None = None,
) -> pd.DataFrame:
    """Return what distances between samples consist of.

    Parameters
    ----------
    pdata
        Samples, after :func:`scggml.tl.explain_distances`.
    table
        "summary", "cell_types", "flows" and "pairs" have the columns that are told there. "genes" has, for each two classes and
        each `gene`, its part of the mean `distance`, the `share` of it, and of the `excess`, what is more between classes than
        within them; largest excess first (largest distance where there is no excess). Parts may be negative.
    key
        Key of the explanation: `.uns[key + "_explanation"]`.
    groups
        Two classes, or two samples where these were compared, in either order; or a class twice. None returns all.
    cell_type
        For "cell_types", the type. For "genes", the type whose state to look into, or "exchange" or "composition" for what is moved
        between types; None takes genes of the whole distance. For "flows", the type that is moved from or to.
    n_genes
        For "genes", how many of each two classes; None for all.

    Returns
    -------
    A data frame.

    Raises
    ------
    KeyError, ValueError, TypeError
        If distances were not explained, or not in this way, or there is no such class or cell type.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=30, n_genes=200, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type", label_key="label")
    >>> sg.get.explanation(pdata)[["group_a", "group_b", "n_pairs"]]
       group_a  group_b  n_pairs
    0  healthy  disease        9
    1  healthy  healthy        3
    2  disease  disease        3
    >>> sg.get.explanation(pdata, "genes", groups=["healthy", "disease"], cell_type="T", n_genes=5).shape
    (5, 7)
    """
    check.check_anndata("pdata", pdata)
    check.check_choice("table", table, _TABLES)
    if n_genes is not None:
        check.check_integer("n_genes", n_genes, minimum=1)
        _check_use("n_genes", n_genes, table, ("genes",))
    if cell_type is not None:
        _check_use("cell_type", cell_type, table, ("cell_types", "flows", "genes"))
    entry = stored_explanation(pdata, key)
    summary = entry["summary"]
    rows = np.arange(len(summary)) if groups is None else np.array([compared(entry, groups)])
    if table == "genes":
        return _genes(entry, rows, cell_type, n_genes)
    found = entry[table]
    if groups is not None:
        a, b = summary[["group_a", "group_b"]].iloc[rows[0]]
        found = found[(found["group_a"] == a) & (found["group_b"] == b)]
    if cell_type is not None:
        check.check_choice("cell_type", cell_type, list(dict.fromkeys(entry["cell_types"]["cell_type"])))
        columns = found[["source", "target"] if table == "flows" else ["cell_type"]]
        found = found[(columns == cell_type).any(axis=1)]
    return found.reset_index(drop=True)


def stored_explanation(pdata: AnnData, key: str) -> dict[str, Any]:
    """Return the `.uns` entry of an explanation, or say how to make one."""
    name = Keys(key).explanation
    if name not in pdata.uns:
        msg = (
            f"there is no explanation in uns[{name!r}]. Run sg.tl.explain_distances(adata, pdata, cell_type_key=..., "
            f"key_added={key!r}) first."
        )
        raise KeyError(msg)
    return dict(pdata.uns[name])


def compared(entry: dict[str, Any], groups: Sequence[str]) -> int:
    """Return the row of the summary with these two classes, in either order."""
    a, b = (entry["summary"][name].astype(str).to_numpy() for name in ("group_a", "group_b"))
    known = [f"({first}, {second})" for first, second in zip(a, b, strict=True)]
    if isinstance(groups, str) or len(groups) != 2:
        msg = f"groups must be two of those that were compared, found {groups!r}. Compared: {check.listed(known, limit=20)}"
        raise ValueError(msg)
    first, second = (str(name) for name in groups)
    rows = np.flatnonzero(((a == first) & (b == second)) | ((a == second) & (b == first)))
    if not len(rows):
        msg = f"groups={groups!r} were not compared. Compared: {check.listed(known, limit=20)}"
        raise KeyError(msg)
    return int(rows[0])


def _genes(entry: dict[str, Any], rows: NDArray[np.int64], cell_type: str | None, n_genes: int | None) -> pd.DataFrame:
    if "genes" not in entry:
        msg = (
            "distances were not shared among genes: run sg.tl.explain_distances with genes=True, on distances whose features lead back "
            "to genes"
        )
        raise KeyError(msg)
    genes, summary = entry["genes"], entry["summary"]
    parts = [str(part) for part in genes["parts"]]
    if cell_type is not None:
        check.check_choice("cell_type", cell_type, parts)
    chosen = range(len(parts)) if cell_type is None else [parts.index(cell_type)]
    distance = np.asarray(genes["distance"])[:, chosen].sum(axis=1)
    a, b = (summary[name].astype(str).to_numpy() for name in ("group_a", "group_b"))
    own = {first: q for q, (first, second) in enumerate(zip(a, b, strict=True)) if first == second}
    tables = []
    for q in rows:
        excess = np.full(distance.shape[1], np.nan)
        if a[q] != b[q] and a[q] in own and b[q] in own:
            excess = distance[q] - (distance[own[a[q]]] + distance[own[b[q]]]) / 2
        order = np.argsort(-(distance[q] if np.isnan(excess).all() else excess), kind="stable")[:n_genes]
        total = summary["distance"].iloc[q]
        table = {
            "group_a": a[q], "group_b": b[q], "cell_type": ALL_PARTS if cell_type is None else cell_type,
            "gene": np.asarray(genes["names"], dtype=object)[order],
            "distance": distance[q][order],
            "share": distance[q][order] / total if total > 0 else np.nan,
            "excess": excess[order],
        }  # fmt: skip
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def _check_use(name: str, value: Any, table: str, tables: tuple[str, ...]) -> None:
    if table not in tables:
        msg = f"{name}={value!r} has no meaning for table={table!r}, only for {check.listed(tables)}. Leave it out."
        raise ValueError(msg)
