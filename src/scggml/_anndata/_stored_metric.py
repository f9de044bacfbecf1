"""What verbs read from and write to an AnnData: a learned metric is kept in `.uns`, so that it can be copied and saved."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._keys import Keys

from ._on_disk import in_memory, uncopied

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

    from scggml.core.metric._ground_metric import GroundMetric

    from ._cohort import Representation


def check_writable(adata: AnnData, *, copy: bool) -> None:
    """Refuse what `writable` could not do, before any work is done."""
    if adata.isbacked and (copy or adata.is_view):
        found = (
            "copy=True cannot copy what is backed by a file"
            if copy
            else "adata is a view of a file, not to be written to"
        )
        msg = (
            f"{found}. Call adata.to_memory() first, which loads its cells, or give them a file of their own with "
            "adata.copy(filename=...)."
        )
        if copy and not adata.is_view:
            msg += " With copy=False, results are written to adata in memory, and the file stays as it is."
        raise ValueError(msg)
    in_files = uncopied(adata) if copy and not adata.is_view else []
    if in_files:
        msg = (
            f"copy=True cannot copy {check.listed(in_files)}, which anndata reads from a file. Call adata.to_memory() first, or "
            "pass copy=False: results are written to adata in memory, and the file stays as it is."
        )
        raise ValueError(msg)


def writable(adata: AnnData, *, copy: bool) -> AnnData:
    """Return what a verb writes to: a copy, or `adata` itself, which stops being a view."""
    check_writable(adata, copy=copy)
    if copy:
        return adata.copy()
    if adata.is_view:
        adata._init_as_actual(adata.copy())
    return adata


def stored_params(**params: Any) -> dict[str, Any]:
    """Return parameters as files can hold them: without None, which stands for absent, and of `rng` a seed only."""
    if "rng" in params:
        params["rng"] = int(params["rng"]) if isinstance(params["rng"], Integral) else None
    return {name: value for name, value in params.items() if value is not None}


def stored_settings(params: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what `stored_params` kept under these names; what is not there is None, and files' numbers are Python's."""
    found = {name: params.get(name) for name in names}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}


def drop_results(adata: AnnData, keys: Keys) -> None:
    """Take away what verbs found out about an earlier metric of this key."""
    for stale in (keys.gene_ranking, keys.gene_ranking_by_class, keys.stability, keys.enrichment):
        adata.uns.pop(stale, None)
    adata.varm.pop(keys.gene_weights, None)


def stored_entry(adata: AnnData | MuData, key: str) -> dict[str, Any]:
    """Return the `.uns` entry of a learned metric, or say how to make one."""
    entry = adata.uns.get(Keys(key).metric)
    if entry is None:
        msg = (
            f"there is no learned metric in uns[{key!r}]. Run sg.tl.fit_metric(adata, sample_key, label_key, "
            f"key_added={key!r}) first, or copy the entry from the AnnData that it was learned on."
        )
        raise KeyError(msg)
    missing = [name for name in ("components", "scale", "params") if name not in entry]
    if missing:
        msg = f"uns[{key!r}] is not a learned metric: {check.listed(missing)} missing"
        raise ValueError(msg)
    return dict(entry)


def stored_entry_of_one(adata: AnnData, key: str) -> dict[str, Any]:
    """Return the `.uns` entry of a metric on one representation; refuse one on several modalities."""
    entry = stored_entry(adata, key)
    use_rep = entry["params"]["use_rep"]
    if isinstance(use_rep, Mapping):
        msg = (
            f"the metric in uns[{key!r}] was learned on several modalities ({check.listed(use_rep)}), which this is not for. Learn one "
            "on a single modality, sg.tl.fit_metric(mdata.mod[...], ...)."
        )
        raise ValueError(msg)
    return entry


def stored_metric(entry: dict[str, Any]) -> GroundMetric:
    """Return the ground metric of an entry."""
    from scggml.core.metric._ground_metric import GroundMetric

    return GroundMetric(np.asarray(entry["components"], dtype=np.float64), np.asarray(entry["scale"], dtype=np.float64))


def select_features(representation: Representation, entry: dict[str, Any], key: str) -> Any:
    """Return the points with the metric's features in the metric's order, matched by name where they have names."""
    wanted = entry.get("features")
    found = representation.names
    n_wanted = len(entry["scale"])
    if wanted is None or found is None:
        if representation.points.shape[1] != n_wanted:
            msg = (
                f"the metric in uns[{key!r}] was learned on {n_wanted} features of {entry['params']['use_rep']!r}, but "
                f"{representation.text} has {representation.points.shape[1]}. Use the representation it was learned on."
            )
            raise ValueError(msg)
        return representation.points
    wanted = np.asarray(wanted, dtype=object)
    if np.array_equal(wanted, found):
        return representation.points
    if len(set(found)) < len(found):
        msg = f"the feature names of {representation.text} are not unique: call adata.var_names_make_unique() first"
        raise ValueError(msg)
    position = {name: i for i, name in enumerate(found)}
    missing = [name for name in wanted if name not in position]
    if missing:
        msg = (
            f"the metric in uns[{key!r}] was learned on {n_wanted} features, of which {len(missing)} are not in "
            f"{representation.text}: {check.listed(missing)}. Use data with the same features."
        )
        raise ValueError(msg)
    columns = np.array([position[name] for name in wanted])
    points = representation.points
    return points[:, columns] if in_memory(points) else points.columns(columns)
