"""Gene weights as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scggml._anndata._gene_table import gene_table
from scggml._anndata._slots import ranking_slots
from scggml._arguments import checked
from scggml._docs import shared_doc
from scggml._keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData


@shared_doc
@checked()
def gene_weights(adata: AnnData, *, key: str = "ggml") -> pd.DataFrame:
    """Return the weights of genes in a learned metric, largest first.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    %(key)s

    Returns
    -------
    A data frame with one row per gene. It is the table that :func:`scggml.tl.rank_genes` stores. Without that, or if
    genes were added or left out since, it holds

    `weight`
        Distance by which a cell moves in the learned space when the gene rises by one standard deviation.
    `share`
        Fraction of the sum of squared weights.
    `rank`
        Rank, from 1.
    `component`
        Component in which the cell moves most, from 0.
    `modality`
        Modality of the feature, for a metric on several modalities (:func:`scggml.pp.join_modalities`).

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, or it does not lead back to genes.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> list(sg.get.gene_weights(adata).head(1).index)
    ['signal']
    """
    name = Keys(key).gene_ranking
    stored = adata.uns[name] if name in ranking_slots(key).own(adata) else None
    if not isinstance(stored, pd.DataFrame) or not stored.index.sort_values().equals(
        adata.var_names.sort_values()
    ):  # of other genes
        return gene_table(adata, key)
    return stored.copy()
