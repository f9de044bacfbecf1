"""A paragraph for the methods section of a paper, made of what was done."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scggml._keys import HELD_OUT, TRAINING

from ._texts import number, p_value, several

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scggml._anndata._stored_metric import StoredMetric

    from ._scores import Accuracy

_CITATIONS = [
    "Kühn D, Schaub MT. Global Ground Metric Learning with Applications to scRNA data. Proceedings of the 28th "
    "International Conference on Artificial Intelligence and Statistics, PMLR 258:3295\N{EN DASH}3303, 2025. "
    "https://proceedings.mlr.press/v258/kuhn25a.html",
]


def methods_text(learned: StoredMetric, about: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the paragraph, and after it what it cites."""
    params = learned.params
    kind = {"ordinal": "the ordinal label", "continuous": "the continuous label"}.get(about["label_kind"], "the label")
    n_donors = about["n_donors"]
    unit = "patient" if n_donors is None else "sample"
    of_donors = "" if n_donors is None else f" of {several(n_donors, 'donor')}"
    text = [
        f"{unit.capitalize()}s were compared by optimal transport between their cells with scggml {version('scggml')}. "
        f"Each of {several(about['n_patients'], unit)}{of_donors} was represented by the distribution of its cells "
        f"({about['n_cells']:,} cells in all) over {about['representation']}. A linear ground metric with "
        f"{several(about['n_components'], 'component')} was learned from {kind} \N{LEFT DOUBLE QUOTATION MARK}"
        f"{about['label_key']}\N{RIGHT DOUBLE QUOTATION MARK} of the {unit}s by global ground metric learning "
        "(K\u00fchn and Schaub, 2025)."
    ]
    within = [
        f"{what} ({params[name]})"
        for name, what in (("batch_key", "batch"), ("donor_key", "donor"))
        if params.get(name)
    ]
    if within:
        text.append(f"{unit.capitalize()}s with different labels were compared within {' and '.join(within)} only.")
    shown = about["distances"]
    if shown.status == HELD_OUT:
        donors = ", samples of one donor in one fold" if params.get("donor_key") else ""
        text.append(
            f"Distances shown are held-out: {unit}s were divided into {shown.folds} folds{donors}, and the metric of "
            f"two {unit}s was learned without the folds of both."
        )
    elif shown.status == TRAINING:
        text.append("Distances shown are those under the metric that has seen all labels.")
    accuracy: Accuracy | None = found["accuracy"]
    own = None if accuracy is None else accuracy.own
    if accuracy is not None and own is not None:
        how = "leave-one-out" if accuracy.leave_one_out else f"{accuracy.n_splits}-fold"
        text.append(
            "Labels of held-out patients were predicted from their distances to the training patients, with the metric "
            f"learned again within each fold ({how} cross-validation): {accuracy.score} {number(own['value'])}"
            f"{_interval(own)}{_against(accuracy)}."
        )
    test = found["permutations"]
    if test is not None:
        p = p_value(test["p"])
        inside = f" within {' and '.join(test['within'])}" if test["within"] else ""
        text.append(
            f"A permutation test ({several(test['n'], 'permutation')} of the labels{inside}, the metric learned again "
            f"in each) gave p {p if p.startswith('<') else f'= {p}'}."
        )
    genes = found["genes"]
    if genes is not None and genes["n_boot"]:
        text.append(f"Intervals of gene weights are those of {several(genes['n_boot'], 'bootstrap')} over patients.")
    types = found["cell_types"]
    if types is not None:
        by = f" by cell type ({types['cell_type_key']})" if types["cell_type_key"] else ""
        text.append(
            "Distances between classes, in excess of those within classes, were decomposed along the transport "
            f"plans{by}."
        )
    new = found["new_patients"]
    if new is not None:
        flags = f" and flagged as outliers at a level of {number(new.alpha)}" if new.has_predictions else ""
        what = "predicted from their distances to" if new.has_predictions else "compared with"
        were = "was" if len(new.rows) == 1 else "were"
        text.append(
            f"{several(len(new.rows), 'new patient')} that the metric has not seen {were} {what} these patients{flags}."
        )
    return [" ".join(text), *_CITATIONS]


def _interval(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return ""
    return f" (95\u202f% interval {number(row['low'])} to {number(row['high'])})"


def _against(accuracy: Accuracy) -> str:
    other = accuracy.baseline
    return "" if other is None else f", Euclidean transport {number(other['value'])}{_interval(other)}"
