from __future__ import annotations

from collections import Counter
from itertools import permutations, product
from math import comb

import numpy as np
import pytest
from scipy.stats import f_oneway, kstest, linregress

from scggml.core.measures._measures import Measures
from scggml.core.metric._pair_moments import PairMoments
from scggml.core.metric._targets import Targets
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import solve_pairs, square_pairs
from scggml.evaluation._permutations import Exchange
from scggml.evaluation._separation import (
    check_left_out,
    learned_statistic,
    mean_margin,
    neighbor_correlation,
    permutation_tests,
    pseudo_f,
    regression_f,
    separation_tests,
)


def named(text):
    return None if text is None else np.array(list(text), dtype=object)


def enumerated(codes, donors, batches):
    """All relabelings by the rule, from all labelings that could be written down."""
    n = len(codes)
    donors = donors or [f"own {i}" for i in range(n)]
    batches = batches or "x" * n
    of_donor = {d: [i for i in range(n) if donors[i] == d] for d in donors}
    mixed = {d for d, members in of_donor.items() if len({codes[i] for i in members}) > 1}

    def kept(labels):
        """What no exchange changes; labels of one donor that was not mixed are one label."""
        if any(len({labels[i] for i in of_donor[d]}) > 1 for d in of_donor if d not in mixed):
            return None
        within = Counter((donors[i], batches[i], labels[i]) for i in range(n) if donors[i] in mixed)
        profile = {d: tuple(sorted(Counter(batches[i] for i in m).items())) for d, m in of_donor.items()}
        return within, Counter((profile[d], labels[m[0]]) for d, m in of_donor.items() if d not in mixed)

    everything = product(range(max(codes) + 1), repeat=n)
    return {labels for labels in everything if kept(labels) == kept(tuple(codes))}


@pytest.mark.parametrize(
    ("codes", "donors", "batches", "n_possible"),
    [
        ([0, 0, 0, 1, 1], None, None, comb(5, 2)),
        ([0, 1, 0, 1, 1], None, "aabbb", 2 * 3),
        ([0, 1, 0, 1, 0, 1], "112233", None, 2**3),
        ([0, 1, 1, 0, 1, 2], "111222", None, 3 * 6),
        ([0, 0, 1, 1, 0, 0, 1, 1, 1], "aabbccdde", None, comb(4, 2)),
        ([0, 0, 1, 1, 0, 1], "112233", "xxyyxx", 2),  # no donor in the batch of the first to exchange with
        ([0, 0, 1, 1, 0, 0, 1], "1122334", "xxxxyyy", 2),
        ([0, 0, 1, 1], "1122", "xyxy", 2),  # donors in the same two batches
        ([0, 0, 1, 1], "1122", "xyxx", 1),
        ([0, 1, 0, 1, 0, 0, 1, 1, 2], "112233445", None, 2 * 2 * 2),  # a mixture
        ([0, 1, 0, 0, 1, 1, 0], "1123456", None, 2 * comb(5, 2)),
        ([0, 1, 0, 1, 0, 1, 0, 1], "11112345", "xxyyxxyy", 2 * 2 * 2 * 2),  # a mixture in two batches
    ],
)
def test_relabelings_are_those_of_the_rule(codes, donors, batches, n_possible):
    exchange = Exchange.of(np.array(codes), named(donors), named(batches))
    expected = enumerated(codes, donors, batches)
    every = [tuple(row) for row in exchange.everything()]
    assert len(every) == len(set(every)) == exchange.n_possible == n_possible
    assert set(every) == expected
    drawn = Counter(tuple(row) for row in exchange.draw(400 * n_possible, np.random.default_rng(0)))
    assert set(drawn) == expected
    assert max(abs(count - 400) for count in drawn.values()) < 5 * 20  # each as often: standard deviation below 20
    renamed = {tuple(labels[c] for c in codes) for labels in permutations(range(max(codes) + 1))}
    assert exchange.smallest_p == pytest.approx(len(renamed & expected) / n_possible)


@pytest.mark.parametrize(
    ("codes", "donors", "batches"),
    [
        ([0, 0, 0, 1, 1, 1], None, "xxxxyy"),
        ([0, 1, 0, 1, 0, 1], "112233", None),
        ([0, 0, 1, 1, 0, 0, 1, 1], "aabbccdd", None),
        ([0, 1, 0, 1, 0, 0, 1, 1, 2], "112233445", None),
        ([0, 1, 0, 0, 1, 1, 0], "1123456", None),
    ],
)
def test_the_null_distribution_is_exact(codes, donors, batches):
    """If each relabeling is as likely to be the given one, p-values of a statistic without ties are uniform."""
    weights = np.random.default_rng(0).normal(size=(max(codes) + 1, len(codes)))
    statistic = {"f": lambda labels: float(weights[labels, np.arange(len(labels))].sum())}
    p_values = []
    for labels in sorted(enumerated(codes, donors, batches)):
        exchange = Exchange.of(np.array(labels), named(donors), named(batches))
        test = permutation_tests(statistic, exchange, n_permutations=500, rng=np.random.default_rng(0), n_jobs=1)["f"]
        assert test.exact
        p_values.append(test.p_value)
    np.testing.assert_allclose(np.sort(p_values), np.arange(1, len(p_values) + 1) / len(p_values))


def test_ordered_labels_have_other_relabelings_in_common():
    codes = np.array([0, 1, 1, 2])
    assert Exchange.of(codes).smallest_p == 2 / 12  # the outer labels can swap their names
    assert Exchange.of(codes, kind="ordinal").smallest_p == 2 / 12
    assert Exchange.of(codes, kind="continuous").smallest_p == 1 / 12
    assert Exchange.of(np.array([0, 0, 1, 2]), kind="ordinal").smallest_p == 1 / 12
    assert Exchange.of(np.array([0, 0, 1, 2])).smallest_p == 2 / 12
    assert Exchange.of(np.arange(40), kind="continuous").smallest_p > 0


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
    x, codes = np.random.default_rng(0).normal(size=15), np.arange(15) % 3
    expected = f_oneway(*(x[codes == c] for c in range(3))).statistic
    assert pseudo_f(np.abs(x[:, None] - x), codes) == pytest.approx(expected)


def test_regression_of_two_classes_is_permanova():
    rng = np.random.default_rng(0)
    codes = np.array([0, 1, 1, 0, 1, 1, 1, 0, 0])
    distances = rng.uniform(1, 3, size=(9, 9))
    distances = (distances + distances.T) * (1 - np.eye(9))
    assert regression_f(distances, codes.astype(float)) == pytest.approx(pseudo_f(distances, codes))
    assert regression_f(distances, 7.0 - 3 * codes) == pytest.approx(pseudo_f(distances, codes))


def test_regression_of_points_is_the_f_ratio():
    rng = np.random.default_rng(1)
    values = rng.normal(size=14)
    x = values + rng.normal(size=14)
    r2 = linregress(values, x).rvalue ** 2
    assert regression_f(np.abs(x[:, None] - x), values) == pytest.approx(r2 / (1 - r2) * 12)


def test_neighbor_correlation_by_hand():
    x = np.array([0.0, 1.0, 2.5, 4.5, 7.0])
    values = np.array([1.0, 2.0, 4.0, 3.0, 9.0])
    # the two nearest others of each: (1, 2), (0, 2), (1, 3), (2, 4), (3, 2)
    expected = [[2, 4], [1, 4], [2, 3], [4, 9], [3, 4]]
    np.testing.assert_array_equal(np.mean(expected, axis=1), [3, 2.5, 2.5, 6.5, 3.5])
    ranks = np.array([3, 1.5, 1.5, 5, 4])
    truth = np.array([1, 2, 4, 3, 5])
    distances = np.abs(x[:, None] - x)
    assert neighbor_correlation(distances, values) == pytest.approx(np.corrcoef(ranks, truth)[0, 1])
    assert neighbor_correlation(distances, np.array([1.0, 1, 1, 1, 1.0]) + np.eye(5)[0]) <= 0


@pytest.mark.parametrize("kind", ["class", "ordinal", "continuous"])
def test_separation(kind):
    """An effect is found; statistics are those of the parts they are made of."""
    rng = np.random.default_rng(0)
    values = {"class": np.arange(10.0) % 2, "ordinal": np.arange(12.0) % 3, "continuous": rng.uniform(0, 2, 12)}[kind]
    measures = Measures.from_arrays([rng.normal(size=(9, 3)) + [2 * v, 0, 0] for v in values])
    targets = Targets(values, kind)
    exchange = Exchange.of(targets.codes, kind=kind)
    found = separation_tests(measures, targets, exchange, n_permutations=39, rng=rng, n_jobs=1)
    assert list(found) == ["learned", "euclidean", "permanova"]
    assert max(found["learned"].p_value, found["permanova"].p_value) <= 2 / 40
    distances = pairwise_distances(measures)[0]
    expected = mean_margin(distances, targets.codes) if kind == "class" else neighbor_correlation(distances, values)
    assert found["euclidean"].statistic == pytest.approx(expected)
    expected = pseudo_f(distances, targets.codes) if kind == "class" else regression_f(distances, values)
    assert found["permanova"].statistic == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "values", "strata", "text"),
    [
        ("class", [0, 0, 0, 1, 1], None, "at least 3 samples.*Found 2 in the class of s3, s4"),
        (
            "class",
            [0, 0, 0, 0, 1, 1, 1],
            [0, 1, 1, 1, 0, 0, 0],
            "when sample s0 is held out, there are no two comparable",
        ),
        ("ordinal", [0, 0, 1, 2], None, "when sample s0 is held out, there are no two samples with the same label"),
        ("continuous", [1, 1, 1, 5], None, "when sample s3 is held out, there are no two comparable"),
    ],
)
def test_too_few_labels_without_a_sample(kind, values, strata, text):
    names = np.array([f"s{i}" for i in range(len(values))], dtype=object)
    targets = Targets(np.array(values, dtype=float), kind, None if strata is None else np.array(strata))
    with pytest.raises(ValueError, match=text):
        check_left_out(targets, names)
    enough = Targets(np.array([0.0, 0, 0, 1, 1, 1, 0, 1]), kind, np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    check_left_out(enough, np.arange(8).astype(object))


@pytest.mark.parametrize(
    ("kind", "n_cohorts", "n_permutations"), [("class", 80, 39), ("ordinal", 80, 19), ("continuous", 80, 19)]
)
def test_p_values_are_uniform_without_an_effect(kind, n_cohorts, n_permutations):
    """Refitting for every relabeling makes overfitting a part of the null distribution."""
    p_values = []
    for seed in range(n_cohorts):
        rng = np.random.default_rng(seed)
        values = {
            "class": np.repeat([0.0, 1], 5),
            "ordinal": np.repeat([0.0, 1, 2], 3),
            "continuous": rng.normal(size=9),
        }
        targets = Targets(values[kind], kind)
        measures = Measures.from_arrays([rng.normal(size=(7, 3)) + rng.normal(size=3) for _ in targets.values])
        pairs = square_pairs(len(measures))
        solved = solve_pairs(measures, pairs, keep_plans=True)
        moments = PairMoments.from_plans(measures, solved.plans, pairs)
        learned = lambda codes, m=moments, t=targets: learned_statistic(
            m, t, codes, ridge=0.3, power=1.0, whitening=0.75
        )
        test = permutation_tests(
            {"learned": learned},
            Exchange.of(targets.codes, kind=kind),
            n_permutations=n_permutations,
            rng=rng,
            n_jobs=1,
        )
        p_values.append(test["learned"].p_value)
    steps = np.array(p_values) - np.random.default_rng(0).uniform(size=n_cohorts) / (n_permutations + 1)
    assert kstest(steps, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.1) < 0.25
