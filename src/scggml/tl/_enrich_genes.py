"""Gene sets that the learned metric amplifies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._gene_table import gene_table
from scggml._anndata._genes import required_genes
from scggml._anndata._slots import check_free, enrichment_slots
from scggml._anndata._stored_metric import read_metric
from scggml._anndata._writing import check_writable, writable
from scggml._arguments import anything, checked, choice, flag
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.core.measures._means import group_means
from scggml.explanation._enrichment import check_members, enrichment, import_decoupler
from scggml.explanation._gene_sets import match_genes, read_gene_sets

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort
    from scggml._anndata._genes import Genes
    from scggml._anndata._stored_metric import StoredMetric

METHODS = ("ulm", "gsea")
_MIN_GENES = 5
_ROUNDING = 1e-9


@shared_doc
@checked(gene_sets=anything, method=choice(*METHODS), signed=flag)
def enrich_genes(
    adata: AnnData,
    gene_sets: str | os.PathLike[str] | Mapping[str, Collection[str]] | pd.DataFrame,
    *,
    key: str = "ggml",
    method: Literal["ulm", "gsea"] = "ulm",
    signed: bool = False,
    rng: int | np.random.Generator | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Test which gene sets the learned metric amplifies more than other genes.

    Computed by decoupler :cite:p:`badiaimompel2022`, which has to be installed (extra `enrichment`).
    Genes are compared by their amplification: the length of a step along the gene under the learned metric, relative
    to its length under the Euclidean metric on the same scaled features. For a metric on `X` whose features are scaled
    one by one, amplification is the gene weight. Under a metric on principal components, genes with large loadings,
    such as cell type markers, have large weights whatever the classes are; amplification corrects for that.

    A set is compared with all other genes of positive weight. P-values assume independent genes, but genes of a set
    rise and fall together, so that p-values are too small: use them to rank sets, and look for the same sets in
    another cohort before calling them significant. Genes that vary much within classes are amplified less than others,
    so that sets of them have large p-values.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    gene_sets
        Path of a GMT file; a dict of names and genes; or a data frame as decoupler uses them, with the columns
        `source` (set), `target` (gene) and, optionally, `weight`. Gene names are those of `adata.var_names`. Sets with
        fewer than 5 genes in `adata` are left out, with a warning.
    %(key)s
    method
        "ulm": t-test of the slope on the weights in the set, decoupler's univariate linear model, of normal scores
        (the ranks of the genes as quantiles of a normal distribution). Amplification itself is so skewed that a single
        gene can decide, and its t-test would find small random sets twenty times too often at the level of 0.001.
        "gsea": gene set enrichment analysis :cite:p:`subramanian2005` with 1,000 permutations of genes, on
        amplification itself; for sets without weights.
    signed
        Whether genes get the sign of the difference between the means of two classes, in which every sample has the
        same weight. Sets that rise are then distinguished from those that fall, and p-values are two-sided. Otherwise,
        if all weights of a set are positive, they are one-sided.
    %(rng)s
        For "gsea".
    %(copy)s

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following field:

    `.uns[key + "_enrichment"]` : `pandas.DataFrame` (n_sets, 5)
        Indexed by gene set, smallest p-value first: `score`, the t-value, or the normalised enrichment score of
        "gsea"; `p_value`; `p_adjusted` (Benjamini and Hochberg); `n_genes`, the number of genes of the set in `adata`
        with a positive weight; `leading_genes`, up to ten of them with the largest amplification. With `signed` also
        `higher_in`, the class in which the set is higher.

    Raises
    ------
    KeyError, ValueError, TypeError, FileNotFoundError
        If there is no such metric, it does not lead back to genes, it weights all genes alike, gene sets are malformed
        or do not match the genes, or `.uns` holds something other than an earlier result.
    ImportError
        If decoupler is not installed.

    Warns
    -----
    UserWarning
        If sets are too small.

    Examples
    --------
    >>> import scanpy as sc
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(rng=0)
    >>> sc.pp.normalize_total(adata)
    >>> sc.pp.log1p(adata)
    >>> sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    >>> programme = list(adata.var_names[adata.var["programme"]])  # the genes that the disease changes
    >>> gene_sets = {"other": list(adata.var_names[:40]), "programme": programme}
    >>> sg.tl.enrich_genes(adata, gene_sets)
    >>> adata.uns["ggml_enrichment"].index.tolist()
    ['programme', 'other']
    """
    seed = int(np.random.default_rng(rng).integers(1, 2**31))  # decoupler takes 0 for no permutation
    check_writable(adata, copy=copy)
    check_free(adata, enrichment_slots(key), "key", key)
    check.check_unique_genes("adata", adata.var_names)
    import_decoupler()
    learned = read_metric(adata, key)
    seen = gene_table(adata, key)["weight"].reindex(adata.var_names).to_numpy() > 0
    names = adata.var_names[seen]
    members = match_genes(read_gene_sets(gene_sets), names, _MIN_GENES)
    check_members(members, method, signed=signed)
    cohort = learned.read_samples(adata, labels=signed)
    learned.check_space(adata, cohort.features)
    genes = required_genes(adata, cohort.features, learned.n_genes)

    effect, classes = _amplification(learned, cohort, genes)[seen], None
    if np.ptp(effect) <= _ROUNDING * effect.max():
        msg = (
            f"the metric in uns[{key!r}] weights all genes alike, as the Euclidean one does, so that no gene set can "
            "stand out. Labels without signal (label_signal) give such a metric. Fit with "
            "learner=sg.GroundMetricLearner(power=1, whitening=1) for a metric that is not shrunk."
        )
        raise ValueError(msg)
    if signed:
        sign, classes = _direction(learned, cohort, genes)
        effect = effect * sign[seen]
    found = enrichment(effect, names, members, method=method, signed=signed, seed=seed)
    if classes is not None:
        higher = np.where(found["score"] > 0, classes[1], classes[0])
        found["higher_in"] = pd.Categorical(higher, categories=classes)
    adata = writable(adata, copy=copy)
    adata.uns[Keys(key).enrichment] = found
    return adata if copy else None


def _amplification(learned: StoredMetric, cohort: Cohort, genes: Genes) -> NDArray[np.float64]:
    """Return how much longer a step along each gene is under the metric than under the unlearned one, (n_vars,)."""
    metric = learned.metric
    if cohort.features.use_rep == "X":
        names, wanted = cohort.features.names, learned.features
        if names is None or wanted is None or not np.array_equal(names, wanted):
            msg = (
                f"the genes of adata are not those of the metric in uns[{learned.key!r}], or in another order. Fit "
                "again."
            )
            raise ValueError(msg)
        return np.linalg.norm(metric.components, axis=0)
    unlearned = np.linalg.norm(genes.linear_map(np.diag(1 / metric.scale)), axis=0)
    amplified = np.linalg.norm(genes.linear_map(metric.linear_map), axis=0)
    return np.divide(amplified, unlearned, out=np.zeros_like(amplified), where=unlearned > 0)


def _direction(learned: StoredMetric, cohort: Cohort, genes: Genes) -> tuple[NDArray[np.float64], list[str]]:
    """Return the sign of each gene's difference between the second class and the first, (n_vars,), and their names."""
    labels = cohort.labels
    classes = [str(name) for name in np.unique(labels.text)]
    if len(classes) != 2:
        found = f"{len(classes)} in label_key={learned.params['label_key']!r}: {check.listed(classes)}"
        msg = f"signed=True needs two classes, found {found}"
        raise ValueError(msg)
    of_samples = group_means(genes.values, cohort.codes, len(cohort))
    means = group_means(of_samples, (labels.text == classes[1]).astype(np.int64), 2)
    return np.sign(means[1] - means[0]), classes
