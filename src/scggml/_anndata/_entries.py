"""What entries of `.uns` must look like to be read: they may have been damaged, edited, or made by someone else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._data import LARGEST
from scggml._keys import HELD_OUT, N_CELLS, N_POINTS, STATUSES
from scggml.reference._values import TEXTS

from ._writing import plain

Fault: TypeAlias = tuple[tuple[str, ...], str]  # names of the fields that lead there, and what should be there


class Wanted(Protocol):
    """A kind of value. `fault` says what is wrong with one, or returns None; `sizes` holds the dimensions known."""

    @property
    def optional(self) -> bool:
        """Whether a field may be missing."""

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        """Return a fault within the value, or None."""


@dataclass(frozen=True)
class Numbers:
    """An array of numbers; dimensions of the same name have the same size within an entry."""

    shape: tuple[str, ...]
    minimum: float | None = None
    above: float | None = None
    integers: bool = False
    finite: bool = True
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        array = _as_array(value)
        kind = "integers" if self.integers else "numbers"
        bounds = "" if self.minimum is None else f", at least {self.minimum:g}"
        bounds += "" if self.above is None else f", greater than {self.above:g}"
        known = " x ".join(str(sizes.get(name, name)) for name in self.shape)
        text = f"hold {known}{' finite' if self.finite else ''} {kind}{bounds}"
        if array is None or array.dtype.kind not in ("iu" if self.integers else "iuf"):
            return (), text
        if array.ndim == 0 and len(self.shape) == 1:  # some readers make one value of an array of length one
            array = array.reshape(1)
        expected = tuple(sizes.get(name, n) for name, n in zip(self.shape, array.shape, strict=False))
        if array.ndim != len(self.shape) or array.shape != expected:
            return (), text
        low = (self.minimum is None or (array >= self.minimum).all()) and (
            self.above is None or (array > self.above).all()
        )
        if not low or (self.finite and not np.isfinite(array).all()) or np.isnan(array).any():
            return (), text
        if float(np.abs(array[np.isfinite(array)]).max(initial=0)) > LARGEST:
            return (), f"hold numbers of at most {LARGEST:g} in size"
        sizes.update(zip(self.shape, array.shape, strict=True))
        return None


@dataclass(frozen=True)
class Number:
    """One number."""

    minimum: float | None = None
    above: float | None = None
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        array = _as_array(value)
        bounds = "" if self.minimum is None else f" of at least {self.minimum:g}"
        bounds += "" if self.above is None else f" greater than {self.above:g}"
        one = array is not None and array.size == 1 and array.dtype.kind in "iuf" and np.isfinite(array).all()
        if array is None or not one:
            return (), f"be a finite number{bounds}"
        number = float(array.ravel()[0])
        low = (self.minimum is None or number >= self.minimum) and (self.above is None or number > self.above)
        return None if low else ((), f"be a finite number{bounds}")


@dataclass(frozen=True)
class Flag:
    """True or false."""

    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        array = _as_array(value)
        return None if array is not None and array.size == 1 and array.dtype.kind == "b" else ((), "be true or false")


@dataclass(frozen=True)
class Text:
    """A text, one of the choices if there are any."""

    choices: tuple[str, ...] = ()
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        texts = _as_texts(value)
        if texts is not None and len(texts) == 1 and (not self.choices or texts[0] in self.choices):
            return None
        return (), f"be one of {', '.join(map(repr, self.choices))}" if self.choices else "be a text"


@dataclass(frozen=True)
class Texts:
    """An array of texts."""

    size: str
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        texts = _as_texts(value)
        if texts is None or len(texts) != sizes.get(self.size, len(texts)):
            return (), f"hold {sizes.get(self.size, '')} texts".replace("  ", " ")
        sizes[self.size] = len(texts)
        return None


@dataclass(frozen=True)
class Table:
    """A data frame with some columns, of numbers where `numeric` names them."""

    columns: tuple[str, ...]
    numeric: tuple[str, ...] = ()
    size: str | None = None
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        rows = "" if self.size is None else f" of {sizes.get(self.size, 'some')} rows"
        names = ", ".join((*self.columns, *self.numeric)) or "any names"
        text = f"be a data frame{rows} with the columns {names}"
        if not isinstance(value, pd.DataFrame) or not value.columns.is_unique:
            return (), text
        if not {*self.columns, *self.numeric} <= set(value.columns):
            return (), text
        if self.size is not None and len(value) != sizes.setdefault(self.size, len(value)):
            return (), text
        for name in self.numeric:
            if not pd.api.types.is_numeric_dtype(value[name]) or pd.api.types.is_bool_dtype(value[name]):
                return (name,), "hold numbers"
        return None


@dataclass(frozen=True)
class Entry:
    """A mapping with these fields; others may be there too. `rule` is about several of them, as `fault`."""

    fields: Mapping[str, Wanted] = field(default_factory=dict)
    rule: Callable[[Mapping[str, Any]], Fault | None] | None = None
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        if not isinstance(value, Mapping):
            return (), "be a mapping"
        for name, wanted in self.fields.items():
            found = value.get(name)
            if found is None:
                if wanted.optional:
                    continue
                return (name,), "be there"
            fault = wanted.fault(found, sizes)
            if fault is not None:
                where, what = fault
                return (name, *where), what
        return None if self.rule is None else self.rule(value)


def check_entry(value: Any, wanted: Wanted, text: str, remedy: str) -> None:
    """Refuse a stored entry that is not as it was written.

    Parameters
    ----------
    value
        What is stored.
    wanted
        What it must look like.
    text
        Where it is stored, such as "uns['ggml']".
    remedy
        How to make it again.

    Raises
    ------
    ValueError
        If a field is missing, of another kind, shape or range. The message names it.
    """
    fault = wanted.fault(value, {})
    if fault is None:
        return
    path, what = fault
    found = value
    for name in path:
        found = found[name] if isinstance(found, Mapping | pd.DataFrame) and name in found else None
    where, found = "".join(f"[{name!r}]" for name in path), _described(found)
    msg = f"{text}{where} must {what}, found {found}: the entry was damaged, or not made by scggml. {remedy}"
    raise ValueError(msg)


def read_entry(value: Any, wanted: Wanted, text: str, remedy: str, name: str = "") -> dict[str, Any]:
    """Return a stored entry that is as it was written, with Python's numbers and text: `check_entry`, then `plain`."""
    check_entry(value, wanted, text, remedy)
    found: dict[str, Any] = plain(value, name)
    return found


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, pd.DataFrame):
        return f"a data frame of shape {value.shape} with the columns {', '.join(map(str, value.columns[:10]))}"
    if isinstance(value, np.ndarray | pd.Series) and np.size(value) != 1:
        kind = value.dtype
        n_bad = int((~np.isfinite(value)).sum()) if kind.kind == "f" else 0
        return f"{kind} of shape {value.shape}" + (f" with {n_bad} values that are NaN or infinite" if n_bad else "")
    return check.shown(value)


def _as_array(value: Any) -> np.ndarray | None:
    """Return an array without hidden values, or None."""
    if isinstance(value, str | bytes | Mapping | pd.DataFrame) or np.ma.is_masked(value):
        return None
    try:
        return np.asarray(value)
    except (ValueError, TypeError):  # lists of unequal length
        return None


def _as_texts(value: Any) -> list[str] | None:
    array = np.array([value]) if isinstance(value, str) else _as_array(value)
    if array is None or array.ndim > 1 or array.dtype.kind not in "OUT":
        return None
    texts = array.ravel().tolist()
    return texts if all(isinstance(text, str) for text in texts) else None


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
                         "total_quantiles": Numbers(("n_quantiles",), minimum=0, optional=True),
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
    "classes": Texts("n_classes"),
    "table": Table((), ("n_samples", "n_cells", "balanced_accuracy", "accuracy_low", "accuracy_high", "power",
                        "power_low", "power_high")),
})  # fmt: skip
BARYCENTERS: Final = Entry({"fingerprint": Numbers(("n_components",), optional=True)})
JOINT_SPACE: Final = Entry({
    "n_features": Numbers(("n_modalities",), minimum=1, integers=True),
    "modalities": Texts("n_modalities"),
})  # fmt: skip
