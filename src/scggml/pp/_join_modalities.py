"""Join the modalities of a MuData into one AnnData."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scggml._anndata._modalities import join
from scggml._arguments import anything, checked, flag
from scggml._keys import JOINT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from mudata import MuData

logger = logging.getLogger(__name__)


@checked(mdata=anything, use_rep=anything, intersect=flag)
def join_modalities(
    mdata: MuData, use_rep: Mapping[str, str | None] | None = None, *, intersect: bool = False
) -> AnnData:
    """Join several modalities of the same cells, for one metric on all of them.

    The features of the modalities are put side by side. First they are divided by units: features of "X" by their
    standard deviations, those of a representation in `.obsm` by one number. These units are scaled such that the
    variances of the features of each modality sum to one. So each modality counts equally, whatever its number of
    features and what it is measured in. All functions of scggml take the result, and use the joint space
    unless `use_rep` says otherwise.

    Parameters
    ----------
    mdata
        Cells with several modalities, in memory.
    use_rep
        The modalities to join and the features of each: a mapping such as `{"rna": "X_pca", "prot": "X"}`, whose values
        are "X" or a key of the modality's `.obsm`. A value of None takes `.obsm["X_pca"]` if there is one, else `X`.
        None instead of the mapping takes all modalities that way.
    intersect
        Whether to take only the cells that are in all of these modalities. If not, it is an error if a cell is missing
        in one of them.

    Returns
    -------
    A new :class:`~anndata.AnnData` of the cells with the following fields. The cells are in the order of `mdata`.

    `.obs` : :class:`pandas.DataFrame`
        All columns of `mdata.obs`. Further columns of the modalities, under their own name, unless they differ between
        the modalities that have them.
    `.var` : :class:`pandas.DataFrame`
        One row per variable (gene, protein, ...) of each modality whose features lead back to its variables. These are
        "X", and "X_pca" with loadings in `.varm["PCs"]`. The column `modality` holds the modality. Columns of the
        modalities are kept, if they are not of another type in another modality, with missing values where a modality
        has none. Names are kept too. Only if two modalities share a name, the modality is put before it, such as in
        "prot:CD4".
    `.X` : (n_obs, n_vars)
        Values of these variables, CSR if those of a modality are sparse, None if there are no variables.
    `.obsm["X_joint"]` : (n_obs, n_joint), float
        The joint space: the features of the modalities in their units, CSR if those of a modality are sparse.
    `.varm["joint_loadings"]` : (n_vars, n_joint), float64
        How the variables make up the joint space: `X @ joint_loadings` is `X_joint` up to a constant in each column.
        CSR if it is large and sparse. Gene weights of a metric are computed through it.
    `.uns["X_joint"]` : `dict`
        `modalities` (n_modalities,), their names in the order of the joint space; `n_features` (n_modalities,), the
        number of features of each; `use_rep`, the features of each; `unit` (n_joint,), by which features were divided;
        `features` (n_joint,), their names, such as "prot:CD4" or "rna:0"; and `version`, that of scggml.

    Raises
    ------
    KeyError, ValueError, TypeError
        If `mdata` is no MuData, `use_rep` names something that does not exist, no cell is in all modalities, names are
        not unique, no feature of a modality varies, or a modality is not in memory.

    Warns
    -----
    UserWarning
        If features of a modality do not lead back to its variables, which are then not in the result, or if columns of
        `.var` were left out.

    Examples
    --------
    >>> import mudata
    >>> import scggml as sg
    >>> rna = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> protein = rna[:, ["signal"]].copy()
    >>> protein.var_names = ["CD4"]
    >>> mdata = mudata.MuData({"rna": rna, "protein": protein})
    >>> adata = sg.pp.join_modalities(mdata)
    >>> adata.var["modality"].to_dict()
    {'signal': 'rna', 'noise_0': 'rna', 'CD4': 'protein'}
    >>> sg.tl.fit_metric(adata, "sample", "label", use_rep="X_joint", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    """
    adata = join(mdata, use_rep, intersect=intersect)
    logger.info("joined the modalities %s of %d cells", ", ".join(adata.uns[JOINT]["modalities"]), adata.n_obs)
    return adata
