"""Several modalities of the same cells side by side in one AnnData."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from scggml import _check as check
from scggml._arguments import SHARED
from scggml._keys import JOINT, JOINT_LOADINGS, MODALITY, PCA, PCA_LOADINGS
from scggml._warnings import warn
from scggml.core.measures._blocks import row_blocks
from scggml.core.measures._measures import Measures, as_points
from scggml.core.measures._moments import feature_scale

from ._entries import JOINT_SPACE
from ._features import read_features
from ._genes import unfit_loadings
from ._on_disk import in_memory
from ._schema import read_entry
from ._writing import stored_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from ._features import Features

logger = logging.getLogger(__name__)

_MAX_DENSE = 1_000_000
_MAX_DENSITY = 0.25


@dataclass(frozen=True, eq=False)
class Modality:
    """One modality, and what it contributes.

    Parameters
    ----------
    name
        Its name in the MuData.
    cells
        All of its cells.
    features
        Its features in the joint space, of all of its cells.
    rows
        Position among its cells of those that are in all modalities, in the order of the MuData.
    unit
        Unit of each feature, such that their total variance is one, (n_features,).
    values
        Values of its variables, of all of its cells; None if the features do not lead back to them.
    loadings
        Loading of each variable on each feature, (n_vars, n_features); None like `values`.
    reason
        Why there are no loadings.
    """

    name: str
    cells: AnnData
    features: Features
    rows: NDArray[np.int64]
    unit: NDArray[np.float64]
    values: Any = None
    loadings: Any = None
    reason: str = ""

    @property
    def feature_names(self) -> list[str]:
        """Names of the features in the joint space."""
        names = range(len(self.unit)) if self.features.names is None else self.features.names
        return [f"{self.name}:{name}" for name in names]


def is_mudata(data: Any) -> bool:
    """Whether this is a MuData; mudata is not imported for it."""
    return any(cls.__name__ == "MuData" and cls.__module__.startswith("mudata") for cls in type(data).__mro__)


def join(mdata: MuData, use_rep: Any, *, intersect: bool) -> AnnData:
    """Return the cells that are in all modalities, with the features of all of them."""
    names, modalities = _read_modalities(mdata, use_rep, intersect=intersect)
    with_variables = [modality for modality in modalities if modality.loadings is not None]
    var = _joint_var(with_variables)
    without = [f"{m.name} ({m.reason})" for m in modalities if m.loadings is None]
    if without:
        msg = (
            f"no variables of these modalities are in the result, as their features do not lead back to any: "
            f"{check.listed(without)}. Metrics use these modalities, but have no gene weights for them."
        )
        warn(msg)
    points = _side_by_side([as_points(m.features.points[m.rows]) * (1 / m.unit) for m in modalities])
    values = _side_by_side([as_points(m.values[m.rows]) for m in with_variables]) if with_variables else None
    entry = stored_result(
        use_rep={m.name: m.features.use_rep for m in modalities},
        modalities=np.array([m.name for m in modalities], dtype=object),
        n_features=np.array([len(m.unit) for m in modalities]),
        unit=np.concatenate([m.unit for m in modalities]),
        features=np.array([name for m in modalities for name in m.feature_names], dtype=object),
    )
    return AnnData(
        values,
        obs=_joint_obs(mdata, names, modalities),
        var=var,
        obsm={JOINT: points},
        varm={JOINT_LOADINGS: _joint_loadings(modalities)},
        uns={JOINT: entry},
    )


def modality_shares(adata: AnnData, linear_map: NDArray[np.float64]) -> dict[str, float] | None:
    """Return the share of each modality in the variance of cells in a learned space.

    Parameters
    ----------
    adata
        Cells from :func:`join`.
    linear_map
        From the joint space to the learned one, (k, n_joint).

    Returns
    -------
    The share of each modality, in their order; they sum to one. None if `adata.uns` does not say where the modalities
    are, for example after :func:`anndata.concat`, or if the learned space has no extent.
    """
    stored, points = adata.uns.get(JOINT), read_features(adata, JOINT, None).points
    if not isinstance(stored, Mapping):
        return None
    again = "Join the modalities again with sg.pp.join_modalities."
    entry = read_entry(stored, JOINT_SPACE, f"uns[{JOINT!r}]", again)
    if int(np.sum(entry["n_features"])) != points.shape[1]:
        return None
    ends = np.cumsum([0, *entry["n_features"]])
    coordinates: list[list[NDArray[np.float64]]] = [[] for _ in ends[1:]]
    for rows in row_blocks(points):
        block = points[rows]
        for part, start, stop in zip(coordinates, ends[:-1], ends[1:], strict=True):
            part.append(np.asarray(block[:, start:stop] @ linear_map[:, start:stop].T))
    variances = [float(np.concatenate(part).var(axis=0).sum()) for part in coordinates]
    total = sum(variances)
    if total == 0:
        return None
    return {str(name): value / total for name, value in zip(entry["modalities"], variances, strict=True)}


def _read_modalities(mdata: MuData, use_rep: Any, *, intersect: bool) -> tuple[pd.Index, list[Modality]]:
    """Return the names of the cells that are in all modalities, and the modalities, checked."""
    if not is_mudata(mdata):
        msg = (
            f"mdata must be a MuData, found {type(mdata).__name__}. The cells of a single modality need not be joined."
        )
        raise TypeError(msg)
    chosen = _chosen(mdata, use_rep)
    if mdata.n_obs == 0:
        msg = "mdata has no observations"
        raise ValueError(msg)
    names = _shared_cells(mdata, list(chosen), intersect=intersect)
    features = {}
    for name, key in chosen.items():
        with _naming(name):
            features[name] = read_features(mdata.mod[name], key, None)
            _check_in_memory(features[name].points, features[name].text)
        features[name].warn_about_counts(f"modality {name!r}: ")
    variables = {name: _read_variables(mdata.mod[name], features[name], name) for name in chosen}
    rows = {name: mdata.mod[name].obs_names.get_indexer(names) for name in chosen}
    modalities = [
        Modality(name, mdata.mod[name], found, rows[name], _balancing_unit(found, rows[name], name), *variables[name])
        for name, found in features.items()
    ]
    return names, modalities


def _chosen(mdata: MuData, use_rep: Any) -> dict[str, str | None]:
    """Return the representation of each modality that was chosen, None for the default."""
    known = list(mdata.mod)
    if use_rep is None:
        return dict.fromkeys(known)
    example = dict.fromkeys(known[:1], "X")
    if not isinstance(use_rep, Mapping):
        found = check.shown(use_rep)
        msg = f"use_rep must be a mapping from modalities to representations, such as {example}, found {found}"
        raise TypeError(msg)
    unknown = [name for name in use_rep if name not in known]
    if unknown or not use_rep:
        found = f"names {check.listed(unknown)}" if unknown else "is empty"
        there = check.listed(known, limit=20)
        msg = f"use_rep {found}. Name modalities of mdata, such as {example}. Found there: {there}"
        raise ValueError(msg)
    for name, value in use_rep.items():
        SHARED["use_rep"](f"use_rep[{name!r}]", value)
    return dict(use_rep)


def _shared_cells(mdata: MuData, mods: Sequence[str], *, intersect: bool) -> pd.Index:
    """Return the names of the cells that are in all modalities, in the order of the MuData."""
    shared = mdata.obs_names
    for name in mods:
        cells = mdata.mod[name].obs_names
        if not cells.is_unique:
            msg = (
                f"the cells of modality {name!r} have names that are not unique. Call "
                f"mdata.mod[{name!r}].obs_names_make_unique() first."
            )
            raise ValueError(msg)
        shared = shared[shared.isin(cells)]
    if len(shared) == 0:
        found = check.listed([f"{name} ({mdata.mod[name].n_obs})" for name in mods])
        msg = (
            f"no cell is in all modalities: {found} have no cell names in common. Give the same cells the same names, "
            "or choose other modalities with use_rep."
        )
        raise ValueError(msg)
    missing = {name: int((~mdata.mod[name].obs_names.isin(shared)).sum()) for name in mods}
    if any(missing.values()) and not intersect:
        found = check.listed([f"{name} ({count})" for name, count in missing.items() if count])
        msg = (
            f"some cells are not in all modalities: {found} have cells that others lack, {len(shared)} cells are in all"
            f" of {check.listed(mods, limit=None)}. Pass intersect=True to take only these, or call mdata.update() if "
            "modalities were changed."
        )
        raise ValueError(msg)
    return shared


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Add the name of the modality to errors about its data."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        msg = f"modality {name!r}: {error.args[0]}"
        raise type(error)(msg) from error


def _check_in_memory(points: Any, text: str) -> None:
    if not in_memory(points):
        msg = f"{text} is not in memory. Load it first, for example with to_memory()."
        raise TypeError(msg)


def _read_variables(cells: AnnData, features: Features, name: str) -> tuple[Any, Any, str]:
    """Return the variables that features lead back to, their loadings, and the reason if there are none."""
    if features.use_rep == "X":
        values, loadings = features.points, sp.eye_array(cells.n_vars, format="csr")
    elif features.use_rep != PCA:
        return None, None, features.text
    else:
        unfit = unfit_loadings(cells, PCA_LOADINGS, features)
        if unfit is not None:
            return None, None, unfit
        if cells.X is None:
            return None, None, "X is None"
        with _naming(name):
            values, loadings = (
                read_features(cells, "X", None).points,
                np.asarray(cells.varm[PCA_LOADINGS], dtype=np.float64),
            )
            _check_in_memory(values, "X, the values of the variables behind the PCs,")
    check.check_unique_genes(f"mdata.mod[{name!r}]", cells.var_names)
    return values, loadings, ""


def _balancing_unit(features: Features, rows: NDArray[np.int64], name: str) -> NDArray[np.float64]:
    """Return the unit of each feature, (n_features,), such that their total variance is one."""
    scale, constant = feature_scale(Measures.from_arrays([features.points[rows]]), features.scale)
    if constant.all():
        msg = (
            f"no feature of {features.text} of modality {name!r} varies between cells. Choose other modalities with "
            "use_rep."
        )
        raise ValueError(msg)
    return np.asarray(scale * np.sqrt((~constant).sum()))


def _side_by_side(parts: Sequence[Any]) -> Any:
    """Return features of several modalities as one matrix, CSR if one of them is."""
    if any(sp.issparse(part) for part in parts):
        return sp.csr_matrix(sp.hstack(parts, format="csr"))
    return np.concatenate(parts, axis=1)


def _joint_loadings(modalities: Sequence[Modality]) -> Any:
    """Return the loading of each variable on each joint feature, (n_vars, n_joint), CSR if it is large and sparse."""
    parts = [
        sp.csr_array((0, len(m.unit))) if m.loadings is None else sp.csr_array(m.loadings / m.unit) for m in modalities
    ]
    found = sp.block_diag(parts, format="csr")
    size = found.shape[0] * found.shape[1]
    is_sparse = size > _MAX_DENSE and found.nnz < _MAX_DENSITY * size
    return sp.csr_matrix(found) if is_sparse else found.toarray()


def _joint_obs(mdata: MuData, names: pd.Index, modalities: Sequence[Modality]) -> pd.DataFrame:
    """Return the columns of the MuData and those of the modalities that do not differ between these."""
    obs = mdata.obs.loc[names].copy()
    differing = []
    for key in _union(m.cells.obs.columns for m in modalities):
        if key in obs.columns:
            continue
        found = [m.cells.obs[key].iloc[m.rows] for m in modalities if key in m.cells.obs.columns]
        if all(column.astype(str).equals(found[0].astype(str)) for column in found[1:]):
            obs[key] = found[0]
        else:
            differing.append(key)
    for key in obs.columns:
        if isinstance(obs[key].dtype, pd.CategoricalDtype):
            obs[key] = obs[key].cat.remove_unused_categories()
    if differing:
        logger.info("columns of obs that differ between modalities are left out: %s", check.listed(differing))
    return obs


def _joint_var(modalities: Sequence[Modality]) -> pd.DataFrame:
    """Return one row per variable, with its modality and the columns that fit together."""
    if not modalities:
        return pd.DataFrame({MODALITY: pd.Categorical([])}, index=pd.Index([], dtype=str))
    every = pd.Index([name for m in modalities for name in m.cells.var_names])
    shared = set(every[every.duplicated()])
    names = [f"{m.name}:{name}" if name in shared else name for m in modalities for name in m.cells.var_names]
    twice = pd.Index(names)[pd.Index(names).duplicated()]
    if len(twice):
        msg = (
            f"names of variables would not be unique with the modality before them: {check.listed(twice)}. Rename them."
        )
        raise ValueError(msg)
    mods = [m.name for m in modalities]
    sizes = [m.cells.n_vars for m in modalities]
    columns: dict[str, Any] = {MODALITY: pd.Categorical(np.repeat(mods, sizes), categories=mods)}
    clashing = []
    for key in _union(m.cells.var.columns for m in modalities):
        parts = [m.cells.var[key] if key in m.cells.var.columns else None for m in modalities]
        if key == MODALITY or len({_value_type(part) for part in parts if part is not None}) > 1:
            clashing.append(key)
        else:
            columns[key] = _stacked(parts, sizes)
    if clashing:
        msg = (
            f"columns of var are left out, as they are of another type in another modality or called {MODALITY!r}: "
            f"{check.listed(clashing)}"
        )
        warn(msg)
    return pd.DataFrame(columns, index=pd.Index(names))


def _value_type(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"


def _stacked(parts: Sequence[pd.Series | None], sizes: Sequence[int]) -> Any:
    """Return a column of all variables, missing where a modality has none, in a type that files can hold."""
    known = [part for part in parts if part is not None]
    if len(known) == len(parts) and len({part.dtype for part in known}) == 1:
        return pd.concat(known).array
    filled = [
        pd.Series(np.nan, index=range(size), dtype=object) if part is None else part.astype(object)
        for part, size in zip(parts, sizes, strict=True)
    ]
    stacked, kind = pd.concat(filled), _value_type(known[0])
    if kind == "text":
        # a list has the type of text of this pandas, as what is read from a file
        return pd.Categorical(stacked.where(stacked.isna(), stacked.astype(str)).tolist())
    return stacked.astype("boolean" if kind == "bool" else np.float64).array


def _union(columns: Iterable[pd.Index]) -> list[str]:
    """Return the names of all columns, in the order in which they come."""
    return list(dict.fromkeys(name for names in columns for name in names))
