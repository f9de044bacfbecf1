from __future__ import annotations

import numpy as np
import pytest

from scggml import GroundMetricLearner, Refinement
from scggml.estimators._presets import PRESETS, preset

LABELS = np.arange(8) % 2
X = [np.random.default_rng(i).normal(size=(6, 6)) + label for i, label in enumerate(LABELS)]


def test_presets_are_learners_with_these_settings():
    assert PRESETS == ("discriminant", "triplet", "paper")
    assert preset("discriminant").get_params() == GroundMetricLearner().get_params()
    assert preset("triplet").get_params() == GroundMetricLearner(refine=Refinement()).get_params()
    paper = preset("paper")
    # Kuehn and Schaub 2025: rank 5, 30 epochs, margin 10, 0.1 times the largest column sum, 4 neighbours per class
    algorithm = Refinement(
        start="random", relative=False, margin=10, reg=0.1, regularizer="max_column_sum", triplets=4, minibatch=128,
        lr=0.02, max_cells=None, max_iter=30, tol=0,
    )  # fmt: skip
    assert paper.get_params() == GroundMetricLearner(n_comps=5, scale=None, refine=algorithm).get_params()
    assert (paper.n_comps, paper.scale, paper.solver) == (5, None, "exact")
    assert (paper.refine.start, paper.refine.relative, paper.refine.max_cells) == ("random", False, None)
    assert (paper.refine.minibatch, paper.refine.regularizer) == (128, "max_column_sum")
    assert preset("paper") is not paper


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_fitted(name):
    learner = preset(name).set_params(rng=0, n_jobs=1).fit(X, LABELS)
    assert (learner.n_iter_ == 1) == (name == "discriminant")
    if name == "paper":
        assert learner.components_.shape == (5, 6)
        assert learner.n_iter_ == 30


def test_unknown_preset():
    with pytest.raises(ValueError, match="learner must be one of discriminant, triplet, paper, found 'best'"):
        preset("best")
