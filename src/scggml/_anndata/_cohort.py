"""From an AnnData to a cohort: which cell belongs to which sample, and the cells' features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scggml import _check as check
from scggml._keys import N_CELLS, PCA, SketchKeys, colors

from ._on_disk import in_memory, matrix_x, reading, stored_points, unreadable

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._sketch import Sketch


@dataclass(frozen=True, eq=False)
class Representation:
    """The features that distances are measured in.

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
        """How features are scaled by default: those of X have units of their own, while the spreads of PCs mean something."""
        return "feature" if self.use_rep == "X" else "global"

    @property
    def text(self) -> str:
        """How error messages call it."""
        if self.use_rep != "X":
            return f"obsm[{self.use_rep!r}]"
        return "X" if self.layer is None else f"layers[{self.layer!r}]"


@dataclass(frozen=True, eq=False)
class Cohort:
    """Samples sorted by name.

    Parameters
    ----------
    names
        Sample names, (n_samples,).
    codes
        Sample of each cell, (n_obs,).
    """

    names: NDArray[np.object_]
    codes: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each sample, (n_samples,)."""
        return np.bincount(self.codes, minlength=len(self.names))

    def measures(self, points: Any, sketch: Sketch | None = None) -> Measures:
        """Return one measure per sample of points of the cells, (n_obs, n): of all, weighing alike, or of those of a sketch."""
        from scggml.core.measures._measures import Measures

        if sketch is not None:
            return sketch.measures(points)
        return Measures.from_codes(points, self.codes, len(self.names))

    def sample_obs(self, obs: pd.DataFrame) -> pd.DataFrame:
        """Return one row per sample: `n_cells` and every column that is constant within samples."""
        first = pd.Series(np.arange(len(self.codes))).groupby(self.codes).first().to_numpy()
        rows = obs.iloc[first]
        values = {column: _factorized(obs[column]) for column in obs.columns}
        constant = [column for column, value in values.items() if (value == value[first][self.codes]).all()]
        table = rows[constant].copy()
        for column in constant:
            if isinstance(table[column].dtype, pd.CategoricalDtype):
                table[column] = table[column].cat.remove_unused_categories()
        table.index = pd.Index(self.names)
        table[N_CELLS] = self.sizes
        return table


def _factorized(column: pd.Series) -> NDArray[np.int64]:
    return pd.factorize(column)[0]  # missing values count as one value of their own


def read_cohort(adata: AnnData, sample_key: str) -> Cohort:
    """Return the samples of an AnnData, checked."""
    names, codes = sample_codes(adata.obs, sample_key)
    check.check_declared_samples(sample_key, adata.obs[sample_key])
    cohort = Cohort(names, codes)
    check.check_sizes(names, cohort.sizes)
    return cohort


def sample_codes(obs: pd.DataFrame, sample_key: str) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the sorted names of the samples, (n_samples,), and the sample of each cell, (n_obs,)."""
    column = check.check_column("sample_key", sample_key, obs)
    return np.unique(check.as_names("sample_key", sample_key, column), return_inverse=True)


def sample_labels(
    obs: pd.DataFrame, label_key: str, names: NDArray[np.object_], codes: NDArray[np.int64]
) -> NDArray[np.object_]:
    """Return the one label of each sample as text, (n_samples,)."""
    return sample_values(obs, "label_key", label_key, names, codes)


def sample_values(
    obs: pd.DataFrame, name: str, key: str, names: NDArray[np.object_], codes: NDArray[np.int64]
) -> NDArray[np.object_]:
    """Return the one value of each sample in the column that the argument `name` names, as text, (n_samples,)."""
    text = check.as_names(name, key, check.check_column(name, key, obs))
    check.check_one_value(names, codes, name, key, text)
    values = np.empty(len(names), dtype=object)
    values[codes] = text
    return values


def sample_column(obs: pd.DataFrame, name: str, key: str | None, cohort: Cohort) -> NDArray[np.object_] | None:
    """Return the value of each sample in an optional column, (n_samples,)."""
    return None if key is None else sample_values(obs, name, key, cohort.names, cohort.codes)


def read_sketch(adata: AnnData, sketch_key: str, sample_key: str, cohort: Cohort) -> Sketch:
    """Return the sketch that :func:`scggml.pp.sketch` wrote, checked against the cells that are there now."""
    from scggml.core.transport._sketch import Sketch

    keys = SketchKeys(sketch_key)
    params = check.check_sketch_entry(sketch_key, adata.uns)
    if params["sample_key"] != sample_key:
        msg = (
            f"sketch_key={sketch_key!r} is a sketch of the samples in {params['sample_key']!r}, not of those in "
            f"sample_key={sample_key!r}. Run sg.pp.sketch(adata, {sample_key!r}, key_added=...) for these."
        )
        raise ValueError(msg)
    groups = check.check_sketch_column(sketch_key, keys.groups, adata.obs, "iu")
    if params["method"] == "cell_type":
        return Sketch.from_codes(cohort.codes, len(cohort.names), groups)
    is_support = check.check_sketch_column(sketch_key, keys.support, adata.obs, "b")
    check.check_sketch_support(sketch_key, sample_key, cohort.names, cohort.codes, groups, is_support)
    return Sketch.from_codes(cohort.codes, len(cohort.names), groups, is_support)


def kept_colors(adata: AnnData, key: str, kept: pd.Index) -> list[Any] | None:
    """Return scanpy's colours of the categories of `obs[key]` that are kept; None where there are none."""
    palette, categories = adata.uns.get(colors(key)), adata.obs[key].cat.categories
    if not isinstance(palette, list | np.ndarray) or len(palette) < len(categories):
        return None
    return [palette[categories.get_loc(name)] for name in kept]


def read_representation(adata: AnnData, use_rep: Any, layer: str | None) -> Representation:
    """Return the features that `use_rep` and `layer` name, checked; None takes `X_pca` where there is one, else `X`.

    What is not in memory stays where it is. It is read once, by blocks of rows, for the check that all of it is finite.
    """
    for name, value in (("use_rep", use_rep), ("layer", layer)):
        if value is not None and not isinstance(value, str):
            msg = f"{name} must be a key as text or None, found {value!r} of type {type(value).__name__}"
            raise TypeError(msg)
    with reading("layers or obsm"):  # anndata looks into every matrix
        layers, obsm = adata.layers, adata.obsm
    if use_rep is None:
        use_rep = PCA if layer is None and PCA in obsm else "X"
    if use_rep == "X":
        if layer is not None and layer not in layers:
            msg = f"layer={layer!r} is not in layers. Found: {check.listed([name for name in layers if name is not None], limit=20)}"
            raise KeyError(msg)
        points = matrix_x(adata) if layer is None else layers[layer]
        names = adata.var_names.to_numpy(dtype=object)
        if points is None:
            msg = "adata.X is None: pass use_rep with a key of obsm, or layer"
            raise ValueError(msg)
    else:
        if layer is not None:
            msg = f"layer={layer!r} and use_rep={use_rep!r} exclude each other: a layer is a version of X. Pass one of them."
            raise ValueError(msg)
        if use_rep not in obsm:
            msg = f"use_rep={use_rep!r} is not in obsm. Found: {check.listed(obsm.keys(), limit=20)}, or use 'X'"
            raise KeyError(msg)
        points, names = obsm[use_rep], None
        if type(points).__name__ == "Dataset2D":  # a data frame that anndata read lazily
            points = points.to_memory()
        if isinstance(points, pd.DataFrame):
            names, points = points.columns.astype(str).to_numpy(dtype=object), points.to_numpy()
    found = Representation(points, use_rep, layer, names)
    reason = unreadable(points)
    if reason is not None:
        msg = f"{found.text} {reason}"
        raise TypeError(msg)
    with reading(found.text):
        shape, dtype = points.shape, points.dtype
    if len(shape) != 2 or shape[1] == 0:
        msg = f"{found.text} must have cells x features, found shape {shape}"
        raise ValueError(msg)
    if dtype.kind not in "biuf":
        msg = f"{found.text} must be numeric and real, found dtype {dtype}"
        raise TypeError(msg)
    if not in_memory(points):
        points = stored_points(points, found.text)
        found = Representation(points, use_rep, layer, names)
    elif sp.issparse(points) and points.format != "csr":
        points = sp.csr_array(points)
        found = Representation(points, use_rep, layer, names)
    check.check_finite(points, names.tolist() if names is not None else None, name=found.text)
    return found


def names_in_order(column: pd.Series) -> list[str]:
    """Return the values of a column that are there as text, in the order of its categories where it has any."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [str(name) for name in column.cat.remove_unused_categories().cat.categories]
    return sorted(column.astype(str).unique())


def standard_deviation(points: Any) -> NDArray[np.float64]:
    """Return each feature's standard deviation across cells, (n_features,); sparse is not densified, stored not loaded."""
    from scggml.core.measures._measures import as_points
    from scggml.core.measures._moments import weighted_moments

    n_cells = points.shape[0]
    return np.sqrt(weighted_moments(as_points(points), np.full(n_cells, 1 / n_cells))[1])
