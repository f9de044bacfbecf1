"""Gene sets that carry the learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import read_cohort, read_representation, sample_labels
from scggml._anndata._stored_metric import check_writable, stored_entry, stored_entry_of_one, stored_metric, writable
from scggml._keys import PCA_LOADINGS, Keys
from scggml.get._gene_weights import gene_table

from ._gene_sets import match_genes, read_gene_sets

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

METHODS = ("ulm", "gsea")
_N_LEADING = 10


def enrich_genes(
    adata: AnnData,
    gene_sets: str | os.PathLike[str] | Mapping[str, Collection[str]] | pd.DataFrame,
    *,
    key: str = "ggml",
    method: Literal["ulm", "gsea"] = "ulm",
    signed: bool = False,
    min_genes: int = 5,
    n_permutations: int = 1000,
    rng: int | np.random.Generator | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Find gene sets that the learned metric amplifies more than other genes.

    Computed by decoupler :cite:p:`badiaimompel2022`, which has to be installed: `pip install "scggml[enrichment]"`. What is
    compared is not the gene weight itself, but the factor by which learning changed it: how long the metric makes a step along
    the gene, relative to the Euclidean metric on the same scaled features. For a metric on `X` with features scaled one by one,
    that is the gene weight. Under a metric on principal components, genes that these are made of, such as markers of cell
    types, weigh more than others whatever the classes are; the factor takes this out.

    A set is compared with all other genes that weigh anything. p-values take genes for independent draws, but genes of a set go up
    and down together, so that p-values are too small: use them to rank sets, and look whether a result comes back in another cohort
    before calling it significant. Genes that vary much within classes are amplified less than others, so that sets of them have
    large p-values.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    gene_sets
        Path of a GMT file; a dict of names and genes; or a data frame as decoupler uses them, with the columns `source` (set),
        `target` (gene) and, optionally, `weight`. Names of genes are those of `adata.var_names`.
    key
        Key of the metric.
    method
        "ulm": t-test of the slope on the weights in the set, decoupler's univariate linear model, of normal scores (the ranks of
        the genes as quantiles of a normal distribution). The factors themselves are so skewed that a single gene would do, and
        their t-test would find small random sets twenty times as often as it says at the level of 0.001. "gsea": gene set
        enrichment analysis :cite:p:`subramanian2005` with permuted genes, which does look at the factors themselves; for sets
        without weights.
    signed
        With two classes, whether genes get the sign of the difference between their means, each sample counting alike, so
        that sets which go up are told apart from those which go down. p-values are then two-sided. Otherwise, and where the
        weights of a set are all positive, they are one-sided: a set is enriched or it is not.
    min_genes
        Sets with fewer genes in `adata` are left out, with a warning.
    n_permutations
        Permutations of "gsea". No p-value is smaller than one divided by this number plus one.
    rng
        Seed or generator of "gsea".
    key_added
        Key under which results are stored; None takes `key`.
    copy
        Whether to return a copy instead of writing to `adata`.

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following field:

    `.uns[key_added + "_enrichment"]` : `pandas.DataFrame` (n_sets, 5)
        Indexed by gene set, smallest p-value first: `score`, the t-value, or the normalised enrichment score of "gsea"; `p_value`;
        `p_adjusted` (Benjamini and Hochberg); `n_genes`, how many genes of the set are in `adata` and weigh anything; `leading_genes`, up to ten of
        them that are amplified most. With `signed` also `higher_in`, the class that the set is higher in.

    Raises
    ------
    KeyError, ValueError, TypeError, FileNotFoundError
        If there is no such metric, it does not lead back to genes, or gene sets are malformed or do not match the genes.
    ImportError
        If decoupler is not installed.

    Warns
    -----
    UserWarning
        If sets are too small.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    >>> programme = list(adata.var_names[adata.var["programme"]])  # the genes that the disease changes
    >>> gene_sets = {"other": list(adata.var_names[:40]), "programme": programme}
    >>> sg.tl.enrich_genes(adata, gene_sets)
    >>> adata.uns["ggml_enrichment"].index.tolist()
    ['programme', 'other']
    """
    check.check_anndata("adata", adata)
    check.check_name("key", key)
    keys = Keys(key if key_added is None else key_added)
    check.check_name("key_added", keys.key)
    check.check_choice("method", method, METHODS)
    check.check_choice("signed", signed, (True, False))
    check.check_integer("min_genes", min_genes, minimum=2)
    check.check_integer("n_permutations", n_permutations, minimum=10)
    seed = int(check.check_random_generator(rng).integers(1, 2**31))  # decoupler takes 0 for no permutation
    if not adata.var_names.is_unique:
        msg = "the names of the genes of adata are not unique: call adata.var_names_make_unique() first"
        raise ValueError(msg)
    _decoupler()
    stored_entry_of_one(adata, key)
    table = gene_table(adata, key)
    check_writable(adata, copy=copy)
    seen = table["weight"].reindex(adata.var_names).to_numpy() > 0
    genes = adata.var_names[seen]
    members = match_genes(read_gene_sets(gene_sets), genes, min_genes)
    _check_weights(members, method, signed)
    effect, classes = _amplification(adata, key).reindex(genes).to_numpy(), None
    if signed:
        sign, classes = _direction(adata, key)
        effect = effect * sign[seen]
    score, p_value = (
        _ulm(effect, members, genes, signed)
        if method == "ulm"
        else _gsea(effect, members, genes, signed, n_permutations, seed)
    )

    from scipy.stats import false_discovery_control

    found = pd.DataFrame({"score": score, "p_value": p_value})
    found["p_adjusted"] = false_discovery_control(found["p_value"], method="bh")
    found["n_genes"] = members["source"].value_counts().reindex(found.index).astype(np.int64)
    strength = np.abs(effect)[genes.get_indexer(pd.Index(members["target"]))]
    ranked = members.assign(strength=strength).sort_values("strength", ascending=False, kind="stable")
    found["leading_genes"] = ranked.groupby("source")["target"].agg(lambda genes: ", ".join(genes.head(_N_LEADING)))
    if classes is not None:
        found["higher_in"] = pd.Categorical(np.where(found["score"] > 0, classes[1], classes[0]), categories=classes)
    order = np.lexsort((-found["score"].abs(), found["p_value"]))
    found = found.iloc[order]
    found.index = found.index.astype(str).rename("gene_set")
    adata = writable(adata, copy=copy)
    adata.uns[keys.enrichment] = found
    return adata if copy else None


def _decoupler() -> Any:
    try:
        import decoupler
    except ImportError as error:
        msg = 'tl.enrich_genes needs decoupler 2 or later. Install it with: pip install "scggml[enrichment]"'
        raise ImportError(msg) from error
    if not hasattr(decoupler, "mt"):
        msg = 'tl.enrich_genes needs decoupler 2 or later, found an older one. Update it with: pip install "scggml[enrichment]"'
        raise ImportError(msg)
    return decoupler


def _amplification(adata: AnnData, key: str) -> pd.Series:
    """Return how much longer the metric makes a step along each gene than the unlearned one does, indexed by gene."""
    entry = stored_entry(adata, key)
    metric = stored_metric(entry)
    if entry["params"]["use_rep"] == "X":
        factor = pd.Series(np.linalg.norm(metric.components, axis=0), index=np.asarray(entry["features"], dtype=object))
        unknown = adata.var_names.difference(factor.index)
        if len(unknown):
            msg = f"{len(unknown)} genes of adata have other names than in the metric of uns[{key!r}]: {check.listed(unknown)}. Fit once more."
            raise ValueError(msg)
        return factor
    loadings = adata.varm.get(PCA_LOADINGS)
    if loadings is None or loadings.shape[1] != len(metric.scale):
        msg = (
            f"varm[{PCA_LOADINGS!r}], which the metric was learned with, is missing or has another width. Compute the same PCs again, "
            "or fit once more."
        )
        raise KeyError(msg)
    unlearned = np.linalg.norm(loadings / metric.scale, axis=1)
    learned = np.linalg.norm(loadings @ metric.linear_map.T, axis=1)
    ratio = np.divide(learned, unlearned, out=np.zeros_like(learned), where=unlearned > 0)
    return pd.Series(ratio, index=adata.var_names)


def _check_weights(members: pd.DataFrame, method: str, signed: bool) -> None:
    if method == "gsea" and (members["weight"] != members["weight"].iloc[0]).any():
        msg = "method='gsea' takes no weights of the genes in a set. Drop the column 'weight' of gene_sets, or pass method='ulm'."
        raise ValueError(msg)
    if not signed and (members["weight"] < 0).any():
        msg = (
            "gene_sets has negative weights, but gene weights say how much a gene counts and not whether it rises or falls. Pass "
            "signed=True with two classes, or absolute weights."
        )
        raise ValueError(msg)


def _direction(adata: AnnData, key: str) -> tuple[NDArray[np.float64], list[str]]:
    """Return the sign of the difference of each gene between the second class and the first, (n_vars,), and their names."""
    params = stored_entry(adata, key)["params"]
    cohort = read_cohort(adata, params["sample_key"])
    labels = sample_labels(adata.obs, params["label_key"], cohort.names, cohort.codes)
    classes = [str(name) for name in np.unique(labels)]
    if len(classes) != 2:
        msg = f"signed=True is for two classes, found {len(classes)} in label_key={params['label_key']!r}: {check.listed(classes)}"
        raise ValueError(msg)
    layer = params.get("layer") if params["use_rep"] == "X" else None
    genes = read_representation(adata, "X", layer).points

    from scggml.core.measures._means import group_means

    of_samples = group_means(genes, cohort.codes, len(cohort.names))
    means = group_means(of_samples, (labels == classes[1]).astype(np.int64), 2)
    return np.sign(means[1] - means[0]), classes


def _ulm(
    effect: NDArray[np.float64], members: pd.DataFrame, genes: pd.Index, signed: bool
) -> tuple[pd.Series, pd.Series]:
    """Return t-value and p-value of each set."""
    from scipy.stats import norm, rankdata, t

    names, codes = np.unique(members["source"].to_numpy(dtype=object), return_inverse=True)
    design = np.zeros((len(genes), len(names)))
    design[genes.get_indexer(pd.Index(members["target"])), codes] = members["weight"]
    normal_scores = norm.ppf((rankdata(effect) - 0.5) / len(effect))
    score = _decoupler().mt.ulm.func(normal_scores[None], design)[0][0]
    df = len(genes) - 2
    p_value = 2 * t.sf(np.abs(score), df) if signed else t.sf(score, df)
    return pd.Series(score, index=names), pd.Series(p_value, index=names)


def _gsea(
    effect: NDArray[np.float64], members: pd.DataFrame, genes: pd.Index, signed: bool, n_permutations: int, seed: int
) -> tuple[pd.Series, pd.Series]:
    """Return normalised enrichment score and p-value of each set."""
    names, codes = np.unique(members["source"].to_numpy(dtype=object), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    places = genes.get_indexer(pd.Index(members["target"]))[order]
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    score, p_value = _decoupler().mt.gsea.func(effect[None], places, starts, sizes, times=n_permutations, seed=seed)
    score, p_value = score[0], np.maximum(p_value[0], 1 / (n_permutations + 1))
    if not signed:
        p_value = np.where(score > 0, p_value, 1.0)
    return pd.Series(score, index=names), pd.Series(p_value, index=names)
