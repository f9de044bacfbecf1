"""Bad input to `fit_metric`: a clear error before any work, and nothing written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg

FIRST = "p1"


def rows_of(adata, sample):
    return np.flatnonzero((adata.obs["sample"] == sample).to_numpy())


def missing_sample(adata):
    adata.obs.loc[adata.obs_names[3], "sample"] = np.nan


def missing_label(adata):
    adata.obs.loc[adata.obs_names[[3, 5]], "label"] = np.nan


def missing_text_label(adata):
    adata.obs["label"] = adata.obs["label"].astype(object)
    adata.obs.loc[adata.obs_names[4], "label"] = None


def missing_number_label(adata):
    adata.obs["label"] = adata.obs["label"].cat.codes.astype(float)
    adata.obs.loc[adata.obs_names[4], "label"] = np.nan


def two_labels(adata):
    adata.obs["label"] = adata.obs["label"].astype(object)
    adata.obs.iloc[rows_of(adata, FIRST)[0], adata.obs.columns.get_loc("label")] = "sick"


def one_class(adata):
    adata.obs["label"] = "well"


def lone_sample_of_a_class(adata):
    rare = adata.obs["sample"] == FIRST
    adata.obs["label"] = np.where(rare, "rare", adata.obs["label"].astype(str))


def one_cell(adata):
    adata.obs["sample"] = adata.obs["sample"].astype(object)
    adata.obs.iloc[rows_of(adata, FIRST)[1:], adata.obs.columns.get_loc("sample")] = "p2"


def empty_category(adata):
    adata.obs["sample"] = adata.obs["sample"].cat.add_categories(["ghost"])


def same_as_text(adata):
    names = adata.obs["sample"].cat.codes.astype(object)
    names.iloc[0] = str(names.iloc[0])
    adata.obs["sample"] = names


def text_for_missing(adata):
    adata.obs["label"] = adata.obs["label"].astype(object)
    adata.obs.loc[adata.obs_names[4], "label"] = "nan"


def masked_pca(adata):
    adata.obsm["X_pca"][3, 2] = -999
    adata.obsm["X_pca"] = np.ma.masked_equal(adata.obsm["X_pca"], -999)


def nan_in_x(adata):
    adata.X[3, 2] = np.nan
    adata.X[4, 2] = np.inf
    adata.X[5, 7] = -np.inf


def nan_in_dense_x(adata):
    adata.X = adata.X.toarray()
    nan_in_x(adata)
    adata.X[5, 7] = np.nan


def nan_in_pca(adata):
    adata.obsm["X_pca"][3, 2] = np.nan


def nan_in_data_frame(adata):
    adata.obsm["X_df"].iloc[3, 1] = np.nan


def nan_in_layer(adata):
    adata.layers["counts"][3, 2] = np.nan


def no_x(adata):
    adata.X = None


def all_constant(adata):
    adata.obsm["X_pca"][:] = 1.0


def flat_representation(adata):
    adata.obsm["X_pca"] = adata.obsm["X_pca"][:, :0]


def cube(adata):
    adata.obsm["X_pca"] = np.zeros((adata.n_obs, 2, 2))


def text_representation(adata):
    adata.obsm["X_pca"] = np.full((adata.n_obs, 2), "a")


def text_in_data_frame(adata):
    adata.obsm["X_df"]["u"] = "a"


def identical_samples(adata):
    first = rows_of(adata, FIRST)[:2]
    adata.obsm["X_same"] = adata.obsm["X_pca"].copy()
    for sample in adata.obs["sample"].cat.categories:
        rows = rows_of(adata, sample)
        adata.obsm["X_same"][rows] = adata.obsm["X_pca"][first[np.arange(len(rows)) % 2]]
    keep = np.sort(np.concatenate([rows_of(adata, s)[:8] for s in adata.obs["sample"].cat.categories]))
    adata._inplace_subset_obs(keep)


# each: what is done to the cells, the arguments, the error, and what its text must hold: name, what was found, remedy
CASES = {
    "sample_key missing": (None, {"sample_key": "donor"}, KeyError, ["sample_key='donor'", "sample, label, age"]),
    "label_key missing": (None, {"label_key": "state"}, KeyError, ["label_key='state'", "sample, label, age"]),
    "sample_key None": (None, {"sample_key": None}, TypeError, ["sample_key", "None", "column of obs"]),
    "label_key list": (None, {"label_key": ["label"]}, TypeError, ["label_key", "['label']", "column of obs"]),
    "sample NaN": (missing_sample, {}, ValueError, ["sample_key='sample'", "1 of 87", "cell3", "notna()"]),
    "label NaN": (missing_label, {}, ValueError, ["label_key='label'", "2 of 87", "cell3", "notna()"]),
    "label None": (missing_text_label, {}, ValueError, ["label_key='label'", "1 of 87", "cell4"]),
    "label NaN number": (missing_number_label, {}, ValueError, ["label_key='label'", "1 of 87", "cell4"]),
    "two labels": (two_labels, {}, ValueError, ["label_key='label'", "p1", "'sick'", "'well'", "a sample of its own"]),
    "one class": (one_class, {}, ValueError, ["label_key='label'", "'well'", "at least two classes"]),
    "class of one": (
        lone_sample_of_a_class,
        {},
        ValueError,
        ["label_key='label'", "rare", "at least 2", "filter_samp"],
    ),
    "one cell": (one_cell, {}, ValueError, ["at least 2 cells", "p1 (1)", "filter_samples"]),
    "no cells": (empty_category, {}, ValueError, ["sample_key='sample'", "without cells", "ghost", "remove_unused"]),
    "text for missing": (text_for_missing, {}, ValueError, ["label_key='label'", "'nan'", "1 of 87", "cell4", "isin"]),
    "masked": (masked_pca, {}, ValueError, ["obsm['X_pca']", "masked array", "1 of 435", "filled(numpy.nan)"]),
    "same as text": (same_as_text, {}, ValueError, ["sample_key='sample'", "same as text", "one type"]),
    "NaN in X": (nan_in_x, {"use_rep": "X"}, ValueError, ["X has 3", "g2 (2)", "g7 (1)", "Remove or impute"]),
    "NaN in dense X": (nan_in_dense_x, {"use_rep": "X"}, ValueError, ["X has 3", "g2 (2)", "g7 (1)", "Remove or"]),
    "NaN in obsm": (nan_in_pca, {}, ValueError, ["obsm['X_pca']", "1 values", "feature 2 (1)", "Remove or impute"]),
    "NaN in frame": (nan_in_data_frame, {"use_rep": "X_df"}, ValueError, ["obsm['X_df']", "v (1)", "Remove or impute"]),
    "NaN in layer": (nan_in_layer, {"layer": "counts"}, ValueError, ["layers['counts']", "g2 (1)", "Remove or impute"]),
    "X None": (no_x, {"use_rep": "X"}, ValueError, ["X is None", "use_rep", "layer"]),
    "use_rep missing": (None, {"use_rep": "X_umap"}, KeyError, ["use_rep='X_umap'", "X_pca, X_df", "'X'"]),
    "layer missing": (None, {"layer": "raw"}, KeyError, ["layer='raw'", "counts"]),
    "layer and use_rep": (
        None,
        {"layer": "counts", "use_rep": "X_pca"},
        ValueError,
        ["layer='counts'", "'X_pca'", "one"],
    ),
    "zero width": (flat_representation, {}, ValueError, ["obsm['X_pca']", "(87, 0)"]),
    "cube": (cube, {}, ValueError, ["obsm['X_pca']", "(87, 2, 2)"]),
    "text in obsm": (text_representation, {}, TypeError, ["obsm['X_pca']", "numeric", "<U1"]),
    "text column": (
        text_in_data_frame,
        {"use_rep": "X_df"},
        TypeError,
        ["obsm['X_df']", "numeric", "other columns: u"],
    ),
    "all constant": (all_constant, {}, ValueError, ["no feature varies"]),
    "identical samples": (
        identical_samples,
        {"use_rep": "X_same"},
        ValueError,
        ["all samples hold the same cells", "no difference"],
    ),
    "n_comps 0": (None, {"n_comps": 0}, ValueError, ["n_comps", "at least 1", "found 0"]),
    "n_comps fractional": (None, {"n_comps": 2.5}, TypeError, ["n_comps", "integer", "2.5"]),
    "n_comps True": (None, {"n_comps": True}, TypeError, ["n_comps", "integer", "True"]),
    "n_comps large": (None, {"n_comps": 6}, ValueError, ["n_comps", "at most 5, the number of features", "found 6"]),
    "n_comps large X": (None, {"n_comps": 13, "use_rep": "X"}, ValueError, ["n_comps", "at most 12", "found 13"]),
    "rng": (None, {"rng": -1}, ValueError, ["rng", "not negative", "found -1"]),
    "rng text": (None, {"rng": "seed"}, TypeError, ["rng", "integer", "'seed'"]),
    "n_jobs": (None, {"n_jobs": 0}, ValueError, ["n_jobs", "must not be 0"]),
    "n_jobs float": (None, {"n_jobs": 1.5}, TypeError, ["n_jobs", "integer", "1.5"]),
    "key_added slash": (None, {"key_added": "a/b"}, ValueError, ["key_added", "without '/'", "'a/b'"]),
    "key_added empty": (None, {"key_added": ""}, ValueError, ["key_added", "non-empty", "''"]),
    "key_added number": (None, {"key_added": 3}, TypeError, ["key_added", "text", "3"]),
    "label_kind": (None, {"label_kind": "grade"}, ValueError, ["label_kind", "class, ordinal, continuous", "'grade'"]),
    "no order": (None, {"label_kind": "ordinal"}, ValueError, ["label_key='label'", "no order", "ordered=True"]),
    "text": (None, {"label_kind": "continuous"}, TypeError, ["label_key='label'", "numbers", "'ordinal'"]),
    "validate": (None, {"validate": "yes"}, TypeError, ["validate", "True or False", "'yes'"]),
    "copy": (None, {"copy": "yes"}, TypeError, ["copy", "True or False", "'yes'"]),
    "unknown keyword": (None, {"n_components": 3}, TypeError, ["n_components", "unexpected keyword"]),
    "of the learner": (None, {"whitening": 0.5}, TypeError, ["whitening", "unexpected keyword"]),
}


def no_work(*args, **kwargs):
    raise AssertionError("training started before the input was checked")


@pytest.mark.filterwarnings("ignore:no gene weights")
@pytest.mark.parametrize("case", CASES)
def test_bad_input(cohort, assert_same_anndata, monkeypatch, case):
    change, arguments, error, texts = CASES[case]
    if change is not None:
        change(cohort)
    if case not in ("all constant", "identical samples"):  # those only show in the transport problems
        monkeypatch.setattr("scggml.estimators._ground_metric.train", no_work)
    before = cohort.copy()
    for given in (cohort, cohort[:]):
        if given.is_view and case == "no cells":  # a view drops categories without cells by itself
            continue
        as_view = given.is_view
        with pytest.raises(error) as caught:
            sg.tl.fit_metric(given, **{"sample_key": "sample", "label_key": "label", "rng": 0, **arguments})
        text = str(caught.value.args[0])
        for part in texts:
            assert part in text
        assert "\n" not in text and not text.startswith("\"'")
        assert given.is_view == as_view
        assert_same_anndata(cohort, before)


BAD_LEARNERS = [  # settings of the learner, those of its refinement or solver, the error, and what its text must hold
    ({"n_comps": 6}, {}, ValueError, ["n_comps", "at most 5, the number of features", "found 6"]),
    ({"ridge": -0.1}, {}, ValueError, ["ridge", "at least 0", "found -0.1"]),
    ({"ridge": "large"}, {}, (ValueError, TypeError), ["ridge", "'large'"]),
    ({"power": np.inf}, {}, ValueError, ["power", "finite", "inf"]),
    ({"whitening": 1.5}, {}, ValueError, ["whitening", "at most 1", "1.5"]),
    ({"n_sweeps": 0}, {}, ValueError, ["n_sweeps", "at least 1", "found 0"]),
    ({"scale": "gene"}, {}, ValueError, ["scale", "auto, feature, global, None", "'gene'"]),
    ({"solver": "sinkhorn"}, {}, (ValueError, TypeError), ["solver", "Sinkhorn", "'sinkhorn'"]),
    ({"solver": sg.Sinkhorn}, {"reg": 0}, ValueError, ["reg", "greater than 0", "found 0"]),
    ({"refine": sg.Refinement}, {"margin": -1}, ValueError, ["margin", "at least 0", "found -1"]),
    ({"refine": sg.Refinement}, {"margin": np.nan}, ValueError, ["margin", "finite", "nan"]),
    ({"refine": sg.Refinement}, {"margin": "1"}, TypeError, ["margin", "number", "'1'"]),
    ({"refine": sg.Refinement}, {"reg": -0.1}, ValueError, ["reg", "at least 0", "found -0.1"]),
    ({"refine": sg.Refinement}, {"lr": 0}, ValueError, ["lr", "greater than 0", "found 0"]),
    ({"refine": sg.Refinement}, {"tol": -1}, ValueError, ["tol", "at least 0", "found -1"]),
    ({"refine": sg.Refinement}, {"max_iter": 0}, ValueError, ["max_iter", "at least 1", "found 0"]),
    ({"refine": sg.Refinement}, {"max_iter": 5.0}, TypeError, ["max_iter", "integer", "5.0"]),
    ({"refine": sg.Refinement}, {"minibatch": 0}, ValueError, ["minibatch", "at least 1", "found 0"]),
    ({"refine": sg.Refinement}, {"max_cells": 1}, ValueError, ["max_cells", "at least 2", "found 1"]),
    ({"refine": sg.Refinement}, {"triplets": "some"}, ValueError, ["triplets", "'auto', 'all' or a number", "'some'"]),
    ({"refine": sg.Refinement}, {"triplets": 0}, ValueError, ["triplets", "at least 1", "found 0"]),
    ({"refine": sg.Refinement}, {"start": "zeros"}, ValueError, ["start", "discriminant, random", "'zeros'"]),
    ({"refine": sg.Refinement}, {"regularizer": "l3"}, ValueError, ["regularizer", "frobenius", "'l3'"]),
    ({"refine": sg.Refinement}, {"relative": "yes"}, TypeError, ["relative", "True or False", "'yes'"]),
]


def test_bad_learners(cohort, assert_same_anndata, monkeypatch):
    monkeypatch.setattr("scggml.estimators._ground_metric.train", no_work)
    before = cohort.copy()
    for settings, parts, error, texts in BAD_LEARNERS:
        with pytest.raises(error) as caught:
            made = {name: value(**parts) if parts else value for name, value in settings.items()}
            sg.tl.fit_metric(cohort, "sample", "label", learner=sg.GroundMetricLearner(**made))
        for part in texts:
            assert part in str(caught.value), (settings, parts)
    assert_same_anndata(cohort, before)


def test_cells_that_are_no_anndata(cohort):
    for found in (cohort.to_df(), None, cohort.X):
        with pytest.raises(TypeError, match=f"adata must be an AnnData, found {type(found).__name__}"):
            sg.tl.fit_metric(found, "sample", "label")


def test_empty_anndata(cohort):
    with pytest.raises(ValueError, match="adata has no observations"):
        sg.tl.fit_metric(cohort[:0].copy(), "sample", "label")


def test_no_genes(cohort):
    with pytest.raises(ValueError, match=r"X must have cells x features, found shape \(87, 0\)"):
        sg.tl.fit_metric(cohort[:, :0].copy(), "sample", "label", use_rep="X")


def test_arguments_after_the_third_are_keywords(cohort):
    with pytest.raises(TypeError, match="positional"):
        sg.tl.fit_metric(cohort, "sample", "label", "X_pca")


def test_error_half_way_leaves_adata_as_it_was(cohort, assert_same_anndata, monkeypatch):
    before = cohort.copy()
    view = cohort[:]

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("scggml.core.metric._training.evaluate", interrupted)
    for given in (cohort, view):
        with pytest.raises(KeyboardInterrupt):
            sg.tl.fit_metric(given, "sample", "label")
    assert view.is_view
    assert_same_anndata(cohort, before)


def test_failed_refit_keeps_the_earlier_fit(fitted, assert_same_anndata):
    sg.tl.rank_genes(fitted)
    before = fitted.copy()
    with pytest.raises(ValueError, match="n_comps must be .*, found 99"):
        sg.tl.fit_metric(fitted, "sample", "label", n_comps=99)
    assert_same_anndata(fitted, before)


def test_nan_in_x_behind_the_pcs_only_costs_the_gene_weights(cohort, fitted):
    nan_in_x(cohort)
    with pytest.warns(UserWarning, match=r"no gene weights for the metric on obsm\['X_pca'\]: X has 3 .*g2 \(2\)"):
        sg.tl.fit_metric(cohort, "sample", "label", rng=0)
    assert "ggml" not in cohort.varm
    np.testing.assert_array_equal(cohort.obsm["X_ggml"], fitted.obsm["X_ggml"])


def test_infinities_of_both_signs(cohort):
    cohort.X = cohort.X.toarray()
    cohort.X[3, 2], cohort.X[4, 2] = np.inf, -np.inf
    with pytest.raises(ValueError, match=r"X has 2 .*g2 \(2\)"):
        sg.tl.fit_metric(cohort, "sample", "label", use_rep="X")


def test_no_x_behind_the_pcs(cohort):
    cohort.X = None
    with pytest.warns(UserWarning, match="no gene weights"):
        sg.tl.fit_metric(cohort, "sample", "label")
    assert "X_ggml" in cohort.obsm and "ggml" not in cohort.varm


def test_representation_of_the_wrong_length_cannot_be_set_or_used(cohort):
    # AnnData itself refuses it, so that it cannot come in
    with pytest.raises(ValueError, match="X_short"):
        cohort.obsm["X_short"] = np.zeros((cohort.n_obs - 1, 3))


def test_duplicate_column_names(cohort):
    cohort.obs = pd.concat([cohort.obs, cohort.obs[["sample"]]], axis=1)
    with pytest.raises(ValueError, match="sample_key='sample'"):
        sg.tl.fit_metric(cohort, "sample", "label")


def test_sparse_representation_in_obsm(cohort, fitted):
    cohort.obsm["X_pca"] = sp.csr_matrix(cohort.obsm["X_pca"])
    sg.tl.fit_metric(cohort, "sample", "label", rng=0)
    assert type(cohort.obsm["X_ggml"]) is np.ndarray
    np.testing.assert_allclose(cohort.obsm["X_ggml"], fitted.obsm["X_ggml"], atol=1e-9)
