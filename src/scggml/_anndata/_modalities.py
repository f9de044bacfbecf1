"""Several modalities of the same cells as one representation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scggml import _check as check

from ._cohort import read_representation
from ._on_disk import in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    from ._cohort import Representation

JOINT = "X_joint"  # .obsm of the cells that verbs work on


@dataclass(frozen=True, eq=False)
class Joint:
    """Features of several modalities side by side.

    Parameters
    ----------
    mods
        Names of the modalities.
    representations
        Features of each modality, of all of its cells.
    rows
        Which cells of each modality are in all of them, in the order of the MuData.
    names
        Names of these cells, (n_cells,).
    units
        Units of each modality's features that give it a total variance of one, (n_features of the modality,).
    """

    mods: tuple[str, ...]
    representations: tuple[Representation, ...]
    rows: tuple[NDArray[np.int64], ...]
    names: pd.Index
    units: tuple[NDArray[np.float64], ...]

    @property
    def unit(self) -> NDArray[np.float64]:
        """Units of all features, (n_features,)."""
        return np.concatenate(self.units)

    @property
    def blocks(self) -> dict[str, slice]:
        """Where the features of each modality are."""
        ends = np.cumsum([0, *map(len, self.units)])
        return {mod: slice(int(a), int(b)) for mod, a, b in zip(self.mods, ends[:-1], ends[1:], strict=True)}

    @property
    def use_rep(self) -> dict[str, str]:
        """The representation of each modality."""
        return {mod: r.use_rep for mod, r in zip(self.mods, self.representations, strict=True)}

    def params(self, *, intersect: bool) -> dict[str, Any]:
        """Return what is stored of the choice of features."""
        return {"use_rep": self.use_rep, "mod": np.array(self.mods, dtype=object), "intersect": intersect}

    def features(self) -> NDArray[np.object_]:
        """Return names of the features, with the modality before them, (n_features,)."""
        return np.array(
            [
                f"{mod}:{name}"
                for mod, r in zip(self.mods, self.representations, strict=True)
                for name in (np.arange(r.points.shape[1]) if r.names is None else r.names)
            ],
            dtype=object,
        )

    def points(self, *, balanced: bool) -> Any:
        """Return the features of the cells, (n_cells, n_features), CSR if those of a modality are, raw or in the units that let each modality count alike."""
        from scggml.core.measures._measures import as_points

        parts = [as_points(r.points[rows]) for r, rows in zip(self.representations, self.rows, strict=True)]
        if balanced:
            parts = [part * (1 / unit) for part, unit in zip(parts, self.units, strict=True)]
        if any(sp.issparse(part) for part in parts):
            return sp.csr_array(sp.hstack(parts))
        return np.concatenate(parts, axis=1)


def is_mudata(data: Any) -> bool:
    """Whether this is a MuData; mudata is not imported for it."""
    return any(cls.__name__ == "MuData" and cls.__module__.startswith("mudata") for cls in type(data).__mro__)


def check_cells(name: str, data: Any) -> None:
    """Refuse what is neither a MuData nor an AnnData."""
    if not is_mudata(data):
        check.check_anndata(name, data)


def check_mudata(mdata: MuData) -> None:
    """Refuse a MuData that results cannot be written to."""
    if mdata.is_view:
        msg = "a view of a MuData cannot be written to. Call mdata.copy() first."
        raise ValueError(msg)
    if mdata.n_obs == 0:
        msg = "the MuData has no observations"
        raise ValueError(msg)


def check_without_metric(mdata: MuData, mods: Sequence[str], key: str) -> None:
    """Refuse modalities with a metric of their own, whose gene weights would be overwritten."""
    found = [name for name in mods if key in mdata.mod[name].uns]
    if found:
        msg = (
            f"modalities {check.listed(found)} have a metric of their own in uns[{key!r}], whose gene weights in varm[{key!r}] would be "
            "overwritten. Pass another key_added."
        )
        raise ValueError(msg)


def check_without(what: str, **given: Any) -> None:
    """Refuse arguments that have no meaning here."""
    found = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    if found:
        msg = f"{check.listed(found)} has no meaning for {what}. Leave it out."
        raise ValueError(msg)


def read_joint(mdata: MuData, mod: Sequence[str] | None, use_rep: Any, *, intersect: bool) -> Joint:
    """Return the cells that are in all modalities, checked."""
    mods = _modalities(mdata, mod)
    chosen = _representations(use_rep, mods)
    check.check_choice("intersect", intersect, (True, False))
    shared = mdata.obs_names
    for name in mods:
        cells = mdata.mod[name].obs_names
        if not cells.is_unique:
            msg = f"the cells of modality {name!r} have names that are not unique. Call mdata.mod[{name!r}].obs_names_make_unique() first."
            raise ValueError(msg)
        shared = shared[shared.isin(cells)]
    missing = {name: int((~mdata.mod[name].obs_names.isin(shared)).sum()) for name in mods}
    if len(shared) == 0:
        found = check.listed([f"{name} ({mdata.mod[name].n_obs})" for name in mods])
        msg = f"no cell is in all modalities: {found} have no cell names in common. Name the same cells alike, or pass one modality."
        raise ValueError(msg)
    if any(missing.values()) and not intersect:
        found = check.listed([f"{name} ({count})" for name, count in missing.items() if count])
        msg = (
            f"cells are missing from other modalities: {found} have cells of their own, {len(shared)} are in all of "
            f"{check.listed(mods, limit=None)}. Pass intersect=True to take only these, or call mdata.update() if modalities were changed."
        )
        raise ValueError(msg)
    rows, representations, units = [], [], []
    for name in mods:
        cells = mdata.mod[name]
        try:
            representation = read_representation(cells, chosen.get(name), None)
        except (KeyError, ValueError, TypeError) as error:
            msg = f"modality {name!r}: {error.args[0]}"
            raise type(error)(msg) from error
        if not in_memory(representation.points):
            msg = f"{representation.text} of modality {name!r} is not in memory. Load it first, for example with to_memory()."
            raise TypeError(msg)
        positions = cells.obs_names.get_indexer(shared)
        representations.append(representation)
        rows.append(positions)
        units.append(_balancing_unit(representation, positions, name))
    return Joint(mods, tuple(representations), tuple(rows), shared, tuple(units))


def joint_cells(mdata: MuData, joint: Joint, columns: Sequence[str | None], *, balanced: bool) -> AnnData:
    """Return the cells as an AnnData with their features in `.obsm["X_joint"]`, and columns of `.obs`."""
    from anndata import AnnData

    obs = mdata.obs.loc[joint.names]
    extra = {key: _column(mdata, joint, key) for key in columns if isinstance(key, str) and key not in obs.columns}
    obs = obs.assign(**{key: column for key, column in extra.items() if column is not None})
    for name in obs.columns:
        if obs[name].dtype == "category":  # anndata drops these when it takes some cells, mudata does not
            obs[name] = obs[name].cat.remove_unused_categories()
    return AnnData(obs=obs, obsm={JOINT: joint.points(balanced=balanced)})


def evaluate_joint(
    verb: Callable[..., pd.DataFrame],
    mdata: MuData,
    entry: str,
    sample_key: str,
    label_key: str,
    *,
    columns: Sequence[str | None] = (),
    mod: Sequence[str] | None,
    use_rep: Any,
    intersect: bool,
    **settings: Any,
) -> pd.DataFrame:
    """Run a verb that writes one entry of `.uns` on the cells of several modalities, and write the entry to the MuData."""
    check_mudata(mdata)
    joint = read_joint(mdata, mod, use_rep, intersect=intersect)
    cells = joint_cells(mdata, joint, [sample_key, label_key, *columns], balanced=True)
    table = verb(cells, sample_key, label_key, use_rep=JOINT, **settings)
    found = cells.uns[entry]
    found["params"] |= joint.params(intersect=intersect)
    mdata.uns[entry] = found
    return table


def _column(mdata: MuData, joint: Joint, key: str) -> pd.Series | None:
    """Return a column that the modalities have and the MuData has not."""
    found = {name: mdata.mod[name].obs[key].reindex(joint.names) for name in joint.mods if key in mdata.mod[name].obs}
    if not found:
        return None
    first, *others = found
    for other in others:
        if not found[first].astype(str).equals(found[other].astype(str)):
            msg = f"column {key!r} differs between the modalities {first!r} and {other!r}. Put the right one into mdata.obs[{key!r}]."
            raise ValueError(msg)
    return found[first]


def _modalities(mdata: MuData, mod: Any) -> tuple[str, ...]:
    known = list(mdata.mod)
    if mod is None:
        mod = known
    if isinstance(mod, str) or not hasattr(mod, "__iter__"):
        msg = f"mod must be a list of modalities, found {mod!r}. Pass some of {known}."
        raise TypeError(msg)
    mods = tuple(mod)
    unknown = [name for name in mods if name not in known]
    if unknown or not mods or len(set(mods)) < len(mods):
        msg = f"mod must name modalities of the MuData once each, found {list(mods)!r}. Found there: {check.listed(known, limit=None)}."
        raise ValueError(msg)
    return mods


def _representations(use_rep: Any, mods: tuple[str, ...]) -> dict[str, str | None]:
    if use_rep is None:
        return {}
    if not isinstance(use_rep, Mapping):
        msg = f"use_rep must be a mapping from modalities to representations, such as {{{mods[0]!r}: 'X_pca'}}, found {use_rep!r}"
        raise TypeError(msg)
    unknown = [name for name in use_rep if name not in mods]
    if unknown:
        msg = f"use_rep names {check.listed(unknown)}, not among the modalities {check.listed(mods, limit=None)}"
        raise ValueError(msg)
    return dict(use_rep)


def _balancing_unit(representation: Representation, rows: NDArray[np.int64], name: str) -> NDArray[np.float64]:
    from scggml.core.measures._measures import Measures
    from scggml.core.measures._moments import feature_scale

    points = representation.points[rows]
    cloud = Measures.from_arrays([points])
    scale, constant = feature_scale(cloud, representation.scale)
    if constant.all():
        msg = f"no feature of {representation.text} of modality {name!r} varies between cells"
        raise ValueError(msg)
    return np.asarray(scale * np.sqrt((~constant).sum()))
