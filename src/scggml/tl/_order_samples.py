"""A trajectory of samples: pseudotime from a root."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.csgraph import connected_components

from scggml import _check as check
from scggml._anndata._distances import checked_distances
from scggml._anndata._sample_graph import sample_graph
from scggml._anndata._slots import check_free, trajectory_slots
from scggml._anndata._writing import check_writable, plain, stored_params, stored_result, writable
from scggml._arguments import checked, text
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.core._diffusion import diffusion_distances
from scggml.core._neighbors import medoid

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@shared_doc
@checked(
    root=text("the name of a sample or of a class"),
)
def order_samples(
    pdata: AnnData,
    root: str,
    label_key: str | None = None,
    *,
    key: str = "ggml",
    copy: bool = False,
) -> AnnData | None:
    """Order samples along a trajectory, by diffusion pseudotime from a root.

    Diffusion pseudotime :cite:p:`haghverdi2016` is a distance of random walks on scanpy's graph of nearest samples,
    computed from all diffusion components. It models gradual change: where classes are far apart, it follows the gaps
    between them. A neighbourhood holds an eighth of the samples, between 5 and 15, or more if that is needed to
    connect all samples: among few samples, large neighbourhoods blur the order.

    Parameters
    ----------
    %(pdata)s
    root
        Where the trajectory begins: the name of a sample; or, if no sample has this name, a class. Of a class the
        medoid is taken, the sample with the smallest sum of distances to the others.
    label_key
        Column of `.obs` with the classes, if `root` is one. None takes the column that the metric was learned with.
    %(key_distances)s
    %(copy)s

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets the following fields:

    `.obs[key + "_pseudotime"]` : `pandas.Series` (n_samples,), float64
        Pseudotime, from 0 at the root to 1.
    `.uns[key + "_trajectory"]` : `dict`
        `params`; `root`, the name of the first sample; `n_neighbors`, the size of a neighbourhood; and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances, sample or class, an argument is out of range, or `.obs` or `.uns` holds
        something other than an earlier result.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> sg.tl.order_samples(pdata, "class_0")
    >>> means = pdata.obs["ggml_pseudotime"].groupby(pdata.obs["label"], observed=True).mean()
    >>> means.sort_values().index.tolist()
    ['class_0', 'class_1', 'class_2']
    """
    matrix = checked_distances(pdata, key, minimum=4, what="a trajectory")
    check_writable(pdata, copy=copy)
    check_free(pdata, trajectory_slots(key), "key", key)
    start = _root(pdata, root, label_key, key, matrix)
    n_neighbors = _fewest_neighbors(matrix)
    graph = sample_graph(matrix, n_neighbors)
    distances = diffusion_distances(graph.obsp["connectivities"].toarray().astype(np.float64), start)

    keys = Keys(key)
    pdata = writable(pdata, copy=copy)
    pdata.obs[keys.pseudotime] = distances / distances.max()
    pdata.uns[keys.trajectory] = stored_result(
        params=stored_params(key=key, root=root, label_key=label_key), root=str(pdata.obs_names[start]),
        n_neighbors=n_neighbors,
    )  # fmt: skip
    return pdata if copy else None


def _root(pdata: AnnData, root: str, label_key: str | None, key: str, matrix: NDArray[np.float64]) -> int:
    """Return the position of the sample that the trajectory begins at."""
    named = np.flatnonzero(pdata.obs_names == root)
    if len(named) > 1:
        msg = f"root={check.shown(root)} names {len(named)} samples. Call pdata.obs_names_make_unique() first."
        raise ValueError(msg)
    if len(named) and label_key is not None:
        msg = (
            f"label_key={check.shown(label_key)} has no effect: root={check.shown(root)} is the name of a sample. "
            "Leave it out."
        )
        raise ValueError(msg)
    if len(named):
        return int(named[0])
    if label_key is None:
        entry = plain(pdata.uns.get(Keys(key).metric))
        params = entry.get("params") if isinstance(entry, dict) else None
        label_key = params.get("label_key") if isinstance(params, dict) else None
        if label_key is None:
            msg = (
                f"root={check.shown(root)} is not the name of a sample ({check.listed(pdata.obs_names)}), and it is "
                "not known which column of obs holds classes. Pass label_key."
            )
            raise ValueError(msg)
    classes = check.as_names("label_key", label_key, check.check_column("label_key", label_key, pdata.obs))
    members = np.flatnonzero(classes == root)
    if not len(members):
        msg = (
            f"root={check.shown(root)} is neither the name of a sample ({check.listed(pdata.obs_names)}) nor a class "
            f"of obs[{label_key!r}] ({check.listed(np.unique(classes), limit=20)})"
        )
        raise ValueError(msg)
    return medoid(matrix, members)


def _fewest_neighbors(matrix: NDArray[np.float64]) -> int:
    """Return the size of a neighbourhood: an eighth of the samples, within 5 and 15, or more to connect them."""
    n = len(matrix)
    sizes = range(min(max(5, min(n // 8, 15)), max(2, n - 3)), n)
    return sizes[bisect_left(sizes, 1, hi=len(sizes) - 1, key=lambda size: _is_connected(matrix, size))]


def _is_connected(matrix: NDArray[np.float64], n_neighbors: int) -> bool:
    return connected_components(sample_graph(matrix, n_neighbors).obsp["connectivities"], directed=False)[0] == 1
