"""Results of finished steps on disk, from which a run that was killed goes on (`--resume`)."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from anndata import AnnData

from ._errors import one_line
from ._hdf5 import write_h5ad

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path

logger = logging.getLogger("scggml")

_FINGERPRINT = "fingerprint.txt"
_WITHOUT_EFFECT = {"out", "config", "n_jobs", "quiet", "resume"}  # on what results hold
_SLOTS = ("uns", "obsm", "varm", "obsp")


def fingerprint(args: argparse.Namespace, source: Path) -> str:
    """Return a hash of all that results depend on: version, options, and the content of the input."""
    with source.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    options = {name: str(value) for name, value in sorted(vars(args).items()) if name not in _WITHOUT_EFFECT}
    options.pop("file", None)  # it may have been moved
    return hashlib.sha256(json.dumps([version("scggml"), options, content]).encode()).hexdigest()


class FinishedSteps:
    """A folder with the result of each finished step, which is deleted when all are in the folder of results.

    Parameters
    ----------
    folder
        The folder; None keeps nothing.
    key
        Hash of all that results depend on. What was kept under another one is deleted.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self._folder = folder
        if folder is None:
            return
        if folder.exists():
            known = ""
            with suppress(OSError, UnicodeDecodeError):
                known = (folder / _FINGERPRINT).read_text(encoding="utf-8")
            if known == key:
                logger.info("going on with the steps that an interrupted run had finished")
                return
            logger.warning(
                "warning: the interrupted run had another input, other options or another version of scggml: beginning "
                "anew"
            )
            shutil.rmtree(folder)
        folder.mkdir()
        (folder / _FINGERPRINT).write_text(key, encoding="utf-8")

    def result(self, name: str, compute: Callable[[], AnnData]) -> AnnData:
        """Return the result of a step, from disk if it was finished before."""
        if self._folder is None:
            return compute()
        path = self._folder / f"{name}.h5ad"
        kept = _read(path) if path.exists() else None
        if kept is not None:
            logger.info("(finished before)")
            return kept
        found = compute()
        partial = path.with_suffix(".partial")
        try:
            write_h5ad(found.copy(), partial)
            partial.rename(path)
        except OSError as error:
            logger.warning("warning: this step cannot be kept for --resume: %s", error)
            partial.unlink(missing_ok=True)
        return found

    def written(self, name: str, adata: AnnData, compute: Callable[[], Any]) -> None:
        """Run a step that writes to an AnnData, or write what it wrote before."""
        found = self.result(name, lambda: _written_by(adata, compute))
        for slot in _SLOTS:
            getattr(adata, slot).update(getattr(found, slot))

    def checkpoint(self, name: str) -> Path | None:
        """Return a file for the parts of a step that are finished."""
        return None if self._folder is None else self._folder / name


def _read(path: Path) -> AnnData | None:
    from anndata.io import read_h5ad

    try:
        return read_h5ad(path)
    except Exception as error:  # noqa: BLE001 of many types, where a file is damaged
        logger.warning("warning: %s cannot be read (%s): this step is done again", path, one_line(error))
        return None


def _written_by(adata: AnnData, compute: Callable[[], Any]) -> AnnData:
    """Return what a step adds to an AnnData, in an AnnData of the same shape."""
    before = {slot: dict(getattr(adata, slot)) for slot in _SLOTS}
    compute()
    found = AnnData(obs=adata.obs[[]].copy(), var=adata.var[[]].copy())
    for slot, entries in before.items():
        new: Mapping[str, Any] = getattr(adata, slot)
        getattr(found, slot).update({key: new[key] for key in new if new[key] is not entries.get(key)})
    return found
