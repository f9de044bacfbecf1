from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, uniform
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import ParameterSampler, RepeatedStratifiedKFold, StratifiedKFold

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
    options = {"grid": GRID, "cv": 3, "use_rep": "X_rep", "rng": 0, "n_jobs": 1, **options}
    return sg.tl.tune(adata, "sample", options.pop("label_key", "label"), **options)


def test_tables(adata, tmp_path):
    outer = run(adata, cv=RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0))
    assert list(outer.columns) == ["repeat", "fold", "score", "inner_score", "n_comps", "ridge"]
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
    assert entry["params"]["score"] == "balanced_accuracy"
    predictions = entry["predictions"].query("classifier == 'class_mean'")
    by_repeat = [balanced_accuracy_score(part["label"], part["predicted"]) for _, part in predictions.groupby("repeat")]
    assert entry["score"] == pytest.approx(np.mean(by_repeat)) and len(by_repeat) == 2
    assert (predictions.groupby(["repeat", "sample"]).size() == 1).all() and predictions["sample"].nunique() == 12
    everything = inner.query("fold == -1")
    best = everything.loc[everything["inner_score"].idxmax()]
    assert (str(entry["best"]["ridge"]), str(entry["best"].get("n_comps"))) == (best["ridge"], best["n_comps"])
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_rep", learner=entry["best"])
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
    settings = candidate_settings({"ridge": [0.1, 3.0]})

    def inner_scores(arrays, labels):
        samples = Samples(Measures.from_arrays(arrays), names, labels)
        found = tune(samples, settings, splits, rng=np.random.default_rng(2))
        return found.inner.query("fold == 0")["inner_score"].to_numpy()

    changed, given = list(arrays), labels.copy()
    for i in splits[0].test:
        changed[i] = 40 + 9 * rng.normal(size=(9, 3))
    given[splits[0].test] = labels[splits[0].test][::-1]
    np.testing.assert_array_equal(inner_scores(arrays, labels), inner_scores(changed, given))


def test_same_seed_same_result_whatever_n_jobs(adata):
    grid = {"ridge": [0.01, 30.0]}
    pd.testing.assert_frame_equal(run(adata, grid=grid, n_jobs=1), run(adata, grid=grid, n_jobs=2))


def test_list_of_settings(adata):
    settings = list(ParameterSampler({"ridge": uniform(0.1, 2)}, 3, random_state=0))
    outer = run(adata, grid=settings)
    assert set(adata.uns["ggml_tuning"]["inner"]["ridge"]) == {str(setting["ridge"]) for setting in settings}
    product = run(adata, grid={"ridge": [setting["ridge"] for setting in settings]})
    pd.testing.assert_frame_equal(outer, product)  # the same settings as a mapping
    outer = run(adata, grid=[{"ridge": 0.1}, {"power": 0.5}])
    tried = adata.uns["ggml_tuning"]["inner"].query("fold == 0")[["ridge", "power"]]
    assert tried.to_numpy().tolist() == [["0.1", "auto"], ["auto", "0.5"]]  # what a setting lacks has its default
    assert set(outer.columns) == {"repeat", "fold", "score", "inner_score", "ridge", "power"}


def test_default_grid(adata):
    outer = run(adata, grid=None, cv=2)
    assert len(adata.uns["ggml_tuning"]["inner"].query("fold == -1")) == 12
    assert {"ridge", "whitening"} < set(outer.columns)


def test_donors_are_held_out_together(adata):
    adata.obs["donor"] = "d" + (adata.obs["sample"].cat.codes // 2).astype(str)
    run(adata, donor_key="donor")
    predictions = adata.uns["ggml_tuning"]["predictions"]
    assert (predictions.groupby("donor")["fold"].nunique() == 1).all() and predictions["donor"].nunique() == 6


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
def test_other_labels_by_rank_correlation(adata, kind):
    adata.obs["grade"] = adata.obs["sample"].cat.codes % 4
    outer = run(adata, label_key="grade", label_kind=kind, grid={"ridge": [0.1, 1.0]})
    entry = adata.uns["ggml_tuning"]
    assert entry["params"]["score"] == "spearman" and len(outer) == 3
    predictions = entry["predictions"].query("classifier == 'neighbors'")
    assert entry["score"] == pytest.approx(spearmanr(predictions["value"], predictions["predicted_value"]).statistic)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"grid": {"rigde": [1]}}, ValueError, "grid has rigde, which cannot be tuned.*n_comps.*ridge"),
        ({"grid": {"rng": [1]}}, ValueError, "grid has rng"),
        ({"grid": []}, TypeError, "grid must be a mapping"),
        ({"grid": {"ridge": 0.1}}, ValueError, r"grid\['ridge'\] must be a list"),
        ({"grid": {"ridge": "auto"}}, ValueError, r"grid\['ridge'\] must be a list"),
        ({"grid": {"ridge": [-1.0]}}, ValueError, "ridge must be"),
        ({"grid": {"n_comps": [99]}}, ValueError, "n_comps must be at most 6"),
        ({"grid": {"ridge": uniform(0, 1)}}, ValueError, "ParameterSampler"),
        ({"grid": [{"ridge": 0.1}, {"rigde": 1}]}, ValueError, r"grid\[1\] has rigde"),
        ({"grid": {"max_iter": [5]}}, ValueError, r"grid has max_iter.*Refinement\(max_iter=...\)"),
        ({"grid": [{"ridge": 0.1}, {"ridge": 0.1}]}, ValueError, "same setting twice, at positions 0 and 1"),
        ({"cv": 4, "donor_key": "thirds"}, ValueError, "cv=4 folds need at least 4 donors"),
        ({"cv": 9}, ValueError, "cv=9 folds need"),
        ({"donor_key": "none"}, KeyError, "donor_key='none'"),
        ({"batch_key": "label"}, ValueError, "are confounded"),
    ],
)
def test_bad_input_before_any_work(adata, monkeypatch, options, error, text):
    def never(*args, **kwargs):
        raise AssertionError("work was done")

    monkeypatch.setattr(sg.GroundMetricLearner, "fit", never)
    adata.obs["thirds"] = (adata.obs["sample"].cat.codes % 3).astype(str)
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
        outer = sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1]}, **options)
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


def test_the_setting_found_is_the_one_fitted_from_a_file(adata, tmp_path):
    setting = {
        "scale": None,
        "refine": sg.Refinement(margin=0.5, max_iter=3),
        "solver": sg.Sinkhorn(0.2, debiased=True),
    }
    run(adata, grid=[setting], cv=3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    best = anndata.read_h5ad(tmp_path / "a.h5ad").uns["ggml_tuning"]["best"]
    for key, learner in (("found", best), ("by_hand", sg.GroundMetricLearner(**setting))):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X_rep", learner=learner, rng=0, key_added=key)
    np.testing.assert_array_equal(adata.uns["found"]["components"], adata.uns["by_hand"]["components"])
    np.testing.assert_array_equal(adata.uns["found"]["scale"], 1)


@pytest.mark.parametrize(
    ("learner", "message"), [({"ridge": 1.0}, "says nothing about"), ({"lr": 1.0}, "no parameter")]
)
def test_settings_of_a_learner_in_part_are_refused(adata, learner, message):
    with pytest.raises(ValueError, match=message):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X_rep", learner=learner)
    assert "ggml" not in adata.uns


def test_classes_in_any_order_of_the_samples():
    """The folds of the estimate are those of the search: every third sample alone would be one whole class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(list("baa" * 6), 5)
    obs = pd.DataFrame({"sample": np.repeat([f"s{i:02}" for i in range(18)], 5), "label": labels})
    obs.index = obs.index.astype(str)
    x = rng.normal(size=(90, 3)) + (labels == "b")[:, None]
    adata = anndata.AnnData(obs=obs, obsm={"X_pca": x})
    grid = {"refine": [None, sg.Refinement(triplets=2, max_iter=2)]}
    assert len(sg.tl.tune(adata, "sample", "label", grid=grid, cv=3, rng=0)) == 3


def test_nothing_is_announced_of_a_search_that_cannot_be_made(monkeypatch):
    monkeypatch.setattr("scggml.tl._tune.announce", lambda *args, **options: pytest.fail("the search was announced"))
    adata = sg.datasets.synthetic_cohort(offsets=(1.0, 2.0, 3.0), n_points_per_mode=3, rng=0)
    with pytest.raises(ValueError, match="do not suffice for inner folds"):
        sg.tl.tune(adata, "sample", "label", cv=3, rng=0)
