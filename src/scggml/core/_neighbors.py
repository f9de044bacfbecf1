"""Classes of new samples from their distances to labelled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule: TypeAlias = Literal["class_mean", "knn"]
RULES = ("class_mean", "knn")


def class_scores(
    distances: NDArray[np.float64], codes: NDArray[np.integer], *, rule: Rule, n_neighbors: int
) -> NDArray[np.float64]:
    """Return how well each class fits each new sample, (n_new, n_classes); the largest score wins.

    Parameters
    ----------
    distances
        Distances of new to labelled samples, (n_new, n_labelled).
    codes
        Class of each labelled sample, 0..n_classes-1, (n_labelled,).
    rule
        "class_mean": minus the mean distance to the `n_neighbors` nearest samples of the class (all, if it has fewer),
        which does not favour large classes. "knn": the share of the class among the `n_neighbors` nearest samples.
    n_neighbors
        Number of neighbours.
    """
    n_classes = int(codes.max()) + 1
    by_class = [np.sort(distances[:, codes == c], axis=1) for c in range(n_classes)]
    if rule == "class_mean":
        return np.stack([-d[:, :n_neighbors].mean(axis=1) for d in by_class], axis=1)
    k = min(n_neighbors, distances.shape[1])
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    votes = np.stack([(codes[nearest] == c).sum(axis=1) for c in range(n_classes)], axis=1)
    # equal votes go to the class of the nearest sample: a bonus too small to turn a majority
    closest = np.stack([d[:, 0] for d in by_class], axis=1)
    bonus = np.argsort(np.argsort(-closest, axis=1, kind="stable"), axis=1, kind="stable") / (2 * n_classes)
    return (votes + bonus) / k
