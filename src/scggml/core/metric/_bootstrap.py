"""How much the closed form changes when samples are drawn again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import subspace_angles
from tqdm.auto import tqdm

from scggml.core.measures._moments import feature_scale
from scggml.core.measures._threads import single_threaded_blas
from scggml.core.transport._work import Extent

from ._ground_metric import GroundMetric, alignment
from ._training import (
    cells_per_sample,
    choose_triplets,
    closed_form_pairs,
    components_of,
    known_ridge,
    signal_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._options import TrainingOptions
    from ._targets import Targets

_MAX_DRAWS = 1000


def bootstrap_metrics(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    *,
    n_boot: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Iterator[GroundMetric]:
    """Yield the closed form of samples drawn with replacement, of classes within each class.

    Plans are solved once: under the Euclidean metric they do not depend on the samples drawn. Draws with fewer than
    two different samples of a class that can be compared are repeated. A sample that was drawn n times has n-fold
    weight in pairs with others, and is not paired with itself.

    Parameters
    ----------
    measures
        One measure per sample, raw points.
    targets
        Label of each sample.
    options
        How the metric was learned: by one sweep of the closed form, without refinement.
    n_boot
        Number of draws.
    rng
        Source of the draws.
    n_jobs
        Threads; the result does not depend on it.
    """
    scale, constant = feature_scale(measures, options.scale)
    triplet_rng, draw_rng = rng.spawn(2)
    pairs = closed_form_pairs(targets, choose_triplets(targets, "auto", triplet_rng), options, int((~constant).sum()))
    measures = measures.thinned(cells_per_sample(Extent.of(measures), pairs, options.max_cells))
    space = measures.scaled(~constant / scale)
    solved = options.solver.at(space).solve(space, pairs, keep_plans=True, n_jobs=n_jobs, progress="transport")
    ridge = known_ridge(measures, options)
    signal = signal_of(space, ~constant, solved, targets, options, ridge=ridge)  # one shrinkage for all draws
    for _ in tqdm(range(n_boot), desc="bootstrap", unit="draw", delay=2, leave=False, disable=None):
        times = _draw(targets, pairs, draw_rng)
        with single_threaded_blas:
            components = components_of(
                measures, solved, targets, options, signal, scale=scale, active=~constant, sample_weights=times,
                n_jobs=n_jobs,
            )  # fmt: skip
        yield GroundMetric(components, scale)


@dataclass(frozen=True, eq=False)
class Stability:
    """How much a metric changes from one bootstrap to the next.

    Parameters
    ----------
    weights
        Weight of each feature in each bootstrap, (n_boot, n_features), their squares summing to the same.
    alignment
        Cosine between the Mahalanobis matrices of a bootstrap and of the metric, (n_boot,).
    principal_angles
        In degrees, between the subspaces of their leading components, (n_boot, at most n_comps).
    n_comps
        Number of leading components: those that hold half of the metric.
    """

    weights: NDArray[np.float64]
    alignment: NDArray[np.float64]
    principal_angles: NDArray[np.float64]
    n_comps: int

    @classmethod
    def of(cls, metric: GroundMetric, others: Iterable[GroundMetric], loadings: NDArray[np.float64]) -> Stability:
        """Compare bootstraps with the metric.

        Parameters
        ----------
        metric
            The metric.
        others
            Bootstraps of it.
        loadings
            Loadings from the metric's features to those whose weights are wanted, (n, n_features), in the unit of the
            weights.
        """
        share = np.cumsum((metric.components**2).sum(axis=1))
        n_comps = int(np.searchsorted(share, 0.5 * share[-1])) + 1
        unit = np.linalg.norm(loadings @ metric.linear_map.T)
        weights, cosines, angles = [], [], []
        for other in others:
            weight = np.linalg.norm(loadings @ other.linear_map.T, axis=1)
            weights.append(weight * unit / np.linalg.norm(weight))
            cosines.append(alignment(metric.components, other.components))
            angles.append(np.rad2deg(subspace_angles(metric.components[:n_comps].T, other.components[:n_comps].T)))
        shortest = min(map(len, angles))
        return cls(np.array(weights), np.array(cosines), np.array([a[:shortest] for a in angles]), n_comps)

    def selected(self, n_top: int) -> NDArray[np.float64]:
        """Return how often each feature is among the `n_top` with the largest weights, (n_features,), as a fraction."""
        top = np.argsort(-self.weights, axis=1, kind="stable")[:, :n_top]
        return np.bincount(top.ravel(), minlength=self.weights.shape[1]) / len(self.weights)


def _draw(targets: Targets, pairs: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the number of times that each sample was drawn, (n_samples,)."""
    codes = targets.codes if targets.kind == "class" else np.zeros(len(targets), dtype=np.int64)
    of_class = [np.flatnonzero(codes == c) for c in range(int(codes.max()) + 1)]
    same = codes[pairs[:, 0]] == codes[pairs[:, 1]]
    n_compared = len(np.unique(codes[pairs[same, 0]]))  # a class that is alone in its strata has no pairs
    for _ in range(_MAX_DRAWS):
        drawn = np.concatenate([rng.choice(members, len(members)) for members in of_class])
        times = np.bincount(drawn, minlength=len(codes)).astype(np.float64)
        left = same & (times[pairs].prod(axis=1) > 0)
        if len(np.unique(codes[pairs[left, 0]])) == n_compared and all(
            weights.any() for weights in targets.pair_weights(pairs, times)
        ):
            return times
    msg = (
        "no bootstrap sample held both like and different labels to compare: there are too few samples to estimate the "
        "stability of the metric. Leave the bootstrap out, or add samples."
    )
    raise ValueError(msg)
