"""Batches, paired designs and ordered labels, from the fit to its scores."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scggml as sg
from scggml.core.metric._pair_moments import PairMoments
from scggml.core.metric._targets import Targets

SETTINGS = {"methods": ["ggml", "euclidean"], "cv": 3, "rng": 0}


def cohort(labels, *, shift=1.0, n_cells=10, seed=0, **columns):
    """Samples whose first gene follows the label; the second follows the batch."""
    rng = np.random.default_rng(seed)
    code = np.unique(np.asarray(labels), return_inverse=True)[1]
    batch = np.unique(columns.get("batch", ["a"] * len(labels)), return_inverse=True)[1]
    sample = np.repeat(np.arange(len(labels)), n_cells)
    x = rng.normal(size=(len(sample), 4))
    x[:, 0] += shift * code[sample]
    x[:, 1] += 5 * batch[sample]
    obs = pd.DataFrame({"sample": [f"s{i:02d}" for i in sample], "label": np.asarray(labels)[sample]})
    for name, values in columns.items():
        obs[name] = np.asarray(values)[sample]
    return ad.AnnData(x, obs=obs.set_index(obs.index.map(lambda i: f"c{i}")))


@pytest.fixture
def adata():
    """12 samples, 6 per class, most of a batch of one class."""
    return cohort(list("AB" * 6), batch=["xy"[i % 2 if i < 10 else (i + 1) % 2] for i in range(12)], shift=0.8)


def test_what_differs_between_batches_weighs_less(adata):
    sg.tl.fit_metric(adata, "sample", "label")
    blind = sg.get.gene_weights(adata)["weight"]
    sg.tl.fit_metric(adata, "sample", "label", batch_key="batch")
    aware = sg.get.gene_weights(adata)["weight"]
    assert aware["1"] / aware["0"] < 0.3 * blind["1"] / blind["0"]
    assert adata.uns["ggml"]["params"]["batch_key"] == "batch" and "donor_key" not in adata.uns["ggml"]["params"]


def test_fit_is_that_of_the_estimator_with_strata(adata):
    adata.obs["donor"] = np.where(adata.obs["sample"].isin(["s00", "s01", "s02", "s10", "s11"]), "u", "v")
    sg.tl.fit_metric(adata, "sample", "label", batch_key="batch", donor_key="donor")
    names = sorted(adata.obs["sample"].unique())
    first = adata.obs.drop_duplicates("sample").set_index("sample").loc[names]
    clouds = [adata.X[(adata.obs["sample"] == name).to_numpy()] for name in names]
    learner = sg.GroundMetricLearner().fit(clouds, first["label"], first["batch"] + first["donor"])
    np.testing.assert_allclose(adata.uns["ggml"]["components"], learner.metric_.components, atol=1e-10)
    assert adata.uns["ggml"]["params"]["donor_key"] == "donor"


def test_donors_with_one_label_each_are_compared_with_one_another(adata):
    """Labels are compared within the donors that have several, and between all others."""
    sg.tl.fit_metric(adata, "sample", "label")
    blind = adata.uns["ggml"]["components"]
    adata.obs["donor"] = adata.obs["label"] + (adata.obs["sample"] < "s06").astype(str)
    sg.tl.fit_metric(adata, "sample", "label", donor_key="donor")
    np.testing.assert_array_equal(adata.uns["ggml"]["components"], blind)
    adata.obs.loc[adata.obs["sample"].isin(["s00", "s01"]), "donor"] = "both"
    sg.tl.fit_metric(adata, "sample", "label", donor_key="donor")
    names = sorted(adata.obs["sample"].unique())
    clouds = [adata.X[(adata.obs["sample"] == name).to_numpy()] for name in names]
    learner = sg.GroundMetricLearner().fit(clouds, list("AB" * 6), [1, 1] + 10 * [0])
    np.testing.assert_allclose(adata.uns["ggml"]["components"], learner.metric_.components, atol=1e-10)
    assert not np.allclose(adata.uns["ggml"]["components"], blind)


def test_confounded_batches_are_refused(adata, assert_same_anndata):
    before = adata.copy()
    with pytest.raises(ValueError, match=r"batch_key='label' are confounded"):
        sg.tl.fit_metric(adata, "sample", "label", batch_key="label")
    assert_same_anndata(adata, before)


def test_missing_batches_and_several_of_a_sample(adata, assert_same_anndata):
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 2, "u", "v")
    adata.obs["gap"] = adata.obs["batch"].where(adata.obs["sample"] != "s03")
    before = adata.copy()
    with pytest.raises(ValueError, match="one value of batch_key='half'"):
        sg.tl.fit_metric(adata, "sample", "label", batch_key="half")
    with pytest.raises(ValueError, match="donor_key='gap' has missing values in 10 of 120 cells"):
        sg.tl.fit_metric(adata, "sample", "label", donor_key="gap")
    assert_same_anndata(adata, before)


@pytest.mark.parametrize(
    "convert",
    [lambda c: c.map({"x": 1, "y": 2}), lambda c: c == "x", lambda c: c.astype("category").cat.add_categories("z")],
)
def test_types_of_batches(adata, convert):
    sg.tl.fit_metric(adata, "sample", "label", batch_key="batch")
    expected = adata.uns["ggml"]["components"]
    adata.obs["batch"] = convert(adata.obs["batch"])
    sg.tl.fit_metric(adata, "sample", "label", batch_key="batch")
    np.testing.assert_array_equal(adata.uns["ggml"]["components"], expected)


def test_bootstraps_use_the_stored_strata(adata, monkeypatch):
    seen = []
    module = sys.modules["scggml.tl._rank_genes"]
    real = module.bootstrap_metrics
    monkeypatch.setattr(
        module, "bootstrap_metrics", lambda m, targets, *a, **k: (seen.append(targets), real(m, targets, *a, **k))[1]
    )
    sg.tl.fit_metric(adata, "sample", "label", batch_key="batch")
    sg.tl.rank_genes(adata, n_boot=3, rng=0)
    batches = adata.obs.drop_duplicates("sample").sort_values("sample")["batch"]
    assert list(seen[0].strata) == list((batches == "y").astype(int))
    assert adata.uns["ggml_rank_genes"].index[0] == "0"


def test_a_class_alone_in_its_batch_is_warned_about_once():
    adata = cohort(list("AABBCCC"), batch=list("xxxxyyy"))
    with pytest.warns(UserWarning, match="1 of 2 batches") as record:
        sg.tl.fit_metric(adata, "sample", "label", batch_key="batch")
    about_batches = [w for w in record if "1 of 2 batches" in str(w.message)]
    assert len(about_batches) == 1 and all(w.filename == __file__ for w in record)
    sg.tl.rank_genes(adata, n_boot=3, rng=0)
    assert len(adata.uns["ggml_stability"]["alignment"]) == 3


def test_a_paired_design_held_out_by_donor():
    adata = cohort(list("AB" * 5), donor=np.repeat(list("uvwxy"), 2), shift=3.0)
    sg.tl.fit_metric(adata, "sample", "label", donor_key="donor", validate=True)
    found = adata.uns["ggml"]["validation"]
    assert found["n_splits"] == 5 and found["score"] == "balanced_accuracy" and found["value"] == 1
    # a donor that is also the batch is never among the training samples
    scores = sg.tl.cross_validate(
        adata, "sample", "label", batch_key="donor", donor_key="donor", methods=["ggml"], rng=0
    )
    assert "batch" not in set(scores["classifier"])
    assert (scores.query("classifier == 'class_mean' and score == 'accuracy'")["value"] == 1).all()


@pytest.mark.parametrize(("kind", "fmt"), [("class", "h5ad"), ("ordinal", "zarr"), ("continuous", "h5ad")])
@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_cross_validation_with_batches_survives_files(kind, fmt, tmp_path, pyplot):
    labels = np.arange(12) % 3 + (np.arange(12) / 100 if kind == "continuous" else 0)
    adata = cohort(labels, batch=list("xxxyyy" * 2))
    sg.tl.cross_validate(adata, "sample", "label", label_kind=kind, batch_key="batch", **SETTINGS)
    table = sg.get.scores(adata, baseline="euclidean")
    found = table[table["classifier"] == "batch"]
    assert set(found["score"]) == {"accuracy", "balanced_accuracy", "macro_f1"} and found["only_method"].isna().all()
    assert adata.uns["ggml_cross_validation"]["params"]["batch_key"] == "batch"
    path = tmp_path / f"a.{fmt}"
    getattr(adata, f"write_{fmt}")(path)
    back = getattr(ad, f"read_{fmt}")(path)
    pd.testing.assert_frame_equal(sg.get.scores(back, baseline="euclidean"), table)
    ax = sg.pl.cross_validation(back, classifier="batch", score="balanced_accuracy")
    assert ax.get_xlabel() == "balanced accuracy of batch predictions"
    ax = sg.pl.cross_validation(back, classifier="batch", score="accuracy", baseline="euclidean")
    assert not ax.texts  # no discordant pairs
    if kind != "class":
        ax = sg.pl.cross_validation(back, score="mae")
        value = table.query("score == 'mae'").set_index("method")["value"]
        assert [tick.get_text() for tick in ax.get_yticklabels()][-1] == value.idxmin()  # the best on top
        assert ax.get_xlabel() == "mean absolute error of held-out samples"
    expected = "balanced accuracy" if kind == "class" else "spearman"
    assert expected in sg.pl.cross_validation(back, baseline="euclidean").get_xlabel()


@pytest.mark.filterwarnings("ignore:the learned metric is not better")
@pytest.mark.parametrize(
    ("kind", "score"), [("ordinal", "spearman"), ("continuous", "spearman"), ("class", "balanced_accuracy")]
)
def test_validation_of_ordered_labels_and_batches(kind, score):
    labels = np.arange(12) % 3 + (np.arange(12) / 100 if kind == "continuous" else 0)
    adata = cohort(labels, batch=list("xxxyyy" * 2), shift=2.0)
    settings = {"label_kind": kind, "batch_key": "batch", "rng": 0}
    sg.tl.fit_metric(adata, "sample", "label", validate=True, **settings)
    found = adata.uns["ggml"]["validation"]
    assert found["score"] == score and found["value"] > 0.8 and found["n_splits"] == 12
    sg.tl.cross_validate(adata, "sample", "label", methods=["ggml"], **settings)
    table = sg.get.scores(adata).query("classifier in ['class_mean', 'neighbors']").set_index("score")
    assert found["value"] == pytest.approx(table["value"][score])
    with_validation = adata.uns["ggml"]["components"]
    sg.tl.fit_metric(adata, "sample", "label", **settings)
    np.testing.assert_array_equal(adata.uns["ggml"]["components"], with_validation)


def test_folds_that_leave_nothing_to_compare_are_refused_before_any_work(assert_same_anndata):
    adata = cohort(list("AAABBB"), batch=list("xyyxzz"))  # without s00 or s03, no batch holds both classes
    before = adata.copy()
    with (
        pytest.warns(UserWarning, match="2 of 3 batches"),
        pytest.raises(ValueError, match=r"methods\['ggml'\] cannot be learned without the samples of fold 0 \(s00\)"),
    ):
        sg.tl.cross_validate(adata, "sample", "label", batch_key="batch", methods=["ggml"])
    assert_same_anndata(adata, before)


def test_separation_within_batches():
    adata = cohort(list("AB" * 6), batch=["xy"[i % 2 if i < 8 else (i + 1) % 2] for i in range(12)])
    table = sg.tl.separation_test(adata, "sample", "label", batch_key="batch", n_permutations=49, rng=0)
    assert table.notna().all(axis=None)
    blind = sg.tl.separation_test(adata, "sample", "label", n_permutations=49, rng=0)
    assert table.loc["learned", "statistic"] != blind.loc["learned", "statistic"]
    assert adata.uns["ggml_separation"]["params"].get("batch_key") is None


def test_separation_needs_batches_that_are_left_when_a_sample_is_held_out(assert_same_anndata):
    adata = cohort(["sick"] * 4 + ["well"] * 3, batch=list("xyyyxxx"))
    before = adata.copy()
    with (
        pytest.warns(UserWarning, match="1 of 2 batches"),
        pytest.raises(
            ValueError, match="when sample s00 is held out, .* no two comparable samples with different labels"
        ),
    ):
        sg.tl.separation_test(adata, "sample", "label", batch_key="batch", n_permutations=19)
    assert_same_anndata(adata, before)
    # what it keeps from happening
    moments = PairMoments(np.ones((7, 7, 1)) - np.eye(7)[..., None], 1)
    targets = Targets.of_classes(np.array([0] * 4 + [1] * 3), np.array([0, 1, 1, 1, 0, 0, 0]))
    within, between = moments.moments_without_each(targets)
    assert not between[0].any() and between[1:4].all()


def test_separation_with_one_mixed_batch_that_is_large_enough():
    for labels, batch, alone in (("AABBAAB", "xxxxyyz", "2 of 3"), ("ABCAABBCC", "xxxyyzzuu", "3 of 4")):
        adata = cohort(list(labels), batch=list(batch))
        with (
            pytest.warns(UserWarning, match=rf"{alone} batches of batch_key='batch' hold one class"),
            pytest.warns(UserWarning, match="only 6 permutations of the labels are possible"),
        ):
            table = sg.tl.separation_test(adata, "sample", "label", batch_key="batch", n_permutations=19, rng=0)
        assert np.isfinite(table["statistic"]).all()
