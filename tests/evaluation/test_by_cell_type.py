"""Means and proportions by cell type, against loops over samples and types."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from scggml.core.measures._measures import Measures
from scggml.evaluation._methods import named_methods
from scggml.evaluation._samples import CellTypes
from scggml.evaluation._splits import Split

SPLIT = Split(0, 0, np.array([0, 1, 2, 3, 5, 6, 7, 8]), np.array([4, 9]))


def held(samples, name, split=SPLIT):
    return named_methods([name], samples=samples)[name].held_out(samples, split, 0, 1)


def of_type(samples, i, t):
    rows = slice(samples.measures.offsets[i], samples.measures.offsets[i + 1])
    return samples.measures.points[rows][samples.cell_types.codes[rows] == t]


def without(samples, lacking):
    """The same samples, where those of `lacking` have cells of another type instead of the last one."""
    codes = samples.cell_types.codes.copy()
    for i in lacking:
        rows = slice(samples.measures.offsets[i], samples.measures.offsets[i + 1])
        codes[rows][codes[rows] == 2] = 0
    return replace(samples, cell_types=samples.cell_types._replace(codes=codes))


def expected_distances(samples, split, scale):
    found = np.empty((len(split.test), len(split.train)))
    for a, i in enumerate(split.test):
        for b, j in enumerate(split.train):
            parts = []
            for t in range(3):
                x, y = of_type(samples, i, t), of_type(samples, j, t)
                if len(x) and len(y):
                    parts.append(np.linalg.norm((x.mean(axis=0) - y.mean(axis=0)) / scale))
            found[a, b] = np.mean(parts)
    return found


@pytest.mark.parametrize("lacking", [(), (1,), (4,), (0, 1, 2, 3, 5, 6, 7, 8)])
@pytest.mark.parametrize("unit", ["feature", "global"])
def test_distances_are_means_over_shared_types(cohort, lacking, unit):
    """Also where no training sample has a type that a held-out sample has."""
    samples = replace(without(cohort(with_types=True), lacking), scale=unit)
    train = samples.take(SPLIT.train).measures
    weights = train.weights / len(train)
    variance = weights @ (train.points - weights @ train.points) ** 2
    scale = np.sqrt(variance if unit == "feature" else np.full(3, variance.mean()))
    found = held(samples, "pseudobulk_by_type")
    np.testing.assert_allclose(found.to_train, expected_distances(samples, SPLIT, scale))
    same = replace(SPLIT, train=SPLIT.test)
    np.testing.assert_allclose(found.within, expected_distances(samples, same, scale))


@pytest.mark.parametrize("lacking", [(), (1,), (4,)])
def test_the_linear_model_takes_types_that_all_samples_have(cohort, lacking):
    samples = without(cohort(with_types=True), lacking)
    types = range(2 if lacking else 3)
    vectors = np.array([np.concatenate([of_type(samples, i, t).mean(axis=0) for t in types]) for i in range(10)])
    scaler = StandardScaler().fit(vectors[SPLIT.train])
    model = LogisticRegression(class_weight="balanced", max_iter=5000)
    model.fit(scaler.transform(vectors[SPLIT.train]), samples.codes[SPLIT.train])
    expected = model.decision_function(scaler.transform(vectors[SPLIT.test]))
    np.testing.assert_allclose(held(samples, "pseudobulk_by_type").class_scores[:, 1], expected / 2, rtol=1e-6)


def test_without_common_types_there_is_no_linear_model(cohort):
    """Two samples share A and B with the others, or B and C: any two share one, but no type is everywhere."""
    samples = cohort()
    sizes = samples.measures.sizes
    codes = np.concatenate([np.arange(n) % 2 + (1 if i % 3 == 0 else 0) for i, n in enumerate(sizes)])
    first = np.repeat(np.arange(10), sizes)
    codes[first == 9] = np.where(np.arange(sizes[9]) % 2, 0, 2)  # has A and C, but not B
    found = held(replace(samples, cell_types=CellTypes(["A", "B", "C"], codes)), "pseudobulk_by_type")
    assert found.class_scores is None
    assert np.isfinite(found.to_train).all()


def test_samples_that_share_no_type_are_refused(cohort):
    samples = cohort()
    codes = (np.repeat(np.arange(10), samples.measures.sizes) == 7).astype(np.int64)
    lonely = replace(samples, cell_types=CellTypes(["A", "B"], codes))
    with pytest.raises(ValueError, match="'pseudobulk_by_type', but s00, s07 share no cell type"):
        named_methods(["pseudobulk_by_type"], samples=lonely)
    one = replace(samples, cell_types=CellTypes(["A"], np.zeros_like(codes)))
    with pytest.raises(ValueError, match="there is only one cell type"):
        named_methods(["composition"], samples=one)


def test_proportions_count_weights(cohort):
    samples = cohort(with_types=True)
    measures, codes = samples.measures, samples.cell_types.codes
    counts = np.random.default_rng(0).integers(1, 5, size=len(codes))
    weighted = Measures.from_arrays(measures.split(), np.split(counts, measures.offsets[1:-1]))
    points = replace(samples, measures=weighted)
    cells = replace(
        samples,
        measures=Measures.from_arrays(
            [
                np.repeat(x, n, axis=0)
                for x, n in zip(measures.split(), np.split(counts, measures.offsets[1:-1]), strict=True)
            ]
        ),
        cell_types=samples.cell_types._replace(codes=np.repeat(codes, counts)),
    )
    for name in ("composition", "pseudobulk_by_type"):
        one, other = held(points, name), held(cells, name)
        np.testing.assert_allclose(one.to_train, other.to_train, rtol=1e-9)
        np.testing.assert_allclose(one.class_scores, other.class_scores, rtol=1e-5)


def test_types_follow_their_samples(cohort):
    samples = cohort(with_types=True)
    taken = samples.take(np.array([7, 2]))
    for position, i in enumerate((7, 2)):
        for t in range(3):
            np.testing.assert_array_equal(of_type(taken, position, t), of_type(samples, i, t))


def test_types_without_a_method_that_uses_them_are_refused(cohort):
    with pytest.raises(ValueError, match="cell_type_key has no effect"):
        named_methods(["euclidean"], samples=cohort(with_types=True))
