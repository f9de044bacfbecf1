from __future__ import annotations

from dataclasses import replace

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import beta, binom

from scggml import GroundMetricLearner
from scggml.core._neighbors import class_scores
from scggml.core.measures._measures import Measures
from scggml.evaluation._intervals import label_intervals
from scggml.evaluation._permutations import Exchange
from scggml.evaluation._power import (
    N_PERMUTATIONS,
    Design,
    Pilot,
    draw_subset,
    learning_curve,
    planned_subsets,
)
from scggml.evaluation._separation import separation_tests


def make_clouds(codes, *, shift=0.8, donors=None, n_cells=9, d=3, seed=0):
    """Cells of each sample: patients differ, and classes along the first feature."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(len(codes), d))
    if donors is not None:
        own = own[np.unique(donors, return_inverse=True)[1]]
    return [
        rng.normal(size=(n_cells + i % 3, d)) + 0.5 * own[i] + shift * c * np.eye(d)[0] for i, c in enumerate(codes)
    ]


def brute_confusion(clouds, codes, units, strata=None):
    """Every step by another way: learners on lists of arrays, plans by POT."""
    n_classes = codes.max() + 1
    table = np.zeros((n_classes, n_classes))
    for unit in np.unique(units):
        train, test = np.flatnonzero(units != unit), np.flatnonzero(units == unit)
        given = None if strata is None else strata[train]
        learner = GroundMetricLearner(scale=None).fit([clouds[i] for i in train], codes[train], given)
        metric = learner.get_mahalanobis_matrix()
        distances = np.empty((len(test), len(train)))
        for a, i in enumerate(test):
            for b, j in enumerate(train):
                x, y = clouds[i], clouds[j]
                plan = ot.emd(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cdist(x, y))
                distances[a, b] = np.sqrt((plan * cdist(x, y, "mahalanobis", VI=metric) ** 2).sum())
        scores = class_scores(distances, codes[train], rule="class_mean", n_neighbors=3)
        np.add.at(table, (codes[test], scores.argmax(axis=1)), 1)
    return table


@pytest.mark.parametrize("seed", range(3))
def test_a_subset_is_analysed_as_a_study_of_its_own(seed):
    codes = np.tile([0, 1], 6)
    clouds = make_clouds(codes, shift=0.4, seed=seed)
    pilot = Pilot.of(Measures.from_arrays(clouds), Design(codes))
    subset = draw_subset(pilot.design, 8, np.random.default_rng(seed))
    found = pilot.take(subset).confusion()
    expected = brute_confusion([clouds[i] for i in subset], codes[subset], np.arange(8))
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.trace(expected) < 8  # some are predicted wrongly, so that it shows


def test_three_classes():
    codes = np.tile([0, 1, 2], 4)
    clouds = make_clouds(codes, seed=5)
    pilot = Pilot.of(Measures.from_arrays(clouds), Design(codes))
    np.testing.assert_array_equal(pilot.confusion(), brute_confusion(clouds, codes, np.arange(12)))


def test_donors_are_held_out_together_and_labels_compared_within_them():
    codes, donors = np.tile([0, 1], 5), np.array([f"d{i // 2}" for i in range(10)], dtype=object)
    clouds = make_clouds(codes, donors=donors, seed=2)
    pilot = Pilot.of(Measures.from_arrays(clouds), Design(codes, donors))
    units = np.arange(10) // 2
    np.testing.assert_array_equal(pilot.confusion(), brute_confusion(clouds, codes, units, strata=units))


@pytest.mark.parametrize("n", [6, 8, 12])
def test_significance_is_that_of_the_separation_test(n):
    """All relabelings of six and of eight samples are taken, random ones of twelve."""
    codes = np.tile([0, 1], n // 2)
    found, expected = [], []
    for seed in range(12):
        measures = Measures.from_arrays(make_clouds(codes, shift=0.3 + 0.2 * (seed % 4), seed=seed))
        found.append(Pilot.of(measures, Design(codes)).is_significant(np.random.default_rng(seed)))
        design = Design(codes)
        tests = separation_tests(
            measures,
            design.targets,
            Exchange.of(codes),
            n_permutations=N_PERMUTATIONS,
            rng=np.random.default_rng(seed),
        )
        expected.append(tests["learned"].p_value <= 0.05)
        assert tests["learned"].exact == (n < 12)
    assert found == expected
    assert set(expected) == ({False} if n == 6 else {False, True})  # six samples have p >= 0.1


def test_power_under_random_labels_is_the_level():
    rng = np.random.default_rng(0)
    clouds = make_clouds(np.zeros(40, dtype=int), d=2)
    labels = Design(np.tile([0, 1], 5))
    pilot = Pilot.of(Measures.from_arrays(clouds), Design(np.tile([0, 1], 20)))
    cohorts = [pilot.take(rng.choice(40, 10, replace=False)) for _ in range(200)]
    significant = sum(replace(cohort, design=labels).is_significant(rng) for cohort in cohorts)
    low, high = binom.ppf([0.001, 0.999], 200, 0.05)
    assert low <= significant <= high


def test_shares_of_classes_stay():
    design = Design(np.repeat([0, 1], [20, 10]))
    rng = np.random.default_rng(0)
    for size in (9, 10, 11, 15, 29):
        subset = draw_subset(design, size, rng)
        assert len(subset) == len(set(subset)) == size
        assert abs((subset < 20).sum() - size * 2 / 3) < 1
    assert draw_subset(design, 7, rng) is None  # two of the second class
    np.testing.assert_array_equal(draw_subset(design, 30, rng), np.arange(30))


def test_every_sample_has_its_turn():
    design = Design(np.tile([0, 1], 10))
    rng = np.random.default_rng(0)
    times = np.bincount(np.concatenate([draw_subset(design, 8, rng) for _ in range(400)]), minlength=20)
    assert abs(times - 160).max() < 4.5 * np.sqrt(400 * 0.4 * 0.6)


def test_donors_stay_whole_and_are_counted():
    donors = np.repeat([f"d{i}" for i in range(8)], 3).astype(object)
    design = Design(np.repeat(np.tile([0, 1], 4), 3), donors)
    subset = draw_subset(design, 6, np.random.default_rng(0))
    assert len(subset) == 18 and (np.unique(donors[subset], return_counts=True)[1] == 3).all()
    assert draw_subset(design, 2, np.random.default_rng(0)) is None  # no sample of a class is left without its donor


def test_subsets_hold_samples_that_can_be_compared():
    """In two of three batches there is one class only."""
    codes = np.tile([0, 1], 12)
    batches = np.where(np.arange(24) < 6, "both", np.where(codes, "one", "other")).astype(object)
    design = Design(codes, batches=batches)
    for seed in range(20):
        subset = draw_subset(design, 8, np.random.default_rng(seed))
        part = design.take(subset)
        assert part.is_enough(2)
        for left_out in range(8):
            rest = np.delete(subset, left_out)
            mixed = rest[batches[rest] == "both"]
            assert len(set(codes[mixed])) == 2


def test_the_curve_pools_its_subsets():
    codes = np.tile([0, 1], 8)
    pilot = Pilot.of(Measures.from_arrays(make_clouds(codes)), Design(codes))
    subsets = planned_subsets(pilot.design, [8, 16], 6, np.random.default_rng(0))
    assert [len(s) for s in subsets] == [8] * 6 + [16]
    table = learning_curve(pilot, subsets, rng=np.random.default_rng(1)).set_index("n_samples")
    assert table["n_repeats"].tolist() == [6, 1]
    confusion = np.mean([pilot.take(s).confusion() for s in subsets[:6]], axis=0)
    row = table.loc[8]
    assert row["balanced_accuracy"] == pytest.approx(np.mean(np.diag(confusion) / 4))
    bounds = label_intervals(confusion, np.array([8.0, 8.0]))["balanced_accuracy"]  # of all 16 patients
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(bounds)
    generators = np.random.default_rng(1).spawn(7)
    power = np.mean([pilot.take(s).is_significant(g) for s, g in zip(subsets[:6], generators[:6], strict=True)])
    assert row["power"] == pytest.approx(power) and 0 < power < 1
    low, high = beta.ppf([0.025, 0.975], 2 * power + 0.5, 2 * (1 - power) + 0.5)  # two cohorts of eight patients
    assert (row["power_low"], row["power_high"]) == pytest.approx((low, high))
    assert table.loc[16, "power"] in (0, 1)


def test_results_do_not_depend_on_threads():
    codes = np.tile([0, 1], 6)
    pilot = Pilot.of(Measures.from_arrays(make_clouds(codes)), Design(codes))
    subsets = planned_subsets(pilot.design, None, 4, np.random.default_rng(0))
    one, two = (learning_curve(pilot, subsets, rng=np.random.default_rng(0), n_jobs=n) for n in (1, 2))
    assert one.equals(two)
    assert one["n_samples"].tolist() == [6, 8, 9, 10, 12]
