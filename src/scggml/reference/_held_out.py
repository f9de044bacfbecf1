"""Held-out samples of a reference cohort, as seen from a reference made without them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from scggml.core._probabilities import (
    class_probabilities,
    fit_inverse_temperature,
    probability_scores,
    relative_class_scores,
)
from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import weighted_moments
from scggml.core.measures._progress import progress_bar
from scggml.core.transport._distances import pairwise_distances

from ._calibration import nearest_distances
from ._gene_space import GeneSpace
from ._novelty import novelty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Points
    from scggml.core.transport._sketch import Sketch
    from scggml.estimators import GroundMetricLearner
    from scggml.evaluation._splits import Split

    from ._novelty import CellClusters

_MAX_POINTS = 100  # of a sample, for the median distance


@dataclass(frozen=True, eq=False)
class ReferenceCells:
    """Cells of labelled samples, from which a reference can be made without some of the samples.

    Parameters
    ----------
    points
        Features of the cells, (n_cells, n_features).
    codes
        Sample of each cell, (n_cells,).
    classes
        Class of each sample, from 0, (n_samples,).
    labels
        Labels from which the metric is learned, (n_samples,).
    strata
        Stratum of each sample, (n_samples,): different labels are compared within strata only. None for one stratum.
    genes
        Values of the genes, (n_cells, n_genes), whose principal components are the features. None if the features
        cannot be computed from genes; they are then the same for all splits.
    scaled
        Whether each gene is divided by its standard deviation before the components are computed.
    sketch
        Points that stand for the cells.
    clusters
        Clusters of the cells in the features, for the novelty of held-out samples. None if there are no genes.
    """

    points: Points
    codes: NDArray[np.int64]
    classes: NDArray[np.int64]
    labels: NDArray[Any]
    strata: NDArray[Any] | None = None
    genes: Points | None = None
    scaled: bool = False
    sketch: Sketch | None = None
    clusters: CellClusters | None = None

    @cached_property
    def _assigned(self) -> NDArray[np.int64]:
        assert self.clusters is not None
        return self.clusters.assign(self.points)

    def without(self, split: Split) -> tuple[Measures, dict[str, NDArray[np.float64]]]:
        """Return all samples in features computed without the held-out ones, and the novelty of the held-out ones."""
        points, differences = self.points, {}
        if self.genes is not None:
            seen = np.flatnonzero(np.isin(self.codes, split.train))
            genes = self.genes[seen]
            space = GeneSpace.fit(genes, _unit(genes, scaled=self.scaled), self.points.shape[1])
            points = space.project(self.genes)
            if self.clusters is not None:
                clusters = self.clusters.with_features(points[seen], self._assigned[seen])
                held = np.flatnonzero(np.isin(self.codes, split.test))
                position = np.empty(len(self.classes), dtype=np.int64)
                position[split.test] = np.arange(len(split.test))
                differences = novelty(space, clusters, self.genes[held], position[self.codes[held]], len(split.test))
        if self.sketch is not None:
            return self.sketch.measures(points), differences
        return Measures.from_codes(points, self.codes, len(self.classes)), differences


def _unit(genes: Points, *, scaled: bool) -> NDArray[np.float64]:
    """Return the divisor of each gene, (n_genes,): its standard deviation as in scanpy.pp.scale, or one."""
    n_cells, n_genes = genes.shape
    if not scaled:
        return np.ones(n_genes)
    variance = weighted_moments(genes, np.full(n_cells, 1 / n_cells))[1] * n_cells / (n_cells - 1)
    return np.sqrt(np.where(variance > 0, variance, 1.0))


@dataclass(frozen=True, eq=False)
class HeldOutSamples:
    """Results for each sample from a reference made without it.

    Parameters
    ----------
    scores
        How well each class fits, (n_samples, n_classes).
    distances
        Mean distance to the nearest samples of the reference, in median distances between its samples, (n_samples,).
    novelty
        Columns of `novelty`, (n_samples,) each. Empty without clusters of cells.
    """

    scores: NDArray[np.float64]
    distances: NDArray[np.float64]
    novelty: dict[str, NDArray[np.float64]]


def hold_out_each(
    cells: ReferenceCells,
    splits: Sequence[Split],
    learner: GroundMetricLearner,
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> HeldOutSamples:
    """Refit the metric on the training samples of each split, and compare the held-out samples with these.

    Principal components are refitted too where there are genes.

    Parameters
    ----------
    cells
        The cells of the reference.
    splits
        Splits that hold each sample out once.
    learner
        Unfitted learner, which is cloned.
    rng
        Source of a seed for each split, if the learner has none.
    n_jobs
        Threads.
    """
    n_samples, n_classes = len(cells.classes), int(cells.classes.max()) + 1
    scores, distances = np.empty((n_samples, n_classes)), np.empty(n_samples)
    columns: dict[str, NDArray[np.float64]] = {}
    seeds = [int(child.integers(2**31)) for child in rng.spawn(len(splits))]
    with progress_bar(len(splits), "held-out samples", "fit") as bar:
        for split, seed in zip(splits, seeds, strict=True):
            measures, differences = cells.without(split)
            train, test = measures.take(split.train), measures.take(split.test)
            model = clone(learner).set_params(n_jobs=n_jobs)
            if model.rng is None:
                model.set_params(rng=seed)
            strata = None if cells.strata is None else cells.strata[split.train]
            model.fit(train, cells.labels[split.train], strata)
            found = model.pairwise_distances(test, train)
            scores[split.test] = relative_class_scores(found, cells.classes[split.train])
            projected = model.metric_.project_measures(train)
            distances[split.test] = nearest_distances(found, n_samples) / distance_unit(model, projected, n_jobs)
            for name, values in differences.items():
                columns.setdefault(name, np.empty(n_samples))[split.test] = values
            bar.update()
    return HeldOutSamples(scores, distances, columns)


def distance_unit(learner: GroundMetricLearner, projected: Measures, n_jobs: int | None) -> float:
    """Return the median distance between training samples under the metric of a learner.

    It is one if the learner scales its metric to that. Otherwise it is computed from at most 100 points of each sample.

    Parameters
    ----------
    learner
        Learner of the metric, whose settings say whether it scales the metric.
    projected
        Training samples in the learned space.
    n_jobs
        Threads.
    """
    if learner.refine is None or (learner.refine.relative and learner.refine.minibatch is None):
        return 1.0
    found = pairwise_distances(projected.thinned(_MAX_POINTS), n_jobs=n_jobs)[0]
    return float(np.median(found[np.triu_indices(len(found), k=1)]))


def probabilities_without_own(scores: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return class probabilities of held-out samples, (n_samples, n_classes).

    The inverse temperature for each sample is fitted to the scores of all others.

    Parameters
    ----------
    scores
        How well each class fits, (n_samples, n_classes).
    codes
        Class of each sample, (n_samples,).
    """
    n = len(codes)
    parts = []
    for i in range(n):
        others = np.arange(n) != i
        parts.append(class_probabilities(scores[[i]], fit_inverse_temperature(scores[others], codes[others])))
    return np.concatenate(parts)


def calibration(
    held: HeldOutSamples,
    codes: NDArray[np.int64],
    labels: NDArray[np.object_],
    classes: NDArray[np.object_],
    *,
    samples: NDArray[np.object_],
    order: NDArray[np.int64],
) -> dict[str, Any]:
    """Return the calibration of a reference as a dictionary that files can hold.

    Parameters
    ----------
    held
        Results of the held-out samples.
    codes, labels, samples
        Class of each sample as a position in `classes` and as text, and the name of the sample, (n_samples,).
    classes
        Names of the classes, (n_classes,).
    order
        Order of the samples in the tables, (n_samples,).

    Returns
    -------
    `classes`; `inverse_temperature` of the class probabilities; `held_out`, a table with `label`, `predicted`,
    `probability_0` and so on in the order of the classes, and `distance`; `novelty`, a table, where there is any; and
    `scores` of the held-out predictions.
    """
    probabilities, best = probabilities_without_own(held.scores, codes), held.scores.argmax(axis=1)
    columns = {
        "label": labels,
        "predicted": classes[best],
        **{f"probability_{c}": probabilities[:, c] for c in range(len(classes))},
        "distance": held.distances,
    }
    index = pd.Index(samples)
    table_of_novelty = {"novelty": pd.DataFrame(held.novelty, index=index).iloc[order]} if held.novelty else {}
    return {
        "classes": classes,
        "inverse_temperature": fit_inverse_temperature(held.scores, codes),
        "held_out": pd.DataFrame(columns, index=index).iloc[order],
        **table_of_novelty,
        "scores": probability_scores(probabilities, codes, best),
    }
