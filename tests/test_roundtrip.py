"""Everything that is written survives h5ad and zarr."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest

import scggml as sg


def write_and_read(adata, folder, kind):
    path = folder / f"data.{kind}"
    if kind == "h5ad":
        adata.write_h5ad(path)
        return ad.read_h5ad(path)
    with warnings.catch_warnings():
        # what anndata and zarr tell each other about versions of the format is not ours
        warnings.simplefilter("ignore")
        adata.write_zarr(path)
        return ad.read_zarr(path)


@pytest.fixture(params=["h5ad", "zarr"])
def again(request, tmp_path):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return lambda adata: write_and_read(adata, tmp_path, request.param)


FITS = {
    "X_pca": {},
    "X": {"use_rep": "X", "n_comps": 3},
    "layer": {"layer": "counts", "max_iter": 3},
    "data frame": {"use_rep": "X_df"},
    "paper": {"init": "random", "n_comps": 2, "scale": None, "triplets": 2, "batch_size": 16, "relative": False},
}


@pytest.mark.parametrize("arguments", FITS.values(), ids=FITS)
def test_cells(cohort, again, assert_same_anndata, arguments):
    sg.tl.fit_metric(cohort, "sample", "label", rng=0, key_added="mine", **arguments)
    if "mine" in cohort.varm:
        sg.tl.rank_genes(cohort, key="mine")
    found = again(cohort)
    assert_same_anndata(cohort, found)
    for name, value in cohort.uns["mine"]["params"].items():
        assert found.uns["mine"]["params"][name] == value
        assert np.asarray(found.uns["mine"]["params"][name]).dtype.kind == np.asarray(value).dtype.kind
    expected = sg.tl.sample_distances(cohort, key="mine")
    distances = sg.tl.sample_distances(found, key="mine")
    np.testing.assert_array_equal(distances.obsp["mine_distances"], expected.obsp["mine_distances"])
    assert_same_anndata(distances, expected)


@pytest.mark.parametrize("kind", ["int", "text", "missing"])
def test_cells_with_other_columns(cohort, again, assert_same_anndata, kind):
    if kind == "int":
        cohort.obs["sample"] = cohort.obs["sample"].cat.codes.astype(int)
        cohort.obs["label"] = cohort.obs["label"].cat.codes.astype(int)
    elif kind == "text":
        cohort.obs["sample"] = cohort.obs["sample"].astype(str)
    else:
        cohort.obs.loc[cohort.obs["sample"] == "p1", "age"] = np.nan
    sg.tl.fit_metric(cohort, "sample", "label", rng=0)
    expected = sg.tl.sample_distances(cohort)
    if kind == "text":  # strings become categories on their way to disk
        cohort.strings_to_categoricals()
        expected.obs["sample"] = expected.obs["sample"].astype("category")
    found = again(cohort)
    assert_same_anndata(cohort, found)
    assert_same_anndata(sg.tl.sample_distances(found), expected)


def test_numbers_as_names_of_features(cohort, again, assert_same_anndata):
    cohort.obsm["X_df"].columns = [0, 1, 2]
    sg.tl.fit_metric(cohort, "sample", "label", use_rep="X_df")
    del cohort.obsm["X_df"]  # which cannot be written either, unlike the metric
    assert_same_anndata(again(cohort), cohort)


@pytest.mark.parametrize("metric", ["learned", "cityblock"])
def test_samples(fitted, again, assert_same_anndata, metric):
    pdata = sg.tl.sample_distances(fitted, "sample", metric=metric, key_added="mine")
    sg.tl.embed_samples(pdata, "mds", key="mine")
    found = again(pdata)
    assert_same_anndata(pdata, found)
    assert found.shape == (8, 0)
    sg.tl.embed_samples(found, "mds", key="mine", key_added="X_again")
    np.testing.assert_array_equal(found.obsm["X_again"], pdata.obsm["X_mds"])


def test_explanations(fitted, pdata, again, assert_same_anndata):
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", key_added="mine")
    found = again(pdata)
    assert_same_anndata(pdata, found)
    for table in ("summary", "cell_types", "flows", "genes", "pairs"):
        expected = sg.get.explanation(pdata, table, key="mine")
        assert sg.get.explanation(found, table, key="mine").equals(expected)


def test_plots_of_what_was_read(fitted, pdata, again, pyplot):
    sg.tl.rank_genes(fitted)
    found = again(fitted)
    assert len(sg.pl.gene_weights(found).patches) == 12
    assert len(sg.pl.training_history(found).lines) == 1
    pdata = again(pdata)
    assert len(sg.pl.sample_map(pdata, color="label").collections) == 2
    assert sg.pl.distance_heatmap(pdata, color="label").images


def test_metric_of_a_file_serves_other_cells(cohort, fitted_x, again):
    cohort.uns["ggml"] = again(fitted_x).uns["ggml"]
    np.testing.assert_array_equal(
        sg.tl.sample_distances(cohort[:, ::-1].copy()).obsp["ggml_distances"],
        sg.tl.sample_distances(fitted_x[:, ::-1].copy()).obsp["ggml_distances"],
    )


def test_filtered_cells(cohort, again, assert_same_anndata):
    with pytest.warns(UserWarning, match="dropped"):
        sg.pp.filter_samples(cohort, "sample", "label", min_cells=10)
    assert_same_anndata(again(cohort), cohort)


def test_barycenters_trajectory_and_enrichment(fitted, pdata, again, assert_same_anndata):
    pytest.importorskip("decoupler")
    sg.tl.enrich_genes(fitted, {"a/b": ["g3", "g1", "g2"], "c": ["g4", "g5"]}, min_genes=2, signed=True)
    assert_same_anndata(again(fitted), fitted)
    points = sg.tl.class_barycenters(fitted, n_points=6, cell_type_key="cell_type", rng=0)
    assert_same_anndata(again(points), points)
    sg.tl.order_samples(pdata, "well")
    assert_same_anndata(again(pdata), pdata)
