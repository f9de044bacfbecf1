"""The summary of a run, as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import scggml as sg
from scggml._keys import HELD_OUT, Keys
from scggml.evaluation._cross_validation import BATCHES, DISTANCES, LOGISTIC, RIDGE, main_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd
    from anndata import AnnData

N_GENES = 20
_KEYS = Keys()
_METHODS = {  # and their classifiers, None for the one that methods are judged by
    ("ggml", None): "learned metric",
    ("euclidean", None): "Euclidean OT",
    ("pseudobulk", None): "pseudobulks",
    ("pseudobulk", LOGISTIC): "pseudobulks, logistic regression",
    ("pseudobulk", RIDGE): "pseudobulks, ridge regression",
}


def _held_out(adata: AnnData, *, by_donor: bool) -> list[str]:
    """Return lines on how well held-out samples are predicted."""
    params = adata.uns[_KEYS.cross_validation]["params"]
    units = "donors" if by_donor else "samples"
    how = f"{params['n_splits']} folds of {units}, the metric learned without those held out;"
    is_class = params["label_kind"] == "class"
    classifier, score = main_of(params["label_kind"])
    table = sg.get.scores(adata, baseline="euclidean").to_dict("records")
    rows: dict[tuple[str, str, str], dict[Hashable, Any]] = {
        (row["method"], row["classifier"], row["score"]): row for row in table
    }
    names = {text: (method, rule or classifier) for (method, rule), text in _METHODS.items()}
    names = {text: name for text, name in names.items() if (*name, score) in rows}
    rule = "a sample is assigned to the class whose nearest samples are closest on average"
    lines = [f"Held-out accuracy ({how}", f"{rule if is_class else 'mean label of the nearest samples'}):"]
    width = max(map(len, names))
    for text, name in names.items():
        own = rows[*name, score]
        value = f"{own['value']:.2f} (95 % interval {own['ci_low']:.2f} to {own['ci_high']:.2f})"
        if is_class:
            accuracy, n = rows[*name, "accuracy"]["value"], int(own["n"])
            value = f"{accuracy * n:.0f}/{n} correct ({accuracy:.2f}), balanced accuracy {value}"
        else:
            value = f"rank correlation {value} between label and prediction"
        lines.append(f"  {text:<{width}}  {value}")
    own, euclidean = (rows[method, classifier, score] for method in ("ggml", "euclidean"))
    better = "right" if is_class else "closer"
    lines.append(
        f"  {own['only_method']:.0f} {units} are {better} with the learned metric only, {own['only_baseline']:.0f} "
        f"with Euclidean OT only (p = {own['p_value']:.2g})"
    )
    if not own["value"] > euclidean["value"]:
        lines.append("  The learned metric is not better than Euclidean OT here.")
    if is_class:
        apart = [rows[method, DISTANCES, "separation"] for method in ("ggml", "euclidean")]
        if all(math.isfinite(row["value"]) for row in apart):
            lines.append(
                f"  separation of classes, in standard deviations: learned metric {apart[0]['value']:.2f}, Euclidean "
                f"OT {apart[1]['value']:.2f} (95 % interval of the difference {apart[0]['difference_low']:.2f} to "
                f"{apart[0]['difference_high']:.2f})"
            )
    batch = rows.get(("ggml", BATCHES, "balanced_accuracy"))
    if batch is not None:
        lines.append(
            f"  the batch of held-out samples is predicted with balanced accuracy {batch['value']:.2f}: the lower the "
            "better"
        )
    return lines


def _permutations(adata: AnnData) -> list[str]:
    """Return a line on the permutation test, if it was run."""
    if _KEYS.separation not in adata.uns:
        return []
    table = adata.uns[_KEYS.separation]["table"]
    n = int(table.loc["learned", "n_permutations"])
    return [
        f"Permutation test ({n} permutations of the labels, the metric learned again for each): p = "
        f"{table.loc['learned', 'p_value']:.2g}; Euclidean OT p = {table.loc['euclidean', 'p_value']:.2g}"
    ]


def _signal(entry: dict[str, Any]) -> str:
    """Return how much transport depends on the labels, if that was measured."""
    if not math.isfinite(entry.get("label_signal", math.nan)):
        return ""
    return (
        f"; signal of the labels {entry['label_signal']:.2f} (0: none, so that the metric is Euclidean; 1: strong), "
        f"p = {entry['label_p_value']:.2g}"
    )


def summary(
    adata: AnnData,
    pdata: AnnData,
    label_key: str,
    table: pd.DataFrame | None,
    changed: set[str] | None,
    more: Sequence[str] = (),
) -> str:
    """Return how well the metric separates classes, on held-out samples, and its first genes."""
    entry = adata.uns["ggml"]
    params = entry["params"]
    labels = pdata.obs[label_key]
    if params["label_kind"] == "continuous":
        classes = f"{label_key} from {labels.min():g} to {labels.max():g}"
    else:
        classes = ", ".join(f"{name} {count}" for name, count in labels.astype(str).value_counts().sort_index().items())
    lines = [
        "scggml summary",
        "",
        (
            f"Samples: {pdata.n_obs} ({classes}); cells: {adata.n_obs}; features: {len(entry['scale'])} of "
            f"{params['use_rep']}"
        ),
        f"Metric: {len(entry['components'])} components{_signal(entry)}",
        "",
    ]
    if _KEYS.cross_validation in adata.uns:
        lines += _held_out(adata, by_donor="donor_key" in params)
        if params["use_rep"] != "X":
            lines.append(f"  ({params['use_rep']} itself was computed on all samples, without labels.)")
    else:
        lines.append(f"Held-out accuracy: not computed, {_few(params)} fewer than 3 {_units(params)}.")
    lines += [*_permutations(adata), "", *more]
    if HELD_OUT in pdata.uns:
        lines += [
            "Files named held_out show each two samples under a metric that has seen the label of neither.",
            "Files named training show the samples that the metric was learned on, and so flatter it.",
            "",
        ]
    else:
        lines += [
            "The map and the heatmap show the samples that the metric was learned on, and so flatter it. Held-out ones",
            f"need 4 {_units(params)}{' of every class' if params['label_kind'] == 'class' else ''}.",
            "",
        ]
    if table is None:
        lines.append(f"Genes: none, {params['use_rep']} does not lead back to genes.")
    else:
        top = list(table.index[:N_GENES])
        names = ", ".join(f"{gene}*" if changed and gene in changed else str(gene) for gene in top)
        lines.append(f"Top {len(top)} genes: {names}")
        if changed:
            hits = sum(gene in changed for gene in top)
            lines.append(
                f"  {hits} of them (*) are among the {len(changed)} genes that the simulated disease changes; "
                f"by chance {len(top) * len(changed) / len(table):.1f} would be"
            )
    return "\n".join(lines) + "\n"


def _few(params: dict[str, Any]) -> str:
    return "a class has" if params["label_kind"] == "class" else "there are"


def _units(params: dict[str, Any]) -> str:
    return "donors" if "donor_key" in params else "samples"
