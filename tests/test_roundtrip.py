"""Everything that is written survives h5ad and zarr."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest

import scggml as sg
from scggml._anndata._stored_metric import read_metric


def write_and_read(adata, folder, kind):
    path = folder / f"data.{kind}"
    if kind == "h5ad":
        adata.write_h5ad(path)
        return ad.read_h5ad(path)
    if kind == "h5mu":
        return write_and_read_as_modality(adata, path)
    with warnings.catch_warnings():
        # what anndata and zarr tell each other about versions of the format is not ours
        warnings.simplefilter("ignore")
        adata.write_zarr(path)
        return ad.read_zarr(path)


def write_and_read_as_modality(adata, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mudata's and anndata's own
        mudata.MuData({"rna": adata}).write(path)
        found = mudata.read_h5mu(path)["rna"]
    return found


@pytest.fixture(params=["h5ad", "zarr", "h5mu"])
def again(request, tmp_path):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return lambda adata: write_and_read(adata, tmp_path, request.param)


FITS = {
    "X_pca": {},
    "X": {"use_rep": "X", "n_comps": 3},
    "layer": {"layer": "counts", "learner": sg.GroundMetricLearner(refine=sg.Refinement(max_iter=3))},
    "data frame": {"use_rep": "X_df"},
    "preset": {"learner": "triplet", "n_comps": 2},
    "entropic": {"learner": sg.GroundMetricLearner(solver=sg.Sinkhorn(0.2), scale=None, ridge=0.5)},
}


@pytest.mark.parametrize("arguments", FITS.values(), ids=FITS)
def test_cells(cohort, again, assert_same_anndata, arguments):
    sg.tl.fit_metric(cohort, "sample", "label", rng=0, key_added="mine", **arguments)
    if "mine" in cohort.varm:
        sg.tl.rank_genes(cohort, key="mine")
    found = again(cohort)
    assert_same_anndata(cohort, found)
    learned, read = (read_metric(adata, "mine").learner.get_params(deep=False) for adata in (cohort, found))
    assert read == learned
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


def test_held_out_samples(fitted, again, assert_same_anndata):
    """From cells that were written and read as from those in memory; and as they are."""
    pdata = sg.tl.sample_distances(fitted, cv="auto", key_added="mine")
    assert_same_anndata(sg.tl.sample_distances(again(fitted), cv="auto", key_added="mine"), pdata)
    sg.tl.embed_samples(pdata, key="mine")
    found = again(pdata)
    assert_same_anndata(pdata, found)
    assert found.uns["mine"]["folds"].dtype.kind == "i" and found.uns["X_mds"]["status"] == "held_out"
    assert sg.get.distances(found, key="mine").attrs == {"metric": "learned", "status": "held_out"}


@pytest.mark.parametrize("metric", ["learned", "cityblock"])
def test_samples(fitted, again, assert_same_anndata, metric):
    pdata = sg.tl.sample_distances(fitted, "sample", metric=metric, key_added="mine")
    sg.tl.embed_samples(pdata, "mds", key="mine")
    found = again(pdata)
    assert_same_anndata(pdata, found)
    assert found.shape == (8, 0)
    del found.obsm["X_mds"]
    sg.tl.embed_samples(found, "mds", key="mine")
    np.testing.assert_array_equal(found.obsm["X_mds"], pdata.obsm["X_mds"])


def test_explanations(fitted, pdata, again, assert_same_anndata):
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    found = again(pdata)
    assert_same_anndata(pdata, found)
    for table in ("summary", "cell_types", "flows", "genes", "pairs"):
        expected = sg.get.explanation(pdata, table)
        assert sg.get.explanation(found, table).equals(expected)


def test_plots_of_what_was_read(fitted, pdata, again, pyplot):
    sg.tl.rank_genes(fitted)
    found = again(fitted)
    assert len(sg.pl.gene_weights(found).patches) == 12
    assert len(sg.pl.training_history(found).lines) == 1
    pdata = again(pdata)
    assert len(sg.pl.sample_map(pdata, color="label").get_legend().get_texts()) == 2
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
    sg.tl.enrich_genes(fitted, {"a/b": [f"g{i}" for i in range(5)], "c": [f"g{i}" for i in range(5, 11)]}, signed=True)
    assert_same_anndata(again(fitted), fitted)
    points = sg.tl.class_barycenters(fitted, n_points=6, cell_type_key="cell_type", rng=0)
    assert_same_anndata(again(points), points)
    sg.tl.order_samples(pdata, "well")
    pdata.obsp["all_distances"] = pdata.obsp["ggml_distances"]
    sg.tl.score_distances(pdata, ["label", "age"], technical="n_cells", key="all")
    assert_same_anndata(again(pdata), pdata)


def test_evaluation(cohort, again, assert_same_anndata):
    """Scores, settings and permutation tests, with labels whose names files could not take as keys."""
    cohort.obs["label"] = cohort.obs["label"].cat.rename_categories({"sick": "CKD/DKD"})
    options = {"use_rep": "X_pca", "rng": 0, "n_jobs": 1}
    sg.tl.separation_test(cohort, "sample", "label", n_permutations=19, **options)
    sg.tl.power(cohort, "sample", "label", n_samples=8, **options)
    sg.tl.cross_validate(cohort, "sample", "label", methods=["ggml", "pseudobulk"], cv=2, **options)
    grid = [{"scale": None, "solver": sg.Sinkhorn(0.1), "refine": sg.Refinement(max_iter=2)}]
    sg.tl.tune(cohort, "sample", "label", grid=grid, cv=4, **options)
    found = again(cohort)
    assert_same_anndata(cohort, found)
    expected = sg.get.scores(cohort, baseline="pseudobulk")
    pd.testing.assert_frame_equal(sg.get.scores(found, baseline="pseudobulk"), expected)
    sg.tl.fit_metric(found, "sample", "label", learner=found.uns["ggml_tuning"]["best"], **options)
    sg.tl.fit_metric(cohort, "sample", "label", learner=sg.GroundMetricLearner(**grid[0]), **options)
    assert_same_anndata(found, cohort)


def test_new_samples(cohort, again, assert_same_anndata):
    """A reference, and samples that are mapped onto it."""
    is_new = cohort.obs["sample"].isin(["p5", "p7"])
    old, new = cohort[~is_new].copy(), cohort[is_new].copy()
    sg.tl.fit_metric(old, "sample", "label", rng=0)
    reference = sg.tl.make_reference(old, sg.tl.sample_distances(old), rng=0)
    read = again(reference)
    assert_same_anndata(reference, read)
    mapped, expected = sg.tl.map_samples(new, read, "sample"), sg.tl.map_samples(new, reference, "sample")
    assert_same_anndata(mapped, expected)
    sg.tl.predict_samples(mapped)
    assert_same_anndata(again(mapped), mapped)


def test_new_samples_in_features_of_their_own(cohort, again, assert_same_anndata):
    """Sketched, projected and clustered: what the other tests do not write."""
    is_new = cohort.obs["sample"].isin(["p5", "p7"])
    sg.pp.sketch(cohort, "sample", n_points=5, rng=0)
    assert_same_anndata(again(cohort), cohort)
    old, new = cohort[~is_new].copy(), cohort[is_new].copy()
    sg.tl.fit_metric(old, "sample", "label", sketch_key="sketch", rng=0)
    sg.tl.rank_genes(old, n_boot=20, rng=0)
    assert_same_anndata(again(old), old)
    pdata = sg.tl.sample_distances(old)
    sg.tl.cluster_samples(pdata, 2)
    reference = sg.tl.make_reference(old, pdata, cv=None, n_points=4, rng=0)
    read = again(reference)
    assert_same_anndata(read, reference)
    for key in ("use_rep", None):
        options = {} if key is None else {key: "X_pca"}
        sg.tl.project(new, read, **options)
        assert_same_anndata(again(new), new)
        mapped = sg.tl.map_samples(new, read, "sample", **options)
        assert_same_anndata(again(mapped), mapped)
        del new.uns["ggml"], new.obsm["X_ggml"]


def records_in(entry, path=""):
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from records_in(value, f"{path}/{name}")
        elif getattr(getattr(value, "dtype", None), "names", None):
            yield f"{path}/{name}"


def test_records_are_those_of_scanpy_only(fitted, pdata):
    """Newer versions of zarr write records under a name that zarr 3.1, the last for Python 3.11, cannot read."""
    sg.tl.rank_genes(fitted, n_boot=20, rng=0)
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    reference = sg.tl.make_reference(fitted, pdata, rng=0)
    found = [path for adata in (fitted, pdata, reference) for path in records_in(adata.uns)]
    assert found
    assert all(path.startswith("/ggml_rank_genes_groups/") for path in found)
