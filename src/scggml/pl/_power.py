"""Held-out accuracy and power against the number of patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml._anndata._entries import POWER, stored_entry, warn_about_label
from scggml._arguments import checked
from scggml._docs import shared_doc
from scggml._keys import Keys

from ._axes import HIGHLIGHT, PLAIN, drawing
from ._names import drawn_text, of_label

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_WANTED = 0.8  # usual power of a study
_STYLES = ("-", "--", "-.", ":")  # from many to few cells
_MAX_TICKS = 8
# column, beginning of the names of its interval, text, color
_CURVES = (
    ("balanced_accuracy", "accuracy", "held-out balanced accuracy", PLAIN),
    ("power", "power", "power of separation test", HIGHLIGHT),
)


@shared_doc
@checked()
def power(adata: AnnData, *, key: str = "ggml", ax: Axes | None = None) -> Axes:
    """Plot held-out balanced accuracy and the power of the separation test against the number of samples.

    Bands are the 95 % intervals for the largest number of cells; they account for the number of samples of the cohort.
    A dotted line marks chance level of the accuracy, and a dashed one a power of 0.8. If there is one number of samples
    and several of cells, the curves are drawn against the number of cells. The title names the label.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.power`.
    key
        Key of the results: `.uns[key + "_power"]`.
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, TypeError
        If there are no results.

    Warns
    -----
    UserWarning
        If the metric was learned from another label since.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
        >>> _ = sg.tl.power(adata, "sample", "label", n_samples=[12, 18], n_repeats=5, rng=0)
        >>> ax = sg.pl.power(adata)
    """
    how = f"sg.tl.power(adata, sample_key, label_key, key_added={key!r})"
    entry = stored_entry(adata, Keys(key).power, POWER, "learning curve", how)
    warn_about_label(adata, key, entry, "sg.tl.power")
    table, n_classes = entry["table"], len(entry["classes"])
    unit = "donors" if "donor_key" in entry["params"] else "samples"
    by_cells = table["n_samples"].nunique() == 1 < table["n_cells"].nunique()
    x, other, x_text, other_text = "n_samples", "n_cells", f"number of {unit}", "cells"
    if by_cells:
        x, other, x_text, other_text = other, x, "number of cells per sample", unit
    others = sorted(table[other].unique(), reverse=True)
    with drawing(ax, 6.4, 4.2) as ax:
        for column, what, text, color in _CURVES:
            for number, value in enumerate(others):
                rows = table[table[other] == value].sort_values(x)
                label = f"{text}, {value} {other_text}"
                style, alpha = _STYLES[number % len(_STYLES)], max(1 - 0.2 * number, 0.4)
                ax.plot(rows[x], rows[column], marker="o", color=color, linestyle=style, alpha=alpha, label=label)
                if number == 0:
                    low, high = rows[f"{what}_low"], rows[f"{what}_high"]
                    ax.fill_between(rows[x], low, high, color=color, alpha=0.13, linewidth=0)
        ax.axhline(1 / n_classes, color=PLAIN, linewidth=1, linestyle=":", zorder=0)
        ax.axhline(_WANTED, color=HIGHLIGHT, linewidth=1, linestyle=(0, (6, 3)), alpha=0.7, zorder=0)
        ax.set_ylim(-0.03, 1.03)
        ax.set_yticks(np.linspace(0, 1, 6))
        if table[x].nunique() <= _MAX_TICKS:
            ax.set_xticks(sorted(table[x].unique()))
        ax.set_xlabel(x_text)
        ax.set_ylabel("accuracy and power")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(loc="best", frameon=False, fontsize="small")
        title = of_label(entry["params"].get("label_key"), f"random subsets of {entry['params']['n_units']} {unit}")
        ax.set_title(drawn_text(title), fontsize="medium")
    return ax
