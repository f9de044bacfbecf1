"""Defaults that two places must state alike."""

from __future__ import annotations

import dataclasses

import pytest

from scggml.core.metric._options import Refinement, TrainingOptions
from scggml.core.transport._solvers import Exact
from scggml.estimators import GroundMetricLearner


def test_settings_of_the_learner_have_its_defaults():
    learner = GroundMetricLearner().get_params(deep=False)
    assert learner["solver"] == "exact"
    learner["solver"] = Exact()
    found = dataclasses.asdict(TrainingOptions()) | {"solver": TrainingOptions().solver}
    assert (found.pop("scale"), learner["scale"]) == ("feature", "auto")  # of most features
    assert found == {name: learner[name] for name in found}


@pytest.mark.parametrize("settings", [Refinement, TrainingOptions])
def test_settings_are_values(settings):
    assert settings() == settings()
    assert len({settings(), settings()}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().max_iter = 3
