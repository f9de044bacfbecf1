"""Groups of samples from their distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._stored_metric import stored_params, writable
from scggml._keys import Keys

from ._sample_graph import read_distances

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_LINKAGES = ("complete", "average", "single")
_MAX_CLUSTERS = 10


def cluster_samples(
    pdata: AnnData,
    n_clusters: int | None = None,
    *,
    linkage: Literal["complete", "average", "single"] = "complete",
    key: str = "ggml",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Group samples by hierarchical clustering of their distances.

    Parameters
    ----------
    pdata
        Samples with distances, from :func:`scggml.tl.sample_distances`.
    n_clusters
        Number of clusters. None takes the number from 2 to 10 with the largest mean silhouette, which always finds clusters:
        it does not say whether there are any.
    linkage
        How far two clusters are apart: as their samples on the "complete" maximum, on "average", or as the nearest two ("single").
    key
        Whose distances: `.obsp[key + "_distances"]`.
    key_added
        Column of `.obs` for the clusters; None takes `key + "_cluster"`.
    copy
        Whether to return a copy instead of writing to `pdata`.

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets the following fields:

    `.obs[key_added]` : categorical (n_samples,)
        Clusters "0", "1" and so on, the largest first; of equals, that of the first sample.
    `.uns[key_added]` : `dict`
        `params` and `silhouette`, the mean silhouette of the samples.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances, or there are not more samples than clusters.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> sg.tl.cluster_samples(pdata, 3)
    >>> pdata.obs.groupby("ggml_cluster", observed=True)["label"].nunique().tolist()
    [1, 1, 1]
    """
    check.check_anndata("pdata", pdata)
    check.check_choice("linkage", linkage, _LINKAGES)
    matrix = read_distances(pdata, key)
    n = len(matrix)
    if n < 3:
        msg = f"pdata has {n} samples, too few to group (at least 3)"
        raise ValueError(msg)
    if n_clusters is not None:
        check.check_integer("n_clusters", n_clusters, minimum=2, maximum=n - 1, unit=f" for {n} samples")
    name = f"{Keys(key).key}_cluster" if key_added is None else key_added
    check.check_name("key_added", name)

    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import silhouette_score

    best: tuple[float, NDArray[np.int64]] | None = None
    for count in range(2, min(_MAX_CLUSTERS, n - 1) + 1) if n_clusters is None else [n_clusters]:
        found = AgglomerativeClustering(count, metric="precomputed", linkage=linkage).fit_predict(matrix)
        score = float(silhouette_score(matrix, found, metric="precomputed"))
        if best is None or score > best[0]:
            best = score, found
    assert best is not None
    silhouette, codes = best
    sizes, first = np.bincount(codes), np.unique(codes, return_index=True)[1]
    order = np.lexsort((first, -sizes))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    names = np.array([str(i) for i in range(len(order))], dtype=object)
    pdata = writable(pdata, copy=copy)
    pdata.obs[name] = pd.Categorical(names[rank[codes]], categories=names)
    pdata.uns[name] = {
        "params": stored_params(n_clusters=n_clusters, linkage=linkage, key=key),
        "silhouette": silhouette,
    }
    return pdata if copy else None
