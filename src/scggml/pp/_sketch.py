"""Fewer, weighted points per sample, and the error that they make."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml._anndata._cohort import read_samples
from scggml._anndata._columns import read_cell_types
from scggml._anndata._slots import check_free, sketch_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked, integer
from scggml._docs import shared_doc
from scggml._keys import N_CELLS, N_POINTS, SketchKeys
from scggml.core.transport._sketch import Sketch, coresets

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

_N_POINTS = 100  # of a coreset


@shared_doc
@checked(n_points=integer(1))
def sketch(
    adata: AnnData,
    sample_key: str,
    *,
    n_points: int | None = None,
    cell_type_key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "sketch",
    copy: bool = False,
) -> AnnData | None:
    """Summarise the cells of each sample by fewer, weighted points, for large cohorts.

    The time of optimal transport between two samples grows more than quadratically with their number of cells. A sketch
    assigns the cells of each sample to groups. One point stands for each group, with the fraction of cells in the group
    as its weight. :func:`scggml.tl.fit_metric` and :func:`scggml.tl.sample_distances` use these points instead of the
    cells if you pass `sketch_key`. All cells are kept. Points and weights are computed from the cells that are there
    when the sketch is used.

    By default the points are a coreset: real cells, chosen by k-means++ and Lloyd steps so that every cell is close to
    one of them. With `cell_type_key` there is one point for each sample and cell type, the mean of its cells. Means
    make distances between samples shorter, the more so the more features there are. Real cells hardly do.

    Moving each cell to the point of its group is a transport plan. The mean length of these moves is therefore an upper
    bound on the Wasserstein-1 distance between a sample and its sketch, under any metric. The sum of the bounds of two
    samples bounds the error of their distance: see :func:`scggml.get.distances`. In many dimensions the actual error is
    far below the bound. With 100 points it was one or two percent of a distance where the bound was as large as the
    distance.

    Parameters
    ----------
    %(adata)s
        A view is copied before anything is written to it. Features may stay in a backed or lazily read file or in a
        dask array. They are read a few samples at a time, which is fast if the cells of a sample follow one another.
    %(sample_key)s
        Each sample needs at least two cells.
    n_points
        Maximum number of points of a sample. A sample with fewer cells keeps them all. None is 100. Not with
        `cell_type_key`.
    cell_type_key
        Column of `.obs` with the type of each cell, for one point per cell type. None makes a coreset.
    %(use_rep)s
        Cells of a group are close in these features. The sketch can be used with other features as well.
    %(layer)s
    %(rng)s
        It chooses the cells of a coreset.
    %(n_jobs)s
    %(key_added)s
    %(copy)s

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following fields:

    `.obs[key_added]` : `pandas.Series` (n_obs,), int32
        Group of each cell, numbered within each sample. With `cell_type_key`, the position of its type in `cell_types`.
    `.obs[key_added + "_support"]` : `pandas.Series` (n_obs,), bool
        Whether the cell stands for its group. Only of a coreset.
    `.uns[key_added]` : `dict`
        `params`, the arguments, with a `method` of "coreset" or "cell_type". `samples`, a data frame with one row per
        sample and the columns `n_cells`, `n_points` and `error`. `error` is the mean Euclidean distance between a cell
        and the point of its group; for a coreset it is the Wasserstein-1 distance between the sample and its sketch.
        With `cell_type_key` also `cell_types`, the names of the groups. And `version`, that of scggml.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column or a representation does not exist or cannot be used, if both `n_points` and `cell_type_key` are
        given, or if `key_added` would replace something other than a sketch. Nothing has been written then.

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
    check_writable(adata, copy=copy)
    n_points = _number_of_points(n_points, cell_type_key)
    generator = np.random.default_rng(rng)
    keys = SketchKeys(key_added)
    check_free(adata, sketch_slots(key_added), "key_added", key_added)
    types = None if cell_type_key is None else read_cell_types(adata, cell_type_key)
    cohort = read_samples(adata, sample_key, use_rep=use_rep, layer=layer)
    points, n_samples = cohort.features.points, len(cohort)
    if types is not None:
        found, groups = Sketch.from_codes(cohort.codes, n_samples, types[1]), types[1]
    else:
        assert n_points is not None
        found = coresets(points, cohort.codes, n_samples, n_points, rng=generator, n_jobs=n_jobs, progress="sketches")
        groups = found.groups - found.offsets[cohort.codes]
    samples = pd.DataFrame(
        {N_CELLS: cohort.sizes, N_POINTS: found.sizes, "error": found.errors(points)},
        index=pd.Index(cohort.names),
    )
    logger.info("%d points stand for %d cells of %d samples", found.sizes.sum(), len(groups), n_samples)
    params = stored_params(
        sample_key=sample_key, method="coreset" if types is None else "cell_type", use_rep=cohort.features.use_rep,
        layer=layer, n_points=n_points, cell_type_key=cell_type_key, rng=rng,
    )  # fmt: skip

    adata = writable(adata, copy=copy)
    adata.obs[keys.groups] = groups.astype(np.int32)
    if found.support is not None:
        is_support = np.zeros(adata.n_obs, dtype=bool)
        is_support[found.support] = True
        adata.obs[keys.support] = is_support
    elif keys.support in adata.obs:  # an earlier sketch's
        del adata.obs[keys.support]
    cell_types = None if types is None else np.array(types[0], dtype=object)
    adata.uns[keys.entry] = stored_result(params=params, samples=samples, cell_types=cell_types)
    return adata if copy else None


def _number_of_points(n_points: int | None, cell_type_key: str | None) -> int | None:
    """Return the maximum number of points of a coreset, or None for one point per cell type."""
    if cell_type_key is None:
        return _N_POINTS if n_points is None else n_points
    if n_points is not None:
        msg = (
            f"n_points={n_points!r} has no effect with cell_type_key={cell_type_key!r}, which makes one point per cell "
            "type. Pass one of them."
        )
        raise ValueError(msg)
    return None
