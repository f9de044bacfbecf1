"""The parts of distances between samples as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._entries import EXPLANATION, stored_entry
from scggml._arguments import checked, choice, integer, text
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.explanation._excess import excess_over_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

_TABLES = ("summary", "cell_types", "flows", "genes", "pairs")
ALL_PARTS = "all"  # states, exchange and composition together


@shared_doc
@checked(table=choice(*_TABLES), cell_type=text("a cell type"), n_genes=integer(1))
def explanation(
    pdata: AnnData,
    table: Literal["summary", "cell_types", "flows", "genes", "pairs"] = "summary",
    *,
    key: str = "ggml",
    classes: Sequence[Any] | None = None,
    cell_type: str | None = None,
    n_genes: int | None = None,
) -> pd.DataFrame:
    """Return the parts of distances between samples, by cell types and genes.

    Parameters
    ----------
    %(pdata_explained)s
    table
        "summary", "cell_types", "flows" or "pairs" for the tables that :func:`scggml.tl.explain_distances` describes.
        "genes" for the contributions of genes.
    %(key_explanation)s
    classes
        Two classes in either order, the same class twice, or two samples if these were compared. None for all
        comparisons.
    cell_type
        For "cell_types", return this type only. For "flows", return the flows from and to this type only. For "genes",
        return the contributions to the state of this type, or to "exchange" or "composition". None for all types, and
        for the contributions of genes to the whole distance.
    n_genes
        For "genes", the number of genes per comparison. None for all.

    Returns
    -------
    A data frame. For "genes", it has one row per gene of each comparison, with these columns:

    `class_a`, `class_b`, `cell_type`, `gene`
        The comparison, the part of the distance ("all" for the whole distance), and the gene.
    `distance`
        Contribution of the gene to the mean distance. It may be negative.
    `share`
        Its fraction of the whole mean distance.
    `excess`
        Its contribution between the classes minus the mean of those within both classes. Genes with the largest excess
        come first. Without an excess (NaN), genes with the largest distance come first.

    Raises
    ------
    KeyError, ValueError, TypeError
        If the distances were not explained, the explanation lacks the table, or there is no such class or cell type.

    Examples
    --------
    >>> import scanpy as sc
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=30, n_genes=200, rng=0)
    >>> sc.pp.normalize_total(adata)
    >>> sc.pp.log1p(adata)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type", label_key="label")
    >>> sg.get.explanation(pdata)[["class_a", "class_b", "n_pairs"]]
       class_a  class_b  n_pairs
    0  healthy  disease        9
    1  healthy  healthy        3
    2  disease  disease        3
    >>> sg.get.explanation(pdata, "genes", classes=["healthy", "disease"], cell_type="T", n_genes=5).shape
    (5, 7)
    """
    if n_genes is not None:
        _check_use("n_genes", n_genes, table, ("genes",))
    if cell_type is not None:
        _check_use("cell_type", cell_type, table, ("cell_types", "flows", "genes"))
    entry = stored_explanation(pdata, key)
    summary = entry["summary"]
    rows = np.arange(len(summary)) if classes is None else np.array([compared(entry, classes)])
    if table == "genes":
        return _genes(entry, rows, cell_type, n_genes)
    found = entry[table]
    if classes is not None:
        a, b = summary[["class_a", "class_b"]].iloc[rows[0]]
        found = found[(found["class_a"] == a) & (found["class_b"] == b)]
    if cell_type is not None:
        check.check_choice("cell_type", cell_type, list(dict.fromkeys(entry["cell_types"]["cell_type"])))
        columns = found[["source", "target"] if table == "flows" else ["cell_type"]]
        found = found[(columns == cell_type).any(axis=1)]
    return found.reset_index(drop=True)


def stored_explanation(pdata: AnnData, key: str) -> dict[str, Any]:
    """Return the `.uns` entry of an explanation, or say how to make one."""
    how = f"sg.tl.explain_distances(adata, pdata, cell_type_key=..., key={key!r})"
    return stored_entry(pdata, Keys(key).explanation, EXPLANATION, "explanation", how)


def compared(entry: dict[str, Any], classes: Sequence[str]) -> int:
    """Return the row of the summary with these two classes, in either order."""
    a, b = (entry["summary"][name].astype(str).to_numpy() for name in ("class_a", "class_b"))
    known = _compared_text(entry["summary"])
    if len(classes) != 2:
        msg = f"classes must be two that were compared, found {check.shown(classes)}. Compared: {known}"
        raise ValueError(msg)
    first, second = (str(name) for name in classes)
    rows = np.flatnonzero(((a == first) & (b == second)) | ((a == second) & (b == first)))
    if not len(rows):
        msg = f"classes={check.shown(classes)} were not compared. Compared: {known}"
        raise KeyError(msg)
    return int(rows[0])


def chosen_classes(entry: dict[str, Any], classes: Sequence[Any] | None) -> tuple[str, str]:
    """Return the classes of a comparison as they are stored. None stands for the only one of two different classes."""
    summary = entry["summary"]
    if classes is None:
        rows = np.flatnonzero((summary["class_a"] != summary["class_b"]).to_numpy())
        if len(rows) != 1:
            msg = (
                f"classes is needed, because {len(rows)} pairs of classes were compared. Pass two of: "
                f"{_compared_text(summary)}"
            )
            raise ValueError(msg)
        row = int(rows[0])
    else:
        row = compared(entry, classes)
    return str(summary["class_a"].iloc[row]), str(summary["class_b"].iloc[row])


def _compared_text(summary: pd.DataFrame) -> str:
    found = [f"({a}, {b})" for a, b in summary[["class_a", "class_b"]].astype(str).itertuples(index=False)]
    return check.listed(found, limit=20)


def _genes(entry: dict[str, Any], rows: NDArray[np.int64], cell_type: str | None, n_genes: int | None) -> pd.DataFrame:
    if "genes" not in entry:
        msg = (
            "the explanation has no genes: the representation of the distances does not lead back to them. Compute "
            "distances on 'X', or on 'X_pca' with the loadings in adata.varm['PCs'], and run sg.tl.explain_distances "
            "again."
        )
        raise KeyError(msg)
    genes, summary = entry["genes"], entry["summary"]
    parts = [str(part) for part in genes["parts"]]
    if cell_type is not None:
        check.check_choice("cell_type", cell_type, parts)
    chosen = range(len(parts)) if cell_type is None else [parts.index(cell_type)]
    distance = np.asarray(genes["distance"])[:, chosen].sum(axis=1)
    a, b = (summary[name].astype(str).to_numpy() for name in ("class_a", "class_b"))
    excesses = excess_over_within(list(zip(a, b, strict=True)), distance)
    tables = []
    for q in rows:
        excess = excesses[q]
        order = np.argsort(-(distance[q] if np.isnan(excess).all() else excess), kind="stable")[:n_genes]
        total = summary["distance"].iloc[q]
        table = {
            "class_a": a[q], "class_b": b[q], "cell_type": ALL_PARTS if cell_type is None else cell_type,
            "gene": np.asarray(genes["names"], dtype=object)[order],
            "distance": distance[q][order],
            "share": distance[q][order] / total if total > 0 else np.nan,
            "excess": excess[order],
        }  # fmt: skip
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def _check_use(name: str, value: Any, table: str, tables: tuple[str, ...]) -> None:
    if table not in tables:
        msg = (
            f"{name}={check.shown(value)} has no effect on table={table!r}, only on {check.listed(tables)}. Leave it "
            "out."
        )
        raise ValueError(msg)
