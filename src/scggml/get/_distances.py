"""Distances between samples as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml._anndata._columns import is_numeric
from scggml._anndata._distances import distances_entry, read_distances, refuse_held_out
from scggml._anndata._learners import is_exact
from scggml._arguments import checked, flag
from scggml._docs import shared_doc
from scggml._keys import IS_REFERENCE, SKETCH_ERROR, Keys

if TYPE_CHECKING:
    from anndata import AnnData


@shared_doc
@checked(bounds=flag)
def distances(pdata: AnnData, *, key: str = "ggml", bounds: bool = False) -> pd.DataFrame:
    """Return the distances between samples, or bounds on their errors.

    Parameters
    ----------
    %(pdata)s
    %(key_distances)s
    bounds
        Return a bound on the error of each distance instead. The distance between two sketches
        (:func:`scggml.pp.sketch`) differs from that of all cells by at most this bound. It is the sum of
        `.obs["sketch_error"]` of both samples, and zero if no sketch was used.

    Returns
    -------
    A data frame (n_samples, n_samples) with sample names on both axes. `attrs["metric"]` holds the metric of the
    distances, such as "learned" or "euclidean", if `pdata.uns[key]` holds it. `attrs["status"]` of a learned metric is
    "held_out", "training" or "new" (see :func:`scggml.tl.sample_distances`).

    Raises
    ------
    KeyError, ValueError
        If the distances do not exist; for bounds, if `.uns[key]` or the errors of the sketches do not exist, or the
        distances are entropic, or held-out ones of sketches.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> table = sg.get.distances(pdata)
    >>> table.shape, table.attrs["metric"]
    ((30, 30), 'euclidean')

    For distances between sketches:

    >>> sg.pp.sketch(adata, "sample", n_points=10, rng=0)
    >>> sketched = sg.tl.sample_distances(adata, "sample", metric="euclidean", sketch_key="sketch")
    >>> error = (sg.get.distances(sketched) - table).abs()
    >>> bool((error <= sg.get.distances(sketched, bounds=True)).all(axis=None))
    True
    """
    table = read_distances(pdata, key)
    return _bounds(pdata, key) if bounds else table


def _bounds(pdata: AnnData, key: str) -> pd.DataFrame:
    name = Keys(key).metric
    if name not in pdata.uns:
        msg = (
            f"uns[{name!r}], which says how the distances of key={key!r} were computed, does not exist. "
            "Compute them again with sg.tl.sample_distances."
        )
        raise KeyError(msg)
    entry = distances_entry(pdata, key)
    if not is_exact(entry):
        msg = (
            f"the distances of key={key!r} are entropic, for which no bounds are known. Compute distances with "
            "sg.tl.sample_distances(..., solver='exact')."
        )
        raise ValueError(msg)
    errors = np.zeros(pdata.n_obs)
    sketch_key = entry["params"].get("sketch_key")
    if sketch_key is not None:
        refuse_held_out(entry, key, "A bound")
    if sketch_key is not None and SKETCH_ERROR not in pdata.obs:
        msg = (
            f"obs[{SKETCH_ERROR!r}] does not exist, but the distances of key={key!r} are those of sketch "
            f"{sketch_key!r}. Compute them again with sg.tl.sample_distances."
        )
        raise KeyError(msg)
    if sketch_key is not None or {IS_REFERENCE, SKETCH_ERROR} <= set(pdata.obs.columns):  # or of a sketched reference
        column = pdata.obs[SKETCH_ERROR]
        if not is_numeric(column):
            msg = f"obs[{SKETCH_ERROR!r}] must hold numbers, found {column.dtype}. Compute the distances again."
            raise TypeError(msg)
        errors = column.to_numpy(dtype=np.float64)
    matrix = errors[:, None] + errors
    np.fill_diagonal(matrix, 0.0)  # the distance of a sample to itself is exact
    return pd.DataFrame(matrix, index=pdata.obs_names.copy(), columns=pdata.obs_names.copy())
