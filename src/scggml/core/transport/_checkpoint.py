"""Finished distances on disk, from which an interrupted computation goes on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._costs import Cost

_RECORD = np.dtype([("distance", "<f8"), ("gap", "<f8")])


@dataclass(frozen=True)
class Checkpoint:
    """A file with a header that names the problem, followed by one record per solved pair, in the order of the pairs.

    Parameters
    ----------
    path
        The file.
    fingerprint
        Hash of everything that the distances depend on.
    """

    path: Path
    fingerprint: str

    @classmethod
    def open(cls, path: str | os.PathLike[str], measures: Measures, pairs: NDArray[np.int64], cost: Cost) -> Checkpoint:
        """Return the checkpoint of these pairs of measures; the file is made where there is none.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        digest = hashlib.sha256(cost.encode())
        points = measures.points
        parts = (points,) if isinstance(points, np.ndarray) else (points.data, points.indices, points.indptr)
        for array in (*parts, measures.offsets, measures.weights, pairs):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        checkpoint = cls(Path(path), digest.hexdigest())
        if not checkpoint.path.exists():
            checkpoint.path.write_bytes(checkpoint._header)
        elif checkpoint._found() != checkpoint._header:
            msg = (
                f"checkpoint={str(path)!r} does not hold distances of these samples under this metric. Delete the "
                "file, or name another one."
            )
            raise ValueError(msg)
        return checkpoint

    def read(self, n_pairs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return distances and gaps of the pairs that are done; a record cut off half-way is forgotten."""
        data = self.path.read_bytes()[len(self._header) :]
        n_done = min(len(data) // _RECORD.itemsize, n_pairs)
        records = np.frombuffer(data, _RECORD, count=n_done)
        with self.path.open("r+b") as file:
            file.truncate(len(self._header) + n_done * _RECORD.itemsize)
        return records["distance"].astype(np.float64), records["gap"].astype(np.float64)

    def append(self, distances: NDArray[np.float64], gaps: NDArray[np.float64]) -> None:
        """Add the next pairs."""
        records = np.empty(len(distances), _RECORD)
        records["distance"], records["gap"] = distances, gaps
        with self.path.open("ab") as file:
            file.write(records.tobytes())

    @property
    def _header(self) -> bytes:
        return f"scggml distances {self.fingerprint}\n".encode()

    def _found(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(len(self._header))
