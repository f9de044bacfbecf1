from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import kstest

from scggml.core.measures._measures import Measures
from scggml.core.metric._discriminant import transport_discriminant
from scggml.core.metric._pair_moments import PairMoments
from scggml.core.metric._targets import Targets
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import solve_pairs, square_pairs
from scggml.evaluation._permutations import Exchange
from scggml.evaluation._separation import learned_margin, mean_margin, permutation_tests, pseudo_f


def test_without_blocks_all_labels_are_exchanged():
    exchange = Exchange.of(np.array([0, 0, 0, 1, 1]))
    assert exchange.n_possible == comb(5, 2)
    assert exchange.smallest_p == 1 / 10
    every = exchange.everything()
    assert len({tuple(row) for row in every}) == 10
    assert (np.sort(every, axis=1) == [0, 0, 0, 1, 1]).all()
    drawn = exchange.draw(500, np.random.default_rng(0))
    assert len({tuple(row) for row in drawn}) == 10


def test_within_batches():
    codes, batches = np.array([0, 1, 0, 1, 1]), np.array(list("aabbb"), dtype=object)
    exchange = Exchange.of(codes, batches=batches)
    assert exchange.n_possible == 2 * 3 == len(exchange.everything())
    for rows in (exchange.everything(), exchange.draw(50, np.random.default_rng(0))):
        assert (rows[:, :2].sum(axis=1) == 1).all()
        assert (rows[:, 2:].sum(axis=1) == 2).all()


def test_paired_donors_exchange_within():
    donors = np.repeat(np.array([f"d{i}" for i in range(8)], dtype=object), 2)
    exchange = Exchange.of(np.tile([0, 1], 8), donors)
    assert exchange.n_possible == 2**8
    assert exchange.smallest_p == 2 / 2**8  # naming the classes the other way round changes nothing
    assert (exchange.everything().reshape(-1, 8, 2).sum(axis=2) == 1).all()


def test_donors_of_one_class_stay_together():
    donors = np.array(list("aabbccdde"), dtype=object)
    codes = np.array([0, 0, 1, 1, 0, 0, 1, 1, 1])
    exchange = Exchange.of(codes, donors)
    assert exchange.n_possible == comb(4, 2)  # the donor with one sample has nobody to exchange with
    rows = exchange.everything()
    assert (rows[:, 0:8:2] == rows[:, 1:8:2]).all()
    assert (rows[:, 8] == 1).all()


def test_contradictions():
    with pytest.raises(ValueError, match=r"several classes \(b\) beside groups .* one class \(a\)"):
        Exchange.of(np.array([0, 0, 0, 1]), np.array(list("aabb"), dtype=object))
    with pytest.raises(ValueError, match="several batches of batch_key: a"):
        Exchange.of(np.array([0, 0, 1, 1]), np.array(list("aabb"), dtype=object), np.array(list("xyxx"), dtype=object))


def test_exact_p_value_counts_all_relabelings():
    codes = np.array([0, 0, 0, 1, 1, 1])
    x = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.3])
    statistic = {"f": lambda c: abs(x[c == 0].mean() - x[c == 1].mean())}
    test = permutation_tests(statistic, Exchange.of(codes), n_permutations=20, rng=np.random.default_rng(0))["f"]
    assert test.exact and len(test.null) == 20
    assert test.p_value == 2 / 20  # as it is, and with the names exchanged
    test = permutation_tests(statistic, Exchange.of(codes), n_permutations=19, rng=np.random.default_rng(0))["f"]
    assert not test.exact
    assert test.p_value == ((test.null >= test.statistic).sum() + 1) / 20


def test_any_jobs_give_the_same():
    codes = np.repeat([0, 1], 10)
    x = np.random.default_rng(0).normal(size=20)
    statistic = {"f": lambda c: abs(x[c == 0].mean() - x[c == 1].mean())}
    one, two = (
        permutation_tests(statistic, Exchange.of(codes), n_permutations=99, rng=np.random.default_rng(1), n_jobs=n)["f"]
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one.null, two.null)


def test_mean_margin_by_hand():
    codes = np.array([0, 0, 0, 0, 1, 1, 1])
    rng = np.random.default_rng(0)
    d = rng.uniform(1, 2, size=(7, 7))
    leads = []
    for i in range(7):
        of_class = [np.sort([d[i, j] for j in range(7) if j != i and codes[j] == c]) for c in (0, 1)]
        if codes[i] == 0:  # three of each class are left
            near = [of_class[0].mean(), of_class[1].mean()]
        else:  # three of the four, and at the same quantile 4 * 3 / 5 - 1 = 1.4 of the two
            near = [of_class[0][:3].mean(), 0.6 * of_class[1][0] + 0.4 * of_class[1].mean()]
        own, other = near[codes[i]], near[1 - codes[i]]
        leads.append((other - own) / (other + own))
    expected = (np.mean(leads[:4]) + np.mean(leads[4:])) / 2
    assert mean_margin(d, codes) == pytest.approx(expected)


def test_pseudo_f_of_euclidean_points_is_the_f_ratio():
    from scipy.stats import f_oneway

    x, codes = np.random.default_rng(0).normal(size=15), np.arange(15) % 3
    expected = f_oneway(*(x[codes == c] for c in range(3))).statistic
    assert pseudo_f(np.abs(x[:, None] - x), codes) == pytest.approx(expected)


def moments_of(measures):
    pairs = square_pairs(len(measures))
    plans = solve_pairs(measures, pairs, keep_plans=True).plans
    return PairMoments.from_plans(measures, plans, pairs), plans, pairs


def test_held_out_distances_are_those_of_metrics_without_the_sample():
    rng = np.random.default_rng(2)
    codes = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    measures = Measures.from_arrays([rng.normal(size=(6 + c, 3)) + c for c in codes])
    moments, plans, pairs = moments_of(measures)
    options = {"ridge": 0.3, "power": 1.0, "whitening": 0.75}
    found = moments.held_out_distances(codes, **options)
    one = np.ones(3)
    for i in (0, 5, 9):
        left = np.delete(np.arange(10), i)
        rest = measures.take(left)
        _, of_rest, of_pairs = moments_of(rest)
        components = transport_discriminant(
            rest, of_rest, of_pairs, Targets.of_classes(codes[left]), scale=one, active=one > 0, n_comps=3, **options
        )
        expected = []
        for j in left:
            p = np.flatnonzero((pairs == sorted((i, j))).all(axis=1))[0]
            entries = slice(plans.offsets[p], plans.offsets[p + 1])
            moved = (measures.points[plans.rows[entries]] - measures.points[plans.cols[entries]]) @ components.T
            expected.append(np.sqrt(plans.mass[entries] @ (moved**2).sum(axis=1)))
        ratio = found[i, left] / np.array(expected)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)  # the metric has no unit


def test_many_features_are_rotated_to_those_that_move(monkeypatch):
    from scggml.core.metric import _pair_moments as module

    rng = np.random.default_rng(3)
    codes = np.repeat([0, 1], 4)
    clouds = [np.column_stack([rng.normal(size=(9, 2)) + 2 * c, 1e-3 * rng.normal(size=(9, 4))]) for c in codes]
    measures = Measures.from_arrays(clouds)
    options = {"ridge": 0.3, "power": 1.0, "whitening": 0.5}
    expected = moments_of(measures)[0].held_out_distances(codes, **options)
    monkeypatch.setattr(module, "_MAX_BYTES", 8 * 8 * 8 * 3)
    moments = moments_of(measures)[0]
    assert moments.n_features == 2
    np.testing.assert_allclose(moments.packed.sum(axis=(0, 1)).size, 3)
    found = moments.held_out_distances(codes, **options)
    assert np.corrcoef(found[~np.eye(8, dtype=bool)], expected[~np.eye(8, dtype=bool)])[0, 1] > 0.99


def test_p_values_of_learned_metrics_are_uniform_without_an_effect():
    """A metric that is learned anew for every relabeling does not see structure where there is none."""
    p_values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        codes = np.repeat([0, 1], 5)
        measures = Measures.from_arrays([rng.normal(size=(8, 4)) + rng.normal(size=4) for _ in codes])
        moments, *_ = moments_of(measures)
        distances = pairwise_distances(measures)[0]
        tests = permutation_tests(
            {
                "learned": lambda c, m=moments: learned_margin(m, c, ridge=0.3, power=1.0, whitening=0.75),
                "euclidean": lambda c, d=distances: mean_margin(d, c),
            },
            Exchange.of(codes),
            n_permutations=79,
            rng=rng,
            n_jobs=1,
        )
        p_values.append([tests["learned"].p_value, tests["euclidean"].p_value])
    for column in np.array(p_values).T:
        assert kstest(column, "uniform").pvalue > 0.01
        assert np.mean(column <= 0.1) < 0.25
