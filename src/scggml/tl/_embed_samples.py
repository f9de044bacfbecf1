"""Maps of samples from their distances."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from scggml import _check as check
from scggml._anndata._distances import checked_distances, status_of_distances
from scggml._anndata._sample_graph import diffusion_map, sample_graph
from scggml._anndata._slots import check_free, embedding_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked, choice, integer
from scggml._docs import shared_doc
from scggml._keys import embedding
from scggml.core.measures._compiled import cached_imports

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

METHODS = ("mds", "umap", "diffmap", "tsne")


@shared_doc
@checked(method=choice(*METHODS), n_components=integer(1), n_neighbors=integer(2))
def embed_samples(
    pdata: AnnData,
    method: Literal["mds", "umap", "diffmap", "tsne"] = "mds",
    *,
    key: str = "ggml",
    n_components: int = 2,
    n_neighbors: int | None = None,
    rng: int | np.random.Generator | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Compute coordinates of samples on a map that preserves their distances.

    Parameters
    ----------
    %(pdata)s
    method
        "mds": metric multidimensional scaling that starts from the classical solution (scikit-learn); it tries to
        preserve all distances. "umap" (umap-learn) and "tsne" (scikit-learn) preserve neighbourhoods. "diffmap":
        diffusion map of the neighbour graph (scanpy), for continuous change.
    %(key_distances)s
    n_components
        Dimensions of the map. With "mds", axes beyond those of the classical solution are zero.
    n_neighbors
        Size of a neighbourhood, in samples, for "umap" and "diffmap"; the perplexity of "tsne" is a third of it. It is
        limited by the number of samples. None is 15. "mds" has no neighbourhoods and refuses it.
    %(rng)s
        For "umap" and "tsne".
    %(copy)s

    Returns
    -------
    None, or a copy of `pdata` with `copy=True`. Sets the following fields:

    `.obsm["X_" + method]` : `numpy.ndarray` (n_samples, n_components), float64
        Coordinates of the samples. The constant diffusion component is left out.
    `.uns["X_" + method]` : `dict`
        `params`, the arguments, `status`, that of the distances, if they have one, and `version`, that of scggml.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances, an argument is out of range, or the field holds something other than a map that
        this function computed. Nothing has been written then.

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
    matrix = checked_distances(pdata, key, minimum=4, what="a map")
    status = status_of_distances(pdata, key)
    check_writable(pdata, copy=copy)
    check_free(pdata, embedding_slots(method), "method", method)
    n = len(matrix)
    check.check_integer("n_components", n_components, minimum=1, maximum=n - 2, unit=f" for {n} samples")
    if method == "mds" and n_neighbors is not None:
        msg = f"n_neighbors={n_neighbors!r} has no effect with method='mds'. Leave it out, or choose another method."
        raise ValueError(msg)
    n_neighbors = 15 if n_neighbors is None else n_neighbors
    params = stored_params(method=method, key=key, n_components=n_components, n_neighbors=n_neighbors, rng=rng)
    seed = int(np.random.default_rng(rng).integers(2**31 - 1))
    n_neighbors = min(n_neighbors, n - 1)
    if method == "mds":
        coordinates = _mds(matrix, n_components)
    elif method == "tsne":
        coordinates = _tsne(matrix, n_components, n_neighbors / 3, seed)
    elif method == "umap":
        coordinates = _umap(matrix, n_components, n_neighbors, seed)
    else:
        coordinates = diffusion_map(sample_graph(matrix, n_neighbors), n_components)
    pdata = writable(pdata, copy=copy)
    pdata.obsm[embedding(method)] = np.asarray(coordinates, dtype=np.float64)
    pdata.uns[embedding(method)] = stored_result(params=params, status=status)
    return pdata if copy else None


def _mds(matrix: NDArray[np.float64], n_components: int) -> NDArray[np.float64]:
    from sklearn.manifold import MDS, ClassicalMDS

    with np.errstate(invalid="ignore"):
        start = ClassicalMDS(n_components=n_components, metric="precomputed").fit_transform(matrix)
    # negative eigenvalues have no roots: the distances do not span these axes
    start = np.nan_to_num(start, nan=0.0)
    # deterministic: one descent from the classical solution, given because scikit-learn 1.8 starts from two axes always
    model = MDS(n_components=n_components, metric="precomputed", n_init=1, init="classical_mds", random_state=0)
    coordinates = model.fit_transform(matrix, init=start)
    # descent leaves the rotation free: put the longest axis first, oriented like the start
    coordinates = coordinates - coordinates.mean(axis=0)
    coordinates = coordinates @ np.linalg.svd(coordinates, full_matrices=False)[2].T
    return coordinates * np.where((coordinates * start).sum(axis=0) < 0, -1.0, 1.0)


def _tsne(matrix: NDArray[np.float64], n_components: int, perplexity: float, seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    model = TSNE(
        n_components=n_components, metric="precomputed", init="random", perplexity=max(perplexity, 1.0),
        method="barnes_hut" if n_components < 4 else "exact", random_state=seed,
    )  # fmt: skip
    return model.fit_transform(matrix)


def _umap(matrix: NDArray[np.float64], n_components: int, n_neighbors: int, seed: int) -> NDArray[np.float64]:
    with warnings.catch_warnings(), cached_imports():
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
