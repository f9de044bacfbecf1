"""New cells in the learned space of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scggml import _check as check
from scggml._anndata._stored_metric import check_writable, drop_results, stored_params, writable
from scggml._anndata._stored_reference import project_cells, reference_entry
from scggml._keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData


def project(
    new: AnnData,
    reference: AnnData,
    *,
    key: str = "ggml",
    layer: str | None = None,
    use_rep: str | None = None,
    missing_genes: Literal["mean", "error"] = "mean",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Place new cells in the learned space of a reference.

    Genes are found by name, in any order and among any others. Nothing is learned from the new cells: no principal components, no
    scaling.

    Parameters
    ----------
    new
        Cells, (n_obs, n_vars), normalised as those of the reference. They may stay in a backed or lazily read file.
    reference
        From :func:`scggml.tl.make_reference`.
    key
        Key of the reference.
    layer
        Layer of `new` to take instead of `X`.
    use_rep
        Key of `new.obsm` with the same representation that the metric acts on, instead of genes: for representations to which no
        genes lead, such as those of a model that has placed the new cells too.
    missing_genes
        "mean" takes genes of the reference that `new` lacks at their mean in the reference, with a warning of how much of the
        metric they carry, and refuses where it is more than half; "error" refuses any.
    key_added
        Key under which results are stored; None takes `key`.
    copy
        Whether to return a copy instead of writing to `new`.

    Returns
    -------
    None, or a copy of `new` with `copy=True`. Sets the following fields:

    `.obsm["X_" + key_added]` : `numpy.ndarray` (n_obs, n_components), float64
        Cells in the learned space, where Euclidean distance is the ground metric.
    `.uns[key_added]` : `dict`
        The metric as :func:`scggml.tl.sample_distances` takes it: the identity on `.obsm["X_" + key_added]`, whatever the cells
        came with.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such reference, genes are missing or not unique, or the representation does not fit. Nothing has been
        written then.

    Warns
    -----
    UserWarning
        If genes are missing, or values are not normalised as those of the reference: raw counts and logarithms, or other totals.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> reference = sg.tl.make_reference(adata, sg.tl.sample_distances(adata), calibrate=False)
    >>> new = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=1)
    >>> sg.tl.project(new, reference)
    >>> new.obsm["X_ggml"].shape
    (450, 2)
    """
    check.check_anndata("new", new)
    entry = reference_entry(reference, key)
    keys = Keys(key if key_added is None else key_added)
    check.check_name("key_added", keys.key)
    check.check_choice("missing_genes", missing_genes, ("mean", "error"))
    check_writable(new, copy=copy)
    cells, _ = project_cells(new, entry, key, layer=layer, use_rep=use_rep, missing_genes=missing_genes)

    new = writable(new, copy=copy)
    n_comps = cells.shape[1]
    distances = reference.uns[Keys(key).metric]
    params = {name: entry["metric"]["params"].get(name) for name in ("sample_key", "label_key", "label_kind")}
    params["solver"] = distances["params"].get("solver")
    stored = {
        "params": stored_params(**params, use_rep=keys.cells),
        "components": np.eye(n_comps),
        "scale": np.ones(n_comps),
    }
    if "epsilon" in distances:
        stored["epsilon"] = float(distances["epsilon"])
    new.obsm[keys.cells] = cells
    new.uns[keys.metric] = stored
    drop_results(new, keys)
    return new if copy else None
