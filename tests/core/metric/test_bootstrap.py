from __future__ import annotations

import numpy as np
import pytest

from scggml.core.measures._measures import Measures
from scggml.core.measures._moments import feature_scale
from scggml.core.metric import _bootstrap as module
from scggml.core.metric._bootstrap import Stability, bootstrap_metrics
from scggml.core.metric._discriminant import transport_discriminant
from scggml.core.metric._ground_metric import GroundMetric, alignment
from scggml.core.metric._options import TrainingOptions
from scggml.core.metric._targets import Targets
from scggml.core.metric._training import train
from scggml.core.metric._triplets import all_triplets
from scggml.core.transport._exact import solve_pairs, square_pairs

CODES = np.array([0, 0, 0, 1, 1, 1, 1])
TARGETS = Targets.of_classes(CODES)


@pytest.fixture
def measures():
    rng = np.random.default_rng(0)
    return Measures.from_arrays([rng.normal(size=(6 + c, 3)) * [1, 5, 1] + [c, 0, 0] for c in CODES])


def test_a_sample_drawn_twice_is_two_samples(measures):
    """Weights of pairs are those of a cohort that holds the copies, without pairs of copies of one sample."""
    times = np.array([2, 1, 0, 1, 0, 3, 0])
    drawn = np.repeat(np.arange(len(CODES)), times)
    pairs = square_pairs(len(CODES))
    found = TARGETS.pair_weights(pairs, times.astype(float))
    copies = square_pairs(len(drawn))
    copies = copies[drawn[copies[:, 0]] != drawn[copies[:, 1]]]
    expected = Targets.of_classes(CODES[drawn]).pair_weights(copies)
    for weights, of_copies in zip(found, expected, strict=True):
        total = np.zeros((len(CODES), len(CODES)))
        np.add.at(total, tuple(np.sort(drawn[copies], axis=1).T), of_copies)
        np.testing.assert_allclose(weights, total[tuple(pairs.T)], atol=1e-15)
        assert weights.sum() == pytest.approx(1)


def test_weights_of_one_change_nothing():
    pairs = square_pairs(len(CODES))
    for one, other in zip(
        TARGETS.pair_weights(pairs),
        TARGETS.pair_weights(pairs, np.full(len(CODES), 3.0)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other)


def test_each_draw_once_is_the_fit(measures, monkeypatch):
    monkeypatch.setattr(module, "_draw", lambda codes, pairs, rng: np.ones(len(codes)))
    options = TrainingOptions()
    (metric,) = bootstrap_metrics(measures, TARGETS, options, n_boot=1, rng=np.random.default_rng(0))
    fit = train(measures, TARGETS, options, rng=np.random.default_rng(0)).metric
    np.testing.assert_allclose(metric.scale, fit.scale)
    unit = np.linalg.norm(fit.components) / np.linalg.norm(metric.components)
    np.testing.assert_allclose(metric.components * unit, fit.components, rtol=1e-9)


def test_draws_leave_two_samples_of_each_class():
    rng = np.random.default_rng(1)
    pairs = square_pairs(len(CODES))
    drawn = np.array([module._draw(TARGETS, pairs, rng) for _ in range(300)])
    for c, size in ((0, 3), (1, 4)):
        assert (drawn[:, CODES == c].sum(axis=1) == size).all()
        assert ((drawn[:, CODES == c] > 0).sum(axis=1) >= 2).all()
    assert (drawn > 0).mean() == pytest.approx(1 - (1 / 2 * 0.33 + 0.31 / 2), abs=0.1)  # some two thirds are there


def test_a_draw_is_the_closed_form_with_its_weights(measures):
    options = TrainingOptions(ridge=0.2, power=1.0, whitening=1.0)
    metrics = list(bootstrap_metrics(measures, TARGETS, options, n_boot=3, rng=np.random.default_rng(5)))
    rng = np.random.default_rng(5).spawn(2)[1]
    scale, constant = feature_scale(measures, "feature")
    pairs = square_pairs(len(CODES))
    transport = solve_pairs(measures.scaled(1 / scale), pairs, keep_plans=True)
    for metric in metrics:
        expected = transport_discriminant(
            measures, transport, TARGETS, scale=scale, active=~constant, n_comps=50, ridge=0.2, power=1.0,
            whitening=1.0, sample_weights=module._draw(TARGETS, pairs, rng),
        )  # fmt: skip
        np.testing.assert_allclose(metric.components, expected)


def test_classes_of_one_sample_cannot_be_drawn(monkeypatch):
    monkeypatch.setattr(module, "_MAX_DRAWS", 5)
    with pytest.raises(ValueError, match="too few samples to estimate the stability"):
        module._draw(Targets.of_classes(np.array([0, 1, 2])), square_pairs(3), np.random.default_rng(0))


def test_a_class_alone_in_its_stratum_does_not_stop_draws():
    targets = Targets.of_classes(np.array([0, 0, 1, 1, 2, 2, 2]), np.array([0, 0, 0, 0, 1, 1, 1]))
    pairs = all_triplets(targets).pairs
    assert not (pairs > 3).any()
    assert len(module._draw(targets, pairs, np.random.default_rng(0))) == 7


def test_equidistant_continuous_labels_can_be_drawn():
    targets = Targets(np.arange(6.0), "continuous")
    assert module._draw(targets, square_pairs(6), np.random.default_rng(0)).sum() == 6


def stability_by_hand():
    """A metric with components of squared length 9, 4, 1 (its first one holds half) and two bootstraps of it."""
    scale = np.array([1.0, 2.0, 1.0, 1.0])
    metric = GroundMetric(np.eye(4)[:3] * [[3], [2], [1]], scale)
    turned = np.array([[0.0, 0, 0, 3], [0, 2, 0, 0]])  # its first component is orthogonal to that of the metric
    slanted = np.array([[3.0, 3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # at 45 degrees
    return metric, [GroundMetric(turned, scale), GroundMetric(slanted, scale)]


def test_stability_by_hand():
    metric, others = stability_by_hand()
    found = Stability.of(metric, others, np.eye(4))
    assert found.n_comps == 1
    np.testing.assert_allclose(found.principal_angles, [[90], [45]])
    np.testing.assert_allclose(found.alignment, [alignment(metric.components, o.components) for o in others])
    # weights are lengths of the columns of the linear map, made as long together as those of the metric
    length = np.linalg.norm([3, 1, 1, 0])
    expected = np.array([[0, 1, 0, 3.0], [3, 1.5, 1, 1]])
    np.testing.assert_allclose(found.weights, expected * length / np.linalg.norm(expected, axis=1, keepdims=True))


def test_components_until_half_of_the_metric():
    metric, others = stability_by_hand()
    flat = GroundMetric(np.eye(4), metric.scale)
    found = Stability.of(flat, [flat, *others], np.eye(4))
    assert (found.n_comps, found.principal_angles.shape) == (2, (3, 2))
    # a bootstrap may have fewer components than that
    short = GroundMetric(np.eye(4)[:1], metric.scale)
    np.testing.assert_allclose(Stability.of(flat, [flat, short], np.eye(4)).principal_angles, [[0], [0]], atol=1e-5)


def test_how_often_a_feature_is_among_the_first():
    weights = np.array([[3.0, 2, 1, 0], [0, 3, 2, 1], [3, 0, 0, 3]])
    found = Stability(weights, np.ones(3), np.zeros((3, 1)), 1)
    np.testing.assert_allclose(found.selected(2), np.array([2, 2, 1, 1]) / 3)
    np.testing.assert_allclose(found.selected(4), 1)
