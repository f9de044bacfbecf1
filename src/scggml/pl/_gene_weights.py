"""The genes with the largest weights in a learned metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scggml import _check as check
from scggml._docs import shared_doc
from scggml.get import gene_weights as get_gene_weights

from ._axes import HIGHLIGHT, PLAIN, drawing, text_width

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData
    from matplotlib.axes import Axes


@shared_doc
def gene_weights(
    adata: AnnData,
    *,
    key: str = "ggml",
    n_genes: int = 20,
    highlight: Collection[str] | Mapping[str, Collection[str]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the genes with the largest weights in the learned metric as bars.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    %(key)s
    n_genes
        Number of genes.
    highlight
        Genes to draw in another colour, such as known markers. A dict with one entry gives them a label in the legend:
        `{"interferon response": ["ISG15", "IFI6"]}`.
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, it does not lead back to genes, or an argument is not as described.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> ax = sg.pl.gene_weights(adata, highlight={"planted": ["signal"]})
    """
    check.check_integer("n_genes", n_genes, minimum=1)
    label, marked = _highlighted(highlight)
    table = get_gene_weights(adata, key=key).head(n_genes)

    from matplotlib.patches import Patch

    some = bool(marked.intersection(table.index))
    width = 3.8 + text_width(table.index.astype(str)) + (text_width([label]) + 0.5 if some else 0.0)
    with drawing(ax, width, 1.2 + 0.22 * len(table)) as ax:
        positions = range(len(table))
        shades = [HIGHLIGHT if gene in marked else PLAIN for gene in table.index]
        ax.barh(positions, table["weight"], color=shades, height=0.75)
        ax.set_yticks(positions, labels=[str(gene) for gene in table.index])
        ax.set_ylim(len(table) - 0.4, -0.6)
        ax.set_xlabel("gene weight (shift per s.d.)")
        if some:
            handles = [Patch(color=HIGHLIGHT, label=label), Patch(color=PLAIN, label="other")]
            ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return ax


def _highlighted(highlight: Any) -> tuple[str, set[str]]:
    """Return the label of the highlighted genes, and the genes."""
    label, genes = "highlighted", highlight
    if isinstance(highlight, Mapping):
        if len(highlight) != 1:
            msg = f"highlight must have one label, found {len(highlight)}: {check.listed(highlight)}. Pass one of them."
            raise ValueError(msg)
        label, genes = next(iter(highlight.items()))
    if isinstance(genes, str):
        msg = (
            f"highlight must be a collection of genes, found the text {check.shown(genes)}. Pass "
            f"[{check.shown(genes)}]."
        )
        raise TypeError(msg)
    return str(label), set() if genes is None else set(genes)
