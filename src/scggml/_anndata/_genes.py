"""From the features of a metric back to genes: loadings, and the genes' values."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scggml._keys import LOADINGS
from scggml._warnings import warn

from ._features import read_features, standard_deviation
from ._on_disk import unreadable

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._features import Features

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Genes:
    """The genes that features are linear combinations of.

    Parameters
    ----------
    loadings
        Loading of each gene on each feature, (n_vars, n_features), dense or sparse.
    values
        Values of the genes, (n_obs, n_vars).
    """

    loadings: Any
    values: Any

    def standard_deviation(self) -> NDArray[np.float64]:
        """Return each gene's standard deviation across cells, (n_vars,)."""
        return standard_deviation(self.values)

    def linear_map(self, linear_map: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a linear map of the features, (n_components, n_features), as one of genes, (n_components, n_vars)."""
        return np.asarray(self.loadings @ linear_map.T).T

    def weights(self, linear_map: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where a cell moves when a gene rises by one standard deviation, (n_vars, n_components)."""
        return self.linear_map(linear_map).T * self.standard_deviation()[:, None]


def read_genes(adata: AnnData, features: Features) -> Genes | None:
    """Return the genes that features lead back to; None where they do not, with a warning where they could."""
    if features.use_rep != "X" and features.use_rep not in LOADINGS:
        logger.info("no gene weights: %s does not lead back to genes", features.text)
        return None
    reason = _missing(adata, features)
    if reason is not None:
        warn(f"no gene weights for the metric on {features.text}: {reason}")
        return None
    try:
        return required_genes(adata, features)
    except (TypeError, ValueError) as error:  # X cannot be used: NaN, masked or remote values
        warn(f"no gene weights for the metric on {features.text}: {error}")
        return None


def required_genes(adata: AnnData, features: Features) -> Genes:
    """Return the genes that features lead back to, or say why they do not."""
    reason = _missing(adata, features)
    if reason is not None:
        msg = f"{features.text} does not lead back to genes: {reason}"
        raise KeyError(msg)
    if features.use_rep == "X":
        return Genes(sp.eye_array(adata.n_vars), features.points)
    loadings = adata.varm[LOADINGS[features.use_rep]]
    loadings = loadings if sp.issparse(loadings) else np.asarray(loadings, dtype=np.float64)
    return Genes(loadings, read_features(adata, "X", None).points)


def _missing(adata: AnnData, features: Features) -> str | None:
    """Return what is missing on the way from features to genes, and what to do; None where nothing is."""
    if features.use_rep == "X":
        return None
    name = LOADINGS.get(features.use_rep)
    if name is None:
        return "no loadings are known for it. Fit with use_rep='X', or on 'X_pca' with the loadings in varm['PCs']."
    unfit = unfit_loadings(adata, name, features)
    if unfit is not None:
        return f"{unfit}. Compute both with the same call (scanpy.pp.pca), or fit with use_rep='X'."
    if adata.X is None:
        return "X, which holds the genes' values, is None."
    reason = unreadable(adata.X)
    return None if reason is None else f"X, which holds the genes' values, {reason}"


def unfit_loadings(adata: AnnData, name: str, features: Features) -> str | None:
    """Return why `varm[name]` does not hold the loadings of the features; None where it does."""
    loadings, width = adata.varm.get(name), features.points.shape[1]
    if loadings is None:
        return f"varm[{name!r}] is missing"
    found = np.shape(loadings)[1]
    return None if found == width else f"varm[{name!r}] is {found} wide, not {width} like {features.text}"
