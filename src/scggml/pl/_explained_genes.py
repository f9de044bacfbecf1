"""The genes that contribute most to the difference between two classes, or two samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scggml._arguments import checked, integer, text
from scggml._docs import shared_doc
from scggml.get import explanation as get_explanation
from scggml.get._explanation import chosen_classes, stored_explanation

from ._axes import PLAIN, drawing, text_width
from ._legends import write_legend
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_NEGATIVE = "#b35806"
_SIGNS = ("differs more between the classes", "differs more within them")
_BELOW = 3.6  # place of the legend under the axis, in letter sizes
_LINE = 34  # characters of the title on one line


@shared_doc
@checked(cell_type=text("a cell type"), n_genes=integer(1))
def explained_genes(
    pdata: AnnData,
    *,
    classes: Sequence[Any] | None = None,
    cell_type: str | None = None,
    key: str = "ggml",
    n_genes: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Plot the genes that contribute most to the difference between two classes as bars.

    Bars are excesses: the contribution of a gene to the distance between the classes minus its contribution within
    them. Genes that differ more within the classes have negative bars, in another colour. Two samples, and a class with
    itself, have no excess. Bars are then contributions to the distance.

    Parameters
    ----------
    %(pdata_explained)s
    classes
        Two classes in either order, the same class twice, or two samples if these were compared. None if there is only
        one comparison of two classes or samples.
    cell_type
        Cell type whose state is drawn, or "exchange" or "composition". None for the whole distance.
    %(key_explanation)s
    n_genes
        Number of genes. Those with the largest absolute values are drawn.
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError, TypeError
        If the distances were not explained by genes, or there is no such comparison or cell type.

    Examples
    --------
    .. plot::

        >>> import scanpy as sc
        >>> import scggml as sg
        >>> adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=30, n_genes=200, rng=0)
        >>> sc.pp.normalize_total(adata)
        >>> sc.pp.log1p(adata)
        >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
        >>> sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type", label_key="label")
        >>> ax = sg.pl.explained_genes(pdata, cell_type="T")
    """
    a, b = chosen_classes(stored_explanation(pdata, key), classes)
    table = get_explanation(pdata, "genes", key=key, classes=(a, b), cell_type=cell_type)
    column = "distance" if table["excess"].isna().all() else "excess"
    table = table.iloc[(-table[column].abs()).argsort(kind="stable")[:n_genes]].sort_values(
        column, ascending=False, kind="stable"
    )
    names = [drawn_text(str(gene)) for gene in table["gene"]]

    from matplotlib.patches import Patch

    with drawing(ax, 3.8 + text_width(names), 1.2 + 0.22 * len(table)) as ax:
        ax.locator_params(axis="x", nbins=5)  # small numbers are long
        positions = range(len(table))
        shades = [PLAIN if value >= 0 else _NEGATIVE for value in table[column]]
        ax.barh(positions, table[column], color=shades, height=0.75)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(positions, labels=names)
        ax.set_ylim(len(table) - 0.4, -0.6)
        ax.set_xlabel("excess of the distance" if column == "excess" else "contribution to the distance")
        ax.spines[["top", "right"]].set_visible(False)
        compared = f"{a} and {b}" if a != b else f"within {a}"
        title = drawn_text(compared if cell_type is None else f"{compared}: {cell_type}", _LINE)
        ax.set_title(title, fontsize="medium")
        if column == "excess" and (table[column] < 0).any():
            handles = [Patch(color=PLAIN), Patch(color=_NEGATIVE)]
            options: dict[str, Any] = {
                "loc": "upper center",
                "bbox_to_anchor": (0.5, 0),
                "borderaxespad": _BELOW,
                "frameon": False,
            }
            write_legend(ax, handles, _SIGNS, **options)
    return ax
