"""The space that a metric was learned in, so that it is not applied in another one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scggml._keys import LOADINGS, PCA, Keys
from scggml.reference._values import sample_of_rows

from ._genes import unfit_loadings
from ._on_disk import in_memory, points_on_disk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._features import Features

logger = logging.getLogger(__name__)

_N_GENES = 200  # that identify a space
_SAME_LOADINGS = 1e-3  # of the length of a column: more than rounding, less than other principal components differ by
_SAME_CELLS = 1e-5  # of the spread of the cells: the rounding of float32


def space_of(adata: AnnData, features: Features) -> dict[str, Any] | None:
    """Return the genes with the largest loadings, (n,), and their loadings, (n, n_features); None if there are none.

    `n_genes` is the number of genes with any loading.
    Features with names of their own need no more than these names, which are stored beside.
    """
    found = _loadings(adata, features)
    if found is None:
        return None
    names, loadings = found
    order = np.lexsort((names, -np.linalg.norm(loadings, axis=1)))[:_N_GENES]
    n_genes = int((loadings != 0).any(axis=1).sum())
    return {"genes": names[order], "loadings": loadings[order].astype(np.float32), "n_genes": n_genes}


def check_same_space(adata: AnnData, features: Features, space: Mapping[str, Any] | None, key: str) -> None:
    """Refuse features whose loadings differ from those of the space that a metric was learned in.

    Parameters
    ----------
    adata
        The cells that the metric is applied to.
    features
        Their features.
    space
        What `space_of` returned of the cells that the metric was learned on.
    key
        Key of the metric.
    """
    found = None if space is None else _loadings(adata, features)
    if space is None or found is None:
        logger.debug("only the width of %s can be compared with that of the metric's features", features.text)
        return
    names, loadings = found
    position = pd.Index(names).get_indexer(pd.Index(np.asarray(space["genes"], dtype=object)))
    shared = position >= 0
    if not shared.any():
        logger.debug("no gene of the metric's space is in adata: only the width of %s is compared", features.text)
        return
    wanted = np.asarray(space["loadings"], dtype=np.float64)[shared]
    length = np.linalg.norm(wanted, axis=0)
    differ = np.linalg.norm(loadings[position[shared]] - wanted, axis=0) > _SAME_LOADINGS * np.maximum(
        length, _SAME_LOADINGS * length.max()
    )
    if not differ.any():
        return
    name = LOADINGS[features.use_rep]
    fitted_here = Keys(key).cells in adata.obsm
    remedy = f"Restore obsm[{features.use_rep!r}] and varm[{name!r}], or run sg.tl.fit_metric again."
    if not fitted_here:
        remedy = (
            "Map new samples with sg.tl.make_reference and sg.tl.map_samples, which take the loadings of the training "
            "data, or fit one metric to all cells."
        )
        if features.use_rep == PCA:
            remedy += (
                f" If obsm[{PCA!r}] was computed with the loadings of the training data, as scanpy.tl.ingest does, "
                f"copy these to varm[{name!r}]."
            )
    msg = (
        f"the metric in uns[{key!r}] was learned in another space than {features.text}: {int(differ.sum())} of "
        f"{len(differ)} columns of varm[{name!r}] differ in the {int(shared.sum())} genes that are compared, because "
        f"they were computed from other cells, or again after the fit. {remedy}"
    )
    raise ValueError(msg)


def check_same_cells(adata: AnnData, cells: NDArray[np.float64], rows: NDArray[np.int64] | None, key: str) -> None:
    """Refuse features that no longer give the coordinates in the learned space that are kept beside the metric.

    Parameters
    ----------
    adata
        Cells with the metric and their coordinates, `.obsm["X_" + key]`.
    cells
        The coordinates by the metric and the features that are there now, (n, n_components).
    rows
        Which cells these are, (n,); None for all.
    key
        Key of the metric.
    """
    name = Keys(key).cells
    kept = adata.obsm[name]
    if isinstance(kept, pd.DataFrame):
        kept = kept.to_numpy()
    if np.dtype(kept.dtype).kind not in "fiu":
        msg = f"obsm[{name!r}] must hold numbers, found {kept.dtype}. Run sg.tl.fit_metric again."
        raise TypeError(msg)
    if not in_memory(kept):
        if rows is None:
            rows = sample_of_rows(len(cells))
            cells = cells[rows]
        kept = points_on_disk(kept, f"obsm[{name!r}]")
    kept = kept if rows is None else kept[rows]
    kept = np.asarray(kept.toarray() if sp.issparse(kept) else kept, dtype=np.float64)
    if kept.shape == cells.shape:
        spread = np.linalg.norm(cells.std(axis=0)) or np.abs(cells).max()
        if np.abs(kept - cells).max() <= _SAME_CELLS * spread:
            return
    msg = (
        f"the metric in uns[{key!r}] does not lead from the features to obsm[{name!r}], the cells in the learned "
        "space: features were changed after the fit (principal components computed again, Harmony written over them), "
        "or the metric is that of other cells. Restore the features or run sg.tl.fit_metric again; if the metric in "
        f"uns[{key!r}] was copied here, remove obsm[{name!r}]."
    )
    raise ValueError(msg)


def _loadings(adata: AnnData, features: Features) -> tuple[NDArray[np.object_], NDArray[np.float64]] | None:
    """Return the genes whose names are unique, and their loadings; None where there are no loadings."""
    name = LOADINGS.get(features.use_rep)
    if name is None or unfit_loadings(adata, name, features) is not None:
        return None
    names = adata.var_names.astype(str)
    unique = np.flatnonzero(~names.duplicated(keep=False))
    loadings = adata.varm[name][unique]
    dense = loadings.toarray() if sp.issparse(loadings) else loadings
    return names[unique].to_numpy(dtype=object), np.asarray(dense, dtype=np.float64)
