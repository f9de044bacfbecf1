"""Held-out scores of methods side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml import _check as check
from scggml._anndata._modalities import check_cells
from scggml.get._scores import scores as score_table
from scggml.get._scores import stored_scores

from ._axes import HIGHLIGHT, PLAIN, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

_LOWER_IS_BETTER = ("mae", "variation_of_information")


def cross_validation(
    adata: AnnData | MuData,
    *,
    score: str | None = None,
    classifier: str | None = None,
    baseline: str | None = None,
    key: str = "ggml",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a held-out score of each method with its 95 % interval.

    Parameters
    ----------
    adata
        Cells, or a MuData, after :func:`scggml.tl.cross_validate`.
    score
        Which score, one of those in :func:`scggml.get.scores`; None takes "balanced_accuracy", or "spearman" of ordered labels.
    classifier
        Which classifier; None takes "class_mean", or "neighbors" of ordered labels. Methods that have not got it are drawn with the one of their own, which is named.
    baseline
        Method that others are compared with: gained and lost samples are written beside them.
    key
        Key of the results.
    title
        Title; None says what was held out.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError
        If there was no cross-validation, or there is no such score, classifier or baseline.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> _ = sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "euclidean"], cv=5, rng=0)
    >>> ax = sg.pl.cross_validation(adata, baseline="euclidean")
    """
    check_cells("adata", adata)
    table = score_table(adata, key=key, baseline=baseline)
    entry = stored_scores(adata, key)
    predictions = entry["predictions"]
    ordered = "predicted_value" in predictions
    defaults = ("spearman", "neighbors") if ordered else ("balanced_accuracy", "class_mean")
    score, classifier = score or defaults[0], classifier or defaults[1]
    check.check_choice("classifier", classifier, tuple(table["classifier"].unique()))
    check.check_choice("score", score, tuple(table["score"].unique()))
    table = table[table["score"] == score]
    if classifier not in set(table["classifier"]):
        found = check.listed(table["classifier"].unique(), limit=None)
        msg = f"score={score!r} does not go with classifier={classifier!r}. Pass one of {found}."
        raise ValueError(msg)
    # one row per method: with the classifier asked for, else the first that it has
    table = table.assign(asked=table["classifier"] == classifier)
    table = table.sort_values("asked", ascending=False, kind="stable").drop_duplicates("method")
    table = table.sort_values("value", ascending=score not in _LOWER_IS_BETTER, kind="stable").reset_index(drop=True)

    ax = new_axes(ax, 5.6, 1.1 + 0.42 * len(table))
    for y, (_, row) in enumerate(table.iterrows()):
        color = HIGHLIGHT if row["method"] == "ggml" else PLAIN
        if np.isfinite(row["ci_low"]):
            ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=color, linewidth=2, alpha=0.6)
        ax.plot(row["value"], y, marker="o", color=color)
        if np.isfinite(row["gained"]):
            text = f"+{int(row['gained'])} \N{MINUS SIGN}{int(row['lost'])}, p = {row['p_value']:.2g}"
            ax.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize="small")
    names = [row["method"] if row["asked"] else f"{row['method']} ({row['classifier']})" for _, row in table.iterrows()]
    ax.set_yticks(range(len(table)), names)
    ax.set_ylim(-0.6, len(table) - 0.4)
    params = entry["params"]
    n_labels = predictions.loc[predictions["classifier"] == classifier, "label"].nunique()
    chance = {"roc_auc": 0.5, "balanced_accuracy": 1 / max(n_labels, 1), "spearman": 0.0, "kendall": 0.0}.get(score)
    if chance is not None:
        ax.axvline(chance, color="0.6", linewidth=1, linestyle=":", zorder=0)
    if (table["value"] <= 1).all():
        ax.set_xlim(right=1.03)
    what = "mean absolute error" if score == "mae" else score.replace("_", " ")
    ax.set_xlabel(f"{what} of {'the batch of ' if classifier == 'batch' else ''}held-out samples")
    ax.spines[["top", "right"]].set_visible(False)
    if np.isfinite(table["gained"]).any():
        ax.annotate(
            f"samples gained\nand lost against\n{baseline}",
            (1.02, 1.0),
            xycoords="axes fraction",
            va="bottom",
            fontsize="small",
        )
    if title is None:
        unit = "group" if "group_key" in params else "sample"
        held = f"one {unit} held out" if params["leave_one_out"] else f"{params['n_splits']} splits"
        title = f"{predictions['sample'].nunique()} samples, {held}"
    ax.set_title(title)
    return ax
