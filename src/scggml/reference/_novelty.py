"""Differences between a sample and its reference that the metric cannot see.

These are expression outside of the principal components, and the proportions of clusters of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.cluster import KMeans

from scggml.core.measures._means import group_means
from scggml.core.measures._measures import as_points
from scggml.core.measures._moments import weighted_moments

from ._calibration import calibrated_smallest, prediction_tail, upper_tail
from ._gene_space import in_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points

    from ._gene_space import GeneSpace

_N_CLUSTERS = (2, 4, 8)  # of each clustering
_CELLS_PER_CLUSTER = 50  # on average, below which a clustering is left out
_MAX_CELLS = 20_000  # for k-means
_MIN_CELLS = 8  # of a sample, and inside and outside of a cluster, to compare means
# mean and standard deviation of the difference of the two largest variances of noise, in Tracy and Widom's units
_GAP, _GAP_ERROR = 2.06, 1.1
_MIN_SIGNAL = 0.1  # of the sampling noise: keeps logarithms of lengths finite
_ROUNDING = 1e-12  # of the sum of squares


@dataclass(frozen=True, eq=False)
class CellClusters:
    """Clusters of cells, assigned by the nearest centroid.

    There are up to three clusterings, with two, four and eight clusters. A clustering is left out if it has fewer than
    50 cells per cluster on average.

    Parameters
    ----------
    centroids
        Centroid of each cluster in the principal components, (n_all_clusters, n_features), one clustering after
        another. The centroid of a cluster without cells is infinite.
    n_clusters
        Number of clusters of each clustering, (n_clusterings,).
    variance
        Variance of each gene outside of the components, (n_genes,), in units of the scaled genes.
    """

    centroids: NDArray[np.float64]
    n_clusters: NDArray[np.int64]
    variance: NDArray[np.float64]

    @classmethod
    def fit(cls, space: GeneSpace, genes: Points) -> CellClusters:
        """Cluster cells, (n_cells, n_genes), by k-means on their principal components."""
        features = space.project(genes)
        step = -(-len(features) // _MAX_CELLS)
        n_clusters = [k for k in _N_CLUSTERS if k * _CELLS_PER_CLUSTER <= len(features)]
        centroids = [KMeans(k, n_init=5, random_state=0).fit(features[::step]).cluster_centers_ for k in n_clusters]
        return cls(
            np.concatenate([np.empty((0, features.shape[1])), *centroids]),
            np.array(n_clusters, dtype=np.int64),
            _variance_outside(space, genes, features),
        )

    def assign(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the cluster of each cell in each clustering, as a row of the centroids, (n_cells, n_clusterings)."""
        found = np.empty((len(features), len(self.n_clusters)), dtype=np.int64)
        for i, (k, end) in enumerate(zip(self.n_clusters, np.cumsum(self.n_clusters), strict=True)):
            own = self.centroids[end - k : end]
            has_cells = np.isfinite(own)
            squares = (own**2).sum(axis=1) - 2 * features @ np.where(has_cells, own, 0.0).T
            found[:, i] = end - k + squares.argmin(axis=1)
        return found

    def with_features(self, features: NDArray[np.float64], assigned: NDArray[np.int64]) -> CellClusters:
        """Return the same clusters with centroids in other features.

        Parameters
        ----------
        features
            Other features of cells, (n_cells, n_features).
        assigned
            Clusters of these cells, from `assign`, (n_cells, n_clusterings).
        """
        centroids = np.full((len(self.centroids), features.shape[1]), np.inf)
        for column in assigned.T:
            present, codes = np.unique(column, return_inverse=True)
            centroids[present] = group_means(features, codes, len(present))
        return CellClusters(centroids, self.n_clusters, self.variance)


def _variance_outside(space: GeneSpace, genes: Points, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of each gene outside of orthonormal components, (n_genes,), in units of the scaled genes."""
    variance = weighted_moments(genes, np.full(len(features), 1 / len(features)))[1] / space.unit**2
    covariance = np.atleast_2d(np.cov(features, rowvar=False, bias=True))
    return np.maximum(variance - np.einsum("gi,ij,gj->g", space.loadings, covariance, space.loadings), 0.0)


def novelty(
    space: GeneSpace,
    clusters: CellClusters,
    genes: Points,
    codes: NDArray[np.integer],
    n_samples: int,
    present: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Measure how each sample differs from the reference in expression outside of the components and in composition.

    The residual of a cell is the part of its scaled expression outside of the principal components. Squared lengths of
    means are corrected for the sampling of cells: their expectation under sampling alone is subtracted.

    Parameters
    ----------
    space
        Principal components of the reference.
    clusters
        Clusters of cells of the reference.
    genes
        Values of the genes, (n_cells, n_genes).
    codes
        Sample of each cell, (n_cells,). Each sample has at least two cells.
    n_samples
        Number of samples.
    present
        Which genes of the reference `genes` holds. None for all. Lengths are then scaled up to all genes, in proportion
        to the variance of the genes.

    Returns
    -------
    Columns of a table, (n_samples,) each. Each column has a standard error from the sampling of cells, with the suffix
    `_error`:

    `outside`
        Logarithm of the length of the mean residual of all cells. NaN for fewer than eight cells.
    `new_cluster`
        Logarithm of the ratio of the two largest variances of the residuals along any axes, minus the expected value
        for as many cells without structure :cite:p:`johnstone2001`. It is large if some cells of the sample differ from
        its others in the same genes, such as a new cell type. NaN for fewer than eight cells.
    `shift_0`, `shift_1`, ...
        For each cluster, the squared distance between the mean residual of its cells and that of all other cells of the
        sample. Differences that all cells of a sample share cancel. NaN for fewer than eight cells on either side.
    `share_0`, `share_1`, ...
        Log odds of the proportion of each cluster, with half a cell added on both sides.
    """
    present = np.ones(len(clusters.variance), dtype=bool) if present is None else present
    variance = clusters.variance[present]
    squares, tiny = float((variance**2).sum()), np.finfo(float).tiny
    n_free = float(variance.sum()) ** 2 / max(squares, tiny)
    extent = float(clusters.variance.sum()) / max(float(variance.sum()), tiny)
    axes = space.orthonormal()
    rows = [
        _novelty_of_one(space, axes, clusters, as_points(genes[np.flatnonzero(codes == i)]), max(n_free, 1.0), extent)
        for i in range(n_samples)
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _novelty_of_one(
    space: GeneSpace, axes: NDArray[np.float64], clusters: CellClusters, genes: Points, n_free: float, extent: float
) -> dict[str, float]:
    """Return the columns of one sample.

    Parameters
    ----------
    space, clusters, genes
        As in `novelty`.
    axes
        Orthonormal axes of the space, (n_genes, n_features).
    n_free
        Effective number of genes: degrees of freedom of the residuals.
    extent
        Ratio of the variance of all genes to that of the genes that are present.
    """
    block, mean = in_units(genes, space.unit), space.mean / space.unit
    n = block.shape[0]
    coordinates = block @ axes - mean @ axes
    # the squared length of a residual is that of the cell minus that of its coordinates
    own = np.asarray((block * block).sum(axis=1)).ravel()
    squares = np.maximum(own - 2 * (block @ mean) + mean @ mean - (coordinates**2).sum(axis=1), 0.0)

    def mean_residual(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
        """Return the mean residual of cells, (n_genes,), and the expectation of its squared length by sampling."""
        found = chosen @ block / chosen.sum() - mean
        found -= axes @ (axes.T @ found)
        total = squares[chosen].sum() - chosen.sum() * (found @ found)
        return found, max(float(total), 0.0) / (chosen.sum() * max(chosen.sum() - 1, 1))

    def length(vector: NDArray[np.float64], noise: float, parts: list[NDArray[np.bool_]]) -> tuple[float, float]:
        """Return the corrected squared length of a difference of means, and its standard error.

        Let V be the covariance of the difference by sampling, and t the true difference. The variance is 2 tr(V V) + 4
        t' V t. The observed difference d has the expectation E[d' V d] = tr(V V) + t' V t. This is divided between both
        terms in proportion to the corrected and the observed squared length.
        """
        along, whole = block @ vector, float(vector @ vector)
        in_noise = sum(float(along[part].var(ddof=1)) / part.sum() for part in parts)
        true_share = max(whole - noise, 0.0) / max(whole, np.finfo(float).tiny)
        return extent * (whole - noise), extent * (2 * (1 + true_share) * in_noise) ** 0.5

    everyone = np.ones(n, dtype=bool)
    row = dict.fromkeys(("outside", "outside_error", "new_cluster", "new_cluster_error"), np.nan)
    if n >= _MIN_CELLS:
        whole, noise = mean_residual(everyone)
        squared, error = length(whole, noise, [everyone])
        squared = max(squared, _MIN_SIGNAL * extent * noise, np.finfo(float).tiny)
        row |= {"outside": np.log(squared) / 2, "outside_error": error / (2 * squared)}
        if noise * n * (n - 1) > _ROUNDING * float(own.sum()):
            row["new_cluster"], row["new_cluster_error"] = _largest_ratio(block, coordinates, n_free)
    assigned = clusters.assign(space.project(genes))
    for k in range(len(clusters.centroids)):
        chosen = (assigned == k).any(axis=1)
        n_of, n_others = int(chosen.sum()), n - int(chosen.sum())
        shift, error = np.nan, np.nan
        if min(n_of, n_others) >= _MIN_CELLS:
            (one, one_noise), (other, other_noise) = mean_residual(chosen), mean_residual(~chosen)
            shift, error = length(one - other, one_noise + other_noise, [chosen, ~chosen])
        odds = n_of + 0.5, n_others + 0.5
        row |= {f"shift_{k}": shift, f"shift_{k}_error": error}
        row |= {f"share_{k}": np.log(odds[0] / odds[1]), f"share_{k}_error": (1 / odds[0] + 1 / odds[1]) ** 0.5}
    return row


def _largest_ratio(block: Points, coordinates: NDArray[np.float64], n_free: float) -> tuple[float, float]:
    """Return the log ratio of the two largest variances of residuals minus its expectation for noise, and its error."""
    n = block.shape[0]

    def centred_gram(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = x - x.mean()
        found = block @ (block.T @ x) - coordinates @ (coordinates.T @ x)
        return np.asarray(found - found.mean())

    gram = LinearOperator((n, n), matvec=centred_gram, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=n)
    second, first = eigsh(gram, k=2, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)
    # the largest variances of noise are about the square of `edge`, and `unit` is their spread relative to that
    edge = np.sqrt(n - 1) + np.sqrt(n_free)
    unit = (1 / np.sqrt(n - 1) + 1 / np.sqrt(n_free)) ** (1 / 3) / edge
    return float(np.log(first / max(second, _ROUNDING * first)) - _GAP * unit), float(_GAP_ERROR * unit)


def outlier_probabilities(
    known: Mapping[str, NDArray[np.float64]], new: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return the p-value of each new sample, (n_new,), and its p-values in each family of columns, (n_new,) each.

    A p-value is the probability that one more sample like the known ones is at least as extreme. Each column has its
    own probability, see `tail_probabilities`. The smallest of a sample is compared with the smallest of each known
    sample given all other known ones, see `calibrated_smallest`.

    Parameters
    ----------
    known
        Columns of known samples, (n_known,) each: `distance`, and the columns of `novelty` where there are any. Each
        sample was measured on a reference without it.
    new
        The same columns of new samples, (n_new,) each.
    """
    of_new = tail_probabilities(known, new)
    n = len(known["distance"])
    parts = []
    for i in range(n):
        others = np.arange(n) != i
        rest, own = ({name: x[rows] for name, x in known.items()} for rows in (others, [i]))
        parts.append(tail_probabilities(rest, own))
    of_known = {family: np.concatenate([part[family] for part in parts]) for family in of_new}
    families = {family: calibrated_smallest(of_known[family], of_new[family]) for family in of_new}
    return calibrated_smallest(*(np.concatenate(list(p.values()), axis=1) for p in (of_known, of_new))), families


def tail_probabilities(
    known: Mapping[str, NDArray[np.float64]], new: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Return the probability of each column of each new sample, (n_new, n_columns) for each family.

    It is the probability that one more sample like the known ones is at least as extreme. Large values are extreme in
    the families `distance`, `outside`, `new_cluster` and `clusters`, the last with the shifts of all clusters. Both
    large and small values are extreme in `composition`, with the shares of all clusters.

    Parameters
    ----------
    known, new
        As in `outlier_probabilities`.
    """
    found = {"distance": upper_tail(known["distance"], new["distance"])[:, None]}
    n_clusters = sum(name.startswith("share_") and not name.endswith("_error") for name in known)
    families = {
        "outside": ["outside"],
        "new_cluster": ["new_cluster"],
        "clusters": [f"shift_{k}" for k in range(n_clusters)],
        "composition": [f"share_{k}" for k in range(n_clusters)],
    }
    for family, names in families.items():
        if not names or names[0] not in known:
            continue
        values = [np.stack([table[name] for name in names], axis=1) for table in (known, new)]
        errors = [np.stack([table[f"{name}_error"] for name in names], axis=1) for table in (known, new)]
        found[family] = prediction_tail(*values, *errors)
        if family == "composition":
            small = prediction_tail(-values[0], -values[1], *errors)
            found[family] = np.minimum(2 * np.minimum(found[family], small), 1.0)
    return found
