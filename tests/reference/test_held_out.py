"""Held-out samples of a reference, against one fit and one `ot.emd2` at a time."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from scggml import GroundMetricLearner
from scggml.core._probabilities import class_probabilities, fit_sharpness
from scggml.core.measures._measures import Measures
from scggml.evaluation._splits import Split
from scggml.reference._gene_space import GeneSpace
from scggml.reference._held_out import ReferenceCells, distance_unit, hold_out_each, probabilities_without_own
from scggml.reference._novelty import CellKinds, novelty

N_SAMPLES = 9
CLASSES = np.arange(N_SAMPLES) % 2


@pytest.fixture
def genes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_SAMPLES * 12, 10)) + np.repeat(rng.normal(size=(N_SAMPLES, 10)), 12, axis=0)
    x[np.repeat(CLASSES, 12) == 1, 2] += 2
    return x


@pytest.fixture
def codes():
    return np.repeat(np.arange(N_SAMPLES), 12)


def splits_of(*parts):
    everyone = np.arange(N_SAMPLES)
    return [Split(0, i, np.setdiff1d(everyone, part), np.asarray(part)) for i, part in enumerate(parts)]


SPLITS = splits_of([0], [1, 4], [2, 3, 8], [5, 6, 7])


def by_hand(genes, codes, n_comps, refit, scaled=False, kinds=None, labels=None):
    """Scores, mean distances to the nearest and what is new, sample by sample."""
    scores, near, columns = np.empty((N_SAMPLES, 2)), np.empty(N_SAMPLES), {}
    for split in SPLITS:
        seen = np.isin(codes, split.train) if refit else np.ones(len(codes), dtype=bool)
        unit = genes[seen].std(axis=0, ddof=1) if scaled else np.ones(10)
        x = genes / unit
        mean = x[seen].mean(axis=0)
        loadings = np.linalg.svd(x[seen] - mean, full_matrices=False)[2][:n_comps].T
        z = (x - mean) @ loadings
        clouds = [z[codes == i] for i in range(N_SAMPLES)]
        learner = GroundMetricLearner(scale="global", rng=0).fit([clouds[i] for i in split.train], CLASSES[split.train])
        w = learner.components_
        for i in split.test:
            d = np.array([ot.emd2([], [], cdist(clouds[i] @ w.T, clouds[j] @ w.T)) for j in split.train])
            means = []
            counts = np.bincount(CLASSES[split.train])
            for c in (0, 1):
                k = max(4 * (counts[c] + 1) / (counts.max() + 1) - 1, 1)
                means.append(mean_of_first(d[CLASSES[split.train] == c], k))
            scores[i] = -np.array(means) / np.mean(means)
            near[i] = mean_of_first(d, max(4 * (len(split.train) + 1) / (N_SAMPLES + 1) - 1, 1))
            if kinds is not None:
                space = GeneSpace(loadings, unit, -mean @ loadings, mean * unit)
                of_kind = [seen & (labels[:, 0] == k) for k in range(2)]
                centroids = [z[cells].mean(axis=0) if cells.any() else np.full(n_comps, np.inf) for cells in of_kind]
                same = CellKinds(np.array(centroids), kinds.divisions, kinds.variance)
                row = novelty(space, same, genes[codes == i], np.zeros((codes == i).sum(), dtype=int), 1)
                for name, value in row.items():
                    columns.setdefault(name, np.empty(N_SAMPLES))[i] = value[0]
    return scores, near, columns


def mean_of_first(d, k):
    whole = np.cumsum(np.sort(d)) / np.arange(1, len(d) + 1)
    return np.interp(k, np.arange(1, len(d) + 1), whole)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scaled", [False, True])
def test_components_and_metric_are_learned_without_the_held_out(genes, codes, kind, scaled):
    genes = genes * np.arange(1, 11)
    genes[:12, 9] *= 20  # what one sample alone has too much of
    space = GeneSpace.fit(genes, genes.std(axis=0, ddof=1) if scaled else np.ones(10), 4)
    kinds = CellKinds.fit(space, genes)
    features = space.project(genes)
    cells = ReferenceCells(features, codes, CLASSES, CLASSES, None, kind(genes), scaled, kinds=kinds)
    found = hold_out_each(cells, SPLITS, GroundMetricLearner(scale="global", rng=0), rng=np.random.default_rng(0))
    labels = kinds.kinds_of(features)
    scores, near, columns = by_hand(genes, codes, 4, refit=True, scaled=scaled, kinds=kinds, labels=labels)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    np.testing.assert_allclose(found.distances, near, rtol=1e-6)
    assert set(found.novelty) == set(columns) and "shift_1" in columns
    for name, values in columns.items():
        np.testing.assert_allclose(found.novelty[name], values, rtol=1e-5, atol=1e-8, err_msg=name)


def test_features_that_cannot_be_computed_anew_stay(genes, codes):
    centred = genes - genes.mean(axis=0)
    z = centred @ np.linalg.svd(centred, full_matrices=False)[2][:4].T
    found = hold_out_each(
        ReferenceCells(z, codes, CLASSES, CLASSES),
        SPLITS,
        GroundMetricLearner(scale="global", rng=0),
        rng=np.random.default_rng(0),
    )
    scores, near, _ = by_hand(genes, codes, 4, refit=False)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    np.testing.assert_allclose(found.distances, near, rtol=1e-6)
    assert found.novelty == {}


def test_jobs_do_not_matter(genes, codes):
    cells = ReferenceCells(genes, codes, CLASSES, CLASSES)
    one, two = (
        hold_out_each(cells, SPLITS, GroundMetricLearner(triplets=2), rng=np.random.default_rng(3), n_jobs=n)
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one.distances, two.distances)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_unit_of_a_metric_without_one(genes, codes):
    measures = Measures.from_codes(genes, codes, N_SAMPLES)
    expected = np.median(
        [ot.emd2([], [], cdist(measures[i][0], measures[j][0])) for j in range(N_SAMPLES) for i in range(j)]
    )
    assert distance_unit(GroundMetricLearner(), measures, None) == 1.0
    assert distance_unit(GroundMetricLearner(relative=False), measures, None) == pytest.approx(expected)
    assert distance_unit(GroundMetricLearner(batch_size=8), measures, None) == pytest.approx(expected)


def test_distances_are_comparable_between_metrics_of_any_unit(genes, codes):
    """Settings that leave the unit of the metric open give the same as those that fix it, up to what the unit is made of."""
    cells = ReferenceCells(genes, codes, CLASSES, CLASSES)
    fixed, free = (
        hold_out_each(cells, SPLITS, GroundMetricLearner(relative=relative, rng=0), rng=np.random.default_rng(0))
        for relative in (True, False)
    )
    np.testing.assert_allclose(fixed.distances, free.distances, rtol=1e-6)


def test_no_sample_helps_to_calibrate_itself():
    rng = np.random.default_rng(0)
    codes = np.arange(10) % 2
    scores = rng.normal(size=(10, 2)) + np.eye(2)[codes]
    found = probabilities_without_own(scores, codes)
    for i in range(10):
        others = np.delete(np.arange(10), i)
        expected = class_probabilities(scores[[i]], fit_sharpness(scores[others], codes[others]))[0]
        np.testing.assert_allclose(found[i], expected)
