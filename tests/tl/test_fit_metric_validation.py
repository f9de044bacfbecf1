"""Held-out scores of `fit_metric(validate=True)`: those of `cross_validate` and `tune`, and by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scggml as sg


def test_validation_is_that_of_a_cross_validation_with_the_same_settings(tmp_path):
    adata = sg.datasets.simulated_cohort(n_samples=12, n_cells=25, n_genes=60, rng=0)
    adata.X = adata.X.log1p()
    settings = {"use_rep": "X", "learner": sg.GroundMetricLearner(ridge=0.5), "rng": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.fit_metric(adata, "sample", "label", validate=True, **settings)
        plain = adata.copy()
        sg.tl.fit_metric(plain, "sample", "label", **settings)
    np.testing.assert_array_equal(adata.obsm["X_ggml"], plain.obsm["X_ggml"])
    assert "validation" not in plain.uns["ggml"]
    learner = sg.GroundMetricLearner(scale="feature", ridge=0.5)
    sg.tl.cross_validate(adata, "sample", "label", methods={"m": learner, "euclidean": "euclidean"}, use_rep="X", rng=7)
    table = sg.get.scores(adata, baseline="euclidean").query(
        "score == 'balanced_accuracy' and classifier == 'class_mean'"
    )
    table = table.set_index("method")
    found = adata.uns["ggml"]["validation"]
    assert found["score"] == "balanced_accuracy"
    assert found["euclidean"] == pytest.approx(table.loc["euclidean", "value"])
    assert [found[name] for name in ("value", "ci_low", "ci_high")] == pytest.approx(
        table.loc["m", ["value", "ci_low", "ci_high"]].tolist()
    )
    discordant = table.loc["m", ["only_method", "only_baseline"]].tolist()
    assert [found["only_learned"], found["only_euclidean"]] == discordant
    assert found["p_value"] == pytest.approx(table.loc["m", "p_value"])
    assert found["n_splits"] == 12
    apart = sg.get.scores(adata, baseline="euclidean").query("score == 'separation'").set_index("method")
    assert found["separation"] == pytest.approx(apart.loc["m", "value"])
    assert found["euclidean_separation"] == pytest.approx(apart.loc["euclidean", "value"])
    assert [found["difference_low"], found["difference_high"]] == pytest.approx(
        apart.loc["m", ["difference_low", "difference_high"]].tolist()
    )
    adata.write_h5ad(tmp_path / "a.h5ad")


def paired_cohort():
    """Two samples of each of six donors, treated and not; donors differ more than treatments."""
    rng = np.random.default_rng(2)
    donor = np.repeat(np.arange(6), 2)
    treated = np.tile([0, 1], 6)
    centre = np.zeros((12, 3))
    centre[:, 0] = 2.0 * treated + 3 * rng.normal(size=6)[donor]
    centre[:, 1] = 0.7 * treated + rng.normal(size=12)
    x = rng.normal(size=(12, 12, 3)) + centre[:, None]
    obs = pd.DataFrame(
        {
            "sample": np.repeat([f"s{i:02d}" for i in range(12)], 12),
            "label": np.repeat(np.array(["control", "treated"])[treated], 12),
            "donor": np.repeat([f"d{i}" for i in donor], 12),
        },
        index=[f"c{i}" for i in range(144)],
    )
    return AnnData(x.reshape(-1, 3), obs=obs)


@pytest.mark.filterwarnings("ignore:the learned metric is not better")
@pytest.mark.filterwarnings("ignore:transport between these samples depends")
def test_all_functions_score_the_same_metric_of_paired_donors():
    adata = paired_cohort()
    settings = {"ridge": 0.3, "whitening": 0.5, "power": 1.0}
    learner, shared = sg.GroundMetricLearner(**settings), {"donor_key": "donor", "rng": 0}
    sg.tl.fit_metric(adata, "sample", "label", learner=learner, validate=True, **shared)
    sg.tl.cross_validate(adata, "sample", "label", methods={"m": learner}, **shared)
    grid = {name: [value] for name, value in settings.items()}
    sg.tl.tune(adata, "sample", "label", grid=grid, cv="leave_one_out", **shared)
    entries = [adata.uns["ggml"]["validation"], adata.uns["ggml_cross_validation"], adata.uns["ggml_tuning"]]
    own = "classifier == 'class_mean' and method != 'euclidean'"
    tables = [entry["predictions"].query(own).set_index("sample") for entry in entries]
    predicted = [table["predicted"].astype(str).sort_index() for table in tables]
    assert len(predicted[0]) == 12
    for table, other in zip(tables[1:], predicted[1:], strict=True):
        assert other.tolist() == predicted[0].tolist() and list(other.index) == list(predicted[0].index)
        for name in ("score_0", "score_1"):  # and not only the classes
            np.testing.assert_allclose(table[name].sort_index(), tables[0][name].sort_index(), rtol=1e-12)
    # by hand: each donor is held out, labels are compared within donors, and the nearer class mean is predicted
    assert adata.uns["ggml"]["validation"]["n_splits"] == 6
    first = adata.obs.drop_duplicates("sample").set_index("sample").sort_index()
    clouds = [adata.X[(adata.obs["sample"] == name).to_numpy()] for name in first.index]
    labels, donors = first["label"].to_numpy(), first["donor"].to_numpy()
    guesses = []
    for strata in (donors, None):
        guess = pd.Series("", index=first.index)
        for donor in np.unique(donors):
            held, kept = np.flatnonzero(donors == donor), np.flatnonzero(donors != donor)
            given = sg.GroundMetricLearner(scale="feature", **settings)
            given.fit([clouds[i] for i in kept], labels[kept], None if strata is None else strata[kept])
            found = given.pairwise_distances([clouds[i] for i in held], [clouds[i] for i in kept])
            means = np.stack(
                [np.sort(found[:, labels[kept] == c], axis=1)[:, :3].mean(axis=1) for c in np.unique(labels)]
            )
            guess.iloc[held] = np.unique(labels)[means.argmin(axis=0)]
        guesses.append(guess)
    assert predicted[0].tolist() == guesses[0].tolist()
    assert predicted[0].tolist() != guesses[1].tolist()  # the pairing matters here


@pytest.mark.filterwarnings("ignore:transport between these samples depends")
def test_a_metric_that_does_not_help_is_warned_about():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 15, 4)) + 2 * rng.normal(size=(12, 1, 4))
    obs = pd.DataFrame(
        {"sample": np.repeat([f"s{i:02d}" for i in range(12)], 15), "label": np.repeat(["a", "b"] * 6, 15)},
        index=[f"c{i}" for i in range(180)],
    )
    adata = AnnData(x.reshape(-1, 4), obs=obs)
    with pytest.warns(
        UserWarning, match=r"not better .*: balanced accuracy 0\.\d\d, Euclidean 0\.\d\d \(\d+ samples .*, \d+ with"
    ) as record:
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", validate=True, rng=0)
    assert record[0].filename == __file__
    assert adata.uns["ggml"]["validation"]["value"] <= adata.uns["ggml"]["validation"]["euclidean"]


def test_validation_is_refused_where_nothing_can_be_held_out(fitted):
    few = fitted[fitted.obs["sample"].isin(_two_of_each_class(fitted))].copy()
    for slot in (few.uns, few.obsm, few.varm):
        for key in list(slot):
            del slot[key]
    with pytest.raises(ValueError, match="leaves fewer than 2 training samples"):
        sg.tl.fit_metric(few, "sample", "label", use_rep="X", validate=True)
    assert "ggml" not in few.uns


def _two_of_each_class(adata):
    first = adata.obs.drop_duplicates("sample")
    return first.groupby("label", observed=True)["sample"].head(2)
