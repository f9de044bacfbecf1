"""A trajectory of samples: pseudotime from a root."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from scggml import _check as check
from scggml._anndata._stored_metric import check_writable, stored_params, writable
from scggml._keys import Keys

from ._sample_graph import read_distances, sample_graph

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def order_samples(
    pdata: AnnData,
    root: str,
    label_key: str | None = None,
    *,
    key: str = "ggml",
    n_neighbors: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Order samples along a trajectory, by diffusion pseudotime from a root.

    Diffusion pseudotime :cite:p:`haghverdi2016` is the distance of random walks on scanpy's graph of nearest samples, taken from
    all diffusion components. It is a model of gradual change: where classes are far apart, it follows the gaps between them.

    Parameters
    ----------
    pdata
        Samples with distances, from :func:`scggml.tl.sample_distances`.
    root
        Where the trajectory begins: the name of a sample; or, where no sample has this name, a class, of which the medoid is
        taken, the sample with the smallest sum of distances to the others of the class.
    label_key
        Column of `.obs` with the classes. None takes the one that the metric was learned with.
    key
        Whose distances to use: `.obsp[key + "_distances"]`.
    n_neighbors
        Size of a neighbourhood in the graph, in samples. None takes an eighth of the samples, within 5 and 15, or as
        many more as it takes to connect all: among few samples, large neighbourhoods blur the order.
    key_added
        Key under which results are stored; None takes `key`.
    copy
        Whether to return a copy instead of writing to `pdata`.

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets the following fields:

    `.obs[key_added + "_pseudotime"]` : `pandas.Series` (n_samples,), float64
        Pseudotime, from 0 at the root to 1.
    `.uns[key_added + "_trajectory"]` : `dict`
        `params`, and `root`, the name of the sample that the trajectory begins at.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances, sample or class, an argument is out of range, or the graph of samples is not connected.

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
    check.check_anndata("pdata", pdata)
    check.check_name("key", key)
    keys = Keys(key if key_added is None else key_added)
    check.check_name("key_added", keys.key)
    matrix = read_distances(pdata, key)
    n = len(matrix)
    if n < 4:
        msg = f"a trajectory needs at least 4 samples, found {n}"
        raise ValueError(msg)
    if n_neighbors is not None:
        check.check_integer("n_neighbors", n_neighbors, minimum=2, maximum=n - 1, unit=f" for {n} samples")
    check_writable(pdata, copy=copy)
    start = _root(pdata, root, label_key, key, matrix)
    if n_neighbors is None:
        n_neighbors = _fewest_neighbors(matrix)
    pseudotime = _pseudotime(matrix, start, n_neighbors, list(pdata.obs_names))
    pdata = writable(pdata, copy=copy)
    pdata.obs[keys.pseudotime] = pseudotime
    pdata.uns[keys.trajectory] = {
        "params": stored_params(key=key, root=root, label_key=label_key, n_neighbors=n_neighbors),
        "root": str(pdata.obs_names[start]),
    }
    return pdata if copy else None


def _root(pdata: AnnData, root: str, label_key: str | None, key: str, matrix: NDArray[np.float64]) -> int:
    """Return the position of the sample that the trajectory begins at."""
    if not isinstance(root, str):
        msg = f"root must be the name of a sample or of a class as text, found {root!r} of type {type(root).__name__}"
        raise TypeError(msg)
    named = np.flatnonzero(pdata.obs_names == root)
    if len(named) > 1:
        msg = f"root={root!r} names {len(named)} samples. Call pdata.obs_names_make_unique() first."
        raise ValueError(msg)
    if len(named):
        return int(named[0])
    if label_key is None:
        entry = pdata.uns.get(Keys(key).metric, {})
        label_key = entry.get("params", {}).get("label_key") if isinstance(entry, dict) else None
        if label_key is None:
            msg = (
                f"root={root!r} is not the name of a sample ({check.listed(pdata.obs_names)}), and it is not known which column of "
                "obs holds classes. Pass label_key."
            )
            raise ValueError(msg)
    classes = check.as_names("label_key", label_key, check.check_column("label_key", label_key, pdata.obs))
    members = np.flatnonzero(classes == root)
    if not len(members):
        msg = (
            f"root={root!r} is neither the name of a sample ({check.listed(pdata.obs_names)}) nor a class of "
            f"obs[{label_key!r}] ({check.listed(np.unique(classes), limit=20)})"
        )
        raise ValueError(msg)
    return int(members[matrix[np.ix_(members, members)].sum(axis=1).argmin()])


def _fewest_neighbors(matrix: NDArray[np.float64]) -> int:
    """Return the size of neighbourhoods: an eighth of the samples, within 5 and 15, or what it takes to connect them."""
    n = len(matrix)
    sizes = range(min(max(5, min(n // 8, 15)), max(2, n - 3)), n)
    return sizes[bisect_left(sizes, 1, hi=len(sizes) - 1, key=lambda size: _parts(sample_graph(matrix, size))[0] == 1)]


def _parts(graph: AnnData) -> tuple[int, NDArray[np.int32]]:
    """Return the number of parts that are not connected, and the part of each sample, (n_samples,)."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(graph.obsp["connectivities"], directed=False)


def _pseudotime(matrix: NDArray[np.float64], root: int, n_neighbors: int, names: list[str]) -> NDArray[np.float64]:
    graph = sample_graph(matrix, n_neighbors)
    n_parts, part = _parts(graph)
    if n_parts > 1:
        apart = [name for name, p in zip(names, part, strict=True) if p != part[root]]
        msg = (
            f"the graph of samples is in {n_parts} parts with n_neighbors={n_neighbors}: {len(apart)} sample(s) cannot be reached "
            f"from the root {names[root]!r}, {check.listed(apart)}. Pass a larger n_neighbors, or None for the smallest that connects "
            "all samples; or order only those that belong together, pdata[...]."
        )
        raise ValueError(msg)

    from scggml.core._diffusion import diffusion_distances

    distances = diffusion_distances(graph.obsp["connectivities"].toarray().astype(np.float64), root)
    return distances / distances.max()
