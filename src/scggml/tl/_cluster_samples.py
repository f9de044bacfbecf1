"""Clusters of samples from their distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._distances import checked_distances
from scggml._anndata._slots import check_free, cluster_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked, integer
from scggml._docs import shared_doc
from scggml._keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_MAX_CLUSTERS = 10


@shared_doc
@checked(n_clusters=integer(2))
def cluster_samples(
    pdata: AnnData,
    n_clusters: int | None = None,
    *,
    key: str = "ggml",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Cluster samples by complete linkage of their distances.

    Parameters
    ----------
    %(pdata)s
    n_clusters
        Number of clusters. None takes the number from 2 to 10 with the largest mean silhouette. It always finds
        clusters: it does not test whether there are any.
    %(key_distances)s
    key_added
        Column of `.obs` for the clusters; None takes `key + "_cluster"`.
    %(copy)s

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets the following fields:

    `.obs[key_added]` : categorical (n_samples,)
        Clusters "0", "1" and so on, the largest first; of equally large ones, that of the first sample.
    `.uns[key_added]` : `dict`
        `params`, `silhouette`, the mean silhouette of the samples, and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances, not more samples than clusters, or `key_added` would replace something other
        than clusters.

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
    matrix = checked_distances(pdata, key, minimum=3, what="clustering")
    check_writable(pdata, copy=copy)
    n = len(matrix)
    if n_clusters is not None:
        check.check_integer("n_clusters", n_clusters, minimum=2, maximum=n - 1, unit=f" for {n} samples")
    name = Keys(key).clusters if key_added is None else key_added
    check_free(pdata, cluster_slots(name), "key_added", name)

    counts = range(2, min(_MAX_CLUSTERS, n - 1) + 1) if n_clusters is None else [n_clusters]
    silhouette, codes = max((_clustered(matrix, count) for count in counts), key=lambda found: found[0])
    sizes, first = np.bincount(codes), np.unique(codes, return_index=True)[1]
    order = np.lexsort((first, -sizes))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    names = np.array([str(i) for i in range(len(order))], dtype=object)
    pdata = writable(pdata, copy=copy)
    pdata.obs[name] = pd.Categorical(names[rank[codes]], categories=names)
    pdata.uns[name] = stored_result(params=stored_params(n_clusters=n_clusters, key=key), silhouette=silhouette)
    return pdata if copy else None


def _clustered(matrix: NDArray[np.float64], n_clusters: int) -> tuple[float, NDArray[np.int64]]:
    """Return the mean silhouette and the cluster of each sample, (n_samples,)."""
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import silhouette_score

    model = AgglomerativeClustering(n_clusters, metric="precomputed", linkage="complete")
    found = model.fit_predict(matrix)
    return float(silhouette_score(matrix, found, metric="precomputed")), found
