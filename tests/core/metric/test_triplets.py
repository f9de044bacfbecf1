from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from scggml.core.metric._targets import Targets
from scggml.core.metric._triplets import all_triplets, n_all_triplets, sample_triplets

COHORTS = {
    "two classes": [0, 1, 0, 1, 1],
    "unbalanced": [2, 0, 0, 1, 0, 2, 0, 1, 0],
    "lone sample": [0, 0, 1, 0, 2, 2],
}


RANKS = np.array([0.0, 0, 1, 1, 1, 2, 2, 3])
CONTINUOUS = np.array([1.5, 0.2, 0.9, 3.0, 2.2, 0.1, 4.0])
STRATA = np.array([0, 1, 0, 1, 2, 0, 2, 1])


def enumerated(codes):
    return {
        (j, i, k)
        for j, i, k in itertools.product(range(len(codes)), repeat=3)
        if j != i and codes[i] == codes[j] != codes[k]
    }


def as_set(triplets):
    rows = list(zip(triplets.anchor.tolist(), triplets.positive.tolist(), triplets.negative.tolist(), strict=True))
    assert len(rows) == len(set(rows)) == len(triplets)
    return set(rows)


def share_per_class_pair(triplets, codes):
    shares = Counter()
    for anchor, negative, weight in zip(triplets.anchor, triplets.negative, triplets.weight, strict=True):
        shares[int(codes[anchor]), int(codes[negative])] += weight
    return shares


@pytest.mark.parametrize("codes", COHORTS.values(), ids=COHORTS)
def test_all_triplets_are_the_enumerated_ones(codes):
    codes = np.array(codes)
    triplets = all_triplets(Targets.of_classes(codes))
    assert as_set(triplets) == enumerated(codes)
    assert len(triplets) == n_all_triplets(Targets.of_classes(codes))
    assert triplets.n_measures == len(codes)


@pytest.mark.parametrize("codes", COHORTS.values(), ids=COHORTS)
@pytest.mark.parametrize("n_neighbors", [None, 1, 2])
def test_class_pairs_weigh_alike(codes, n_neighbors):
    codes = np.array(codes)
    rng = np.random.default_rng(0)
    triplets = (
        all_triplets(Targets.of_classes(codes))
        if n_neighbors is None
        else sample_triplets(Targets.of_classes(codes), n_neighbors, rng)
    )
    shares = share_per_class_pair(triplets, codes)
    paired = [c for c in range(codes.max() + 1) if (codes == c).sum() > 1]
    assert set(shares) == {(c, other) for c in paired for other in range(codes.max() + 1) if other != c}
    np.testing.assert_allclose(list(shares.values()), 1 / len(shares), rtol=1e-12)
    np.testing.assert_allclose(triplets.weight.sum(), 1, rtol=1e-12)


def test_anchors_of_a_class_weigh_alike():
    codes = np.array(COHORTS["unbalanced"])
    triplets = all_triplets(Targets.of_classes(codes))
    per_anchor = np.bincount(triplets.anchor, triplets.weight)
    for code in range(3):
        np.testing.assert_allclose(per_anchor[codes == code], 1 / 3 / (codes == code).sum(), rtol=1e-12)


@pytest.mark.parametrize("n_neighbors", [1, 3, 100])
def test_sampled_triplets_are_legal_and_limited(n_neighbors):
    codes = np.array(COHORTS["unbalanced"])
    triplets = sample_triplets(Targets.of_classes(codes), n_neighbors, np.random.default_rng(1))
    assert as_set(triplets) <= enumerated(codes)
    counts = np.bincount(codes)
    for anchor, code in enumerate(codes):
        mine = triplets.anchor == anchor
        assert len(set(triplets.positive[mine])) == min(n_neighbors, counts[code] - 1)
        negatives = set(triplets.negative[mine])
        for other in set(range(3)) - {int(code)}:
            assert sum(codes[k] == other for k in negatives) == min(n_neighbors, counts[other])
    if n_neighbors == 100:
        assert as_set(triplets) == enumerated(codes)


def test_samples_differ_by_generator_only():
    codes = np.tile([0, 1], 10)
    one, same, other = (
        as_set(sample_triplets(Targets.of_classes(codes), 2, np.random.default_rng(seed))) for seed in (0, 0, 1)
    )
    assert one == same != other


def test_pairs_and_their_rows():
    codes = np.array(COHORTS["unbalanced"])
    for triplets in (
        all_triplets(Targets.of_classes(codes)),
        sample_triplets(Targets.of_classes(codes), 1, np.random.default_rng(2)),
    ):
        pairs = triplets.pairs
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert len(np.unique(pairs, axis=0)) == len(pairs)
        for rows, partner in ((triplets.same, triplets.positive), (triplets.other, triplets.negative)):
            np.testing.assert_array_equal(pairs[rows], np.sort(np.stack([triplets.anchor, partner], axis=1), axis=1))
        assert set(triplets.same) | set(triplets.other) == set(range(len(pairs)))


def test_subset_rescales_weights_and_needs_only_its_pairs():
    triplets = all_triplets(Targets.of_classes(np.array(COHORTS["unbalanced"])))
    index = np.array([3, 0, 40])
    part = triplets.subset(index)
    np.testing.assert_array_equal(part.anchor, triplets.anchor[index])
    np.testing.assert_array_equal(part.positive, triplets.positive[index])
    np.testing.assert_array_equal(part.negative, triplets.negative[index])
    np.testing.assert_allclose(part.weight, triplets.weight[index] / triplets.weight[index].sum())
    assert len(part.pairs) <= 6


def test_number_of_triplets_does_not_overflow():
    codes = np.repeat([0, 1], 3_000_000)
    n = 3_000_000
    assert n_all_triplets(Targets.of_classes(codes)) == 2 * n * (n - 1) * n


@pytest.mark.parametrize(("values", "kind"), [(RANKS, "ordinal"), (CONTINUOUS, "continuous")])
@pytest.mark.parametrize("n_neighbors", [None, 3])
def test_ordered_triplets(values, kind, n_neighbors):
    targets = Targets(values, kind)
    n = len(values)
    legal = {
        (j, i, k)
        for j, i, k in itertools.permutations(range(n), 3)
        if abs(values[i] - values[j]) < abs(values[j] - values[k])
    }
    if n_neighbors is None:
        triplets = all_triplets(targets)
        assert n_all_triplets(targets) == len(legal)
    else:
        triplets = sample_triplets(targets, n_neighbors, np.random.default_rng(0))
        assert np.bincount(triplets.anchor).max() <= n_neighbors**2
    found = set(zip(triplets.anchor.tolist(), triplets.positive.tolist(), triplets.negative.tolist(), strict=True))
    assert len(found) == len(triplets)
    assert found == legal if n_neighbors is None else found < legal
    lead = [abs(values[j] - values[k]) - abs(values[i] - values[j]) for j, i, k in zip(
        triplets.anchor, triplets.positive, triplets.negative, strict=True)]  # fmt: skip
    np.testing.assert_allclose(triplets.margin, lead / np.mean(lead))
    assert triplets.weight.sum() == pytest.approx(1)
    np.testing.assert_array_equal(triplets.subset(np.array([2, 0])).margin, triplets.margin[[2, 0]])


def test_all_margins_of_classes_are_one():
    np.testing.assert_array_equal(all_triplets(Targets.of_classes(np.array([0, 0, 1, 2, 2]))).margin, 1)


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="no sample has both"):
        all_triplets(Targets.of_classes(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])))


@pytest.mark.parametrize("values", [RANKS, CONTINUOUS])
def test_labels_of_anchors_weigh_alike(values):
    targets = Targets(values, "ordinal" if values is RANKS else "continuous")
    triplets = all_triplets(targets)
    labels, of_anchor = np.unique(values[triplets.anchor], return_inverse=True)
    np.testing.assert_allclose(np.bincount(of_anchor, triplets.weight), 1 / len(labels))
    for anchor in range(len(values)):
        np.testing.assert_allclose(np.ptp(triplets.weight[triplets.anchor == anchor]), 0)


@pytest.mark.parametrize("kind", ["class", "ordinal", "continuous"])
def test_negatives_come_from_the_stratum_of_the_anchor(kind):
    values = CONTINUOUS if kind == "continuous" else RANKS[:7]
    targets = Targets(values, kind, STRATA[:7])
    legal = {
        (j, i, k)
        for j, i, k in itertools.permutations(range(7), 3)
        if STRATA[j] == STRATA[k]
        and (
            values[i] == values[j] != values[k]
            if kind == "class"
            else abs(values[i] - values[j]) < abs(values[j] - values[k])
        )
    }
    assert as_set(all_triplets(targets)) == legal
    assert n_all_triplets(targets) == len(legal)
