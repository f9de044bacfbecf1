"""The signal of the labels, against loops over moments, and the metric that it shrinks."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from scggml import GroundMetricLearner
from scggml.core.measures._measures import Measures
from scggml.core.metric._label_signal import N_RELABELINGS, Relabelings
from scggml.core.metric._targets import Targets
from scggml.core.transport._exact import solve_pairs, square_pairs


def cohort(effect, *, n=16, seed=0, d=4):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 2
    centres = rng.normal(size=(n, d)) * 0.5
    centres[:, 1] += effect * codes
    return [rng.normal(size=(25, d)) + centre for centre in centres], codes


def relabelings(arrays):
    measures = Measures.from_arrays(arrays)
    pairs = square_pairs(len(measures))
    solved = solve_pairs(measures, pairs, keep_plans=True)
    active = np.ones(measures.n_features, dtype=bool)
    return Relabelings.of(measures, active, solved.known_plans, pairs), solved, measures


def spread(solved, measures, codes, ridge):
    """The variance of the eigenvalues of the ratio over their squared mean, from its definition."""
    x = np.asarray(measures.points)
    plans, moments = solved.known_plans, {True: [], False: []}
    for p, (i, j) in enumerate(solved.pairs):
        entries = slice(plans.offsets[p], plans.offsets[p + 1])
        moment = sum(
            m * np.outer(x[a] - x[b], x[a] - x[b])
            for a, b, m in zip(plans.rows[entries], plans.cols[entries], plans.mass[entries], strict=True)
        )
        moments[bool(codes[i] == codes[j])].append((codes[i], moment))
    within = np.mean([np.mean([m for c, m in moments[True] if c == k], axis=0) for k in (0, 1)], axis=0)
    between = np.mean([m for _, m in moments[False]], axis=0)
    within += ridge * np.trace(within) / len(within) * np.eye(len(within))
    root = np.linalg.inv(np.real(sqrtm(within)))
    values = np.linalg.eigvalsh(root @ between @ root)
    return values.var() / values.mean() ** 2


def test_signal_is_the_spread_beyond_that_of_relabelings():
    arrays, codes = cohort(1.0, n=8)
    found, solved, measures = relabelings(arrays)
    signal = found.signal(Targets.of_classes(codes), ridge=0.1)
    order, rng, random = found._in_order(np.ones(8)), np.random.default_rng(0), []
    for _ in range(N_RELABELINGS):
        values = codes.copy()
        values[order] = rng.permutation(codes[order])
        random.append(spread(solved, measures, values, 0.1))
    given = spread(solved, measures, codes, 0.1)
    assert signal.strength == pytest.approx(np.sqrt(1 - np.mean(random) / given), rel=1e-9)
    assert signal.p_value == (1 + sum(np.array(random) >= given * (1 - 1e-9))) / (N_RELABELINGS + 1)


def test_strength_grows_with_the_effect():
    found = [
        relabelings(cohort(effect)[0])[0].signal(Targets.of_classes(cohort(effect)[1]), ridge=0.1)
        for effect in (0.5, 1.2, 8)
    ]
    assert found[0].strength < found[1].strength < found[2].strength < 1
    assert found[2].strength > 0.95 and found[2].p_value == 1 / (N_RELABELINGS + 1)


def test_random_labels_have_no_signal():
    both = [
        relabelings(cohort(0.0, seed=s)[0])[0].signal(Targets.of_classes(np.arange(16) % 2), ridge=0.1)
        for s in range(40)
    ]
    p_values = np.array([signal.p_value for signal in both])
    assert (p_values <= 0.05).mean() <= 0.15 and 0.35 < p_values.mean() < 0.65
    assert np.median([signal.strength for signal in both]) < 0.4


def test_samples_that_take_part():
    arrays, codes = cohort(1.5, n=12)
    part = np.array([0, 1, 3, 4, 6, 7, 9, 10, 11])
    whole, _, _ = relabelings(arrays)
    alone, _, _ = relabelings([arrays[i] for i in part])
    given = whole.signal(
        Targets.of_classes(codes), ridge=0.1, sample_weights=np.isin(np.arange(12), part).astype(float)
    )
    expected = alone.signal(Targets.of_classes(codes[part]), ridge=0.1)
    assert given.strength == pytest.approx(expected.strength, rel=1e-9)
    # labels of samples that do not take part play no part
    changed = np.where(np.isin(np.arange(12), part), codes, 1 - codes)
    assert (
        whole.signal(Targets.of_classes(changed), ridge=0.1, sample_weights=np.isin(np.arange(12), part).astype(float))
        == given
    )


def test_labels_are_exchanged_within_strata():
    """Two batches that differ, each of one class: no exchange is possible, and so there is no signal."""
    arrays, codes = cohort(6.0, n=12)
    found = relabelings(arrays)[0]
    assert found.signal(Targets.of_classes(codes), ridge=0.1).strength > 0.9
    strata = np.repeat([0, 1], 6)
    assert found.signal(Targets.of_classes(codes, strata), ridge=0.1).strength > 0.5
    alone = found.signal(Targets(codes.astype(float), "class", codes), ridge=0.1)
    assert (alone.strength, alone.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
def test_ordered_labels(kind):
    rng, values = np.random.default_rng(1), np.repeat(np.arange(4.0), 4)
    arrays = [rng.normal(size=(20, 3)) + [2 * v, 0, 0] for v in values]
    found = relabelings(arrays)[0]
    assert found.signal(Targets(values, kind), ridge=0.1).strength > 0.9
    assert found.signal(Targets(rng.permutation(values), kind), ridge=0.1).strength < 0.8


def test_a_metric_without_signal_is_euclidean():
    for seed in range(20):
        arrays, codes = cohort(0.0, seed=seed)
        learner = GroundMetricLearner(scale=None, rng=0).fit(arrays, codes)
        if learner.label_signal_ == 0:
            break
    matrix = learner.get_mahalanobis_matrix()
    np.testing.assert_allclose(matrix / matrix[0, 0], np.eye(4), atol=1e-12)
    assert learner.label_p_value_ > 0.2


def test_the_signal_is_the_exponent():
    arrays, codes = cohort(1.5)
    learner = GroundMetricLearner(rng=0).fit(arrays, codes)
    strength = learner.label_signal_
    assert 0.3 < strength < 1
    given = GroundMetricLearner(power=strength, whitening=strength, rng=0).fit(arrays, codes)
    np.testing.assert_allclose(given.components_, learner.components_, rtol=1e-12)
    assert np.isnan(given.label_signal_) and np.isnan(given.label_p_value_)


def test_fewer_components_than_features_cannot_be_euclidean():
    arrays, codes = cohort(0.3)
    learner = GroundMetricLearner(n_comps=2, rng=0).fit(arrays, codes)
    full = GroundMetricLearner(n_comps=2, power=1, whitening=1, rng=0).fit(arrays, codes)
    np.testing.assert_array_equal(learner.components_, full.components_)
    assert np.isnan(learner.label_signal_) and np.isnan(learner.label_p_value_)
