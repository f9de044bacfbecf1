"""Writing h5ad files on disks that may be full."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

    from anndata import AnnData


def write_h5ad(adata: AnnData, path: Path, *, compression: str | None = None) -> None:
    """Write as `AnnData.write_h5ad` does, or raise the error of the disk."""
    from anndata.io import write_elem

    adata.strings_to_categoricals()
    if adata.raw is not None:
        adata.strings_to_categoricals(adata.raw.var)
    with path.open("w+b", buffering=0) as file:
        disk = _Disk(file)
        try:
            with h5py.File(disk, "w") as root:
                write_elem(root, "/", adata, dataset_kwargs={"compression": compression})
        except Exception:
            if disk.error is None:
                raise
    if disk.error is not None:
        raise disk.error


class _Disk:
    """A file for HDF5, which gets to know of no errors.

    Where HDF5 cannot write, it cannot close the file either: it prints dozens of errors, and crashes at the end of the
    program. So the first error is kept here, and what would be written after it is dropped.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.read, self.readinto, self.seek, self.tell, self.flush = (
            file.read, file.readinto, file.seek, file.tell, file.flush,
        )  # fmt: skip

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        with self._kept_error():
            while len(left) and self.error is None:
                left = left[self._file.write(left) :]
        return len(data)

    def truncate(self, size: int) -> int:
        with self._kept_error():
            self._file.truncate(size)
        return size

    @contextmanager
    def _kept_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or OSError(error.errno, error.strerror, str(self._file.name))
