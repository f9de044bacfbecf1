"""The typical sample of each class."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scggml import _check as check
from scggml._anndata._cohort import kept_colors, names_in_order, read_cohort, read_representation, sample_labels
from scggml._anndata._stored_metric import select_features, stored_entry_of_one, stored_metric, stored_params
from scggml._keys import CELL_TYPES, POINT_WEIGHT, Keys, colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.transport._barycenters import Barycenter

logger = logging.getLogger(__name__)


def class_barycenters(
    adata: AnnData,
    sample_key: str | None = None,
    label_key: str | None = None,
    *,
    key: str = "ggml",
    n_points: int = 100,
    groups: Sequence[str] | None = None,
    cell_type_key: str | None = None,
    layer: str | None = None,
    max_iter: int = 100,
    tol: float = 1e-4,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str | None = None,
) -> AnnData:
    """Compute the typical sample of each class: the barycenter of its samples in the learned space.

    The barycenter of a class is a cloud of `n_points` points of equal weight whose mean squared Wasserstein-2 distance to the
    samples of the class is smallest, with the squared ground metric as the cost. Every sample counts alike, whatever its
    number of cells. It is found by the free-support algorithm of Cuturi and Doucet :cite:p:`cuturi2014`, with exact transport in
    each iteration, as a local minimum that depends on the start. Each point stands for the cells that are transported to
    it, from all samples of the class alike, and its genes are their mean.

    Parameters
    ----------
    adata
        Cells. Nothing is written to it. Values of genes may stay in a backed or lazily read file.
    sample_key, label_key
        Columns of `.obs` with samples and classes. None takes those that the metric was learned with.
    key
        Key of the learned metric in `.uns`.
    n_points
        Number of points of each barycenter.
    groups
        Classes to compute; None for all.
    cell_type_key
        Column of `.obs` with cell types, whose shares are to be computed for each point.
    layer
        Layer to take the genes of the points from; None takes `X`.
    max_iter
        Upper bound on the number of iterations.
    tol
        Stop when the mean squared distance falls by less than this fraction.
    rng
        Seed or generator, which draws the start among the cells.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key under which results are stored; None takes `key`.

    Returns
    -------
    An AnnData of points, (n_classes * n_points, n_vars), class by class, with the fields

    `.X` : `numpy.ndarray` (n_classes * n_points, n_vars)
        Genes: the mean of the cells that are transported to the point. Left out where `adata.X` is None.
    `.obsm["X_" + key_added]` : `numpy.ndarray` (n_classes * n_points, n_comps), float64
        Places in the learned space.
    `.obs` : `pandas.DataFrame`
        `label_key`, the class; `weight`, the mass of the point within its class; with `cell_type_key` also the column of that
        name, the most common cell type.
    `.obsm["cell_types"]` : `pandas.DataFrame` (n_classes * n_points, n_cell_types), with `cell_type_key`
        Shares of the cell types among the cells that are transported to the point, rows summing to one. A "/" in the name of a type is
        "_" in that of its column, which has to do for files.
    `.uns[key_added + "_barycenters"]` : `dict`
        `params`; `classes`, and for each of them `n_samples`, `objective`, the mean squared Wasserstein-2 distance to its
        samples, and `converged`; and `history`, a data frame of the objective in each iteration.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, column, class or layer, or features do not match those of the metric.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> typical = sg.tl.class_barycenters(adata, n_points=20, rng=0)
    >>> typical.obs["label"].value_counts(sort=False).tolist()
    [20, 20, 20]
    >>> typical.to_df().groupby(typical.obs["label"], observed=True)["signal"].mean().is_monotonic_increasing
    True
    """
    check.check_anndata("adata", adata)
    check.check_name("key", key)
    keys = Keys(key if key_added is None else key_added)
    check.check_name("key_added", keys.key)
    check.check_integer("n_points", n_points, minimum=1)
    check.check_integer("max_iter", max_iter, minimum=1)
    check.check_number("tol", tol, minimum=0)
    check.check_jobs(n_jobs)
    generator = check.check_random_generator(rng)
    entry = stored_entry_of_one(adata, key)
    params = entry["params"]
    sample_key = params["sample_key"] if sample_key is None else sample_key
    if label_key is None:
        label_key = params["label_key"]
        if params.get("label_kind") == "continuous":
            msg = f"the metric was learned from numbers in {label_key!r}. Pass label_key with a column of classes."
            raise ValueError(msg)
    cohort = read_cohort(adata, sample_key)
    labels = sample_labels(adata.obs, label_key, cohort.names, cohort.codes)
    classes = _classes(adata.obs[label_key], label_key, groups)
    cell_types = None if cell_type_key is None else _cell_types(adata.obs, cell_type_key, label_key)
    columns = [] if cell_types is None else _column_names(cell_types[0], str(cell_type_key))
    if POINT_WEIGHT in (label_key, cell_type_key):
        msg = f"no column may be called {POINT_WEIGHT!r}, which holds the mass of the points. Rename it."
        raise ValueError(msg)
    representation = read_representation(adata, params["use_rep"], params.get("layer"))
    places = stored_metric(entry).project(select_features(representation, entry, key))
    genes = None if adata.X is None and layer is None else read_representation(adata, "X", layer).points

    from scggml.core.measures._means import share_means
    from scggml.core.transport._barycenters import free_support_barycenter

    measures = cohort.measures(places)
    cells = np.argsort(cohort.codes, kind="stable")  # which cell is which point of `measures`
    found, shares = [], []
    for name, child in zip(classes, generator.spawn(len(classes)), strict=True):
        samples = np.flatnonzero(labels == name)
        barycenter = free_support_barycenter(
            measures.take(samples), n_points, rng=child, max_iter=max_iter, tol=tol, n_jobs=n_jobs
        )
        if not barycenter.converged:
            logger.info("the barycenter of %s was still improving after max_iter=%d iterations", name, max_iter)
        own = cells[np.isin(cohort.codes[cells], samples)]
        entries = barycenter.shares.tocoo()
        shares.append(sp.csr_array((entries.data, (entries.row, own[entries.col])), shape=(n_points, adata.n_obs)))
        found.append(barycenter)
    of_cells = sp.csr_array(sp.vstack(shares))

    from anndata import AnnData

    obs = _point_obs(adata, label_key, classes, n_points)
    obsm: dict[str, Any] = {keys.cells: np.concatenate([barycenter.points for barycenter in found])}
    uns: dict[str, Any] = {}
    if cell_types is not None and cell_type_key is not None:
        types, codes = cell_types
        members = sp.csr_array((np.ones(len(codes)), (np.arange(len(codes)), codes)), shape=(len(codes), len(types)))
        composition = share_means(of_cells, members)
        obs[cell_type_key] = pd.Categorical(np.array(types, dtype=object)[composition.argmax(axis=1)], categories=types)
        obsm[CELL_TYPES] = pd.DataFrame(composition, index=obs.index, columns=columns)
    for column in obs.columns.intersection(adata.obs.columns):
        if column != POINT_WEIGHT and adata.obs[column].dtype == "category":
            uns |= _colors(adata, column, obs[column].cat.categories)
    used = {
        "sample_key": sample_key, "label_key": label_key, "key": key, "n_points": n_points, "layer": layer,
        "cell_type_key": cell_type_key, "max_iter": max_iter, "tol": tol, "rng": rng,
    }  # fmt: skip
    uns[keys.barycenters] = {
        "params": stored_params(**used),
        "classes": np.array(classes, dtype=object),
        "n_samples": np.array([int((labels == name).sum()) for name in classes]),
        "objective": np.array([barycenter.history[-1] for barycenter in found]),
        "converged": np.array([barycenter.converged for barycenter in found]),
        "history": _history(label_key, classes, found),
    }
    x = None if genes is None else share_means(of_cells, genes)
    return AnnData(x, obs=obs, var=adata.var.copy(), obsm=obsm, uns=uns)


def _classes(column: pd.Series, label_key: str, groups: Sequence[str] | None) -> list[str]:
    """Return the names of the classes to compute."""
    known = names_in_order(column)
    if groups is None:
        return known
    if isinstance(groups, str) or not all(isinstance(name, str) for name in groups):
        msg = f"groups must be a list of names of classes, found {groups!r}. Pass for example [{known[0]!r}]."
        raise TypeError(msg)
    unknown = [name for name in groups if name not in known]
    if unknown or not len(groups):
        msg = (
            f"groups must name classes of label_key={label_key!r} ({check.listed(known, limit=20)}), "
            f"found {check.listed(unknown)}"
        )
        raise ValueError(msg)
    return [name for name in known if name in groups]


def _cell_types(obs: pd.DataFrame, cell_type_key: str, label_key: str) -> tuple[list[str], NDArray[np.integer]]:
    """Return the names of the cell types and the type of each cell, (n_obs,)."""
    column = check.check_column("cell_type_key", cell_type_key, obs)
    if cell_type_key == label_key:
        msg = f"cell_type_key={cell_type_key!r} is the label_key. Name a column with types of cells."
        raise ValueError(msg)
    types = names_in_order(column)
    return types, pd.Categorical(check.as_names("cell_type_key", cell_type_key, column), categories=types).codes


def _column_names(types: list[str], cell_type_key: str) -> list[str]:
    """Return what the columns of the types are called: no "/", which files take for a folder."""
    names = [name.replace("/", "_") for name in types]
    twice = [name for name in types if names.count(name.replace("/", "_")) > 1]
    if twice:
        msg = f"cell_type_key={cell_type_key!r} has types that differ in '/' and '_' only: {check.listed(twice)}. Rename one of them."
        raise ValueError(msg)
    return names


def _point_obs(adata: AnnData, label_key: str, classes: list[str], n_points: int) -> pd.DataFrame:
    names = [f"{name}_{i + 1}" for name in classes for i in range(n_points)]
    label = pd.Categorical(np.repeat(np.array(classes, dtype=object), n_points), categories=classes)
    return pd.DataFrame({label_key: label, POINT_WEIGHT: 1 / n_points}, index=pd.Index(names))


def _colors(adata: AnnData, column: str, kept: pd.Index) -> dict[str, Any]:
    """Return scanpy's colours of these categories, whose names are text."""
    categories = adata.obs[column].cat.categories
    palette = kept_colors(adata, column, categories[pd.Index(categories.astype(str)).get_indexer(kept)])
    return {} if palette is None else {colors(column): palette}


def _history(label_key: str, classes: list[str], found: list[Barycenter]) -> pd.DataFrame:
    steps = [len(barycenter.history) for barycenter in found]
    return pd.DataFrame(
        {
            "class": pd.Categorical(np.repeat(np.array(classes, dtype=object), steps), categories=classes),
            "iteration": np.concatenate([np.arange(n) for n in steps]),
            "objective": np.concatenate([barycenter.history for barycenter in found]),
        },
        index=pd.Index([str(i) for i in range(sum(steps))]),
    )
