"""Distances between samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scggml import _validation as check
from scggml._cohort import kept_colors, read_cohort, read_representation
from scggml._keys import Keys, colors
from scggml._stored import select_features, stored_entry, stored_metric

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def sample_distances(
    adata: AnnData,
    sample_key: str | None = None,
    *,
    key: str = "ggml",
    metric: Literal["learned", "euclidean", "cityblock", "cosine"] = "learned",
    use_rep: str | None = None,
    layer: str | None = None,
    n_jobs: int | None = None,
    key_added: str | None = None,
) -> AnnData:
    """Compute exact optimal-transport distances between samples under a learned or a fixed ground metric.

    The distance between two samples is the Wasserstein-1 distance between their clouds of cells, all cells of a sample
    weighing alike, solved exactly by network simplex :cite:p:`flamary2021`.

    Parameters
    ----------
    adata
        Cells. Nothing is written to it.
    sample_key
        Column of `.obs` that says which sample a cell belongs to. None takes the one that the metric was learned with;
        needed with a fixed metric.
    key
        Key of the learned metric in `.uns`. A metric learned on another AnnData with the same features serves as well:
        `other.uns["ggml"] = adata.uns["ggml"]`.
    metric
        "learned", or a fixed ground metric for comparison, on the features as they are.
    use_rep, layer
        Features, as in :func:`scggml.tl.fit_metric`. With a learned metric, None takes those it was learned on.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key under which results are stored; None takes `key`.

    Returns
    -------
    A sample-level AnnData, (n_samples, 0), ordered by sample name, with the fields

    `.obsp[key_added + "_distances"]` : `numpy.ndarray` (n_samples, n_samples), float64
        Distances, symmetric with zero diagonal, in the unit of the ground metric.
    `.obs` : `pandas.DataFrame`
        `n_cells`, and every column of `adata.obs` that is constant within samples.
    `.uns[key_added]` : `dict`
        `params`, `distances_key`, `metric`, and `gap`, the largest relative duality gap: how exact the distances are.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, column or representation, or features do not match those of the metric.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> sdata = sg.tl.sample_distances(adata)
    >>> sdata.obsp["ggml_distances"].shape
    (30, 30)
    """
    check.check_anndata("adata", adata)
    check.check_name("key", key)
    check.check_choice("metric", metric, ("learned", "euclidean", "cityblock", "cosine"))
    keys = Keys(key if key_added is None else key_added)
    check.check_name("key_added", keys.key)
    check.check_jobs(n_jobs)
    params: dict[str, Any] = {}
    entry = stored_entry(adata, key) if metric == "learned" else None
    if entry is not None:
        params = dict(entry["params"])
        sample_key = params["sample_key"] if sample_key is None else sample_key
        if use_rep is None and layer is None:
            use_rep, layer = params["use_rep"], params.get("layer")
    elif sample_key is None:
        msg = f"sample_key is needed with metric={metric!r}: name the column of obs that holds the samples"
        raise ValueError(msg)
    cohort = read_cohort(adata, sample_key)
    representation = read_representation(adata, use_rep, layer)
    points = representation.points
    if entry is not None:
        points = stored_metric(entry).project(select_features(representation, entry, key))
    elif metric == "cosine":
        _check_directions(points, representation.text)

    from scggml.core import Measures, pairwise_distances

    measures = Measures.from_codes(points, cohort.codes, len(cohort.names))
    cost = "euclidean" if metric == "learned" else metric
    distances, gap = pairwise_distances(measures, cost=cost, n_jobs=n_jobs, progress="sample distances")

    from anndata import AnnData

    obs = cohort.sample_obs(adata.obs)
    used = {"sample_key": sample_key, "use_rep": representation.use_rep, "layer": representation.layer}
    return AnnData(
        obs=obs,
        obsp={keys.distances: distances},
        uns={
            **_kept_colors(adata, obs),
            keys.metric: {
                "params": {
                    **{name: value for name, value in params.items() if name not in used},
                    **{name: value for name, value in used.items() if value is not None},
                },
                "distances_key": keys.distances,
                "metric": metric,
                "gap": gap,
            },
        },
    )


def _check_directions(points: Any, text: str) -> None:
    """Refuse all-zero cells, which have no direction."""
    empty = int((np.asarray((points != 0).sum(axis=1)).ravel() == 0).sum())
    if empty:
        msg = f"metric='cosine' is not defined for cells without any signal, found {empty} all-zero rows in {text}. Remove them."
        raise ValueError(msg)


def _kept_colors(adata: AnnData, obs: pd.DataFrame) -> dict[str, Any]:
    """Return scanpy's colours of the categorical columns that samples have too."""
    columns = [name for name in obs.columns.intersection(adata.obs.columns) if obs[name].dtype == "category"]
    found = {colors(name): kept_colors(adata, name, obs[name].cat.categories) for name in columns}
    return {key: palette for key, palette in found.items() if palette is not None}
