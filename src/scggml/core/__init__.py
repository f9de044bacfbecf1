"""Numbers only: point clouds, ground metrics, optimal transport and training. Knows no AnnData and no plot."""

from ._bootstrap import bootstrap_metrics
from ._checkpoint import Checkpoint
from ._costs import COSTS
from ._discriminant import WIDE, default_ridge, transport_discriminant
from ._distances import Entropic, pairwise_distances
from ._entropic import EntropicTransport, solve_pairs_entropic
from ._measures import Measures, as_points
from ._metric import GroundMetric, alignment, feature_moments, feature_scale, typical_cost, weighted_moments
from ._neighbors import RULES, class_neighbors, class_scores, mean_of_nearest
from ._objective import REGULARIZERS, Objective, Regularizer
from ._pair_moments import PairMoments
from ._plans import Plans, Transport
from ._problem import SOLVERS, Solver, TrainingOptions
from ._sketch import Sketch, coresets
from ._stored_points import BLOCK_SIZE, StoredPoints
from ._threads import n_threads, single_threaded_blas
from ._training import TrainingResult, train
from ._transport import cross_pairs, solve_pairs, square_pairs
from ._triplets import Triplets, all_triplets, n_all_triplets, sample_triplets

__all__ = [
    "BLOCK_SIZE",
    "COSTS",
    "REGULARIZERS",
    "RULES",
    "SOLVERS",
    "WIDE",
    "Checkpoint",
    "Entropic",
    "EntropicTransport",
    "GroundMetric",
    "Measures",
    "Objective",
    "PairMoments",
    "Plans",
    "Regularizer",
    "Sketch",
    "Solver",
    "StoredPoints",
    "TrainingOptions",
    "TrainingResult",
    "Transport",
    "Triplets",
    "alignment",
    "all_triplets",
    "as_points",
    "bootstrap_metrics",
    "class_neighbors",
    "class_scores",
    "coresets",
    "cross_pairs",
    "default_ridge",
    "feature_moments",
    "feature_scale",
    "mean_of_nearest",
    "n_all_triplets",
    "n_threads",
    "pairwise_distances",
    "sample_triplets",
    "single_threaded_blas",
    "solve_pairs",
    "solve_pairs_entropic",
    "square_pairs",
    "train",
    "transport_discriminant",
    "typical_cost",
    "weighted_moments",
]
