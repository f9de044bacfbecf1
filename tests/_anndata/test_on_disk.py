"""Files that are damaged: an error that names the slot and the file, never numbers or a crash."""

from __future__ import annotations

import anndata as ad
import h5py
import pytest
import scipy.sparse as sp

import scggml as sg


def damage(path, name):
    """Overwrite the stored bytes of an array's last chunk, or of the whole array, so that they cannot be unpacked."""
    with h5py.File(path) as file:
        dataset = file[name]
        place = dataset.id.get_chunk_info(dataset.id.get_num_chunks() - 1)
    with path.open("r+b") as file:
        file.seek(place.byte_offset)
        file.write(bytes(place.size))


@pytest.mark.parametrize("kind", ["csr", "dense"])
def test_a_damaged_chunk_of_a_backed_file(cohort, tmp_path, kind):
    path = tmp_path / "cells.h5ad"
    if kind == "dense":
        cohort.X = cohort.X.toarray()
    cohort.write_h5ad(path, compression="gzip")
    damage(path, "X/data" if kind == "csr" else "X")
    backed = ad.read_h5ad(path, backed="r")
    before = dict(backed.uns), list(backed.obsm), list(backed.obs)
    with pytest.raises(ValueError, match=r"X could not be read from .*cells\.h5ad: .*may be damaged: write it again"):
        sg.tl.fit_metric(backed, "sample", "label", use_rep="X")
    assert (dict(backed.uns), list(backed.obsm), list(backed.obs)) == before
    backed.file.close()


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize(("name", "value"), [("indices", 10**6), ("indices", -1), ("indptr", 10**6), ("indptr", -5)])
def test_indices_out_of_range(cohort, tmp_path, backed, name, value):
    """SciPy would read from other places in memory, or end the process."""
    path = tmp_path / "cells.h5ad"
    cohort.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file[f"X/{name}"][7] = value
    adata = ad.read_h5ad(path, backed="r" if backed else None)
    with pytest.raises(ValueError, match=r"^X (is damaged|could not be read from .*cells\.h5ad): "):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X")


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_array])
def test_indices_out_of_range_in_memory(cohort, form):
    cohort.layers["x"] = form(cohort.X)
    cohort.layers["x"].indices[3] = 999
    with pytest.raises(ValueError, match=r"layers\['x'\] is damaged: .* must be < .*Read it from an"):
        sg.tl.sample_distances(cohort, "sample", metric="euclidean", use_rep="X", layer="x")


@pytest.mark.filterwarnings("ignore")  # zarr's and anndata's own
def test_a_damaged_chunk_of_a_zarr_store(cohort, tmp_path):
    zarr = pytest.importorskip("zarr")
    cohort.X = cohort.X.toarray()
    cohort.write_zarr(tmp_path / "cells.zarr")
    chunk = next(p for p in (tmp_path / "cells.zarr" / "X").rglob("*0") if p.is_file())  # 0.0, or c/0/0
    chunk.write_bytes(chunk.read_bytes()[:100])
    cohort.X = zarr.open(tmp_path / "cells.zarr", mode="r")["X"]
    with pytest.raises(ValueError, match=r"X could not be read from .*cells\.zarr.*may be damaged"):
        sg.tl.fit_metric(cohort, "sample", "label", use_rep="X")
