"""A reference cohort as it is kept in `.uns`: the linear map from genes to features, and new cells under it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from scggml import _check as check
from scggml._keys import JOINT, LOADINGS, Keys
from scggml._warnings import warn
from scggml.core.measures._measures import Measures, as_points
from scggml.core.measures._moments import weighted_moments
from scggml.core.metric._ground_metric import GroundMetric
from scggml.reference._gene_space import GeneSpace
from scggml.reference._novelty import CellClusters
from scggml.reference._values import describe_values, difference_of_values

from ._entries import REFERENCE
from ._features import read_features
from ._genes import LINEAR, linear_map_of_genes, unfit_loadings
from ._schema import read_entry
from ._stored_metric import StoredMetric

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._features import Features

logger = logging.getLogger(__name__)


class InGenes(NamedTuple):
    """Cells by their genes.

    `space` holds the principal components of the genes that are there; `values`, (n_cells, n_present), those of the
    cells; and `present`, (n_genes,), which of the reference's genes are there.
    """

    space: GeneSpace
    values: Any
    present: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class StoredReference:
    """What `tl.make_reference` wrote.

    Parameters
    ----------
    key
        Its key.
    entry
        What stands in `.uns`.
    """

    key: str
    entry: dict[str, Any]

    @cached_property
    def metric(self) -> StoredMetric:
        """The metric of the reference."""
        return StoredMetric(self.key, dict(self.entry["metric"]))

    @property
    def measures(self) -> Measures:
        """The samples of the reference as clouds in the learned space."""
        return measures_of(self.entry)

    @property
    def is_sketched(self) -> bool:
        """Whether weighted points stand for its cells."""
        return "weights" in self.entry

    @property
    def clusters(self) -> CellClusters | None:
        """The clusters of cells of the reference, where it has any."""
        stored = self.entry.get("clusters")
        if stored is None:
            return None
        centroids, variance = (np.asarray(stored[name], dtype=np.float64) for name in ("centroids", "variance"))
        return CellClusters(centroids, np.asarray(stored["n_clusters"], dtype=np.int64), variance)

    def project(self, new: AnnData, use_rep: str | None) -> tuple[NDArray[np.float64], InGenes | None]:
        """Return new cells in the learned space, and their genes where principal components lead from there."""
        if use_rep is not None or "genes" not in self.entry:
            if use_rep is None:
                wanted = self.metric.params["use_rep"]
                msg = (
                    f"the reference's metric acts on {wanted!r}, which cannot be computed from genes. Pass use_rep "
                    "with the key of new.obsm that holds the same features of the new cells, computed by the same "
                    "model."
                )
                raise ValueError(msg)
            return self.metric.project(new, read_features(new, use_rep, None)), None
        table = self.entry["genes"]
        features = read_features(new, "X", self.entry["params"].get("layer"))
        present, columns = self._match_genes(new)
        values = features.columns(columns)
        found = describe_values(features.points, values)
        text = difference_of_values(table["values"], found, features.text, complete=bool(present.all()))
        if text is not None:
            warn(text)
        linear_map = self.metric.metric.linear_map
        if "loadings" not in table:  # the metric acts on the genes themselves
            mean = np.asarray(table["mean"], dtype=np.float64)
            part = GroundMetric(np.ascontiguousarray(linear_map[:, present]), np.ones(int(present.sum())))
            return part.project(values) + mean[~present] @ linear_map[:, ~present].T, None
        space = gene_space(table).restricted(present)
        return space.project(values) @ linear_map.T, InGenes(space, values, present)

    def _match_genes(self, new: AnnData) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which genes of the reference are there, (n_genes,), and their columns, (n_present,)."""
        names = np.asarray(self.entry["genes"]["names"], dtype=object)
        found = new.var_names.astype(str)
        known = found.isin(names)
        repeated = found[known][found[known].duplicated()].unique()
        if len(repeated):
            msg = (
                f"new.var_names holds {len(repeated)} of the reference's genes more than once: "
                f"{check.listed(repeated)}. Choose one of each, or add them up."
            )
            raise ValueError(msg)
        if not known.any():
            msg = (
                f"none of the reference's {len(names)} genes is in new.var_names: the reference has "
                f"{check.listed(names, limit=3)}, new has {check.listed(found, limit=3)}. Use the same type of "
                "gene names."
            )
            raise ValueError(msg)
        position = {name: i for i, name in zip(np.flatnonzero(known), found[known], strict=True)}
        present = np.array([name in position for name in names])
        if not present.all():
            share, absent = self._share_of(~present), names[~present]
            what = (
                f"{len(absent)} of the reference's {len(names)} genes, which carry {share:.1%} of the metric (sum of "
                f"squared gene weights), are not in new.var_names: {check.listed(absent)}"
            )
            if share > 0.5:
                raise ValueError(f"{what}. More than half of the metric is missing: use data with these genes.")
            warn(
                f"{what}. They are set to their mean in the reference: cells do not differ in them, samples may be "
                "further from all samples of the reference, and outliers in these genes are not detected."
            )
        return present, np.array([position[name] for name in names[present]], dtype=np.int64)

    def _share_of(self, chosen: NDArray[np.bool_]) -> float:
        """Return the share of some genes, (n_genes,), in the metric."""
        table, weights = self.entry["genes"], self.metric.metric.linear_map.T
        if "loadings" in table:
            weights = (np.asarray(table["loadings"]) / np.asarray(table["unit"])[:, None]) @ weights
        squares = ((np.asarray(table["sd"], dtype=np.float64)[:, None] * weights) ** 2).sum(axis=1)
        return float(squares[chosen].sum() / max(float(squares.sum()), np.finfo(float).tiny))


def read_reference(reference: Any, key: str) -> StoredReference:
    """Return what `tl.make_reference` wrote, or say how to make it."""
    name = Keys(key).reference
    entry = reference.uns.get(name)
    if not isinstance(entry, Mapping) or "points" not in entry:
        msg = (
            f"reference has no uns[{name!r}] with the cells of a reference. Pass the result of "
            f"sg.tl.make_reference(adata, pdata, key={key!r})."
        )
        raise KeyError(msg)
    entry = read_entry(entry, REFERENCE, f"uns[{name!r}]", "Make the reference again with sg.tl.make_reference.")
    names = reference.obs_names.astype(str).to_numpy(dtype=object)
    if not np.array_equal(names, np.asarray(entry["samples"], dtype=object)):
        msg = (
            f"reference holds {len(names)} samples, but its cells are those of {len(entry['samples'])}, or in another "
            "order: samples were dropped, moved or renamed after it was made. Pass it as it was made."
        )
        raise ValueError(msg)
    return StoredReference(key, entry)


def measures_of(entry: Mapping[str, Any]) -> Measures:
    """Return clouds of points that are stored with `offsets` and, of sketches, `weights`."""
    points = np.asarray(entry["points"], dtype=np.float64)
    offsets = np.asarray(entry["offsets"], dtype=np.int64)
    sizes, weights = np.diff(offsets), entry.get("weights")
    if weights is None:
        return Measures(points, offsets, np.repeat(1.0 / sizes, sizes))
    return Measures(points, offsets, np.asarray(weights, dtype=np.float64))


def gene_space(table: Mapping[str, Any]) -> GeneSpace:
    """Return the principal components of a reference."""
    return GeneSpace(*(np.asarray(table[name], dtype=np.float64) for name in ("loadings", "unit", "offset", "mean")))


def genes_of_features(adata: AnnData, features: Features, layer: str | None) -> dict[str, Any] | None:
    """Return the linear map from genes to the features, checked on the cells; None where there is none."""
    if features.use_rep == "X":
        if layer is not None and layer != features.layer:
            msg = (
                f"layer={layer!r} has no effect for a metric that was learned on {features.text} itself. Leave it out."
            )
            raise ValueError(msg)
        return _gene_moments(adata, features, np.ones(adata.n_vars, dtype=bool))
    name = LOADINGS.get(features.use_rep)
    if name is None:
        if layer is not None:
            msg = (
                f"layer={layer!r} has no effect for a metric on {features.text}, which no genes lead to. Leave it out."
            )
            raise ValueError(msg)
        logger.info("new cells need %s of their own: it cannot be computed from genes", features.text)
        return None
    remedy = (
        f"New cells can only be compared by their own obsm[{features.use_rep!r}], in the same space: "
        f"sg.tl.map_samples(..., use_rep={features.use_rep!r})."
    )
    unfit = unfit_loadings(adata, name, features)
    if unfit is not None:
        msg = f"{features.text} cannot be computed from genes: {unfit}. {remedy}"
        warn(msg)
        return None
    genes = read_features(adata, "X", layer)
    loadings = adata.varm[name]
    loadings = np.asarray(loadings.toarray() if sp.issparse(loadings) else loadings, dtype=np.float64)
    used = (loadings != 0).any(axis=1)
    table = _gene_moments(adata, genes, used)
    values, sd = _columns(genes, used), table["sd"]
    found = linear_map_of_genes(values, features, loadings[used], lambda: sd)
    if found.error <= LINEAR:
        return {**table, "loadings": loadings[used], "unit": found.unit, "offset": found.offset}
    why = (
        "Genes that were clipped, regressed out or integrated (Harmony) before or after the PCA cannot be repeated for "
        "new cells. Pass the layer that the PCA was computed from as layer, if there is one."
    )
    if features.use_rep == JOINT:
        why = "Features of some modality do not lead back to its variables, or these have changed since."
    msg = (
        f"{features.text} is not a linear map of {genes.text}: {genes.text} @ varm[{name!r}] plus a constant leaves "
        f"{found.error:.1%} of its spread. {why} {remedy}"
    )
    warn(msg)
    return None


def _gene_moments(adata: AnnData, genes: Features, used: NDArray[np.bool_]) -> dict[str, Any]:
    values = _columns(genes, used)
    names = adata.var_names.to_numpy(dtype=object)[used].astype(str).astype(object)
    if len(set(names)) < len(names):
        msg = (
            "adata.var_names are not unique, but the genes of new cells are found by name. "
            "Call adata.var_names_make_unique() first."
        )
        raise ValueError(msg)
    n_cells = values.shape[0]
    mean, variance = weighted_moments(as_points(values), np.full(n_cells, 1 / n_cells))
    return {
        "names": names,
        "mean": mean,
        "sd": np.sqrt(variance) * np.sqrt(n_cells / max(n_cells - 1, 1)),  # as scanpy.pp.scale
        "values": {"text": genes.text, **describe_values(genes.points, values)},
    }


def _columns(genes: Features, used: NDArray[np.bool_]) -> Any:
    return genes.points if used.all() else genes.columns(np.flatnonzero(used))
