"""Inner and outer scores of a search for settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml._anndata._entries import TUNING, stored_entry, warn_about_label
from scggml._arguments import checked
from scggml._docs import shared_doc
from scggml._keys import Keys

from ._axes import HIGHLIGHT, PLAIN, drawing
from ._names import drawn_text, of_label

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_LINE = 48  # characters of a setting on one line


@shared_doc
@checked()
def tuning(adata: AnnData, *, key: str = "ggml", ax: Axes | None = None) -> Axes:
    """Plot the inner scores of settings, how often each was chosen, and the score of the choice on held-out samples.

    A point is the mean inner score of a setting over the outer folds, and a line its range. "chosen 2 of 5" says in how
    many outer folds the setting had the best inner score. The vertical line is the score of all held-out samples, each
    predicted with the setting chosen without it. The title names the label.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.tune`.
    key
        Key of the results: `.uns[key + "_tuning"]`.
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, TypeError
        If there was no search.

    Warns
    -----
    UserWarning
        If the metric was learned from another label since.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=4, rng=0)
        >>> _ = sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=3, rng=0)
        >>> ax = sg.pl.tuning(adata)
    """
    how = f"sg.tl.tune(adata, sample_key, label_key, key_added={key!r})"
    entry = stored_entry(adata, Keys(key).tuning, TUNING, "search for settings", how)
    warn_about_label(adata, key, entry, "sg.tl.tune")
    params, inner, outer = entry["params"], entry["inner"], entry["outer"]
    score, parameters = str(params["score"]).replace("_", " "), [str(n) for n in np.atleast_1d(params["names"])]
    table = inner[inner["fold"] >= 0].groupby("setting")["inner_score"].agg(["mean", "min", "max"])
    table["text"] = _texts(inner.drop_duplicates("setting").set_index("setting"), parameters)
    table = table.sort_values("mean", kind="stable").reset_index(drop=True)
    chosen = _texts(outer, parameters).value_counts()

    names = [drawn_text(text, _LINE) for text in table["text"]]
    n_lines = sum(name.count("\n") + 1 for name in names)
    with drawing(ax, 6.4, 1.2 + 0.14 * n_lines + 0.16 * len(table)) as ax:
        for y, (mean, low, high, text) in enumerate(table.itertuples(index=False)):
            ax.plot([low, high], [y, y], color=PLAIN, linewidth=2, alpha=0.5)
            ax.plot(mean, y, marker="o", color=PLAIN, label="inner folds: mean and range" if y == 0 else None)
            if chosen.get(text, 0):
                times = f"chosen {chosen[text]} of {len(outer)}"
                ax.annotate(times, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize="small")
        ax.axvline(entry["score"], color=HIGHLIGHT, linewidth=1.5, label="held-out samples", zorder=0)
        ax.set_yticks(range(len(table)), names, fontsize="small")
        ax.set_ylim(-0.6, len(table) - 0.4)
        ax.set_xlabel(score)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize="small")
        title = of_label(params.get("label_key"), f"{score} of held-out samples: {entry['score']:.2f}")
        ax.set_title(drawn_text(title), fontsize="medium", pad=26)
    return ax


def _texts(table: pd.DataFrame, parameters: list[str]) -> pd.Series:
    """Return each setting as text."""
    return table.apply(lambda row: ", ".join(f"{name}={row[name]}" for name in parameters), axis=1)
