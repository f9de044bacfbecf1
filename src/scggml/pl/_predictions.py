"""Predictions of held-out samples, and of new ones with their probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._entries import warn_about_label
from scggml._arguments import checked, choice, text
from scggml._docs import shared_doc
from scggml._keys import OUTLIER, PREDICTED, Keys
from scggml.evaluation._cross_validation import MAIN, MAIN_ORDERED, decoded, summary
from scggml.evaluation._scores import margins
from scggml.get import predictions as get_predictions
from scggml.get._scores import stored_scores

from ._axes import HIGHLIGHT, PLAIN, drawing, text_width
from ._colors import class_shades
from ._legends import Arranged, legend_beside, make_room
from ._names import drawn_text, of_label

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_HELD_OUT = ("confusion", "roc", "values")
_NEW = "probabilities"
_LINE = 20  # characters of a class on one line, ...
_TITLE_LINE = 40  # ... and of a title
_NAME = 28  # letters of a new sample's name
_MAX_NAMED = 60  # new samples; with more, the names are too small to read
_MAX_WRITTEN = 16  # classes; with more, the numbers are too small to read
_CELL = 0.62  # side of a cell of a confusion matrix, in inches


@shared_doc
@checked(what=choice(*_HELD_OUT, _NEW), method=text("a method"))
def predictions(
    adata: AnnData,
    *,
    what: Literal["confusion", "roc", "values", "probabilities"] | None = None,
    method: str | None = None,
    key: str = "ggml",
    ax: Axes | None = None,
) -> Axes:
    """Plot what was predicted of held-out samples, or of new ones.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.cross_validate`; or samples, after :func:`scggml.tl.predict_samples`.
    what
        Of held-out samples: "confusion" for the number of samples of each class by predicted class, on colours that are
        shares of the class; "roc" for receiver operating characteristics, of all methods for two classes, and of each
        class against the others for more; "values" for ordinal and continuous labels, predicted against true. Of new
        samples: "probabilities" of the classes, where outliers are marked. None for the first that there is.
    method
        Method of the cross-validation. None for "ggml", or the first; for "roc" of two classes, all methods.
    %(key)s
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError, TypeError
        If nothing was predicted, there is no such method, or the labels are of another kind.

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
        >>> ax = sg.pl.predictions(adata)
        >>> ax = sg.pl.predictions(adata, what="roc", method="euclidean")
    """
    if Keys(key).prediction in adata.uns:
        if what not in (None, _NEW) or method is not None:
            wrong = f"what={what!r}" if what not in (None, _NEW) else f"method={method!r}"
            msg = f"{wrong} is about held-out samples, but these are predictions of new ones. Leave it out."
            raise ValueError(msg)
        return _draw_probabilities(adata, get_predictions(adata, key=key), ax)
    entry = stored_scores(adata, key)
    warn_about_label(adata, key, entry, "sg.tl.cross_validate")
    table, label = entry["predictions"], entry["params"].get("label_key")
    ordered = "value" in table
    if what is None:
        what = "values" if ordered else "confusion"
    if what == _NEW or (what == "values") != ordered:
        kind = "ordinal or continuous labels" if ordered else "classes"
        known = ("values",) if ordered else _HELD_OUT[:2]
        found = check.listed([repr(name) for name in known])
        msg = f"what={what!r} cannot be drawn of held-out samples with {kind}. Pass one of {found}."
        raise ValueError(msg)
    methods = list(table["method"].unique())
    if method is not None:
        check.check_choice("method", method, methods)
    main = method or ("ggml" if "ggml" in methods else methods[0])
    classes = [str(name) for name in entry["classes"]]
    if what == "roc":
        several = methods if method is None and len(classes) == 2 else [main]
        return _draw_roc(adata, entry, classes, several, ax)
    part = _judged(table, main)
    title = drawn_text(of_label(label, f"held-out samples, {main}"), _TITLE_LINE)
    if what == "values":
        return _draw_values(part, title, ax)
    return _draw_confusion(part, _in_order(adata, label, classes), title, ax)


def _in_order(adata: AnnData, label: str | None, classes: list[str]) -> list[str]:
    """Return the classes in the order of the label's categories, if `.obs` holds these."""
    column = adata.obs[label] if label in adata.obs.columns else None
    if column is None or not isinstance(column.dtype, pd.CategoricalDtype):
        return classes
    known = [str(name) for name in column.cat.categories if str(name) in classes]
    return known if set(known) == set(classes) else classes


def _judged(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the predictions of a method by the classifier that methods are judged by, or else by its first one."""
    part = table[table["method"] == method]
    main = part[part["classifier"].isin([MAIN[0], MAIN_ORDERED[0]])]
    return main if len(main) else part[part["classifier"] == part["classifier"].iloc[0]]


def _draw_confusion(part: pd.DataFrame, classes: list[str], title: str, ax: Axes | None) -> Axes:
    from matplotlib.ticker import PercentFormatter

    truth, predicted, _ = decoded(part, classes)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (truth, predicted), 1 / part["repeat"].nunique())
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    names = [drawn_text(name, _LINE, lines=3) for name in classes]
    room, n = text_width(names), len(classes)
    with drawing(ax, 2.2 + room + _CELL * max(n, 3), 1.5 + min(room, 2.4) + _CELL * max(n, 3)) as ax:
        image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ax.figure.colorbar(image, ax=ax, label="share of the true class", shrink=0.8, format=PercentFormatter(1))
        ax.set_xticks(range(n), labels=names, rotation=90 if max(map(len, classes)) > 5 else 0)
        ax.set_yticks(range(n), labels=names)
        ax.set(xlabel="predicted class", ylabel="true class")
        ax.set_title(title, fontsize="medium")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        for (i, j), count in np.ndenumerate(counts):
            if n <= _MAX_WRITTEN:
                color = "white" if shares[i, j] > 0.5 else "black"
                ax.text(j, i, f"{count:.3g}", ha="center", va="center", color=color, fontsize="small")
    return ax


def _draw_roc(adata: AnnData, entry: dict[str, Any], classes: list[str], methods: list[str], ax: Axes | None) -> Axes:
    """Draw one curve for each method of two classes, or for each class of one method."""
    import seaborn as sns
    from sklearn.metrics import roc_auc_score, roc_curve

    parts = {name: _judged(entry["predictions"], name) for name in methods}
    lead = {name: _leads(part, classes) for name, part in parts.items()}
    left_out = [name for name, found in lead.items() if found is None]
    if len(left_out) == len(methods):
        msg = (
            f"what='roc' needs a score of each class, which {check.listed(left_out)} did not give. Pass another method."
        )
        raise ValueError(msg)
    curves: dict[str, tuple[str, Any]] = {}
    label = entry["params"].get("label_key")
    if len(classes) == 2:
        title = f"{classes[1]} against {classes[0]}, held-out samples"
        areas = summary(entry["predictions"], entry["scores"], classes=classes).query("score == 'roc_auc'")
        areas = areas.drop_duplicates(["method", "classifier"]).set_index(["method", "classifier"])
        others = iter(sns.color_palette("colorblind", max(len(methods), 2)))
        for name, found in lead.items():
            shade = next(others)
            if found is None:
                continue
            row = areas.loc[(name, parts[name]["classifier"].iloc[0])]
            text_ = f"{name}: {row['value']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
            curves[text_] = (HIGHLIGHT if name == "ggml" else shade), roc_curve(found[0] == 1, found[1][:, 1])[:2]
    else:
        main = methods[0]
        truth, scores = lead[main]
        title = f"each class against the others, held-out samples, {main}"
        shades = class_shades(adata, str(label), classes)
        for c, name in enumerate(classes):
            if (truth == c).any():
                area = roc_auc_score(truth == c, scores[:, c])
                curves[f"{name}: {area:.2f}"] = shades[name], roc_curve(truth == c, scores[:, c])[:2]
    with drawing(ax, 4.4 + Arranged(list(curves)).width, 4.2) as ax:
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":", zorder=0)
        handles = [ax.plot(*rates, color=shade, linewidth=2, clip_on=False)[0] for shade, rates in curves.values()]
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="false positive rate", ylabel="true positive rate")
        ax.set_aspect("equal")
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(drawn_text(of_label(label, title), _TITLE_LINE), fontsize="medium")
        make_room(ax, legend_beside(ax, handles, list(curves), "area under the curve"))
    return ax


def _leads(part: pd.DataFrame, classes: list[str]) -> Any:
    """Return the true class and the lead of each class over the best other, as in the scores; None without scores."""
    truth, _, fits = decoded(part, classes)
    return None if fits is None else (truth, margins(fits))


def _draw_values(part: pd.DataFrame, title: str, ax: Axes | None) -> Axes:
    with drawing(ax, 4.4, 4.0) as ax:
        true, predicted = part["value"], part["predicted_value"]
        ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
        ax.plot(ends, ends, color="0.6", linewidth=1, linestyle=":", zorder=0)
        ax.scatter(true, predicted, color=PLAIN, s=36, edgecolors="white", linewidths=0.5, alpha=0.8)
        ax.set(xlabel="true value", ylabel="predicted value")
        ax.set_title(title, fontsize="medium")
        ax.spines[["top", "right"]].set_visible(False)
    return ax


def _draw_probabilities(adata: AnnData, table: pd.DataFrame, ax: Axes | None) -> Axes:
    """Draw a bar of probabilities for each new sample; outliers are marked at its end."""
    from matplotlib.patches import Patch

    prefix = "probability: "
    columns = [name for name in table.columns if name.startswith(prefix)]
    classes = [name[len(prefix) :] for name in columns]
    shades = class_shades(adata, PREDICTED, classes)
    n = len(table)
    names = [drawn_text(str(name), letters=_NAME) for name in table.index] if n <= _MAX_NAMED else []
    width = 4.4 + text_width(names) + Arranged(classes).width
    with drawing(ax, width, max(1.4 + 0.24 * min(n, _MAX_NAMED), 0.8 + 0.3 * Arranged(classes).n_rows)) as ax:
        left: NDArray[np.float64] = np.zeros(n)
        for column, name in zip(columns, classes, strict=True):
            share = table[column].to_numpy(dtype=np.float64)
            ax.barh(range(n), share, left=left, color=shades[name], height=0.8 if names else 1.0)
            left = left + share
        flagged = np.flatnonzero(table[OUTLIER].to_numpy(dtype=bool))
        ax.scatter(np.full(len(flagged), 1.03), flagged, marker="x", color="black", s=24, clip_on=False)
        ax.set_yticks(range(len(names)), labels=names)
        ax.set(xlim=(0, 1), xlabel="probability", ylabel="" if names else "new samples")
        ax.set_ylim(max(n, 1) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        title = f"{n} new sample{'s' if n != 1 else ''}"
        if len(flagged):
            title += f", {len(flagged)} of them outlier{'s' if len(flagged) > 1 else ''} (x)"
        ax.set_title(title, fontsize="medium")
        label = table.attrs["label_key"]
        legend = legend_beside(ax, [Patch(color=shades[c]) for c in classes], classes, label or "")
        legend.set_bbox_to_anchor((1.06, 0.5))
        make_room(ax, legend)
    return ax
