"""The summary of a run, as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from scggml._keys import HELD_OUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

N_GENES = 20


def _held_out(validation: dict[str, Any], *, by_donor: bool) -> list[str]:
    """Return lines on held-out accuracy, from what `fit_metric(validate=True)` wrote."""
    units = "donors" if by_donor else "samples"
    how = f"{validation['n_splits']} folds of {units}, the metric learned without those held out;"
    if not validation["n_correct"]:
        return [
            f"Held-out accuracy ({how} mean label of the nearest samples):",
            *(
                f"  {text:<15} rank correlation {validation[score]:.2f} between label and prediction"
                for text, score in (("learned metric", "value"), ("Euclidean OT", "euclidean"))
            ),
        ]
    lines = [
        f"Held-out accuracy ({how}",
        "a sample is assigned to the class whose nearest samples are closest on average):",
    ]
    for method, text, score in (("ggml", "learned metric", "value"), ("euclidean", "Euclidean OT", "euclidean")):
        correct, n, balanced = validation["n_correct"][method], validation["n_predictions"], validation[score]
        lines.append(f"  {text:<15} {correct}/{n} correct ({correct / n:.2f}), balanced accuracy {balanced:.2f}")
    separations = [validation[name] for name in ("separation", "euclidean_separation")]
    if all(map(math.isfinite, separations)):
        lines.append(
            "  separation of classes, in standard deviations: learned metric {:.2f}, Euclidean OT {:.2f} "
            "(95 % interval of the difference {:.2f} to {:.2f})".format(
                *separations, *(validation[name] for name in ("difference_low", "difference_high"))
            )
        )
    return lines


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
    if "validation" in entry:
        lines += _held_out(entry["validation"], by_donor="donor_key" in params)
        if params["use_rep"] != "X":
            lines.append(f"  ({params['use_rep']} itself was computed on all samples, without labels.)")
    else:
        lines.append(f"Held-out accuracy: not computed, {_few(params)} fewer than 3 {_units(params)}.")
    lines += ["", *more]
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
