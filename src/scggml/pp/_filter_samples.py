"""Drop samples with too few cells and classes with too few samples."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._columns import kept_palettes, sample_codes, sample_values
from scggml._anndata._writing import writable
from scggml._arguments import checked, integer
from scggml._docs import shared_doc
from scggml._warnings import warn

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


@shared_doc
@checked(min_cells=integer(1), min_samples=integer(1))
def filter_samples(
    adata: AnnData,
    sample_key: str,
    label_key: str | None = None,
    *,
    min_cells: int = 20,
    min_samples: int = 2,
    copy: bool = False,
) -> AnnData | None:
    """Drop samples with too few cells, then classes with too few samples.

    Parameters
    ----------
    %(adata)s
    %(sample_key)s
    label_key
        Column of `.obs` with the class of each sample. None only drops samples with too few cells.
    min_cells
        Minimum number of cells of a sample.
    min_samples
        Minimum number of samples of a class, counted after samples with too few cells are dropped.
    copy
        Whether to return a copy of the cells that are kept, instead of subsetting `adata` in place.

    Returns
    -------
    None, or a copy with `copy=True`. Cells of dropped samples are removed from `adata`, and so are categories of the
    two columns that no cell has any more. A warning names the samples and classes that were dropped. There is no
    warning if none were.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column does not exist or has missing values, if cells of a sample differ in their label, if nothing would
        be left, or if `adata` is backed.

    Warns
    -----
    UserWarning
        If samples or classes are dropped.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=8, rng=0)
    >>> sg.pp.filter_samples(adata, "sample", "label", min_cells=20)
    >>> adata.obs["sample"].nunique()
    8
    """
    if adata.isbacked:
        msg = "adata is backed by a file, which cannot be subset in place. Call adata.to_memory() first."
        raise ValueError(msg)
    names, codes = sample_codes(adata.obs, sample_key)
    sizes = np.bincount(codes, minlength=len(names))
    keep = sizes >= min_cells
    dropped = []
    if not keep.all():
        small = check.listed([f"{names[i]} ({sizes[i]})" for i in np.flatnonzero(~keep)])
        dropped.append(f"{int((~keep).sum())} sample(s) with fewer than {min_cells} cells: {small}")
    if label_key is not None:
        labels = sample_values(adata.obs, "label_key", label_key, names, codes)
        counts = pd.Series(labels[keep]).value_counts(sort=False)
        rare = counts.index[counts < min_samples]
        if len(rare):
            few = check.listed([f"{name} ({counts[name]})" for name in rare])
            dropped.append(f"{len(rare)} class(es) with fewer than {min_samples} samples: {few}")
            keep &= ~np.isin(labels, rare)
    if not keep.any():
        msg = f"nothing would be left: {'; '.join(dropped)}. Lower min_cells={min_cells} or min_samples={min_samples}."
        raise ValueError(msg)
    mask = keep[codes]
    if dropped:
        warn(f"dropped {'; '.join(dropped)} ({int((~mask).sum())} cells)")
    logger.info("kept %d of %d samples", int(keep.sum()), len(names))
    adata = writable(adata, copy=copy)
    if not mask.all():
        adata._inplace_subset_obs(mask)
    for key in (sample_key, label_key):
        if key is not None and isinstance(adata.obs[key].dtype, pd.CategoricalDtype):
            kept = adata.obs[key].cat.remove_unused_categories()
            adata.uns.update(kept_palettes(adata, {key: kept.cat.categories}))
            adata.obs[key] = kept
    return adata if copy else None
