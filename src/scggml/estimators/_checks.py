"""Checks of the arguments of the estimators."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml.core.measures._magnitudes import check_squares
from scggml.core.measures._measures import Measures, as_points
from scggml.core.metric._discriminant import WIDE
from scggml.core.metric._objective import REGULARIZERS
from scggml.core.metric._options import STARTS, Refinement, TrainingOptions
from scggml.core.metric._targets import LABEL_KINDS, Targets
from scggml.core.transport._solvers import Exact, Sinkhorn, SolverSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCALES = ("auto", "feature", "global", None)
SOLVERS = {"exact": Exact(), "pot": Exact("pot")}


def as_measures(x: Any, *, n_features: int | None = None, min_points: int = 1, name: str = "X") -> Measures:
    """Return one measure per sample from a list of (n_i, d) arrays; Measures pass through unchecked."""
    if not isinstance(x, Measures):
        x = _stack(x, min_points, name)
    if n_features is not None and x.n_features != n_features:
        msg = f"{name} has {x.n_features} features, but the training samples have {n_features}. Pass the same features."
        raise ValueError(msg)
    return x


def _stack(x: Any, min_points: int, name: str) -> Measures:
    if isinstance(x, str) or not hasattr(x, "__len__") or not hasattr(x, "__getitem__"):
        msg = f"{name} must be a list with one (n_cells, n_features) array per sample, found {type(x).__name__}"
        raise TypeError(msg)
    if len(x) == 0:
        msg = f"{name} has no samples"
        raise ValueError(msg)
    clouds = []
    for i, points in enumerate(x):
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
        kinds = (
            {getattr(dtype, "kind", "O") for dtype in points.dtypes}
            if hasattr(points, "dtypes")
            else {points.dtype.kind}
        )
        if not kinds <= set("biuf"):
            msg = f"{name}[{i}] must be numeric and real, found dtype kind(s) {check.listed(sorted(kinds))}"
            raise TypeError(msg)
        clouds.append(as_points(points))
        check.check_finite(clouds[-1], None, name=f"{name}[{i}]")
    measures = Measures.from_arrays(clouds)
    check_squares(measures.points, None, name=name)
    return measures


def as_labels(y: Any, n_samples: int, name: str = "y") -> NDArray[Any]:
    """Return one label per sample, without missing values."""
    if y is None:
        msg = f"{name} must hold one value per sample, found None"
        raise ValueError(msg)
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != n_samples:
        msg = f"{name} must hold one value for each of the {n_samples} samples, found shape {labels.shape}"
        raise ValueError(msg)
    # as given: an array of text turns NaN into "nan"
    n_missing = sum(label is None or type(label).__name__ == "NAType" or label != label for label in y)
    if n_missing:
        msg = f"{name} has {n_missing} missing values"
        raise ValueError(msg)
    kinds = {isinstance(label, str) for label in y}
    if len(kinds) > 1:
        msg = f"{name} mixes text and numbers. Make all values one type."
        raise TypeError(msg)
    return labels


def as_targets(y: Any, n_samples: int, label_kind: Any, strata: Any = None) -> tuple[Targets, NDArray[Any]]:
    """Return the targets, and the classes or ordinal labels in their order (empty for continuous labels)."""
    check.check_choice("label_kind", label_kind, LABEL_KINDS)
    labels = as_labels(y, n_samples)
    codes_of_strata = None
    if strata is not None:
        codes_of_strata = np.unique(as_labels(strata, n_samples, "strata"), return_inverse=True)[1]
    if label_kind == "class":
        check.check_classes(labels, name="y")
        classes, codes = np.unique(labels, return_inverse=True)
        targets = Targets.of_classes(codes, codes_of_strata)
    else:
        if labels.dtype.kind not in "biuf":
            msg = (
                f"y must be numeric with label_kind={label_kind!r}, found {labels[0]!r}. Pass ordinal labels as 0, 1, "
                "2, ..."
            )
            raise TypeError(msg)
        check.check_ordered(labels.astype(np.float64), label_kind, name="y")
        classes, codes = np.unique(labels, return_inverse=True)
        if label_kind == "ordinal":
            targets = Targets(codes.astype(np.float64), label_kind, codes_of_strata)
        else:
            targets, classes = Targets(labels.astype(np.float64), label_kind, codes_of_strata), classes[:0]
    check.check_strata(targets.codes, codes_of_strata)
    return targets, classes


def training_options(params: dict[str, Any], n_features: int) -> TrainingOptions:
    """Return checked options from the parameters of `GroundMetricLearner`."""
    values = {field.name: params[field.name] for field in fields(TrainingOptions)}
    check.check_choice("scale", values["scale"], SCALES)
    if values["scale"] == "auto":
        values["scale"] = "feature"
    values["solver"] = checked_solver(values["solver"], n_features)
    values["refine"] = _checked_refinement(values["refine"])
    if values["n_comps"] is not None:
        check.check_integer(
            "n_comps", values["n_comps"], minimum=1, maximum=n_features, unit=", the number of features"
        )  # fmt: skip
    check.check_integer("n_sweeps", values["n_sweeps"], minimum=1)
    if isinstance(values["ridge"], str):
        check.check_choice("ridge", values["ridge"], ("auto",), otherwise="a number")
    else:
        values["ridge"] = check.check_number("ridge", values["ridge"], minimum=0)
    values["power"] = check.check_number("power", values["power"], minimum=0)
    values["whitening"] = check.check_number("whitening", values["whitening"], minimum=0, maximum=1)
    if isinstance(values["max_cells"], str):
        check.check_choice("max_cells", values["max_cells"], ("auto", None), otherwise="a number")
    elif values["max_cells"] is not None:
        check.check_integer("max_cells", values["max_cells"], minimum=2)
    options = TrainingOptions(**values)
    _check_closed_form(options, n_features)
    return options


def checked_solver(solver: Any, n_features: int) -> SolverSpec:
    """Return the checked solver that a name or a `Sinkhorn` stands for."""
    if not isinstance(solver, Sinkhorn):
        if not isinstance(solver, str) or solver not in SOLVERS:
            msg = f"solver must be one of {check.listed(SOLVERS)} or a scggml.Sinkhorn(...), found {solver!r}"
            raise ValueError(msg)
        return SOLVERS[solver]
    reg = check.check_number("reg of Sinkhorn", solver.reg, above=0)
    check.check_choice("debiased of Sinkhorn", solver.debiased, (True, False))
    check.check_device(solver.device)
    if n_features > WIDE:
        msg = (
            f"solver=Sinkhorn(...) takes at most {WIDE} features, found {n_features}: its transport plans are dense. "
            "Pass solver='exact', or fewer features, for example X_pca or highly variable genes."
        )
        raise ValueError(msg)
    return replace(solver, reg=reg)


def _checked_refinement(refinement: Any) -> Refinement | None:
    if refinement is None:
        return None
    if not isinstance(refinement, Refinement):
        msg = (
            f"refine must be None or a scggml.Refinement(...), found {refinement!r} of type {type(refinement).__name__}"
        )
        raise TypeError(msg)
    r = refinement
    check.check_choice("start of Refinement", r.start, STARTS)
    check.check_choice("regularizer of Refinement", r.regularizer, tuple(REGULARIZERS))
    check.check_choice("relative of Refinement", r.relative, (True, False))
    numbers: dict[str, Any] = {
        name: check.check_number(f"{name} of Refinement", getattr(r, name), minimum=0)
        for name in ("margin", "reg", "tol")
    }
    numbers["lr"] = check.check_number("lr of Refinement", r.lr, above=0)
    for name, minimum in (("minibatch", 1), ("max_cells", 2)):
        if getattr(r, name) is not None:
            check.check_integer(f"{name} of Refinement", getattr(r, name), minimum=minimum)
    check.check_integer("max_iter of Refinement", r.max_iter, minimum=1)
    if isinstance(r.triplets, str):
        check.check_choice("triplets of Refinement", r.triplets, ("auto", "all"))
    else:
        check.check_integer("triplets of Refinement", r.triplets, minimum=1)
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
    return replace(r, **numbers)


def _check_closed_form(options: TrainingOptions, n_features: int) -> None:
    """Refuse settings of the closed form where it is not computed, or cannot be."""
    if options.refine is not None and options.refine.start == "random":
        names = ("n_sweeps", "ridge", "power", "whitening", "max_cells")
        why = "refine=Refinement(start='random'), which computes no closed form"
        _refuse_without_effect("GroundMetricLearner", options, TrainingOptions(), names, why)
    elif options.power != 1 and n_features > WIDE:
        msg = (
            f"power={options.power:g} needs a matrix of {n_features} x {n_features} features, which is not formed "
            f"beyond {WIDE}. Pass power=1, or fewer features, for example X_pca or highly variable genes."
        )
        raise ValueError(msg)


def _refuse_without_effect(owner: str, found: Any, default: Any, names: tuple[str, ...], why: str) -> None:
    for name in names:
        value = getattr(found, name)
        if value != getattr(default, name):
            msg = f"{name}={value!r} of {owner} has no effect with {why}. Leave {name} out."
            raise ValueError(msg)
