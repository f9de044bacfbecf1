"""The breast cohort of the GGML paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scggml._arguments import checked
from scggml._docs import shared_doc

from ._download import load_cohort

if TYPE_CHECKING:
    import os

    from anndata import AnnData

_VERSION_ID: Final = "b8b5be07-061b-4390-af0a-f9ced877a068"


@shared_doc
@checked()
def breast_cohort(*, cache_dir: str | os.PathLike[str] | None = None, backed: bool = False) -> AnnData:
    """Load the paper's breast cohort, donors labelled by reported diseases :cite:p:`kuehn2025`.

    One of the three public cohorts of the paper: the 714,331 cells of the Human
    Breast Cell Atlas, `Kumar et al., Nature 2023 <https://doi.org/10.1038/s41586-023-06252-9>`_, in `this collection
    <https://cellxgene.cziscience.com/collections/4195ab4c-20bd-4cd3-8b3d-65601277e731>`__.

    The file, `b8b5be07-061b-4390-af0a-f9ced877a068.h5ad`, is downloaded once from CZ CELLxGENE Discover. All cells are
    loaded as they were published. :func:`scggml.pp.filter_samples` drops samples with few cells and classes with few
    samples.

    Parameters
    ----------
    %(cache_dir)s
    %(backed)s

    Returns
    -------
    An :class:`~anndata.AnnData` with all that was published. The samples and labels of the paper are in these columns:

    `.obs["donor_id"]` : (n_obs,)
        Donor.
    `.obs["reported_diseases"]` : (n_obs,)
        Diseases reported for the donor.

    Raw counts are in `.raw.X`, or in `.X` if there is no `.raw`. `.var_names` are Ensembl identifiers, and names of
    genes are in `.var["feature_name"]`.

    Raises
    ------
    ConnectionError
        If the file is not in the cache and cannot be downloaded. Nothing is kept of an incomplete file.
    OSError
        If the file cannot be written, or cannot be read as h5ad.
    KeyError
        If one of the two columns is missing.
    TypeError
        If `cache_dir` is not a path.
    MemoryError
        If the file does not fit into memory.
    ImportError
        If pooch is not installed (extra `datasets`).

    Examples
    --------
    >>> import scanpy as sc
    >>> import scggml as sg
    >>> adata = sg.datasets.breast_cohort()  # doctest: +SKIP
    >>> adata = adata if adata.raw is None else adata.raw.to_adata()  # doctest: +SKIP
    >>> sg.pp.filter_samples(
    ...     adata, "donor_id", label_key="reported_diseases", min_cells=100, min_samples=4
    ... )  # doctest: +SKIP
    >>> sc.pp.normalize_total(adata, target_sum=1e4)  # doctest: +SKIP
    >>> sc.pp.log1p(adata)  # doctest: +SKIP
    >>> sc.pp.highly_variable_genes(adata, n_top_genes=2000)  # doctest: +SKIP
    >>> sc.pp.pca(adata)  # doctest: +SKIP
    >>> sg.tl.fit_metric(adata, "donor_id", "reported_diseases", rng=0)  # doctest: +SKIP
    """
    return load_cohort(
        _VERSION_ID,
        sample_key="donor_id",
        label_key="reported_diseases",
        cache_dir=cache_dir,
        backed=backed,
    )
