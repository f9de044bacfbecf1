"""Rank genes by their weight in the learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._gene_table import gene_table
from scggml._anndata._genes import required_genes
from scggml._anndata._long_runs import announce
from scggml._anndata._slots import check_free, ranking_slots
from scggml._anndata._stored_metric import read_metric
from scggml._anndata._writing import check_writable, stored_result, writable
from scggml._arguments import checked, integer
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.core.metric._bootstrap import Stability, bootstrap_metrics
from scggml.core.metric._work import bootstrap_work
from scggml.estimators._checks import training_options
from scggml.explanation._gene_ranking import GeneMeans, stability_columns

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort
    from scggml._anndata._stored_metric import StoredMetric


@shared_doc
@checked(n_boot=integer(0))
def rank_genes(
    adata: AnnData,
    *,
    key: str = "ggml",
    n_boot: int = 0,
    rng: int | np.random.Generator | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Rank genes by their weight in the learned metric.

    The weight of a gene is the distance by which a cell moves in the learned space when the gene rises by one standard
    deviation: the length of its row of `.varm[key]`. It does not depend on the rotation of the components.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    %(key)s
    n_boot
        Number of bootstraps, which show how stable the weights are. Patients are drawn with replacement within each
        class, and the closed form is computed again, on transport plans that are solved once. A bootstrap takes
        hundredths of a second for 50 principal components, and seconds for 2,000 genes. 0 for none.
    %(rng)s
        It draws the bootstraps.
    %(copy)s

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following fields:

    `.uns[key + "_rank_genes"]` : `pandas.DataFrame` (n_vars, 8)
        Indexed by gene, largest weight first: `weight`; `share` of the sum of squared weights; `rank` from 1;
        `component`, the component that moves most; `highest` and `lowest`, the classes with the largest and the
        smallest mean expression; `shift`, the difference of these means in standard deviations of cells; and
        `separation`, the gene's share of the squared distances between class means in the learned space. The part
        that two genes share is split evenly between them. Shares sum to one, and are negative where a gene reduces the
        distance. In a class mean, every sample has the same weight. For ordinal and continuous labels also `trend`,
        the correlation of the samples' means with the label. Continuous labels have no classes; their `separation` is
        between the ends of the line fitted to the samples' means. With `n_boot` also `low` and `high`, the 95 %
        interval of the bootstrapped weights, and `selected`, the fraction of bootstraps in which the gene is among the
        50 largest weights. With few different patients, bootstraps also fit noise: leading genes can weigh less in all
        of them than in the fit.
    `.uns[key + "_rank_genes_groups"]` : `dict`
        In the form of :func:`scanpy.tl.rank_genes_groups`, for :func:`scanpy.get.rank_genes_groups_df` and scanpy's
        plots with `key=...`: for each class the genes by `scores`, their weights with the sign of the difference from
        the mean of the other classes, which is in `logfoldchanges` (base 2 if `X` is log1p-normalised). The metric has
        no p-values: `pvals` are NaN. Not for continuous labels.
    `.uns[key + "_stability"]` : `dict`, with `n_boot`
        `alignment` (n_boot,), the cosine between the Mahalanobis matrices of a bootstrap and of the metric; and
        `principal_angles` (n_boot, n_comps), in degrees, between the subspaces of their first `n_comps` components,
        which hold half of the metric.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, it does not lead back to genes, gene names are not unique, `.obs` lacks the samples
        or labels that it was learned with, `.uns` holds something other than an earlier result, or, with `n_boot`, it
        is not the exact closed form of one sweep.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> sg.tl.rank_genes(adata, n_boot=20, rng=0)
    >>> table = adata.uns["ggml_rank_genes"]
    >>> table.index[0], bool(table["low"].iloc[0] > table["high"].iloc[1])
    ('signal', True)
    """
    generator = np.random.default_rng(rng)
    check_writable(adata, copy=copy)
    check_free(adata, ranking_slots(key), "key", key)
    learned = read_metric(adata, key)
    table = gene_table(adata, key)
    check.check_unique_genes("adata", adata.var_names)
    if n_boot:
        _check_closed_form(learned)
    sketch_key = learned.params.get("sketch_key") if n_boot else None
    cohort = learned.read_samples(adata, labels=True, sketch_key=sketch_key)
    learned.check_space(adata, cohort.features)
    genes = required_genes(adata, cohort.features, learned.n_genes)
    labels, spread = cohort.labels, genes.standard_deviation()

    means = GeneMeans.of(genes.values, cohort.codes, spread, labels.targets, labels.classes)
    columns = means.table(genes.linear_map(learned.metric.linear_map))
    stability = None
    if n_boot:
        loadings = genes.loadings * spread[:, None]
        stability = Stability.of(learned.metric, _bootstraps(learned, cohort, n_boot, generator), loadings)
        columns |= stability_columns(stability)
    table = table.join(pd.DataFrame(columns, index=adata.var_names.copy()))

    keys = Keys(key)
    adata = writable(adata, copy=copy)
    for stale in (keys.stability, keys.gene_ranking_by_class):
        adata.uns.pop(stale, None)
    adata.uns[keys.gene_ranking] = table
    if stability is not None:
        adata.uns[keys.stability] = stored_result(
            n_boot=n_boot, n_comps=stability.n_comps, alignment=stability.alignment,
            principal_angles=stability.principal_angles,
        )  # fmt: skip
    if labels.kind != "continuous":
        weight: NDArray[np.float64] = table["weight"].reindex(adata.var_names).to_numpy()
        by_class = means.by_class(weight, adata.var_names, learned.param("label_key"))
        adata.uns[keys.gene_ranking_by_class] = stored_result(**by_class)
    return adata if copy else None


def _bootstraps(learned: StoredMetric, cohort: Cohort, n_boot: int, rng: np.random.Generator) -> Any:
    options = training_options(learned.learner.get_params(deep=False), cohort.measures.n_features)
    announce(
        "rank_genes", lambda extent: bootstrap_work(extent, cohort.labels.targets, options, n_boot), cohort.measures,
        cheaper=["fewer bootstraps (n_boot)"],
    )  # fmt: skip
    return bootstrap_metrics(cohort.measures, cohort.labels.targets, options, n_boot=n_boot, rng=rng)


def _check_closed_form(learned: StoredMetric) -> None:
    learner = learned.learner
    wanted = {"n_sweeps": 1, "solver": "exact", "refine": None}
    found = {name: getattr(learner, name) for name, value in wanted.items() if getattr(learner, name) != value}
    if found:
        text = ", ".join(f"{name}={value!r}" for name, value in found.items())
        msg = (
            f"n_boot is for metrics of the closed form alone, found {text} in uns[{learned.key!r}]. Fit with the "
            "defaults of these, or leave n_boot out."
        )
        raise ValueError(msg)
