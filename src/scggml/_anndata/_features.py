"""The features that distances are measured in: X, a layer, or a key of obsm, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scggml import _check as check
from scggml import _data as data
from scggml._keys import JOINT, PCA
from scggml._warnings import warn
from scggml.core.measures._measures import as_points
from scggml.core.measures._moments import weighted_moments
from scggml.reference._values import largest_count

from ._on_disk import check_sparse, in_memory, matrix_x, points_on_disk, reading, unreadable

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Features:
    """The features of all cells.

    Parameters
    ----------
    points
        Features of each cell, (n_obs, n_features), dense or CSR; `StoredPoints` where they are not in memory.
    use_rep
        "X" or the key in `.obsm`.
    layer
        The layer that "X" was taken from, or None.
    names
        Names of the features where they have any, (n_features,).
    """

    points: Any
    use_rep: str
    layer: str | None
    names: NDArray[np.object_] | None

    @property
    def scale(self) -> Literal["feature", "global"]:
        """How features are scaled by default: those of X have units of their own, those of PCs have one in common."""
        return "feature" if self.use_rep == "X" else "global"

    @property
    def text(self) -> str:
        """How messages call them."""
        if self.use_rep != "X":
            return f"obsm[{self.use_rep!r}]"
        return "X" if self.layer is None else f"layers[{self.layer!r}]"

    def warn_about_counts(self, where: str = "") -> None:
        """Warn of raw counts, which need to be normalised first; `where` stands before their name."""
        if self.use_rep != "X":
            return
        largest = largest_count(self.points)
        if largest is not None:
            msg = (
                f"{where}{self.text} looks like raw counts (whole numbers up to {largest:g}): their distances depend "
                "on sequencing depth and on a few highly expressed genes. Log-normalise first, with "
                "scanpy.pp.normalize_total and scanpy.pp.log1p, or use a layer or representation of log-normalised "
                "values."
            )
            warn(msg)

    def columns(self, columns: NDArray[np.integer]) -> Any:
        """Return some of the features, (n_obs, n_columns)."""
        return self.points[:, columns] if in_memory(self.points) else self.points.columns(columns)

    def in_order_of(self, wanted: Any, n_wanted: int, what: str) -> Any:
        """Return the points with features in the order of `wanted` (n_wanted,), matched by name where both have names.

        Parameters
        ----------
        wanted
            Names of the features that are needed, or None.
        n_wanted
            Their number.
        what
            What needs them, for messages.
        """
        if wanted is None or self.names is None:
            if self.points.shape[1] != n_wanted:
                msg = (
                    f"{what} was learned on {n_wanted} features, but {self.text} has {self.points.shape[1]}. "
                    "Use the representation it was learned on."
                )
                raise ValueError(msg)
            return self.points
        wanted = np.asarray(wanted, dtype=object)
        if np.array_equal(wanted, self.names):
            return self.points
        if len(set(self.names)) < len(self.names):
            msg = f"the feature names of {self.text} are not unique: call adata.var_names_make_unique() first"
            raise ValueError(msg)
        position = {name: i for i, name in enumerate(self.names)}
        missing = [name for name in wanted if name not in position]
        if missing:
            msg = (
                f"{what} was learned on {n_wanted} features, of which {len(missing)} are not in {self.text}: "
                f"{check.listed(missing)}. Use data with the same features."
            )
            raise ValueError(msg)
        return self.columns(np.array([position[name] for name in wanted]))


def read_features(adata: AnnData, use_rep: Any, layer: str | None) -> Features:
    """Return the features that `use_rep` and `layer` name, checked.

    None takes `X_joint` of joined modalities where there is one, else `X_pca`, else `X`.

    What is not in memory stays where it is. It is read once, by blocks of rows, to check its values.
    """
    with reading("layers or obsm"):  # anndata looks into every matrix
        layers, obsm = adata.layers, adata.obsm
    if use_rep is None:
        use_rep = next((key for key in (JOINT, PCA) if key in obsm and layer is None), "X")
    if use_rep == "X":
        if layer is not None and layer not in layers:
            found = check.listed([name for name in layers if name is not None], limit=20)
            msg = f"layer={check.shown(layer)} is not in layers. Found: {found}"
            raise KeyError(msg)
        points = matrix_x(adata) if layer is None else layers[layer]
        points = with_mask(adata, points, "X" if layer is None else "layers", layer)
        names = adata.var_names.to_numpy(dtype=object)
        if points is None:
            msg = "adata.X is None: pass use_rep with a key of obsm, or layer"
            raise ValueError(msg)
    else:
        if layer is not None:
            msg = (
                f"layer={check.shown(layer)} and use_rep={check.shown(use_rep)} exclude each other: a layer is a "
                "version of X. Pass one of them."
            )
            raise ValueError(msg)
        if use_rep not in obsm:
            msg = (
                f"use_rep={check.shown(use_rep)} is not in obsm. Found: {check.listed(obsm.keys(), limit=20)}, or use "
                "'X'"
            )
            raise KeyError(msg)
        points, names = with_mask(adata, obsm[use_rep], "obsm", use_rep), None
        if type(points).__name__ == "Dataset2D":  # a data frame that anndata read lazily
            points = points.to_memory()
        if isinstance(points, pd.DataFrame):
            names = points.columns.astype(str).to_numpy(dtype=object)
            points = data.frame_numbers(f"obsm[{check.shown(use_rep)}]", points)
    return _checked(Features(points, use_rep, layer, names))


def with_mask(
    adata: AnnData, values: Any, slot: Literal["X", "layers", "obsm", "obsp", "varm"], key: str | None
) -> Any:
    """Return values of a slot as they are, with the mask of a masked array, which a view does not show."""
    if not adata.is_view or not isinstance(values, np.ndarray):
        return values
    found = getattr(adata._adata_ref, slot)
    found = found if key is None else found[key]
    if not isinstance(found, np.ma.MaskedArray):
        return values
    if slot == "varm":
        return found[adata._vidx]
    columns = {"obsm": slice(None), "obsp": adata._oidx}.get(slot, adata._vidx)
    return found[adata._oidx][:, columns]


def _checked(features: Features) -> Features:
    text = features.text
    points = data.as_plain(text, features.points)
    reason = unreadable(points)
    if reason is not None:
        msg = f"{text} {reason}"
        raise TypeError(msg)
    with reading(text, points):
        shape, dtype = points.shape, points.dtype
    check_sparse(points, text)
    if len(shape) != 2 or shape[1] == 0:
        msg = f"{text} must have cells x features, found shape {shape}"
        raise ValueError(msg)
    if dtype.kind not in "biuf":
        msg = f"{text} must be numeric and real, found dtype {dtype}"
        raise TypeError(msg)
    if not in_memory(points):
        points = points_on_disk(points, text)
    elif sp.issparse(points) and points.format != "csr":
        points = sp.csr_array(points)
    names = features.names
    data.check_values(points, names.tolist() if names is not None else None, name=text)
    return Features(points, features.use_rep, features.layer, names)


def standard_deviation(points: Any) -> NDArray[np.float64]:
    """Return each feature's standard deviation across cells, (n_features,), without loading or densifying it."""
    n_cells = points.shape[0]
    return np.sqrt(weighted_moments(as_points(points), np.full(n_cells, 1 / n_cells))[1])
