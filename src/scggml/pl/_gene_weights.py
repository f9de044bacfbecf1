"""The genes with the largest weights in a learned metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scggml import _check as check
from scggml._arguments import anything, checked, integer
from scggml._docs import shared_doc
from scggml.get import gene_weights as get_gene_weights

from ._axes import HIGHLIGHT, PLAIN, drawing, text_width
from ._colors import write_legend
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData
    from matplotlib.axes import Axes


@shared_doc
@checked(n_genes=integer(1), highlight=anything)
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
    label, marked = _highlighted(highlight)
    table = get_gene_weights(adata, key=key).head(n_genes)

    from matplotlib.patches import Patch

    some = bool(marked.intersection(table.index))
    names = [drawn_text(str(gene)) for gene in table.index]
    width = 3.8 + text_width(names) + (text_width([drawn_text(label)]) + 0.5 if some else 0.0)
    with drawing(ax, width, 1.2 + 0.22 * len(table)) as ax:
        positions = range(len(table))
        shades = [HIGHLIGHT if gene in marked else PLAIN for gene in table.index]
        ax.barh(positions, table["weight"], color=shades, height=0.75)
        ax.set_yticks(positions, labels=names)
        ax.set_ylim(len(table) - 0.4, -0.6)
        ax.set_xlabel("gene weight (shift per s.d.)")
        if some:
            handles = [Patch(color=HIGHLIGHT), Patch(color=PLAIN)]
            write_legend(ax, handles, [label, "other"], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
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
    if genes is not None:
        check.check_names("highlight", genes, "genes")
    return str(label), set() if genes is None else set(genes)
