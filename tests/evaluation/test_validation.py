from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import balanced_accuracy_score

import scggml as sg
from scggml import GroundMetricLearner
from scggml.core._neighbors import class_scores
from scggml.core.transport._distances import pairwise_distances
from scggml.evaluation._cross_validation import cross_validate
from scggml.evaluation._methods import named_methods
from scggml.evaluation._splits import make_splits
from scggml.evaluation._validation import validate


def validated(samples, cv=4, learner=None):
    learner = learner or GroundMetricLearner(label_kind=samples.kind)
    splits = make_splits(samples.stratify_by(), samples.donors, cv=cv, rng=np.random.default_rng(0))
    return splits, validate(samples, learner, splits, rng=np.random.default_rng(1), n_jobs=1)


def test_classes(cohort):
    """All numbers, from fits and transport by hand."""
    samples = cohort(n_per_class=8, effect=1.0)
    learner = GroundMetricLearner(scale="feature", rng=0)
    splits, found = validated(samples)
    predicted = {name: samples.labels.copy() for name in ("ggml", "euclidean")}
    for split in splits:
        train, test = samples.take(split.train), samples.take(split.test)
        learner.fit(train.measures, train.labels)
        by_method = {
            "ggml": learner.pairwise_distances(test.measures, train.measures),
            "euclidean": pairwise_distances(test.measures, train.measures)[0],
        }
        for name, distances in by_method.items():
            scores = class_scores(distances, train.codes, rule="class_mean", n_neighbors=3)
            predicted[name][split.test] = samples.classes[scores.argmax(axis=1)]
    right = {name: labels == samples.labels for name, labels in predicted.items()}
    assert found.score == "balanced_accuracy"
    assert found.value == pytest.approx(
        balanced_accuracy_score(samples.codes, np.unique(predicted["ggml"], return_inverse=True)[1])
    )
    assert found.euclidean == pytest.approx(
        balanced_accuracy_score(samples.labels.astype(str), predicted["euclidean"].astype(str))
    )
    assert found.n_correct == {name: r.sum() for name, r in right.items()}
    assert found.n_correct["ggml"] > found.n_correct["euclidean"]
    assert (found.n_predictions, found.n_splits) == (16, 4)
    discordant = (right["ggml"] & ~right["euclidean"]).sum(), (right["euclidean"] & ~right["ggml"]).sum()
    assert (found.only_learned, found.only_euclidean) == discordant
    assert found.p_value == pytest.approx(binomtest(discordant[0], sum(discordant)).pvalue)
    assert found.ci_low < found.value <= found.ci_high


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
def test_ordered_labels(cohort, kind):
    samples = cohort(n_per_class=5, n_classes=3)
    values = samples.codes.astype(float) + (kind == "continuous") * np.linspace(0, 0.1, 15)
    _, found = validated(replace(samples, kind=kind, values=values))
    assert found.score == "spearman" and found.n_correct == {} and found.n_predictions == 15
    table = found.predictions[found.predictions["classifier"] == "neighbors"]
    by_method = {name: part.set_index("sample") for name, part in table.groupby("method")}
    for name, value in (("ggml", found.value), ("euclidean", found.euclidean)):
        part = by_method[name]
        assert value == pytest.approx(spearmanr(part["value"], part["predicted_value"]).statistic)
    error = {name: (part["value"] - part["predicted_value"]).abs() for name, part in by_method.items()}
    difference = error["euclidean"] - error["ggml"]
    assert found.only_learned == (difference > 1e-9).sum() and found.only_euclidean == (difference < -1e-9).sum()


def test_predictions_are_those_of_cross_validation(cohort):
    donors = np.array([f"d{i}" for i in range(5)] * 2, dtype=object)
    samples = replace(cohort(), donors=donors, strata=np.tile(np.arange(5), 2))
    splits, found = validated(samples, cv="auto")
    assert found.n_splits == 5
    methods = named_methods(["ggml", "euclidean"], samples=samples)
    expected, _ = cross_validate(samples, methods, splits, rng=np.random.default_rng(1), n_jobs=1)
    assert found.predictions.equals(expected)
    assert found.only_learned + found.only_euclidean <= 5  # donors are the units


@pytest.mark.filterwarnings("ignore:the learned metric is not better")
def test_random_learners_are_validated_as_they_are_cross_validated():
    """The seed of the fit is not that of the folds."""
    adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=20, n_genes=32, rng=0)
    adata.X = adata.X.log1p()
    learner = GroundMetricLearner(refine=sg.Refinement(triplets=2, minibatch=20, max_iter=1))
    sg.tl.fit_metric(adata, "sample", "label", learner=learner, validate=True, rng=0)
    sg.tl.cross_validate(adata, "sample", "label", methods={"ggml": learner, "euclidean": "euclidean"}, rng=0)
    assert adata.uns["ggml"]["validation"]["predictions"].equals(adata.uns["ggml_cross_validation"]["predictions"])
