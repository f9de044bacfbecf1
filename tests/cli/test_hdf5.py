"""h5ad files on disks that are full or fail."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap

import anndata as ad
import pytest

from scggml.cli._hdf5 import write_h5ad


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_same_file_as_of_anndata(fitted, tmp_path, compression, assert_same_anndata):
    fitted.raw = fitted.copy()
    fitted.obs["text"] = [f"t{i % 3}" for i in range(fitted.n_obs)]
    fitted.write_h5ad(tmp_path / "theirs.h5ad", compression=compression)
    write_h5ad(fitted, tmp_path / "ours.h5ad", compression=compression)
    ours, theirs = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("ours", "theirs"))
    assert_same_anndata(ours, theirs)
    assert_same_anndata(ours.raw.to_adata(), theirs.raw.to_adata())


CODE = """
    import errno, resource, signal, sys
    from pathlib import Path
    import anndata, numpy as np
    from scggml.cli._hdf5 import write_h5ad
    adata = anndata.AnnData(np.random.default_rng(0).normal(size=(200, 100)), uns={f"k{i}": i for i in range(50)})
    for size in (0, 100, 5_000, 40_000, 200_000):  # the whole takes 246 kB
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            write_h5ad(adata, Path(sys.argv[1]))
        except OSError as error:
            assert error.errno == errno.EFBIG and error.filename == sys.argv[1], error
        else:
            raise AssertionError(size)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_first_error_of_the_disk_and_nothing_else(tmp_path):
    """HDF5 alone prints an error for each object that it cannot close, and crashes at the end of the program."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CODE), str(tmp_path / "file.h5ad")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_other_errors_pass(fitted, tmp_path):
    fitted.uns["what"] = object()
    with pytest.raises(Exception, match="No method registered"):
        write_h5ad(fitted, tmp_path / "file.h5ad")
    with pytest.raises(OSError) as found:
        write_h5ad(fitted, tmp_path / "none" / "file.h5ad")
    assert found.value.errno == errno.ENOENT
