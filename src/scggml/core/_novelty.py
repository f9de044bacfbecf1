"""What of a sample its reference does not show: expression outside of the principal components, and shares of kinds of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from ._calibration import calibrated_smallest, prediction_tail, upper_tail
from ._means import group_means
from ._measures import as_points
from ._metric import weighted_moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ._gene_space import GeneSpace
    from ._measures import Points

_DIVISIONS = (2, 4, 8)
_CELLS_OF_KIND = 50  # on average, that a division needs
_MAX_CELLS = 20_000  # that kinds are found from
_LEAST_CELLS = 8  # of a sample, of a kind and not of it, to compare
_MIN_SIGNAL = 0.1  # of the sampling noise: keeps logarithms of lengths finite


@dataclass(frozen=True, eq=False)
class CellKinds:
    """Kinds of cells, by the nearest centroid: divisions of all cells into two, four and eight.

    Parameters
    ----------
    centroids
        Centroid of each kind in the principal components, (n_kinds, n_features), those of one division after those of another;
        infinite where there is no cell of it.
    divisions
        Number of kinds of each division, (n_divisions,).
    n_free
        How many independent genes of equal variance would vary as much, outside of the components, as the genes do.
    """

    centroids: NDArray[np.float64]
    divisions: NDArray[np.int64]
    n_free: float

    @classmethod
    def fit(cls, space: GeneSpace, genes: Points) -> CellKinds:
        """Return the clusters of cells, (n_cells, n_genes), by k-means; no division where there are too few cells for it."""
        from sklearn.cluster import KMeans

        features = space.project(genes)
        step = -(-len(features) // _MAX_CELLS)
        divisions = [k for k in _DIVISIONS if k * _CELLS_OF_KIND <= len(features)]
        centroids = [KMeans(k, n_init=5, random_state=0).fit(features[::step]).cluster_centers_ for k in divisions]
        variance = _variance_outside(space, genes, features)
        return cls(
            np.concatenate([np.empty((0, features.shape[1])), *centroids]),
            np.array(divisions, dtype=np.int64),
            float(variance.sum() ** 2 / max(float((variance**2).sum()), np.finfo(float).tiny)),
        )

    def kinds_of(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the kind of each cell in each division, (n_cells, n_divisions), as position in the centroids."""
        found = np.empty((len(features), len(self.divisions)), dtype=np.int64)
        for i, (k, end) in enumerate(zip(self.divisions, np.cumsum(self.divisions), strict=True)):
            own = self.centroids[end - k : end]
            here = np.isfinite(own)
            squares = (own**2).sum(axis=1) - 2 * features @ np.where(here, own, 0.0).T
            found[:, i] = end - k + squares.argmin(axis=1)
        return found

    def moved(self, features: NDArray[np.float64], kinds: NDArray[np.int64]) -> CellKinds:
        """Return the same kinds in other features, where these cells, (n_cells, n_divisions), are of them."""
        centroids = np.full((len(self.centroids), features.shape[1]), np.inf)
        for column in kinds.T:
            present, codes = np.unique(column, return_inverse=True)
            centroids[present] = group_means(features, codes, len(present))
        return CellKinds(centroids, self.divisions, self.n_free)


def _variance_outside(space: GeneSpace, genes: Points, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of each gene outside of orthonormal components, (n_genes,), in units of the scaled genes."""
    variance = weighted_moments(genes, np.full(len(features), 1 / len(features)))[1] / space.unit**2
    covariance = np.atleast_2d(np.cov(features, rowvar=False, bias=True))
    return np.maximum(variance - np.einsum("gi,ij,gj->g", space.loadings, covariance, space.loadings), 0.0)


def novelty(
    space: GeneSpace, kinds: CellKinds, genes: Points, codes: NDArray[np.integer], n_samples: int
) -> dict[str, NDArray[np.float64]]:
    """Return how each sample differs from what a reference shows: columns of a table, each (n_samples,).

    `outside` is the length of the mean of a sample's cells outside of the components, in units of the scaled genes and less what it
    owes on average to the sampling of cells. `group` is the ratio of the two largest variances of its cells outside, along any axes: large
    where a group of cells differs from the others in the same genes; NaN of fewer than four cells. Of each kind of cells, `shift_0` and
    so on are the squared distance, outside, between the mean of its cells and that of all others, in which cancels what all cells
    of a sample have in common, less what it owes on average to sampling; `error_0` the standard error of it; and `share_0` the log odds of
    the kind with half a cell added on both sides. Shift and error are NaN of kinds with less than eight cells, or all but so many.

    Parameters
    ----------
    space
        The reference's components.
    kinds
        Its kinds of cells.
    genes
        Values of the genes, (n_cells, n_genes).
    codes
        Sample of each cell, at least two of each, (n_cells,).
    n_samples
        Number of samples.
    """
    rows = [_novelty_of_one(space, kinds, as_points(genes[np.flatnonzero(codes == i)])) for i in range(n_samples)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _novelty_of_one(space: GeneSpace, kinds: CellKinds, genes: Points) -> dict[str, float]:
    block, axes, mean = space.scaled(genes), space.orthonormal(), space.mean / space.unit
    n = block.shape[0]
    coordinates = block @ axes - mean @ axes
    # what is orthogonal to the axes has the squared length of the whole less that of its coordinates
    own = np.asarray((block * block).sum(axis=1)).ravel()
    squares = np.maximum(own - 2 * (block @ mean) + mean @ mean - (coordinates**2).sum(axis=1), 0.0)

    def mean_outside(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
        """Return the mean of cells outside, (n_genes,), and the variance of its length by sampling."""
        found = chosen @ block / chosen.sum() - mean
        found -= axes @ (axes.T @ found)
        total = squares[chosen].sum() - chosen.sum() * (found @ found)
        return found, max(float(total), 0.0) / (chosen.sum() * max(chosen.sum() - 1, 1))

    whole, noise = mean_outside(np.ones(n, dtype=bool))
    row: dict[str, float] = {
        "outside": max(float(whole @ whole) - noise, _MIN_SIGNAL * noise, np.finfo(float).tiny) ** 0.5,
        "group": _largest_ratio(block, coordinates),
    }
    of_division = kinds.kinds_of(space.project(genes))
    for k in range(len(kinds.centroids)):
        chosen = (of_division == k).any(axis=1)
        n_of, n_others = int(chosen.sum()), n - int(chosen.sum())
        shift, error = np.nan, np.nan
        if min(n_of, n_others) >= _LEAST_CELLS:
            (one, one_noise), (other, other_noise) = mean_outside(chosen), mean_outside(~chosen)
            noise = one_noise + other_noise
            shift, error = ((one - other) ** 2).sum() - noise, noise * np.sqrt(2 / kinds.n_free)
        row |= {f"shift_{k}": shift, f"error_{k}": error, f"share_{k}": np.log((n_of + 0.5) / (n_others + 0.5))}
    return row


def _largest_ratio(block: Points, coordinates: NDArray[np.float64]) -> float:
    """Return the ratio of the two largest variances of cells outside of the axes of which these are the coordinates."""
    n = block.shape[0]
    if n < 4:
        return np.nan

    def centred_gram(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = x - x.mean()
        found = block @ (block.T @ x) - coordinates @ (coordinates.T @ x)
        return np.asarray(found - found.mean())

    gram = LinearOperator((n, n), matvec=centred_gram, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=n)
    second, first = eigsh(gram, k=2, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)
    return float(first / second) if second > 1e-12 * abs(first) else np.nan


def unusual(
    known: Mapping[str, NDArray[np.float64]], new: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return how often one more sample like the known ones is as unusual as each new one, (n_new,); and the same for each family.

    Everything is looked at on its own, see `tails`, and the smallest probability is compared with those of the known samples, each
    given all others, see `calibrated_smallest`.

    Parameters
    ----------
    known, new
        Columns `distance` of samples, and what `novelty` returns where there is any; known ones from a reference without them.
    """
    of_new = tails(known, new)
    n = len(known["distance"])
    names = list(known)
    parts = []
    for i in range(n):
        others = np.arange(n) != i
        parts.append(tails({name: known[name][others] for name in names}, {name: known[name][[i]] for name in names}))
    of_known = {family: np.concatenate([part[family] for part in parts]) for family in of_new}
    families = {family: calibrated_smallest(of_known[family], of_new[family]) for family in of_new}
    return calibrated_smallest(*(np.concatenate(list(p.values()), axis=1) for p in (of_known, of_new))), families


def tails(
    known: Mapping[str, NDArray[np.float64]], new: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities that one more sample like the known ones is at least as far out, (n_new, n) for each family.

    The families are `distance`, `outside` and `group`, which can be too large; `kinds`, of the shift of each kind of cells; and
    `composition`, of its share, which can be too small as well.
    """
    found = {
        name: upper_tail(known[name], new[name])[:, None] for name in ("distance", "outside", "group") if name in known
    }
    n_kinds = sum(name.startswith("shift_") for name in known)
    if n_kinds == 0:
        return found
    both = [
        [np.stack([table[f"{name}_{k}"] for k in range(n_kinds)], axis=1) for table in (known, new)]
        for name in ("shift", "error", "share")
    ]
    shifts, errors, shares = both
    few, many = (prediction_tail(sign * shares[0], sign * shares[1]) for sign in (-1, 1))
    return {
        **found,
        "kinds": prediction_tail(*shifts, *errors),
        "composition": np.minimum(2 * np.minimum(few, many), 1.0),
    }
