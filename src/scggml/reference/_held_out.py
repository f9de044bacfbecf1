"""What a reference cohort says of its own samples when it is made without them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from tqdm.auto import tqdm

from scggml.core._probabilities import class_probabilities, fit_sharpness, probability_scores, relative_class_scores
from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import weighted_moments
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

    from ._novelty import CellKinds

_MAX_POINTS = 100  # of a sample, for the median distance


@dataclass(frozen=True, eq=False)
class ReferenceCells:
    """Cells of labelled samples.

    Parameters
    ----------
    points
        Features of the cells, (n_cells, n_features).
    codes
        Sample of each cell, (n_cells,).
    classes
        Class of each sample, 0..n_classes-1, (n_samples,).
    labels
        What the metric is learned from, (n_samples,).
    blocks
        Batch of each sample within which labels are compared, (n_samples,), or None.
    genes
        Values of the genes that the features are principal components of, (n_cells, n_genes); None where they are not, and the
        features cannot be computed anew.
    scaled
        Whether each gene is divided by its standard deviation before the components are computed.
    sketch
        Points that stand in for the cells.
    kinds
        Kinds of cells in the features, where there are genes.
    """

    points: Points
    codes: NDArray[np.int64]
    classes: NDArray[np.int64]
    labels: NDArray[Any]
    blocks: NDArray[np.object_] | None = None
    genes: Points | None = None
    scaled: bool = False
    sketch: Sketch | None = None
    kinds: CellKinds | None = None

    @cached_property
    def _kinds_of_cells(self) -> NDArray[np.int64]:
        assert self.kinds is not None
        return self.kinds.kinds_of(self.points)

    def without(self, split: Split) -> tuple[Measures, dict[str, NDArray[np.float64]]]:
        """Return all samples in features that were computed without the held-out ones; and how these differ from the others."""
        points, differences = self.points, {}
        if self.genes is not None:
            seen = np.flatnonzero(np.isin(self.codes, split.train))
            genes = self.genes[seen]
            space = GeneSpace.fit(genes, _unit(genes, scaled=self.scaled), self.points.shape[1])
            points = space.project(self.genes)
            if self.kinds is not None:
                kinds = self.kinds.moved(points[seen], self._kinds_of_cells[seen])
                held = np.flatnonzero(np.isin(self.codes, split.test))
                position = np.empty(len(self.classes), dtype=np.int64)
                position[split.test] = np.arange(len(split.test))
                differences = novelty(space, kinds, self.genes[held], position[self.codes[held]], len(split.test))
        if self.sketch is not None:
            return self.sketch.measures(points), differences
        return Measures.from_codes(points, self.codes, len(self.classes)), differences


def _unit(genes: Points, *, scaled: bool) -> NDArray[np.float64]:
    """Return what each gene is divided by, (n_genes,): as scanpy.pp.scale, or one."""
    n_cells, n_genes = genes.shape
    if not scaled:
        return np.ones(n_genes)
    variance = weighted_moments(genes, np.full(n_cells, 1 / n_cells))[1] * n_cells / (n_cells - 1)
    return np.sqrt(np.where(variance > 0, variance, 1.0))


@dataclass(frozen=True, eq=False)
class HeldOutSamples:
    """What is known of each sample from a reference made without it.

    Parameters
    ----------
    scores
        How well each class fits, (n_samples, n_classes).
    distances
        Mean distance to the nearest other samples, in median distances between these, (n_samples,).
    novelty
        How it differs from the others beside, columns of `core.novelty`, each (n_samples,); none without kinds of cells.
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
    """Learn the metric, and the principal components where they can be, without the held-out samples of each split.

    Parameters
    ----------
    cells
        The reference's cells.
    splits
        Each sample must be held out once.
    learner
        Settings of the metric; cloned.
    rng
        Source of seeds for learners without one.
    n_jobs
        Threads.
    """
    n_samples, n_classes = len(cells.classes), int(cells.classes.max()) + 1
    scores, distances = np.empty((n_samples, n_classes)), np.empty(n_samples)
    columns: dict[str, NDArray[np.float64]] = {}
    seeds = [int(child.integers(2**31)) for child in rng.spawn(len(splits))]
    for split, seed in zip(
        tqdm(splits, desc="held-out samples", unit="fit", delay=2, disable=None), seeds, strict=True
    ):
        measures, differences = cells.without(split)
        train, test = measures.take(split.train), measures.take(split.test)
        model = clone(learner).set_params(n_jobs=n_jobs)
        if model.rng is None:
            model.set_params(rng=seed)
        blocks = None if cells.blocks is None else cells.blocks[split.train]
        model.fit(train, cells.labels[split.train], blocks)
        found = model.pairwise_distances(test, train)
        scores[split.test] = relative_class_scores(found, cells.classes[split.train])
        projected = train.with_points(model.metric_.project(train.points))
        distances[split.test] = nearest_distances(found, n_samples) / distance_unit(model, projected, n_jobs)
        for name, values in differences.items():
            columns.setdefault(name, np.empty(n_samples))[split.test] = values
    return HeldOutSamples(scores, distances, columns)


def distance_unit(learner: GroundMetricLearner, projected: Measures, n_jobs: int | None) -> float:
    """Return the median distance between the training samples in the learned space: one, where training made it so.

    Otherwise it is that of at most 100 points of each.
    """
    if learner.relative and learner.batch_size is None:
        return 1.0
    found = pairwise_distances(projected.thinned(_MAX_POINTS), n_jobs=n_jobs)[0]
    return float(np.median(found[np.triu_indices(len(found), k=1)]))


def probabilities_without_own(scores: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return class probabilities of held-out samples, each with the sharpness that the others suggest, (n_samples, n_classes)."""
    n = len(codes)
    parts = []
    for i in range(n):
        others = np.arange(n) != i
        parts.append(class_probabilities(scores[[i]], fit_sharpness(scores[others], codes[others])))
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
    """Return the classes, the sharpness of their probabilities, tables of the held-out samples and its scores.

    Parameters
    ----------
    held
        What is known of each sample from a reference without it.
    codes, labels, samples
        Class of each sample, as position in `classes` and as text, and its name, (n_samples,).
    classes
        Names of the classes, (n_classes,).
    order
        Samples in the order of the table, (n_samples,).
    """
    probabilities, best = probabilities_without_own(held.scores, codes), held.scores.argmax(axis=1)
    columns = {
        "label": labels,
        "predicted": classes[best],
        **{f"probability_{c}": probabilities[:, c] for c in range(len(classes))},
        "distance": held.distances,
    }
    index = pd.Index(samples)
    beside = {"novelty": pd.DataFrame(held.novelty, index=index).iloc[order]} if held.novelty else {}
    return {
        "classes": classes,
        "sharpness": fit_sharpness(held.scores, codes),
        "held_out": pd.DataFrame(columns, index=index).iloc[order],
        **beside,
        "scores": probability_scores(probabilities, codes, best),
    }
