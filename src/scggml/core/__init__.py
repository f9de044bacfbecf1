"""Numbers only: point clouds, ground metrics, optimal transport and training. Knows no AnnData and no plot."""

from ._barycenters import Barycenter, free_support_barycenter
from ._bootstrap import Stability, bootstrap_metrics
from ._calibration import (
    calibrated_smallest,
    class_probabilities,
    fit_sharpness,
    nearest_distances,
    prediction_tail,
    probability_scores,
    relative_class_scores,
    upper_tail,
)
from ._checkpoint import Checkpoint
from ._costs import COSTS
from ._diffusion import diffusion_distances
from ._discriminant import WIDE, default_ridge, transport_discriminant
from ._distances import Entropic, pairwise_distances
from ._entropic import EntropicTransport, solve_pairs_entropic
from ._excess import ClassMeans, class_means, jackknife_error
from ._explanation import CARRIED, COMPOSITION, MASS, SHARED, STATE, Explanation, Features, explain_pairs
from ._gene_space import GeneSpace
from ._means import correlations, fitted_line, group_means, separation_shares, share_means
from ._measures import Measures, as_points
from ._metric import GroundMetric, alignment, feature_moments, feature_scale, typical_cost, weighted_moments
from ._neighbors import RULES, class_neighbors, class_scores, mean_of_nearest, neighbor_means
from ._novelty import CellKinds, novelty, unusual
from ._objective import REGULARIZERS, Objective, Regularizer
from ._pair_moments import PairMoments
from ._placement import place_on_map
from ._plans import Plans, Transport
from ._problem import SOLVERS, Solver, TrainingOptions
from ._sketch import Sketch, coresets
from ._stored_points import BLOCK_SIZE, StoredPoints
from ._targets import LABEL_KINDS, LabelKind, Targets
from ._threads import n_threads, single_threaded_blas
from ._training import TrainingResult, train
from ._transport import cross_pairs, solve_pairs, square_pairs
from ._triplets import Triplets, all_triplets, n_all_triplets, sample_triplets

__all__ = [
    "BLOCK_SIZE",
    "CARRIED",
    "COMPOSITION",
    "COSTS",
    "LABEL_KINDS",
    "MASS",
    "REGULARIZERS",
    "RULES",
    "SHARED",
    "SOLVERS",
    "STATE",
    "WIDE",
    "Barycenter",
    "CellKinds",
    "Checkpoint",
    "ClassMeans",
    "Entropic",
    "EntropicTransport",
    "Explanation",
    "Features",
    "GeneSpace",
    "GroundMetric",
    "LabelKind",
    "Measures",
    "Objective",
    "PairMoments",
    "Plans",
    "Regularizer",
    "Sketch",
    "Solver",
    "Stability",
    "StoredPoints",
    "Targets",
    "TrainingOptions",
    "TrainingResult",
    "Transport",
    "Triplets",
    "alignment",
    "all_triplets",
    "as_points",
    "bootstrap_metrics",
    "calibrated_smallest",
    "class_means",
    "class_neighbors",
    "class_probabilities",
    "class_scores",
    "coresets",
    "correlations",
    "cross_pairs",
    "default_ridge",
    "diffusion_distances",
    "explain_pairs",
    "feature_moments",
    "feature_scale",
    "fit_sharpness",
    "fitted_line",
    "free_support_barycenter",
    "group_means",
    "jackknife_error",
    "mean_of_nearest",
    "n_all_triplets",
    "n_threads",
    "nearest_distances",
    "neighbor_means",
    "novelty",
    "pairwise_distances",
    "place_on_map",
    "prediction_tail",
    "probability_scores",
    "relative_class_scores",
    "sample_triplets",
    "separation_shares",
    "share_means",
    "single_threaded_blas",
    "solve_pairs",
    "solve_pairs_entropic",
    "square_pairs",
    "train",
    "transport_discriminant",
    "typical_cost",
    "unusual",
    "upper_tail",
    "weighted_moments",
]
