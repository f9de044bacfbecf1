"""Fewer, weighted points per sample, and what they cost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import read_cohort, read_representation
from scggml._anndata._stored_metric import check_writable, stored_params, writable
from scggml._keys import N_CELLS, N_POINTS, SketchKeys

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


def sketch(
    adata: AnnData,
    sample_key: str,
    *,
    n_points: int = 100,
    method: Literal["coreset", "cell_type"] = "coreset",
    cell_type_key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "sketch",
    copy: bool = False,
) -> AnnData | None:
    """Put each sample's cells in groups that one weighted point each stands for, for large cohorts.

    The time of optimal transport between two samples grows more than quadratically with their cells. A sketch stands in
    for all cells where `sketch_key` is passed to :func:`scggml.tl.fit_metric` and :func:`scggml.tl.sample_distances`. It is
    an assignment of cells, which are all kept; weights and means are taken from the cells that are there when it is used.

    Moving every cell to the point of its group is one way of transport. So under any metric the mean length of these moves
    is an upper bound on the Wasserstein-1 distance of a sample to its sketch, and the sum of two such bounds is one on the
    error of the distance of two samples: see :func:`scggml.get.distances`. Where cells are spread in many dimensions the
    bound is wide and the error far below it: with 100 points, one or two percent of a distance where the bound allowed for
    all of it.

    Parameters
    ----------
    adata
        Cells. A view is made an actual copy before anything is written to it. Features may stay in a backed or lazily read
        file or a dask array: a few samples at a time are read, which is fast where the cells of a sample follow one another.
    sample_key
        Column of `.obs` that says which sample a cell belongs to; at least two cells per sample.
    n_points
        Upper bound on the points of a sample for "coreset"; a sample with no more cells keeps them all.
    method
        "coreset": real cells, placed by k-means++ and Lloyd steps such that all others are close to one. "cell_type": one
        point for each sample and cell type, the mean of its cells. Means shrink distances between samples, the more so
        the more features there are; real cells hardly do.
    cell_type_key
        Column of `.obs` with cell types, for "cell_type".
    use_rep, layer
        Features in which cells are close, as in :func:`scggml.tl.fit_metric`. The sketch serves other features too.
    rng
        Seed or generator for "coreset".
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key under which the sketch is stored.
    copy
        Whether to return a copy instead of writing to `adata`.

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following fields:

    `.obs[key_added]` : `pandas.Series` (n_obs,), int32
        Group of each cell, to be told apart within samples; for "cell_type" the position in `cell_types`.
    `.obs[key_added + "_support"]` : `pandas.Series` (n_obs,), bool
        Whether the cell is the one that stands for its group; for "coreset" only.
    `.uns[key_added]` : `dict`
        `params`; `samples`, a data frame with one row per sample and the columns `n_cells`, `n_points` and `error`, the mean
        Euclidean distance of cells to the points of their groups, for "coreset" the Wasserstein-1 distance of the sample to
        its sketch; and `cell_types`, the names of groups for "cell_type".

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column or a representation does not exist or cannot be used, or `key_added` would replace something that is
        not a sketch. Nothing has been written then.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=20, rng=0)
    >>> sg.pp.sketch(adata, "sample", n_points=10, rng=0)
    >>> adata.obs["sketch_support"].sum()
    np.int64(300)
    >>> sg.tl.fit_metric(adata, "sample", "label", sketch_key="sketch", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> (pdata.obs["sketch_error"] > 0).all()
    np.True_
    """
    check.check_anndata("adata", adata)
    check_writable(adata, copy=copy)
    check.check_integer("n_points", n_points, minimum=1)
    check.check_choice("method", method, ("coreset", "cell_type"))
    check.check_jobs(n_jobs)
    generator = check.check_random_generator(rng)
    keys = SketchKeys(key_added)
    _check_free(adata, keys)
    cohort = read_cohort(adata, sample_key)
    cell_types, type_codes = _read_cell_types(adata, method, cell_type_key)
    representation = read_representation(adata, use_rep, layer)

    from scggml.core.transport._sketch import Sketch, coresets

    n_samples = len(cohort.names)
    if method == "coreset":
        found = coresets(
            representation.points, cohort.codes, n_samples, n_points, rng=generator, n_jobs=n_jobs, progress="sketches"
        )  # fmt: skip
        groups = found.groups - found.offsets[cohort.codes]
    else:
        found, groups = Sketch.from_codes(cohort.codes, n_samples, type_codes), type_codes
    samples = pd.DataFrame(
        {N_CELLS: cohort.sizes, N_POINTS: found.sizes, "error": found.errors(representation.points)},
        index=pd.Index(cohort.names),
    )
    logger.info("%d points stand for %d cells of %d samples", found.sizes.sum(), len(groups), n_samples)
    params: dict[str, Any] = {
        "sample_key": sample_key, "method": method, "use_rep": representation.use_rep, "layer": layer,
        "n_points": n_points if method == "coreset" else None, "cell_type_key": cell_type_key,
        "rng": rng,
    }  # fmt: skip

    adata = writable(adata, copy=copy)
    adata.obs[keys.groups] = groups.astype(np.int32)
    entry = {"params": stored_params(**params), "samples": samples}
    if found.support is not None:
        is_support = np.zeros(adata.n_obs, dtype=bool)
        is_support[found.support] = True
        adata.obs[keys.support] = is_support
    else:
        if keys.support in adata.obs:  # an earlier sketch's
            del adata.obs[keys.support]
        entry["cell_types"] = cell_types
    adata.uns[keys.entry] = entry
    return adata if copy else None


def _check_free(adata: AnnData, keys: SketchKeys) -> None:
    """Refuse to replace what is not a sketch."""
    check.check_name("key_added", keys.key)
    if check.is_sketch(adata.uns.get(keys.entry)):
        return
    taken = [f"obs[{name!r}]" for name in (keys.groups, keys.support) if name in adata.obs]
    taken += [f"uns[{keys.entry!r}]"] if keys.entry in adata.uns else []
    if taken:
        msg = f"key_added={keys.key!r} would replace {check.listed(taken)}, which is not a sketch. Pass another key_added."
        raise ValueError(msg)


def _read_cell_types(
    adata: AnnData, method: str, cell_type_key: str | None
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the sorted names of the cell types and the type of each cell; none for coresets."""
    if method == "coreset":
        if cell_type_key is not None:
            msg = (
                f"cell_type_key={cell_type_key!r} is for method='cell_type', found method='coreset'. Pass one of both."
            )
            raise ValueError(msg)
        return np.empty(0, dtype=object), np.empty(0, dtype=np.int64)
    if cell_type_key is None:
        msg = "cell_type_key is needed with method='cell_type': name the column of obs that holds the cell types"
        raise ValueError(msg)
    column = check.check_column("cell_type_key", cell_type_key, adata.obs)
    return np.unique(check.as_names("cell_type_key", cell_type_key, column), return_inverse=True)
