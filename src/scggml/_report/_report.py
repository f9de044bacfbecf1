"""One self-contained HTML file with everything that is known of a cohort."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scggml._arguments import SHARED, checked
from scggml._check import check_path
from scggml._docs import shared_doc

from ._contents import read_contents
from ._page import check_installed, rendered

if TYPE_CHECKING:
    from anndata import AnnData


@shared_doc
@checked(path=check_path, held_out=SHARED["pdata"], mapped=SHARED["pdata"])
def report(
    adata: AnnData,
    pdata: AnnData,
    path: str | os.PathLike[str],
    *,
    held_out: AnnData | None = None,
    mapped: AnnData | None = None,
    key: str = "ggml",
) -> None:
    """Write a report on a cohort: one HTML file that any browser shows without a network, to be sent by mail.

    It holds what has been computed, and says how to read each part and what not to conclude from it: the map of the
    patients and their distances, marked as held-out or training; scores on held-out patients beside those of baselines
    (:func:`scggml.tl.cross_validate`, else those of `fit_metric(validate=True)`); the permutation test
    (:func:`scggml.tl.separation_test`); genes (:func:`scggml.tl.rank_genes`, with intervals if it took bootstraps); the
    parts of cell types (:func:`scggml.tl.explain_distances`); new patients; settings, versions, and a text for the
    methods of a paper. What was not computed is left out. If there are held-out distances beside those of training
    samples, the map and the heatmap show the held-out ones.

    The file takes some 5 MB, most of it the library that draws the figures. It holds the names and labels of all
    patients: whoever gets it can read them.

    Parameters
    ----------
    adata
        Cells with a learned metric, from :func:`scggml.tl.fit_metric`, and all that was computed with it. Nothing is
        written to it.
    pdata
        Their samples with distances, from :func:`scggml.tl.sample_distances`, and the parts of cell types. Nothing is
        written to it.
    path
        File to write, which ends in ".html". A file that is there is replaced when the new one is on disk.
    held_out
        The same samples with held-out distances (`sample_distances(adata, cv="auto")`), if those of `pdata` are not:
        the parts of cell types need distances under one metric, the map needs held-out ones. None takes those under
        the key "held_out" of `pdata`, where `scggml run` writes them, if there are any.
    mapped
        New patients beside those of the reference, from :func:`scggml.tl.map_samples`, with predictions if
        :func:`scggml.tl.predict_samples` was called. None for none.
    %(key)s

    Returns
    -------
    None. The file is written.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no learned metric, `pdata`, `held_out` or the reference of `mapped` does not hold the samples of
        `adata`, there are no distances, those of `held_out` are not held-out, or `path` does not end in ".html".
        Nothing has been written then.
    FileNotFoundError, IsADirectoryError
        If the folder of `path` does not exist, or `path` is a folder.
    ImportError
        If plotly or jinja2 is not installed (extra `report`).

    Examples
    --------
    >>> import tempfile
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> held_out = sg.tl.sample_distances(adata, cv="auto", rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sg.report(adata, pdata, f"{folder}/report.html", held_out=held_out)
    """
    target = _checked_target(path)
    check_installed()
    page = rendered(read_contents(adata, pdata, held_out, mapped, key))
    _write(target, page)


def _checked_target(path: str | os.PathLike[str]) -> Path:
    """Return where to write, with links resolved; refuse what cannot be a file of this kind."""
    given = Path(os.fsdecode(path))
    target = Path(os.path.realpath(given))
    if given.is_dir():
        msg = f"path={str(given)!r} is a folder. Name a file in it, such as {str(given / 'report.html')!r}."
        raise IsADirectoryError(msg)
    if given.suffix.lower() != ".html":
        msg = f"path={str(given)!r} must end in '.html', so that it opens in a browser"
        raise ValueError(msg)
    if not target.parent.is_dir():
        msg = f"path={str(given)!r}: there is no folder {str(target.parent)!r}. Make it first, or name another one."
        raise FileNotFoundError(msg)
    if not os.access(target.parent, os.W_OK):
        msg = f"path={str(given)!r}: the folder {str(target.parent)!r} cannot be written. Name another one."
        raise PermissionError(msg)
    return target


def _write(target: Path, page: str) -> None:
    """Write beside the target first, so that a file that is there stays whole whatever happens."""
    partial = target.with_name(f".{target.name[:200]}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="xmlcharrefreplace", newline="\n") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
