"""Distances between samples as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _validation as check
from scggml._keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData


def distances(sdata: AnnData, *, key: str = "ggml") -> pd.DataFrame:
    """Return the distances between samples.

    Parameters
    ----------
    sdata
        Samples, from :func:`scggml.tl.sample_distances`.
    key
        Whose distances: `.obsp[key + "_distances"]`.

    Returns
    -------
    A data frame (n_samples, n_samples) with sample names on both axes.

    Raises
    ------
    KeyError
        If there are no such distances.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> sg.get.distances(sdata).shape
    (30, 30)
    """
    check.check_anndata("sdata", sdata)
    name = Keys(key).distances
    if name not in sdata.obsp:
        msg = (
            f"obsp[{name!r}] does not exist. Found: {check.listed(sdata.obsp.keys(), limit=20)}. "
            f"Pass the sample-level AnnData that sg.tl.sample_distances(..., key_added={key!r}) returns."
        )
        raise KeyError(msg)
    matrix = sdata.obsp[name]
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    return pd.DataFrame(dense, index=sdata.obs_names.copy(), columns=sdata.obs_names.copy())
