"""The genes that carry most of a learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scggml import _check as check
from scggml.get import gene_weights as get_gene_weights

from ._axes import HIGHLIGHT, PLAIN, new_axes

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData
    from matplotlib.axes import Axes


def gene_weights(
    adata: AnnData,
    *,
    key: str = "ggml",
    n_genes: int = 20,
    highlight: Collection[str] | None = None,
    highlight_label: str = "highlighted",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the genes with the largest weights in the learned metric as bars.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    key
        Key of the metric.
    n_genes
        Number of genes.
    highlight
        Genes to draw in another colour, for example known markers.
    highlight_label
        What the legend calls them.
    title
        Title; None for none.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError
        If there is no such metric, or it does not lead back to genes.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> ax = sg.pl.gene_weights(adata)
    """
    check.check_integer("n_genes", n_genes, minimum=1)
    table = get_gene_weights(adata, key=key, n_genes=n_genes)
    if isinstance(highlight, str):
        msg = f"highlight must be a collection of genes, found the text {highlight!r}. Pass [{highlight!r}]."
        raise TypeError(msg)
    marked = set() if highlight is None else set(highlight)
    shades = [HIGHLIGHT if gene in marked else PLAIN for gene in table.index]
    ax = new_axes(ax, 4.5, 1.2 + 0.22 * len(table))
    positions = range(len(table))
    ax.barh(positions, table["weight"], color=shades, height=0.75)
    ax.set_yticks(positions, labels=[str(gene) for gene in table.index])
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel("gene weight (shift in the learned space per s.d.)")
    if marked.intersection(table.index):
        from matplotlib.patches import Patch

        handles = [Patch(color=HIGHLIGHT, label=highlight_label), Patch(color=PLAIN, label="other")]
        ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
    ax.spines[["top", "right"]].set_visible(False)
    if title is not None:
        ax.set_title(title)
    return ax
