"""The learner of a metric: passed, stored, and read back."""

from __future__ import annotations

import pytest

import scggml as sg
from scggml._anndata._learners import choose_learner, learner_of, learner_params, solver_of, stored_solver
from scggml.core.transport._solvers import Entropic, Exact
from scggml.estimators._presets import preset

PRESETS = ("discriminant", "triplet", "paper")


def chosen(learner, **options):
    return choose_learner(learner, **{"label_kind": "class", "scale": "global", **options})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_by_name(name):
    found, expected = chosen(name, rng=3).get_params(deep=False), preset(name).get_params(deep=False)
    assert found["rng"] == 3
    changed = {name for name in found if found[name] != expected[name]}
    assert changed <= {"rng", "scale"}
    assert found["scale"] == ("global" if expected["scale"] == "auto" else expected["scale"])


def test_none_is_the_default():
    assert chosen(None).get_params(deep=False) == chosen("discriminant").get_params(deep=False)


def test_learners_are_cloned_and_completed():
    learner = sg.GroundMetricLearner(ridge=0.3, scale="feature")
    found = chosen(learner, n_comps=2, n_jobs=1)
    assert (found.ridge, found.scale, found.n_comps, found.n_jobs) == (0.3, "feature", 2, 1)
    assert learner.n_comps is None and learner.n_jobs is None


@pytest.mark.parametrize(
    ("learner", "options", "error", "text"),
    [
        (sg.GroundMetricLearner(n_comps=3), {"n_comps": 2}, ValueError, "n_comps=2, but learner has n_comps=3"),
        (sg.GroundMetricLearner(rng=0), {"rng": 0}, ValueError, "rng=0, but learner has rng=0"),
        (sg.GroundMetricLearner(n_jobs=1), {"n_jobs": 2}, ValueError, "n_jobs=2, but learner has n_jobs=1"),
        (sg.GroundMetricLearner(label_kind="ordinal"), {}, ValueError, "learner has label_kind='ordinal'"),
        ("best", {}, ValueError, "discriminant.*best"),
        (sg.OTNeighborsClassifier(), {}, TypeError, "learner must be a GroundMetricLearner"),
        (sg.GroundMetricLearner, {}, TypeError, "learner must be a GroundMetricLearner"),
    ],
)
def test_refused(learner, options, error, text):
    with pytest.raises(error, match=text):
        chosen(learner, **options)


@pytest.mark.parametrize(
    "learner",
    [
        *map(preset, PRESETS),
        sg.GroundMetricLearner(solver="pot", n_comps=2, scale=None, max_cells=None, n_sweeps=3),
        sg.GroundMetricLearner(solver=sg.Sinkhorn(0.1, debiased=True), power=0.5, whitening=0.5, ridge=0.2),
        sg.GroundMetricLearner(refine=sg.Refinement(start="random", triplets=3, minibatch=8, max_cells=None)),
    ],
)
def test_stored_settings_come_back(learner):
    params = {"learner": learner_params(learner), "label_kind": "class"}
    expected = learner.get_params(deep=False) | {"rng": None, "n_jobs": None}
    assert learner_of(params).get_params(deep=False) == expected


def test_stored_settings_can_be_passed():
    """None, which is absent in files, does not turn into a default."""
    learner = sg.GroundMetricLearner(scale=None, max_cells=None, refine=sg.Refinement(max_cells=None))
    found = chosen(learner_params(learner), label_kind="ordinal", n_comps=2, rng=1)
    expected = learner.get_params(deep=False) | {"label_kind": "ordinal", "n_comps": 2, "rng": 1}
    assert found.get_params(deep=False) == expected


@pytest.mark.parametrize("learner", [{"ridge": 1.0}, {**learner_params(sg.GroundMetricLearner()), "rng": 0}])
def test_settings_that_were_not_stored_are_refused(learner):
    with pytest.raises(
        ValueError,
        match=r"learner must hold all settings, .* (says nothing about|has no parameter) .*GroundMetricLearner\(",
    ):
        chosen(learner)


@pytest.mark.parametrize("solver", [Exact(), Exact("pot"), Entropic(0.3), Entropic(0.3, True)])
def test_stored_solvers_come_back(solver):
    assert solver_of(stored_solver(solver)) == solver
