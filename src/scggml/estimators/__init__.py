"""Estimators with scikit-learn's interface, on one array of cells per sample."""

from ._checks import check_jobs, check_random_generator
from ._classifier import OTNeighborsClassifier
from ._ground_metric import GroundMetricLearner

__all__ = ["GroundMetricLearner", "OTNeighborsClassifier", "check_jobs", "check_random_generator"]
