"""New cells in the learned space of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml._anndata._distances import distances_entry
from scggml._anndata._slots import check_free, check_other_representation, drop_results, metric_slots
from scggml._anndata._stored_reference import read_reference
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked
from scggml._docs import shared_doc
from scggml._keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

_KEPT = ("sample_key", "label_key", "label_kind")


@shared_doc
@checked()
def project(
    new: AnnData,
    reference: AnnData,
    *,
    key: str = "ggml",
    use_rep: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Compute the coordinates of new cells in the learned space of a reference.

    Genes are matched by name, in any order and among any others. Nothing is learned from the new cells: no principal
    components, no scaling. Genes of the reference that are missing in `new` are set to their mean in the reference,
    with a warning that names their share of the metric; more than half of it is an error.

    Parameters
    ----------
    new
        Cells, (n_obs, n_vars), normalised like those of the reference. They may stay in a backed or lazily read file.
    reference
        From :func:`scggml.tl.make_reference`.
    key
        Key of the reference.
    use_rep
        Key of `new.obsm` with the representation that the metric acts on, instead of genes: for representations that
        cannot be computed from genes, such as those of a model that has embedded the new cells too.
    %(copy)s

    Returns
    -------
    None, or a copy of `new` with `copy=True`. Sets the following fields:

    `.obsm["X_" + key]` : `numpy.ndarray` (n_obs, n_components), float64
        Cells in the learned space, where Euclidean distance is the ground metric.
    `.uns[key]` : `dict`
        The metric as :func:`scggml.tl.sample_distances` takes it: the identity on `.obsm["X_" + key]`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such reference, genes are missing or not unique, the representation does not fit, or a field
        holds something other than an earlier result. Nothing has been written then.

    Warns
    -----
    UserWarning
        If genes are missing, or values are not normalised like those of the reference.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> reference = sg.tl.make_reference(adata, sg.tl.sample_distances(adata), cv=None)
    >>> new = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=1)
    >>> sg.tl.project(new, reference)
    >>> new.obsm["X_ggml"].shape
    (450, 2)
    """
    known = read_reference(reference, key)
    check_writable(new, copy=copy)
    check_other_representation("key", key, use_rep)
    check_free(new, metric_slots(key), "key", key)
    cells, _ = known.project(new, use_rep)

    distances = distances_entry(reference, key)
    params = {name: known.metric.params.get(name) for name in _KEPT}
    keys = Keys(key)
    n_comps = cells.shape[1]
    new = writable(new, copy=copy)
    drop_results(new, key)
    new.obsm[keys.cells] = cells
    new.uns[keys.metric] = stored_result(
        params=stored_params(**params, use_rep=keys.cells), components=np.eye(n_comps), scale=np.ones(n_comps),
        solver=distances["solver"], epsilon=distances.get("epsilon"), fingerprint=known.metric.fingerprint,
    )  # fmt: skip
    return new if copy else None
