"""Features that are not in memory: files, zarr and dask give the results of memory to the last bit, or say why not."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
import tracemalloc
import warnings
from importlib import metadata

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata.io import sparse_dataset

import scggml as sg

FORMS = ["dense", "csr"]
PLACES = ["backed", "backed gzip", "h5py", "zarr", "dask", "dask columns"]
SOME = ["backed", "zarr", "dask"]
RESULTS = ("obsm", "varm", "uns")


def set_block_sizes(monkeypatch, stored, rows, sketch):
    """Set how many numbers are read from storage, projected, and sketched at a time."""
    monkeypatch.setattr("scggml.core.measures._on_disk.BLOCK_SIZE", stored)
    monkeypatch.setattr("scggml._anndata._on_disk.BLOCK_SIZE", stored, raising=False)
    monkeypatch.setattr("scggml.core.measures._blocks.row_blocks.__defaults__", (rows,))
    monkeypatch.setattr("scggml.core.transport._sketch._BLOCK_ENTRIES", sketch)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """A small cohort in many blocks, in memory as in storage."""
    set_block_sizes(monkeypatch, 100, 150, 120)


@pytest.fixture
def elsewhere(tmp_path):
    """Return a function that puts X of an AnnData, and a layer and a representation that equal it, outside memory."""
    opened = []

    def move(adata, place):
        if place.startswith("backed"):
            adata.write_h5ad(tmp_path / "cells.h5ad", compression="gzip" if "gzip" in place else None)
            moved = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
            opened.append(moved.file)
            return moved
        moved = ad.AnnData(
            obs=adata.obs.copy(), var=adata.var.copy(), uns=adata.uns, obsm=dict(adata.obsm), varm=dict(adata.varm)
        )
        if place == "h5py":
            adata.write_h5ad(tmp_path / "parts.h5ad")
            file = h5py.File(tmp_path / "parts.h5ad")
            opened.append(file)
            x = sparse_dataset(file["X"]) if sp.issparse(adata.X) else file["X"]
        elif place == "zarr":
            zarr = pytest.importorskip("zarr", reason="zarr is not installed")
            adata.write_zarr(tmp_path / "cells.zarr")
            file = zarr.open(tmp_path / "cells.zarr", mode="r")
            x = sparse_dataset(file["X"]) if sp.issparse(adata.X) else file["X"]
        else:
            da = pytest.importorskip("dask.array", reason="dask is not installed")
            chunks = ((30, 1, adata.n_obs - 31), (5, adata.n_vars - 5)) if "columns" in place else (13, -1)
            dense = adata.X.toarray() if sp.issparse(adata.X) else adata.X
            x = da.from_array(dense, chunks=chunks)
            x = x.map_blocks(sp.csr_matrix) if sp.issparse(adata.X) else x
        moved.X = moved.layers["x"] = moved.obsm["x"] = x
        return moved

    yield move
    for file in opened:
        file.close()


@pytest.fixture(params=FORMS)
def cells(request, cohort):
    """The cohort with counts as X, dense or sparse, float32, and the same as a layer and a representation."""
    if request.param == "dense":
        cohort.X = cohort.X.toarray()
    cohort.layers["x"] = cohort.obsm["x"] = cohort.X
    return cohort


def assert_same_results(left, right):
    for slot in RESULTS:
        for key in ("ggml", "X_ggml", "sketch"):
            assert (key in getattr(left, slot)) == (key in getattr(right, slot))
            if key in getattr(left, slot):
                assert_same(getattr(left, slot)[key], getattr(right, slot)[key])


def assert_same(left, right):
    if isinstance(left, dict):
        assert sorted(left) == sorted(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    else:
        assert type(left) is type(right)
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("place", PLACES)
def test_fit_on_x(cells, elsewhere, place):
    moved = elsewhere(cells, place)
    for adata in (cells, moved):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    assert "ggml" in moved.varm
    assert_same_results(moved, cells)
    assert_same(
        sg.tl.sample_distances(moved).obsp["ggml_distances"], sg.tl.sample_distances(cells).obsp["ggml_distances"]
    )
    for adata in (cells, moved):
        sg.tl.rank_genes(adata)
    pd.testing.assert_frame_equal(moved.uns["ggml_rank_genes"], cells.uns["ggml_rank_genes"])


@pytest.mark.parametrize("place", ["h5py", "zarr", "dask"])
@pytest.mark.parametrize("arguments", [{"layer": "x"}, {"use_rep": "x"}], ids=["layer", "obsm"])
def test_fit_on_a_layer_or_a_representation(cells, elsewhere, place, arguments):
    moved = elsewhere(cells, place)
    for adata in (cells, moved):
        sg.tl.fit_metric(adata, "sample", "label", rng=0, **arguments)
    assert_same_results(moved, cells)
    found, expected = sg.tl.sample_distances(moved), sg.tl.sample_distances(cells)
    assert_same(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])


@pytest.mark.parametrize("place", SOME)
def test_gene_weights_of_the_pcs_need_x_by_blocks_only(cells, elsewhere, place):
    moved = elsewhere(cells, place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for adata in (cells, moved):
            sg.tl.fit_metric(adata, "sample", "label", rng=0)
    assert "ggml" in moved.varm
    assert_same_results(moved, cells)


@pytest.mark.parametrize("place", SOME)
@pytest.mark.parametrize(
    "arguments",
    [{"n_points": 4, "rng": 0}, {"cell_type_key": "cell_type"}],
    ids=["coreset", "cell_type"],
)
def test_sketches(cells, elsewhere, place, arguments):
    moved = elsewhere(cells, place)
    for adata in (cells, moved):
        sg.pp.sketch(adata, "sample", use_rep="X", **arguments)
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", sketch_key="sketch", rng=0)
    pd.testing.assert_frame_equal(moved.obs, cells.obs)
    assert_same_results(moved, cells)
    for options in ({}, {"metric": "cityblock", "sample_key": "sample", "use_rep": "X", "sketch_key": "sketch"}):
        found, expected = (sg.tl.sample_distances(adata, **options) for adata in (moved, cells))
        assert_same(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])
        pd.testing.assert_frame_equal(found.obs, expected.obs, check_exact=True)


@pytest.mark.parametrize("place", SOME)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_fixed_metrics(cells, elsewhere, place, metric):
    moved = elsewhere(cells, place)
    found, expected = (sg.tl.sample_distances(x, "sample", metric=metric, use_rep="X") for x in (moved, cells))
    assert_same(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])


@pytest.mark.parametrize("place", SOME)
def test_genes_in_another_order(cells, elsewhere, place):
    sg.tl.fit_metric(cells, "sample", "label", use_rep="X", rng=0)
    more = np.random.default_rng(0).permutation(cells.n_vars)
    turned = cells[:, more].copy()
    moved = elsewhere(turned, place)
    found, expected = sg.tl.sample_distances(moved), sg.tl.sample_distances(turned)
    assert_same(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])


@pytest.mark.parametrize(("place", "dtype"), [("backed", np.int32), ("zarr", bool), ("dask", np.float64)])
def test_other_dtypes(cells, elsewhere, place, dtype):
    cells.X = (cells.X > 0).astype(dtype)
    moved = elsewhere(cells, place)
    for adata in (cells, moved):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    assert_same_results(moved, cells)


@pytest.mark.parametrize("place", SOME)
def test_training_points_keep_their_type(cells, elsewhere, place, monkeypatch):
    seen = []
    train = sys.modules["scggml.estimators._ground_metric"].train
    monkeypatch.setattr(
        "scggml.estimators._ground_metric.train",
        lambda m, *args, **kwargs: (seen.append(m), train(m, *args, **kwargs))[1],
    )
    sg.tl.fit_metric(elsewhere(cells, place), "sample", "label", use_rep="X", rng=0)
    points = seen[0].points
    assert points.dtype == np.float32
    assert isinstance(points, sp.csr_array if sp.issparse(cells.X) else np.ndarray)


def test_values_that_are_stored_in_parts_and_out_of_order(cohort, elsewhere):
    x = sp.csr_matrix(cohort.X)
    parts = sp.csr_matrix((np.repeat(x.data / 2, 2), np.repeat(x.indices, 2), 2 * x.indptr), shape=x.shape)
    for i in range(cohort.n_obs):  # backwards
        row = slice(parts.indptr[i], parts.indptr[i + 1])
        parts.data[row], parts.indices[row] = parts.data[row][::-1].copy(), parts.indices[row][::-1].copy()
    parts.has_canonical_format = parts.has_sorted_indices = False
    cohort.X = parts
    moved = elsewhere(cohort, "backed")
    assert moved.X.group["data"].shape[0] == 2 * x.nnz
    for adata in (cohort, moved):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    assert_same_results(moved, cohort)


# what cannot be done


def columns_first(adata, elsewhere, place):
    adata.X = sp.csc_matrix(adata.X)
    if place != "dask":
        return elsewhere(adata, place)
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    adata.X = da.from_array(adata.X.toarray(), chunks=(-1, 5)).map_blocks(sp.csc_matrix)
    return adata


@pytest.mark.parametrize("place", ["backed", "h5py", "zarr", "dask"])
def test_csc_says_what_to_do(cohort, elsewhere, place):
    moved = columns_first(cohort, elsewhere, place)
    for function, arguments in (
        (sg.tl.fit_metric, ("sample", "label")),
        (sg.pp.sketch, ("sample",)),
    ):
        with pytest.raises(TypeError, match=r"^X is stored by columns \(CSC\).*to_memory\(\).*CSR"):
            function(moved, *arguments, use_rep="X")
    with pytest.raises(TypeError, match=r"^X is stored by columns \(CSC\).*to_memory\(\).*CSR"):
        sg.tl.sample_distances(moved, "sample", metric="euclidean", use_rep="X")
    assert "ggml" not in moved.uns and "sketch" not in moved.obs
    with pytest.warns(UserWarning, match=r"no gene weights .* X, .* is stored by columns"):
        sg.tl.fit_metric(moved, "sample", "label")
    assert "X_ggml" in moved.obsm and "ggml" not in moved.varm


def test_chunks_that_are_no_arrays(cohort):
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    dense = da.from_array(cohort.X.toarray(), chunks=(13, -1))
    cohort.X = dense.map_blocks(pd.DataFrame, meta=np.ones((1, 1), np.float32))
    with pytest.raises(TypeError, match="X has chunks of type DataFrame"):
        sg.tl.fit_metric(cohort, "sample", "label", use_rep="X")


def test_a_chunk_that_cannot_be_computed(cohort):
    da = pytest.importorskip("dask.array", reason="dask is not installed")

    def broken(block):
        raise OSError("the disk is gone")

    cohort.X = da.from_array(cohort.X.toarray(), chunks=(13, -1)).map_blocks(
        broken, dtype=np.float32, meta=np.ones((1, 1), np.float32)
    )
    with pytest.raises(ValueError, match="X could not be read .* the disk is gone"):
        sg.tl.fit_metric(cohort, "sample", "label", use_rep="X")


@pytest.mark.parametrize("place", SOME)
def test_nan_is_found_before_the_work(cells, elsewhere, place, monkeypatch):
    cells.X[40, 2], cells.X[60, 2], cells.X[5, 7] = np.nan, np.inf, -np.inf
    moved = elsewhere(cells, place)
    monkeypatch.setattr("scggml.estimators._ground_metric.GroundMetricLearner.fit", None)
    texts = []
    for adata in (cells, moved):
        with pytest.raises(
            ValueError, match=r"X has 3 values that are NaN or infinite, in 2 feature\(s\): g2 \(2\)"
        ) as caught:
            sg.tl.fit_metric(adata, "sample", "label", use_rep="X")
        texts.append(str(caught.value))
        assert "ggml" not in adata.uns and "X_ggml" not in adata.obsm
    assert texts[0] == texts[1]


def test_a_copy_of_a_backed_anndata(cells, elsewhere, tmp_path, monkeypatch):
    moved = elsewhere(cells, "backed")
    monkeypatch.setattr("scggml.tl._fit_metric.read_samples", None)  # nothing is done before
    text = r"copy=True cannot copy .*to_memory\(\).*copy\(filename=.*copy=False"
    for function in (
        lambda: sg.tl.fit_metric(moved, "sample", "label", copy=True),
        lambda: sg.pp.sketch(moved, "sample", copy=True),
    ):
        with pytest.raises(ValueError, match=text):
            function()
    monkeypatch.undo()
    other = moved.copy(filename=tmp_path / "other.h5ad")  # the remedy
    sg.tl.fit_metric(other, "sample", "label")
    with pytest.raises(ValueError, match=text):
        sg.tl.rank_genes(other, copy=True)
    other.file.close()


@pytest.mark.parametrize("place", ["h5py", "zarr"])
def test_a_copy_of_what_is_in_files(cells, elsewhere, place):
    moved = elsewhere(cells, place)
    with pytest.raises(
        ValueError, match=r"copy=True cannot copy X, layers\['x'\], obsm\['x'\], .*to_memory\(\).*copy=False"
    ):
        sg.tl.fit_metric(moved, "sample", "label", copy=True)


@pytest.mark.parametrize("place", ["dask", "h5py", "zarr"])
def test_copies_and_views_that_work(cells, elsewhere, place):
    if place == "zarr" and metadata.version("zarr") < "3":
        pytest.skip("arrays of zarr 2 take no lists of rows, so they have no views")
    moved = elsewhere(cells, place)
    keep = cells.obs["sample"].isin(["p1", "p2", "p3", "p4", "p5", "p6"]).to_numpy()
    expected = sg.tl.fit_metric(cells[keep], "sample", "label", use_rep="X", rng=0, copy=True)
    view = moved[keep]
    assert_same_results(sg.tl.fit_metric(view, "sample", "label", use_rep="X", rng=0, copy=True), expected)
    assert view.is_view
    sg.tl.fit_metric(view, "sample", "label", use_rep="X", rng=0)
    assert not view.is_view
    assert_same_results(view, expected)
    if place == "dask":
        result = sg.tl.fit_metric(moved, "sample", "label", use_rep="X", rng=0, copy=True)
        assert "ggml" not in moved.uns and type(result.X).__module__.startswith("dask")


def test_views_of_a_backed_anndata(cells, elsewhere, tmp_path):
    sg.tl.fit_metric(cells, "sample", "label", use_rep="X", rng=0)
    sg.tl.fit_metric(cells, "sample", "label", key_added="pcs", rng=0)
    moved = elsewhere(cells, "backed")
    keep = cells.obs["sample"].isin(["p1", "p2", "p3", "p4"]).to_numpy()
    view, expected = moved[keep], cells[keep].copy()
    for function in (sg.tl.fit_metric, sg.pp.sketch):
        with pytest.raises(ValueError, match=r"adata is a view of a file, .*to_memory\(\).*copy\(filename="):
            function(view, *(("sample", "label") if function is sg.tl.fit_metric else ("sample",)))
    with pytest.raises(TypeError, match=r"X is in a file, of which adata is a view.*to_memory\(\).*copy\(filename="):
        sg.tl.sample_distances(view)
    # what is in memory can be read, and the remedies work
    found = sg.tl.sample_distances(view, key="pcs")
    assert_same(found.obsp["pcs_distances"], sg.tl.sample_distances(expected, key="pcs").obsp["pcs_distances"])
    other = view.copy(filename=tmp_path / "other.h5ad")
    for remedy in (view.to_memory(), other):
        found = sg.tl.sample_distances(remedy)
        assert_same(found.obsp["ggml_distances"], sg.tl.sample_distances(expected).obsp["ggml_distances"])
    other.file.close()


# files


def test_a_closed_backing_file_is_opened_again_by_anndata(cells, elsewhere):
    moved = elsewhere(cells, "backed")
    moved.file.close()
    sg.tl.fit_metric(moved, "sample", "label", use_rep="X", rng=0)
    sg.tl.fit_metric(cells, "sample", "label", use_rep="X", rng=0)
    assert_same_results(moved, cells)


def test_a_backing_file_that_is_gone(cells, elsewhere, tmp_path):
    moved = elsewhere(cells, "backed")
    moved.file.close()
    (tmp_path / "cells.h5ad").unlink()
    with pytest.raises(ValueError, match="X could not be read from where it is stored: .*closed or moved"):
        sg.tl.fit_metric(moved, "sample", "label", use_rep="X")


@pytest.mark.parametrize("arguments", [{"use_rep": "X"}, {"layer": "x"}, {"use_rep": "x"}], ids=str)
def test_a_closed_file_behind_the_slots(cells, elsewhere, arguments):
    moved = elsewhere(cells, "h5py")
    found = moved.layers["x"]
    (found.group if sp.issparse(cells.X) else found).file.close()
    with pytest.raises(ValueError, match="could not be read from where it is stored: .*closed or moved, open it again"):
        sg.tl.fit_metric(moved, "sample", "label", **arguments)
    assert "ggml" not in moved.uns


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_the_file_stays_as_it_is_until_it_is_written(cells, tmp_path, mode):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    backed = ad.read_h5ad(path, backed=mode)
    sg.pp.sketch(backed, "sample", n_points=4, use_rep="X", rng=0)
    sg.tl.fit_metric(backed, "sample", "label", use_rep="X", sketch_key="sketch", rng=0)
    assert backed.isbacked
    backed.write_h5ad(tmp_path / "fitted.h5ad")
    backed.file.close()
    if mode == "r":
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    again = ad.read_h5ad(tmp_path / "fitted.h5ad")
    assert {"ggml", "sketch"} <= set(again.uns) and "sketch_support" in again.obs
    np.testing.assert_array_equal(again.obsm["X_ggml"], backed.obsm["X_ggml"])
    assert "ggml" not in ad.read_h5ad(path).uns


@pytest.mark.parametrize("place", SOME)
def test_a_failure_leaves_everything_as_it_was(cells, elsewhere, place, tmp_path, monkeypatch):
    moved = elsewhere(cells, place)
    before = {slot: sorted(getattr(moved, slot)) for slot in RESULTS}, moved.obs.copy(), type(moved.X)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("scggml.core.metric._training.evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.fit_metric(moved, "sample", "label", use_rep="X")
    assert before[0] == {slot: sorted(getattr(moved, slot)) for slot in RESULTS} and before[2] is type(moved.X)
    pd.testing.assert_frame_equal(moved.obs, before[1])
    if place == "backed":
        moved.file.close()
        with h5py.File(tmp_path / "cells.h5ad", "r+") as file:  # nobody holds it
            assert "X" in file


# memory


@pytest.mark.parametrize("form", FORMS)
def test_x_is_never_loaded_as_a_whole(tmp_path, monkeypatch, form):
    monkeypatch.undo()
    set_block_sizes(monkeypatch, 100_000, 100_000, 100_000)
    rng = np.random.default_rng(0)
    n_samples, n_cells, n_genes = 50, 800, 250
    sample = np.repeat(np.arange(n_samples), n_cells)
    x = rng.poisson(0.5 + (sample[:, None] % 2) * (np.arange(n_genes) < 5), size=(len(sample), n_genes)).astype(
        np.float32
    )
    obs = pd.DataFrame(
        {"sample": sample.astype(str), "label": (sample % 2).astype(str)}, index=np.arange(len(sample)).astype(str)
    )
    adata = ad.AnnData(x if form == "dense" else sp.csr_matrix(x), obs=obs)
    size = x.nbytes if form == "dense" else adata.X.data.nbytes + adata.X.indices.nbytes
    adata.write_h5ad(tmp_path / "cells.h5ad")
    del adata, x
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    sg.tl.sample_distances(backed[:1000].to_memory(), "sample", metric="euclidean", use_rep="X")  # imports and compiles
    tracemalloc.start()
    try:
        sg.pp.sketch(backed, "sample", n_points=5, use_rep="X", rng=0, n_jobs=1)
        sg.tl.fit_metric(backed, "sample", "label", sketch_key="sketch", n_comps=2, rng=0)
        sg.tl.sample_distances(backed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        backed.file.close()
    assert peak < size / 3


# optional packages


def test_without_dask(cohort, tmp_path):
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    code = f"""
        import sys
        sys.modules["dask"] = None  # as if it were not installed
        import anndata as ad
        import scggml as sg
        for backed in (None, "r"):
            adata = ad.read_h5ad({str(tmp_path / "cells.h5ad")!r}, backed=backed)
            sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
            sg.tl.sample_distances(adata)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore")  # anndata's and xarray's own
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_lazily_read(cells, tmp_path, kind):
    pytest.importorskip("dask", reason="dask is not installed")
    pytest.importorskip("xarray", reason="xarray is not installed")
    from anndata.experimental import read_lazy

    sg.tl.fit_metric(cells, "sample", "label", use_rep="X", key_added="before", rng=0)
    sg.tl.rank_genes(cells, key="before")
    getattr(cells, f"write_{kind}")(tmp_path / f"cells.{kind}")
    lazy = read_lazy(tmp_path / f"cells.{kind}")
    with pytest.raises(TypeError, match=r"adata.obs is a Dataset2D.*adata.obs = adata.obs.to_memory\(\)"):
        sg.tl.fit_metric(lazy, "sample", "label")
    lazy.obs = lazy.obs.to_memory()
    found, expected = (sg.tl.sample_distances(x, key="before") for x in (lazy, cells))
    assert_same(found.obsp["before_distances"], expected.obsp["before_distances"])
    assert list(sg.get.gene_weights(lazy, key="before").index) == list(sg.get.gene_weights(cells, key="before").index)
    for arguments in ({}, {"use_rep": "X"}, {"layer": "counts"}, {"use_rep": "X_df"}):
        for adata in (cells, lazy):
            sg.pp.sketch(adata, "sample", n_points=4, rng=0, **arguments)
            sg.tl.fit_metric(adata, "sample", "label", rng=0, sketch_key="sketch", **arguments)
        assert_same_results(lazy, cells)


@pytest.mark.filterwarnings("ignore:Support for Awkward Arrays")  # anndata's own
def test_a_matrix_of_an_unknown_type(cohort):
    awkward = pytest.importorskip("awkward", reason="awkward is not installed")
    cohort.obsm["odd"] = awkward.Array([[1.0, 2.0]] * cohort.n_obs)
    with pytest.raises(TypeError, match=r"obsm\['odd'\] is a Array, which cannot be read by rows.*use_rep"):
        sg.tl.fit_metric(cohort, "sample", "label", use_rep="odd")
