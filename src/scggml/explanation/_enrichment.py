"""Gene sets whose genes a metric amplifies more than others, by decoupler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, norm, rankdata, t

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_PERMUTATIONS = 1000  # of "gsea": no p-value is smaller than one over this number plus one
_N_LEADING = 10


def enrichment(
    effect: NDArray[np.float64],
    genes: pd.Index,
    members: pd.DataFrame,
    *,
    method: str,
    signed: bool,
    seed: int,
) -> pd.DataFrame:
    """Return one row per set, smallest p-value first: `score`, `p_value`, `p_adjusted`, `n_genes`, `leading_genes`.

    Parameters
    ----------
    effect
        How much the metric amplifies each gene, with a sign if `signed`, (n_genes,).
    genes
        Their names.
    members
        `source`, `target` and `weight` of the genes of each set.
    method
        "ulm" or "gsea".
    signed
        Whether p-values are two-sided.
    seed
        Seed of "gsea".
    """
    score, p_value = (
        _ulm(effect, members, genes, signed) if method == "ulm" else _gsea(effect, members, genes, signed, seed)
    )
    found = pd.DataFrame({"score": score, "p_value": p_value})
    found["p_adjusted"] = false_discovery_control(found["p_value"], method="bh")
    found["n_genes"] = members["source"].value_counts().reindex(found.index).astype(np.int64)
    strength = np.abs(effect)[genes.get_indexer(pd.Index(members["target"]))]
    ranked = members.assign(strength=strength).sort_values("strength", ascending=False, kind="stable")
    found["leading_genes"] = ranked.groupby("source")["target"].agg(lambda genes: ", ".join(genes.head(_N_LEADING)))
    found = found.iloc[np.lexsort((-found["score"].abs(), found["p_value"]))]
    found.index = found.index.astype(str).rename("gene_set")
    return found


def check_members(members: pd.DataFrame, method: str, *, signed: bool) -> None:
    """Refuse weights of genes in a set that the method does not take."""
    if method == "gsea" and (members["weight"] != members["weight"].iloc[0]).any():
        msg = (
            "method='gsea' takes no weights of the genes in a set. Drop the column 'weight' of gene_sets, or pass "
            "method='ulm'."
        )
        raise ValueError(msg)
    if not signed and (members["weight"] < 0).any():
        msg = (
            "gene_sets has negative weights, but gene weights say how much a gene counts and not whether it rises or "
            "falls. Pass signed=True with two classes, or absolute weights."
        )
        raise ValueError(msg)


def import_decoupler() -> Any:
    """Return decoupler, or say how to install it."""
    try:
        import decoupler
    except ImportError as error:
        msg = 'tl.enrich_genes needs decoupler 2 or later. Install it with: pip install "scggml[enrichment]"'
        raise ImportError(msg) from error
    if not hasattr(decoupler, "mt"):
        msg = (
            "tl.enrich_genes needs decoupler 2 or later, found an older one. Update it with: pip install "
            '"scggml[enrichment]"'
        )
        raise ImportError(msg)
    return decoupler


def _ulm(
    effect: NDArray[np.float64], members: pd.DataFrame, genes: pd.Index, signed: bool
) -> tuple[pd.Series, pd.Series]:
    """Return t-value and p-value of each set."""
    names, codes = np.unique(members["source"].to_numpy(dtype=object), return_inverse=True)
    design = np.zeros((len(genes), len(names)))
    design[genes.get_indexer(pd.Index(members["target"])), codes] = members["weight"]
    normal_scores = norm.ppf((rankdata(effect) - 0.5) / len(effect))
    score = import_decoupler().mt.ulm.func(normal_scores[None], design)[0][0]
    df = len(genes) - 2
    p_value = 2 * t.sf(np.abs(score), df) if signed else t.sf(score, df)
    return pd.Series(score, index=names), pd.Series(p_value, index=names)


def _gsea(
    effect: NDArray[np.float64], members: pd.DataFrame, genes: pd.Index, signed: bool, seed: int
) -> tuple[pd.Series, pd.Series]:
    """Return normalised enrichment score and p-value of each set."""
    names, codes = np.unique(members["source"].to_numpy(dtype=object), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    positions = genes.get_indexer(pd.Index(members["target"]))[order]
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    run = import_decoupler().mt.gsea.func
    score, p_value = run(effect[None], positions, starts, sizes, times=N_PERMUTATIONS, seed=seed)
    score, p_value = score[0], np.maximum(p_value[0], 1 / (N_PERMUTATIONS + 1))
    if not signed:
        p_value = np.where(score > 0, p_value, 1.0)
    return pd.Series(score, index=names), pd.Series(p_value, index=names)
