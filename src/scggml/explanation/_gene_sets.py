"""Gene sets from a file, a dict or a data frame, and which of their genes the data have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._warnings import warn


def read_gene_sets(gene_sets: Any) -> pd.DataFrame:
    """Return `source`, `target` and `weight` of each gene of each set, checked."""
    if isinstance(gene_sets, str | os.PathLike):
        check.check_path("gene_sets", gene_sets)
        table = _read_gmt(Path(gene_sets))
    elif isinstance(gene_sets, Mapping):
        table = _from_mapping(gene_sets)
    elif isinstance(gene_sets, pd.DataFrame):
        table = _from_frame(gene_sets)
    else:
        msg = (
            "gene_sets must be the path of a GMT file, a dict of names and genes, or a data frame with the columns "
            f"'source' and 'target', found {type(gene_sets).__name__}"
        )
        raise TypeError(msg)
    if not len(table):
        msg = "gene_sets holds no gene sets"
        raise ValueError(msg)
    table = table.drop_duplicates()
    twice = table.duplicated(["source", "target"])
    if twice.any():
        msg = (
            f"gene_sets has genes with several weights in the same set: {check.listed(_pairs(table[twice]))}. Keep "
            "one of them."
        )
        raise ValueError(msg)
    return table.reset_index(drop=True)


def _pairs(table: pd.DataFrame) -> list[str]:
    return [f"{gene} in {name}" for name, gene in zip(table["source"], table["target"], strict=True)]


def _read_gmt(path: Path) -> pd.DataFrame:
    if not path.is_file():
        msg = f"gene_sets={str(path)!r} is not a file. Pass the path of a GMT file."
        raise FileNotFoundError(msg)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"gene_sets={str(path)!r} is not text in UTF-8: {error}. Save it as UTF-8, or pass an undamaged file."
        raise ValueError(msg) from error
    found: dict[str, list[str]] = {}
    for i, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = [gene for gene in rest[1:] if gene]
        if not name or not genes:
            msg = (
                f"gene_sets={str(path)!r} is not a GMT file: line {i} has no name, description and genes with tabs in "
                f"between, found {line[:60]!r}"
            )
            raise ValueError(msg)
        if name in found:
            msg = (
                f"gene_sets={str(path)!r} has the set {name!r} twice, the second time in line {i}. Rename or remove "
                "one."
            )
            raise ValueError(msg)
        found[name] = genes
    return _long(found)


def _from_mapping(gene_sets: Mapping[Any, Any]) -> pd.DataFrame:
    empty = []
    for name, genes in gene_sets.items():
        if not isinstance(name, str):
            msg = f"gene_sets must have names as text, found {check.shown(name)}"
            raise TypeError(msg)
        check.check_names(f"gene_sets[{name!r}]", genes, "genes")
        if not len(genes):
            empty.append(name)
    if empty:
        msg = f"gene_sets has {len(empty)} set(s) without genes: {check.listed(empty)}. Remove them."
        raise ValueError(msg)
    return _long({name: list(genes) for name, genes in gene_sets.items()})


def _from_frame(gene_sets: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in ("source", "target") if name not in gene_sets.columns]
    if missing:
        msg = (
            f"gene_sets needs the columns 'source' (set) and 'target' (gene), {check.listed(missing)} missing. Found: "
            f"{check.listed(gene_sets.columns, limit=20)}"
        )
        raise KeyError(msg)
    columns = [name for name in ("source", "target", "weight") if name in gene_sets.columns]
    table = gene_sets[columns].copy()
    unknown = table.isna().any(axis=1)
    if unknown.any():
        msg = (
            f"gene_sets has missing values in {int(unknown.sum())} of {len(table)} rows. Drop them with "
            "gene_sets.dropna()."
        )
        raise ValueError(msg)
    if "weight" not in table:
        table["weight"] = 1.0
    elif not pd.api.types.is_numeric_dtype(table["weight"]) or not np.isfinite(table["weight"]).all():
        msg = f"gene_sets['weight'] must hold finite numbers, found dtype {table['weight'].dtype}"
        raise ValueError(msg)
    elif (table["weight"] == 0).any():
        msg = f"gene_sets['weight'] is zero in {int((table['weight'] == 0).sum())} of {len(table)} rows. Remove them."
        raise ValueError(msg)
    return table.astype({"source": str, "target": str, "weight": np.float64})


def _long(gene_sets: dict[str, list[str]]) -> pd.DataFrame:
    names = np.repeat(np.array(list(gene_sets), dtype=object), [len(genes) for genes in gene_sets.values()])
    genes = [gene for genes in gene_sets.values() for gene in genes]
    return pd.DataFrame({"source": names, "target": genes, "weight": 1.0})


def match_genes(table: pd.DataFrame, genes: pd.Index, min_genes: int) -> pd.DataFrame:
    """Return the rows of genes that the data have, of sets with enough of them; warn about the others."""
    found = table[table["target"].isin(genes)]
    if not len(found):
        msg = (
            f"none of the {table['target'].nunique()} genes of gene_sets "
            f"({check.listed(table['target'].unique()[:3], limit=3)}) is among those of adata "
            f"({check.listed(genes[:3], limit=3)})."
        )
        if pd.Index(table["target"].str.casefold()).isin(genes.str.casefold()).any():
            msg += (
                " They differ in upper and lower case: take the sets of the right species, or rename adata.var_names."
            )
        else:
            msg += " Use the same kind of names, such as gene symbols, in both."
        raise ValueError(msg)
    n_found = found["source"].value_counts().reindex(table["source"].unique(), fill_value=0)
    small = n_found[n_found < min_genes]
    text = check.listed([f"{name} ({n})" for name, n in small.items()])
    if len(small) == len(n_found):
        msg = f"no gene set has at least {min_genes} genes in adata, found {text}. Keep more genes in adata."
        raise ValueError(msg)
    if len(small):
        warn(
            f"{len(small)} of {len(n_found)} gene sets have fewer than {min_genes} genes in adata and are "
            f"left out: {text}"
        )
    whole = n_found[n_found == len(genes)]
    if len(whole):
        msg = f"gene sets hold all genes of adata, so that there are none to compare with: {check.listed(whole.index)}"
        raise ValueError(msg)
    return found[~found["source"].isin(small.index)]
