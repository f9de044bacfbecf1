"""What `fit_metric` writes, against projections and fits done by hand."""

from __future__ import annotations

import inspect
import logging
import warnings
from importlib.metadata import version

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.spatial.distance import pdist
from sklearn.base import clone

import scggml as sg
from scggml._anndata._learners import learner_of

ENTRY_KEYS = {
    "version", "params", "components", "scale", "loss_history", "n_iter", "converged", "gap", "solver", "classes",
}  # fmt: skip


def fit(adata, **kwargs):
    return sg.tl.fit_metric(adata, "sample", "label", rng=0, **kwargs)


def dense(x):
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)


def metric(adata, key="ggml"):
    """The linear map on raw features."""
    return adata.uns[key]["components"] / adata.uns[key]["scale"]


def by_hand(points, adata, **kwargs):
    """The estimator on arrays that are cut out here, in the order of sample names."""
    names = sorted(adata.obs["sample"].astype(str).unique())
    where = [(adata.obs["sample"].astype(str) == name).to_numpy() for name in names]
    labels = [str(adata.obs["label"][rows].iloc[0]) for rows in where]
    return sg.GroundMetricLearner(rng=0, **kwargs).fit([points[rows] for rows in where], labels)


def test_returns_none_and_writes_only_documented_keys(cohort, assert_same_anndata):
    before = cohort.copy()
    assert fit(cohort) is None
    for slot, name in (("uns", "ggml"), ("obsm", "X_ggml"), ("varm", "ggml")):
        assert name not in getattr(before, slot)
        getattr(cohort, slot).pop(name)
    assert_same_anndata(before, cohort)


def test_entry_on_pca(fitted):
    entry = fitted.uns["ggml"]
    assert set(entry) == ENTRY_KEYS  # PCs have no names
    k, d = entry["components"].shape
    assert d == fitted.obsm["X_pca"].shape[1] and 1 <= k <= d
    assert entry["scale"].shape == (d,) and (entry["scale"] > 0).all()
    assert entry["components"].dtype == entry["scale"].dtype == entry["loss_history"].dtype == np.float64
    assert type(entry["n_iter"]) is int and type(entry["converged"]) is bool and type(entry["gap"]) is float
    assert entry["loss_history"].shape == (entry["n_iter"],)
    assert entry["converged"] and 0 <= entry["gap"] < 1e-9
    assert list(entry["classes"]) == ["sick", "well"]
    assert entry["solver"] == "exact" and entry["version"] == version("scggml")
    assert entry["params"]["sample_key"] == "sample" and entry["params"]["label_key"] == "label"
    assert entry["params"]["use_rep"] == "X_pca" and entry["params"]["learner"]["scale"] == "global"
    assert "layer" not in entry["params"] and "n_comps" not in entry["params"]["learner"]  # None is not written


def test_entry_on_x_names_features(fitted_x):
    entry = fitted_x.uns["ggml"]
    assert set(entry) == ENTRY_KEYS | {"features"}
    assert list(entry["features"]) == list(fitted_x.var_names)
    assert entry["params"]["use_rep"] == "X" and entry["params"]["learner"]["scale"] == "feature"
    assert entry["components"].shape[1] == fitted_x.n_vars


def test_global_scale_is_one_number(fitted):
    pca, scale = fitted.obsm["X_pca"], fitted.uns["ggml"]["scale"]
    codes = fitted.obs["sample"].cat.codes.to_numpy()
    weights = 1 / np.bincount(codes)[codes] / 8  # samples count alike
    variance = weights @ (pca - weights @ pca) ** 2
    np.testing.assert_allclose(scale, np.sqrt(variance.mean()), rtol=1e-10)


def test_feature_scale_is_the_standard_deviation(fitted_x):
    x = dense(fitted_x.X)
    codes = fitted_x.obs["sample"].cat.codes.to_numpy()
    weights = 1 / np.bincount(codes)[codes] / 8
    np.testing.assert_allclose(
        fitted_x.uns["ggml"]["scale"], np.sqrt(weights @ (x - weights @ x) ** 2), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("scale", [None, "global", "feature"])
def test_forced_scale(cohort, scale):
    fit(cohort, learner=sg.GroundMetricLearner(scale=scale))
    found = cohort.uns["ggml"]["scale"]
    if scale is None:
        assert (found == 1).all()
        assert "scale" not in cohort.uns["ggml"]["params"]["learner"]
    else:
        assert (len(np.unique(found)) == 1) == (scale == "global")
        assert cohort.uns["ggml"]["params"]["learner"]["scale"] == scale


@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_matches_the_estimator_on_arrays(cohort, use_rep):
    fit(cohort, use_rep=use_rep)
    points = dense(cohort.X) if use_rep == "X" else cohort.obsm[use_rep]
    learner = by_hand(points, cohort, scale="feature" if use_rep == "X" else "global")
    mahalanobis = metric(cohort).T @ metric(cohort)
    expected = learner.get_mahalanobis_matrix()
    np.testing.assert_allclose(mahalanobis, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert list(cohort.uns["ggml"]["classes"]) == list(learner.classes_)


@pytest.mark.parametrize("name", ["fitted", "fitted_x"])
def test_cells_in_the_learned_space(name, request):
    adata = request.getfixturevalue(name)
    rep = adata.uns["ggml"]["params"]["use_rep"]
    points = dense(adata.X if rep == "X" else adata.obsm[rep])
    cells = adata.obsm["X_ggml"]
    assert type(cells) is np.ndarray and cells.dtype == np.float64
    assert cells.shape == (adata.n_obs, len(adata.uns["ggml"]["components"]))
    w = metric(adata)
    inverse_root = w.T @ w
    np.testing.assert_allclose(pdist(cells), pdist(points, "mahalanobis", VI=inverse_root), rtol=1e-6)


def test_gene_weights_on_x_are_displacements(fitted_x):
    x = dense(fitted_x.X)
    weights = fitted_x.varm["ggml"]
    assert type(weights) is np.ndarray and weights.dtype == np.float64
    assert weights.shape == (fitted_x.n_vars, len(fitted_x.uns["ggml"]["components"]))
    for gene in range(fitted_x.n_vars):
        moved = x.copy()
        moved[:, gene] += x[:, gene].std()
        shift = (moved - x) @ metric(fitted_x).T
        np.testing.assert_allclose(shift, np.tile(weights[gene], (len(x), 1)), rtol=1e-5, atol=1e-9)
    assert np.linalg.norm(weights, axis=1).argmax() == 3  # the planted gene


def test_gene_weights_through_pcs_are_displacements(fitted):
    x, pcs = dense(fitted.X), fitted.varm["PCs"]
    weights = fitted.varm["ggml"]
    assert weights.dtype == np.float64 and weights.shape == (fitted.n_vars, fitted.obsm["X_ggml"].shape[1])
    mean = x.mean(axis=0)
    for gene in range(fitted.n_vars):
        moved = x.copy()
        moved[:, gene] += x[:, gene].std()
        shift = ((moved - mean) @ pcs - fitted.obsm["X_pca"]) @ metric(fitted).T
        np.testing.assert_allclose(shift, np.tile(weights[gene], (len(x), 1)), rtol=1e-5, atol=1e-6)
    assert np.linalg.norm(weights, axis=1).argmax() == 3


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array, np.asarray])
def test_formats_of_x_agree(cohort, fitted_x, kind):
    cohort.X = dense(cohort.X).astype(np.float32) if kind is np.asarray else kind(cohort.X)
    before = cohort.X.copy()
    fit(cohort, use_rep="X")
    assert type(cohort.X) is type(before)
    np.testing.assert_array_equal(dense(cohort.X), dense(before))
    for value in (cohort.obsm["X_ggml"], cohort.varm["ggml"], cohort.uns["ggml"]["components"]):
        assert type(value) is np.ndarray
    np.testing.assert_allclose(metric(cohort), metric(fitted_x), rtol=0, atol=1e-5)
    np.testing.assert_allclose(cohort.varm["ggml"], fitted_x.varm["ggml"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float64, bool])
@pytest.mark.parametrize("sparse", [True, False])
def test_dtypes_of_x(cohort, dtype, sparse, request):
    counts = 40 * dense(cohort.layers["counts"]) if dtype is np.uint8 else dense(cohort.layers["counts"])
    counts = np.minimum(counts, 240).astype(dtype)
    cohort.X = sp.csr_matrix(counts) if sparse else counts
    fit(cohort, use_rep="X")
    values = counts.astype(np.float64)
    np.testing.assert_allclose(cohort.obsm["X_ggml"], values @ metric(cohort).T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(cohort.varm["ggml"], axis=1),
        values.std(axis=0) * np.linalg.norm(metric(cohort), axis=0),
        rtol=1e-9,
    )


@pytest.mark.parametrize("use_rep", [None, "X"])
def test_layer(cohort, use_rep):
    fit(cohort, use_rep=use_rep, layer="counts")
    params = cohort.uns["ggml"]["params"]
    assert params["use_rep"] == "X" and params["layer"] == "counts"
    np.testing.assert_allclose(
        cohort.obsm["X_ggml"], dense(cohort.layers["counts"]) @ metric(cohort).T, rtol=1e-6, atol=1e-6
    )


def test_use_rep_none_takes_pca_else_x(cohort, fitted_x):
    del cohort.obsm["X_pca"]
    fit(cohort)
    assert cohort.uns["ggml"]["params"]["use_rep"] == "X"
    np.testing.assert_array_equal(cohort.uns["ggml"]["components"], fitted_x.uns["ggml"]["components"])


def test_other_representation_has_no_gene_weights_and_says_so(cohort, caplog):
    cohort.obsm["X_scvi"] = cohort.obsm["X_pca"].copy()
    with caplog.at_level(logging.INFO, logger="scggml"):
        fit(cohort, use_rep="X_scvi")
    assert "ggml" not in cohort.varm
    assert "no gene weights" in caplog.text and "X_scvi" in caplog.text


def test_data_frame_in_obsm(cohort):
    fit(cohort, use_rep="X_df")
    assert list(cohort.uns["ggml"]["features"]) == ["u", "v", "w"]
    np.testing.assert_allclose(
        cohort.obsm["X_ggml"], cohort.obsm["X_df"].to_numpy() @ metric(cohort).T, rtol=1e-12, atol=1e-12
    )
    assert "ggml" not in cohort.varm


@pytest.mark.parametrize(
    ("convert", "classes"),
    [
        (lambda column: column.astype(str), ["sick", "well"]),
        (lambda column: column.astype("string"), ["sick", "well"]),
        (lambda column: column.cat.codes.astype(int), ["0", "1"]),
        (lambda column: pd.Categorical(column.cat.codes.astype(int)), ["0", "1"]),
        (lambda column: column == "sick", ["False", "True"]),
    ],
    ids=["str", "string", "int", "int category", "bool"],
)
def test_kinds_of_labels(cohort, fitted, convert, classes):
    cohort.obs["label"] = convert(cohort.obs["label"])
    fit(cohort)
    assert list(cohort.uns["ggml"]["classes"]) == classes
    np.testing.assert_allclose(metric(cohort), metric(fitted), rtol=1e-12)


@pytest.mark.parametrize(
    "convert",
    [
        lambda column: column.astype(str),
        lambda column: column.astype("string"),
        lambda column: column.cat.codes.astype(np.int8),
        lambda column: pd.Categorical(column.cat.codes.astype(int)),
    ],
    ids=["str", "string", "int", "int category"],
)
def test_kinds_of_sample_names(cohort, fitted, convert):
    cohort.obs["sample"] = convert(cohort.obs["sample"])
    fit(cohort)
    np.testing.assert_allclose(metric(cohort), metric(fitted), rtol=1e-12)


def test_label_categories_without_cells_do_not_matter(cohort, fitted):
    cohort.obs["label"] = cohort.obs["label"].cat.add_categories(["dead"])
    fit(cohort)
    assert list(cohort.uns["ggml"]["classes"]) == ["sick", "well"]
    np.testing.assert_array_equal(metric(cohort), metric(fitted))


def test_view_becomes_actual_and_parent_is_untouched(cohort, assert_same_anndata):
    before = cohort.copy()
    view = cohort[~cohort.obs["sample"].isin(["p1", "p3"])]
    expected = view.copy()
    assert view.is_view
    fit(view)
    assert not view.is_view and "ggml" in view.uns
    fit(expected)
    assert_same_anndata(view, expected)
    assert_same_anndata(cohort, before)


@pytest.mark.parametrize("as_view", [False, True])
def test_copy(cohort, assert_same_anndata, as_view):
    given = cohort[:, :] if as_view else cohort
    before = cohort.copy()
    result = fit(given, copy=True)
    assert result is not given and not result.is_view and "ggml" in result.uns
    assert given.is_view == as_view
    assert_same_anndata(cohort, before)
    fit(cohort)
    assert_same_anndata(result, cohort)


def test_key_added(cohort, fitted):
    fit(cohort, key_added="mine")
    assert "mine" in cohort.uns and "mine" in cohort.varm and "X_mine" in cohort.obsm
    assert "ggml" not in cohort.uns and "ggml" not in cohort.varm and "X_ggml" not in cohort.obsm
    np.testing.assert_array_equal(cohort.obsm["X_mine"], fitted.obsm["X_ggml"])
    fit(cohort, use_rep="X")  # beside it
    np.testing.assert_array_equal(cohort.obsm["X_mine"], fitted.obsm["X_ggml"])


def test_refit_leaves_nothing_stale(fitted):
    sg.tl.rank_genes(fitted)
    fit(fitted, use_rep="X_df", key_added="other")
    assert "ggml" in fitted.varm and "ggml_rank_genes" in fitted.uns  # another key
    fit(fitted, use_rep="X_df")
    assert "ggml" not in fitted.varm and "ggml_rank_genes" not in fitted.uns
    assert fitted.obsm["X_ggml"].shape[1] <= 3 and "features" in fitted.uns["ggml"]
    fit(fitted)
    assert "features" not in fitted.uns["ggml"] and "ggml" in fitted.varm


@pytest.mark.parametrize("case", ["missing", "width"])
def test_without_fitting_loadings_the_fit_works_and_warns(cohort, fitted, case):
    if case == "missing":
        del cohort.varm["PCs"]
    else:
        cohort.varm["PCs"] = cohort.varm["PCs"][:, :-1].copy()
    with pytest.warns(UserWarning, match="no gene weights") as record:
        fit(cohort)
    assert len(record) == 1
    text = str(record[0].message)
    assert "varm['PCs']" in text and ("missing" if case == "missing" else "4 wide, not 5") in text
    assert "scanpy.pp.pca" in text and "use_rep='X'" in text
    assert record[0].filename == __file__  # points at the caller
    assert "ggml" not in cohort.varm
    np.testing.assert_array_equal(metric(cohort), metric(fitted))


def test_constant_feature_warns_and_weighs_nothing(cohort):
    x = dense(cohort.X)
    x[:, 5], x[:, 8] = 0.0, 2.5
    cohort.X = x
    with pytest.warns(UserWarning, match="constant") as record:
        fit(cohort, use_rep="X")
    assert len(record) == 1
    assert "2 feature(s) of X are constant and get weight zero: g5, g8" in str(record[0].message)
    assert record[0].filename == __file__
    assert (cohort.uns["ggml"]["components"][:, [5, 8]] == 0).all()
    assert (cohort.varm["ggml"][[5, 8]] == 0).all() and (cohort.varm["ggml"][3] != 0).any()


def test_constant_feature_of_sparse_float32(cohort):
    x = dense(cohort.X).astype(np.float32)
    x[:, 5], x[:, 8] = 0.0, np.float32(0.1)
    cohort.X = sp.csr_matrix(x)
    with pytest.warns(UserWarning, match="g5, g8"):
        fit(cohort, use_rep="X")
    assert (cohort.varm["ggml"][[5, 8]] == 0).all()


def test_n_comps_bounds_the_components(cohort, fitted):
    fit(cohort, n_comps=2)
    assert cohort.obsm["X_ggml"].shape == (cohort.n_obs, 2)
    assert cohort.uns["ggml"]["params"]["learner"]["n_comps"] == 2
    # the first two of the soft spectrum, up to the unit
    full = fitted.uns["ggml"]["components"][:2]
    ratio = np.linalg.norm(cohort.uns["ggml"]["components"]) / np.linalg.norm(full)
    np.testing.assert_allclose(cohort.uns["ggml"]["components"], ratio * full, atol=1e-9)


RANDOM = sg.Refinement(start="random", triplets=2, minibatch=16, relative=False, max_iter=2)
LEARNERS = {
    "closed form": None,
    "refined": sg.GroundMetricLearner(refine=sg.Refinement(max_iter=4)),
    "paper": sg.GroundMetricLearner(n_comps=2, scale=None, refine=RANDOM),
}


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_same_seed_and_any_n_jobs_give_the_same_bits(cohort, assert_same_anndata, learner):
    results = [fit(cohort, n_jobs=n_jobs, learner=learner, copy=True) for n_jobs in (1, 2, -1, None)]
    for other in results[1:]:
        assert_same_anndata(results[0], other)
    sample_level = [sg.tl.sample_distances(results[0], n_jobs=n_jobs) for n_jobs in (1, 3)]
    assert_same_anndata(*sample_level)


def test_seed_matters_where_chance_is_used(cohort):
    learner = LEARNERS["paper"]
    results = [
        sg.tl.fit_metric(cohort, "sample", "label", learner=learner, rng=rng, copy=True).obsm["X_ggml"]
        for rng in (0, 1, np.random.default_rng(0))
    ]
    results.append(  # a seed of the learner's own
        sg.tl.fit_metric(cohort, "sample", "label", learner=clone(learner).set_params(rng=0), copy=True).obsm["X_ggml"]
    )
    assert not np.allclose(results[0], results[1])
    for other in results[2:]:
        np.testing.assert_array_equal(results[0], other)


def test_order_of_cells_does_not_matter(cohort, fitted):
    order = np.random.default_rng(1).permutation(cohort.n_obs)
    shuffled = cohort[order].copy()
    fit(shuffled)
    expected = metric(fitted).T @ metric(fitted)
    np.testing.assert_allclose(metric(shuffled).T @ metric(shuffled), expected, atol=1e-9 * np.abs(expected).max())


def test_params_reproduce_the_fit(cohort):
    learner = sg.GroundMetricLearner(ridge=0.5, power=2.0, refine=sg.Refinement(max_iter=3))
    fit(cohort, use_rep="X", n_comps=3, learner=learner)
    params = dict(cohort.uns["ggml"]["params"])
    assert params["rng"] == 0 and "rng" not in params["learner"]
    keys = params.pop("sample_key"), params.pop("label_key")
    params["learner"] = learner_of(params)
    sg.tl.fit_metric(cohort, *keys, **params, key_added="again")
    np.testing.assert_array_equal(cohort.obsm["X_again"], cohort.obsm["X_ggml"])
    assert not hasattr(learner, "metric_") and learner.n_comps is None and learner.rng is None  # it was copied


STORED = {
    "raw scale": {"scale": None, "n_comps": None, "ridge": "auto", "max_cells": None},
    "entropic": {"solver": sg.Sinkhorn(reg=0.2, debiased=True), "whitening": 0.5, "n_sweeps": 2},
    "minibatches": {"n_comps": 2, "solver": "pot", "refine": sg.Refinement(minibatch=8, triplets=2, max_iter=1)},
    "all triplets": {"refine": sg.Refinement(start="random", triplets="all", max_cells=None, max_iter=2, tol=0)},
}


@pytest.mark.parametrize("settings", STORED.values(), ids=STORED)
def test_a_stored_metric_gives_its_learner_back(cohort, tmp_path, assert_same_anndata, settings):
    learner = sg.GroundMetricLearner(**settings)
    fit(cohort, learner=learner)
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert_same_anndata(back, cohort)
    entry = back.uns["ggml"]
    assert entry["version"] == version("scggml")
    expected = learner.get_params(deep=False) | ({} if learner.scale is None else {"scale": "global"})  # that of PCs
    for stored in (entry, cohort.uns["ggml"]):
        found = learner_of(stored["params"])
        assert found.get_params(deep=False) == expected
        for name, value in found.get_params(deep=False).items():  # Python's own, which clone and == like
            assert type(value) is type(expected[name])
    again = sg.tl.fit_metric(back, "sample", "label", learner=learner_of(entry["params"]), rng=0, copy=True)
    np.testing.assert_array_equal(again.obsm["X_ggml"], cohort.obsm["X_ggml"])


# what the arguments do


@pytest.fixture(scope="module")
def designed(_cohort):
    """Cells with batches, donors that have several ordinal labels, and a sketch."""
    adata = _cohort.copy()
    position = adata.obs["sample"].cat.codes.to_numpy()
    adata.obs["grade"] = np.array([0, 1, 2, 2, 0, 1, 0, 1])[position]
    adata.obs["batch"] = np.array(list("xxxyyyyx"))[position]
    adata.obs["donor"] = np.array(list("uuuvvvww"))[position]
    sg.pp.sketch(adata, "sample", n_points=4, rng=0)
    return adata


CHANGES = {  # the change of each argument, or an error that it gives
    "label_kind": {"label_kind": "ordinal"},
    "batch_key": {"batch_key": "batch"},
    "donor_key": {"donor_key": "donor"},
    "use_rep": {"use_rep": "X"},
    "layer": {"layer": "counts"},
    "sketch_key": {"sketch_key": "sketch"},
    "n_comps": {"n_comps": 1},
    "learner": {"learner": "triplet"},
    "validate": {"validate": True, "label_key": "label"},  # of which there are enough to hold one out
    "rng": {"rng": 1},
    "n_jobs": {"n_jobs": 1},
    "key_added": {"key_added": "mine"},
    "copy": {"copy": True},
}


@pytest.mark.filterwarnings("ignore:the learned metric is not better")
def test_every_argument_has_an_effect(designed, assert_same_anndata):
    assert list(CHANGES) == list(inspect.signature(sg.tl.fit_metric).parameters)[3:]

    def run(label_key="grade", **changed):
        adata = designed.copy()
        result = sg.tl.fit_metric(adata, "sample", label_key, **{"rng": 0, **changed})
        return adata, result

    plain, nothing = run()
    assert nothing is None
    by_chance = sg.GroundMetricLearner(refine=sg.Refinement(start="random", max_iter=2))
    with_chance = run(learner=by_chance)[0]
    for name, change in CHANGES.items():
        adata, result = run(**change, **({"learner": by_chance} if name == "rng" else {}))
        if name == "n_jobs":  # speed only
            assert_same_anndata(adata, plain)
            with pytest.raises(ValueError, match="n_jobs must not be 0"):
                run(n_jobs=0)
        elif name == "copy":
            assert_same_anndata(result, plain)
            assert_same_anndata(adata, designed)
        elif name == "key_added":
            np.testing.assert_array_equal(adata.obsm["X_mine"], plain.obsm["X_ggml"])
            assert "ggml" not in adata.uns and "X_ggml" not in adata.obsm
        elif name == "validate":
            np.testing.assert_array_equal(adata.obsm["X_ggml"], run(label_key="label")[0].obsm["X_ggml"])
            assert "validation" in adata.uns["ggml"] and "validation" not in plain.uns["ggml"]
        else:
            found, before = adata.obsm["X_ggml"], (with_chance if name == "rng" else plain).obsm["X_ggml"]
            assert found.shape != before.shape or not np.allclose(pdist(found), pdist(before)), name
            stored = adata.uns["ggml"]["params"]
            if name not in ("n_comps", "learner"):
                assert stored[name] == change[name]
    assert run(n_comps=1)[0].uns["ggml"]["params"]["learner"]["n_comps"] == 1


def test_learner_and_arguments_do_not_contradict_each_other(cohort, assert_same_anndata):
    cohort.obs["grade"] = cohort.obs["sample"].cat.codes // 2
    before = cohort.copy()
    learner = sg.GroundMetricLearner
    for given, arguments, texts in (
        (learner(n_comps=2), {"n_comps": 3}, ["n_comps=3", "n_comps=2", "one place"]),
        (learner(n_comps=2), {"n_comps": 2}, ["n_comps=2", "one place"]),
        (learner(rng=1), {"rng": 0}, ["rng=0", "rng=1", "one place"]),
        (learner(n_jobs=1), {"n_jobs": 2}, ["n_jobs=2", "n_jobs=1", "one place"]),
        (learner(label_kind="ordinal"), {}, ["label_kind='class'", "label_kind='ordinal'", "both"]),
        (learner(), {"label_kind": "ordinal"}, ["label_kind='ordinal'", "label_kind='class'", "both"]),
        ("best", {}, ["'best'", "discriminant", "triplet", "paper"]),
    ):
        with pytest.raises(ValueError) as caught:
            sg.tl.fit_metric(cohort, "sample", "grade", learner=given, **arguments)
        for text in texts:
            assert text in str(caught.value), (given, arguments)
    for given in (learner, {"ridge": 0.1}, sg.Refinement()):
        with pytest.raises(TypeError, match="learner must be a GroundMetricLearner, or the name of a preset"):
            sg.tl.fit_metric(cohort, "sample", "label", learner=given)
    assert_same_anndata(cohort, before)


def test_presets(cohort, fitted):
    fit(cohort, learner="discriminant")
    np.testing.assert_array_equal(cohort.obsm["X_ggml"], fitted.obsm["X_ggml"])
    fit(cohort, learner="triplet")
    expected = sg.GroundMetricLearner(refine=sg.Refinement(), rng=0, scale="global")
    by_learner = by_hand(cohort.obsm["X_pca"], cohort, refine=sg.Refinement(), scale="global")
    np.testing.assert_allclose(metric(cohort), by_learner.components_, atol=1e-8)
    assert learner_of(cohort.uns["ggml"]["params"]).refine == expected.refine
    fit(cohort, learner="paper", n_comps=2)
    found = learner_of(cohort.uns["ggml"]["params"])
    assert found.refine.start == "random" and found.refine.minibatch and not found.refine.relative
    assert found.scale is None and found.n_comps == 2 and (cohort.uns["ggml"]["scale"] == 1).all()


# validation


def test_validation_is_that_of_a_cross_validation_with_the_same_settings(tmp_path):
    adata = sg.datasets.simulated_cohort(n_samples=12, n_cells=25, n_genes=60, rng=0)
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
def test_all_functions_score_the_same_metric_of_paired_donors():
    adata = paired_cohort()
    settings = {"ridge": 0.3, "whitening": 0.5}
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


def test_a_metric_that_does_not_help_is_warned_about():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 15, 4)) + 2 * rng.normal(size=(12, 1, 4))
    obs = pd.DataFrame(
        {"sample": np.repeat([f"s{i:02d}" for i in range(12)], 15), "label": np.repeat(["a", "b"] * 6, 15)},
        index=[f"c{i}" for i in range(180)],
    )
    adata = AnnData(x.reshape(-1, 4), obs=obs)
    with pytest.warns(
        UserWarning, match=r"not better .*: balanced accuracy 0\.\d\d, Euclidean 0\.\d\d \(\d+ samples .*"
    ) as record:
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", validate=True, rng=0)
    assert record[0].filename == __file__
    assert adata.uns["ggml"]["validation"]["value"] <= adata.uns["ggml"]["validation"]["euclidean"]


def test_validation_is_refused_where_nothing_can_be_held_out(fitted):
    few = fitted[fitted.obs["sample"].isin(_two_of_each_class(fitted))].copy()
    for key in list(few.uns):
        del few.uns[key]
    with pytest.raises(ValueError, match="leaves fewer than 2 training samples"):
        sg.tl.fit_metric(few, "sample", "label", use_rep="X", validate=True)
    assert "ggml" not in few.uns


def _two_of_each_class(adata):
    first = adata.obs.drop_duplicates("sample")
    return first.groupby("label", observed=True)["sample"].head(2)
