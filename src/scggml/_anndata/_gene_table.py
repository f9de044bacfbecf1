"""Gene weights of a learned metric as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml._keys import JOINT, MODALITY, Keys

from ._schema import Numbers, check_entry
from ._stored_metric import read_metric

if TYPE_CHECKING:
    from anndata import AnnData


def gene_table(adata: AnnData, key: str) -> pd.DataFrame:
    """Return one row per gene, largest weight first, (n_vars, 4).

    Parameters
    ----------
    adata
        Cells with a learned metric and its gene weights.
    key
        Key of the metric.

    Returns
    -------
    `weight`, the length of the gene's row of `.varm[key]`; `share` of the sum of squared weights; `rank` from 1; and
    `component`, the component with the largest weight. A metric on several modalities also has the `modality` of each
    feature.
    """
    use_rep = read_metric(adata, key).param("use_rep")
    name = Keys(key).gene_weights
    if name not in adata.varm:
        msg = (
            f"varm[{name!r}] does not exist: the metric was learned on {use_rep!r}, which does not lead back to the "
            "genes of this AnnData. Fit with use_rep='X', or on 'X_pca' with the loadings in varm['PCs']."
        )
        raise KeyError(msg)
    check_entry(adata.varm[name], Numbers(("n_genes", "n_components")), f"varm[{name!r}]", "Fit again.")
    vectors = np.asarray(adata.varm[name], dtype=np.float64)
    weight = np.linalg.norm(vectors, axis=1)
    total = float((weight**2).sum())
    table = pd.DataFrame(
        {
            "weight": weight,
            "share": weight**2 / total if total > 0 else np.zeros_like(weight),
            "rank": 0,
            "component": np.abs(vectors).argmax(axis=1),
        },
        index=adata.var_names.copy(),
    )
    if use_rep == JOINT and MODALITY in adata.var:
        table[MODALITY] = adata.var[MODALITY].astype(str).to_numpy(dtype=object)
    table = table.iloc[np.argsort(-weight, kind="stable")]
    table["rank"] = np.arange(1, len(table) + 1)
    return table
