"""What `pp.sketch` writes, against transport by POT and the columns alone."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import ot
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

import scggml as sg
from scggml._anndata._cohort import read_samples

# of the shared cohort: p5 9, p3 12, p1 10, p7 14, p2 11, p8 8, p4 13, p6 10 cells


def dense(x):
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)


def read(adata, key="sketch"):
    return read_samples(adata, "sample", features=False, sketch_key=key).sketch


def by_hand(adata, points, key="sketch"):
    """Cells, support cells and weights of each sample, from the columns alone."""
    samples = adata.obs["sample"].astype(str).to_numpy()
    for name in sorted(set(samples)):
        own = np.flatnonzero(samples == name)
        groups = adata.obs[key].to_numpy()[own]
        support = own[adata.obs[f"{key}_support"].to_numpy()[own]]
        weights = np.array([(groups == adata.obs[key].iloc[cell]).mean() for cell in support])
        yield name, points[own], points[support], weights


@pytest.mark.parametrize("use_rep", [None, "X", "X_df", "layer"])
def test_error_is_the_distance_to_the_sketch(cohort, use_rep):
    features = {"layer": "counts"} if use_rep == "layer" else {"use_rep": use_rep}
    points = {
        None: cohort.obsm["X_pca"],
        "X": dense(cohort.X),
        "X_df": cohort.obsm["X_df"].to_numpy(),
        "layer": dense(cohort.layers["counts"]),
    }[use_rep]
    assert sg.pp.sketch(cohort, "sample", n_points=5, rng=0, **features) is None
    table = cohort.uns["sketch"]["samples"]
    assert list(table.index) == [f"p{i}" for i in range(1, 9)]
    assert list(table.columns) == ["n_cells", "n_points", "error"]
    for name, cells, support, weights in by_hand(cohort, points):
        assert list(table.loc[name, ["n_cells", "n_points"]]) == [len(cells), len(support)]
        assert len(support) == 5
        cost = cdist(cells, support)
        # the optimum over all weights, and the transport with these weights
        np.testing.assert_allclose(table.loc[name, "error"], cost.min(axis=1).mean(), rtol=1e-6)
        exact = ot.emd2(np.full(len(cells), 1 / len(cells)), weights, cost)
        np.testing.assert_allclose(table.loc[name, "error"], exact, rtol=1e-6)
    assert (table["error"] > 0).all()


def test_what_is_written(cohort, assert_same_anndata, caplog):
    before = cohort.copy()
    with caplog.at_level(logging.INFO, logger="scggml"):
        sg.pp.sketch(cohort, "sample", n_points=9, rng=3, key_added="mine")
    assert "71 points stand for 87 cells of 8 samples" in caplog.text
    groups, support = cohort.obs["mine"], cohort.obs["mine_support"]
    assert groups.dtype == np.int32 and support.dtype == bool
    for _, own in cohort.obs.groupby("sample", observed=True):
        assert sorted(own["mine"].unique()) == list(range(min(len(own), 9)))
        # numbered in the order of their support cells, one each
        assert list(own.loc[own["mine_support"], "mine"]) == list(range(min(len(own), 9)))
    entry = cohort.uns["mine"]
    assert set(entry) == {"version", "params", "samples"} and entry["version"] == sg.__version__
    assert entry["params"] == {
        "sample_key": "sample", "method": "coreset", "n_points": 9, "use_rep": "X_pca", "rng": 3,
    }  # fmt: skip
    assert list(entry["samples"]["n_points"]) == [9, 9, 9, 9, 9, 9, 9, 8]
    zero = entry["samples"]["error"] == 0  # the samples with 9 and 8 cells keep them all
    assert list(zero.index[zero]) == ["p5", "p8"]
    del cohort.obs["mine"], cohort.obs["mine_support"], cohort.uns["mine"]
    assert_same_anndata(cohort, before)


def test_number_of_points_by_default():
    adata = sg.datasets.synthetic_cohort(offsets=(1, 2), n_points_per_mode=40, rng=0)
    sg.pp.sketch(adata, "sample", rng=0)
    assert (adata.uns["sketch"]["samples"]["n_points"] == 100).all()
    assert adata.uns["sketch"]["params"]["n_points"] == 100


def test_cell_types_by_hand(cohort):
    sg.pp.sketch(cohort, "sample", cell_type_key="cell_type")
    assert "sketch_support" not in cohort.obs
    assert cohort.obs["sketch"].dtype == np.int32
    entry = cohort.uns["sketch"]
    assert list(entry["cell_types"]) == ["B", "T"]
    assert list(entry["cell_types"][cohort.obs["sketch"]]) == list(cohort.obs["cell_type"])
    assert entry["params"] == {
        "sample_key": "sample", "method": "cell_type", "cell_type_key": "cell_type", "use_rep": "X_pca",
    }  # fmt: skip
    pca = pd.DataFrame(cohort.obsm["X_pca"], index=cohort.obs_names)
    keys = [cohort.obs["sample"], cohort.obs["cell_type"]]
    means = pca.groupby(keys, observed=True).mean()
    measures = read(cohort).measures(cohort.obsm["X_pca"])
    np.testing.assert_allclose(measures.points, means.to_numpy())
    counts = pca.groupby(keys, observed=True).size()
    np.testing.assert_allclose(measures.weights, counts / counts.groupby("sample", observed=True).transform("sum"))
    moves = pd.Series(np.linalg.norm(pca - pca.groupby(keys, observed=True).transform("mean"), axis=1), index=pca.index)
    expected = moves.groupby(cohort.obs["sample"], observed=True).mean().sort_index()
    np.testing.assert_allclose(entry["samples"]["error"], expected.to_numpy())
    assert list(entry["samples"]["n_points"]) == list(counts.groupby("sample", observed=True).size())


def test_a_type_that_a_sample_lacks_has_no_point(cohort):
    cohort.obs["cell_type"] = np.where(cohort.obs["sample"] == "p1", "T", cohort.obs["cell_type"].astype(str))
    sg.pp.sketch(cohort, "sample", cell_type_key="cell_type")
    assert list(cohort.uns["sketch"]["samples"]["n_points"]) == [1, 2, 2, 2, 2, 2, 2, 2]
    assert list(read(cohort).sizes) == [1, 2, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("method", ["coreset", "cell_type"])
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_survives_files(cohort, assert_same_anndata, tmp_path, method, kind):
    if kind == "zarr":
        pytest.importorskip("zarr")
    arguments = {"cell_type_key": "cell_type"} if method == "cell_type" else {"n_points": 4}
    sg.pp.sketch(cohort, "sample", rng=0, **arguments)
    path = tmp_path / f"cells.{kind}"
    getattr(cohort, f"write_{kind}")(path)
    found = getattr(ad, f"read_{kind}")(path)
    assert_same_anndata(found, cohort)
    a, b = read(found).measures(found.X), read(cohort).measures(cohort.X)
    np.testing.assert_array_equal(dense(a.points), dense(b.points))
    np.testing.assert_array_equal(a.weights, b.weights)


def test_params_make_the_same_sketch_again(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, layer="counts", rng=7)
    params = dict(cohort.uns["sketch"]["params"])
    assert params["layer"] == "counts" and params["use_rep"] == "X" and params.pop("method") == "coreset"
    sg.pp.sketch(cohort, **params, n_jobs=3, key_added="again")
    np.testing.assert_array_equal(cohort.obs["again"], cohort.obs["sketch"])
    np.testing.assert_array_equal(cohort.obs["again_support"], cohort.obs["sketch_support"])


def test_any_n_jobs_give_the_same_bits(cohort, assert_same_anndata):
    results = [sg.pp.sketch(cohort, "sample", n_points=4, rng=0, n_jobs=n, copy=True) for n in (1, 2, -1, None)]
    for other in results[1:]:
        assert_same_anndata(results[0], other)
    other = sg.pp.sketch(cohort, "sample", n_points=4, rng=1, copy=True)
    assert not (other.obs["sketch_support"] == results[0].obs["sketch_support"]).all()


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix, np.asarray])
def test_formats_of_x_agree(cohort, kind):
    sg.pp.sketch(cohort, "sample", n_points=4, use_rep="X", rng=0)
    other = cohort.copy()
    other.X = dense(cohort.X).astype(np.float32) if kind is np.asarray else kind(cohort.X)
    before = other.X.copy()
    sg.pp.sketch(other, "sample", n_points=4, use_rep="X", rng=0)
    assert type(other.X) is type(before) and other.X.dtype == np.float32
    np.testing.assert_array_equal(dense(other.X), dense(before))
    np.testing.assert_array_equal(other.obs["sketch"], cohort.obs["sketch"])
    for x in (cohort.X, other.X):
        measures = read(other).measures(x)
        assert measures.points.dtype == np.float32 and sp.issparse(measures.points) == sp.issparse(x)


def test_a_new_sketch_replaces_the_old_one(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    sg.pp.sketch(cohort, "sample", cell_type_key="cell_type")
    assert "sketch_support" not in cohort.obs and read(cohort).support is None
    sg.pp.sketch(cohort, "sample", n_points=3, rng=0)
    assert "cell_types" not in cohort.uns["sketch"] and cohort.obs["sketch_support"].sum() == 24


def test_view_becomes_actual_and_copy_leaves_the_input(cohort, assert_same_anndata):
    before = cohort.copy()
    view = cohort[cohort.obs["sample"] != "p1"]
    result = sg.pp.sketch(view, "sample", n_points=4, rng=0, copy=True)
    assert view.is_view and "sketch" in result.uns and not result.is_view
    sg.pp.sketch(view, "sample", n_points=4, rng=0)
    assert not view.is_view
    assert_same_anndata(view, result)
    assert_same_anndata(cohort, before)


def test_interrupted_nothing_is_written(cohort, assert_same_anndata, monkeypatch):
    from scggml.core.transport import _sketch

    done, original = [], _sketch._coreset

    def stop_half_way(*args):
        done.append(1)
        if len(done) > 4:
            raise KeyboardInterrupt
        return original(*args)

    before = cohort.copy()
    monkeypatch.setattr(_sketch, "_coreset", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        sg.pp.sketch(cohort, "sample", n_points=4, n_jobs=1)
    assert_same_anndata(cohort, before)


def missing_sample(adata):
    adata.obs.loc[adata.obs_names[3], "sample"] = np.nan


def missing_type(adata):
    adata.obs.loc[adata.obs_names[3], "cell_type"] = np.nan


def nan_in_pca(adata):
    adata.obsm["X_pca"][3, 2] = np.nan


def taken_column(adata):
    adata.obs["sketch_support"] = 1


def taken_entry(adata):
    adata.uns["sketch"] = {"params": {}}


TYPES = {"n_points": None, "cell_type_key": "cell_type"}
CASES = {
    "sample_key": (None, {"sample_key": "donor"}, KeyError, ["sample_key='donor'", "sample, label"]),
    "sample NaN": (missing_sample, {}, ValueError, ["sample_key='sample'", "1 of 87", "cell3"]),
    "n_points": (None, {"n_points": 0}, ValueError, ["n_points", "at least 1", "found 0"]),
    "n_points float": (None, {"n_points": 2.0}, TypeError, ["n_points", "integer", "2.0"]),
    "type key": (None, TYPES | {"cell_type_key": "type"}, KeyError, ["cell_type_key='type'", "cell_type, score"]),
    "type NaN": (missing_type, TYPES, ValueError, ["cell_type_key='cell_type'", "1 of 87", "cell3"]),
    "two methods": (None, {"cell_type_key": "cell_type"}, ValueError, ["n_points=4", "cell_type_key='cell_type'"]),
    "use_rep": (None, {"use_rep": "X_none"}, KeyError, ["use_rep='X_none'", "X_pca"]),
    "NaN": (nan_in_pca, {}, ValueError, ["obsm['X_pca']", "feature 2 (1)"]),
    "rng": (None, {"rng": 0.5}, TypeError, ["rng", "0.5"]),
    "n_jobs": (None, {"n_jobs": 0}, ValueError, ["n_jobs"]),
    "key_added": (None, {"key_added": "a/b"}, ValueError, ["key_added", "'a/b'"]),
    "key_added of a column": (
        None,
        {"key_added": "label"},
        ValueError,
        ["key_added='label'", "obs['label']", "another"],
    ),
    "key_added of a support": (taken_column, {}, ValueError, ["key_added='sketch'", "obs['sketch_support']"]),
    "key_added of an entry": (taken_entry, {}, ValueError, ["key_added='sketch'", "uns['sketch']"]),
    "unknown": (None, {"n_point": 3}, TypeError, ["n_point"]),
}


@pytest.mark.parametrize("as_view", [False, True], ids=["actual", "view"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input(cohort, assert_same_anndata, monkeypatch, case, as_view):
    change, arguments, error, texts = CASES[case]
    if change is not None:
        change(cohort)
    before = cohort.copy()
    given = cohort[:] if as_view else cohort

    def no_work(*args, **kwargs):
        raise AssertionError("work started before the input was checked")

    monkeypatch.setattr("scggml.pp._sketch.coresets", no_work)
    with pytest.raises(error) as caught:
        sg.pp.sketch(given, **{"sample_key": "sample", "n_points": 4, **arguments})
    for part in texts:
        assert part in str(caught.value.args[0])
    assert given.is_view == as_view
    assert_same_anndata(cohort, before)


def test_no_anndata(cohort):
    with pytest.raises(TypeError, match="adata must be an AnnData, found DataFrame"):
        sg.pp.sketch(cohort.obs, "sample")
