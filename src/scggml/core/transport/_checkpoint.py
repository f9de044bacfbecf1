"""Finished distances on disk, from which an interrupted computation goes on."""

from __future__ import annotations

import logging
import os
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from scggml._warnings import warn

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_MAGIC: Final = b"scggml distances "
_VERSION: Final = 2
_RECORD: Final = np.dtype([("pair", "<u4", (2,)), ("distance", "<f8"), ("gap", "<f8"), ("checksum", "<u4")])
_CHECKED: Final = _RECORD.itemsize - 4  # bytes of a record before its checksum
_FAR: Final = 2**40  # beyond the end of every file: Windows locks bytes, which then cannot be read


class Checkpoint:
    """An open file with a header that names the problem, followed by one record per solved pair.

    A record holds its pair and a checksum, so that nothing is taken for a distance that was not written as one. The
    file is locked by the operating system while it is open, and is free again when the process ends, however it ends.
    """

    def __init__(self, path: str | os.PathLike[str], file: BinaryIO, fingerprint: str) -> None:
        self._path, self._file = path, file
        self._header = b"%s%d %s\n" % (_MAGIC, _VERSION, fingerprint.encode())
        self._seed = zlib.crc32(self._header)  # records of another problem do not pass

    @classmethod
    @contextmanager
    def open(cls, path: str | os.PathLike[str], fingerprint: str) -> Iterator[Checkpoint]:
        """Open the file for one computation; it is made where there is none.

        Parameters
        ----------
        path
            The file.
        fingerprint
            Hash of everything that the distances depend on.

        Raises
        ------
        ValueError
            If the file cannot be written, is in use by another computation, or holds something else.
        """
        check_place(path)
        try:
            file = Path(path).open("a+b", buffering=0)
        except OSError as error:
            raise ValueError(_cannot_write(path, error)) from error
        with file:
            _lock(file, path)
            checkpoint = cls(path, file, fingerprint)
            checkpoint._check_header()
            yield checkpoint

    def read(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return which pairs are done, as rising positions in `pairs` (n_pairs, 2), their distances and their gaps.

        A record that was cut off is forgotten. Damaged ones are removed with a warning.
        """
        self._file.seek(len(self._header))
        data = self._file.read()
        n_records = len(data) // _RECORD.itemsize
        records = np.frombuffer(data, _RECORD, count=n_records)
        keys = _keys(pairs)
        order = np.argsort(keys)
        wanted = _keys(records["pair"].astype(np.int64))
        place = np.searchsorted(keys, wanted, sorter=order) % max(len(keys), 1)
        sound = self._checksums(records) == records["checksum"]
        sound &= (keys[order[place]] == wanted) if len(keys) else False
        for name in ("distance", "gap"):
            sound &= np.isfinite(records[name]) & (records[name] >= 0)
        if not sound.all() or len(data) % _RECORD.itemsize:
            first = n_records if sound.all() else int(np.argmin(sound))
            self._file.truncate(len(self._header) + first * _RECORD.itemsize)
            self._write(records[first:][sound[first:]].tobytes())
        if not sound.all():
            msg = (
                f"checkpoint={str(self._path)!r} has {int((~sound).sum())} damaged record(s) among {n_records}, which "
                "are removed: the distances of these pairs are computed again. Check the disk that the file is on."
            )
            warn(msg)
        done, last = np.unique(order[place[sound]][::-1], return_index=True)
        kept = records[sound][::-1][last]
        return done, kept["distance"].astype(np.float64), kept["gap"].astype(np.float64)

    def append(self, pairs: NDArray[np.int64], distances: NDArray[np.float64], gaps: NDArray[np.float64]) -> None:
        """Add solved pairs, (n, 2)."""
        records = np.empty(len(distances), _RECORD)
        records["pair"], records["distance"], records["gap"] = pairs, distances, gaps
        records["checksum"] = self._checksums(records)
        self._write(records.tobytes())

    def _checksums(self, records: NDArray[Any]) -> NDArray[np.uint32]:
        rows = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), _RECORD.itemsize)
        checked = rows[:, :_CHECKED].tobytes()
        starts = range(0, len(checked), _CHECKED)
        return np.array([zlib.crc32(checked[i : i + _CHECKED], self._seed) for i in starts], dtype=np.uint32)

    def _check_header(self) -> None:
        self._file.seek(0)
        found = self._file.read(len(self._header))
        if found == self._header:
            return
        if self._header.startswith(found):  # a new file, or one whose header was cut off
            self._file.truncate(0)
            self._write(self._header)
            return
        what = f"checkpoint={str(self._path)!r}"
        if not found.startswith(_MAGIC):
            msg = f"{what} is not a checkpoint of scggml. Name another file."
        elif not found.startswith(b"%s%d " % (_MAGIC, _VERSION)):
            msg = f"{what} was written by another version of scggml. Delete the file, or name another one."
        else:
            msg = (
                f"{what} holds distances of other samples, or under another metric. Delete the file, or name another "
                "one."
            )
        raise ValueError(msg)

    def _write(self, data: bytes) -> None:
        try:
            while data:  # a full disk takes a part, and says so at the next try
                data = data[self._file.write(data) :]
        except OSError as error:
            msg = (
                f"checkpoint={str(self._path)!r} could not be written: {error}. Distances before this are kept: the "
                "same call goes on from there once there is space."
            )
            raise OSError(msg) from error


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse a file that cannot be written, without making it."""
    place = Path(path)
    if place.is_dir():
        reason = "it is a folder"
    elif not place.parent.is_dir():
        reason = f"there is no folder {str(place.parent)!r}"
    elif not os.access(place if place.exists() else place.parent, os.W_OK):
        reason = "there is no permission to write there"
    else:
        return
    raise ValueError(_cannot_write(path, reason))


def _cannot_write(path: str | os.PathLike[str], reason: object) -> str:
    return f"checkpoint={str(path)!r} cannot be written: {reason}. Name a file in a folder that you can write to."


def _keys(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    return pairs[:, 0] * np.int64(2**32) + pairs[:, 1]


def _lock(file: BinaryIO, path: str | os.PathLike[str]) -> None:
    """Lock a file, or say that another computation has; some file systems of clusters have no locks."""
    try:
        if sys.platform == "win32":
            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        msg = (
            f"checkpoint={str(path)!r} is in use: another process or thread is computing these distances. Wait until "
            "it has finished, or name another file."
        )
        raise ValueError(msg) from error
    except OSError as error:
        logger.warning("checkpoint=%r cannot be locked (%s): use it in one process at a time", str(path), error)
