from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, RepeatedStratifiedKFold

import scggml as sg


@pytest.fixture(scope="module")
def whole():
    return sg.datasets.simulated_cohort(n_samples=12, n_cells=25, n_genes=60, rng=0)


@pytest.fixture
def adata(whole):
    adata = whole.copy()
    adata.obs["donor"] = "d" + (adata.obs["sample"].cat.codes // 2).astype(str)
    adata.obsm["X_rep"] = np.log1p(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)[:, :8]
    return adata


def run(adata, **options):
    options = {"methods": ["ggml", "euclidean"], "use_rep": "X_rep", "rng": 0, **options}
    return sg.tl.cross_validate(adata, "sample", "label", **options)


def test_tidy_scores_and_what_is_stored(adata, tmp_path):
    scores = run(adata, cv=RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0))
    assert list(scores.columns) == ["method", "classifier", "repeat", "fold", "score", "value"]
    assert not scores.duplicated(["method", "classifier", "repeat", "fold", "score"]).any()
    assert scores["value"].notna().all()
    entry = adata.uns["ggml_cross_validation"]
    predictions = entry["predictions"]
    counts = predictions.groupby(["method", "classifier", "repeat"])["sample"].agg(["size", "nunique"])
    assert (counts == 12).all(axis=None)
    pd.testing.assert_frame_equal(entry["scores"], scores)
    part = predictions.query("method == 'ggml' and classifier == 'knn' and repeat == 1 and fold == 2")
    expected = balanced_accuracy_score(part["label"], part["predicted"])
    row = scores.query("method == 'ggml' and classifier == 'knn' and repeat == 1 and fold == 2")
    assert row.set_index("score")["value"]["balanced_accuracy"] == pytest.approx(expected)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        sg.get.scores(again, baseline="euclidean"), sg.get.scores(adata, baseline="euclidean"), check_dtype=False
    )


def test_nothing_else_is_written(adata):
    before = adata.copy()
    run(adata, cv=3)
    assert set(adata.uns) - set(before.uns) == {"ggml_cross_validation"}
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert set(adata.obsm) == set(before.obsm) and set(adata.varm) == set(before.varm)


def test_same_seed_same_result_whatever_n_jobs(adata):
    methods = ["ggml", "lda", "nca", "pca", "canonical_variates", "mmd", "energy", "sliced"]
    tables = [run(adata, cv=3, n_jobs=n, methods=methods) for n in (1, 2)]
    pd.testing.assert_frame_equal(*tables)
    assert not run(adata, cv=3, rng=1).equals(run(adata, cv=3))


def test_leave_one_out_has_accuracies_only(adata):
    scores = run(adata)
    assert set(scores["score"]) == {"accuracy"}
    assert scores["fold"].nunique() == 12


def test_donors_are_held_out_together(adata):
    run(adata, donor_key="donor", cv=3)
    predictions = adata.uns["ggml_cross_validation"]["predictions"]
    donor = adata.obs.groupby("sample", observed=True)["donor"].first()
    folds = predictions.assign(donor=predictions["sample"].map(donor)).groupby("donor")["fold"].nunique()
    assert (folds == 1).all()
    assert (predictions["donor"] == predictions["sample"].map(donor)).all()
    # intervals and the sign test are those of donors: six of them, not twelve samples
    summary = sg.get.scores(adata, baseline="euclidean")
    assert (summary["only_method"].fillna(0) + summary["only_baseline"].fillna(0) <= 6).all()
    alone = adata.copy()
    # metrics are learned within donors, as they are within batches
    run(alone, cv=_same_folds(predictions), batch_key="donor")
    expected = sg.get.scores(alone).query("classifier != 'batch'").reset_index(drop=True)
    assert adata.obs.groupby("label", observed=True)["donor"].nunique().tolist() == [6, 6]  # as many donors as samples
    pd.testing.assert_frame_equal(summary.iloc[:, :4], expected.iloc[:, :4])
    is_paired = summary["classifier"] == "distances"  # these intervals know that samples of a donor belong together
    pd.testing.assert_frame_equal(summary.iloc[:, 4:6][~is_paired], expected.iloc[:, 4:6][~is_paired])
    assert (summary.loc[is_paired, "ci_low"] != expected.loc[is_paired, "ci_low"]).all()


def _same_folds(predictions):
    part = predictions.query("method == 'ggml' and classifier == 'knn'").sort_values("sample")
    return PredefinedSplit(part["fold"])


def test_distances_of_ones_own_in_any_order(adata):
    pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean", use_rep="X_rep")
    frame = sg.get.distances(pdata[np.random.default_rng(0).permutation(12)].copy())
    assert list(frame.index) != sorted(frame.index)
    columns = frame.columns[np.random.default_rng(1).permutation(12)]
    run(adata, methods={"own": frame[columns], "euclidean": "euclidean"})
    table = sg.get.scores(adata, baseline="euclidean").set_index(["method", "classifier", "score"])
    own, other = table.loc["own"], table.loc["euclidean"]
    np.testing.assert_allclose(own["value"], other["value"])
    assert (own.loc["class_mean", ["only_method", "only_baseline"]] == 0).all(axis=None)


def test_profiles_of_ones_own_in_any_order(adata):
    """One row per sample and other columns: used like the built-in mean features."""
    means = pd.DataFrame(adata.obsm["X_rep"]).groupby(adata.obs["sample"].to_numpy(), observed=True).mean()
    frame = means.iloc[np.random.default_rng(0).permutation(12)]
    scores = run(adata, methods={"own": frame, "pseudobulk": "pseudobulk"}, cv=3)
    own, built_in = (scores[scores["method"] == name].drop(columns="method") for name in ("own", "pseudobulk"))
    assert "logistic" in set(own["classifier"])
    pd.testing.assert_frame_equal(own.reset_index(drop=True), built_in.reset_index(drop=True))
    composition = pd.crosstab(adata.obs["sample"], adata.obs["cell_type"], normalize="index")
    scores = run(adata, methods={"composition": composition}, cv=3)
    assert set(scores["classifier"]) == {"logistic", "class_mean", "knn", "clusters"}


def test_cell_types_by_their_column(adata):
    """Proportions are those of `pandas.crosstab`; what is stored names the column."""
    shares = pd.crosstab(adata.obs["sample"], adata.obs["cell_type"], normalize="index")
    methods = {"own": shares, "built in": "composition"}
    scores = run(adata, methods=methods, cell_type_key="cell_type", cv=3)
    own, built_in = (scores[scores["method"] == name].drop(columns="method") for name in methods)
    pd.testing.assert_frame_equal(own.reset_index(drop=True), built_in.reset_index(drop=True))
    assert adata.uns["ggml_cross_validation"]["params"]["cell_type_key"] == "cell_type"


def test_types_of_a_sketch(adata):
    """A sketch by type has the means and proportions of all cells; one that mixes types is refused."""
    options = {"methods": ["pseudobulk_by_type", "composition"], "cell_type_key": "cell_type", "cv": 3}
    expected = run(adata, **options)
    sg.pp.sketch(adata, "sample", cell_type_key="cell_type", use_rep="X_rep", key_added="by_type")
    pd.testing.assert_frame_equal(run(adata, sketch_key="by_type", **options), expected, rtol=1e-4)
    sg.pp.sketch(adata, "sample", n_points=3, use_rep="X_rep", key_added="mixed")
    with pytest.raises(ValueError, match="share a point with cells of another type.* Leave sketch_key out"):
        run(adata, sketch_key="mixed", **options)


def test_folds_as_pairs_of_positions(adata):
    """Positions count the samples in alphabetical order; each pair is a fold."""
    names = np.array(sorted(adata.obs["sample"].unique()))
    folds = [np.arange(i, 12, 3) for i in range(3)]
    pairs = [(np.setdiff1d(np.arange(12), fold), fold) for fold in folds]
    given = run(adata, cv=pairs)
    predictions = adata.uns["ggml_cross_validation"]["predictions"]
    for i, fold in enumerate(folds):
        assert set(predictions.loc[predictions["fold"] == i, "sample"]) == set(names[fold])
    pd.testing.assert_frame_equal(run(adata, cv=iter(pairs)), given)
    pd.testing.assert_frame_equal(run(adata, cv=PredefinedSplit(np.arange(12) % 3)), given)


def test_own_names_estimators_and_functions(adata):
    def constant(train, labels, test):
        n = len(train) + len(test)
        return np.ones((n, n)) - np.eye(n)

    methods = {"strong ridge": sg.GroundMetricLearner(ridge=10.0), "constant": constant, "Euclid": "euclidean"}
    scores = run(adata, methods=methods, cv=3)
    assert list(scores["method"].unique()) == list(methods)


def test_distances_learned_with_all_labels_are_refused(adata):
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_rep")
    pdata = sg.tl.sample_distances(adata)
    with pytest.raises(ValueError, match="learned with the labels of all samples, held-out ones included"):
        run(adata, methods={"mine": sg.get.distances(pdata)})


def test_names_of_classes_need_not_do_for_files(adata, tmp_path):
    adata.obs["label"] = adata.obs["label"].cat.rename_categories(["CKD", "CKD/DKD"])
    run(adata, cv=3)
    adata.write_zarr(tmp_path / "a.zarr")
    again = anndata.read_zarr(tmp_path / "a.zarr")
    pd.testing.assert_frame_equal(sg.get.scores(again), sg.get.scores(adata), check_dtype=False)


def test_numbers_of_cells_that_depend_on_the_class_are_warned_about(adata):
    small = adata.obs["label"].cat.codes.to_numpy() == 0
    position = adata.obs.groupby("sample", observed=True).cumcount().to_numpy()
    fewer = adata[~small | (position < 8)].copy()
    with pytest.warns(UserWarning, match=r"number of cells depends on the class; cells of the median sample: .* \(8\)"):
        run(fewer, cv=3)


def test_only_samples_that_were_held_out_count(adata):
    run(adata, cv=PredefinedSplit(np.where(np.arange(12) < 4, 0, -1)))
    few = sg.get.scores(adata).query("method == 'ggml' and classifier == 'knn' and score == 'accuracy'").iloc[0]
    assert few["n"] == 4 and few["ci_high"] - few["ci_low"] > 0.4


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cv": 9}, ValueError, "cv=9 folds need at least 9 samples of every class"),
        ({"methods": ["ggml", "milo"]}, ValueError, "'milo', which is not known.* as data frames"),
        ({"methods": ["ggml", "composition"]}, ValueError, "needs the type of each cell.* as cell_type_key"),
        ({"cell_type_key": "cell_type"}, ValueError, "cell_type_key has no effect.* pseudobulk_by_type, composition"),
        ({"cell_type_key": "type", "methods": ["composition"]}, KeyError, "cell_type_key='type' is not a column"),
        ({"methods": ["gloscope"]}, ValueError, "needs more than 25 cells of every sample"),
        ({"donor_key": "nobody"}, KeyError, "donor_key='nobody' is not a column"),
        ({"donor_key": "cell_type"}, ValueError, "one value of donor_key='cell_type', found several"),
        ({"batch_key": "label"}, ValueError, "are confounded: no batch holds two classes"),
        ({"methods": {"mine": pd.DataFrame(np.zeros((3, 3)))}}, ValueError, "each of the 12 samples once.*missing"),
        ({"methods": {"mine": pd.DataFrame()}}, ValueError, r"methods\['mine'\]"),
        ({"methods": pd.DataFrame(np.zeros((3, 3)))}, TypeError, "data frame needs a name"),
        ({"cv": [(range(12), range(12))]}, ValueError, "in training and test"),
        ({"cv": [(range(11), [99])]}, ValueError, "positions"),
        ({"cv": "twice"}, ValueError, "cv must be 'auto', 'leave_one_out' or a number of folds"),
        ({"methods": {"f": lambda train, labels, test: -np.ones((12, 12))}}, ValueError, "must not be negative"),
        ({"use_rep": "X_none"}, KeyError, "X_none"),
        ({"rng": "x"}, TypeError, "rng"),
    ],
)
def test_bad_input_before_any_work(adata, monkeypatch, options, error, text):
    from scggml.evaluation import _methods

    def never(*args, **kwargs):
        raise AssertionError("work was done")

    monkeypatch.setattr(_methods, "pairwise_distances", never)
    monkeypatch.setattr(sg.GroundMetricLearner, "fit", never)
    with pytest.raises(error, match=text):
        run(adata, **options)
    assert "ggml_cross_validation" not in adata.uns


def test_batches_of_one_class_are_warned_about(adata):
    code = adata.obs["sample"].cat.codes
    label = adata.obs["label"].astype(str)
    adata.obs["batch"] = np.where((code < 4) & (label == label.iloc[0]), "b1", "b2")
    with pytest.warns(UserWarning, match=r"1 of 2 batches of batch_key='batch' hold one class .* \(b1\)(?s:.*)b2"):
        run(adata, cv=3, batch_key="batch")


def test_a_view_becomes_an_object_of_its_own(adata):
    view = adata[adata.obs["sample"].isin(adata.obs["sample"].cat.categories[:10])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(view, cv=3)
    assert "ggml_cross_validation" in view.uns and "ggml_cross_validation" not in adata.uns


def test_separation_of_held_out_samples(adata):
    """The scores of distances, from the distances themselves."""
    run(adata, cv="leave_one_out", methods=["euclidean", "cityblock"])
    table = sg.get.scores(adata, baseline="euclidean").query("classifier == 'distances'").set_index(["method", "score"])
    ratios = {}
    for metric in ("euclidean", "cityblock"):
        pdata = sg.tl.sample_distances(adata, "sample", metric=metric, use_rep="X_rep")
        distances, labels = pdata.obsp["ggml_distances"], pdata.obs["label"].astype(str).to_numpy()
        ratios[metric], n = np.empty(len(labels)), np.arange(len(labels))
        for i, label in enumerate(labels):
            own, other = distances[i, (labels == label) & (n != i)], distances[i, labels != label]
            ratios[metric][i] = np.log(other.mean() / own.mean())
    classes = [labels == name for name in np.unique(labels)]
    expected = {
        metric: np.mean([s[c].mean() for c in classes])
        / np.sqrt(sum(s[c].var() * c.sum() for c in classes) / (len(s) - len(classes)))
        for metric, s in ratios.items()
    }
    for metric, s in ratios.items():
        assert table.loc[(metric, "separation"), "value"] == pytest.approx(expected[metric])
        assert table.loc[(metric, "nearer_own_class"), "value"] == (s > 0).mean()
    row = table.loc[("cityblock", "separation")]
    assert row["difference"] == pytest.approx(expected["cityblock"] - expected["euclidean"])
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    shares = table.loc[("cityblock", "nearer_own_class")]
    apart = (ratios["cityblock"] > 0).astype(int) - (ratios["euclidean"] > 0)
    assert [shares["only_method"], shares["only_baseline"]] == [(apart > 0).sum(), (apart < 0).sum()]
    assert table.loc["euclidean", "difference"].isna().all()
