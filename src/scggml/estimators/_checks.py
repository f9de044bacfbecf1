"""Checks of the arguments of the estimators."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml import _check_samples as check_samples
from scggml import _data as data
from scggml._arguments import SHARED, check_all, choice, either, flag, integer, number, optional
from scggml.core.measures._measures import Measures, as_points
from scggml.core.metric._discriminant import WIDE
from scggml.core.metric._objective import REGULARIZERS
from scggml.core.metric._options import STARTS, Refinement, TrainingOptions
from scggml.core.metric._targets import Targets
from scggml.core.transport._solvers import Exact, Sinkhorn, SolverSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml._arguments import Rule

SCALES = ("auto", "feature", "global", None)
SOLVERS = {"exact": Exact(), "pot": Exact("pot")}


def check_solver(name: str, solver: Any) -> None:
    """Refuse what is neither the name of a solver nor a `Sinkhorn` with settings that are possible."""
    if isinstance(solver, Sinkhorn):
        check_all(vars(solver), _SINKHORN, of=" of Sinkhorn")
    elif not isinstance(solver, str) or solver not in SOLVERS:
        msg = f"{name} must be one of {check.listed(SOLVERS)} or a scggml.Sinkhorn(...), found {check.shown(solver)}"
        raise ValueError(msg)


def _check_refinement(name: str, refinement: Any) -> None:
    if refinement is None:
        return
    if not isinstance(refinement, Refinement):
        msg = f"{name} must be None or a scggml.Refinement(...), found {check.shown(refinement)}"
        raise TypeError(msg)
    check_all(vars(refinement), _REFINEMENT, of=" of Refinement")


LEARNER: dict[str, Rule] = {
    "label_kind": SHARED["label_kind"],
    "n_comps": optional(integer(1)),
    "scale": choice(*SCALES),
    "n_sweeps": integer(1),
    "ridge": either("auto", otherwise="a number", rule=number(minimum=0)),
    "power": either("auto", otherwise="a number", rule=number(minimum=0)),
    "whitening": either("auto", otherwise="a number", rule=number(minimum=0, maximum=1)),
    "max_cells": either("auto", None, otherwise="a number", rule=integer(2)),
    "solver": check_solver,
    "refine": _check_refinement,
    "rng": SHARED["rng"],
    "n_jobs": SHARED["n_jobs"],
}
_REFINEMENT: dict[str, Rule] = {
    "start": choice(*STARTS),
    "margin": number(minimum=0),
    "reg": number(minimum=0),
    "regularizer": choice(*REGULARIZERS),
    "relative": flag,
    "triplets": either("auto", "all", otherwise="a number", rule=integer(1)),
    "minibatch": optional(integer(1)),
    "lr": number(above=0),
    "max_cells": optional(integer(2)),
    "max_iter": integer(1),
    "tol": number(minimum=0),
}
_SINKHORN: dict[str, Rule] = {"reg": number(above=0, maximum=1000), "debiased": flag, "device": check.check_device}


def as_measures(x: Any, *, n_features: int | None = None, min_points: int = 1, name: str = "X") -> Measures:
    """Return one measure per sample from a list of (n_i, d) arrays; Measures pass through unchecked."""
    if not isinstance(x, Measures):
        x = _stack(x, min_points, name)
    if n_features is not None and x.n_features != n_features:
        msg = f"{name} has {x.n_features} features, but the training samples have {n_features}. Pass the same features."
        raise ValueError(msg)
    return x


def _stack(x: Any, min_points: int, name: str) -> Measures:
    is_list = hasattr(x, "__len__") and hasattr(x, "__getitem__") and getattr(x, "ndim", 1) > 0
    if isinstance(x, str) or not is_list:
        msg = f"{name} must be a list with one (n_cells, n_features) array per sample, found {check.shown(x)}"
        raise TypeError(msg)
    if len(x) == 0:
        msg = f"{name} has no samples"
        raise ValueError(msg)
    clouds: list[Any] = []
    for i, points in enumerate(x):
        text = f"{name}[{i}]"
        points = data.as_plain(text, points)
        if getattr(points, "ndim", None) != 2:
            msg = (
                f"{name} must be a list with one (n_cells, n_features) array per sample, found "
                f"{type(points).__name__} with {getattr(points, 'ndim', 'no')} dimension(s) at position {i}"
            )
            raise ValueError(msg)
        if points.shape[0] < min_points:
            msg = (
                f"each sample needs at least {min_points} cells, found {points.shape[0]} in the sample at position {i}"
            )
            raise ValueError(msg)
        if isinstance(points, pd.DataFrame):
            points = data.frame_numbers(text, points)
        if points.dtype.kind not in "biuf":
            msg = f"{text} must be numeric and real, found dtype {points.dtype}"
            raise TypeError(msg)
        if clouds and points.shape[1] != clouds[0].shape[1]:
            found = f"{clouds[0].shape[1]} and {points.shape[1]}"
            msg = f"all samples of {name} must have the same number of features, found {found}"
            raise ValueError(msg)
        clouds.append(as_points(points))
        data.check_finite(clouds[-1], None, name=text)
    measures = Measures.from_arrays(clouds)
    data.check_squares(measures.points, None, name=name)
    return measures


def as_labels(y: Any, n_samples: int, name: str = "y") -> NDArray[Any]:
    """Return one label per sample, without missing values."""
    if y is None:
        msg = f"{name} must hold one value per sample, found None"
        raise ValueError(msg)
    y = data.as_plain(name, y)
    try:
        labels = np.asarray(y)
    except ValueError as error:  # lists of several lengths
        msg = f"{name} must hold one value for each of the {n_samples} samples, found {check.shown(y)}"
        raise ValueError(msg) from error
    if labels.ndim != 1 or len(labels) != n_samples:
        msg = f"{name} must hold one value for each of the {n_samples} samples, found shape {labels.shape}"
        raise ValueError(msg)
    # as given: an array of text turns NaN into "nan"
    n_missing = sum(label is None or type(label).__name__ == "NAType" or label != label for label in y)
    if n_missing:
        msg = f"{name} has {n_missing} missing values"
        raise ValueError(msg)
    texts = sorted({label for label in y if check.is_missing_text(label)})
    if texts:
        msg = (
            f"{name} has text that stands for missing, {check.listed(map(repr, texts))}. Leave these samples out. If "
            "it is meant as a value, rename it, for example to 'not available' or 'untreated'."
        )
        raise ValueError(msg)
    kinds = {isinstance(label, str) for label in y}
    if len(kinds) > 1:
        msg = f"{name} mixes text and numbers. Make all values one type."
        raise TypeError(msg)
    return labels


def as_same_labels(y: Any, n_samples: int, known: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of new samples, which must be text or numbers like the `known` ones of the training samples."""
    labels = as_labels(y, n_samples)
    found, wanted = ("text" if isinstance(values[0], str) else "numbers" for values in (labels, known))
    if found != wanted:
        msg = (
            f"y must hold {wanted} like the labels of the training samples, found {found}, such as "
            f"{check.shown(labels[0])}. Pass labels of the same kind."
        )
        raise TypeError(msg)
    return labels


def as_weights(weights: Any, n_samples: int, name: str = "sample_weight") -> NDArray[np.float64]:
    """Return one weight per sample, not all zero."""
    plain = data.as_plain(name, weights)
    try:
        found = np.asarray(plain)
    except ValueError:  # lists of several lengths
        found = np.empty(0, dtype=object)
    sound = found.shape == (n_samples,) and found.dtype.kind in "biuf"
    if not sound or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        msg = (
            f"{name} must hold one finite number for each of the {n_samples} samples, none of them negative and not "
            f"all zero, found {check.shown(weights)}"
        )
        raise ValueError(msg)
    return found.astype(np.float64)


def as_targets(y: Any, n_samples: int, label_kind: Any, strata: Any = None) -> tuple[Targets, NDArray[Any]]:
    """Return the targets, and the classes or ordinal labels in their order (empty for continuous labels)."""
    SHARED["label_kind"]("label_kind", label_kind)
    labels = as_labels(y, n_samples)
    codes_of_strata = None
    if strata is not None:
        codes_of_strata = np.unique(as_labels(strata, n_samples, "strata"), return_inverse=True)[1]
    if label_kind == "class":
        check_classes(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        targets = Targets.of_classes(codes, codes_of_strata)
    else:
        if labels.dtype.kind not in "biuf":
            msg = (
                f"y must be numeric with label_kind={label_kind!r}, found {check.shown(labels[0])}. Pass ordinal "
                "labels as 0, 1, 2, ..., and dates as numbers, such as days since the first."
            )
            raise TypeError(msg)
        check_samples.check_ordered(labels.astype(np.float64), label_kind, name="y")
        classes, codes = np.unique(labels, return_inverse=True)
        if label_kind == "ordinal":
            targets = Targets(codes.astype(np.float64), label_kind, codes_of_strata)
        else:
            targets, classes = Targets(labels.astype(np.float64), label_kind, codes_of_strata), classes[:0]
    check_samples.check_strata(targets.codes, codes_of_strata)
    return targets, classes


def check_classes(labels: NDArray[Any]) -> None:
    """Refuse labels from which no classes can be learned."""
    check_samples.check_classes(labels, name="y", numeric=labels.dtype.kind in "iuf")


def training_options(params: dict[str, Any], n_features: int) -> TrainingOptions:
    """Return checked options from the parameters of `GroundMetricLearner`."""
    check_all(params, LEARNER)
    values = {field.name: params[field.name] for field in fields(TrainingOptions)}
    if values["scale"] == "auto":
        values["scale"] = "feature"
    values["solver"] = checked_solver(values["solver"], n_features)
    if values["refine"] is not None:
        values["refine"] = _checked_refinement(values["refine"])
    if values["n_comps"] is not None:
        check.check_integer(
            "n_comps", values["n_comps"], minimum=1, maximum=n_features, unit=", the number of features"
        )  # fmt: skip
    options = TrainingOptions(**_as_floats(values, "ridge", "power", "whitening"))
    _check_closed_form(options, n_features)
    return options


def _as_floats(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the same with these numbers as Python's floats."""
    return {**values, **{name: float(values[name]) for name in names if not isinstance(values[name], str)}}


def checked_solver(solver: Sinkhorn | str, n_features: int) -> SolverSpec:
    """Return the solver that a name or a `Sinkhorn` stands for, after `check_solver`."""
    if not isinstance(solver, Sinkhorn):
        return SOLVERS[solver]
    if n_features > WIDE:
        msg = (
            f"solver=Sinkhorn(...) takes at most {WIDE} features, found {n_features}: its transport plans are dense. "
            "Pass solver='exact', or fewer features, for example X_pca or highly variable genes."
        )
        raise ValueError(msg)
    return replace(solver, reg=float(solver.reg))


def _checked_refinement(r: Refinement) -> Refinement:
    if r.max_iter == 1 and r.minibatch is None:
        msg = (
            "max_iter=1 of Refinement only evaluates the start, and takes no step. Pass max_iter=2 or more, a "
            "minibatch, or refine=None for the closed form."
        )
        raise ValueError(msg)
    if r.max_iter == 1:
        _refuse_without_effect("Refinement", r, Refinement(), ("tol",), "max_iter=1, which ends after one epoch")
    if r.reg == 0:
        _refuse_without_effect("Refinement", r, Refinement(), ("regularizer",), "reg=0, its weight")
    return replace(r, margin=float(r.margin), reg=float(r.reg), tol=float(r.tol), lr=float(r.lr))


def _check_closed_form(options: TrainingOptions, n_features: int) -> None:
    """Refuse settings of the closed form where it is not computed, or cannot be."""
    if options.refine is not None and options.refine.start == "random":
        names = ("n_sweeps", "ridge", "power", "whitening", "max_cells")
        why = "refine=Refinement(start='random'), which computes no closed form"
        _refuse_without_effect("GroundMetricLearner", options, TrainingOptions(), names, why)
    elif options.power not in (1, "auto") and n_features > WIDE:
        msg = (
            f"power={options.power:g} needs a matrix of {n_features} x {n_features} features, which is not formed "
            f"beyond {WIDE}. Pass power=1, or fewer features, for example X_pca or highly variable genes."
        )
        raise ValueError(msg)


def _refuse_without_effect(owner: str, found: Any, default: Any, names: tuple[str, ...], why: str) -> None:
    for name in names:
        value = getattr(found, name)
        if value != getattr(default, name):
            msg = f"{name}={check.shown(value)} of {owner} has no effect with {why}. Leave {name} out."
            raise ValueError(msg)
