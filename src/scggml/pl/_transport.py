"""Mass and cost of transport from one cell type to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scggml._arguments import checked, choice
from scggml._docs import shared_doc
from scggml.get import explanation as get_explanation
from scggml.get._explanation import chosen_classes, stored_explanation

from ._axes import drawing, text_width
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from anndata import AnnData
    from matplotlib.axes import Axes

_LABELS = {
    "cost": "share of the distance",
    "mass": "mass",
    "excess": "excess of the cost",
}
_LINE = 30  # characters of a label on one line, ...
_NAME_LINE = 24  # ... and of a cell type
_MAX_WRITTEN = 16  # types; with more, the numbers are too small to read
_LEAST_WRITTEN = 0.005  # smaller numbers would read 0.00


@shared_doc
@checked(what=choice(*_LABELS))
def transport(
    pdata: AnnData,
    *,
    classes: Sequence[Any] | None = None,
    key: str = "ggml",
    what: Literal["cost", "mass", "excess"] = "cost",
    ax: Axes | None = None,
) -> Axes:
    """Plot the transport between the cell types of two classes as a heatmap.

    Transport within a type, its state, is on the framed diagonal. Transport from one type to another is off the
    diagonal.

    Parameters
    ----------
    pdata
        Samples, after :func:`scggml.tl.explain_distances` with cell types.
    classes
        Two classes in either order, the same class twice, or two samples if these were compared. None if there is only
        one comparison of two classes or samples.
    %(key_explanation)s
    what
        "cost" for the share of the distance. "mass" for the mass that is moved. "excess" for the cost between the
        classes minus the cost within them, in units of distance, on a colour scale that is white at zero.
    %(ax)s

    Returns
    -------
    The axes of the heatmap.

    Raises
    ------
    KeyError, ValueError, TypeError
        If the distances were not explained by cell types, there is no such comparison, or it has no excess.

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
        >>> ax = sg.pl.transport(pdata, what="excess")
    """
    entry = stored_explanation(pdata, key)
    a, b = chosen_classes(entry, classes)
    if "cell_type_key" not in entry["params"]:
        msg = "the distances were not explained by cell types. Run sg.tl.explain_distances with cell_type_key."
        raise ValueError(msg)
    flows = get_explanation(pdata, "flows", key=key, classes=(a, b))
    types = [drawn_text(name, _NAME_LINE, lines=2) for name in dict.fromkeys(flows["source"].astype(str))]
    values = flows["share" if what == "cost" else what].to_numpy().reshape(len(types), len(types))
    if what == "excess" and np.isnan(values).any():
        msg = f"{a!r} and {b!r} have no excess: it needs two classes with at least two samples each. Pass what='cost'."
        raise ValueError(msg)
    n, names = len(types), text_width(types)
    with drawing(ax, 2.8 + 0.5 * max(n, 3) + names, 1.6 + 0.42 * max(n, 3) + names) as ax:
        bound = float(abs(values).max()) or 1.0
        low = -bound if what == "excess" else 0.0
        image = ax.imshow(values, cmap="PuOr_r" if what == "excess" else "Blues", vmin=low, vmax=bound)
        ax.figure.colorbar(image, ax=ax, label=_LABELS[what], shrink=0.8)
        ax.set_xticks(range(n), labels=types, rotation=90 if max(map(len, types)) > 4 else 0)
        ax.set_yticks(range(n), labels=types)
        whose = (f" in {a}", f" in {b}") if a != b else ("", "")
        ax.set(xlabel=drawn_text(f"to type{whose[1]}", _LINE), ylabel=drawn_text(f"from type{whose[0]}", _LINE))
        ax.set_title(drawn_text(f"{a} to {b}" if a != b else f"within {a}", _LINE), fontsize="medium")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        _frame_diagonal(ax, n)
        if n <= _MAX_WRITTEN:
            _write_values(ax, image, values)
    return ax


def _frame_diagonal(ax: Axes, n: int) -> None:
    from matplotlib.patches import Rectangle

    for i in range(n):
        ax.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.0, clip_on=False))


def _write_values(ax: Axes, image: Any, values: Any) -> None:
    for (i, j), value in np.ndenumerate(values):
        if abs(value) < _LEAST_WRITTEN:
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="black" if light else "white")
