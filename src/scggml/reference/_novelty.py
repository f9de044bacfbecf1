"""What of a sample its reference does not show: expression outside of the principal components, and shares of kinds of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from scggml.core.measures._means import group_means
from scggml.core.measures._measures import as_points
from scggml.core.measures._moments import weighted_moments

from ._calibration import calibrated_smallest, prediction_tail, upper_tail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points

    from ._gene_space import GeneSpace

_DIVISIONS = (2, 4, 8)
_CELLS_OF_KIND = 50  # on average, that a division needs
_MAX_CELLS = 20_000  # that kinds are found from
_LEAST_CELLS = 8  # of a sample, and of a kind and not of it, to compare
_GAP, _GAP_ERROR = (
    2.06,
    1.1,
)  # mean and spread of the difference of the two largest variances of noise, in Tracy and Widom's units
_MIN_SIGNAL = 0.1  # of the sampling noise: keeps logarithms of lengths finite
_NOTHING = 1e-12  # of all squares: rounding


@dataclass(frozen=True, eq=False)
class CellKinds:
    """Kinds of cells, by the nearest centroid: divisions of all cells into two, four and eight, where there are 50 cells for each kind.

    Parameters
    ----------
    centroids
        Centroid of each kind in the principal components, (n_kinds, n_features), those of one division after those of another;
        infinite where there is no cell of it.
    divisions
        Number of kinds of each division, (n_divisions,).
    variance
        Variance of each gene outside of the components, (n_genes,), in units of the scaled genes.
    """

    centroids: NDArray[np.float64]
    divisions: NDArray[np.int64]
    variance: NDArray[np.float64]

    @classmethod
    def fit(cls, space: GeneSpace, genes: Points) -> CellKinds:
        """Return the clusters of cells, (n_cells, n_genes), by k-means; no division where there are too few cells for it."""
        from sklearn.cluster import KMeans

        features = space.project(genes)
        step = -(-len(features) // _MAX_CELLS)
        divisions = [k for k in _DIVISIONS if k * _CELLS_OF_KIND <= len(features)]
        centroids = [KMeans(k, n_init=5, random_state=0).fit(features[::step]).cluster_centers_ for k in divisions]
        return cls(
            np.concatenate([np.empty((0, features.shape[1])), *centroids]),
            np.array(divisions, dtype=np.int64),
            _variance_outside(space, genes, features),
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
        return CellKinds(centroids, self.divisions, self.variance)


def _variance_outside(space: GeneSpace, genes: Points, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of each gene outside of orthonormal components, (n_genes,), in units of the scaled genes."""
    variance = weighted_moments(genes, np.full(len(features), 1 / len(features)))[1] / space.unit**2
    covariance = np.atleast_2d(np.cov(features, rowvar=False, bias=True))
    return np.maximum(variance - np.einsum("gi,ij,gj->g", space.loadings, covariance, space.loadings), 0.0)


def novelty(
    space: GeneSpace,
    kinds: CellKinds,
    genes: Points,
    codes: NDArray[np.integer],
    n_samples: int,
    present: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return how each sample differs from what a reference shows: columns of a table, each (n_samples,), and their standard errors.

    `outside` is the logarithm of the length of the mean of a sample's cells outside of the components, in units of the scaled genes and
    less what it owes on average to the sampling of cells. `group` is the logarithm of the ratio of the two largest variances of its
    cells outside, along any axes, less what it is on average of as many cells without structure :cite:p:`johnstone2001`: large where a group of
    cells differs from the others in the same genes. Of each kind of cells, `shift_0` and so on are the squared distance, outside, between the
    mean of its cells and that of all others, in which cancels what all cells of a sample have in common, less what it owes on average to
    sampling; and `share_0` the log odds of the kind with half a cell added on both sides. `outside_error`, `group_error`,
    `shift_0_error` and `share_0_error` are their standard errors by the sampling of cells. All but shares are NaN of fewer than eight cells, and shifts of kinds with less than eight cells, or all but so many.

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
    present
        Which of the reference's genes these are; None for all of them. What the others would add to lengths is taken in proportion
        to their variance.
    """
    present = np.ones(len(kinds.variance), dtype=bool) if present is None else present
    variance = kinds.variance[present]
    squares, tiny = float((variance**2).sum()), np.finfo(float).tiny
    n_free = float(variance.sum()) ** 2 / max(squares, tiny)
    extent = float(kinds.variance.sum()) / max(float(variance.sum()), tiny)
    rows = [
        _novelty_of_one(space, kinds, as_points(genes[np.flatnonzero(codes == i)]), max(n_free, 1.0), extent)
        for i in range(n_samples)
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _novelty_of_one(
    space: GeneSpace, kinds: CellKinds, genes: Points, n_free: float, extent: float
) -> dict[str, float]:
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

    def length(vector: NDArray[np.float64], noise: float, parts: list[NDArray[np.bool_]]) -> tuple[float, float]:
        """Return the squared length of a difference of means less what it owes to sampling, and the standard error of that.

        With the covariance V of the difference by sampling, the variance is twice the trace of V V, and four times the true
        difference in V. The difference that is seen has on average the sum of trace and true difference in V, which is
        divided as its length is.
        """
        along, whole = block @ vector, float(vector @ vector)
        in_noise = sum(float(along[part].var(ddof=1)) / part.sum() for part in parts)
        true_share = max(whole - noise, 0.0) / max(whole, np.finfo(float).tiny)
        return extent * (whole - noise), extent * (2 * (1 + true_share) * in_noise) ** 0.5

    everyone = np.ones(n, dtype=bool)
    row = dict.fromkeys(("outside", "outside_error", "group", "group_error"), np.nan)
    if n >= _LEAST_CELLS:
        whole, noise = mean_outside(everyone)
        squared, error = length(whole, noise, [everyone])
        squared = max(squared, _MIN_SIGNAL * extent * noise, np.finfo(float).tiny)
        row |= {"outside": np.log(squared) / 2, "outside_error": error / (2 * squared)}
        if noise * n * (n - 1) > _NOTHING * float(own.sum()):
            row["group"], row["group_error"] = _largest_ratio(block, coordinates, n_free)
    of_division = kinds.kinds_of(space.project(genes))
    for k in range(len(kinds.centroids)):
        chosen = (of_division == k).any(axis=1)
        n_of, n_others = int(chosen.sum()), n - int(chosen.sum())
        shift, error = np.nan, np.nan
        if min(n_of, n_others) >= _LEAST_CELLS:
            (one, one_noise), (other, other_noise) = mean_outside(chosen), mean_outside(~chosen)
            shift, error = length(one - other, one_noise + other_noise, [chosen, ~chosen])
        odds = n_of + 0.5, n_others + 0.5
        row |= {f"shift_{k}": shift, f"shift_{k}_error": error}
        row |= {f"share_{k}": np.log(odds[0] / odds[1]), f"share_{k}_error": (1 / odds[0] + 1 / odds[1]) ** 0.5}
    return row


def _largest_ratio(block: Points, coordinates: NDArray[np.float64], n_free: float) -> tuple[float, float]:
    """Return the logarithm of the ratio of the two largest variances of cells outside of axes, beyond that of noise, and its error."""
    n = block.shape[0]

    def centred_gram(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = x - x.mean()
        found = block @ (block.T @ x) - coordinates @ (coordinates.T @ x)
        return np.asarray(found - found.mean())

    gram = LinearOperator((n, n), matvec=centred_gram, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=n)
    second, first = eigsh(gram, k=2, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)
    # the largest variances of noise are of the order of the square of this, and their spread is the unit
    edge = np.sqrt(n - 1) + np.sqrt(n_free)
    unit = (1 / np.sqrt(n - 1) + 1 / np.sqrt(n_free)) ** (1 / 3) / edge
    return float(np.log(first / max(second, _NOTHING * first)) - _GAP * unit), float(_GAP_ERROR * unit)


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
    parts = []
    for i in range(n):
        others = np.arange(n) != i
        parts.append(tails({name: x[others] for name, x in known.items()}, {name: x[[i]] for name, x in known.items()}))
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
    found = {"distance": upper_tail(known["distance"], new["distance"])[:, None]}
    n_kinds = sum(name.startswith("share_") and not name.endswith("_error") for name in known)
    kinds = range(n_kinds)
    families = {"outside": ["outside"], "group": ["group"], "kinds": [f"shift_{k}" for k in kinds]}
    for family, names in (families | {"composition": [f"share_{k}" for k in kinds]}).items():
        if not names or names[0] not in known:
            continue
        values = [np.stack([table[name] for name in names], axis=1) for table in (known, new)]
        errors = [np.stack([table[f"{name}_error"] for name in names], axis=1) for table in (known, new)]
        found[family] = prediction_tail(*values, *errors)
        if family == "composition":
            few = prediction_tail(-values[0], -values[1], *errors)
            found[family] = np.minimum(2 * np.minimum(found[family], few), 1.0)
    return found
