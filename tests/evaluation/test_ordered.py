"""Held-out grades and numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr
from sklearn.neighbors import KNeighborsRegressor

from scggml import GroundMetricLearner
from scggml.core import Measures, neighbor_means, pairwise_distances
from scggml.evaluation import Samples, cross_validate, make_splits, named_methods, summary
from scggml.evaluation._intervals import mean_interval, rank_interval
from scggml.evaluation._scores import value_scores


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
    splits = make_splits(samples.strata(), None, cv=cv, rng=np.random.default_rng(0))
    known = named_methods(methods, samples=samples, stored={}, has_cell_types=False)
    return splits, *cross_validate(samples, known, splits, rng=np.random.default_rng(1), n_jobs=1)


def test_neighbor_means_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    distances, values = rng.uniform(size=(5, 12)), rng.normal(size=12)
    model = KNeighborsRegressor(4, metric="precomputed").fit(np.zeros((12, 12)), values)
    np.testing.assert_allclose(neighbor_means(distances, values, n_neighbors=4), model.predict(distances))
    np.testing.assert_allclose(neighbor_means(distances, values, n_neighbors=50), values.mean())


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
    assert (row["gained"], row["lost"]) == (
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


def test_a_learner_of_classes_takes_grades_but_not_numbers():
    learners = {"classes": GroundMetricLearner(), "order": GroundMetricLearner(label_kind="ordinal")}
    _, predictions, _ = evaluated(ordered("ordinal"), learners)
    assert set(predictions["method"]) == {"classes", "order"}
    with pytest.raises(ValueError, match=r"methods\['classes'\] is a learner with label_kind='class', .*'continuous'"):
        evaluated(ordered(), learners)
    with pytest.raises(ValueError, match="'lda', which needs classes or grades"):
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


def test_strata():
    assert set(ordered().strata()) == {"all"}
    assert list(ordered("ordinal").strata()) == list(ordered("ordinal").labels)
    assert set(ordered("ordinal", n=9).strata()) == {"all"}
    assert len(ordered().take(np.array([3, 1])).batches) == 2
