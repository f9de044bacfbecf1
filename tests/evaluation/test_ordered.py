"""Held-out ordinal and continuous labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr
from sklearn.neighbors import KNeighborsRegressor

from scggml import GroundMetricLearner
from scggml.core._neighbors import neighbor_means
from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances
from scggml.evaluation._cross_validation import cross_validate, summary
from scggml.evaluation._intervals import mean_interval, rank_interval
from scggml.evaluation._methods import named_methods
from scggml.evaluation._samples import Samples
from scggml.evaluation._scores import value_scores
from scggml.evaluation._splits import Split, make_splits


def ordered(kind="continuous", n=24, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 3, size=n) if kind == "continuous" else np.repeat(np.arange(3.0), n // 3)
    clouds = [rng.normal(size=(12, 4)) + [1.5 * v, *rng.normal(scale=4.0, size=3)] for v in values]
    names = np.array([f"s{i:02d}" for i in range(n)], dtype=object)
    text = np.array([f"{v:.3g}" for v in values], dtype=object)
    return Samples(
        Measures.from_arrays(clouds),
        names,
        text,
        kind=kind,
        values=values,
        batches=np.array(["a", "b"] * (n // 2), dtype=object),
    )


def evaluated(samples, methods, cv=4):
    splits = make_splits(samples.stratify_by(), None, cv=cv, rng=np.random.default_rng(0))
    known = named_methods(methods, samples=samples)
    return splits, *cross_validate(samples, known, splits, rng=np.random.default_rng(1), n_jobs=1)


def test_neighbor_means_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    distances, values = rng.uniform(size=(5, 12)), rng.normal(size=12)
    model = KNeighborsRegressor(4, metric="precomputed").fit(np.zeros((12, 12)), values)
    np.testing.assert_allclose(neighbor_means(distances, values, n_neighbors=4), model.predict(distances))
    np.testing.assert_allclose(neighbor_means(distances, values, n_neighbors=50), values.mean())
    assert len(np.unique(neighbor_means(distances, values, n_neighbors=12))) == 1  # in whatever order they are


def test_predictions_are_those_of_neighbours_in_the_training_samples():
    samples = ordered()
    splits, predictions, scores = evaluated(samples, ["euclidean"])
    distances = pairwise_distances(samples.measures)[0]
    table = predictions[predictions["classifier"] == "neighbors"].set_index("sample")
    for split in splits:
        nearest = np.argsort(distances[np.ix_(split.test, split.train)], axis=1)[:, :4]  # of 18
        expected = samples.values[split.train][nearest].mean(axis=1)
        np.testing.assert_allclose(table.loc[samples.names[split.test], "predicted_value"].astype(float), expected)
    pooled = summary(predictions, scores, classes=[]).set_index(["classifier", "score"])["value"]
    truth = samples.values[[list(samples.names).index(name) for name in table.index]]
    np.testing.assert_array_equal(table["value"], truth)
    assert pooled["neighbors", "spearman"] == pytest.approx(spearmanr(truth, table["predicted_value"]).statistic)
    assert pooled["neighbors", "kendall"] == pytest.approx(kendalltau(truth, table["predicted_value"]).statistic)
    assert pooled["neighbors", "mae"] == pytest.approx(np.abs(truth - table["predicted_value"]).mean())


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
def test_the_metric_is_learned_from_the_order(kind):
    samples = ordered(kind)
    _, predictions, scores = evaluated(samples, ["ggml", "euclidean", "pseudobulk"])
    table = summary(predictions, scores, classes=[], baseline="euclidean").set_index(["method", "classifier", "score"])
    value = table["value"]
    assert value["ggml", "neighbors", "spearman"] > value["euclidean", "neighbors", "spearman"] + 0.1
    assert value["pseudobulk", "ridge", "spearman"] > 0.7
    row = table.loc[("ggml", "neighbors", "mae")]
    errors = {
        m: (t["value"] - t["predicted_value"]).abs().to_numpy()
        for m, t in predictions[predictions["classifier"] == "neighbors"].groupby("method")
    }
    assert (row["only_method"], row["only_baseline"]) == (
        (errors["ggml"] < errors["euclidean"]).sum(),
        (errors["ggml"] > errors["euclidean"]).sum(),
    )
    assert "clusters" in set(scores["classifier"]) if kind == "ordinal" else "clusters" not in set(scores["classifier"])


def test_the_batch_is_predicted_besides():
    samples = ordered("ordinal")
    _, predictions, scores = evaluated(samples, ["euclidean"])
    found = predictions[predictions["classifier"] == "batch"]
    assert set(found["label"]) == {"a", "b"} and len(found) == len(samples)
    assert "predicted_value" not in found or found["predicted_value"].isna().all()
    row = summary(predictions, scores, classes=[]).set_index(["classifier", "score"]).loc[("batch", "accuracy")]
    assert row["value"] == pytest.approx((found["predicted"] == found["label"]).mean())
    assert row["ci_low"] < row["value"] < row["ci_high"]


def test_batches_without_training_samples_are_left_out():
    samples = ordered("ordinal")
    samples.batches[5] = "alone"
    splits, predictions, scores = evaluated(samples, ["euclidean"], cv="leave_one_out")
    found = predictions[predictions["classifier"] == "batch"]
    assert list(found["sample"]) == [name for name in samples.names if name != "s05"]
    distances = pairwise_distances(samples.measures)[0]
    for split, row in zip([s for s in splits if s.test[0] != 5], found.itertuples(), strict=True):
        nearest = split.train[np.argsort(distances[split.test[0], split.train])[:5]]
        votes = {b: int((samples.batches[nearest] == b).sum()) for b in ("a", "b", "alone")}
        assert votes[row.predicted] == max(votes.values())
    assert ("batch", "accuracy") in set(zip(scores["classifier"], scores["score"], strict=True))


def test_batches_that_are_predicted_only():
    samples = ordered("ordinal")
    splits = [Split(0, 0, np.arange(4, 24), np.array([0, 2]))]  # both of batch a
    known = named_methods(["euclidean"], samples=samples)
    predictions, scores = cross_validate(samples, known, splits, rng=np.random.default_rng(1), n_jobs=1)
    found = predictions[predictions["classifier"] == "batch"]
    row = summary(predictions, scores, classes=[]).set_index(["classifier", "score"]).loc[("batch", "accuracy")]
    assert row["value"] == pytest.approx((found["predicted"] == "a").mean())


def test_rounding_makes_no_discordant_pair():
    samples = ordered()
    _, predictions, scores = evaluated(samples, {"one": "euclidean", "other": "euclidean"})
    is_other = predictions["method"] == "other"
    predictions.loc[is_other, "predicted_value"] *= 1 + 1e-15
    row = summary(predictions, scores, classes=[], baseline="one").set_index(["method", "classifier", "score"])
    assert tuple(row.loc[("other", "neighbors", "mae"), ["only_method", "only_baseline"]]) == (0, 0)


def test_the_interval_of_the_error_holds_it_with_donors_of_any_size():
    samples = ordered()
    _, predictions, scores = evaluated(samples, ["euclidean"])
    chosen = predictions["classifier"] == "neighbors"
    error = (predictions["value"] - predictions["predicted_value"]).abs()[chosen]
    worst = error.sort_values().index[-12:]
    predictions["donor"] = predictions["sample"].where(~predictions.index.isin(worst), "all the worst")
    row = summary(predictions, scores, classes=[]).set_index(["classifier", "score"]).loc[("neighbors", "mae")]
    assert row["value"] == pytest.approx(error.mean())
    assert row["ci_low"] + row["ci_high"] == pytest.approx(2 * row["value"])


@pytest.mark.parametrize(
    ("kind", "values", "strata", "text"),
    [
        ("ordinal", [0, 0, 1, 2, 3], None, ".* of y has 2 samples.*. Pass other folds"),
        ("continuous", [0, 0, 0, 0, 7], None, "fold 4 \\(s4\\): y has only the value 0"),
        ("continuous", [0, 1, 2, 3, 4], list("aabcd"), "must have a stratum that holds samples with different labels"),
    ],
)
def test_folds_that_nothing_can_be_learned_from_are_refused_before_any_work(kind, values, strata, text, monkeypatch):
    rng = np.random.default_rng(0)
    samples = Samples(
        Measures.from_arrays([rng.normal(size=(5, 2)) for _ in values]),
        np.array([f"s{i}" for i in range(5)], dtype=object),
        np.array(list(map(str, values)), dtype=object), kind=kind, values=np.array(values, dtype=float),
        strata=None if strata is None else np.array(strata, dtype=object),
    )  # fmt: skip
    evaluated(samples, ["euclidean"], cv="leave_one_out")
    monkeypatch.setattr(GroundMetricLearner, "fit", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=rf"methods\['ggml'\] cannot be learned without .*{text}"):
        evaluated(samples, ["ggml"], cv="leave_one_out")


def test_a_learner_of_classes_takes_ordinal_but_not_continuous_labels():
    learners = {"classes": GroundMetricLearner(), "order": GroundMetricLearner(label_kind="ordinal")}
    _, predictions, _ = evaluated(ordered("ordinal"), learners)
    assert set(predictions["method"]) == {"classes", "order"}
    with pytest.raises(ValueError, match=r"methods\['classes'\] is a learner with label_kind='class', .*'continuous'"):
        evaluated(ordered(), learners)
    with pytest.raises(ValueError, match="'lda', which needs classes or ordinal labels"):
        evaluated(ordered(), ["lda"])


def test_scores_of_constant_predictions_say_nothing():
    assert value_scores(np.array([1.0, 2, 3]), np.array([2.0, 2, 2])) == {
        "mae": pytest.approx(2 / 3),
        "spearman": 0.0,
        "kendall": 0.0,
    }
    assert set(value_scores(np.array([1.0]), np.array([2.0]))) == {"mae"}


@pytest.mark.parametrize(("name", "rho"), [("spearman", 0.5), ("kendall", 0.35)])
def test_rank_intervals_cover(name, rho):
    rng = np.random.default_rng(0)
    pearson = 2 * np.sin(np.pi * rho / 6) if name == "spearman" else np.sin(np.pi * rho / 2)
    covered = 0
    for _ in range(400):
        x, noise = rng.normal(size=(2, 40))
        y = pearson * x + np.sqrt(1 - pearson**2) * noise
        value = (spearmanr if name == "spearman" else kendalltau)(x, y).statistic
        low, high = rank_interval(name, value, 40)
        covered += low < rho < high
    assert 0.91 < covered / 400 < 0.98
    assert rank_interval(name, 0.3, 4) == (-1.0, 1.0)
    assert -1 < rank_interval(name, 1.0, 30)[0] <= 1


def test_mean_interval():
    low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (low + high) / 2 == pytest.approx(2) and high - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    assert np.isnan(mean_interval(np.array([1.0]))).all()


def test_labels_that_folds_are_stratified_by():
    assert set(ordered().stratify_by()) == {"all"}
    assert list(ordered("ordinal").stratify_by()) == list(ordered("ordinal").labels)
    assert set(ordered("ordinal", n=9).stratify_by()) == {"all"}
    assert len(ordered().take(np.array([3, 1])).batches) == 2
