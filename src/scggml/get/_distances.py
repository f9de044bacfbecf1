"""Distances between samples as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._keys import SKETCH_ERROR, Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def distances(pdata: AnnData, *, key: str = "ggml", bounds: bool = False) -> pd.DataFrame:
    """Return the distances between samples, or bounds on their errors.

    Parameters
    ----------
    pdata
        Samples, from :func:`scggml.tl.sample_distances`.
    key
        Whose distances: `.obsp[key + "_distances"]`.
    bounds
        Return, in the place of each distance, a bound on its error: no distance between sketches (:func:`scggml.pp.sketch`)
        is further from that of all cells. It is the sum of both samples' `.obs["sketch_error"]`, and zero where no sketch
        was used.

    Returns
    -------
    A data frame (n_samples, n_samples) with sample names on both axes.

    Raises
    ------
    KeyError
        If there are no such distances, or for bounds their `.uns[key]` or the errors of their sketches are missing.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> sg.get.distances(pdata).shape
    (30, 30)

    Where distances are those of sketches:

    >>> sg.pp.sketch(adata, "sample", n_points=10, rng=0)
    >>> sketched = sg.tl.sample_distances(adata, "sample", metric="euclidean", sketch_key="sketch")
    >>> error = (sg.get.distances(sketched) - sg.get.distances(pdata)).abs()
    >>> bool((error <= sg.get.distances(sketched, bounds=True)).all(axis=None))
    True
    """
    check.check_anndata("pdata", pdata)
    name = Keys(key).distances
    if name not in pdata.obsp:
        msg = (
            f"obsp[{name!r}] does not exist. Found: {check.listed(pdata.obsp.keys(), limit=20)}. "
            f"Pass the sample-level AnnData that sg.tl.sample_distances(..., key_added={key!r}) returns."
        )
        raise KeyError(msg)
    if bounds:
        return _bounds(pdata, key)
    matrix = pdata.obsp[name]
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    return _by_name(pdata, dense)


def _bounds(pdata: AnnData, key: str) -> pd.DataFrame:
    name = Keys(key).metric
    if name not in pdata.uns:
        msg = (
            f"uns[{name!r}], which says where the distances of key={key!r} come from, does not exist. "
            "Compute them again with sg.tl.sample_distances."
        )
        raise KeyError(msg)
    errors = np.zeros(pdata.n_obs)
    sketch_key = pdata.uns[name]["params"].get("sketch_key")
    if sketch_key is not None:
        if SKETCH_ERROR not in pdata.obs:
            msg = (
                f"obs[{SKETCH_ERROR!r}] does not exist, but the distances of key={key!r} are those of sketch {sketch_key!r}. "
                "Compute them again with sg.tl.sample_distances."
            )
            raise KeyError(msg)
        errors = pdata.obs[SKETCH_ERROR].to_numpy(dtype=np.float64)
    matrix = errors[:, None] + errors
    np.fill_diagonal(matrix, 0.0)  # a sample's distance to itself is zero either way
    return _by_name(pdata, matrix)


def _by_name(pdata: AnnData, matrix: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(matrix, index=pdata.obs_names.copy(), columns=pdata.obs_names.copy())
