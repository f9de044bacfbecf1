"""What `fit_metric` writes, against projections and fits done by hand."""

from __future__ import annotations

import logging
from importlib.metadata import version

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import pdist

import scggml as sg

ENTRY_KEYS = {
    "version", "params", "components", "scale", "loss_history", "n_iter", "converged", "gap", "solver", "classes",
    "label_p_value", "label_signal", "learned_from",
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
    assert set(entry) == ENTRY_KEYS | {"space"}  # PCs have no names
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


@pytest.mark.filterwarnings("ignore:X looks like raw counts")
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
    # the first two of the spectrum that is not shrunk, up to the unit
    fit(fitted, learner=sg.GroundMetricLearner(scale="global", power=1, whitening=1))
    full = fitted.uns["ggml"]["components"][:2]
    ratio = np.linalg.norm(cohort.uns["ggml"]["components"]) / np.linalg.norm(full)
    np.testing.assert_allclose(cohort.uns["ggml"]["components"], ratio * full, atol=1e-9)


def test_order_of_cells_does_not_matter(cohort, fitted):
    order = np.random.default_rng(1).permutation(cohort.n_obs)
    shuffled = cohort[order].copy()
    fit(shuffled)
    expected = metric(fitted).T @ metric(fitted)
    np.testing.assert_allclose(metric(shuffled).T @ metric(shuffled), expected, atol=1e-9 * np.abs(expected).max())


def _cohort_of(n_samples, effect):
    rng, codes = np.random.default_rng(1), np.arange(n_samples) % 2
    x = rng.normal(size=(n_samples, 20, 4)) + 0.5 * rng.normal(size=(n_samples, 1, 4))
    x[..., 0] += effect * codes[:, None]
    obs = pd.DataFrame(
        {
            "sample": np.repeat([f"s{i}" for i in range(n_samples)], 20),
            "label": np.repeat(np.array(["a", "b"])[codes], 20),
        },
        index=[f"c{i}" for i in range(n_samples * 20)],
    )
    return ad.AnnData(x.reshape(-1, 4), obs=obs)


def test_labels_without_signal_are_warned_about():
    with pytest.warns(UserWarning, match="no more than on random ones .*gene weights.*separation_test") as record:
        fit(_cohort_of(16, 0.0), use_rep="X")
    assert record[0].filename == __file__


def test_too_few_samples_for_a_signal_are_warned_about():
    few = _cohort_of(4, 5.0)
    with pytest.warns(UserWarning, match="too few samples to tell whether transport"):
        fit(few, use_rep="X")
    assert few.uns["ggml"]["label_signal"] > 0.5 and few.uns["ggml"]["label_p_value"] > 0.2


def test_three_against_three_samples_are_warned_about():
    """However strong the signal: the labels can be exchanged in 6! / (3! 3!) = 20 ways, two of them alike."""
    with pytest.warns(
        UserWarning, match=r"too few samples to show .*: 6 labels .* in 20 ways only.* p-value below 0\.1\."
    ):
        fit(_cohort_of(6, 50.0), use_rep="X")


def test_four_against_four_samples_are_not(recwarn):
    fit(_cohort_of(8, 50.0), use_rep="X")
    assert not [warning for warning in recwarn if "too few samples to show" in str(warning.message)]


def test_a_signal_is_stored_without_a_word(recwarn):
    adata = _cohort_of(16, 5.0)
    fit(adata, use_rep="X")
    assert not [w for w in recwarn if "transport" in str(w.message)]
    assert adata.uns["ggml"]["label_signal"] > 0.9 and adata.uns["ggml"]["label_p_value"] == 1 / 51


def test_more_features_than_components_have_no_signal(recwarn):
    """A few directions of transport would not show it: here the signal is in one of 200 features."""
    adata = sg.datasets.synthetic_cohort(n_noise_dims=199, n_points_per_mode=6, rng=0)
    fit(adata, use_rep="X")
    assert not [w for w in recwarn if "transport" in str(w.message)]
    assert not {"label_signal", "label_p_value"} & set(adata.uns["ggml"])


def test_one_feature_of_many_is_a_signal():
    adata = sg.datasets.synthetic_cohort(n_noise_dims=49, n_points_per_mode=20, rng=0)
    fit(adata, use_rep="X")
    assert adata.uns["ggml"]["label_signal"] > 0.9 and adata.uns["ggml"]["label_p_value"] == 1 / 51
