"""The kidney cohort of the GGML paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ._download import CELLXGENE_URL, load_cohort

if TYPE_CHECKING:
    import os

    from anndata import AnnData

_VERSION_ID: Final = "1c360b0b-eb2f-45a3-aba9-056026b39fa5"


def kidney_cohort(
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    checksum: str | None = None,
    base_url: str = CELLXGENE_URL,
    progress: bool = True,
    backed: bool = False,
) -> AnnData:
    """Load the paper's kidney cohort, patients labelled by disease :cite:p:`kuehn2025`.

    One of the three public cohorts on which Global Ground Metric Learning was shown.

    The file is downloaded once from CZ CELLxGENE Discover, as dataset version ``1c360b0b-eb2f-45a3-aba9-056026b39fa5``,
    and opened as published: all cells, nothing filtered. :func:`scggml.pp.filter_samples` drops patients with few cells
    and classes with few patients.

    Parameters
    ----------
    cache_dir
        Folder that keeps the file. ``None`` is the environment variable ``SCGGML_CACHE_DIR``, and without that the
        cache folder of the operating system. A file ``1c360b0b-eb2f-45a3-aba9-056026b39fa5.h5ad`` that was put there by
        hand is taken as if it had been downloaded.
    checksum
        ``"sha256:"`` and the 64 hexadecimal digits that the file must have. With ``None`` nothing is checked, and a
        download logs what it found.
    base_url
        Address of the server.
    progress
        Whether to show a progress bar of the download.
    backed
        Whether to leave ``.X`` in the file and read it when needed, as :func:`anndata.read_h5ad` does with
        ``backed="r"``.

    Returns
    -------
    An :class:`~anndata.AnnData` with these columns, and all else that was published:

    ``.obs["donor_id"]`` : (n_obs,)
        Patient.
    ``.obs["disease"]`` : (n_obs,)
        Disease of the patient.

    By the schema of CELLxGENE, raw counts are in ``.raw.X``, or in ``.X`` if there is no ``.raw``; ``.var_names`` are
    Ensembl identifiers, and gene names are in ``.var["feature_name"]``.

    Raises
    ------
    ConnectionError
        If the file is not in the cache and cannot be downloaded whole. Nothing is kept of it.
    OSError
        If the file cannot be written or cannot be read as h5ad.
    ValueError
        If ``checksum`` is not that of the file, or ``checksum`` or ``base_url`` is malformed. A download that does not
        fit is not kept, a file that was in the cache is left there.
    KeyError
        If one of the two columns is missing.
    TypeError
        If ``cache_dir`` is not a path.
    MemoryError
        If the file does not fit into memory.
    ImportError
        If pooch is not installed: ``pip install "scggml[datasets]"``.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.kidney_cohort()  # doctest: +SKIP
    >>> sg.tl.fit_metric(adata, "donor_id", "disease")  # doctest: +SKIP
    """
    return load_cohort(
        _VERSION_ID,
        sample_key="donor_id",
        label_key="disease",
        cache_dir=cache_dir,
        checksum=checksum,
        base_url=base_url,
        progress=progress,
        backed=backed,
    )
