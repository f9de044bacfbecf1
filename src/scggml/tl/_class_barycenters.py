"""The typical sample of each class."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from scggml import _check as check
from scggml._anndata._columns import kept_palettes, names_in_order, read_cell_types, sample_values
from scggml._anndata._features import read_features
from scggml._anndata._long_runs import announce
from scggml._anndata._stored_metric import read_metric
from scggml._anndata._writing import stored_params, stored_result
from scggml._arguments import checked, integer
from scggml._docs import shared_doc
from scggml._keys import CELL_TYPES, POINT_WEIGHT, Keys
from scggml.core.measures._means import share_means
from scggml.core.transport._barycenters import barycenter_work, free_support_barycenter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scggml._anndata._stored_metric import StoredMetric
    from scggml.core.transport._barycenters import Barycenter

logger = logging.getLogger(__name__)


@shared_doc
@checked(n_points=integer(1))
def class_barycenters(
    adata: AnnData,
    label_key: str | None = None,
    *,
    key: str = "ggml",
    n_points: int = 100,
    classes: Sequence[Any] | None = None,
    cell_type_key: str | None = None,
    rng: int | np.random.Generator | None = None,
) -> AnnData:
    """Compute the typical sample of each class: the barycenter of its samples in the learned space.

    The barycenter of a class is a cloud of `n_points` points of equal weight. Its mean squared Wasserstein-2 distance
    to the samples of the class is minimal, with the squared ground metric as the cost. Every sample has the same
    weight, whatever its number of cells. It is computed by the free-support algorithm of Cuturi and Doucet
    :cite:p:`cuturi2014`, with exact transport in each iteration, and is a local minimum that depends on the start.
    Each point stands for the cells that are transported to it, and its gene expression is their mean.

    Parameters
    ----------
    adata
        Cells with a learned metric. Nothing is written to it. Expression values may stay in a backed or lazily read
        file.
    label_key
        Column of `.obs` with the classes. None takes the column that the metric was learned with.
    %(key)s
    n_points
        Number of points of each barycenter.
    classes
        Classes to compute; None for all.
    %(cell_type_key)s
        If given, the shares of the types are computed for each point.
    %(rng)s
        It draws the start among the cells.

    Returns
    -------
    An AnnData of points, (n_classes * n_points, n_vars), class by class, with the fields

    `.X` : `numpy.ndarray` (n_classes * n_points, n_vars)
        Genes: the mean of the cells that are transported to the point. Left out if `adata.X` is None.
    `.obsm["X_" + key]` : `numpy.ndarray` (n_classes * n_points, n_comps), float64
        Coordinates in the learned space.
    `.obs` : `pandas.DataFrame`
        `label_key`, the class; `weight`, the mass of the point within its class; with `cell_type_key` also the column
        of that name, the most frequent cell type.
    `.obsm["cell_types"]` : `pandas.DataFrame` (n_classes * n_points, n_cell_types), with `cell_type_key`
        Shares of the cell types among the cells that are transported to the point; rows sum to one. A "/" in the name
        of a type is replaced by "_" in that of its column, because files cannot hold it.
    `.uns[key + "_barycenters"]` : `dict`
        `params`; `classes`, and for each of them `n_samples`, `objective`, the mean squared Wasserstein-2 distance to
        its samples, and `converged`; `history`, a data frame of the objective in each iteration; `fingerprint`
        (n_comps,), by which the metric is known; and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, column or class, or features do not match those of the metric.

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
    generator = np.random.default_rng(rng)
    learned = read_metric(adata, key)
    label_key = _label_key(learned, label_key)
    cohort = learned.read_samples(adata)
    labels = sample_values(adata.obs, "label_key", label_key, cohort.names, cohort.codes)
    names = _classes(adata.obs[label_key], label_key, classes)
    types = None if cell_type_key is None else _CellTypes.read(adata, cell_type_key, label_key)
    if POINT_WEIGHT in (label_key, cell_type_key):
        msg = f"no column may be called {POINT_WEIGHT!r}, the name of the mass of the points. Rename it."
        raise ValueError(msg)
    genes = None if adata.X is None else read_features(adata, "X", None).points

    measures = cohort.measures_of(learned.project(adata, cohort.features))
    members = [labels == name for name in names]
    announce(
        "class_barycenters", lambda extent: barycenter_work(extent, members, n_points), measures, cost="sqeuclidean",
        cheaper=["fewer points (n_points)", "some of the classes only (classes)"],
    )  # fmt: skip
    found, shares = [], []
    for name, is_member, child in zip(names, members, generator.spawn(len(names)), strict=True):
        samples = np.flatnonzero(is_member)
        barycenter = free_support_barycenter(measures.take(samples), n_points, rng=child)
        if not barycenter.converged:
            logger.info("the barycenter of %s was still improving after %d iterations", name, len(barycenter.history))
        own = cohort.order[np.isin(cohort.codes[cohort.order], samples)]
        entries = barycenter.shares.tocoo()
        shares.append(sp.csr_array((entries.data, (entries.row, own[entries.col])), shape=(n_points, adata.n_obs)))
        found.append(barycenter)
    of_cells = sp.csr_array(sp.vstack(shares))

    keys = Keys(key)
    obs = _point_obs(label_key, names, n_points)
    obsm: dict[str, Any] = {keys.cells: np.concatenate([barycenter.points for barycenter in found])}
    if types is not None:
        composition = share_means(of_cells, types.members)
        most = np.array(types.names, dtype=object)[composition.argmax(axis=1)]
        obs[cell_type_key] = pd.Categorical(most, categories=types.names)
        obsm[CELL_TYPES] = pd.DataFrame(composition, index=obs.index, columns=types.columns)
    params = stored_params(
        sample_key=cohort.sample_key, label_key=label_key, key=key, n_points=n_points, cell_type_key=cell_type_key,
        rng=rng,
    )  # fmt: skip
    result = stored_result(
        params=params, fingerprint=learned.fingerprint, classes=np.array(names, dtype=object),
        n_samples=np.array([int(is_member.sum()) for is_member in members]),
        objective=np.array([barycenter.history[-1] for barycenter in found]),
        converged=np.array([barycenter.converged for barycenter in found]), history=_history(names, found),
    )  # fmt: skip
    uns = {keys.barycenters: result, **_colors(adata, obs)}
    x = None if genes is None else share_means(of_cells, genes)
    return AnnData(x, obs=obs, var=adata.var.copy(), obsm=obsm, uns=uns)


def _label_key(learned: StoredMetric, label_key: str | None) -> str:
    if label_key is not None:
        return label_key
    own = learned.param("label_key")
    if learned.params.get("label_kind") == "continuous":
        msg = f"the metric was learned from the continuous label {own!r}. Pass label_key with a column of classes."
        raise ValueError(msg)
    return own


def _classes(column: pd.Series, label_key: str, classes: Sequence[Any] | None) -> list[str]:
    """Return the names of the classes to compute."""
    known = names_in_order(column)
    if classes is None:
        return known
    wanted = [str(name) for name in classes]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        msg = (
            f"classes must name classes of label_key={label_key!r} ({check.listed(known, limit=20)}), "
            f"found {check.listed(unknown)}"
        )
        raise ValueError(msg)
    return [name for name in known if name in wanted]


class _CellTypes:
    """The cell types, as columns of shares."""

    def __init__(self, names: list[str], codes: NDArray[np.int64], cell_type_key: str) -> None:
        self.names = names
        self.columns = [name.replace("/", "_") for name in names]  # files take a "/" for a folder
        twice = [name for name, column in zip(names, self.columns, strict=True) if self.columns.count(column) > 1]
        if twice:
            msg = (
                f"cell_type_key={cell_type_key!r} has types that differ in '/' and '_' only: {check.listed(twice)}. "
                "Rename one of them."
            )
            raise ValueError(msg)
        one = np.ones(len(codes))
        self.members = sp.csr_array((one, (np.arange(len(codes)), codes)), shape=(len(codes), len(names)))

    @classmethod
    def read(cls, adata: AnnData, cell_type_key: str, label_key: str) -> _CellTypes:
        if cell_type_key == label_key:
            msg = f"cell_type_key={cell_type_key!r} is the label_key. Name a column with types of cells."
            raise ValueError(msg)
        return cls(*read_cell_types(adata, cell_type_key), cell_type_key)


def _point_obs(label_key: str, names: list[str], n_points: int) -> pd.DataFrame:
    index = [f"{name}_{i + 1}" for name in names for i in range(n_points)]
    label = pd.Categorical(np.repeat(np.array(names, dtype=object), n_points), categories=names)
    return pd.DataFrame({label_key: label, POINT_WEIGHT: 1 / n_points}, index=pd.Index(index))


def _colors(adata: AnnData, obs: pd.DataFrame) -> dict[str, Any]:
    """Return scanpy's colours of the columns of points, whose categories are text."""
    found = {}
    for column in obs.columns.intersection(adata.obs.columns):
        if column != POINT_WEIGHT and adata.obs[column].dtype == "category":
            categories = adata.obs[column].cat.categories
            found[column] = categories[pd.Index(categories.astype(str)).get_indexer(obs[column].cat.categories)]
    return kept_palettes(adata, found)


def _history(names: list[str], found: list[Barycenter]) -> pd.DataFrame:
    steps = [len(barycenter.history) for barycenter in found]
    return pd.DataFrame(
        {
            "class": pd.Categorical(np.repeat(np.array(names, dtype=object), steps), categories=names),
            "iteration": np.concatenate([np.arange(n) for n in steps]),
            "objective": np.concatenate([barycenter.history for barycenter in found]),
        },
        index=pd.Index([str(i) for i in range(sum(steps))]),
    )
