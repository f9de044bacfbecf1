"""The folder of results: it holds one whole run or none, whatever happens while a run goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scggml._check import listed

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import TextIOWrapper

logger = logging.getLogger("scggml")

_RECORD = "run.json"
_PROBE = bytes(1 << 16)
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # of programs that show folders


@contextmanager
def results_folder(out: Path, *, sources: Sequence[Path] = (), resume: bool = False) -> Iterator[Results]:
    """Check before any work that results can be written to a folder, and hold it for one run.

    Parameters
    ----------
    out
        Folder for the results: a new or empty one, or that of an earlier run.
    sources
        Files that are read, and must not be replaced.
    resume
        Keep the finished steps of a run that was killed.
    """
    out = Path(os.path.realpath(out))
    _check_place(out, sources)
    made = [path for path in out.parents if not path.exists()]
    results = Results(out)
    try:
        with _writable(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with _alone(results):
            results.recover(resume=resume)
            _check_replaceable(out)
            with _writable(out):
                results.partial.mkdir()
            try:
                with _writable(out):
                    _probe(results.partial / "probe")
                yield results
            finally:
                shutil.rmtree(results.partial, ignore_errors=True)
    finally:
        if not out.exists():
            for path in made:
                with suppress(OSError):  # not empty
                    path.rmdir()


class Results:
    """A hidden folder beside `out`, which takes the place of `out` when everything in it is on disk."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.fingerprint: str = ""  # hash of all that the results depend on, which is recorded with them
        self.partial = out.with_name(f".{out.name}.partial")
        self.earlier = out.with_name(f".{out.name}.earlier")  # where an earlier run is while it is replaced
        self.steps = out.with_name(f".{out.name}.steps")  # what `--resume` keeps of finished steps

    def recover(self, *, resume: bool) -> None:
        """Put right what a killed run left, and keep what it finished if it is to go on."""
        if self.earlier.exists():
            if not self.out.exists() or not any(self.out.iterdir()):
                with suppress(FileNotFoundError):
                    self.out.rmdir()
                self.earlier.rename(self.out)
                logger.info("restored %s, the earlier run that a killed one was about to replace", self.out)
            else:
                shutil.rmtree(self.earlier)
        if self.partial.exists():
            shutil.rmtree(self.partial)
            logger.info("removed %s, which a killed run left", self.partial)
        if self.steps.exists() and not resume:
            shutil.rmtree(self.steps)
            logger.info("removed %s, the finished steps of a killed run: pass --resume to go on with them", self.steps)

    def are_whole(self) -> bool:
        """Whether `out` holds a whole run that depends on the same."""
        record = _record_of(self.out)
        if not record or record.get("fingerprint") != self.fingerprint:
            return False
        return all((self.out / name).is_file() for name in record["sha256"])  # as written: that was checked before

    def discard(self, name: str) -> None:
        """Remove a file that may not be whole."""
        (self.partial / name).unlink(missing_ok=True)

    def install(self, settings: dict[str, Any]) -> None:
        """Put everything on disk, with a record of it, and take the place of `out`."""
        self._record(settings)
        _check_replaceable(self.out)  # once more: hours may have passed
        try:
            if self.out.exists():
                shutil.copymode(self.out, self.partial)
                self.out.rename(self.earlier)
            self.partial.rename(self.out)
        finally:
            if self.earlier.exists() and not self.out.exists():
                self.earlier.rename(self.out)
        _sync_folder(self.out.parent)
        for folder in (self.earlier, self.steps):
            shutil.rmtree(folder, ignore_errors=True)

    def rescue(self, settings: dict[str, Any]) -> Path:
        """Keep what there is beside `out`, under a name of its own; return where."""
        self._record(settings)
        names = chain([f"{self.out.name}.rescued"], (f"{self.out.name}.rescued-{i}" for i in count(2)))
        target = next(path for path in map(self.out.with_name, names) if not path.exists())
        self.partial.rename(target)
        _sync_folder(target.parent)
        return target

    def _record(self, settings: dict[str, Any]) -> None:
        path = self.partial / _RECORD
        path.unlink(missing_ok=True)
        files = {file.name: _checksum(file) for file in sorted(self.partial.iterdir())}
        record = {"scggml": version("scggml"), **settings, "fingerprint": self.fingerprint, "sha256": files}
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for file in self.partial.iterdir():
            _sync(file)
        _sync_folder(self.partial)


def _check_replaceable(out: Path) -> None:
    """Refuse a folder with anything but an earlier run as it was written."""
    found = sorted({path.name for path in out.iterdir()} - _LITTER) if out.exists() else []
    files = _record_of(out).get("sha256", {})
    own = {*files, _RECORD} if files else set()
    foreign = [name for name in found if name not in own or not (out / name).is_file()]
    if foreign:
        msg = f"--out {out} holds what is no scggml run: {listed(foreign)}. Name a new folder."
        raise FileExistsError(msg)
    changed = [name for name in found if name != _RECORD and _checksum(out / name) != files[name]]
    if changed:
        msg = (
            f"--out {out} holds an earlier run, of which {listed(changed)} was changed since and would be lost. Name a "
            "new folder, or delete this one."
        )
        raise FileExistsError(msg)


def _record_of(out: Path) -> dict[str, Any]:
    """Return the record of an earlier run, with the checksums of its files; empty where there is no such run."""
    try:
        record = json.loads((out / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    is_run = isinstance(record, dict) and "scggml" in record and isinstance(record.get("sha256"), dict)
    return record if is_run else {}


def _check_place(out: Path, sources: Sequence[Path]) -> None:
    found = next(path for path in (out, *out.parents) if path.exists())
    if not found.is_dir():
        msg = f"--out {out}: {found} is a file. Name a folder."
        raise NotADirectoryError(msg)
    here = Path.cwd()
    if out in (here, *here.parents) or out.is_mount():
        msg = (
            f"--out {out} is the current folder, one around it, or a mount point, and cannot be replaced as a whole. "
            f"Name a folder in it, such as {out / 'results'}."
        )
        raise ValueError(msg)
    for source in sources if out.exists() else ():
        if any(folder.exists() and folder.samefile(out) for folder in Path(os.path.realpath(source)).parents):
            msg = f"--out {out} holds {source}, which is to be read. Name another folder."
            raise ValueError(msg)


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"--out {out} cannot be written: {error.strerror}. Results are first written to a hidden folder beside it; "
            "name a folder in a place with space and the right to write."
        )
        raise OSError(msg) from error


def _probe(path: Path) -> None:
    """Write a small file: some places admit empty files only."""
    path.write_bytes(_PROBE)
    _sync(path)
    path.unlink()


@contextmanager
def _alone(results: Results) -> Iterator[None]:
    """Hold a lock that ends with the process: what lies beside `out` is then of runs that are no more."""
    path = results.out.with_name(f".{results.out.name}.lock")
    file = None if fcntl is None else _locked(path, results.out)
    left = [str(folder) for folder in (results.partial, results.earlier) if folder.exists()]
    if file is None and left:
        msg = (
            f"{', '.join(left)} is of another run with --out {results.out}, going on or killed: this disk has no locks "
            f"to tell. If none is going on, delete it; but if {results.out} is missing, rename {results.earlier} to it."
        )
        raise FileExistsError(msg)
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


def _locked(path: Path, out: Path) -> TextIOWrapper | None:
    """Return a file with a lock, None where the file system has no locks."""
    while True:
        with _writable(out):
            file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:  # the run that held it has just ended, and took the file away
            pass
        except BlockingIOError as error:
            file.close()
            msg = f"another run is writing to --out {out}. Wait until it has ended, or name another folder."
            raise BlockingIOError(msg) from error
        except OSError:
            file.close()
            path.unlink(missing_ok=True)
            return None
        file.close()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere folders cannot be opened
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
