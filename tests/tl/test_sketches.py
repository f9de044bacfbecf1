"""Metrics and distances from sketches, against the estimator on explicit points and `ot.emd2` called directly."""

from __future__ import annotations

import anndata as ad
import numpy as np
import ot
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

import scggml as sg
from scggml._anndata._learners import learner_of
from scggml.core.measures._measures import Measures

CELL_TYPES = {"n_points": None, "cell_type_key": "cell_type"}


def dense(x):
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)


def metric(adata):
    entry = adata.uns["ggml"]
    return entry["components"] / entry["scale"]


def sketch(adata, **kwargs):
    sg.pp.sketch(adata, "sample", **{"n_points": 4, "rng": 0, **kwargs})


def fit(adata, **kwargs):
    return sg.tl.fit_metric(adata, "sample", "label", **{"sketch_key": "sketch", "rng": 0, **kwargs})


def by_hand(adata, points, cost="euclidean"):
    """Points, weights and the mean move of each sample, in the order of names, from the columns alone."""
    samples, groups = adata.obs["sample"].astype(str).to_numpy(), adata.obs["sketch"].to_numpy()
    found = []
    for name in sorted(set(samples)):
        own = samples == name
        support, weights, moved = [], [], 0.0
        for group in np.unique(groups[own]):
            cells = own & (groups == group)
            stands = cells & adata.obs["sketch_support"].to_numpy() if "sketch_support" in adata.obs else cells
            support.append(points[stands].mean(axis=0))
            weights.append(cells.sum() / own.sum())
            moved += cdist(points[cells], support[-1:], cost).sum()
        found.append((np.array(support), np.array(weights), moved / own.sum()))
    return found


def emd2_matrix(sketches, cost="euclidean"):
    def distance(x, a, y, b):
        return 0.0 if x is y else ot.emd2(a, b, cdist(x, y, cost))

    return np.array([[distance(x, a, y, b) for y, b, _ in sketches] for x, a, _ in sketches])


@pytest.mark.parametrize("use_rep", ["X_pca", "X"])
@pytest.mark.parametrize("arguments", [{}, CELL_TYPES], ids=["coreset", "cell_type"])
def test_fit_is_that_of_the_estimator_on_the_points(cohort, use_rep, arguments):
    sketch(cohort, **arguments)
    points = dense(cohort.X if use_rep == "X" else cohort.obsm[use_rep])
    fit(cohort, use_rep=use_rep)
    clouds = by_hand(cohort, points)
    measures = Measures.from_arrays([x for x, _, _ in clouds], [a for _, a, _ in clouds])
    labels = cohort.obs.groupby("sample", observed=True)["label"].first().sort_index().astype(str).to_numpy()
    learner = sg.GroundMetricLearner(scale="feature" if use_rep == "X" else "global", rng=0).fit(measures, labels)
    expected = learner.get_mahalanobis_matrix()
    found = metric(cohort).T @ metric(cohort)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert cohort.uns["ggml"]["params"]["sketch_key"] == "sketch"
    # all cells are projected, not only those of the sketch
    np.testing.assert_allclose(cohort.obsm["X_ggml"], points @ metric(cohort).T, rtol=1e-5, atol=1e-5)
    assert cohort.varm["ggml"].shape == (12, cohort.obsm["X_ggml"].shape[1])


def test_fit_without_a_sketch_is_that_of_all_cells(cohort, fitted):
    sketch(cohort)
    fit(cohort, sketch_key=None)
    np.testing.assert_array_equal(metric(cohort), metric(fitted))
    assert "sketch_key" not in cohort.uns["ggml"]["params"]
    fit(cohort)
    assert not np.allclose(metric(cohort), metric(fitted))


def test_a_sketch_of_as_many_points_as_cells_changes_nothing(cohort, fitted):
    sketch(cohort, n_points=14)
    fit(cohort)
    np.testing.assert_array_equal(metric(cohort), metric(fitted))
    found, expected = sg.tl.sample_distances(cohort), sg.tl.sample_distances(fitted)
    np.testing.assert_array_equal(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])
    assert (found.obs["sketch_error"] == 0).all() and "sketch_support" not in found.obs


def test_params_reproduce_the_fit(cohort):
    sketch(cohort)
    fit(cohort, use_rep="X", learner=sg.GroundMetricLearner(refine=sg.Refinement(max_iter=3)))
    params = dict(cohort.uns["ggml"]["params"])
    keys = params.pop("sample_key"), params.pop("label_key")
    params["learner"] = learner_of(params)
    sg.tl.fit_metric(cohort, *keys, **params, n_jobs=2, key_added="again")
    np.testing.assert_array_equal(cohort.obsm["X_again"], cohort.obsm["X_ggml"])


def test_weights_count_where_refinement_sees_fewer_points(cohort):
    # the points that refinement sees keep the ratios of their weights
    weights = [np.arange(1.0, 11.0), [1, 1, 2]]
    thinned = Measures.from_arrays([np.arange(10.0)[:, None], np.arange(3.0)[:, None]], weights).thinned(4)
    np.testing.assert_allclose(thinned.weights, [1 / 18, 3 / 18, 6 / 18, 8 / 18, 1 / 4, 1 / 4, 1 / 2])


@pytest.mark.parametrize("arguments", [{}, CELL_TYPES], ids=["coreset", "cell_type"])
@pytest.mark.parametrize("cost", ["learned", "euclidean", "cityblock"])
def test_distances_and_errors_by_emd2(cohort, cost, arguments):
    sketch(cohort, use_rep="X_df", **arguments)  # made in other features than it is used in
    fit(cohort)
    points = cohort.obsm["X_ggml"] if cost == "learned" else cohort.obsm["X_pca"]
    plain = "euclidean" if cost == "learned" else cost
    expected = by_hand(cohort, points, plain)
    pdata = sg.tl.sample_distances(cohort, "sample", metric=cost, sketch_key="sketch")
    np.testing.assert_allclose(pdata.obsp["ggml_distances"], emd2_matrix(expected, plain), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(pdata.obs["sketch_error"], [e for _, _, e in expected], rtol=1e-9)
    assert list(pdata.obs["n_points"]) == [len(x) for x, _, _ in expected]
    assert list(pdata.obs["n_cells"]) == list(cohort.obs["sample"].value_counts().sort_index())
    assert not {"sketch", "sketch_support"} & set(pdata.obs)
    assert pdata.uns["ggml"]["params"]["sketch_key"] == "sketch"
    # what get reports holds
    exact = sg.get.distances(sg.tl.sample_distances(cohort, "sample", metric=cost, sketch_key=False))
    bounds = sg.get.distances(pdata, bounds=True)
    error = (sg.get.distances(pdata) - exact).abs()
    assert (error <= bounds * (1 + 1e-9)).all(axis=None) and (error.to_numpy() > 0).sum() == 56
    np.testing.assert_allclose(
        bounds.loc["p1", "p3"], pdata.obs["sketch_error"]["p1"] + pdata.obs["sketch_error"]["p3"], rtol=1e-12
    )


@pytest.mark.parametrize("use_rep", ["X", "layer"])
def test_sparse_is_dense(cohort, use_rep):
    features = {"layer": "counts"} if use_rep == "layer" else {"use_rep": use_rep}
    other = cohort.copy()
    other.X, other.layers["counts"] = dense(cohort.X), dense(cohort.layers["counts"])
    results = []
    for adata in (cohort, other):
        sketch(adata, **features)
        fit(adata, **features)
        results += [sg.tl.sample_distances(adata, n_jobs=n) for n in (1, 2)]
        results += [sg.tl.sample_distances(adata, "sample", metric="cityblock", sketch_key="sketch", **features)] * 2
    for left, right in zip(results[:4], results[4:], strict=True):
        np.testing.assert_allclose(left.obsp["ggml_distances"], right.obsp["ggml_distances"], rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(left.obs["sketch_error"], right.obs["sketch_error"], rtol=1e-6)


def test_distances_take_the_sketch_of_the_fit_unless_told_otherwise(cohort):
    sketch(cohort)
    sketch(cohort, n_points=2, key_added="small")
    fit(cohort)
    of_fit = sg.tl.sample_distances(cohort)
    assert list(of_fit.obs["n_points"]) == [4] * 8
    small = sg.tl.sample_distances(cohort, sketch_key="small")
    assert list(small.obs["n_points"]) == [2] * 8 and small.uns["ggml"]["params"]["sketch_key"] == "small"
    assert (small.obs["sketch_error"] > of_fit.obs["sketch_error"]).all()
    whole = sg.tl.sample_distances(cohort, sketch_key=False)
    assert "sketch_key" not in whole.uns["ggml"]["params"] and "sketch_error" not in whole.obs
    clouds = [cohort.obsm["X_ggml"][cohort.obs["sample"] == name] for name in whole.obs_names]
    expected = ot.emd2([], [], cdist(clouds[0], clouds[5]))
    np.testing.assert_allclose(whole.obsp["ggml_distances"][0, 5], expected, rtol=1e-10)
    # fixed metrics do not take it
    assert "sketch_error" not in sg.tl.sample_distances(cohort, "sample", metric="euclidean").obs


def test_a_metric_serves_cells_that_were_not_sketched(cohort):
    other = cohort.copy()
    sketch(cohort)
    fit(cohort)
    other.uns["ggml"] = cohort.uns["ggml"]
    found = sg.tl.sample_distances(other)
    expected = sg.tl.sample_distances(cohort, sketch_key=False)
    np.testing.assert_array_equal(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])
    assert "sketch_key" not in found.uns["ggml"]["params"]
    other.obs["sketch"] = cohort.obs["sketch"]  # half a sketch is a mistake
    with pytest.raises(KeyError, match="there is no sketch in uns"):
        sg.tl.sample_distances(other)


def test_order_of_cells_does_not_matter(cohort):
    sketch(cohort)
    fit(cohort)
    shuffled = cohort[np.random.default_rng(1).permutation(cohort.n_obs)].copy()
    fit(shuffled, key_added="again")
    np.testing.assert_allclose(
        sg.tl.sample_distances(shuffled, key="again").obsp["again_distances"],
        sg.tl.sample_distances(cohort).obsp["ggml_distances"],
        rtol=1e-8,
        atol=1e-12,
    )


def test_fewer_cells(cohort):
    sketch(cohort)
    fit(cohort)
    some = cohort[cohort.obs["sample"] != "p4"]
    whole, part = sg.tl.sample_distances(cohort), sg.tl.sample_distances(some)
    assert some.is_view
    np.testing.assert_array_equal(
        sg.get.distances(part), sg.get.distances(whole).loc[part.obs_names, part.obs_names]
    )  # fmt: skip
    np.testing.assert_array_equal(part.obs["sketch_error"], whole.obs["sketch_error"][part.obs_names])
    left = cohort[~(cohort.obs["sketch_support"] & (cohort.obs["sample"] == "p4"))].copy()
    for use in (lambda: sg.tl.sample_distances(left), lambda: fit(left)):
        with pytest.raises(ValueError, match=r"no support cell in 4 group\(s\), of the samples p4 \(4\).*sketch again"):
            use()
    assert sg.tl.sample_distances(left, sketch_key=False).n_obs == 8


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_survives_files(cohort, assert_same_anndata, tmp_path, kind):
    if kind == "zarr":
        pytest.importorskip("zarr")

    def again(adata, name):
        getattr(adata, f"write_{kind}")(tmp_path / name)
        return getattr(ad, f"read_{kind}")(tmp_path / name)

    sketch(cohort)
    fit(cohort)
    found = again(cohort, "cells")
    assert_same_anndata(found, cohort)
    pdata = sg.tl.sample_distances(found)
    assert_same_anndata(pdata, sg.tl.sample_distances(cohort))
    samples = again(pdata, "samples")
    assert_same_anndata(samples, pdata)
    np.testing.assert_array_equal(sg.get.distances(samples, bounds=True), sg.get.distances(pdata, bounds=True))


def test_constant_in_the_points_of_the_sketch(cohort):
    sketch(cohort, use_rep="X")
    x = dense(cohort.X)
    x[:, 5] = ~cohort.obs["sketch_support"]  # varies, but not among the points
    cohort.X = x
    with pytest.warns(UserWarning, match=r"1 feature\(s\) of X are constant in the points of sketch 'sketch' .*: g5$"):
        fit(cohort, use_rep="X")


@pytest.mark.parametrize(
    ("sketch_key", "error", "texts"),
    [
        ("other", KeyError, ["no sketch in uns['other']", "sg.pp.sketch(adata, sample_key, key_added='other')"]),
        ("ggml", ValueError, ["uns['ggml'] is not a sketch"]),
        (["sketch"], TypeError, ["sketch_key must be", "the key of a sketch", "list"]),
        (True, TypeError, ["sketch_key must be", "True"]),
    ],
)
def test_bad_keys(cohort, assert_same_anndata, monkeypatch, sketch_key, error, texts):
    sketch(cohort)
    fit(cohort)
    before = cohort.copy()

    def no_work(*args, **kwargs):
        raise AssertionError("work started before the input was checked")

    monkeypatch.setattr("scggml.tl._sample_distances.pairwise_distances", no_work)
    monkeypatch.setattr("scggml.estimators._ground_metric.train", no_work)
    for use in (
        lambda: fit(cohort, sketch_key=sketch_key),
        lambda: sg.tl.sample_distances(cohort, sketch_key=sketch_key),
    ):
        with pytest.raises(error) as caught:
            use()
        for part in texts:
            assert part in str(caught.value.args[0])
    assert_same_anndata(cohort, before)


def test_other_samples_need_another_sketch(cohort):
    sketch(cohort)
    cohort.obs["half"] = np.where(np.arange(cohort.n_obs) < 40, "first", "second")
    with pytest.raises(ValueError, match=r"samples in 'sample', not of those in sample_key='half'"):
        sg.tl.sample_distances(cohort, "half", metric="euclidean", sketch_key="sketch")


def test_no_sketch_for_cosine(cohort):
    sketch(cohort)
    with pytest.raises(ValueError, match=r"sketch_key='sketch' cannot be used with metric='cosine'.*sketch_key=False"):
        sg.tl.sample_distances(cohort, "sample", metric="cosine", sketch_key="sketch")
    assert sg.tl.sample_distances(cohort, "sample", metric="cosine", sketch_key=False).n_obs == 8
