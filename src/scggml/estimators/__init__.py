"""Estimators with scikit-learn's interface, on one array of cells per sample."""

from scggml.core.metric._options import Refinement
from scggml.core.transport._solvers import Sinkhorn

from ._classifier import OTNeighborsClassifier
from ._ground_metric import GroundMetricLearner, check_labels, check_parameters
from ._presets import PRESETS, preset

__all__ = [
    "PRESETS",
    "GroundMetricLearner",
    "OTNeighborsClassifier",
    "Refinement",
    "Sinkhorn",
    "check_labels",
    "check_parameters",
    "preset",
]
