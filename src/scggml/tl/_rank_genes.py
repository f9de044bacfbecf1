"""Rank genes by their part in the learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scggml import _validation as check
from scggml._keys import Keys
from scggml._stored import writable
from scggml.get._gene_weights import gene_table

if TYPE_CHECKING:
    from anndata import AnnData


def rank_genes(adata: AnnData, *, key: str = "ggml", copy: bool = False) -> AnnData | None:
    """Rank genes by how much they carry of the learned metric.

    A gene's weight is how far a cell moves in the learned space when the gene rises by one standard deviation: the length of
    its row of `.varm[key]`. It does not depend on the rotation of the components.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    key
        Key of the metric.
    copy
        Whether to return a copy instead of writing to `adata`.

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following field:

    `.uns[key + "_rank_genes"]` : `pandas.DataFrame` (n_vars, 4)
        Indexed by gene, largest weight first: `weight`; `share` of the sum of squared weights; `rank` from 1; and
        `component`, the component that moves most.

    Raises
    ------
    KeyError, ValueError
        If there is no such metric, or it does not lead back to genes.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> sg.tl.rank_genes(adata)
    >>> adata.uns["ggml_rank_genes"].index[0]
    'signal'
    """
    check.check_anndata("adata", adata)
    table = gene_table(adata, key)
    adata = writable(adata, copy=copy)
    adata.uns[Keys(key).gene_ranking] = table
    return adata if copy else None
