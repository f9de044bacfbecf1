"""A public cohort of kidney biopsies with an ordinal label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scggml._arguments import checked
from scggml._docs import shared_doc

from ._download import load_cohort

if TYPE_CHECKING:
    import os

    from anndata import AnnData

_NAME: Final = "Kidney_IgAN_G"
_CHECKSUM: Final = "sha256:1501dc1ba58f5e0e3cc3850004a378a7e1a1cae114190111b0eaaed14d4398ba"
_URL: Final = (
    "https://raw.githubusercontent.com/CostaLab/PILOT/4eb26b135a2948bbd97436e8057bf387e36ab3a6/Tutorial/Datasets"
)


@shared_doc
@checked()
def iga_nephropathy_cohort(*, cache_dir: str | os.PathLike[str] | None = None) -> AnnData:
    """Load 634 patients with IgA nephropathy, labelled by kidney function :cite:p:`joodaki2024`.

    A small cohort (3 MB) with an ordinal label. What is measured are not cells but glomeruli, 24,227 of them, by 14
    features of size and shape. They come from biopsies of the VALIGA cohort
    (`Hölscher et al., Nature Communications 2023 <https://doi.org/10.1038/s41467-023-36173-0>`_).

    The file, `Kidney_IgAN_G.h5ad`, is downloaded once from the `repository of PILOT
    <https://github.com/CostaLab/PILOT>`__ (MIT licence), and its checksum is tested. It is loaded as it was published.
    Half of the patients have at most 28 glomeruli: :func:`scggml.pp.filter_samples` drops samples with few of them.

    Parameters
    ----------
    %(cache_dir)s

    Returns
    -------
    An :class:`~anndata.AnnData`, one row per glomerulus, with these columns:

    `.obs["sampleID"]` : (n_obs,)
        Patient.
    `.obs["status"]` : (n_obs,)
        Estimated glomerular filtration rate (eGFR) of the patient: "<30", "30-60" or ">60" ml/min/1.73 m².
    `.obs["Cell_type"]`, `.obs["sex"]`, `.obs["Age"]` : (n_obs,)
        Cluster of the glomerulus, sex and age of the patient.

    `.X` are the 14 features, not scaled.

    Raises
    ------
    ConnectionError
        If the file is not in the cache and cannot be downloaded. Nothing is kept of an incomplete file.
    ValueError
        If the file is not the published one.
    OSError
        If the file cannot be written, or cannot be read as h5ad.
    TypeError
        If `cache_dir` is not a path.
    ImportError
        If pooch is not installed (extra `datasets`).

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.iga_nephropathy_cohort()  # doctest: +SKIP
    >>> adata.obs["status"] = adata.obs["status"].cat.set_categories(
    ...     [">60", "30-60", "<30"], ordered=True
    ... )  # doctest: +SKIP
    >>> sg.pp.filter_samples(adata, "sampleID", min_cells=20)  # doctest: +SKIP
    >>> sg.tl.fit_metric(adata, "sampleID", "status", label_kind="ordinal", use_rep="X")  # doctest: +SKIP
    """
    return load_cohort(
        _NAME,
        sample_key="sampleID",
        label_key="status",
        cache_dir=cache_dir,
        backed=False,
        checksum=_CHECKSUM,
        base_url=_URL,
    )
