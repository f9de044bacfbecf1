from __future__ import annotations

import numpy as np
import pytest

from scggml.core.measures._measures import Measures
from scggml.core.metric import _pair_moments as module
from scggml.core.metric._discriminant import transport_discriminant
from scggml.core.metric._pair_moments import PairMoments, pack, unpack, without
from scggml.core.metric._targets import Targets
from scggml.core.transport._exact import solve_pairs, square_pairs

OPTIONS = {"ridge": 0.3, "power": 1.0, "whitening": 0.75}
CODES = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
STRATA = np.array([0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1])
NUMBERS = np.random.default_rng(5).normal(size=11).round(2)


def solved(measures):
    return solve_pairs(measures, square_pairs(len(measures)), keep_plans=True)


def plans_of(measures):
    transport = solved(measures)
    return transport.plans, transport.pairs


@pytest.mark.parametrize("strata", [None, STRATA], ids=["all", "strata"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [("class", CODES), ("ordinal", CODES), ("ordinal", np.arange(11) % 6), ("continuous", NUMBERS)],
    ids=["class", "ordinal", "ordinal with a single sample", "continuous"],
)
def test_held_out_distances_are_those_of_metrics_without_the_sample(kind, values, strata):
    """Against the closed form that is fitted to the other samples, and their own plans."""
    rng = np.random.default_rng(2)
    measures = Measures.from_arrays([rng.normal(size=(6 + i % 2, 3)) + CODES[i] for i in range(11)])
    plans, pairs = plans_of(measures)
    moments = PairMoments.from_plans(measures, plans, pairs)
    targets = Targets(values.astype(float), kind, strata)
    found = moments.held_out_distances(targets, **OPTIONS)
    one = np.ones(3)
    for i in (0, 5, 10):
        left = np.delete(np.arange(11), i)
        rest = measures.take(left)
        of_rest = Targets(values[left].astype(float), kind, None if strata is None else strata[left])
        components = transport_discriminant(
            rest, solved(rest), of_rest, scale=one, active=one > 0, n_comps=3, **OPTIONS
        )
        expected = []
        for j in left:
            p = np.flatnonzero((pairs == sorted((i, j))).all(axis=1))[0]
            entries = slice(plans.offsets[p], plans.offsets[p + 1])
            moved = (measures.points[plans.rows[entries]] - measures.points[plans.cols[entries]]) @ components.T
            expected.append(np.sqrt(plans.mass[entries] @ (moved**2).sum(axis=1)))
        ratio = found[i, left] / np.array(expected)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # the metric has no unit; small components are dropped


@pytest.mark.parametrize("wide", [False, True], ids=["matrix", "operator"])
def test_many_features_are_rotated_to_those_that_move(monkeypatch, wide):
    rng = np.random.default_rng(3)
    codes = np.repeat([0, 1], 4)
    clouds = [np.column_stack([rng.normal(size=(9, 2)) + 2 * c, 1e-3 * rng.normal(size=(9, 4))]) for c in codes]
    measures = Measures.from_arrays(clouds)
    targets = Targets.of_classes(codes)
    expected = PairMoments.from_plans(measures, *plans_of(measures)).held_out_distances(targets, **OPTIONS)
    monkeypatch.setattr(module, "_MAX_BYTES", 8 * 8 * 8 * 3)
    monkeypatch.setattr(module, "WIDE", 5 if wide else 6)
    moments = PairMoments.from_plans(measures, *plans_of(measures))
    assert moments.n_features == 2
    assert moments.packed.shape == (8, 8, 3)
    found = moments.held_out_distances(targets, **OPTIONS)
    assert np.corrcoef(found[~np.eye(8, dtype=bool)], expected[~np.eye(8, dtype=bool)])[0, 1] > 0.99


def test_a_stratum_with_nothing_left_to_compare_has_no_moments_between():
    """Refused by `check_left_out` before it comes to this."""
    moments = PairMoments(np.ones((7, 7, 1)) - np.eye(7)[..., None], 1)
    targets = Targets.of_classes(np.array([0] * 4 + [1] * 3), np.array([0, 1, 1, 1, 0, 0, 0]))
    between = moments.moments_without_each(targets)[1]
    assert not between[0].any() and between[1:4].all()


def test_packed_matrices_keep_their_inner_products():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 4))
    a, b = a + a.T, b + b.T
    assert pack(a) @ pack(b) == pytest.approx(np.trace(a @ b))
    np.testing.assert_allclose(unpack(pack(a), 4), a)


def test_targets_without_one():
    found = without(Targets(NUMBERS, "continuous", STRATA), 3)
    assert found.kind == "continuous" and len(found) == 10
    np.testing.assert_array_equal(found.values, np.delete(NUMBERS, 3))
    i, j = np.triu_indices(10, k=1)
    rest = np.delete(STRATA, 3)
    np.testing.assert_array_equal(found.comparable(i, j), rest[i] == rest[j])
