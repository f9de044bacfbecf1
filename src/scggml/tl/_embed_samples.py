"""Maps of samples from their distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scggml import _check as check
from scggml._anndata._stored_metric import writable
from scggml._keys import embedding

from ._sample_graph import diffusion_map, read_distances, sample_graph

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

METHODS = ("mds", "umap", "diffmap", "tsne")


def embed_samples(
    pdata: AnnData,
    method: Literal["mds", "umap", "diffmap", "tsne"] = "mds",
    *,
    key: str = "ggml",
    n_components: int = 2,
    n_neighbors: int = 15,
    rng: int | np.random.Generator | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Place samples on a map that preserves their distances.

    Parameters
    ----------
    pdata
        Samples with distances, from :func:`scggml.tl.sample_distances`.
    method
        "mds": metric multidimensional scaling from the classical solution (scikit-learn), which tries to keep all
        distances; "umap" (umap-learn) and "tsne" (scikit-learn), which keep neighbourhoods; "diffmap": diffusion
        map of the neighbour graph (scanpy), for continuous change.
    key
        Whose distances to embed: `.obsp[key + "_distances"]`.
    n_components
        Dimensions of the map.
    n_neighbors
        Size of a neighbourhood, in samples, for "umap" and "diffmap", and the perplexity of "tsne" is a third of it;
        limited to what the number of samples allows.
    rng
        Seed or generator for "umap" and "tsne".
    key_added
        Key under which the map is stored; None takes `"X_" + method`.
    copy
        Whether to return a copy instead of writing to `pdata`.

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets the following field:

    `.obsm["X_" + method]` : `numpy.ndarray` (n_samples, n_components), float64
        Places of the samples. Diffusion components are those after the constant one.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances or an argument is out of range.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> sg.tl.embed_samples(pdata, "mds")
    >>> pdata.obsm["X_mds"].shape
    (30, 2)
    """
    check.check_anndata("pdata", pdata)
    check.check_choice("method", method, METHODS)
    matrix = read_distances(pdata, key)
    n = len(matrix)
    if n < 4:
        msg = f"a map needs at least 4 samples, found {n}"
        raise ValueError(msg)
    check.check_integer("n_components", n_components, minimum=1, maximum=n - 2, unit=f" for {n} samples")
    check.check_integer("n_neighbors", n_neighbors, minimum=2)
    name = embedding(method) if key_added is None else key_added
    check.check_name("key_added", name)
    seed = int(check.check_random_generator(rng).integers(2**31 - 1))
    n_neighbors = min(n_neighbors, n - 1)
    if method == "mds":
        places = _mds(matrix, n_components)
    elif method == "tsne":
        places = _tsne(matrix, n_components, n_neighbors / 3, seed)
    elif method == "umap":
        places = _umap(matrix, n_components, n_neighbors, seed)
    else:
        places = _diffmap(matrix, n_components, n_neighbors)
    pdata = writable(pdata, copy=copy)
    pdata.obsm[name] = np.asarray(places, dtype=np.float64)
    return pdata if copy else None


def _mds(matrix: NDArray[np.float64], n_components: int) -> NDArray[np.float64]:
    from sklearn.manifold import MDS, ClassicalMDS

    start = ClassicalMDS(n_components=n_components, metric="precomputed").fit_transform(matrix)
    # deterministic: one descent from the classical solution
    model = MDS(n_components=n_components, metric="precomputed", n_init=1, init="classical_mds", random_state=0)
    places = model.fit_transform(matrix)
    # descent leaves the rotation free: put the longest axis first, oriented like the start
    places = places - places.mean(axis=0)
    places = places @ np.linalg.svd(places, full_matrices=False)[2].T
    return places * np.where((places * start).sum(axis=0) < 0, -1.0, 1.0)


def _tsne(matrix: NDArray[np.float64], n_components: int, perplexity: float, seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    model = TSNE(
        n_components=n_components, metric="precomputed", init="random", perplexity=max(perplexity, 1.0),
        method="barnes_hut" if n_components < 4 else "exact", random_state=seed,
    )  # fmt: skip
    return model.fit_transform(matrix)


def _umap(matrix: NDArray[np.float64], n_components: int, n_neighbors: int, seed: int) -> NDArray[np.float64]:
    import warnings

    with warnings.catch_warnings():
        # umap says at import that its parametric variant needs Tensorflow, which is not asked of it here
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP

    model = UMAP(
        n_components=n_components, n_neighbors=n_neighbors, metric="precomputed", random_state=seed, n_jobs=1,
        # the spectral start fails on a handful of samples
        init="spectral" if len(matrix) > 4 * n_components else "random",
    )  # fmt: skip
    with warnings.catch_warnings():
        # umap says that a precomputed metric cannot transform new data, which is not asked of it here
        warnings.filterwarnings("ignore", message="using precomputed metric")
        return model.fit_transform(matrix)


def _diffmap(matrix: NDArray[np.float64], n_components: int, n_neighbors: int) -> NDArray[np.float64]:
    graph = diffusion_map(sample_graph(matrix, n_neighbors), max(n_components + 1, 3))
    return graph.obsm["X_diffmap"][:, 1 : n_components + 1]
