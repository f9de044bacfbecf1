"""In which class genes are highest, or whether they rise with the label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml.core.measures._means import group_means
from scggml.explanation._gene_statistics import correlations

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._stored_metric import StoredMetric


def gene_directions(adata: AnnData, learned: StoredMetric, table: pd.DataFrame) -> pd.DataFrame:
    """Return the column `highest` or `trend` of :func:`scggml.tl.rank_genes` for the genes of a table.

    It is computed where the table lacks it. Without the labels that the metric was learned from there is none.

    Parameters
    ----------
    adata, learned
        Cells, and their metric.
    table
        Genes in the index.
    """
    for name in ("highest", "trend"):
        if name in table:
            return table[[name]]
    params, known = learned.params, learned.entry.get("learned_from")
    sample_key, layer = params.get("sample_key"), params.get("layer")
    nothing = pd.DataFrame(index=table.index)
    if known is None or sample_key not in adata.obs or (adata.X is None and layer is None):
        return nothing
    labels = pd.Series(known["labels"], index=[str(name) for name in known["samples"]], dtype=object).astype(str)
    codes = labels.index.get_indexer(adata.obs[sample_key].astype(str))
    if set(codes) - {-1} != set(range(len(labels))) or not adata.var_names.is_unique:
        return nothing
    cells = adata[codes >= 0, table.index]
    cells = cells.to_memory() if cells.isbacked else cells
    values: Any = cells.X if layer is None else cells.layers[layer]
    means: NDArray[np.float64] = group_means(values, codes[codes >= 0], len(labels))
    if params.get("label_kind") == "continuous":
        return nothing.assign(trend=correlations(means, labels.to_numpy().astype(np.float64)))
    of_classes = pd.DataFrame(means, columns=table.index).groupby(labels.to_numpy()).mean()
    return nothing.assign(highest=of_classes.idxmax())
