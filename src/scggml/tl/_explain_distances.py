"""What distances between samples consist of: cell types and genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml._anndata._cohort import read_samples
from scggml._anndata._distances import distances_entry, read_distances, refuse_held_out
from scggml._anndata._explained import (
    check_same_distances,
    check_same_samples,
    classes_of_samples,
    warn_about_absent_types,
)
from scggml._anndata._explained_parts import features_of_points, types_to_explain
from scggml._anndata._learners import is_exact
from scggml._anndata._long_runs import announce
from scggml._anndata._slots import check_free, explanation_slots
from scggml._anndata._stored_metric import read_metric
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked, several
from scggml._docs import shared_doc
from scggml._keys import JOINT, Keys
from scggml._warnings import warn
from scggml.core.transport._exact import solve_pairs
from scggml.core.transport._work import transport_work
from scggml.explanation._comparisons import compare_classes, compare_samples
from scggml.explanation._pairs import explain_pairs
from scggml.explanation._tables import explanation_tables, gene_contributions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scggml._anndata._cohort import Cohort
    from scggml.explanation._comparisons import Comparisons

_MAX_REMAINDER = 1e-3  # share of a distance that genes may leave over without a warning


@shared_doc
@checked(
    samples=several("samples"),
)
def explain_distances(
    adata: AnnData,
    pdata: AnnData,
    *,
    cell_type_key: str | None = None,
    classes: Sequence[Any] | None = None,
    samples: Sequence[Any] | None = None,
    label_key: str | None = None,
    key: str = "ggml",
    copy: bool = False,
) -> AnnData | None:
    r"""Decompose distances between samples into the parts due to cell types and genes.

    The distance of two samples is a sum over the pairs of cells that the optimal plan matches,
    :math:`D = \sum_e P_e c_e`: the mass that is moved from a cell of one sample to a cell of the other, times their
    ground distance. So the decomposition is exact.

    *Cell types.* The cost of matches within a type is its **state**: its cells differ. If the proportions of types
    differ, mass has to be moved between types. The cost of that is **composition**; all matches that leave a type, or
    arrive at it, contribute equally. The rest is **exchange**: cells of different types are matched although the
    proportions do not require it, because the metric does not separate these types, or their states have shifted by
    more than types differ. A type carries its state and half of each match between it and another type, so that types
    sum to the distance.

    *Genes.* The square of a ground distance is a sum over pairs of genes, because cells are compared by
    :math:`c^2 = \delta^\top M \delta` with :math:`\delta = x_a - x_b`. Gene `g` carries
    :math:`\delta_g (M \delta)_g / c` of `c`: its own square and half of each product with another gene, which is its
    Aumann-Shapley value :cite:p:`aumann1974`. Genes sum to the distance. A gene that compensates for another one
    carries a negative part.

    *Classes.* Distances are means over all pairs of samples of two classes. Samples of one class differ as well, so
    the difference between classes is the **excess**: the mean distance between them minus the mean of the mean
    distances within each. Standard errors are by the jackknife :cite:p:`arvesen1969`: each sample is left out in turn,
    with the metric as given. A metric that was learned from the same samples has also learned their noise, above all
    one on thousands of genes. Noise spreads the excess over all cell types and proves nothing (see
    :func:`scggml.tl.separation_test`). If there are enough samples, learn the metric from some of them and explain
    distances of the others: `other.uns["ggml"] = adata.uns["ggml"]`.

    Parameters
    ----------
    adata
        Cells that the distances were computed from, with the learned metric. Nothing is written to it.
    pdata
        Samples with exact distances under a learned or the Euclidean metric, from :func:`scggml.tl.sample_distances`.
        Distances of a sketch can be explained if no point of it stands for cells of several types.
    %(cell_type_key)s
        None takes all cells as one type, "all".
    classes
        Two classes to compare. None compares all classes with one another.
    samples
        Names of two samples to compare instead of classes.
    label_key
        Column of `pdata.obs` with the classes, for example those of :func:`scggml.tl.cluster_samples`. None takes the
        column that the metric was learned with.
    key
        Key of the distances in `pdata`, and of the learned metric in `adata.uns`.
    %(copy)s

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets `.uns[key + "_explanation"]`, a `dict` that
    :func:`scggml.get.explanation` reads, with

    `params` : `dict`
        Arguments.
    `summary` : `pandas.DataFrame`
        One row for each two classes `class_a`, `class_b`, and then one for each class with itself: `n_pairs` of
        samples; mean `distance` and its parts `state`, `exchange`, `composition`, also as fractions `state_share` and
        so on; `within_classes`, the mean of the mean distances within both classes; `excess` and its parts
        `state_excess` and so on, each with a standard error `_se`; and these parts as fractions `state_excess_share`
        and so on, which sum to one and may lie outside of 0 to 1. The excess is NaN for two samples, a class with
        itself and a class with one sample; standard errors need three samples per class.
    `cell_types` : `pandas.DataFrame`
        The same for each `cell_type`: `distance` is the part that the type carries, `share` its fraction of the
        distance. Also `proportion_a` and `proportion_b`, the mean fractions of cells in both classes;
        `mass_within_type`, the mass matched within the type; and distances per cell, whatever the type's size:
        `state_per_cell`, of cells matched within the type (`state / mass_within_type`), and `distance_per_cell`,
        without composition (state and exchange by the mass that the type has in both samples).
    `flows` : `pandas.DataFrame`
        For each `source` type (in `class_a`) and `target` type (in `class_b`) the `mass`, its `cost`, of which
        `composition`, the `share` of the distance and the `excess` of the cost. A class with itself has no direction.
    `genes` : `dict`
        `names` (n_genes,); `parts` (n_types + 2,), each type's state, "exchange" and "composition"; `distance`
        (n_comparisons, n_parts, n_genes) in the order of `summary`; `remainder` (n_comparisons, n_parts), the
        difference between parts and the sum over genes: rounding, unless `X_pca` is not a linear map of `X`. For a
        metric on `X_pca` or `X_joint`, genes are reached through the loadings in `.varm["PCs"]` or
        `.varm["joint_loadings"]`; for other representations of `.obsm`, its features are listed instead.
    `pairs` : `pandas.DataFrame`
        `distance`, `state`, `exchange` and `composition` of each pair of samples.

    Raises
    ------
    KeyError, ValueError, TypeError
        If keys or arguments do not fit, the distances are not those of these cells, or `.uns` holds something other
        than an earlier result. Nothing has been written then.

    Warns
    -----
    UserWarning
        If cell types are missing from some samples, a class has one sample, or genes do not sum to the distances.

    Notes
    -----
    If several plans are optimal, the decomposition is that of one of them.

    Examples
    --------
    >>> import scanpy as sc
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=8, n_cells=30, n_genes=200, effect_size=3, rng=0)
    >>> sc.pp.normalize_total(adata)
    >>> sc.pp.log1p(adata)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type")
    >>> table = sg.get.explanation(pdata, "cell_types", classes=["healthy", "disease"])
    >>> bool(abs(table["share"].sum() - 1) < 1e-8)
    True
    """
    check_writable(pdata, copy=copy)
    check_free(pdata, explanation_slots(key), "key", key)
    if samples is not None and not (classes is None and label_key is None):
        other = "classes" if classes is not None else "label_key"
        msg = f"samples={samples!r} and {other} exclude each other: compare two samples, or classes of samples"
        raise ValueError(msg)
    entry = distances_entry(pdata, key)
    metric, params = entry["metric"], dict(entry["params"])
    _check_explainable(entry, key)
    learned = read_metric(adata, key) if metric == "learned" else None
    read: dict[str, Any] = {name: params.get(name) for name in ("sample_key", "use_rep", "layer", "sketch_key")}
    cohort = read_samples(adata, **read)
    check_same_samples(pdata.obs_names.astype(str), cohort.names, params["sample_key"])
    if samples is not None:
        chosen, comparisons = compare_samples(cohort.names, samples)
    else:
        label_key = params.get("label_key") if label_key is None else label_key
        continuous = params.get("label_kind") == "continuous" and label_key == params.get("label_key")
        labels, known = classes_of_samples(pdata, label_key, continuous=continuous)
        chosen, comparisons = compare_classes(labels.reindex(cohort.names).to_numpy(), known, classes, str(label_key))
    types, codes = types_to_explain(adata, cell_type_key, cohort)
    names, features = features_of_points(adata, cohort, learned)

    measures = cohort.measures if learned is None else cohort.measures_of(learned.project(adata, cohort.features))
    kept, rows = np.flatnonzero(chosen), np.flatnonzero(np.repeat(chosen, measures.sizes))
    measures, codes = measures.take(kept), codes[rows]
    used, codes = np.unique(codes, return_inverse=True)
    types = types[used]  # of the samples that are compared
    if cell_type_key is not None:
        warn_about_absent_types(cell_type_key, types, measures.sizes, codes)
    stored = _stored(pdata, key, cohort, kept)
    probe = comparisons.pairs[np.unique(np.linspace(0, len(comparisons.pairs) - 1, 5).astype(np.int64))]
    check_same_distances(solve_pairs(measures, probe).distances, stored, probe, cohort.names[kept])
    announce(
        "explain_distances", lambda extent: transport_work(extent, comparisons.pairs), measures,
        cheaper=["two classes or two samples only (classes, samples)", "distances of a sketch by cell type, "
                 f"sg.pp.sketch(adata, {cohort.sample_key!r}, cell_type_key=...)"],
    )  # fmt: skip
    explanation = explain_pairs(
        measures, comparisons.pairs, comparisons.comparisons, codes, undirected=comparisons.undirected,
        n_types=len(types), features=None if features is None else features.take(rows),
        own_features=names is not None and features is None, progress="explain distances",
    )  # fmt: skip
    check_same_distances(explanation.distances, stored, comparisons.pairs, cohort.names[kept])

    result = stored_result(
        params=_params(read, cell_type_key, label_key, key, metric, samples, classes, comparisons),
        **explanation_tables(explanation, comparisons, cohort.names[kept], types),
    )
    if names is not None:
        result["genes"] = gene_contributions(explanation, names, types)
        _warn_about_remainder(result, cohort.features.use_rep)
    pdata = writable(pdata, copy=copy)
    pdata.uns[Keys(key).explanation] = result
    return pdata if copy else None


def _check_explainable(entry: dict[str, Any], key: str) -> None:
    """Refuse distances that have no plan between cells, or one that blurs which cells are matched."""
    again = "Compute distances with sg.tl.sample_distances"
    refuse_held_out(entry, key, "An explanation")
    if entry["metric"] not in ("learned", "euclidean"):
        msg = (
            f"the distances of key={key!r} are those of metric={entry['metric']!r}, whose ground cost cannot be "
            f"decomposed. {again} with metric='learned' or metric='euclidean'."
        )
        raise ValueError(msg)
    if not is_exact(entry):
        msg = (
            f"the distances of key={key!r} are entropic ({entry['solver']}), and their plans blur which cells are "
            f"matched. {again}(..., solver='exact')."
        )
        raise ValueError(msg)


def _stored(pdata: AnnData, key: str, cohort: Cohort, kept: Any) -> Any:
    table = read_distances(pdata, key).rename(index=str, columns=str)
    return table.reindex(index=cohort.names[kept], columns=cohort.names[kept]).to_numpy()


def _params(
    read: dict[str, Any],
    cell_type_key: str | None,
    label_key: str | None,
    key: str,
    metric: str,
    samples: Sequence[Any] | None,
    classes: Sequence[Any] | None,
    comparisons: Comparisons,
) -> dict[str, Any]:
    pair = comparisons.names
    return stored_params(
        cell_type_key=cell_type_key, label_key=label_key, key=key, metric=metric,
        samples=None if samples is None else pair, classes=None if classes is None else pair, **read,
    )  # fmt: skip


def _warn_about_remainder(result: dict[str, Any], use_rep: str) -> None:
    left, distance = abs(result["genes"]["remainder"]).sum(axis=1), result["summary"]["distance"].to_numpy()
    share = float(np.divide(left, distance, out=np.zeros_like(left), where=distance > 0).max())
    if share > _MAX_REMAINDER:
        why, remedy = "it was scaled or batch-corrected", "compute PCs of the present X"
        if use_rep == JOINT:
            why = "features of some modality do not lead back to its variables"
            remedy = 'join modalities on "X" or on "X_pca" with its loadings'
        msg = (
            f"genes leave over up to {share:.2g} of a distance, because obsm[{use_rep!r}] is not X times its loadings: "
            f"{why}, or X has changed since. Interpret genes with care (uns[...]['genes']['remainder']), {remedy}, or "
            "learn the metric with use_rep='X'."
        )
        warn(msg)
