"""Numbers only: point clouds, ground metrics, optimal transport and training. Knows no AnnData and no plot."""

from ._discriminant import transport_discriminant
from ._measures import Measures, as_points
from ._metric import GroundMetric, feature_moments, feature_scale
from ._neighbors import RULES, class_scores
from ._objective import REGULARIZERS, Objective, Regularizer
from ._training import TrainingOptions, TrainingResult, train
from ._transport import COSTS, Plans, Transport, cross_pairs, pairwise_distances, solve_pairs, square_pairs
from ._triplets import Triplets, all_triplets, n_all_triplets, sample_triplets

__all__ = [
    "COSTS",
    "REGULARIZERS",
    "RULES",
    "GroundMetric",
    "Measures",
    "Objective",
    "Plans",
    "Regularizer",
    "TrainingOptions",
    "TrainingResult",
    "Transport",
    "Triplets",
    "all_triplets",
    "as_points",
    "class_scores",
    "cross_pairs",
    "feature_moments",
    "feature_scale",
    "n_all_triplets",
    "pairwise_distances",
    "sample_triplets",
    "solve_pairs",
    "square_pairs",
    "train",
    "transport_discriminant",
]
