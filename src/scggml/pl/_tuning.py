"""Inner and outer scores of a search of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scggml._anndata._modalities import check_cells
from scggml._keys import Keys

from ._axes import HIGHLIGHT, PLAIN, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData


def tuning(adata: AnnData | MuData, *, key: str = "ggml", title: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how settings did inside, how often each was chosen, and what the choice was worth outside.

    Parameters
    ----------
    adata
        Cells, or a MuData, after :func:`scggml.tl.tune`.
    key
        Key of the results.
    title
        Title; None gives the score of all held-out samples.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If there was no search.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=4, rng=0)
    >>> _ = sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=3, rng=0)
    >>> ax = sg.pl.tuning(adata)
    """
    check_cells("adata", adata)
    name = Keys(key).tuning
    if name not in adata.uns:
        msg = f"there is no search of settings in uns[{name!r}]. Run sg.tl.tune(adata, sample_key, label_key, key_added={key!r}) first."
        raise KeyError(msg)
    entry = adata.uns[name]
    params, inner, outer = entry["params"], entry["inner"], entry["outer"]
    names = [str(n) for n in params["names"]]
    nested = inner[inner["fold"] >= 0]
    table = nested.groupby("setting")["inner_score"].agg(["mean", "min", "max"])
    texts = inner.drop_duplicates("setting").set_index("setting")[names]
    texts = texts.apply(lambda row: ", ".join(f"{n}={row[n]}" for n in names), axis=1)
    chosen = (
        outer[names].astype(str).apply(lambda row: ", ".join(f"{n}={row[n]}" for n in names), axis=1).value_counts()
    )
    table = table.assign(text=texts).sort_values("mean", kind="stable").reset_index(drop=True)

    ax = new_axes(ax, 6.0, 1.2 + 0.3 * len(table))
    for y, (text, mean, low, high) in enumerate(table[["text", "mean", "min", "max"]].itertuples(index=False)):
        ax.plot([low, high], [y, y], color=PLAIN, linewidth=2, alpha=0.5)
        ax.plot(mean, y, marker="o", color=PLAIN, label="inner splits: mean and range" if y == 0 else None)
        if chosen.get(text, 0):
            ax.annotate(
                f"chosen {chosen[text]}x", (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize="small"
            )
    ax.axvline(entry["score"], color=HIGHLIGHT, linewidth=1.5, label="held-out samples, chosen settings")
    ax.set_yticks(range(len(table)), table["text"])
    ax.set_xlabel(str(params["score"]).replace("_", " "))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1, frameon=False, fontsize="small")
    if title is None:
        title = f"{str(params['score']).replace('_', ' ')} of held-out samples: {entry['score']:.2f}"
    ax.set_title(title, pad=36)
    return ax
