"""`tl.sample_distances(cv=...)`, and what other functions make of held-out distances."""

from __future__ import annotations

import numpy as np
import pytest

import scggml as sg
from scggml.core.measures._measures import Measures
from scggml.core.metric._options import TrainingOptions
from scggml.core.metric._out_of_fold import out_of_fold_distances
from scggml.core.metric._targets import Targets

NAMES = [f"p{i}" for i in range(1, 9)]


@pytest.fixture
def held_out(fitted):
    return sg.tl.sample_distances(fitted, cv="leave_one_out")


def matrix(pdata, key="ggml"):
    return pdata.obsp[f"{key}_distances"]


def test_are_those_of_the_samples_by_name(fitted, held_out):
    where = [(fitted.obs["sample"] == name).to_numpy() for name in NAMES]
    measures = Measures.from_arrays([fitted.obsm["X_pca"][rows] for rows in where])
    codes = np.array([fitted.obs["label"][rows].iloc[0] == "well" for rows in where]).astype(int)
    expected = out_of_fold_distances(
        measures, Targets.of_classes(codes), TrainingOptions(scale="global"), np.arange(8),
        rng=np.random.default_rng(5),
    )  # fmt: skip
    assert list(held_out.obs_names) == NAMES
    np.testing.assert_allclose(matrix(held_out), expected.matrix, rtol=1e-9)
    entry = held_out.uns["ggml"]
    assert (entry["metric"], entry["status"], entry["solver"]) == ("learned", "held_out", "exact")
    np.testing.assert_array_equal(entry["folds"], np.arange(8))
    assert entry["gap"] < 1e-9 and entry["params"]["label_key"] == "label"
    # a pair, by the learner without these two and up to the unit
    left = [i for i in range(8) if i not in (0, 3)]
    clouds = measures.split()
    model = sg.GroundMetricLearner(scale="global").fit([clouds[i] for i in left], codes[left])
    other = sg.GroundMetricLearner(scale="global").fit([clouds[i] for i in range(8)], codes)
    assert model.pairwise_distances([clouds[0]], [clouds[3]]) != other.pairwise_distances([clouds[0]], [clouds[3]])


def test_the_metric_itself_and_the_input_do_not_matter(fitted, assert_same_anndata):
    before = fitted.copy()
    expected = sg.tl.sample_distances(fitted, cv="auto", n_jobs=1)
    assert_same_anndata(fitted, before)
    fitted.uns["ggml"]["loss_history"] = np.ones(1)
    assert_same_anndata(sg.tl.sample_distances(fitted, cv="auto", n_jobs=2), expected)
    folds = expected.uns["ggml"]["folds"]
    labels = expected.obs["label"].to_numpy()
    assert all(sorted(folds[labels == name]) == [0, 1, 2, 3] for name in ("sick", "well"))
    assert_same_anndata(sg.tl.sample_distances(fitted, cv="auto", rng=0), expected)
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(4)]
    assert_same_anndata(sg.tl.sample_distances(fitted, cv=splits), expected)


@pytest.mark.parametrize("learner", [None, sg.GroundMetricLearner(n_sweeps=2), sg.GroundMetricLearner(solver="pot")])
@pytest.mark.parametrize("kind", ["class", "continuous"])
def test_other_learners_and_labels(cohort, learner, kind):
    label = "label" if kind == "class" else "age"
    if learner is not None:
        learner.label_kind = kind
    sg.tl.fit_metric(cohort, "sample", label, label_kind=kind, learner=learner, rng=0)
    pdata = sg.tl.sample_distances(cohort, cv="auto")
    d = matrix(pdata)
    assert np.median(d[np.triu_indices(8, k=1)]) == pytest.approx(1)
    np.testing.assert_array_equal(d, d.T)
    assert pdata.uns["ggml"]["solver"] == ("pot" if learner is not None and learner.solver == "pot" else "exact")


def test_entropic(fitted, held_out):
    pdata = sg.tl.sample_distances(fitted, cv="leave_one_out", solver=sg.Sinkhorn(0.003))
    np.testing.assert_allclose(matrix(pdata), matrix(held_out), rtol=0.1, atol=0.02)
    assert pdata.uns["ggml"]["solver"] == "sinkhorn" and pdata.uns["ggml"]["epsilon"] > 0


def test_donors_stay_together_and_batches_are_not_compared():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=4, rng=0)
    samples = np.array(sorted(adata.obs["sample"].unique()))
    label = adata.obs.groupby("sample", observed=True)["label"].first().astype(str)
    number = label.groupby(label).cumcount()
    adata.obs["donor"] = adata.obs["sample"].map(label + (number // 2).astype(str)).astype(str)
    adata.obs["batch"] = adata.obs["sample"].map(number % 2).astype(str)
    sg.tl.fit_metric(adata, "sample", "label", donor_key="donor", batch_key="batch", rng=0)
    pdata = sg.tl.sample_distances(adata, cv="auto")
    folds = pdata.uns["ggml"]["folds"]
    assert list(pdata.obs_names) == list(samples) and folds.max() == 4  # 5 donors of each class
    assert pdata.obs.assign(fold=folds).groupby("donor")["fold"].nunique().eq(1).all()
    sg.tl.fit_metric(adata, "sample", "label", donor_key="donor", rng=0)
    assert not np.allclose(matrix(sg.tl.sample_distances(adata, cv="auto")), matrix(pdata))  # batches are strata


def test_sketches(cohort):
    sg.pp.sketch(cohort, "sample", n_points=5, use_rep="X_pca", rng=0)
    sg.tl.fit_metric(cohort, "sample", "label", sketch_key="sketch", rng=0)
    sketched = sg.tl.sample_distances(cohort, cv="auto")
    whole = sg.tl.sample_distances(cohort, cv="auto", sketch_key=False)
    assert not np.allclose(matrix(sketched), matrix(whole))
    assert np.corrcoef(matrix(sketched).ravel(), matrix(whole).ravel())[0, 1] > 0.9
    assert "n_points" in sketched.obs and "sketch_error" not in sketched.obs and "n_points" not in whole.obs
    with pytest.raises(ValueError, match="A bound needs distances under one metric"):
        sg.get.distances(sketched, bounds=True)
    assert not sg.get.distances(whole, bounds=True).to_numpy().any()


def test_what_distances_say_of_the_labels(fitted, pdata, held_out):
    assert pdata.uns["ggml"]["status"] == "training"
    other = fitted[fitted.obs["sample"].isin(["p1", "p2"])].copy()
    other.obs["sample"] = "new_" + other.obs["sample"].astype(str)
    assert sg.tl.sample_distances(other).uns["ggml"]["status"] == "new"
    fixed = sg.tl.sample_distances(fitted, "sample", metric="euclidean")
    assert "status" not in fixed.uns["ggml"]
    assert sg.get.distances(held_out).attrs == {"metric": "learned", "status": "held_out"}


def test_maps_and_heatmaps_say_which_they_show(fitted, pdata, held_out, pyplot):
    fixed = sg.tl.sample_distances(fitted, "sample", metric="euclidean")
    for samples, title in ((held_out, "held-out distances"), (pdata, "training samples"), (fixed, "")):
        sg.tl.embed_samples(samples)
        assert sg.pl.sample_map(samples, color="label").get_title() == title
        assert sg.pl.distance_heatmap(samples).get_title() == title
        _, ax = pyplot.subplots()
        ax.set_title("mine")
        assert sg.pl.sample_map(samples, ax=ax).get_title() == "mine"
    held_out.uns["X_mds"]["status"] = "seen"
    with pytest.raises(ValueError, match=r"uns\['X_mds'\]\['status'\] must be one of 'training', 'held_out', 'new'"):
        sg.pl.sample_map(held_out)


def test_functions_of_distances(fitted, held_out):
    sg.tl.cluster_samples(held_out, 2)
    sg.tl.order_samples(held_out, "well")
    assert {"ggml_cluster", "ggml_pseudotime"} <= set(held_out.obs)
    frames = {"held out": sg.get.distances(held_out)}
    sg.tl.cross_validate(fitted, "sample", "label", methods=frames, cv=2, rng=0)
    assert "held out" in set(sg.get.scores(fitted)["method"])
    part = held_out[:5].copy()
    sg.tl.embed_samples(part)
    assert part.uns["X_mds"]["status"] == "held_out"


def test_functions_that_need_one_metric_refuse(fitted, pdata, held_out):
    with pytest.raises(ValueError, match=r"held-out: each pair .* A reference needs .*sample_distances, without cv"):
        sg.tl.make_reference(fitted, held_out, cv=None)
    with pytest.raises(ValueError, match=r"An explanation needs distances under one metric"):
        sg.tl.explain_distances(fitted, held_out)
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    sg.tl.embed_samples(held_out)
    reference.obsm["X_mds"], reference.uns["X_mds"] = held_out.obsm["X_mds"], held_out.uns["X_mds"]
    new = fitted.copy()
    new.obs["sample"] = "new_" + new.obs["sample"].astype(str)
    with pytest.raises(ValueError, match=r"obsm\['X_mds'\] is one of held-out distances.*embed_samples"):
        sg.tl.map_samples(new, reference)


def changed(fitted, case):
    if case == "labels":
        fitted.obs["label"] = fitted.obs["label"].astype(str)
        fitted.obs.loc[fitted.obs["sample"] == "p3", "label"] = "well"
    elif case == "samples":
        return fitted[fitted.obs["sample"] != "p3"].copy()
    elif case == "features":
        fitted.obsm["X_pca"] = fitted.obsm["X_pca"] * 1.1
    elif case == "entry":
        del fitted.uns["ggml"]["learned_from"]
    return fitted


@pytest.mark.parametrize(
    ("case", "arguments", "text"),
    [
        ("", {"cv": "auto", "metric": "euclidean", "sample_key": "sample"}, "cv='auto' is for the learned metric"),
        ("", {"cv": "auto", "checkpoint": "x.h5"}, "cannot be used with cv"),
        ("", {"rng": 0}, "rng=0 has no effect without cv"),
        ("", {"cv": "auto", "use_rep": "X"}, "use_rep='X', but the metric in uns.* was learned with use_rep='X_pca'"),
        ("", {"cv": 2}, "at least 3 are needed. Pass cv=4"),
        ("", {"cv": 5}, "cv=5 folds need at least 5 samples of every class"),
        ("labels", {"cv": "auto"}, "sample p3 had 'sick' and has 'well'"),
        ("samples", {"cv": "auto"}, r"Others: none; missing: p3"),
        ("features", {"cv": "auto"}, "X_pca|X_ggml"),
        ("entry", {"cv": "auto"}, "which it does not say. Fit it again"),
    ],
)
def test_refused_before_the_work(fitted, case, arguments, text, monkeypatch):
    monkeypatch.setattr("scggml._anndata._held_out.out_of_fold_distances", lambda *_, **__: pytest.fail("work"))
    with pytest.raises((ValueError, KeyError), match=text):
        sg.tl.sample_distances(changed(fitted, case), **arguments)


def test_a_projected_reference_is_refused(fitted, pdata):
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    new = fitted.copy()
    del new.uns["ggml"], new.obsm["X_ggml"], new.varm["ggml"]
    sg.tl.project(new, reference)
    with pytest.raises(KeyError, match="learned space of a reference.*Pass the AnnData that the metric was learned on"):
        sg.tl.sample_distances(new, cv="auto")
