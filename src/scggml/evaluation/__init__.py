"""Held-out evaluation: splits, methods side by side, scores and their intervals. Knows no AnnData and no plot."""

from ._comparisons import (
    Comparisons,
    check_same_distances,
    check_same_samples,
    compare_classes,
    compare_samples,
    warn_about_absent_types,
)
from ._cross_validation import CLASSIFIERS, cross_validate, summary
from ._explanation_tables import BETWEEN_TYPES, explanation_tables, gene_contributions
from ._intervals import auc_interval, label_intervals, sign_test
from ._methods import METHODS, check_distances, named_methods
from ._permutations import Exchange
from ._reference import (
    HeldOutSamples,
    ReferenceCells,
    calibration,
    distance_unit,
    hold_out_each,
    probabilities_without_own,
)
from ._samples import Samples
from ._scores import LABEL_SCORES, cluster_scores, label_scores, variation_of_information
from ._separation import (
    PermutationTest,
    learned_margin,
    mean_margin,
    permutation_tests,
    pseudo_f,
    separation_tests,
)
from ._splits import Split, make_splits
from ._tuning import Tuned, candidate_settings, tune

__all__ = [
    "BETWEEN_TYPES",
    "CLASSIFIERS",
    "LABEL_SCORES",
    "METHODS",
    "Comparisons",
    "Exchange",
    "HeldOutSamples",
    "PermutationTest",
    "ReferenceCells",
    "Samples",
    "Split",
    "Tuned",
    "auc_interval",
    "calibration",
    "candidate_settings",
    "check_distances",
    "check_same_distances",
    "check_same_samples",
    "cluster_scores",
    "compare_classes",
    "compare_samples",
    "cross_validate",
    "distance_unit",
    "explanation_tables",
    "gene_contributions",
    "hold_out_each",
    "label_intervals",
    "label_scores",
    "learned_margin",
    "make_splits",
    "mean_margin",
    "named_methods",
    "permutation_tests",
    "probabilities_without_own",
    "pseudo_f",
    "separation_tests",
    "sign_test",
    "summary",
    "tune",
    "variation_of_information",
    "warn_about_absent_types",
]
