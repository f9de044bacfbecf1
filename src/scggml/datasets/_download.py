"""Files of public servers: downloaded once, kept in a folder, opened as AnnData."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anndata

from scggml._check import listed, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

logger = logging.getLogger(__name__)

CELLXGENE_URL: Final = "https://datasets.cellxgene.cziscience.com"
_CACHE_VARIABLE: Final = "SCGGML_CACHE_DIR"
_CHECKSUM: Final = re.compile(r"sha256:[0-9a-fA-F]{64}")
_CHUNK_SIZE: Final = 2**20
_UNFINISHED: Final = ".download"
_ABANDONED: Final = 3600.0  # seconds without a byte
_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"


def load_cohort(
    name: str,
    *,
    sample_key: str,
    label_key: str,
    cache_dir: str | os.PathLike[str] | None,
    backed: bool,
    checksum: str | None = None,
    base_url: str = CELLXGENE_URL,
    progress: bool = True,
) -> AnnData:
    """Open a file, from the cache if it is there, else from the network. It must have the two columns.

    Parameters
    ----------
    name
        The file without ".h5ad"; at CELLxGENE, a dataset version.
    sample_key, label_key
        Columns of `.obs` that must exist.
    cache_dir, backed
        As in :func:`scggml.datasets.kidney_cohort`.
    checksum
        "sha256:" and the 64 hexadecimal digits that the file must have. None does not check it.
    base_url
        Address of the folder on the server.
    progress
        Whether to show a progress bar of the download.
    """
    _check_checksum(checksum)
    if not isinstance(base_url, str) or not base_url.startswith(("http://", "https://")):
        msg = (
            f"base_url must begin with 'http://' or 'https://', found {shown(base_url)}. The default is "
            f"{CELLXGENE_URL!r}."
        )
        raise ValueError(msg)
    path = _cache_folder(cache_dir) / f"{name}.h5ad"
    if not path.exists():
        _download(path, checksum, base_url.rstrip("/") + "/", progress=progress)
    elif checksum is not None:
        _check_cached(path, checksum)
    adata = _read(path, backed=backed)
    missing = [key for key in (sample_key, label_key) if key not in adata.obs.columns]
    if missing:
        found = listed(adata.obs.columns, limit=20)
        if backed:
            adata.file.close()
        msg = (
            f"{path} has no column {' and '.join(map(repr, missing))} in obs. Found: {found}. It is not the published "
            "file: delete it to download it again."
        )
        raise KeyError(msg)
    return adata


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        msg = 'Downloading a cohort needs pooch. Install it with: pip install "scggml[datasets]"'
        raise ImportError(msg) from error
    return pooch


def _check_checksum(checksum: Any) -> None:
    if checksum is not None and not (isinstance(checksum, str) and _CHECKSUM.fullmatch(checksum)):
        msg = f"checksum must be None or 'sha256:' followed by 64 hexadecimal digits, found {shown(checksum)}"
        raise ValueError(msg)


def _cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    folder = cache_dir if cache_dir is not None else os.getenv(_CACHE_VARIABLE) or _pooch().os_cache("scggml")
    return Path(folder).expanduser().absolute()


def _check_cached(path: Path, checksum: str) -> None:
    """Refuse another file than the one asked for, which someone may have put into the cache."""
    found = _pooch().file_hash(str(path), alg="sha256")
    if found != checksum.lower().removeprefix("sha256:"):
        msg = (
            f"{path} is not the published file: its checksum is 'sha256:{found}' instead of {checksum!r}. Delete it to "
            "download it again."
        )
        raise ValueError(msg)


def _download(path: Path, checksum: str | None, base_url: str, *, progress: bool) -> None:
    """Download to a temporary file, which is renamed to `path` only if it is complete and has the checksum."""
    pooch = _pooch()
    from requests.exceptions import RequestException

    url = base_url + path.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.", suffix=_UNFINISHED, dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            _downloader(progress=progress)(url, str(unfinished), None)
            found = f"sha256:{pooch.file_hash(str(unfinished), alg='sha256')}"
            if checksum is not None and found != checksum.lower():
                msg = (
                    f"{url} is not the published file: its checksum is {found!r} instead of {checksum!r}. The download "
                    "was not kept. Try again."
                )
                raise ValueError(msg)
            unfinished.replace(path)
    except RequestException as error:
        msg = (
            f"{url} could not be downloaded: {error}. Check the network and try again, or download the file by hand "
            f"and put it at {path}"
        )
        raise ConnectionError(msg) from error
    except OSError as error:
        msg = f"{path} could not be written: {error}. Pass a cache_dir that is writable and has enough space."
        raise OSError(msg) from error
    if checksum is None:
        logger.info("downloaded %s (%s)", path, found)


def _remove_abandoned(path: Path) -> None:
    """Remove what earlier downloads of this file left when they were killed; one that goes on is written to."""
    for folder in path.parent.glob(f"{path.name}.*{_UNFINISHED}"):
        last = max(map(_last_change, (folder, *folder.glob("*"))))
        if time.time() - last > _ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)


def _last_change(file: Path) -> float:
    """Return when a file or folder was changed; a long time ago if it is gone, as after a download that has ended."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _downloader(*, progress: bool) -> Callable[[str, str, Any], None]:
    """Let pooch download, and refuse the web pages that some networks send instead of a file."""
    from requests.exceptions import ContentDecodingError

    responses: list[Any] = []
    download = _pooch().HTTPDownloader(
        progressbar=bool(progress),
        chunk_size=_CHUNK_SIZE,
        hooks={"response": lambda response, **_: responses.append(response)},
    )

    def checked(url: str, output_file: str, pooch: Any) -> None:
        try:
            download(url, output_file, pooch)
        finally:
            for response in responses:  # after an error pooch leaves the connection open
                response.close()
        with Path(output_file).open("rb") as file:
            start = file.read(len(_HDF5_SIGNATURE))
        if start != _HDF5_SIGNATURE:
            msg = f"the download begins with {start!r}, which is no HDF5 file"
            raise ContentDecodingError(msg)

    return checked


def _read(path: Path, *, backed: bool) -> AnnData:
    try:
        return anndata.read_h5ad(path, backed="r" if backed else None)
    except MemoryError as error:
        msg = f"{path} does not fit into memory. Pass backed=True."
        raise MemoryError(msg) from error
    except Exception as error:
        msg = f"{path} cannot be read as h5ad: {error}. Delete it to download it again, or update anndata."
        raise OSError(msg) from error
