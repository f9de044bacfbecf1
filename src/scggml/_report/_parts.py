"""Genes of the metric, and the parts of cell types in the distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scggml._anndata._entries import other_label
from scggml._anndata._slots import explanation_slots
from scggml._anndata._writing import plain
from scggml._keys import Keys
from scggml.get import explanation, gene_weights
from scggml.get._explanation import stored_explanation

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_N_GENES = 20
_N_GENES_OF_TYPES = 8
_MAX_COMPARISONS = 3
_MAX_TYPES = 15


def read_genes(adata: AnnData, key: str) -> dict[str, Any] | None:
    """Return the leading genes with what is known of each; None if the metric does not lead back to genes."""
    if Keys(key).gene_weights not in adata.varm:
        return None
    table = gene_weights(adata, key=key)
    top, stability = table.head(_N_GENES), plain(adata.uns.get(Keys(key).stability))
    has_intervals = {"low", "high", "selected"} <= set(table.columns)
    rows: list[dict[str, Any]] = [
        {
            "name": str(gene),
            "weight": float(row["weight"]),
            "low": float(row["low"]) if has_intervals else None,
            "high": float(row["high"]) if has_intervals else None,
            "selected": float(row["selected"]) if has_intervals else None,
            "highest": _text(row.get("highest")),
            "trend": float(row["trend"]) if "trend" in table.columns else None,
        }
        for gene, row in top.iterrows()
    ]
    n_boot = int(stability["n_boot"]) if has_intervals and isinstance(stability, Mapping) else None
    most = max([row["weight"] for row in rows] + [row["high"] for row in rows if row["high"] is not None], default=0.0)
    return {
        "rows": rows, "n": len(table), "n_boot": n_boot, "most": most or 1.0, "has_intervals": has_intervals,
        "has_classes": any(row["highest"] for row in rows), "has_trend": "trend" in table.columns,
        "share": float(top["share"].sum()),
    }  # fmt: skip


def read_cell_types(pdata: AnnData, key: str, label_key: str, left_out: list[str]) -> dict[str, Any] | None:
    """Return the parts of cell types in the difference between classes, those with the largest difference first."""
    if not explanation_slots(key).own(pdata):
        return None
    entry = stored_explanation(pdata, key)
    other = other_label(entry, label_key)
    if other is not None:
        left_out.append(f"The parts of cell types are about other groups ({other}), and are left out.")
        return None
    summary = explanation(pdata, "summary", key=key)
    apart = summary[summary["class_a"] != summary["class_b"]]
    if "excess" in apart.columns:
        apart = apart.sort_values("excess", ascending=False, kind="stable")
    if apart.empty:
        return None
    comparisons = [_comparison(pdata, key, row, "genes" in entry) for _, row in apart.head(_MAX_COMPARISONS).iterrows()]
    key_of_types = entry["params"].get("cell_type_key")
    return {"comparisons": comparisons, "n_more": len(apart) - len(comparisons), "cell_type_key": key_of_types}


def _comparison(pdata: AnnData, key: str, row: pd.Series, has_genes: bool) -> dict[str, Any]:
    classes = [str(row["class_a"]), str(row["class_b"])]
    types = explanation(pdata, "cell_types", key=key, classes=classes)
    is_known = types["excess"].notna().all()
    by = "excess" if is_known else "distance"
    types = types.sort_values(by, ascending=False, kind="stable").head(_MAX_TYPES)
    genes = []
    if has_genes:
        genes = [
            str(name)
            for name in explanation(pdata, "genes", key=key, classes=classes, n_genes=_N_GENES_OF_TYPES)["gene"]
        ]
    total = float(row["excess"]) if is_known else float(row["distance"])
    return {
        "classes": classes, "is_excess": bool(is_known), "distance": float(row["distance"]),
        "within": float(row["within_classes"]), "excess": float(row["excess"]), "se": float(row["excess_se"]),
        "genes": genes,
        "types": [
            {
                "name": str(one["cell_type"]),
                "share": float(one[by]) / total if total > 0 else float("nan"),
                "se": float(one["excess_se"]) / total if is_known and total > 0 else float("nan"),
                "a": float(one["proportion_a"]), "b": float(one["proportion_b"]),
            }
            for _, one in types.iterrows()
        ],
    }  # fmt: skip


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)
