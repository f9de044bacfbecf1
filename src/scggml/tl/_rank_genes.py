"""Rank genes by their part in the learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import read_cohort, read_representation, read_sketch, standard_deviation
from scggml._anndata._labels import label_params, read_labels
from scggml._anndata._stored_metric import check_writable, stored_entry, stored_metric, stored_settings, writable
from scggml._keys import Keys
from scggml.get._gene_weights import gene_table

from ._fit_metric import way_to_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort, Representation
    from scggml._anndata._labels import Labels
    from scggml.core.metric._ground_metric import GroundMetric

_INTERVAL = (0.025, 0.975)


def rank_genes(
    adata: AnnData,
    *,
    key: str = "ggml",
    n_boot: int = 0,
    n_top: int = 50,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Rank genes by how much they carry of the learned metric.

    A gene's weight is how far a cell moves in the learned space when the gene rises by one standard deviation: the length of
    its row of `.varm[key]`. It does not depend on the rotation of the components.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    key
        Key of the metric.
    n_boot
        Number of bootstraps: how stable weights are when other patients of the same classes had been there. Samples are drawn
        with replacement within each class and the closed form is computed anew, on plans that are solved once. A
        bootstrap takes hundredths of a second for 50 principal components, and seconds for 2,000 genes. 0 for none.
    n_top
        A gene is selected in a bootstrap if its weight is among this many largest.
    rng
        Seed or generator of the bootstraps.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    copy
        Whether to return a copy instead of writing to `adata`.

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following fields:

    `.uns[key + "_rank_genes"]` : `pandas.DataFrame` (n_vars, 8)
        Indexed by gene, largest weight first: `weight`; `share` of the sum of squared weights; `rank` from 1;
        `component`, the component that moves most; `highest` and `lowest`, the classes in which the gene is so, and `shift`, how far
        the means of these are apart in standard deviations of cells; and `separation`, the gene's share of the squared distances
        between the means of classes in the learned space, what two genes have in common shared half and half. Shares sum to one
        and are negative where a gene works against the others. Means are those of samples, which count alike. Of ordered
        labels also `trend`, the correlation of samples' means with the label; of numbers no classes, and `separation` is that of the
        ends of the line that fits samples' means. With `n_boot` also `low` and `high`, between which 95 % of the bootstrapped
        weights lie, in the same unit, and `selected`, the fraction of bootstraps that select the gene. With few different
        patients, bootstraps find noise besides: leading genes can weigh less in all of them than in the fit.
    `.uns[key + "_rank_genes_groups"]` : `dict`
        In the shape of :func:`scanpy.tl.rank_genes_groups`, for :func:`scanpy.get.rank_genes_groups_df` and scanpy's plots with
        `key=...`: for each class the genes by `scores`, their weights with the sign of the difference of means to the other classes,
        which is in `logfoldchanges` (base 2 if `X` is log1p-normalised). The metric has no p-values: `pvals` are NaN. Not of numbers.
    `.uns[key + "_stability"]` : `dict`, with `n_boot`
        `alignment` (n_boot,), the cosine between the Mahalanobis matrices of a bootstrap and of the metric; and
        `principal_angles` (n_boot, n_comps), in degrees, between the subspaces of their first `n_comps` components, which
        hold half of the metric.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, it does not lead back to genes, names of genes are not unique, `.obs` lacks the samples and labels
        that it was learned with, or, with `n_boot`, it was not learned by the closed form alone.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> sg.tl.rank_genes(adata)
    >>> adata.uns["ggml_rank_genes"].index[0]
    'signal'
    >>> sg.tl.rank_genes(adata, n_boot=20, n_top=1, rng=0)
    >>> float(adata.uns["ggml_rank_genes"].loc["signal", "selected"])
    1.0
    """
    check.check_anndata("adata", adata)
    check.check_integer("n_boot", n_boot, minimum=0)
    check.check_integer("n_top", n_top, minimum=1)
    check.check_jobs(n_jobs)
    generator = check.check_random_generator(rng)
    check_writable(adata, copy=copy)
    keys = Keys(key)
    table = gene_table(adata, key)
    check.check_unique_genes("adata", adata.var_names)
    entry = stored_entry(adata, key)
    params = dict(entry["params"])
    cohort = read_cohort(adata, params["sample_key"])
    labels = read_labels(adata, cohort, params["label_key"], **label_params(params), warn=False)
    representation = read_representation(adata, params["use_rep"], params.get("layer"))
    way = way_to_genes(adata, representation)
    assert way is not None  # there are gene weights
    to_features, genes = way

    from scggml.core.measures._means import group_means
    from scggml.explanation._gene_statistics import fitted_line, separation_shares

    spread = standard_deviation(genes)
    metric = stored_metric(entry)
    of_samples = group_means(genes, cohort.codes, len(cohort.names))
    classes = labels.targets.codes
    of_classes = group_means(of_samples, classes, int(classes.max()) + 1)
    by_gene = _separation(of_samples, of_classes, spread, labels)
    apart = of_classes if labels.kind != "continuous" else fitted_line(of_samples, labels.values)
    by_gene["separation"] = separation_shares(apart, np.asarray(to_features @ metric.linear_map.T))
    table = table.join(pd.DataFrame(by_gene, index=adata.var_names.copy()))
    stability = None
    if n_boot:
        _check_closed_form(key, params)
        found, stability = _bootstrapped(
            adata, params, cohort, representation, labels, metric, to_features, spread, n_boot, n_top, generator, n_jobs
        )
        table = table.join(found)
    groups = None if labels.kind == "continuous" else _by_class(table, adata.var_names, of_classes, labels, params)
    adata = writable(adata, copy=copy)
    adata.uns[keys.gene_ranking] = table
    for stale in (keys.stability, keys.gene_ranking_by_class):
        adata.uns.pop(stale, None)
    if stability is not None:
        adata.uns[keys.stability] = stability
    if groups is not None:
        adata.uns[keys.gene_ranking_by_class] = groups
    return adata if copy else None


def _separation(
    of_samples: NDArray[np.float64], of_classes: NDArray[np.float64], spread: NDArray[np.float64], labels: Labels
) -> dict[str, Any]:
    """Return in which class a gene is highest and lowest and how far these are apart; or how it goes with ordered labels."""
    from scggml.explanation._gene_statistics import correlations

    found: dict[str, Any] = {}
    if labels.kind != "continuous":
        high, low = of_classes.argmax(axis=0), of_classes.argmin(axis=0)
        found["highest"], found["lowest"] = labels.classes[high].astype(str), labels.classes[low].astype(str)
        difference = of_classes.max(axis=0) - of_classes.min(axis=0)
        found["shift"] = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)
    if labels.kind != "class":
        found["trend"] = correlations(of_samples, labels.values)
    return found


def _by_class(
    table: pd.DataFrame, genes: pd.Index, of_classes: NDArray[np.float64], labels: Labels, params: dict[str, Any]
) -> dict[str, Any]:
    """Return genes of each class by signed weight, as scanpy keeps them."""
    weight = table["weight"].reindex(genes).to_numpy()
    columns: dict[str, list[NDArray[Any]]] = {"names": [], "scores": [], "logfoldchanges": []}
    for c in range(len(of_classes)):
        difference = of_classes[c] - np.delete(of_classes, c, axis=0).mean(axis=0)
        score = weight * np.sign(difference)
        order = np.argsort(-score, kind="stable")
        columns["names"].append(genes.to_numpy(dtype=object)[order].astype(str).astype(object))
        columns["scores"].append(score[order])
        columns["logfoldchanges"].append(difference[order] / np.log(2))
    columns |= {name: [np.full(len(genes), np.nan) for _ in labels.classes] for name in ("pvals", "pvals_adj")}
    names = [str(name) for name in labels.classes]
    return {
        "params": {
            "groupby": params["label_key"],
            "reference": "rest",
            "method": "scggml",
            "use_raw": False,
            "corr_method": "none",
        },
        **{
            column: pd.DataFrame(dict(zip(names, values, strict=True))).to_records(index=False)
            for column, values in columns.items()
        },
    }


def _bootstrapped(
    adata: AnnData,
    params: dict[str, Any],
    cohort: Cohort,
    representation: Representation,
    labels: Labels,
    metric: GroundMetric,
    to_features: Any,
    spread: NDArray[np.float64],
    n_boot: int,
    n_top: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return interval and frequency of selection of each gene, and how the metric changes."""
    from scggml.core.metric._bootstrap import Stability, bootstrap_metrics
    from scggml.core.metric._problem import TrainingOptions

    sketch_key = params.get("sketch_key")
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, params["sample_key"], cohort)
    settings = stored_settings(params, TrainingOptions.__dataclass_fields__)
    measures, options = cohort.measures(representation.points, sketch), TrainingOptions(**settings)
    drawn = bootstrap_metrics(measures, labels.targets, options, n_boot=n_boot, rng=rng, n_jobs=n_jobs)
    loadings = to_features * spread[:, None]
    found = Stability.of(metric, drawn, loadings)
    low, high = np.quantile(found.weights, _INTERVAL, axis=0)
    columns = {"low": low, "high": high, "selected": found.selected(n_top)}
    return pd.DataFrame(columns, index=adata.var_names.copy()), {
        "n_boot": n_boot,
        "n_comps": found.n_comps,
        "alignment": found.alignment,
        "principal_angles": found.principal_angles,
    }


def _check_closed_form(key: str, params: dict[str, Any]) -> None:
    alone = {"init": "discriminant", "n_sweeps": 1, "max_iter": 1, "solver": "exact"}
    found = {name: params[name] for name, value in alone.items() if params[name] != value}
    if "batch_size" in params:
        found["batch_size"] = params["batch_size"]
    if found:
        wanted = ", ".join(f"{name}={value!r}" for name, value in found.items())
        msg = (
            f"n_boot is for metrics of the closed form alone, found {wanted} in uns[{key!r}]. Fit with the defaults of these, or "
            "leave n_boot out."
        )
        raise ValueError(msg)
