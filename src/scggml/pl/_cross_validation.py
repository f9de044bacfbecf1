"""Held-out scores of methods side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml import _check as check
from scggml._arguments import checked, text
from scggml._docs import shared_doc
from scggml.evaluation._cross_validation import DISTANCES, MAIN, MAIN_ORDERED, OF_PROFILES
from scggml.get._scores import scores as score_table
from scggml.get._scores import stored_scores

from ._axes import HIGHLIGHT, PLAIN, drawing, text_width
from ._names import drawn_text, of_label

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_LOWER_IS_BETTER = ("mae", "variation_of_information")
_TITLE_LINE = 44  # characters of the title on one line
_LINE = 20  # characters of the baseline on one line
_OF_DISTANCES = ("separation", "nearer_own_class")  # scores that need no classifier
_NAMES = {"mae": "mean absolute error", "ari": "adjusted Rand index", "roc_auc": "ROC AUC", "macro_f1": "macro F1"}
_NAMES["nearer_own_class"] = "share nearer to the own class,"


@shared_doc
@checked(score=text("a score"), classifier=text("a classifier"), baseline=text("a method"))
def cross_validation(
    adata: AnnData,
    *,
    score: str | None = None,
    classifier: str | None = None,
    baseline: str | None = None,
    key: str = "ggml",
    ax: Axes | None = None,
) -> Axes:
    """Plot a held-out score of each method with its 95 % confidence interval.

    A dotted line marks chance level, for scores that have one. The title names the label, and says how many samples
    there were and how they were held out.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.cross_validate`.
    score
        One of the scores of :func:`scggml.get.scores`. None for "balanced_accuracy", or "spearman" for ordinal and
        continuous labels.
    classifier
        The classifier. None for "class_mean", or "neighbors" for ordinal and continuous labels, and beside these the
        regressions on profiles, such as pseudobulks ("logistic", "ridge"); for scores of the distances themselves,
        "distances". A classifier other than the first is named beside the method, also of a method that lacks the
        first.
    baseline
        Method that the others are compared with. The discordant pairs are written beside each method: how many samples
        (or donors) it predicts correctly and the baseline does not, and the reverse, with the p-value of the sign test.
        For "separation", the difference from the baseline with its 95 % interval.
    key
        Key of the results: `.uns[key + "_cross_validation"]`.
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there was no cross-validation, or there is no such score, classifier or baseline.

    Warns
    -----
    UserWarning
        If the metric was learned from another label since.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
        >>> _ = sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "euclidean"], cv=5, rng=0)
        >>> ax = sg.pl.cross_validation(adata, baseline="euclidean")
    """
    entry = stored_scores(adata, key)
    predictions, params = entry["predictions"], entry["params"]
    table = score_table(adata, key=key, baseline=baseline)
    defaults = MAIN_ORDERED if "predicted_value" in predictions else MAIN
    score = defaults[1] if score is None else score
    others = OF_PROFILES if classifier is None else ()
    if classifier is None:
        classifier = DISTANCES if score in _OF_DISTANCES else defaults[0]
    table = _rows(table, score, classifier, others)
    names = [
        drawn_text(row["method"] if row["asked"] else f"{row['method']} ({row['classifier']})")
        for _, row in table.iterrows()
    ]
    width = 4.0 + text_width(names) + (1.6 if baseline is not None else 0.0)
    with drawing(ax, width, 1.1 + 0.42 * len(table) + (0.3 if baseline is not None else 0.0)) as ax:
        for y, (_, row) in enumerate(table.iterrows()):
            color = HIGHLIGHT if row["method"] == "ggml" else PLAIN
            if np.isfinite(row["ci_low"]):
                ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=color, linewidth=2, alpha=0.6)
            ax.plot(row["value"], y, marker="o", color=color)
        ax.set_yticks(range(len(table)), names)
        ax.set_ylim(-0.6, len(table) - 0.4)
        judged = predictions if classifier == DISTANCES else predictions[predictions["classifier"] == classifier]
        chance = _chance(score, judged)
        if chance is not None:
            ax.axvline(chance, color="0.6", linewidth=1, linestyle=":", zorder=0)
        if score != "separation" and (table["value"] <= 1).all():
            ax.set_xlim(right=1.03)
        of = "batch predictions" if classifier == "batch" else "held-out samples"
        ax.set_xlabel(f"{_NAMES.get(score, score.replace('_', ' '))} of {of}")
        ax.spines[["top", "right"]].set_visible(False)
        _write_comparison(ax, table, baseline, "donors" if "donor_key" in params else "samples")
        unit = "donor" if "donor_key" in params else "sample"
        held = f"one {unit} held out" if params["leave_one_out"] else f"{params['n_splits']} splits"
        title = of_label(params.get("label_key"), f"{predictions['sample'].nunique()} samples, {held}")
        ax.set_title(drawn_text(title, _TITLE_LINE))
    return ax


def _rows(table: pd.DataFrame, score: str, classifier: str, others: Collection[str] = ()) -> pd.DataFrame:
    """Return one row per method, the best last: with the classifier that is asked for, else with the method's first.

    Beside them, rows of `others`, if methods have these classifiers.
    """
    check.check_choice("classifier", classifier, tuple(table["classifier"].unique()))
    check.check_choice("score", score, tuple(table["score"].unique()))
    table = table[table["score"] == score]
    if classifier not in set(table["classifier"]):
        found = check.listed(table["classifier"].unique(), limit=None)
        msg = f"score={score!r} does not exist for classifier={classifier!r}. Pass one of {found}."
        raise ValueError(msg)
    table = table.assign(asked=table["classifier"] == classifier)
    table = table.sort_values("asked", ascending=False, kind="stable")
    table = table[~table.duplicated("method") | table["classifier"].isin(others)]
    return table.sort_values("value", ascending=score not in _LOWER_IS_BETTER, kind="stable").reset_index(drop=True)


def _chance(score: str, predictions: pd.DataFrame) -> float | None:
    """Return the expected score of random predictions, None where it is not known."""
    n_classes = max(predictions["label"].nunique(), 1)
    by_chance = {"roc_auc": 0.5, "balanced_accuracy": 1 / n_classes, "nearer_own_class": 0.5}
    return (by_chance | dict.fromkeys(("spearman", "kendall", "separation"), 0.0)).get(score)


def _write_comparison(ax: Axes, table: pd.DataFrame, baseline: str | None, units: str) -> None:
    """Write the discordant pairs, or the difference of separations, beside each method."""
    texts = {
        y: f"{int(row['only_method'])} : {int(row['only_baseline'])}, p = {row['p_value']:.2g}"
        for y, row in table.iterrows()
        if np.isfinite(row["only_method"])
    }
    heading = f"{units} predicted\nbetter : worse than\n"
    if not texts:
        texts = {
            y: f"{row['difference']:+.2f} ({row['difference_low']:.2f} to {row['difference_high']:.2f})"
            for y, row in table.iterrows()
            if np.isfinite(row["difference"])
        }
        heading = "difference from\n"
    for y, written in texts.items():
        ax.annotate(written, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize="small")
    if texts:
        heading += drawn_text(str(baseline), _LINE)
        ax.annotate(heading, (1.02, 1.0), xycoords="axes fraction", va="bottom", fontsize="small")
