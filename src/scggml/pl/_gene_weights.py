"""The genes with the largest weights in a learned metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scggml import _check as check
from scggml._anndata._gene_directions import gene_directions
from scggml._anndata._stored_metric import read_metric
from scggml._arguments import anything, checked, integer
from scggml._docs import shared_doc
from scggml.get import gene_weights as get_gene_weights

from ._axes import PLAIN, drawing, text_width
from ._colors import class_shades
from ._legends import Arranged, legend_beside, make_room
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_FALLS, _RISES = "#7570b3", "#1b9e77"
_MARKED = "#a50026"  # names of highlighted genes
_WEIGHT = "gene weight: distance moved per s.d. of expression"


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

    A weight has no sign. The colour of a bar says in which class the mean expression of the gene is highest: samples of
    a class have the same weight. For continuous labels it says whether expression rises or falls with the label.
    Without the samples or labels that the metric was learned from, all bars have one colour. After
    :func:`scggml.tl.rank_genes` with `n_boot`, lines are the 95 % intervals of the bootstrapped weights.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    %(key)s
    n_genes
        Number of genes.
    highlight
        Genes whose names are drawn in another colour, such as known markers. A dict with one entry gives them a label
        in the legend: `{"interferon response": ["ISG15", "IFI6"]}`.
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
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
        >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
        >>> ax = sg.pl.gene_weights(adata, highlight={"known to differ": ["signal"]})
    """
    label, marked = _highlighted(highlight)
    table = get_gene_weights(adata, key=key).head(n_genes)
    title, of_genes, shades = _directions(adata, key, table)
    some = bool(marked.intersection(table.index))
    entries = [(name, shade) for name, shade in shades.items() if name in set(of_genes)]
    entries += [(label, "none")] if some else []
    names = [drawn_text(str(gene)) for gene in table.index]
    width = Arranged([name for name, _ in entries]).width
    with drawing(ax, 3.8 + text_width(names) + width, 1.2 + 0.22 * len(table)) as ax:
        positions = range(len(table))
        ax.barh(positions, table["weight"], color=[shades.get(name, PLAIN) for name in of_genes], height=0.75)
        has_intervals = {"low", "high"} <= set(table.columns)
        if has_intervals:
            ax.hlines(positions, table["low"], table["high"], color="0.2", linewidth=1.2)
        ax.set_yticks(positions, labels=names)
        for name in ax.get_yticklabels():
            if name.get_text() in {drawn_text(str(gene)) for gene in marked}:
                name.set(color=_MARKED, fontweight="bold")
        ax.set_ylim(len(table) - 0.4, -0.6)
        ax.set_xlabel(_WEIGHT + ("\n(lines: 95 % intervals of bootstraps)" if has_intervals else ""))
        ax.spines[["top", "right"]].set_visible(False)
        _draw_legend(ax, title, entries)
    return ax


def _draw_legend(ax: Axes, title: str, entries: list[tuple[str, str]]) -> None:
    """Draw the colours of directions, and the label of highlighted genes, which has none."""
    from matplotlib.patches import Patch

    if not entries:
        return
    legend = legend_beside(ax, [Patch(color=shade) for _, shade in entries], [name for name, _ in entries], title)
    for text, (_, shade) in zip(legend.get_texts(), entries, strict=True):
        if shade == "none":  # the label of genes whose names look like this
            text.set(color=_MARKED, fontweight="bold")
    make_room(ax, legend)


def _directions(adata: AnnData, key: str, table: pd.DataFrame) -> tuple[str, list[str], dict[str, str]]:
    """Return the title of the legend, the direction of each gene, and the colour of each direction."""
    learned = read_metric(adata, key)
    label = str(learned.params.get("label_key", ""))
    found = gene_directions(adata, learned, table)
    if "highest" in found:
        names = [str(name) for name in found["highest"]]
        return f"{label}: highest in", names, class_shades(adata, label, names)
    if "trend" in found:
        shades = {f"rises with {label}": _RISES, f"falls with {label}": _FALLS}
        return "expression", [list(shades)[int(trend < 0)] for trend in found["trend"]], shades
    return "", ["" for _ in found.index], {}


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
