"""Settings of `GroundMetricLearner` that have names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from scggml import _check as check
from scggml.core.metric._options import Refinement

from ._ground_metric import GroundMetricLearner

if TYPE_CHECKING:
    from collections.abc import Mapping

Preset: TypeAlias = Literal["discriminant", "triplet", "paper"]

_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "discriminant": {},
    "triplet": {"refine": Refinement()},
    "paper": {
        "n_comps": 5,
        "scale": None,
        "refine": Refinement(
            start="random",
            relative=False,
            margin=10,
            reg=0.1,
            regularizer="max_column_sum",
            triplets=4,
            minibatch=128,
            lr=0.02,
            max_cells=None,
            max_iter=30,
            tol=0,
        ),
    },
}
PRESETS = tuple(_PRESETS)


def preset(name: Preset) -> GroundMetricLearner:
    """Return an unfitted learner by name.

    Parameters
    ----------
    name
        "discriminant" is the closed form, the default. "triplet" takes a few small gradient steps on triplets from
        there. "paper" is the algorithm of the paper :cite:p:`kuehn2025`, for comparisons: minibatches of triplets from
        a random start, with an absolute margin, on unscaled features, which should have like scales.

    Returns
    -------
    A new learner; `set_params` changes single settings.

    Raises
    ------
    ValueError
        If there is no preset of this name.
    """
    check.check_choice("learner", name, PRESETS)
    return GroundMetricLearner(**_PRESETS[name])
