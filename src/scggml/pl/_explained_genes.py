"""The genes that set two classes, or two samples, apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scggml import _check as check
from scggml.get import explanation as get_explanation
from scggml.get._explanation import stored_explanation

from ._axes import PLAIN, new_axes
from ._transport import chosen_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

NEGATIVE = "#b35806"


def explained_genes(
    pdata: AnnData,
    *,
    groups: Sequence[str] | None = None,
    cell_type: str | None = None,
    key: str = "ggml",
    n_genes: int = 20,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the genes that carry most of what sets two classes apart, as bars.

    Bars are excesses: what a gene adds to the distance between the classes beyond what it adds within them. For two samples,
    which have no excess, and for a class with itself, bars are parts of the distance.

    Parameters
    ----------
    pdata
        Samples, after :func:`scggml.tl.explain_distances`.
    groups
        As in :func:`scggml.pl.transport`.
    cell_type
        The type whose state to look into, "exchange" or "composition"; None takes the whole distance.
    key
        Key of the explanation.
    n_genes
        Number of genes, by size whatever their sign.
    title
        Title; None says what is compared, "" leaves it out.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError
        If distances were not explained by genes, or there is no such comparison or cell type.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=30, n_genes=200, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type", label_key="label")
    >>> ax = sg.pl.explained_genes(pdata, cell_type="T")
    """
    check.check_integer("n_genes", n_genes, minimum=1)
    a, b = chosen_groups(stored_explanation(pdata, key), groups)
    table = get_explanation(pdata, "genes", key=key, groups=(a, b), cell_type=cell_type)
    column = "distance" if table["excess"].isna().all() else "excess"
    table = table.iloc[(-table[column].abs()).argsort(kind="stable")[:n_genes]].sort_values(
        column, ascending=False, kind="stable"
    )
    ax = new_axes(ax, 4.5, 1.2 + 0.22 * len(table))
    ax.locator_params(axis="x", nbins=5)  # small numbers are long
    positions = range(len(table))
    ax.barh(positions, table[column], color=[PLAIN if value >= 0 else NEGATIVE for value in table[column]], height=0.75)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(positions, labels=[str(gene) for gene in table["gene"]])
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel("distance between classes less within" if column == "excess" else "part of the distance")
    ax.spines[["top", "right"]].set_visible(False)
    compared = f"{a} and {b}" if a != b else f"within {a}"
    text = title if title is not None else compared + ("" if cell_type is None else f": {cell_type}")
    if text:
        ax.set_title(text)
    return ax
