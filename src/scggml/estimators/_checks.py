"""Checks of what the estimators are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml.core.measures._measures import Measures, as_points
from scggml.core.metric._discriminant import WIDE
from scggml.core.metric._objective import REGULARIZERS
from scggml.core.metric._problem import SOLVERS, TrainingOptions
from scggml.core.metric._targets import LABEL_KINDS, Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCALES = ("auto", "feature", "global", None)


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
                f"{name} must be a list with one (n_cells, n_features) array per sample, found {type(points).__name__} with "
                f"{getattr(points, 'ndim', 'no')} dimension(s) at position {i}"
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
    return Measures.from_arrays(clouds)


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
        msg = f"{name} mixes text and numbers. Make all labels one type."
        raise TypeError(msg)
    return labels


def as_targets(y: Any, n_samples: int, label_kind: Any, batches: Any = None) -> tuple[Targets, NDArray[Any]]:
    """Return what to learn from, and the classes or grades in order (none of numbers)."""
    check.check_choice("label_kind", label_kind, LABEL_KINDS)
    labels = as_labels(y, n_samples)
    blocks = None if batches is None else np.unique(as_labels(batches, n_samples, "batches"), return_inverse=True)[1]
    if label_kind == "class":
        check.check_classes(labels, name="y")
        classes, codes = np.unique(labels, return_inverse=True)
        targets = Targets.of_classes(codes, blocks)
    else:
        if labels.dtype.kind not in "biuf":
            msg = f"y must hold numbers with label_kind={label_kind!r}, found {labels[0]!r}. Pass grades in their order as 0, 1, 2, ..."
            raise TypeError(msg)
        check.check_ordered(labels.astype(np.float64), label_kind, name="y")
        classes, codes = np.unique(labels, return_inverse=True)
        if label_kind == "ordinal":
            targets = Targets(codes.astype(np.float64), label_kind, blocks)
        else:
            targets, classes = Targets(labels.astype(np.float64), label_kind, blocks), classes[:0]
    check.check_blocks(targets.codes, blocks)
    return targets, classes


def training_options(params: dict[str, Any], n_features: int) -> TrainingOptions:
    """Return checked options from the parameters of `GroundMetricLearner`."""
    values = {name: params[name] for name in TrainingOptions.__dataclass_fields__}
    check.check_choice("scale", values["scale"], SCALES)
    if values["scale"] == "auto":
        values["scale"] = "feature"
    check.check_choice("init", values["init"], ("discriminant", "random"))
    check.check_choice("regularizer", values["regularizer"], tuple(REGULARIZERS))
    check.check_choice("solver", values["solver"], SOLVERS)
    values["sinkhorn_reg"] = check.check_number("sinkhorn_reg", values["sinkhorn_reg"], above=0)
    check.check_device(values["device"])
    if values["solver"] != "exact" and n_features > WIDE:
        msg = (
            f"solver={values['solver']!r} has dense plans, which are not for {n_features} features (at most {WIDE}). "
            "Pass solver='exact', or fewer features, for example X_pca or highly variable genes."
        )
        raise ValueError(msg)
    check.check_choice("relative", values["relative"], (True, False))
    if values["n_comps"] is not None:
        check.check_integer(
            "n_comps", values["n_comps"], minimum=1, maximum=n_features, unit=", the number of features"
        )  # fmt: skip
    for name in ("n_sweeps", "max_iter"):
        check.check_integer(name, values[name], minimum=1)
    for name, minimum in (("batch_size", 1), ("refine_cells", 2)):
        if values[name] is not None:
            check.check_integer(name, values[name], minimum=minimum)
    if isinstance(values["ridge"], str):
        check.check_choice("ridge", values["ridge"], ("auto",))
    else:
        values["ridge"] = check.check_number("ridge", values["ridge"], minimum=0)
    if isinstance(values["max_cells"], str):
        check.check_choice("max_cells", values["max_cells"], ("auto",))
    elif values["max_cells"] is not None:
        check.check_integer("max_cells", values["max_cells"], minimum=2)
    for name in ("power", "margin", "reg", "tol"):
        values[name] = check.check_number(name, values[name], minimum=0)
    values["whitening"] = check.check_number("whitening", values["whitening"], minimum=0, maximum=1)
    if values["power"] != 1 and values["init"] == "discriminant" and n_features > WIDE:
        msg = (
            f"power={values['power']:g} needs a matrix of {n_features} x {n_features} features, which is not formed beyond {WIDE}. "
            "Pass power=1, or fewer features, for example X_pca or highly variable genes."
        )
        raise ValueError(msg)
    values["lr"] = check.check_number("lr", values["lr"], above=0)
    if isinstance(values["triplets"], str):
        check.check_choice("triplets", values["triplets"], ("auto", "all"))
    else:
        check.check_integer("triplets", values["triplets"], minimum=1)
    return TrainingOptions(**values)
