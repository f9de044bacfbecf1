"""From the features of a metric back to genes: loadings, and the genes' values."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from scggml._keys import JOINT, LOADINGS, PCA
from scggml._warnings import warn
from scggml.reference._values import sample_of_rows, taken_rows

from ._features import read_features, standard_deviation, with_mask
from ._on_disk import unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._features import Features

logger = logging.getLogger(__name__)

LINEAR = 1e-3  # what features may differ from a linear map of genes: the rounding of float32


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

    @property
    def n_loaded(self) -> int:
        """Number of genes with any loading."""
        return int((np.asarray(abs(self.loadings).sum(axis=1)).ravel() > 0).sum())

    def standard_deviation(self) -> NDArray[np.float64]:
        """Return each gene's standard deviation across cells, (n_vars,)."""
        return standard_deviation(self.values)

    def linear_map(self, linear_map: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a linear map of the features, (n_components, n_features), as one of genes, (n_components, n_vars)."""
        return np.asarray(self.loadings @ linear_map.T).T

    def weights(self, linear_map: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where a cell moves when a gene rises by one standard deviation, (n_vars, n_components)."""
        return self.linear_map(linear_map).T * self.standard_deviation()[:, None]


def read_genes(adata: AnnData, features: Features, *, approximate: bool = False) -> Genes | None:
    """Return the genes that features lead back to; None where they do not, with a warning where they could.

    With `approximate`, features need not be a linear map of the genes exactly.
    """
    if features.use_rep != "X" and features.use_rep not in LOADINGS:
        logger.info("no gene weights: %s does not lead back to genes", features.text)
        return None
    reason = _missing(adata, features)
    if reason is None:
        try:
            genes, reason = _genes(adata, features)
        except (TypeError, ValueError) as error:  # X cannot be used: NaN, masked or remote values
            reason = str(error)
        else:
            if reason is None or approximate:
                return genes
    warn(f"no gene weights for the metric on {features.text}: {reason}")
    return None


def required_genes(adata: AnnData, features: Features, n_genes: int | None = None) -> Genes:
    """Return the genes that features lead back to, or say why they do not.

    Of features that were computed from `n_genes`, it cannot be checked where some of these have been left out since.
    """
    reason = _missing(adata, features)
    if reason is not None:
        msg = f"{features.text} does not lead back to genes: {reason}"
        raise KeyError(msg)
    genes, reason = _genes(adata, features)
    if reason is not None and (n_genes is None or genes.n_loaded >= n_genes):
        msg = f"{features.text} does not lead back to genes: {reason}"
        raise ValueError(msg)
    return genes


def _genes(adata: AnnData, features: Features) -> tuple[Genes, str | None]:
    """Return the genes, and why features are no linear map of them; None where they are."""
    if features.use_rep == "X":
        return Genes(sp.eye_array(adata.n_vars), features.points), None
    name = LOADINGS[features.use_rep]
    loadings = adata.varm[name]
    loadings = loadings if sp.issparse(loadings) else np.asarray(loadings, dtype=np.float64)
    values = read_features(adata, "X", None).points
    columns = None
    if features.use_rep == JOINT:  # features of some modalities do not lead back to variables
        columns = np.flatnonzero(np.asarray(abs(loadings).sum(axis=0)).ravel() > 0)
    found = linear_map_of_genes(values, features, loadings, lambda: _sample_deviation(values), columns=columns)
    if found.error <= LINEAR:
        return Genes(found.weights, values), None
    reason = (
        f"X @ varm[{name!r}] plus a constant leaves {found.error:.1%} of its spread. It was integrated (Harmony), or "
        "computed on parts of the cells or from other values than X, or X or its genes have changed since. Compute "
        "both with the same call (scanpy.pp.pca) from X, or fit with use_rep='X'."
    )
    return Genes(loadings, values), reason


class LinearMap(NamedTuple):
    """`features = genes @ weights + offset`, where weights are loadings by a `unit` of each gene.

    `error` is the spread of the residuals as a fraction of that of the features.
    """

    weights: Any
    unit: NDArray[np.float64]
    offset: NDArray[np.float64]
    error: float


def linear_map_of_genes(
    genes: Any,
    features: Features,
    loadings: Any,
    standard_deviations: Callable[[], NDArray[np.float64]],
    *,
    columns: NDArray[np.int64] | None = None,
) -> LinearMap:
    """Return the linear map from genes to features that loadings stand for, checked on up to 2,000 cells.

    Principal components are those of the genes, or of the genes divided by their standard deviations.

    Parameters
    ----------
    genes
        Values of the genes, (n_obs, n_genes).
    features
        Features of the cells.
    loadings
        Loadings of the genes, (n_genes, n_features), dense or sparse.
    standard_deviations
        Returns the standard deviation of each gene, (n_genes,).
    columns
        Features to check; None for all.
    """
    rows = sample_of_rows(genes.shape[0])
    values, wanted = taken_rows(genes, rows), _dense(taken_rows(features.points, rows))
    centred = wanted - wanted.mean(axis=0)

    def checked(unit: NDArray[np.float64]) -> LinearMap:
        weights = sp.diags_array(1 / unit) @ loadings if sp.issparse(loadings) else loadings / unit[:, None]
        rest = wanted - _dense(values @ weights)
        offset = rest.mean(axis=0)
        kept = slice(None) if columns is None else columns
        spread, left = (float(np.linalg.norm(x[:, kept])) for x in (centred, rest - offset))
        return LinearMap(weights, unit, offset, left / spread if spread > 0 else 0.0)  # constant features say nothing

    found = checked(np.ones(genes.shape[1]))
    if found.error > LINEAR and features.use_rep == PCA:
        deviations = standard_deviations()
        scaled = checked(np.where(deviations > 0, deviations, 1.0))
        found = min(found, scaled, key=lambda each: each.error)
    return found


def _dense(x: Any) -> NDArray[np.float64]:
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)


def _sample_deviation(values: Any) -> NDArray[np.float64]:
    """Return each gene's standard deviation as `scanpy.pp.scale` takes it, (n_vars,)."""
    return standard_deviation(values) * np.sqrt(values.shape[0] / max(values.shape[0] - 1, 1))


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
    shape, dtype = np.shape(loadings), getattr(loadings, "dtype", None)
    if len(shape) != 2 or (dtype is not None and dtype.kind not in "fiu"):
        return f"varm[{name!r}] is not a matrix of numbers"
    if shape[1] != width:
        return f"varm[{name!r}] is {shape[1]} wide, not {width} like {features.text}"
    if np.ma.is_masked(with_mask(adata, loadings, "varm", name)):
        return f"varm[{name!r}] has masked values"
    finite = np.isfinite(loadings.data if sp.issparse(loadings) else np.asarray(loadings))
    return None if finite.all() else f"varm[{name!r}] has {int((~finite).sum())} values that are NaN or infinite"
