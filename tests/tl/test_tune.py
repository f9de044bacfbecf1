from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import uniform
from sklearn.model_selection import StratifiedKFold

import scggml as sg

GRID = {"ridge": [0.01, 30.0], "n_comps": [2, None]}


@pytest.fixture(scope="module")
def whole():
    return sg.datasets.simulated_cohort(n_samples=12, n_cells=20, n_genes=60, rng=0)


@pytest.fixture
def adata(whole):
    adata = whole.copy()
    adata.obsm["X_rep"] = np.log1p(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)[:, :6]
    return adata


def run(adata, **options):
    options = {"grid": GRID, "cv": 3, "inner_cv": 2, "use_rep": "X_rep", "rng": 0, **options}
    return sg.tl.tune(adata, "sample", "label", **options)


def test_tables(adata, tmp_path):
    outer = run(adata, n_repeats=2)
    assert list(outer.columns) == ["repeat", "fold", "score", "inner_score", "ridge", "n_comps"] or list(
        outer.columns
    ) == ["repeat", "fold", "score", "inner_score", "n_comps", "ridge"]
    assert len(outer) == 6
    entry = adata.uns["ggml_tuning"]
    inner = entry["inner"]
    assert len(inner) == (6 + 1) * 4
    for _, row in outer.iterrows():
        rows = inner.query("repeat == @row['repeat'] and fold == @row['fold']")
        best = rows.loc[rows["inner_score"].idxmax()]
        assert row["inner_score"] == best["inner_score"]
        assert (row["ridge"], row["n_comps"]) == (best["ridge"], best["n_comps"])
    assert 0 <= entry["score"] <= 1
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_rep", **entry["best"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad").uns["ggml_tuning"]
    pd.testing.assert_frame_equal(again["outer"], outer)


def test_held_out_samples_have_no_say(adata):
    """Outer samples with other cells and labels leave the inner scores of their split as they are."""
    from scggml.core.measures._measures import Measures
    from scggml.evaluation._samples import Samples
    from scggml.evaluation._splits import make_splits
    from scggml.evaluation._tuning import candidate_settings, tune

    rng = np.random.default_rng(0)
    labels = np.array(["a", "b"] * 6, dtype=object)
    arrays = [rng.normal(size=(9, 3)) + (label == "b") for label in labels]
    names = np.array([f"s{i:02d}" for i in range(12)], dtype=object)
    splits = make_splits(labels, None, cv=3, rng=np.random.default_rng(1))[:1]
    settings = candidate_settings({"ridge": [0.1, 3.0]}, None, rng)

    def inner_scores(arrays, labels):
        samples = Samples(Measures.from_arrays(arrays), names, labels)
        found = tune(samples, settings, splits, inner_cv=2, score="roc_auc", rng=np.random.default_rng(2))
        return found.inner.query("fold == 0")["inner_score"].to_numpy()

    changed, given = list(arrays), labels.copy()
    for i in splits[0].test:
        changed[i] = 40 + 9 * rng.normal(size=(9, 3))
    given[splits[0].test] = labels[splits[0].test][::-1]
    np.testing.assert_array_equal(inner_scores(arrays, labels), inner_scores(changed, given))


def test_same_seed_same_result_whatever_n_jobs(adata):
    pd.testing.assert_frame_equal(run(adata, n_jobs=1), run(adata, n_jobs=2))


def test_drawn_settings(adata):
    run(adata, grid={"ridge": uniform(0.1, 2)}, n_iter=3)
    assert adata.uns["ggml_tuning"]["inner"]["ridge"].nunique() == 3


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"grid": {"rigde": [1]}}, ValueError, "grid has rigde, which GroundMetricLearner does not know"),
        ({"grid": {"rng": [1]}}, ValueError, "grid has rng"),
        ({"grid": []}, TypeError, "grid must be a mapping"),
        ({"grid": {"ridge": 0.1}}, ValueError, r"grid\['ridge'\] must be a list"),
        ({"grid": {"ridge": "auto"}}, ValueError, r"grid\['ridge'\] must be a list"),
        ({"grid": {"ridge": [-1.0]}}, ValueError, "ridge must be"),
        ({"grid": {"n_comps": [99]}}, ValueError, "n_comps must be at most 6"),
        ({"grid": {"ridge": uniform(0, 1)}}, ValueError, "pass n_iter"),
        ({"n_iter": 0}, ValueError, "n_iter must be at least 1"),
        ({"score": "mse"}, ValueError, "score must be one of"),
        ({"cv": 9}, ValueError, "cv=9 folds need"),
        ({"inner_cv": 7}, ValueError, "cv=7 folds need"),
        ({"group_key": "none"}, KeyError, "group_key='none'"),
    ],
)
def test_bad_input_before_any_work(adata, monkeypatch, options, error, text):
    def never(*args, **kwargs):
        raise AssertionError("work was done")

    monkeypatch.setattr(sg.GroundMetricLearner, "fit", never)
    with pytest.raises(error, match=text):
        run(adata, **options)
    assert "ggml_tuning" not in adata.uns


def test_metrics_are_learned_within_batches(adata):
    """With one setting, outer scores are those of a cross-validation with the same batches."""
    codes = adata.obs["sample"].cat.codes.to_numpy()
    adata.obs["batch"] = pd.Categorical(np.where(codes // 2 % 2 == 0, "x", "y"))
    adata.obsm["X_rep"] = adata.obsm["X_rep"] + 3.0 * (adata.obs["batch"] == "y").to_numpy()[:, None] * np.arange(6)
    folds = StratifiedKFold(3)
    found = {}
    for batch_key in (None, "batch"):
        options = {"cv": folds, "use_rep": "X_rep", "batch_key": batch_key, "rng": 0}
        outer = sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1]}, inner_cv=2, **options)
        methods = {"same": sg.GroundMetricLearner(ridge=0.1)}
        scores = sg.tl.cross_validate(adata, "sample", "label", methods=methods, **options)
        own = scores.query("classifier == 'class_mean' and score == 'balanced_accuracy'")
        np.testing.assert_allclose(outer["score"], own["value"])
        found[batch_key] = adata.uns["ggml_tuning"]["inner"]["inner_score"].to_numpy()
    assert adata.uns["ggml_tuning"]["params"]["batch_key"] == "batch"
    assert not np.array_equal(found[None], found["batch"])


def test_folds_that_leave_nothing_to_compare(adata, assert_same_anndata):
    """Two mixed samples of different class in one batch: without either, nothing can be learned within batches."""
    names = list(adata.obs["sample"].cat.categories)
    label = adata.obs.groupby("sample", observed=True)["label"].first()
    mixed = [next(n for n in names if label[n] == c) for c in label.cat.categories]
    batch = {n: "both" if n in mixed else f"only {label[n]}" for n in names}
    adata.obs["batch"] = pd.Categorical(adata.obs["sample"].astype(str).map(batch))
    before = adata.copy()
    with (
        pytest.warns(UserWarning, match="one class"),
        pytest.raises(ValueError, match="cannot be learned without the samples of fold"),
    ):
        run(adata, batch_key="batch")
    assert_same_anndata(adata, before)
