"""The learner of `tl.fit_metric`: as it is passed, as it is stored in `.uns`, and as it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from sklearn.base import clone

from scggml import _check as check
from scggml.core.metric._discriminant import WIDE
from scggml.core.metric._options import Refinement
from scggml.core.transport._solvers import Entropic, Exact, Sinkhorn
from scggml.estimators._checks import training_options
from scggml.estimators._ground_metric import GroundMetricLearner
from scggml.estimators._presets import preset

from ._writing import plain, stored_params

if TYPE_CHECKING:
    from scggml.estimators._presets import Preset

_NOT_STORED = ("label_kind", "rng", "n_jobs")  # stored beside the learner, or not part of the metric
Solver = Exact | Entropic


def choose_learner(
    learner: Any,
    *,
    label_kind: Any,
    scale: Literal["feature", "global"],
    n_comps: Any = None,
    rng: Any = None,
    n_jobs: Any = None,
) -> GroundMetricLearner:
    """Return an unfitted learner: a preset or a copy of the one that was passed, with the arguments of the function.

    Parameters
    ----------
    learner
        Name of a preset, a `GroundMetricLearner`, settings as `learner_params` returns them, or None for the default.
    label_kind, n_comps, rng, n_jobs
        Arguments of the function. What the learner sets itself must not be passed as well.
    scale
        How features are scaled where the learner leaves that open.
    """
    if learner is None or isinstance(learner, str):
        chosen = preset("discriminant" if learner is None else cast("Preset", learner))
    elif isinstance(learner, GroundMetricLearner | Mapping):
        chosen = _recorded(learner, label_kind) if isinstance(learner, Mapping) else clone(learner)
        if chosen.label_kind != label_kind:
            msg = f"label_kind={label_kind!r}, but learner has label_kind={chosen.label_kind!r}. Pass the same to both."
            raise ValueError(msg)
        for name, value in (("n_comps", n_comps), ("rng", rng), ("n_jobs", n_jobs)):
            own = getattr(chosen, name)
            if value is not None and own is not None:
                msg = (
                    f"{name}={check.shown(value)}, but learner has {name}={check.shown(own)} already. Set it in one "
                    "place."
                )
                raise ValueError(msg)
    else:
        msg = (
            f"learner must be a GroundMetricLearner, the name of a preset ('discriminant', 'triplet', 'paper') or "
            f"the settings that sg.tl.tune found, found {check.shown(learner)}"
        )
        raise TypeError(msg)
    given = {"n_comps": n_comps, "rng": rng, "n_jobs": n_jobs}
    if isinstance(chosen.scale, str) and chosen.scale == "auto":
        given["scale"] = scale
    return chosen.set_params(label_kind=label_kind, **{name: v for name, v in given.items() if v is not None})


def learner_params(learner: GroundMetricLearner) -> dict[str, Any]:
    """Return the settings of a learner for `.uns`."""
    settings = {name: v for name, v in learner.get_params(deep=False).items() if name not in _NOT_STORED}
    solver = settings["solver"]
    if isinstance(solver, Sinkhorn):  # where it ran is not part of the metric
        settings["solver"] = {"reg": float(solver.reg), "debiased": bool(solver.debiased)}
    return stored_params(**settings)


def _recorded(settings: Mapping[str, Any], label_kind: Any) -> GroundMetricLearner:
    """Return the learner of settings that `learner_params` wrote."""
    known = set(GroundMetricLearner().get_params(deep=False)) - set(_NOT_STORED)
    unknown = sorted(set(settings) - known)
    never_none = learner_params(GroundMetricLearner(scale=None, max_cells=None))
    missing = [name for name in never_none if name not in settings]
    if unknown or missing:
        wrong = (
            f"has no parameter {check.listed(unknown)}" if unknown else f"says nothing about {check.listed(missing)}"
        )
        msg = (
            f"learner must hold all settings, as sg.tl.tune stores them in `best`; it {wrong}. Pass "
            "sg.GroundMetricLearner(...) with the settings of your own."
        )
        raise ValueError(msg)
    return learner_of({"learner": settings, "label_kind": label_kind}, "learner")


def learner_of(params: Mapping[str, Any], text: str = "params['learner']") -> GroundMetricLearner:
    """Return an unfitted learner with the settings of a stored metric; `text` says where they are, for messages."""
    settings = plain(params["learner"], "learner")
    found: dict[str, Any] = {name: settings.get(name) for name in GroundMetricLearner().get_params(deep=False)}
    found |= {"label_kind": params.get("label_kind", "class"), "rng": None, "n_jobs": None}
    try:
        if isinstance(found["solver"], dict):
            found["solver"] = Sinkhorn(**found["solver"])
        if isinstance(found["refine"], dict):
            stored: dict[str, Any] = found["refine"]
            options: dict[str, Any] = {name: stored.get(name) for name in Refinement.__dataclass_fields__}
            found["refine"] = Refinement(**options)
        training_options(found, max(WIDE, found["n_comps"] or 0))
    except (TypeError, ValueError) as error:
        msg = f"{text} must hold settings of a learner, as sg.tl.fit_metric and sg.tl.tune store them: {error}"
        raise ValueError(msg) from error
    return GroundMetricLearner(**found)


def stored_solver(solver: Solver) -> dict[str, Any]:
    """Return a solver as it is stored with distances: its name and, of an entropic one, the strength."""
    if isinstance(solver, Entropic):
        name = "sinkhorn_divergence" if solver.debiased else "sinkhorn"
        return {"solver": name, "epsilon": float(solver.epsilon)}
    return {"solver": "exact" if solver.method == "simplex" else "pot"}


def is_exact(stored: Mapping[str, Any]) -> bool:
    """Return whether stored distances are exact, and not entropic."""
    return str(stored["solver"]) in ("exact", "pot")


def solver_of(stored: Mapping[str, Any]) -> Solver:
    """Return the solver of stored distances, or of a stored metric."""
    name = str(stored["solver"])
    if is_exact(stored):
        return Exact("simplex" if name == "exact" else "pot")
    return Entropic(float(stored["epsilon"]), name == "sinkhorn_divergence", None)
