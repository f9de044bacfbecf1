"""Distances between samples as distributions of cells: without transport and without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import joblib
import numpy as np

from scggml import _check as check
from scggml.core.measures._moments import typical_cost
from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import n_threads, single_threaded_blas
from scggml.core.transport._costs import cost_matrix

from ._held import Held, from_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._samples import Samples
    from ._splits import Split

N_NEIGHBORS = 25  # of GloScope's density
N_PROJECTIONS = 200  # of the sliced Wasserstein distance
_MAX_CELLS = 1000  # among which the median distance is taken
_COINCIDE = 1e-6  # as a fraction of the typical distance between two cells


@dataclass(frozen=True, eq=False)
class Divergence:
    """One of `DIVERGENCES`. It is computed once for all samples, because it uses no labels."""

    name: str

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        compute = DIVERGENCES[self.name]
        return from_matrix(samples.once(self.name, lambda: compute(samples.measures, seed, n_jobs)), split)


def check_divergence(name: str, samples: Samples) -> None:
    """Refuse cells for which a divergence is not defined."""
    if name == "mmd" and not _median_distance(samples.measures) > 0:
        msg = (
            "methods holds 'mmd', whose bandwidth is the median distance between two cells, which is zero here: most "
            "cells are equal. Pass another representation as use_rep, or leave it out."
        )
        raise ValueError(msg)
    if name != "gloscope":
        return
    measures = samples.measures
    if not measures.are_uniform:
        msg = "sketch_key gives weighted points, which 'gloscope' of methods cannot take. Leave one of them out."
        raise ValueError(msg)
    few = np.flatnonzero(measures.sizes <= N_NEIGHBORS)
    if len(few):
        found = check.listed([f"{samples.names[i]} ({measures.sizes[i]})" for i in few])
        msg = (
            f"methods holds 'gloscope', which needs more than {N_NEIGHBORS} cells of every sample, found fewer in "
            f"{found}. Drop these samples with sg.pp.filter_samples(..., min_cells={N_NEIGHBORS + 1}), or leave it out."
        )
        raise ValueError(msg)
    near = _COINCIDE * typical_cost(measures)
    same = [i for i in range(len(measures)) if _own_neighbors(measures, i, N_NEIGHBORS - 1).min() <= near]
    if same:
        msg = (
            f"methods holds 'gloscope', which is not defined for samples with {N_NEIGHBORS} equal cells, found in "
            f"{check.listed(samples.names[same])}. Pass another representation as use_rep, or leave it out."
        )
        raise ValueError(msg)


def gloscope(measures: Measures, seed: int, n_jobs: int | None) -> NDArray[np.float64]:
    r"""Return GloScope's divergences :cite:p:`wang2024`: Kullback-Leibler divergences of nearest-neighbour densities.

    This is what the R package computes for `dens="KNN", dist_metric="KL"` through `FNN::KL.dist`, without a square
    root. With :math:`r_{ij}(x)` the distance of a cell x of sample i to its 25th nearest cell of sample j (other than
    x), and d features, it is :math:`d` times the mean of :math:`\log r_{ij} / r_{ii}` over the cells of i plus that of
    :math:`\log r_{ji} / r_{jj}` over the cells of j. Values below zero, which are estimates of zero, become zero.
    """
    own = np.array([np.log(_own_neighbors(measures, i, N_NEIGHBORS)).mean() for i in range(len(measures))])

    def divergence(i: int, j: int) -> float:
        if i == j:
            return 0.0
        costs = cost_matrix(measures[i][0], measures[j][0], "euclidean")
        k = N_NEIGHBORS - 1
        to_other, to_one = (np.partition(costs, k, axis=axis).take(k, axis=axis) for axis in (1, 0))
        return float(np.log(to_other).mean() - own[i] + np.log(to_one).mean() - own[j])

    return np.maximum(measures.n_features * _of_pairs(divergence, len(measures), n_jobs, "gloscope"), 0.0)


def mmd(measures: Measures, seed: int, n_jobs: int | None) -> NDArray[np.float64]:
    r"""Return maximum mean discrepancies :cite:p:`gretton2012`, square roots of the biased statistic.

    The kernel is :math:`\exp(-\|x - y\|^2 / 2 \sigma^2)`, with :math:`\sigma` the median distance between two cells,
    all samples counting alike.
    """
    unit = 2 * _median_distance(measures) ** 2
    return _embedding_distances(_mean_costs(measures, lambda costs: np.exp(-(costs**2) / unit), n_jobs, "mmd"))


def energy(measures: Measures, seed: int, n_jobs: int | None) -> NDArray[np.float64]:
    r"""Return energy distances :cite:p:`szekely2013`, :math:`\sqrt{2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|}`."""
    return _embedding_distances(-_mean_costs(measures, lambda costs: costs, n_jobs, "energy"))


def sliced(measures: Measures, seed: int, n_jobs: int | None) -> NDArray[np.float64]:
    """Return sliced Wasserstein-2 distances :cite:p:`bonneel2015` by POT, along the same directions for all pairs."""
    from ot import wasserstein_1d
    from ot.sliced import get_random_projections

    directions = get_random_projections(measures.n_features, N_PROJECTIONS, seed)
    along = measures.with_points(np.asarray(measures.points @ directions))

    def distance(i: int, j: int) -> float:
        (x, a), (y, b) = along[i], along[j]
        return 0.0 if i == j else float(np.sqrt(wasserstein_1d(x, y, a, b, p=2).mean()))

    return _of_pairs(distance, len(measures), n_jobs, "sliced")


DIVERGENCES: dict[str, Callable[[Measures, int, int | None], NDArray[np.float64]]] = {
    "gloscope": gloscope,
    "mmd": mmd,
    "energy": energy,
    "sliced": sliced,
}


def _own_neighbors(measures: Measures, i: int, k: int) -> NDArray[np.float64]:
    """Return the distance of each cell of a sample to its k-th nearest other cell of that sample, (n_cells,)."""
    points = measures[i][0]
    return np.partition(cost_matrix(points, points, "euclidean"), k, axis=1)[:, k]  # the first is the cell itself


def _median_distance(measures: Measures) -> float:
    """Return the median distance between two cells, evenly spaced ones of each sample where there are many."""
    some = measures.thinned(max(_MAX_CELLS // len(measures), 2))
    one, other = np.triu_indices(some.points.shape[0], k=1)
    distances = cost_matrix(some.points, some.points, "euclidean")[one, other]
    order = np.argsort(distances)
    mass = np.cumsum((some.weights[one] * some.weights[other])[order])
    half = mass[-1] / 2 * (1 - 1e-9)  # which sums of equal weights reach, whatever they are rounded to
    return float(distances[order[np.searchsorted(mass, half)]])


def _mean_costs(
    measures: Measures, function: Callable[[NDArray[np.float64]], NDArray[np.float64]], n_jobs: int | None, name: str
) -> NDArray[np.float64]:
    """Return the mean of a function of distances between the cells of two samples, (n_samples, n_samples)."""

    def mean(i: int, j: int) -> float:
        (x, a), (y, b) = measures[i], measures[j]
        return float(a @ function(cost_matrix(x, y, "euclidean")) @ b)

    return _of_pairs(mean, len(measures), n_jobs, name)


def _embedding_distances(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances between the mean embeddings of samples from their inner products."""
    own = np.diag(products)
    return np.sqrt(np.maximum(own[:, None] + own[None] - 2 * products, 0.0))


def _of_pairs(function: Callable[[int, int], float], n: int, n_jobs: int | None, name: str) -> NDArray[np.float64]:
    """Return the values of a symmetric function of two samples, (n_samples, n_samples)."""

    def row(i: int) -> list[float]:
        return [function(i, j) for j in range(i, n)]

    matrix = np.zeros((n, n))
    parallel = joblib.Parallel(n_jobs=n_threads(n_jobs), backend="threading", return_as="generator")
    with single_threaded_blas, progress_bar(n, name, "sample") as bar:
        for i, values in enumerate(parallel(map(joblib.delayed(row), range(n)))):
            matrix[i, i:] = matrix[i:, i] = values
            bar.update()
    return matrix
