"""Estimators with scikit-learn's interface, on one array of cells per sample."""

from ._classifier import OTNeighborsClassifier
from ._ground_metric import GroundMetricLearner, check_labels, check_parameters

__all__ = [
    "GroundMetricLearner",
    "OTNeighborsClassifier",
    "check_labels",
    "check_parameters",
]
