"""Files that are no h5ad, or damaged ones, are named; cells that cannot be written again are refused before the work."""

from __future__ import annotations

import errno
import warnings

import anndata as ad
import h5py
import numpy as np
import pytest
from anndata.io import read_elem, write_elem

from scggml.cli import _input as module
from scggml.cli._input import check_can_be_written, check_cells, read_cells
from scggml.cli._results import results_folder


@pytest.fixture
def path(cohort, tmp_path):
    cohort.raw = cohort.copy()
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def read(path):
    check_cells(path, {"sample_key": "sample", "label_key": "label", "donor_key": None})
    return read_cells(path)


def test_reads_as_anndata_does(path, assert_same_anndata):
    assert_same_anndata(read(path), ad.read_h5ad(path))


def test_unknown_columns_are_found_before_matrices_are_read(path, monkeypatch):
    monkeypatch.setattr("anndata.io.read_h5ad", lambda *_: pytest.fail("read"))
    with pytest.raises(KeyError, match="label_key='state' is not a column of obs. Found: sample, label"):
        check_cells(path, {"sample_key": "sample", "label_key": "state"})


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.999])
def test_truncated_files_are_named(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(OSError, match=r"cells\.h5ad (cannot be read as|is not) an h5ad file.* cut off"):
        read(path)


def test_damaged_files_are_named(path):
    """Each block of bytes is overwritten in turn: the file is named, or the damage is where nothing is read."""
    whole, n_named = path.read_bytes(), 0
    for start in range(0, len(whole), 9_973):
        path.write_bytes(whole[:start] + b"\xff" * 512 + whole[start + 512 :])
        try:
            read(path)
        except (OSError, KeyError, ValueError) as error:
            n_named += 1
            assert "cells.h5ad" in str(error) or "_key=" in str(error)
    assert n_named >= 5


def test_other_files(tmp_path, cohort):
    (tmp_path / "text.h5ad").write_text("cell,gene\n")
    (tmp_path / "empty.h5ad").touch()
    for name in ("text", "empty"):
        with pytest.raises(OSError, match=rf"{name}\.h5ad is not an h5ad file: its content is not HDF5"):
            read(tmp_path / f"{name}.h5ad")
    with pytest.raises(FileNotFoundError, match=r"none\.h5ad"):
        read(tmp_path / "none.h5ad")
    cohort.write_zarr(tmp_path / "store.h5ad")
    with pytest.raises(IsADirectoryError, match=r"store\.h5ad is a folder.*read_zarr"):
        read(tmp_path / "store.h5ad")


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (["mod", "obs", "var"], r"a MuData file of several modalities. Make one: mudata.read_h5mu"),
        (["matrix", "row_attrs", "col_attrs"], "a loom file. Make one: anndata.io.read_loom"),
        (["matrix"], "a count matrix of Cell Ranger. Make one: scanpy.read_10x_h5"),
        (["assays", "reductions"], "an h5Seurat file. Make one: SeuratDisk"),
        (["weights", "layers"], "HDF5 with layers, weights"),
    ],
)
def test_other_kinds_of_hdf5(tmp_path, groups, text):
    with h5py.File(tmp_path / "file.h5ad", "w") as file:
        for group in groups:
            file.create_group(group)
    with pytest.raises(ValueError, match=rf"file\.h5ad is not an h5ad file, but {text}"):
        read(tmp_path / "file.h5ad")


def test_mudata_is_recognised(tmp_path, cohort):
    from mudata import MuData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of defaults to come
        MuData({"rna": cohort}).write(tmp_path / "cells.h5mu")
    with pytest.raises(ValueError, match="several modalities"):
        read(tmp_path / "cells.h5mu")


def test_no_memory(path, monkeypatch):
    def too_large(*args):
        raise MemoryError

    monkeypatch.setattr("anndata.io.read_h5ad", too_large)
    with pytest.raises(MemoryError, match=r"cells\.h5ad, .* GB on disk, does not fit into memory"):
        read(path)


def check(adata, path):
    with results_folder(path.parent / "out") as results:
        check_can_be_written(adata, path, results)
        assert not any(results.partial.iterdir())


def test_what_can_be_written_is_left_as_it_was(path, assert_same_anndata):
    adata = read(path)
    check(adata, path)
    assert_same_anndata(adata, read(path))


def with_reserved_name(path, group):
    """As files that were converted from Seurat objects: a column has the name that anndata gives the index."""
    with h5py.File(path, "a") as file:
        table = file[group]
        index = table.attrs["_index"]
        n_rows = len(read_elem(table[index]))
        write_elem(table, "names", np.array(list(read_elem(table[index])), dtype=object))
        del table[index]
        write_elem(table, "_index", np.arange(n_rows))
        table.attrs["_index"] = "names"
        table.attrs["column-order"] = np.array(["_index", *table.attrs["column-order"]], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("group", "slot"), [("raw/var", "raw.var"), ("obs", "obs"), ("var", "var"), ("obsm/X_df", "obsm['X_df']")]
)
def test_reserved_names(path, group, slot):
    with_reserved_name(path, group)
    adata = read(path)
    with pytest.raises(ValueError, match=r"reserved name") as found:
        check(adata, path)
    assert f"cells.h5ad holds {slot}, which cannot be written" in str(found.value)
    remedy = f"del adata.{slot}['_index']"
    assert remedy in str(found.value)
    exec(remedy, {"adata": adata})  # the remedy is one
    check(adata, path)


def test_unknown_types(path, cohort):
    cohort.uns["a"] = {"b": object()}
    with pytest.raises(
        ValueError, match=r"holds uns\['a'\]\['b'\], which cannot be written.*del adata.uns\['a'\]\['b'\]"
    ):
        check(cohort, path)


def test_full_disk_is_not_blamed_on_the_cells(path, cohort, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "file")

    monkeypatch.setattr(module, "write_h5ad", full)
    with pytest.raises(OSError, match="No space left") as found:
        check(cohort, path)
    assert found.value.errno == errno.ENOSPC
