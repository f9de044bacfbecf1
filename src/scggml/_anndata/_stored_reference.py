"""A reference cohort as it is kept in `.uns`: the way from genes to the learned space, and new cells on it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from scggml import _check as check
from scggml._keys import PCA, PCA_LOADINGS, Keys

from ._cohort import read_representation
from ._on_disk import in_memory
from ._stored_metric import select_features, stored_metric

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.reference._gene_space import GeneSpace
    from scggml.reference._novelty import CellKinds

    from ._cohort import Representation

logger = logging.getLogger(__name__)

_MAX_CELLS = 2000  # that values are looked at of
_LARGEST_LOG = 30.0  # log1p of more than all molecules of any cell
_CONSTANT = 1e-3  # spread of totals that were made equal
_FACTOR = 1.5  # between medians of totals, beyond which data are called different
_LINEAR = 1e-3  # what X_pca may differ from a linear map of X: the rounding of float32
_TEXTS = {
    "counts": "raw counts (whole numbers)",
    "log": "log-normalised (not negative, not whole, small)",
    "normalised": "normalised without the logarithm (not negative, not whole, large)",
    "scaled": "scaled (with negative values)",
}


class InGenes(NamedTuple):
    """Cells by their genes.

    `space` holds the principal components of the genes that are there; `values`, (n_cells, n_present), those of the cells; and
    `present`, (n_genes,), which of the reference's genes are there.
    """

    space: GeneSpace
    values: Any
    present: NDArray[np.bool_]


def reference_entry(reference: Any, key: str) -> dict[str, Any]:
    """Return what `tl.make_reference` wrote, or say how to make one."""
    check.check_anndata("reference", reference)
    check.check_name("key", key)
    name = Keys(key).reference
    entry = reference.uns.get(name)
    if not isinstance(entry, Mapping) or "points" not in entry:
        msg = f"reference has no uns[{name!r}] with the cells of a reference. Pass what sg.tl.make_reference(adata, pdata, key={key!r}) returns."
        raise KeyError(msg)
    names = reference.obs_names.astype(str).to_numpy(dtype=object)
    if not np.array_equal(names, np.asarray(entry["samples"], dtype=object)):
        msg = (
            f"reference holds {len(names)} samples, but its cells are those of {len(entry['samples'])}, or in another order: samples were "
            "dropped, moved or renamed after it was made. Pass it as it was made."
        )
        raise ValueError(msg)
    return dict(entry)


def way_from_genes(adata: AnnData, representation: Representation, layer: str | None) -> dict[str, Any] | None:
    """Return how genes lead to the features of the metric, checked on the cells; None where they do not."""
    if representation.use_rep == "X":
        if layer is not None and layer != representation.layer:
            msg = f"layer={layer!r} has no meaning for a metric that was learned on {representation.text} itself. Leave it out."
            raise ValueError(msg)
        return _gene_table(adata, representation, np.ones(adata.n_vars, dtype=bool))
    if representation.use_rep != PCA:
        if layer is not None:
            msg = f"layer={layer!r} has no meaning for a metric on {representation.text}, to which no genes lead. Leave it out."
            raise ValueError(msg)
        logger.info("new cells need %s of their own: no genes lead to it", representation.text)
        return None
    loadings = adata.varm.get(PCA_LOADINGS)
    width = representation.points.shape[1]
    remedy = "New cells can only be compared with their own obsm['X_pca'], in the same space: sg.tl.project(..., use_rep='X_pca')."
    if loadings is None or np.shape(loadings)[1] != width:
        found = "missing" if loadings is None else f"{np.shape(loadings)[1]} wide, not {width} like the PCs"
        warnings.warn(
            f"no way from genes to X_pca: varm[{PCA_LOADINGS!r}] is {found}. {remedy}", UserWarning, stacklevel=3
        )
        return None
    genes = read_representation(adata, "X", layer)
    loadings = np.asarray(loadings, dtype=np.float64)
    used = (loadings != 0).any(axis=1)
    table = _gene_table(adata, genes, used)
    values = _columns(genes.points, used)
    error = np.inf
    sd = table["sd"]
    for unit in (np.ones(int(used.sum())), np.where(sd > 0, sd, 1.0)):
        offset, error = _best_offset(values, representation.points, loadings[used] / unit[:, None])
        if error <= _LINEAR:
            return {**table, "loadings": loadings[used], "unit": unit, "offset": offset}
    msg = (
        f"X_pca is not a linear map of {genes.text}: {genes.text} @ varm['PCs'] plus a constant leaves {error:.1%} of its spread. Genes "
        "that were scaled with a maximum, regressed out or integrated (Harmony) before or after the PCA cannot be repeated for new "
        f"cells. Pass the layer that the PCA was computed from as layer, if there is one. {remedy}"
    )
    warnings.warn(msg, UserWarning, stacklevel=3)
    return None


def _best_offset(genes: Any, features: Any, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the constant that is left of features, and the spread of the rest as a fraction of that of the features."""
    rows = _sample_of_rows(genes.shape[0])
    wanted = np.asarray(_rows(features, rows), dtype=np.float64)
    rest = wanted - _rows(genes, rows) @ weights
    offset = rest.mean(axis=0)
    spread = np.linalg.norm(wanted - wanted.mean(axis=0))
    return offset, float(np.linalg.norm(rest - offset) / max(float(spread), np.finfo(float).tiny))


def _gene_table(adata: AnnData, genes: Representation, used: NDArray[np.bool_]) -> dict[str, Any]:
    values = _columns(genes.points, used)
    names = adata.var_names.to_numpy(dtype=object)[used].astype(str).astype(object)
    if len(set(names)) < len(names):
        msg = "adata.var_names are not unique, by which the genes of new cells are found. Call adata.var_names_make_unique() first."
        raise ValueError(msg)
    n_cells = values.shape[0]
    from scggml.core.measures._measures import as_points
    from scggml.core.measures._moments import weighted_moments

    mean, variance = weighted_moments(as_points(values), np.full(n_cells, 1 / n_cells))
    return {
        "names": names,
        "mean": mean,
        "sd": np.sqrt(variance) * np.sqrt(n_cells / max(n_cells - 1, 1)),  # as scanpy.pp.scale
        "values": {"text": genes.text, **describe_values(genes.points, values)},
    }


def describe_values(everything: Any, used: Any) -> dict[str, Any]:
    """Return what kind of values the genes have, and the total of a cell.

    Parameters
    ----------
    everything
        Values of all genes that there are, (n_cells, n_all_genes).
    used
        Values of those that the reference uses, (n_cells, n_genes).
    """
    rows = _sample_of_rows(used.shape[0])
    part = _rows(used, rows)
    data = part.data if sp.issparse(part) else part.ravel()
    if (data < 0).any():
        return {"kind": "scaled"}
    if (data == np.rint(data)).all():
        kind = "counts"
    else:
        kind = "log" if data.max(initial=0.0) <= _LARGEST_LOG else "normalised"
    totals = _totals(part, kind)
    found: dict[str, Any] = {"kind": kind, "total_quantiles": np.quantile(totals, [0.05, 0.25, 0.5, 0.75, 0.95])}
    of_all = _totals(_rows(everything, rows), kind)
    median = float(np.median(of_all))
    if median > 0 and np.quantile(np.abs(of_all / median - 1), 0.9) < _CONSTANT:
        found["target_sum"] = median
    return found


def _totals(values: Any, kind: str) -> NDArray[np.float64]:
    counts = values.astype(np.float64)
    if kind == "log":
        counts = counts.expm1() if sp.issparse(counts) else np.expm1(counts)
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()


def check_values(known: Mapping[str, Any], found: Mapping[str, Any], text: str, *, all_there: bool) -> str | None:
    """Return a warning where new values are not normalised as those of the reference."""
    same = "Bring both to the same normalisation, or distances say how they differ in that."
    if known["kind"] != found["kind"]:
        return f"{text} looks {_TEXTS[found['kind']]}, that of the reference {_TEXTS[known['kind']]}. {same}"
    sums = known.get("target_sum"), found.get("target_sum")
    if None not in sums and abs(float(sums[0]) / float(sums[1]) - 1) > 10 * _CONSTANT:  # type: ignore[arg-type]
        return f"cells of {text} were normalised to a total of {sums[1]:.6g}, those of the reference to {sums[0]:.6g}. {same}"
    if "total_quantiles" not in known or "total_quantiles" not in found or not all_there:
        return None
    low, _, median, _, high = np.asarray(known["total_quantiles"], dtype=np.float64)
    new = float(np.asarray(found["total_quantiles"])[2])
    factor = max(_FACTOR, high / median, median / max(low, np.finfo(float).tiny)) if None in sums else _FACTOR
    if median > 0 and not 1 / factor <= new / median <= factor:
        return (
            f"the median total of a cell over the reference's genes is {new:.4g} in {text} and {median:.4g} in the reference: another "
            f"normalisation or depth of sequencing. {same}"
        )
    return None


def project_cells(
    new: AnnData, entry: Mapping[str, Any], key: str, *, layer: str | None, use_rep: str | None, missing_genes: str
) -> tuple[NDArray[np.float64], InGenes | None]:
    """Return new cells in the learned space, and their genes where principal components lead from there."""
    metric = dict(entry["metric"])
    wanted = metric["params"]["use_rep"]
    if use_rep is not None or "genes" not in entry:
        if use_rep is None:
            msg = (
                f"no genes lead to {wanted!r}, on which the reference's metric acts. Pass use_rep with the key of new.obsm that holds the "
                "same features of the new cells, computed by the same model."
            )
            raise ValueError(msg)
        representation = read_representation(new, use_rep, layer)
        return stored_metric(metric).project(select_features(representation, metric, key)), None
    representation = read_representation(new, "X", layer)
    table = entry["genes"]
    present, columns = _match_genes(new, table, metric, representation.text, missing_genes)
    values = representation.points
    values = values[:, columns] if in_memory(values) else values.columns(columns)
    text = check_values(
        table["values"],
        describe_values(representation.points, values),
        representation.text,
        all_there=bool(present.all()),
    )
    if text is not None:
        warnings.warn(text, UserWarning, stacklevel=3)
    linear_map = stored_metric(metric).linear_map
    mean = np.asarray(table["mean"], dtype=np.float64)
    if "loadings" not in table:  # the metric acts on the genes themselves
        from scggml.core.metric._ground_metric import GroundMetric

        part = GroundMetric(np.ascontiguousarray(linear_map[:, present]), np.ones(int(present.sum())))
        return part.project(values) + mean[~present] @ linear_map[:, ~present].T, None
    space = gene_space(table).restricted(present)
    return space.project(values) @ linear_map.T, InGenes(space, values, present)


def stored_measures(entry: Mapping[str, Any]) -> Measures:
    """Return the samples of a reference as clouds in the learned space."""
    from scggml.core.measures._measures import Measures

    points = np.asarray(entry["points"], dtype=np.float64)
    offsets = np.asarray(entry["offsets"], dtype=np.int64)
    sizes = np.diff(offsets)
    weights = entry.get("weights")
    if weights is None:
        return Measures(points, offsets, np.repeat(1.0 / sizes, sizes))
    return Measures(points, offsets, np.asarray(weights, dtype=np.float64))


def cell_kinds(entry: Mapping[str, Any]) -> CellKinds | None:
    """Return the kinds of cells of a reference, where it has any."""
    from scggml.reference._novelty import CellKinds

    stored = entry.get("kinds")
    if stored is None:
        return None
    centroids, variance = (np.asarray(stored[name], dtype=np.float64) for name in ("centroids", "variance"))
    return CellKinds(centroids, np.asarray(stored["divisions"], dtype=np.int64), variance)


def gene_space(table: Mapping[str, Any]) -> GeneSpace:
    """Return the principal components of a reference."""
    from scggml.reference._gene_space import GeneSpace

    return GeneSpace(*(np.asarray(table[name], dtype=np.float64) for name in ("loadings", "unit", "offset", "mean")))


def _match_genes(
    new: AnnData, table: Mapping[str, Any], metric: dict[str, Any], text: str, missing_genes: str
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which genes of the reference are there, (n_genes,), and their columns, (n_present,)."""
    names = np.asarray(table["names"], dtype=object)
    found = new.var_names.astype(str)
    known = found.isin(names)
    repeated = found[known][found[known].duplicated()].unique()
    if len(repeated):
        msg = (
            f"new.var_names holds {len(repeated)} of the reference's genes more than once: {check.listed(repeated)}. Choose one of each, or "
            "add them up."
        )
        raise ValueError(msg)
    if not known.any():
        msg = (
            f"none of the reference's {len(names)} genes is in new.var_names: the reference has {check.listed(names, limit=3)}, new has "
            f"{check.listed(found, limit=3)}. Use the same kind of gene names."
        )
        raise ValueError(msg)
    columns = np.flatnonzero(known)
    position = {name: i for i, name in zip(columns, found[known], strict=True)}
    present = np.array([name in position for name in names])
    if not present.all():
        share = _metric_share(table, metric, ~present)
        absent = names[~present]
        what = (
            f"{len(absent)} of the reference's {len(names)} genes, which carry {share:.1%} of the metric (sum of squared gene weights), are "
            f"not in new.var_names: {check.listed(absent)}"
        )
        if missing_genes == "error":
            raise ValueError(f"{what}. Pass missing_genes='mean' to take them at the reference's mean.")
        if share > 0.5:
            raise ValueError(f"{what}. More than half of the metric is missing: use data with these genes.")
        warnings.warn(
            f"{what}. They are taken at the reference's mean: cells do not differ in them, samples may lie further from all of the "
            "reference than they are, and what is unusual in these genes is not seen.",
            UserWarning,
            stacklevel=4,
        )
    return present, np.array([position[name] for name in names[present]], dtype=np.int64)


def _metric_share(table: Mapping[str, Any], metric: dict[str, Any], chosen: NDArray[np.bool_]) -> float:
    linear_map = stored_metric(metric).linear_map
    weights = linear_map.T
    if "loadings" in table:
        weights = (np.asarray(table["loadings"]) / np.asarray(table["unit"])[:, None]) @ weights
    squares = ((np.asarray(table["sd"], dtype=np.float64)[:, None] * weights) ** 2).sum(axis=1)
    return float(squares[chosen].sum() / max(float(squares.sum()), np.finfo(float).tiny))


def _columns(values: Any, used: NDArray[np.bool_]) -> Any:
    if used.all():
        return values
    chosen = np.flatnonzero(used)
    return values[:, chosen] if in_memory(values) else values.columns(chosen)


def _sample_of_rows(n_rows: int) -> NDArray[np.int64]:
    n = min(n_rows, _MAX_CELLS)
    return (np.arange(n) * n_rows) // n


def _rows(values: Any, rows: NDArray[np.int64]) -> Any:
    return values if in_memory(values) and len(rows) == values.shape[0] else values[rows]
