from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.model_selection import RepeatedStratifiedKFold

import scggml as sg


@pytest.fixture(scope="module")
def adata():
    adata = sg.datasets.simulated_cohort(n_samples=12, n_cells=25, n_genes=60, rng=1)
    adata.X = adata.X.log1p()
    sg.tl.cross_validate(
        adata,
        "sample",
        "label",
        methods=["ggml", "euclidean", "pseudobulk"],
        cv=RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0),
        use_rep="X",
        rng=0,
    )
    return adata


def test_scores_of_all_held_out_samples_together(adata):
    table = sg.get.scores(adata).set_index(["method", "classifier", "score"])
    predictions = adata.uns["ggml_cross_validation"]["predictions"]
    checks = {
        "accuracy": accuracy_score,
        "balanced_accuracy": balanced_accuracy_score,
        "macro_f1": lambda a, b: f1_score(a, b, average="macro"),
    }
    for (method, classifier), part in predictions.groupby(["method", "classifier"]):
        for score, function in checks.items():
            expected = np.mean([function(r["label"], r["predicted"]) for _, r in part.groupby("repeat")])
            row = table.loc[(method, classifier, score)]
            assert row["value"] == pytest.approx(expected)
            assert 0 <= row["ci_low"] <= row["ci_high"] <= 1
            assert row["n"] == 12
    assert ("pseudobulk", "logistic", "roc_auc") in table.index


def test_discordant_pairs_against_a_baseline(adata):
    table = sg.get.scores(adata, baseline="euclidean")
    predictions = adata.uns["ggml_cross_validation"]["predictions"]
    right = predictions.assign(right=predictions["label"] == predictions["predicted"])
    mean = right.groupby(["method", "classifier", "sample"])["right"].mean()
    difference = mean["ggml", "knn"] - mean["euclidean", "knn"]
    more, less = (difference > 0).sum(), (difference < 0).sum()
    row = table.query("method == 'ggml' and classifier == 'knn' and score == 'accuracy'").iloc[0]
    assert (row["only_method"], row["only_baseline"]) == (more, less)
    expected = binomtest(more, more + less).pvalue if more + less else 1.0
    assert row["p_value"] == pytest.approx(expected)
    assert table.loc[table["method"] == "euclidean", "only_method"].isna().all()
    logistic = table.query("method == 'pseudobulk' and classifier == 'logistic'")
    assert logistic["p_value"].notna().all()


def test_clusterings_are_means_over_folds(adata):
    scores = adata.uns["ggml_cross_validation"]["scores"]
    table = sg.get.scores(adata).query("method == 'ggml' and classifier == 'clusters'").set_index("score")
    expected = scores.query("method == 'ggml' and classifier == 'clusters'").groupby("score")["value"].mean()
    pd.testing.assert_series_equal(table["value"].sort_index(), expected.sort_index(), check_names=False)
    assert table["ci_low"].isna().all()


def test_errors():
    fresh = sg.datasets.simulated_cohort(n_samples=6, n_cells=20, n_genes=60, rng=0)
    with pytest.raises(KeyError, match="no cross-validation in uns"):
        sg.get.scores(fresh)
    with pytest.raises(TypeError, match="adata must be an AnnData, found dict"):
        sg.get.scores({"ggml": fresh})


def test_unknown_baseline(adata):
    with pytest.raises(
        ValueError, match="baseline='cosine' was not cross-validated. Found: ggml, euclidean, pseudobulk"
    ):
        sg.get.scores(adata, baseline="cosine")
