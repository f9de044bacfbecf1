"""From which cell types to which mass is transported, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scggml import _check as check
from scggml.get import explanation as get_explanation
from scggml.get._explanation import compared, stored_explanation

from ._axes import new_axes

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
_MAX_WRITTEN = 16  # types; more numbers cannot be read
_LEAST_WRITTEN = 0.005  # what would read 0.00 is left out


def transport(
    pdata: AnnData,
    *,
    groups: Sequence[str] | None = None,
    key: str = "ggml",
    what: Literal["cost", "mass", "excess"] = "cost",
    cmap: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw from which cell types to which mass is transported between classes, as a heatmap.

    What stays within a type, its state, is on the diagonal, framed; what goes from one type to another beside it.

    Parameters
    ----------
    pdata
        Samples, after :func:`scggml.tl.explain_distances` with cell types.
    groups
        Two classes, or two samples where these were compared, in either order, or a class twice. None will do where there is one
        comparison of two.
    key
        Key of the explanation.
    what
        "cost" for the share of the distance; "mass" for how much is moved; "excess" for what it costs more between classes than
        within them, in units of distance, on a scale with white at zero.
    cmap
        Matplotlib colour map; None for one that all readers can tell apart, sequential or, for "excess", diverging.
    title
        Title; None says what is compared, "" leaves it out.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes of the heatmap.

    Raises
    ------
    KeyError, ValueError
        If distances were not explained by cell types, or there is no such comparison, or no excess of it.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=30, n_genes=200, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type", label_key="label", genes=False)
    >>> ax = sg.pl.transport(pdata, what="excess")
    """
    check.check_choice("what", what, tuple(_LABELS))
    entry = stored_explanation(pdata, key)
    a, b = chosen_groups(entry, groups)
    flows = get_explanation(pdata, "flows", key=key, groups=(a, b))
    if "cell_type_key" not in entry["params"]:
        msg = "distances were not explained by cell types: run sg.tl.explain_distances with cell_type_key"
        raise ValueError(msg)
    types = list(dict.fromkeys(flows["source"]))
    values = flows["share" if what == "cost" else what].to_numpy().reshape(len(types), len(types))
    if what == "excess" and np.isnan(values).any():
        msg = (
            f"{a!r} and {b!r} have no excess, which is of two classes with at least two samples each. Pass what='cost'."
        )
        raise ValueError(msg)
    n = len(types)
    ax = new_axes(ax, 3.0 + 0.5 * n, 2.0 + 0.42 * n)
    bound = float(abs(values).max()) or 1.0
    low = -bound if what == "excess" else 0.0
    image = ax.imshow(values, cmap=cmap or ("PuOr_r" if what == "excess" else "Blues"), vmin=low, vmax=bound)
    ax.figure.colorbar(image, ax=ax, label=_LABELS[what], shrink=0.8)
    ax.set_xticks(range(n), labels=types, rotation=90 if max(map(len, types)) > 4 else 0)
    ax.set_yticks(range(n), labels=types)
    whose = (f" in {a}", f" in {b}") if a != b else ("", "")
    ax.set_ylabel(f"from type{whose[0]}")
    ax.set_xlabel(f"to type{whose[1]}")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    _frame_diagonal(ax, n)
    if n <= _MAX_WRITTEN:
        _write_values(ax, image, values)
    text = title if title is not None else (f"{a} to {b}" if a != b else f"within {a}")
    if text:
        ax.set_title(text)
    return ax


def chosen_groups(entry: dict[str, Any], groups: Sequence[str] | None) -> tuple[str, str]:
    """Return the classes of a comparison as they were stored; None stands for the only one of two classes."""
    summary = entry["summary"]
    if groups is None:
        rows = np.flatnonzero((summary["group_a"] != summary["group_b"]).to_numpy())
        if len(rows) != 1:
            found = [f"({a}, {b})" for a, b in summary[["group_a", "group_b"]].astype(str).itertuples(index=False)]
            msg = f"groups is needed where there is not one comparison of two classes. Compared: {check.listed(found, limit=20)}"
            raise ValueError(msg)
        row = int(rows[0])
    else:
        row = compared(entry, groups)
    return str(summary["group_a"].iloc[row]), str(summary["group_b"].iloc[row])


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
