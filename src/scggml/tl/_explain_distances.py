"""What distances between samples consist of: cell types and genes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import names_in_order, read_cohort, read_representation, read_sketch
from scggml._anndata._modalities import JOINT
from scggml._anndata._stored_metric import (
    check_writable,
    select_features,
    stored_entry,
    stored_metric,
    stored_params,
    writable,
)
from scggml._keys import Keys
from scggml.get import distances as get_distances

from ._explained_parts import read_cell_types, read_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scggml._anndata._cohort import Representation

_MAX_REMAINDER = 1e-3  # share of a distance that genes may leave over without a warning


def explain_distances(
    adata: AnnData,
    pdata: AnnData,
    *,
    cell_type_key: str | None = None,
    samples: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    label_key: str | None = None,
    key: str = "ggml",
    genes: bool = True,
    n_jobs: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Take distances between samples apart: which cell types and which genes carry them.

    The distance of two samples is a sum over the cells that the optimal plan matches, :math:`D = \sum_e P_e c_e`: the mass
    that goes from a cell of one sample to a cell of the other, times their ground distance. So it can be shared exactly.

    *Cell types.* Matches within a type cost its **state**: how its cells differ. Of the mass that is matched across types, as much as
    proportions of types differ in has to be, and its cost is **composition**; of a type's mass that leaves for others, or arrives
    from them, all matches count alike. The rest is **exchange**: cells of different types are matched though proportions do not
    ask for it, since the metric does not keep these types apart, or their states have shifted more than types differ. A type
    carries its state and half of each match across types that it is one end of, so that types sum to the distance.

    *Genes.* The square of a ground distance is a sum over pairs of genes, since cells are compared by
    :math:`c^2 = \delta^\top M \delta` with :math:`\delta = x_a - x_b`. Gene `g` carries :math:`\delta_g (M \delta)_g / c` of `c`: its own
    square and half of each product with another gene, which is its Aumann-Shapley value :cite:p:`aumann1974`. Genes sum to the distance,
    and a gene that makes up for another one carries a negative part.

    *Classes.* Distances are means over all pairs of samples of two classes. Samples of one class differ as well, so what sets two
    classes apart is the **excess**: the mean between them less the mean of the means within each. Standard errors are by the
    jackknife :cite:p:`arvesen1969`, each sample left out in turn, with the metric as given. A metric that was learned from the same
    samples has learned their noise too, above all one on thousands of genes, which spreads the excess over all cell types and
    proves nothing (see :func:`scggml.tl.separation_test`). Where there are samples enough, learn it from some of them and explain
    distances of the others: `other.uns["ggml"] = adata.uns["ggml"]`.

    Parameters
    ----------
    adata
        Cells that the distances are of, with the learned metric. Nothing is written to it.
    pdata
        Samples with exact distances of all their cells under a learned or the Euclidean metric, from
        :func:`scggml.tl.sample_distances`. Distances of a sketch will do if no point of it stands for cells of several types.
    cell_type_key
        Column of `adata.obs` with the type of each cell. None takes all cells for one type, "all".
    samples
        Names of two samples to compare. None compares classes.
    groups
        Two classes to compare. None compares all classes with one another.
    label_key
        Column of `pdata.obs` with the classes, such as those of :func:`scggml.tl.cluster_samples`. None takes the one that the
        metric was learned with.
    key
        Key of the distances in `pdata`, and of the learned metric in `adata.uns`.
    genes
        Whether to share distances among genes as well. For a metric on `X_pca` that is through `.varm["PCs"]`; for another
        representation of `.obsm` its own features take the place of genes.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key under which results are stored; None takes `key`.
    copy
        Whether to return a copy of `pdata` instead of writing to it.

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets `.uns[key_added + "_explanation"]`, a `dict` that
    :func:`scggml.get.explanation` reads, with

    `params` : `dict`
        Arguments.
    `summary` : `pandas.DataFrame`
        One row for each two classes `group_a`, `group_b`, and after these one for each class with itself: `n_pairs` of samples; mean
        `distance` and its parts `state`, `exchange`, `composition`, also as `state_share` and so on; `within_classes`, the mean of
        the distances within both classes; `excess` and its parts `state_excess` and so on, each with a standard error `_se`; and
        parts as fractions `state_excess_share` and so on, which sum to one and may lie outside of 0 to 1. What is about an excess is
        NaN for two samples, a class with itself and a class with one sample; standard errors need three samples per class.
    `cell_types` : `pandas.DataFrame`
        The same for each `cell_type` of the samples compared: `distance` is what the type carries, `share` the fraction of the
        whole. Besides, `proportion_a` and `proportion_b`, the mean fractions of cells in both classes; `mass_within_type`, the
        mass that stays; and how far cells go, whatever the type's size: `state_per_cell`, those that are matched within the
        type (`state / mass_within_type`), and `distance_per_cell`, all but for composition (state and exchange by the mass
        that the type has in both samples).
    `flows` : `pandas.DataFrame`
        For each `source` type (in `group_a`) and `target` type (in `group_b`) the `mass`, its `cost`, of which `composition`, the
        `share` of the distance and the `excess` of the cost. A class with itself has no direction.
    `genes` : `dict`
        `names` (n_genes,); `parts` (n_types + 2,), each type's state, "exchange" and "composition"; `distance` (n_comparisons,
        n_parts, n_genes) in the order of `summary`; `remainder` (n_comparisons, n_parts), what genes do not sum to, which is
        zero but for rounding unless `X_pca` is not made of `X` and `PCs`.
    `pairs` : `pandas.DataFrame`
        `distance`, `state`, `exchange` and `composition` of each pair of samples.

    Raises
    ------
    KeyError, ValueError, TypeError
        If keys or arguments do not fit, or the distances are not those of these cells. Nothing has been written then.

    Warns
    -----
    UserWarning
        If cell types are missing from some samples, a class has one sample, or genes do not sum to the distances.

    Notes
    -----
    Where several plans are optimal, the explanation is that of one of them.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=30, n_genes=200, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type")
    >>> table = sg.get.explanation(pdata, "cell_types", groups=["healthy", "disease"])
    >>> bool(abs(table["share"].sum() - 1) < 1e-8)
    True
    """
    check.check_anndata("adata", adata)
    check.check_anndata("pdata", pdata)
    check.check_name("key", key)
    keys = Keys(key if key_added is None else key_added)
    check.check_name("key_added", keys.key)
    check.check_choice("genes", genes, (True, False))
    check.check_jobs(n_jobs)
    check_writable(pdata, copy=copy)
    metric, params = _source(pdata, key)
    entry = stored_entry(adata, key) if metric == "learned" else None
    cohort = read_cohort(adata, params["sample_key"])
    if samples is not None and not (groups is None and label_key is None):
        found = "groups" if groups is not None else "label_key"
        msg = f"samples={samples!r} and {found} exclude each other: compare two samples, or classes of samples"
        raise ValueError(msg)

    from scggml.core.transport._exact import solve_pairs
    from scggml.explanation._comparisons import (
        check_same_distances,
        check_same_samples,
        compare_classes,
        compare_samples,
        warn_about_absent_types,
    )
    from scggml.explanation._pairs import explain_pairs
    from scggml.explanation._tables import explanation_tables, gene_contributions

    check_same_samples(pdata.obs_names.astype(str), cohort.names, params["sample_key"])
    if samples is not None:
        chosen, comparisons = compare_samples(cohort.names, samples)
    else:
        label_key = params.get("label_key") if label_key is None else label_key
        numbers = params.get("label_kind") == "continuous" and label_key == params.get("label_key")
        labels, classes = _labels(pdata, label_key, numbers=numbers)
        chosen, comparisons = compare_classes(
            labels.reindex(cohort.names).to_numpy(dtype=object), classes, groups, str(label_key)
        )
    representation = read_representation(adata, params["use_rep"], params.get("layer"))
    sketch_key = params.get("sketch_key")
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, params["sample_key"], cohort)
    types, codes = read_cell_types(adata, cell_type_key, cohort, sketch, sketch_key)
    names, features = read_features(adata, representation, entry, key, cohort, sketch) if genes else (None, None)

    points = representation.points
    if entry is not None:
        points = stored_metric(entry).project(select_features(representation, entry, key))
    measures = cohort.measures(points, sketch)
    kept, rows = np.flatnonzero(chosen), np.flatnonzero(np.repeat(chosen, measures.sizes))
    measures, codes = measures.take(kept), codes[rows]
    used, codes = np.unique(codes, return_inverse=True)
    types = types[used]  # of the samples that are compared
    if features is not None:
        features = features.take(rows)
    if cell_type_key is not None:
        warn_about_absent_types(cell_type_key, types, measures.sizes, codes)
    names_kept = cohort.names[kept]
    table = get_distances(pdata, key=key).rename(index=str, columns=str)
    stored = table.reindex(index=names_kept, columns=names_kept).to_numpy()
    probe = comparisons.pairs[np.unique(np.linspace(0, len(comparisons.pairs) - 1, 5).astype(np.int64))]
    check_same_distances(solve_pairs(measures, probe, n_jobs=n_jobs).distances, stored, probe, names_kept)
    explanation = explain_pairs(
        measures, comparisons.pairs, comparisons.comparisons, codes, undirected=comparisons.undirected, n_types=len(types),
        features=features, own_features=names is not None and features is None, n_jobs=n_jobs, progress="explain distances",
    )  # fmt: skip
    check_same_distances(explanation.distances, stored, comparisons.pairs, names_kept)

    result: dict[str, Any] = {
        "params": stored_params(
            cell_type_key=cell_type_key, label_key=label_key, key=key, metric=metric, genes=genes,
            samples=None if samples is None else comparisons.names, groups=None if groups is None else comparisons.names,
            **{name: params.get(name) for name in ("sample_key", "use_rep", "layer", "sketch_key")},
        ),
        **explanation_tables(explanation, comparisons, names_kept, types),
    }  # fmt: skip
    if names is not None:
        result["genes"] = gene_contributions(explanation, names, types)
        _warn_about_remainder(result, representation)
    pdata = writable(pdata, copy=copy)
    pdata.uns[keys.explanation] = result
    return pdata if copy else None


def _source(pdata: AnnData, key: str) -> tuple[str, dict[str, Any]]:
    """Return the metric and the parameters of exact distances."""
    get_distances(pdata, key=key)
    entry = pdata.uns.get(Keys(key).metric)
    again = "Compute distances with sg.tl.sample_distances"
    if not isinstance(entry, Mapping) or not {"metric", "params"} <= set(entry):
        msg = f"pdata.uns[{key!r}], which says where the distances of key={key!r} come from, is missing. {again}."
        raise KeyError(msg)
    metric, params = entry["metric"], dict(entry["params"])
    if metric not in ("learned", "euclidean"):
        msg = (
            f"the distances of key={key!r} are those of metric={metric!r}, whose ground cost is not shared among genes and "
            f"cells here. {again} with metric='learned' or metric='euclidean'."
        )
        raise ValueError(msg)
    if params.get("solver", "exact") != "exact":
        msg = (
            f"the distances of key={key!r} are those of solver={params['solver']!r}, whose plans blur which cells are matched. "
            f"{again}(..., solver='exact')."
        )
        raise ValueError(msg)
    if params["use_rep"] == JOINT:
        which = f" ({check.listed(params['mod'])})" if "mod" in params else ""
        msg = (
            f"the distances of key={key!r} are those of several modalities{which}, which are not told apart here. {again} of one "
            "modality."
        )
        raise ValueError(msg)
    return metric, params


def _labels(pdata: AnnData, label_key: str | None, *, numbers: bool) -> tuple[pd.Series, list[str]]:
    """Return the class of each sample, by name, and the classes in their order; refuse `numbers`, which are no classes."""
    if label_key is None:
        msg = "label_key is needed, as these distances are not of a metric that was learned with one: name the column of pdata.obs"
        raise ValueError(msg)
    if isinstance(label_key, str) and label_key in pdata.obs and pdata.obs[label_key].isna().any():
        missing = pdata.obs_names[pdata.obs[label_key].isna()]
        msg = (
            f"label_key={label_key!r} is missing for {len(missing)} sample(s): {check.listed(missing)}. Fill it in, or leave "
            "them out of adata and pdata."
        )
        raise ValueError(msg)
    column = check.check_column("label_key", label_key, pdata.obs)
    text = pd.Series(check.as_names("label_key", label_key, column), index=pdata.obs_names.astype(str))
    sizes = text.value_counts()
    if numbers or (pd.api.types.is_float_dtype(column.dtype) and (sizes == 1).sum() > len(sizes) / 2):
        msg = (
            f"label_key={label_key!r} holds {len(sizes)} different numbers for {len(text)} samples, not classes. Cut them into "
            f"classes, pdata.obs['class'] = pandas.cut(pdata.obs[{label_key!r}], 3).astype(str), and pass label_key='class'."
        )
        raise ValueError(msg)
    return text, names_in_order(column)


def _warn_about_remainder(result: dict[str, Any], representation: Representation) -> None:
    left, distance = abs(result["genes"]["remainder"]).sum(axis=1), result["summary"]["distance"].to_numpy()
    share = float(np.divide(left, distance, out=np.zeros_like(left), where=distance > 0).max())
    if share > _MAX_REMAINDER:
        msg = (
            f"genes leave over up to {share:.2g} of a distance, since {representation.text} is not X times varm['PCs']: it was scaled or "
            "corrected for batches, or X is not what the PCs were computed of. Read genes with care (uns[...]['genes']['remainder']), "
            "or compute PCs of the present X, or learn the metric with use_rep='X', or pass genes=False."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
