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
        "class_mean": minus the mean distance to the nearest samples of the class, to `n_neighbors` of the largest
        class and to the same fraction of the others, at least one (`class_neighbors`). "knn": the share of the class
        among the `n_neighbors` nearest samples, which favours large classes.
    n_neighbors
        Number of neighbours.
    """
    n_classes = int(codes.max()) + 1
    by_class = [np.sort(distances[:, codes == c], axis=1) for c in range(n_classes)]
    if rule == "class_mean":
        counts = np.array([d.shape[1] for d in by_class])
        n_nearest = class_neighbors(counts, n_neighbors)
        return np.stack([-mean_of_nearest(d, k) for d, k in zip(by_class, n_nearest, strict=True)], axis=1)
    shares = neighbor_shares(distances, codes, n_neighbors=n_neighbors)
    # equal votes go to the class of the nearest sample: a bonus too small to change a majority
    closest = np.stack([d[:, 0] for d in by_class], axis=1)
    bonus = np.argsort(np.argsort(-closest, axis=1, kind="stable"), axis=1, kind="stable") / (2 * n_classes)
    return shares + bonus / min(n_neighbors, distances.shape[1])


def neighbor_shares(
    distances: NDArray[np.float64], codes: NDArray[np.integer], *, n_neighbors: int
) -> NDArray[np.float64]:
    """Return the share of each class among the nearest labelled samples of each new sample, (n_new, n_classes)."""
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
    votes = [(codes[nearest] == c).sum(axis=1) for c in range(int(codes.max()) + 1)]
    return np.stack(votes, axis=1) / nearest.shape[1]


def neighbor_means(
    distances: NDArray[np.float64], values: NDArray[np.float64], *, n_neighbors: int
) -> NDArray[np.float64]:
    """Return the mean value of the nearest labelled samples of each new sample, (n_new,).

    Parameters
    ----------
    distances
        Distances of new to labelled samples, (n_new, n_labelled).
    values
        Ordinal or continuous label of each labelled sample, (n_labelled,).
    n_neighbors
        Number of neighbours, at most all.
    """
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
    return np.asarray(
        np.sort(values[nearest], axis=1).mean(axis=1)
    )  # the same neighbours have the same mean, to the last bit


def class_neighbors(counts: NDArray[np.integer], n_neighbors: int) -> NDArray[np.float64]:
    """Return how many nearest samples of each class to look at, (n_classes,), fractions included.

    The nearest 3 of 40 samples are nearer than the nearest 3 of 6, even if classes do not differ. The mean of the
    first k of n lies at quantile (k + 1) / (2 (n + 1)) of all distances. This quantile is made the same for every
    class, except for small classes, which need at least their nearest sample. It matters in balanced cohorts too, if
    a sample is left out of its class.
    """
    k = (n_neighbors + 1) * (counts + 1) / (counts.max() + 1) - 1
    return np.asarray(np.clip(k, 1, counts))


def mean_of_nearest(distances: NDArray[np.float64], k: float) -> NDArray[np.float64]:
    """Return the mean of the first k of sorted distances (n, m), (n,); for fractions of k, interpolated."""
    below = int(k)
    mean = distances[:, :below].mean(axis=1)
    if k == below:
        return mean
    above = distances[:, : below + 1].mean(axis=1)
    return np.asarray((below + 1 - k) * mean + (k - below) * above)


def medoid(distances: NDArray[np.float64], members: NDArray[np.integer]) -> int:
    """Return the position of the member with the smallest sum of distances to the others."""
    return int(members[distances[np.ix_(members, members)].sum(axis=1).argmin()])
