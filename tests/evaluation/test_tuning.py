from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, uniform
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import ParameterSampler, RepeatedStratifiedKFold

from scggml import GroundMetricLearner
from scggml._strata import strata_of
from scggml.core.measures._measures import Measures
from scggml.evaluation import _tuning
from scggml.evaluation._cross_validation import cross_validate
from scggml.evaluation._methods import named_methods
from scggml.evaluation._samples import Samples
from scggml.evaluation._splits import make_splits
from scggml.evaluation._tuning import candidate_settings, tune

GRID = {"ridge": [0.01, 30.0], "n_comps": [2, None]}


def splits_of(samples, cv=3):
    return make_splits(samples.stratify_by(), samples.donors, cv=cv, rng=np.random.default_rng(0))


def tuned(samples, grid=GRID, cv=3, n_jobs=1):
    settings = candidate_settings(grid)
    return tune(samples, settings, splits_of(samples, cv), rng=np.random.default_rng(1), n_jobs=n_jobs)


def paired(seed=0):
    """Eight donors with one sample of each class, and an effect of the donor on the first feature."""
    rng = np.random.default_rng(seed)
    donors = np.repeat([f"d{i}" for i in range(8)], 2).astype(object)
    labels = np.array(["ctrl", "stim"] * 8, dtype=object)
    shift = np.repeat(rng.normal(scale=3.0, size=8), 2)
    clouds = [rng.normal(size=(9, 3)) + [s, 1.0 * (c == "stim"), 0] for s, c in zip(shift, labels, strict=True)]
    names = np.array([f"s{i:02d}" for i in range(16)], dtype=object)
    strata = strata_of(None, donors, labels)
    return Samples(Measures.from_arrays(clouds), names, labels, donors=donors, strata=strata)


def with_values(samples, kind):
    values = samples.codes + (kind == "continuous") * np.linspace(0, 0.2, len(samples))
    return replace(samples, kind=kind, values=values.astype(float))


def cohorts(cohort):
    return {
        "class": cohort(n_per_class=6),
        "ordinal": with_values(cohort(n_per_class=5, n_classes=3), "ordinal"),
        "continuous": with_values(cohort(n_per_class=5, n_classes=3), "continuous"),
        "paired donors": paired(),
        "donors": replace(cohort(n_per_class=8), donors=np.array([f"d{i // 2}" for i in range(16)], dtype=object)),
    }


def test_the_best_setting_of_each_split_is_taken(cohort):
    samples = cohort(n_per_class=6)
    found = tuned(samples, cv=RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0))
    assert list(found.outer.columns) == ["repeat", "fold", "score", "inner_score", "setting"]
    assert len(found.outer) == 6 and len(found.inner) == (6 + 1) * 4
    for _, row in found.outer.iterrows():
        rows = found.inner.query("repeat == @row['repeat'] and fold == @row['fold']")
        assert row["inner_score"] == rows["inner_score"].max()
        assert row["setting"] == rows["setting"][rows["inner_score"].idxmax()]
    rows = found.inner.query("fold == -1")
    assert found.best == rows["setting"][rows["inner_score"].idxmax()]
    table = found.predictions[found.predictions["classifier"] == "class_mean"]
    by_repeat = [
        balanced_accuracy_score(part["label"].astype(str), part["predicted"].astype(str))
        for _, part in table.groupby("repeat")
    ]
    assert found.score_name == "balanced_accuracy" and len(by_repeat) == 2
    assert found.score == pytest.approx(np.mean(by_repeat))


@pytest.mark.parametrize("name", ["class", "ordinal", "continuous", "paired donors", "donors"])
def test_with_one_setting_predictions_are_those_of_cross_validation(cohort, name):
    samples = cohorts(cohort)[name]
    found = tuned(samples, {"ridge": [0.1]})
    methods = named_methods({"ggml": GroundMetricLearner(label_kind=samples.kind, ridge=0.1)}, samples=samples)
    expected, _ = cross_validate(samples, methods, splits_of(samples), rng=np.random.default_rng(1), n_jobs=1)
    pd.testing.assert_frame_equal(found.predictions, expected)
    assert (found.outer["setting"] == 0).all() and found.best == 0


def test_predictions_are_those_of_the_chosen_settings(cohort):
    samples = paired()
    found = tuned(samples, {"ridge": [0.01, 1000.0], "power": [0.5, 2.0]})
    splits = splits_of(samples)
    for split, row in zip(splits, found.outer.itertuples(), strict=True):
        train, test = samples.take(split.train), samples.take(split.test)
        learner = GroundMetricLearner(scale="feature", rng=0, **found.settings[row.setting])
        learner.fit(train.measures, train.labels, train.strata)
        distances = learner.pairwise_distances(test.measures, train.measures)
        nearest = train.labels[np.argsort(distances, axis=1)[:, :5]]
        expected = ["stim" if (near == "stim").sum() > 2 else "ctrl" for near in nearest]
        part = found.predictions.query("fold == @split.fold and classifier == 'knn'")
        assert part["predicted"].tolist() == expected
        assert part["donor"].tolist() == samples.donors[split.test].tolist()


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
def test_ordered_labels_are_scored_by_rank_correlation(cohort, kind):
    samples = cohorts(cohort)[kind]
    found = tuned(samples, {"ridge": [0.1, 10.0]})
    table = found.predictions[found.predictions["classifier"] == "neighbors"]
    assert found.score_name == "spearman"
    assert found.score == pytest.approx(spearmanr(table["value"], table["predicted_value"]).statistic)
    assert found.inner["inner_score"].between(-1, 1).all()
    alone = tuned(samples, {"ridge": [0.1]}, cv="leave_one_out")
    assert alone.outer["score"].isna().all() and -1 <= alone.score <= 1


def test_donors_stay_together_in_inner_folds(monkeypatch):
    seen = []
    inner = _tuning._inner_splits
    monkeypatch.setattr(_tuning, "_inner_splits", lambda *args: seen.append((args, inner(*args))) or seen[-1][1])
    samples = paired()
    tuned(samples, {"ridge": [0.1]})
    assert len(seen) == 4
    for (_, outer, _), within in seen:
        donors = samples.donors[outer.train]
        assert len(within) == 3
        assert all(not set(donors[s.train]) & set(donors[s.test]) for s in within)


def test_held_out_samples_do_not_change_the_choice(cohort):
    """Held-out samples with other cells and labels leave the inner scores of their split as they are."""
    samples = cohort(n_per_class=6)
    split = splits_of(samples)[0]
    clouds, labels = samples.measures.split(), samples.labels.copy()
    for i in split.test:
        clouds[i] = 40 + 9 * clouds[i][::-1]
    labels[split.test] = labels[split.test][::-1]
    changed = Samples(Measures.from_arrays(clouds), samples.names, labels)
    settings = candidate_settings({"ridge": [0.1, 3.0]})
    one, other = (
        tune(s, settings, [split], rng=np.random.default_rng(2), n_jobs=1).inner.query("fold == 0")
        for s in (samples, changed)
    )
    pd.testing.assert_frame_equal(one, other)


def test_any_jobs_give_the_same(cohort):
    one, two = (tuned(cohort(), {"ridge": [0.1, 3.0]}, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.inner, two.inner)
    pd.testing.assert_frame_equal(one.predictions, two.predictions)


def test_settings():
    assert candidate_settings({"ridge": [0.1, 1.0], "power": [1.0]}) == [
        {"power": 1.0, "ridge": 0.1},
        {"power": 1.0, "ridge": 1.0},
    ]
    assert candidate_settings({"ridge": np.array([0.1, 1.0])}) == [{"ridge": 0.1}, {"ridge": 1.0}]
    drawn = list(ParameterSampler({"ridge": uniform(0.1, 2)}, 3, random_state=0))
    assert candidate_settings(drawn) == drawn
    # what a dict lacks is the default
    assert candidate_settings([{"ridge": 0.1}, {"power": 2.0}, {}]) == [
        {"ridge": 0.1, "power": "auto"},
        {"ridge": "auto", "power": 2.0},
        {"ridge": "auto", "power": "auto"},
    ]


@pytest.mark.parametrize(
    ("grid", "error", "text"),
    [
        ({"rigde": [1]}, ValueError, "grid has rigde, .*Parameters of GroundMetricLearner to tune: .*ridge"),
        ({"rng": [1]}, ValueError, "grid has rng"),
        ({"n_jobs": [1], "label_kind": ["class"]}, ValueError, "grid has n_jobs, label_kind"),
        ([{"ridge": 1.0}, {"rigde": 2.0}], ValueError, r"grid\[1\] has rigde"),
        ([], TypeError, "grid must be a mapping"),
        ({}, TypeError, "grid must be a mapping"),
        (ParameterSampler({"ridge": [0.1]}, 1), TypeError, "or a list of dicts"),
        ({"ridge": 0.1}, ValueError, r"grid\['ridge'\] must be a list of values"),
        ({"ridge": "auto"}, ValueError, r"grid\['ridge'\] must be a list of values"),
        ({"ridge": []}, ValueError, r"grid\['ridge'\] must be a list of values"),
        ({"ridge": uniform(0, 1)}, ValueError, "Draw from distributions with .*ParameterSampler"),
        ({"ridge": [0.1, 1.0, 0.1]}, ValueError, "the same setting twice, at positions 0 and 2"),
        ([{"ridge": 0.1}, {"ridge": 0.1, "power": "auto"}], ValueError, "the same setting twice, at positions 0 and 1"),
    ],
)
def test_bad_grids(grid, error, text):
    with pytest.raises(error, match=text):
        candidate_settings(grid)


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ({"margin": [0.1, 1.0]}, r'margin of Refinement is written {"refine": \[Refinement\(margin=...\), ...\]}'),
        (
            {"margin": [1], "lr": [1]},
            r'margin, lr of Refinement .*{"refine": \[Refinement\(margin=..., lr=...\), ...\]}',
        ),
        ({"device": ["cpu"]}, r'device of Sinkhorn is written {"solver": \[Sinkhorn\(device=...\), ...\]}'),
    ],
)
def test_parameters_of_parts_are_refused_with_what_to_write(monkeypatch, grid, text):
    class Learner:
        def get_params(self, deep=True):
            return dict.fromkeys(["label_kind", "ridge", "solver", "refine", "rng", "n_jobs"])

    monkeypatch.setattr(_tuning, "GroundMetricLearner", Learner)
    with pytest.raises(ValueError, match=text):
        candidate_settings(grid)


@pytest.mark.parametrize(
    ("grid", "change", "text"),
    [
        ({"ridge": [0.1, -1.0]}, {}, "ridge must be"),
        ({"n_comps": [99]}, {}, "n_comps must be at most 3"),
        ({"ridge": [0.1]}, {"donors": np.array(list("aabbaabbaabb"), dtype=object)}, "do not suffice for inner folds"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_any_work(cohort, monkeypatch, grid, change, text):
    monkeypatch.setattr(GroundMetricLearner, "fit", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=text):
        tuned(replace(cohort(n_per_class=6), **change), grid, cv=2)


def test_small_classes_have_fewer_inner_folds(monkeypatch):
    samples = replace(paired(), donors=np.repeat(list("abcd"), 4).astype(object), strata=None)
    seen = []
    inner = _tuning._inner_splits
    monkeypatch.setattr(_tuning, "_inner_splits", lambda *args: seen.append(inner(*args)) or seen[-1])
    tuned(samples, {"ridge": [0.1]}, cv=2)
    assert [len(within) for within in seen] == [2, 2, 3]  # two donors in each training set, four in all
