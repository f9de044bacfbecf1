"""Which labels are alike and which differ: brute force over all pairs and triplets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scggml.core.measures._measures import Measures
from scggml.core.metric import _discriminant as discriminant
from scggml.core.metric._discriminant import transport_discriminant
from scggml.core.metric._options import Refinement, TrainingOptions
from scggml.core.metric._targets import Targets
from scggml.core.metric._training import closed_form_pairs, train
from scggml.core.metric._triplets import all_triplets, n_all_triplets, sample_triplets
from scggml.core.transport._exact import solve_pairs, square_pairs

RANKS = np.array([0.0, 0, 1, 1, 1, 2, 2, 3])
CONTINUOUS = np.array([1.5, 0.2, 0.9, 3.0, 2.2, 0.1, 4.0])
STRATA = np.array([0, 1, 0, 1, 2, 0, 2, 1])


def test_classes_and_their_pairs_weigh_alike():
    pairs = square_pairs(6)
    codes = np.array([0, 0, 0, 1, 1, 2])
    within, between = Targets.of_classes(codes).pair_weights(pairs[:, ::-1])
    labels = [tuple(sorted(codes[p])) for p in pairs]
    expected_within = {(0, 0): 1 / 2 / 3, (1, 1): 1 / 2}
    expected_between = {(0, 1): 1 / 3 / 6, (0, 2): 1 / 3 / 3, (1, 2): 1 / 3 / 2}
    np.testing.assert_allclose(within, [expected_within.get(label, 0) for label in labels])
    np.testing.assert_allclose(between, [expected_between.get(label, 0) for label in labels])


@pytest.mark.parametrize("kind", ["class", "ordinal", "continuous"])
def test_weights_of_samples_are_numbers_of_copies(kind):
    """A sample of weight two counts as two samples that are not compared with each other."""
    values, copies = np.array([0.0, 0, 1, 1, 2]), np.array([2, 1, 1, 3, 1])
    targets, pairs = Targets(values, kind), square_pairs(5)
    repeated = np.repeat(np.arange(5), copies)
    all_pairs = repeated[square_pairs(len(repeated))]
    all_pairs = all_pairs[all_pairs[:, 0] != all_pairs[:, 1]]
    for once, more in zip(
        targets.pair_weights(pairs, copies.astype(float)), targets.pair_weights(all_pairs), strict=True
    ):
        totals = [more[(all_pairs == pair).all(axis=1)].sum() for pair in pairs]
        np.testing.assert_allclose(once, totals)


def test_targets_of_some_samples():
    targets = Targets(CONTINUOUS, "continuous", STRATA[:7])
    found = targets.take(np.array([3, 0]))
    assert (found.values.tolist(), found.kind, found.strata.tolist()) == ([3.0, 1.5], "continuous", [1, 0])
    assert Targets(RANKS, "ordinal").take(np.array([7])).strata is None


def test_codes():
    assert Targets(np.array([2.5, 0.1, 2.5, 0.7]), "continuous").codes.tolist() == [2, 0, 2, 1]
    assert Targets(RANKS, "ordinal").codes.tolist() == [0, 0, 1, 1, 1, 2, 2, 3]


def test_all_but_classes_without_strata_are_contrasted():
    assert Targets(RANKS).contrast == 0
    assert Targets(RANKS, "ordinal").contrast == Targets(RANKS, "class", STRATA).contrast == 0.5


def test_ordinal_labels_weigh_by_their_difference():
    pairs = square_pairs(len(RANKS))
    within, between = Targets(RANKS, "ordinal").pair_weights(pairs)
    np.testing.assert_allclose(within, Targets.of_classes(RANKS.astype(int)).pair_weights(pairs)[0])
    totals = {}
    for (i, j), weight in zip(pairs, between, strict=True):
        pair = tuple(sorted((RANKS[i], RANKS[j])))
        totals[pair] = totals.get(pair, 0.0) + weight
    apart = {(a, b): b - a for a, b in itertools.combinations(range(4), 2)}
    for pair, difference in apart.items():
        assert totals[pair] == pytest.approx(difference / sum(apart.values()))
    assert sum(totals.values()) == pytest.approx(1)


def test_close_continuous_labels_are_alike():
    pairs = square_pairs(len(CONTINUOUS))
    within, between = Targets(CONTINUOUS, "continuous").pair_weights(pairs)
    apart = np.abs(CONTINUOUS[pairs[:, 0]] - CONTINUOUS[pairs[:, 1]])
    near = np.quantile(apart, 0.25)
    np.testing.assert_allclose(between, apart / apart.sum())
    close = np.maximum(0, 1 - apart / near)
    np.testing.assert_allclose(within, close / close.sum())


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_the_closest_are_like_where_none_is_closer_than_the_quartile(n):
    pairs = square_pairs(n)
    within, _ = Targets(np.arange(n) / 10, "continuous").pair_weights(pairs)
    next_to = np.diff(pairs, axis=1).ravel() == 1
    np.testing.assert_allclose(within, next_to / next_to.sum(), atol=1e-9)


@pytest.mark.parametrize(
    "targets",
    [
        Targets.of_classes(np.array([0, 0, 1, 1, 1, 2, 2, 0]), STRATA),
        Targets(RANKS, "ordinal", STRATA),
        Targets(np.arange(8.0) ** 1.5, "continuous", STRATA),
    ],
    ids=lambda t: t.kind,
)
def test_different_labels_are_compared_within_strata_like_ones_everywhere(targets):
    pairs = square_pairs(8)
    free = Targets(targets.values, targets.kind)
    within, between = targets.pair_weights(pairs)
    same_stratum = STRATA[pairs[:, 0]] == STRATA[pairs[:, 1]]
    np.testing.assert_array_equal(within, free.pair_weights(pairs)[0])
    np.testing.assert_array_equal(between > 0, (free.pair_weights(pairs)[1] > 0) & same_stratum)
    assert between.sum() == pytest.approx(1)
    triplets = all_triplets(targets)
    assert (STRATA[triplets.anchor] == STRATA[triplets.negative]).all()
    assert (STRATA[triplets.anchor] != STRATA[triplets.positive]).any()
    assert len(triplets) == n_all_triplets(targets) < n_all_triplets(free)


def ordered(seed=0, n=18, d=5):
    """Clouds whose first feature follows a continuous label; the others differ more between samples."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 3, size=n)
    clouds = [rng.normal(size=(20, d)) + np.concatenate([[v], rng.normal(scale=1.0, size=d - 1)]) for v in values]
    return Measures.from_arrays(clouds), values


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
@pytest.mark.parametrize("refine", [None, Refinement(max_iter=4)])
def test_the_feature_that_follows_the_label_is_found(kind, refine):
    measures, values = ordered()
    values = np.round(values) if kind == "ordinal" else values
    options = TrainingOptions(refine=refine)
    found = train(measures, Targets(values, kind), options, rng=np.random.default_rng(0)).metric.linear_map
    weight = np.linalg.norm(found, axis=0)
    assert weight.argmax() == 0 and weight[0] > 2 * np.sort(weight)[-2]


def test_a_difference_between_strata_is_not_learned():
    rng = np.random.default_rng(0)
    codes = np.array([0] * 8 + [1] * 8)
    strata = np.array([0] * 7 + [1] + [0] + [1] * 7)  # goes with the class
    clouds = [rng.normal(size=(20, 4)) + [0.8 * c, 6.0 * b, 0, 0] for c, b in zip(codes, strata, strict=True)]
    measures, options = Measures.from_arrays(clouds), TrainingOptions(scale=None)
    blind, aware = (
        np.linalg.norm(
            train(measures, Targets.of_classes(codes, b), options, rng=np.random.default_rng(0)).metric.linear_map,
            axis=0,
        )
        for b in (None, strata)
    )
    # how far classes and strata are apart on the map
    assert 6.0 * blind[1] > 2 * 0.8 * blind[0]
    assert 6.0 * aware[1] < 0.5 * 0.8 * aware[0]


def test_contrast_beyond_the_width_of_matrices(monkeypatch):
    measures, values = ordered(d=8)
    targets, pairs = Targets(values, "continuous"), square_pairs(len(values))
    transport = solve_pairs(measures, pairs, keep_plans=True)
    options = {
        "scale": np.ones(8),
        "active": np.ones(8, dtype=bool),
        "n_comps": 8,
        "ridge": 0.1,
        "power": 1.0,
        "whitening": 1.0,
    }
    full = transport_discriminant(measures, transport, targets, **options)
    monkeypatch.setattr(discriminant, "WIDE", 5)
    wide = transport_discriminant(measures, transport, targets, **options)
    assert np.linalg.norm(full.T @ full - wide.T @ wide) < 0.05 * np.linalg.norm(full.T @ full)


def test_samples_of_a_stratum_with_one_class_show_variation_within_classes():
    codes, strata = np.array([0, 0, 1, 1, 0, 0]), np.array([0, 0, 0, 0, 1, 1])
    targets = Targets.of_classes(codes, strata)
    triplets = all_triplets(targets)
    alone = [4, 5]
    assert alone not in triplets.pairs.tolist()
    given = TrainingOptions(power=1.0, whitening=1.0)
    pairs = closed_form_pairs(targets, triplets, given, 5)
    expected = [
        [i, j] for i, j in itertools.combinations(range(6), 2) if codes[i] == codes[j] or strata[i] == strata[j]
    ]
    assert alone in pairs.tolist() and pairs.tolist() == expected
    sampled = sample_triplets(targets, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(closed_form_pairs(targets, sampled, given, 5), sampled.pairs)
    # labels may be exchanged within strata: then all pairs count
    assert closed_form_pairs(targets, triplets, TrainingOptions(), 5).tolist() == square_pairs(6).tolist()


def test_without_strata_the_closed_form_takes_all_pairs():
    targets = Targets.of_classes(np.array([0, 1, 1, 2, 2, 2]))
    triplets = all_triplets(targets)
    np.testing.assert_array_equal(
        closed_form_pairs(targets, triplets, TrainingOptions(power=1.0, whitening=1.0), 5), triplets.pairs
    )
