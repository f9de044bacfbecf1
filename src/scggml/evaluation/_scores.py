"""Scores of predictions and of clusterings of held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import kendalltau, rankdata
from sklearn.metrics import (
    accuracy_score,
    adjusted_rand_score,
    f1_score,
    mutual_info_score,
    normalized_mutual_info_score,
    roc_auc_score,
    silhouette_score,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABEL_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc")


def label_scores(
    codes: NDArray[np.integer], predicted: NDArray[np.integer], class_scores: NDArray[np.float64] | None
) -> dict[str, float]:
    """Return the scores of predicted classes. Balanced scores and the area under the curve need two classes.

    Parameters
    ----------
    codes, predicted
        True and predicted class of each sample, 0..n_classes-1, (n_samples,).
    class_scores
        Score of each class for each sample, (n_samples, n_classes); None if there are none.
    """
    scores = {"accuracy": float(accuracy_score(codes, predicted))}
    if len(np.unique(codes)) > 1:
        classes = np.arange(max(codes.max(), predicted.max()) + 1 if class_scores is None else class_scores.shape[1])
        # the function of scikit-learn warns about predicted classes that no sample has
        scores["balanced_accuracy"] = float(np.mean([(predicted[codes == c] == c).mean() for c in np.unique(codes)]))
        scores["macro_f1"] = float(f1_score(codes, predicted, labels=classes, average="macro", zero_division=0))
        if class_scores is not None:
            scores["roc_auc"] = float(np.mean(one_against_rest_auc(codes, class_scores)))
    return scores


def value_scores(values: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean absolute error of predicted ordinal or continuous labels, and rank correlations if defined.

    Parameters
    ----------
    values, predicted
        True and predicted value of each sample, (n_samples,).
    """
    scores = {"mae": float(np.abs(values - predicted).mean())}
    if len(values) > 2 and len(np.unique(values)) > 1:
        scores["spearman"] = spearman(values, predicted)
        constant = len(np.unique(predicted)) == 1
        scores["kendall"] = 0.0 if constant else float(kendalltau(values, predicted).statistic)
    return scores


def spearman(values: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation of values that are not all equal; zero if all predictions are equal."""
    ranks = [rankdata(x) - (len(values) + 1) / 2 for x in (values, predicted)]
    squares = [float(r @ r) for r in ranks]
    return float(np.clip(ranks[0] @ ranks[1] / np.sqrt(squares[0] * squares[1]), -1, 1)) if squares[1] > 0 else 0.0


def one_against_rest_auc(codes: NDArray[np.integer], class_scores: NDArray[np.float64]) -> list[float]:
    """Return the area under the curve of each class with samples, by its lead over the best other class."""
    lead = margins(class_scores)
    return [float(roc_auc_score(codes == c, lead[:, c])) for c in np.unique(codes)]


def margins(class_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lead of each class over the best other one, (n_samples, n_classes)."""
    lead = np.empty_like(class_scores)
    for c in range(class_scores.shape[1]):
        lead[:, c] = class_scores[:, c] - np.delete(class_scores, c, axis=1).max(axis=1)
    return lead


def cluster_scores(codes: NDArray[np.integer], distances: NDArray[np.float64]) -> dict[str, float]:
    """Return the agreement of classes with clusters, from complete linkage with one cluster per class.

    The silhouette is that of the classes in the distances.

    Parameters
    ----------
    codes
        Class of each sample, (n_samples,).
    distances
        Distances between them, (n_samples, n_samples).
    """
    n_classes = len(np.unique(codes))
    if n_classes < 2 or len(codes) <= n_classes:
        return {}
    found = fcluster(linkage(squareform(distances, checks=False), "complete"), n_classes, "maxclust")
    return {
        "ari": float(adjusted_rand_score(codes, found)),
        "nmi": float(normalized_mutual_info_score(codes, found)),
        "mutual_information": float(mutual_info_score(codes, found)),
        "variation_of_information": variation_of_information(codes, found),
        "silhouette": float(silhouette_score(distances, codes, metric="precomputed")),
    }


def variation_of_information(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Return the distance between two partitions in nats :cite:p:`meila2007`.

    It is `H(first) + H(second) - 2 I(first, second)`.
    """
    entropies = sum(mutual_info_score(labels, labels) for labels in (first, second))
    return max(float(entropies - 2 * mutual_info_score(first, second)), 0.0)
