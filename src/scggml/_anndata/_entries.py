"""What entries of `.uns` must look like to be read: they may have been damaged, edited, or made by someone else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scggml._keys import HELD_OUT, N_CELLS, N_POINTS, STATUSES
from scggml._warnings import warn
from scggml.reference._values import TEXTS

from ._schema import Entry, Fault, Flag, Number, Numbers, Table, Text, Texts, read_entry
from ._writing import plain

if TYPE_CHECKING:
    from anndata import AnnData


def _solver_rule(entry: Mapping[str, Any]) -> Fault | None:
    entropic = str(entry.get("solver", "exact")).startswith("sinkhorn")
    return (("epsilon",), "be there, as the solver is entropic") if entropic and "epsilon" not in entry else None


def _distances_rule(entry: Mapping[str, Any]) -> Fault | None:
    if entry.get("status") == HELD_OUT and entry.get("folds") is None:
        return ("folds",), "be there, as the distances are held-out"
    return _solver_rule(entry)


def _classes_rule(entry: Mapping[str, Any]) -> Fault | None:
    return None if entry.get("classes") is not None else (("classes",), "be there")  # empty for continuous labels


def _tuning_rule(entry: Mapping[str, Any]) -> Fault | None:
    for table in ("inner", "outer"):
        missing = [str(name) for name in np.atleast_1d(entry["params"]["names"]) if name not in entry[table]]
        if missing:
            return (table,), f"have a column {missing[0]!r}, a parameter that was tuned"
    return None


def _calibration_rule(entry: Mapping[str, Any]) -> Fault | None:
    known = entry["held_out"]["label"].astype(str).isin(list(entry["classes"]))
    return None if known.all() else (("held_out", "label"), "hold the classes of the calibration")


def _reference_rule(entry: Mapping[str, Any]) -> Fault | None:
    offsets, n_points = np.asarray(entry["offsets"]), len(entry["points"])
    n_samples = len(entry["samples"])
    if len(offsets) != n_samples + 1 or offsets[0] != 0 or offsets[-1] != n_points or (np.diff(offsets) < 1).any():
        return ("offsets",), f"rise from 0 to {n_points} in {n_samples} steps"
    if entry.get("weights") is not None:
        totals = np.add.reduceat(np.asarray(entry["weights"], dtype=np.float64), offsets[:-1].astype(np.int64))
        if not np.allclose(totals, 1.0, rtol=0, atol=1e-9):
            return ("weights",), "sum to one in each sample"
    genes, clusters = entry.get("genes"), entry.get("clusters")
    if genes is not None and "loadings" not in genes and len(genes["names"]) != len(entry["metric"]["scale"]):
        return ("genes", "names"), f"hold {len(entry['metric']['scale'])} texts, the features of the metric"
    if genes is not None and "loadings" in genes:
        missing = [name for name in ("unit", "offset") if name not in genes]
        if missing:
            return ("genes", missing[0]), "be there, as loadings are"
    if clusters is not None and np.sum(clusters["n_clusters"]) != len(clusters["centroids"]):
        return ("clusters", "n_clusters"), f"sum to {len(clusters['centroids'])}, the number of centroids"
    if clusters is not None and "novelty" not in entry.get("calibration", ()):
        return ("calibration", "novelty"), "be there, as clusters are"
    return None


_PARAMS: Final = {
    name: Text(optional=True)
    for name in ("sample_key", "label_key", "use_rep", "layer", "batch_key", "donor_key", "sketch_key")
} | {"label_kind": Text(("class", "ordinal", "continuous"), optional=True)}
_SOLVERS: Final = ("exact", "pot", "sinkhorn", "sinkhorn_divergence")

METRIC: Final = Entry({
    "components": Numbers(("n_components", "n_features")),
    "scale": Numbers(("n_features",), above=0),
    "params": Entry({**_PARAMS, "learner": Entry(optional=True)}),
    "space": Entry({
        "genes": Texts("n_space_genes"),
        "loadings": Numbers(("n_space_genes", "n_features")),
        "n_genes": Number(minimum=0),
    }, optional=True),
    "fingerprint": Numbers(("n_components",), optional=True),
    "features": Texts("n_features", optional=True),
    "learned_from": Entry({"samples": Texts("n_learned_from"), "labels": Texts("n_learned_from")}, optional=True),
    "solver": Text(_SOLVERS, optional=True),
    "epsilon": Number(above=0, optional=True),
    "loss_history": Numbers(("n_iterations",), optional=True),
    "converged": Flag(optional=True),
    "label_signal": Number(minimum=0, optional=True),
    "label_p_value": Number(minimum=0, optional=True),
}, _solver_rule)  # fmt: skip
DISTANCES: Final = Entry({
    "params": Entry(_PARAMS),
    "metric": Text(("learned", "euclidean", "cityblock", "cosine")),
    "solver": Text(_SOLVERS),
    "epsilon": Number(above=0, optional=True),
    "gap": Number(minimum=0, optional=True),
    "status": Text(STATUSES, optional=True),
    "folds": Numbers(("n_samples",), minimum=0, integers=True, optional=True),
}, _distances_rule)  # fmt: skip
SKETCH: Final = Entry({
    "params": Entry({"sample_key": Text(), "method": Text(("coreset", "cell_type"))}),
    "samples": Table((), (N_CELLS, N_POINTS, "error"), optional=True),
})  # fmt: skip
CALIBRATION: Final = Entry({
    "classes": Texts("n_classes"),
    "inverse_temperature": Number(minimum=0),
    "unit": Number(above=0),
    "held_out": Table(("label", "predicted"), ("distance",), size="n_samples"),
    "novelty": Table((), size="n_samples", optional=True),
    "scores": Entry(),
}, _calibration_rule)  # fmt: skip
REFERENCE: Final = Entry({
    "metric": METRIC,
    "params": Entry({**_PARAMS, "sample_key": Text(), "label_key": Text()}),
    "samples": Texts("n_samples"),
    "points": Numbers(("n_points", "n_components")),
    "offsets": Numbers(("n_offsets",), minimum=0, integers=True),
    "weights": Numbers(("n_points",), minimum=0, optional=True),
    "genes": Entry({
        "names": Texts("n_genes"),
        "mean": Numbers(("n_genes",)),
        "sd": Numbers(("n_genes",), minimum=0),
        "values": Entry({"kind": Text(tuple(TEXTS)),
                         "total_quantiles": Numbers((5,), minimum=0, optional=True),
                         "target_sum": Number(above=0, optional=True)}),
        "loadings": Numbers(("n_genes", "n_features"), optional=True),
        "unit": Numbers(("n_genes",), above=0, optional=True),
        "offset": Numbers(("n_features",), optional=True),
    }, optional=True),
    "clusters": Entry({
        "centroids": Numbers(("n_all_clusters", "n_features"), finite=False),
        "n_clusters": Numbers(("n_clusterings",), minimum=1, integers=True),
        "variance": Numbers(("n_genes",), minimum=0),
    }, optional=True),
    "calibration": replace(CALIBRATION, optional=True),
}, _reference_rule)  # fmt: skip
_POWER: Final = (
    "n_samples",
    "n_cells",
    "balanced_accuracy",
    "accuracy_low",
    "accuracy_high",
    "power",
    "power_low",
    "power_high",
)
_CLASSES: Final = ("class_a", "class_b")
EXPLANATION: Final = Entry({
    "params": Entry(),
    "summary": Table(_CLASSES, ("distance",), size="n_comparisons"),
    "cell_types": Table((*_CLASSES, "cell_type"), ("distance",)),
    "flows": Table((*_CLASSES, "source", "target"), ("mass", "cost", "share", "excess")),
    "pairs": Table((*_CLASSES, "sample_a", "sample_b"), ("distance",)),
    "genes": Entry({
        "names": Texts("n_genes"),
        "parts": Texts("n_parts"),
        "distance": Numbers(("n_comparisons", "n_parts", "n_genes")),
        "remainder": Numbers(("n_comparisons", "n_parts")),
    }, optional=True),
})  # fmt: skip
CROSS_VALIDATION: Final = Entry({
    "params": Entry({"n_splits": Number(minimum=1), "leave_one_out": Flag()}),
    "predictions": Table(("method", "classifier", "sample", "donor", "label", "predicted"), ("repeat", "fold")),
    "scores": Table(("method", "classifier", "score"), ("repeat", "fold", "value")),
}, _classes_rule)  # fmt: skip
TUNING: Final = Entry({
    "params": Entry({"names": Texts("n_names"), "score": Text()}),
    "inner": Table((), ("fold", "setting", "inner_score")),
    "outer": Table(()),
    "score": Number(),
    "best": Entry(optional=True),
}, _tuning_rule)  # fmt: skip
POWER: Final = Entry({
    "params": Entry({"n_units": Number(minimum=1)}),
    "classes": Texts("n_classes"), "table": Table((), _POWER),
})  # fmt: skip
BARYCENTERS: Final = Entry({"fingerprint": Numbers(("n_components",), optional=True)})
SEPARATION: Final = Entry({
    "params": Entry({"n_permutations": Number(minimum=1)}),
    "table": Table((), ("statistic", "null_mean", "null_sd", "p_value", "n_permutations"), size="n_tests"),
    "null": Numbers(("n_permutations", "n_tests")),
})  # fmt: skip
PREDICTION: Final = Entry({"classes": Texts("n_classes")})
JOINT_SPACE: Final = Entry({
    "n_features": Numbers(("n_modalities",), minimum=1, integers=True), "modalities": Texts("n_modalities"),
})  # fmt: skip


def stored_entry(adata: AnnData, name: str, wanted: Entry, what: str, how: str) -> dict[str, Any]:
    """Return what a function has written to `.uns`, checked, or say how to make it.

    Parameters
    ----------
    adata
        Where it is stored.
    name
        Its key in `.uns`.
    wanted
        What it must look like.
    what, how
        How messages call it, and the call that makes it, such as "sg.tl.tune(adata, ...)".
    """
    if name not in adata.uns:
        msg = f"there is no {what} in uns[{name!r}]. Run {how} first."
        raise KeyError(msg)
    again = f"Run {how.partition('(')[0]} again."
    return read_entry(adata.uns[name], wanted, f"uns[{name!r}]", again)


def other_label(entry: Mapping[str, Any], label_key: str) -> str | None:
    """Return the label that results are about, if it is known and not this one."""
    found = plain(entry["params"].get("label_key"))
    return None if found is None or str(found) == label_key else str(found)


def warn_about_label(adata: AnnData, key: str, entry: Mapping[str, Any], function: str) -> None:
    """Warn if results are about another label than that of the metric with the same key.

    Parameters
    ----------
    adata
        Where both are stored.
    key
        Their key.
    entry
        The results.
    function
        What made them, as text.
    """
    metric = adata.uns.get(key)
    params = metric.get("params") if isinstance(metric, Mapping) else None
    fitted = plain(params.get("label_key")) if isinstance(params, Mapping) else None
    label = None if fitted is None else other_label(entry, str(fitted))
    if label is not None:
        msg = (
            f"these results of {function} are about label_key={label!r}, but the metric in uns[{key!r}] was "
            f"learned from {str(fitted)!r}. Run {function} again for that label."
        )
        warn(msg)
