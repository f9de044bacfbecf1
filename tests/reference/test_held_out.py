"""Held-out samples of a reference, against one PCA of scikit-learn, one fit and one `ot.emd2` at a time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import ot
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score

from scggml import GroundMetricLearner, Refinement
from scggml.core.measures._measures import Measures
from scggml.evaluation._splits import Split
from scggml.reference._gene_space import GeneSpace
from scggml.reference._held_out import (
    HeldOutSamples,
    ReferenceCells,
    calibration,
    distance_unit,
    hold_out_each,
    probabilities_without_own,
)
from scggml.reference._novelty import CellClusters

N_SAMPLES, N_CELLS, N_GENES = 9, 24, 10
CLASSES = np.arange(N_SAMPLES) % 2
LEARNER = {"scale": "global", "rng": 0}


@pytest.fixture
def genes():
    rng = np.random.default_rng(0)
    shifts = np.repeat(rng.normal(size=(N_SAMPLES, N_GENES)), N_CELLS, axis=0)
    x = rng.normal(size=(N_SAMPLES * N_CELLS, N_GENES)) + shifts
    x[np.repeat(CLASSES, N_CELLS) == 1, 2] += 2
    x[::2, 8] += 8  # two clusters of cells in each sample
    return x


@pytest.fixture
def codes():
    return np.repeat(np.arange(N_SAMPLES), N_CELLS)


def splits_of(*parts):
    everyone = np.arange(N_SAMPLES)
    return [Split(0, i, np.setdiff1d(everyone, part), np.asarray(part)) for i, part in enumerate(parts)]


SPLITS = splits_of([0], [1, 4], [2, 3, 8], [5, 6, 7])


def held_out(**settings):
    return {"rng": np.random.default_rng(0), **settings}


def written_out(z, codes, split):
    """Scores of classes and mean distances to the nearest of the held-out samples, by a fit on the others."""
    clouds = [z[codes == i] for i in range(N_SAMPLES)]
    w = GroundMetricLearner(**LEARNER).fit([clouds[i] for i in split.train], CLASSES[split.train]).components_
    scores, near = [], []
    for i in split.test:
        d = np.array([ot.emd2([], [], cdist(clouds[i] @ w.T, clouds[j] @ w.T)) for j in split.train])
        counts = np.bincount(CLASSES[split.train])
        # 3 samples of the largest class, and as large a part of the other
        k = [max(4 * (count + 1) / (counts.max() + 1) - 1, 1) for count in counts]
        means = np.array([mean_of_first(d[CLASSES[split.train] == c], k[c]) for c in (0, 1)])
        scores.append(-means / means.mean())
        near.append(mean_of_first(d, max(4 * (len(split.train) + 1) / (N_SAMPLES + 1) - 1, 1)))
    return np.array(scores), np.array(near)


def mean_of_first(d, k):
    """Mean of the k smallest, interpolated between whole numbers."""
    means = np.cumsum(np.sort(d)) / np.arange(1, len(d) + 1)
    return np.interp(k, np.arange(1, len(d) + 1), means)


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scaled", [False, True])
def test_components_and_metric_are_refitted(genes, codes, as_matrix, scaled, novelty_by_hand, assert_same_novelty):
    genes = genes * np.arange(1, N_GENES + 1)
    genes[:N_CELLS, 9] *= 5  # a gene that one sample alone has too much of
    space = GeneSpace.fit(genes, genes.std(axis=0, ddof=1) if scaled else np.ones(N_GENES), 4)
    clusters, features = CellClusters.fit(space, genes), space.project(genes)
    assert clusters.n_clusters.tolist() == [2, 4]
    reference = ReferenceCells(features, codes, CLASSES, CLASSES, None, as_matrix(genes), scaled, clusters=clusters)
    found = hold_out_each(reference, SPLITS, GroundMetricLearner(**LEARNER), **held_out())

    assigned = [cdist(features, part).argmin(axis=1) for part in (clusters.centroids[:2], clusters.centroids[2:])]
    scores, near, columns = np.empty((N_SAMPLES, 2)), np.empty(N_SAMPLES), {}
    for split in SPLITS:
        seen = np.isin(codes, split.train)
        unit = genes[seen].std(axis=0, ddof=1) if scaled else np.ones(N_GENES)
        pca = PCA(4, svd_solver="full").fit(genes[seen] / unit)
        z = pca.transform(genes / unit)
        scores[split.test], near[split.test] = written_out(z, codes, split)
        own = SimpleNamespace(loadings=pca.components_.T, mean=pca.mean_ * unit, unit=unit)
        rows = [np.flatnonzero(seen & (of == k)) for of in assigned for k in range(of.max() + 1)]
        means = [z[cells].mean(axis=0) if len(cells) else np.full(4, np.inf) for cells in rows]  # a sample of its own
        same = SimpleNamespace(centroids=np.array(means), n_clusters=[2, 4], variance=clusters.variance)
        for i in split.test:
            row = novelty_by_hand(own, same, genes[codes == i], np.zeros(N_CELLS, dtype=int))
            for name, value in row.items():
                columns.setdefault(name, np.empty(N_SAMPLES))[i] = value[0]
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    np.testing.assert_allclose(found.distances, near, rtol=1e-6)
    assert np.isfinite(columns["shift_1"]).any()
    assert_same_novelty(found.novelty, columns)


def test_features_without_genes_stay(genes, codes):
    z = PCA(4, svd_solver="full").fit_transform(genes)
    cells = ReferenceCells(z, codes, CLASSES, CLASSES)
    found = hold_out_each(cells, SPLITS, GroundMetricLearner(**LEARNER), **held_out())
    for split in SPLITS:
        scores, near = written_out(z, codes, split)
        np.testing.assert_allclose(found.scores[split.test], scores, rtol=1e-6)
        np.testing.assert_allclose(found.distances[split.test], near, rtol=1e-6)
    assert found.novelty == {}


def test_labels_are_compared_within_strata(genes, codes):
    """With strata, each fit is that of the learner on the training samples and their strata."""
    strata = np.array(["a", "a", "b", "b", "a", "a", "b", "b", "b"], dtype=object)
    found, without = (
        hold_out_each(
            ReferenceCells(genes, codes, CLASSES, CLASSES, given), SPLITS, GroundMetricLearner(**LEARNER), **held_out()
        )
        for given in (strata, None)
    )
    split = SPLITS[0]
    clouds = [genes[codes == i] for i in range(N_SAMPLES)]
    learner = GroundMetricLearner(**LEARNER).fit(
        [clouds[i] for i in split.train], CLASSES[split.train], strata[split.train]
    )
    d = learner.pairwise_distances([clouds[0]], [clouds[i] for i in split.train])[0]
    assert found.distances[0] == pytest.approx(mean_of_first(d, 4 * 9 / 10 - 1))
    assert abs(found.distances[0] / without.distances[0] - 1) > 1e-3


def test_jobs_do_not_matter(genes, codes):
    cells = ReferenceCells(genes, codes, CLASSES, CLASSES)
    learner = GroundMetricLearner(refine=Refinement(triplets=2, max_iter=2))
    one, two = (hold_out_each(cells, SPLITS, learner, **held_out(n_jobs=n)) for n in (1, 2))
    np.testing.assert_array_equal(one.distances, two.distances)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_unit_of_distance(genes, codes):
    measures = Measures.from_codes(genes, codes, N_SAMPLES)
    expected = np.median(
        [ot.emd2([], [], cdist(measures[i][0], measures[j][0])) for j in range(N_SAMPLES) for i in range(j)]
    )
    scaled = [None, Refinement()]
    unscaled = [Refinement(relative=False), Refinement(minibatch=8)]
    for refine, unit in [(r, 1.0) for r in scaled] + [(r, expected) for r in unscaled]:
        assert distance_unit(GroundMetricLearner(refine=refine), measures, None) == pytest.approx(unit)


def test_distances_do_not_depend_on_the_unit_of_the_metric(genes, codes):
    """A metric in any unit gives the same relative distances as one that is scaled to the median distance."""
    cells = ReferenceCells(genes, codes, CLASSES, CLASSES)
    closed, free = (
        hold_out_each(cells, SPLITS, GroundMetricLearner(refine=refine, **LEARNER), **held_out())
        for refine in (None, Refinement(relative=False, max_iter=2, lr=1e-300))
    )
    np.testing.assert_allclose(closed.distances, free.distances, rtol=1e-6)


def smoothed_loss(inverse_temperature, scores, codes):
    """Minus the log likelihood of classes that weigh alike, with the targets of Platt."""
    loss = 0.0
    for row, code in zip(scores, codes, strict=True):
        n = (codes == code).sum()
        target = np.where(np.arange(len(row)) == code, (n + 1) / (n + 2), 1 / (n + 2) / (len(row) - 1))
        e = np.exp(inverse_temperature * (row - row.max()))
        loss -= target @ np.log(e / e.sum()) / n
    return loss


def test_no_sample_calibrates_itself():
    rng = np.random.default_rng(0)
    codes = np.arange(12) % 3
    scores = rng.normal(size=(12, 3)) + np.eye(3)[codes]
    found = probabilities_without_own(scores, codes)
    for i in range(12):
        others = np.delete(np.arange(12), i)
        best = minimize_scalar(smoothed_loss, bounds=(0, 20), args=(scores[others], codes[others]), method="bounded")
        expected = np.exp(best.x * scores[i])
        np.testing.assert_allclose(found[i], expected / expected.sum(), atol=1e-4)


def test_tables_of_the_calibration():
    rng = np.random.default_rng(1)
    codes, classes = np.arange(8) % 2, np.array(["well", "sick"], dtype=object)
    scores = rng.normal(size=(8, 2)) + np.eye(2)[codes]
    held = HeldOutSamples(scores, rng.random(8), {"outside": rng.normal(size=8)})
    samples, order = np.array([f"p{i}" for i in range(8)], dtype=object), rng.permutation(8)
    found = calibration(held, codes, classes[codes], classes, samples=samples, order=order)
    table = found["held_out"]
    assert list(table.index) == list(found["novelty"].index) == list(samples[order])
    assert list(table["label"]) == list(classes[codes[order]])
    assert list(table["predicted"]) == list(classes[scores.argmax(axis=1)][order])
    np.testing.assert_array_equal(table["distance"], held.distances[order])
    pd.testing.assert_series_equal(table["probability_0"], 1 - table["probability_1"], check_names=False)
    best = minimize_scalar(smoothed_loss, bounds=(0, 20), args=(scores, codes), method="bounded")
    assert found["inverse_temperature"] == pytest.approx(best.x, rel=1e-3)
    expected = balanced_accuracy_score(table["label"], table["predicted"])
    assert found["scores"]["balanced_accuracy"] == pytest.approx(expected)
    assert "novelty" not in calibration(
        HeldOutSamples(scores, held.distances, {}), codes, classes[codes], classes, samples=samples, order=order
    )
