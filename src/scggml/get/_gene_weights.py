"""Gene weights as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._modalities import check_cells, is_mudata
from scggml._anndata._stored_metric import stored_entry
from scggml._keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def gene_weights(adata: AnnData | MuData, *, key: str = "ggml", n_genes: int | None = None) -> pd.DataFrame:
    """Return genes by their part in the learned metric, largest first.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`. Of a MuData, the features of all
        modalities are ranked together, with their `modality` in a column.
    key
        Key of the metric.
    n_genes
        Number of genes to return; None for all.

    Returns
    -------
    The table that :func:`scggml.tl.rank_genes` stores, or would store.

    Raises
    ------
    KeyError, ValueError
        If there is no such metric, or it does not lead back to genes.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> list(sg.get.gene_weights(adata, n_genes=1).index)
    ['signal']
    """
    check_cells("adata", adata)
    if n_genes is not None:
        check.check_integer("n_genes", n_genes, minimum=1)
    stored = adata.uns.get(Keys(key).gene_ranking)
    table = stored if isinstance(stored, pd.DataFrame) else gene_table(adata, key)
    return table.head(n_genes).copy() if n_genes is not None else table.copy()


def gene_table(adata: AnnData | MuData, key: str) -> pd.DataFrame:
    """Compute the ranking of genes, (n_vars, 4)."""
    params = stored_entry(adata, key)["params"]
    name = Keys(key).gene_weights
    mods = [mod for mod in params.get("mod", ()) if mod in adata.mod] if is_mudata(adata) else []
    cells_of = {mod: adata.mod[mod] for mod in mods} if is_mudata(adata) else {"": adata}
    parts = {mod: cells for mod, cells in cells_of.items() if name in cells.varm}
    if not parts:
        msg = (
            f"varm[{name!r}] does not exist: the metric was learned on {params['use_rep']!r}, which does not lead back to "
            f"the genes of this AnnData. Fit with use_rep='X', or on 'X_pca' with the loadings in varm['PCs']."
        )
        raise KeyError(msg)
    vectors = np.concatenate([np.asarray(cells.varm[name], dtype=np.float64) for cells in parts.values()])
    weight = np.linalg.norm(vectors, axis=1)
    total = float((weight**2).sum())
    table = pd.DataFrame(
        {
            "weight": weight,
            "share": weight**2 / total if total > 0 else np.zeros_like(weight),
            "rank": 0,
            "component": np.abs(vectors).argmax(axis=1),
        },
        index=pd.Index(np.concatenate([cells.var_names for cells in parts.values()])),
    )
    if is_mudata(adata):
        table["modality"] = np.repeat(list(parts), [cells.n_vars for cells in parts.values()])
    table = table.iloc[np.argsort(-weight, kind="stable")]
    table["rank"] = np.arange(1, len(table) + 1)
    return table
