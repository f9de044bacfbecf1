"""Distances between samples."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scggml import _check as check
from scggml._anndata._cohort import kept_colors, read_cohort, read_representation, read_sketch
from scggml._anndata._modalities import JOINT, check_without, is_mudata, joint_cells, read_joint
from scggml._anndata._stored_metric import select_features, stored_entry, stored_metric, stored_params
from scggml._keys import N_POINTS, SKETCH_ERROR, Keys, SketchKeys, colors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from scggml.core.metric._problem import Solver

_DEFAULT_REG = 0.05


def sample_distances(
    adata: AnnData | MuData,
    sample_key: str | None = None,
    *,
    key: str = "ggml",
    metric: Literal["learned", "euclidean", "cityblock", "cosine"] = "learned",
    use_rep: str | Mapping[str, str] | None = None,
    layer: str | None = None,
    mod: Sequence[str] | None = None,
    intersect: bool | None = None,
    sketch_key: str | Literal[False] | None = None,
    solver: Solver | None = None,
    sinkhorn_reg: float | None = None,
    device: str | None = None,
    n_jobs: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    key_added: str | None = None,
) -> AnnData:
    """Compute optimal-transport distances between samples under a learned or a fixed ground metric.

    The distance between two samples is the Wasserstein-1 distance between their clouds of cells, all cells of a sample
    weighing alike, solved exactly by network simplex :cite:p:`bonneel2011`, each with a certificate from the dual problem.
    On request it is solved with entropic regularisation instead :cite:p:`cuturi2013`.

    Parameters
    ----------
    adata
        Cells. Nothing is written to it. Features may stay in a backed or lazily read file or a dask array: with a learned
        metric they are read by blocks of rows, for a fixed one all those it compares are loaded. Or a MuData, with a metric that
        was learned on several modalities, or for a fixed one, which then sees features in units that give each modality the same
        total variance.
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
    mod, intersect
        Modalities of a MuData, and whether to take only the cells that are in all of them, as in :func:`scggml.tl.fit_metric`; None
        takes what the metric was learned with.
    sketch_key
        Key of a sketch by :func:`scggml.pp.sketch`, whose points stand in for the cells of each sample. None takes the
        one that the metric was learned with where `adata` has a sketch of that key, else all cells; False takes all
        cells. Not for "cosine", which is not a metric, so that nothing would bound the error.
    solver
        "exact", "sinkhorn" or "sinkhorn_divergence", as in :class:`scggml.GroundMetricLearner`; None takes the one that the
        metric was learned with, and "exact" for a fixed metric. Entropic solvers need a learned or the Euclidean metric.
    sinkhorn_reg
        Entropic strength in units of the root mean squared distance between two cells. None takes the strength of
        training, where there was one, else 0.05.
    device
        Where entropic problems are solved, "cpu" or "cuda"; None takes a GPU if there is one.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    checkpoint
        File in which finished distances are kept. Interrupted, the same call goes on where it stopped; the file is yours
        to delete. For the exact solver.
    key_added
        Key under which results are stored; None takes `key`.

    Returns
    -------
    A sample-level AnnData, (n_samples, 0), ordered by sample name, with the fields

    `.obsp[key_added + "_distances"]` : `numpy.ndarray` (n_samples, n_samples), float64
        Distances, symmetric with zero diagonal, in the unit of the ground metric.
    `.obs` : `pandas.DataFrame`
        `n_cells`, and every column of `adata.obs` that is constant within samples. With a sketch also `n_points` and
        `sketch_error`: no distance of two samples is further from that of all their cells than the sum of both errors.
    `.uns[key_added]` : `dict`
        `params`, `distances_key`, `metric`, and `gap`, the largest relative duality gap: how exact the distances are; of
        entropic problems, the largest marginal error, with `epsilon`, the entropic strength.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, column or representation, or features do not match those of the metric.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> pdata.obsp["ggml_distances"].shape
    (30, 30)
    """
    check.check_name("key", key)
    if is_mudata(adata):
        check_without("a MuData", layer=layer, sketch_key=sketch_key or None)
        sample_key, adata = _joint_cells(adata, sample_key, key, metric, use_rep, mod, intersect)
        use_rep = JOINT
    else:
        check_without("an AnnData", mod=mod, intersect=intersect)
    check.check_anndata("adata", adata)
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
    sketch_key = _choose_sketch(adata, sketch_key, params, metric)
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, sample_key, cohort)
    solver = _choose_solver(solver, sinkhorn_reg, device, checkpoint, params, metric)
    if entry is not None:
        points = stored_metric(entry).project(select_features(representation, entry, key))

    from scggml.core.measures._moments import typical_cost
    from scggml.core.transport._distances import Entropic, pairwise_distances

    cost: Any = "euclidean" if metric == "learned" else metric
    measures = cohort.measures(points, sketch)
    if metric == "cosine":
        _check_directions(measures.points, representation.text)
    entropic = None
    if solver != "exact":
        epsilon = None if entry is None or sinkhorn_reg is not None else entry.get("epsilon")
        if epsilon is None:
            epsilon = (_DEFAULT_REG if sinkhorn_reg is None else sinkhorn_reg) * typical_cost(measures)
        entropic = Entropic(float(epsilon), solver == "sinkhorn_divergence", device)
    distances, gap = pairwise_distances(
        measures, cost=cost, entropic=entropic, n_jobs=n_jobs, progress="sample distances", checkpoint=checkpoint
    )

    from anndata import AnnData

    about_cells = [] if sketch_key is None else [SketchKeys(sketch_key).groups, SketchKeys(sketch_key).support]
    obs = cohort.sample_obs(adata.obs.drop(columns=about_cells, errors="ignore"))
    if sketch is not None:
        obs[N_POINTS] = sketch.sizes
        if entropic is None:  # the bound is one of exact distances
            obs[SKETCH_ERROR] = sketch.errors(points, cost)
    used = {
        "sample_key": sample_key, "use_rep": representation.use_rep, "layer": representation.layer,
        "sketch_key": sketch_key, "solver": solver,
    }  # fmt: skip
    return AnnData(
        obs=obs,
        obsp={keys.distances: distances},
        uns={
            **_kept_colors(adata, obs),
            keys.metric: {
                "params": {
                    **{name: value for name, value in params.items() if name not in used},
                    **stored_params(**used),
                },
                "distances_key": keys.distances,
                "metric": metric,
                "gap": gap,
                **({} if entropic is None else {"epsilon": entropic.epsilon}),
            },
        },
    )


def _joint_cells(
    mdata: MuData,
    sample_key: str | None,
    key: str,
    metric: str,
    use_rep: Any,
    mod: Sequence[str] | None,
    intersect: bool | None,
) -> tuple[str | None, AnnData]:
    """Return the sample key and the cells of a MuData as an AnnData that holds the metric, if there is one."""
    params: dict[str, Any] = {}
    if metric == "learned":
        params = stored_entry(mdata, key)["params"]
        if "mod" not in params:
            msg = f"the metric in uns[{key!r}] was learned on one modality. Pass that one: mdata.mod[...]."
            raise ValueError(msg)
        learned = list(params["mod"])
        if mod is not None and (isinstance(mod, str) or list(mod) != learned):
            msg = f"mod={mod!r}, but the metric in uns[{key!r}] was learned on {learned!r}. Leave mod out, or fit a metric on these."
            raise ValueError(msg)
        mod = learned
        use_rep = params["use_rep"] if use_rep is None else use_rep
        sample_key = params["sample_key"] if sample_key is None else sample_key
    chosen = bool(params.get("intersect", False)) if intersect is None else intersect
    joint = read_joint(mdata, mod, use_rep, intersect=chosen)
    columns = [sample_key, *(params.get(name) for name in ("label_key", "batch_key", "group_key"))]
    cells = joint_cells(mdata, joint, columns, balanced=metric != "learned")
    if metric == "learned":
        entry = stored_entry(mdata, key)
        if not np.array_equal(np.asarray(entry["features"], dtype=object), joint.features()):
            msg = f"the metric in uns[{key!r}] was learned on other features than those of {joint.use_rep}. Use the same ones."
            raise ValueError(msg)
        cells.uns[key] = entry
    return sample_key, cells


def _choose_solver(
    solver: Any, sinkhorn_reg: Any, device: str | None, checkpoint: Any, params: dict[str, Any], metric: str
) -> Solver:
    """Return the solver to use, checked against what it is to do."""
    solver = params.get("solver", "exact") if solver is None else solver
    check.check_choice("solver", solver, ("exact", "sinkhorn", "sinkhorn_divergence"))
    check.check_device(device)
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        msg = f"checkpoint must be a path or None, found {checkpoint!r} of type {type(checkpoint).__name__}"
        raise TypeError(msg)
    if sinkhorn_reg is not None:
        check.check_number("sinkhorn_reg", sinkhorn_reg, above=0)
    if solver == "exact":
        if sinkhorn_reg is not None:
            msg = f"sinkhorn_reg={sinkhorn_reg!r} has no meaning for solver='exact'. Pass solver='sinkhorn', or leave it out."
            raise ValueError(msg)
        return solver
    if metric not in ("learned", "euclidean"):
        msg = (
            f"solver={solver!r} needs a learned or the Euclidean metric, found metric={metric!r}. Pass solver='exact'."
        )
        raise ValueError(msg)
    if checkpoint is not None:
        msg = f"checkpoint={str(checkpoint)!r} is for solver='exact', found solver={solver!r}. Leave one of them out."
        raise ValueError(msg)
    return solver


def _choose_sketch(
    adata: AnnData, sketch_key: str | Literal[False] | None, params: dict[str, Any], metric: str
) -> str | None:
    """Return the key of the sketch to use, None for all cells."""
    if sketch_key is False:
        return None
    if sketch_key is None:
        sketch_key = params.get("sketch_key")
        # a metric serves other cells, which need not have been sketched
        known = sketch_key is not None and {sketch_key} & (set(adata.uns) | set(adata.obs.columns))
        return sketch_key if known else None
    if metric == "cosine":
        msg = (
            f"sketch_key={sketch_key!r} cannot be used with metric='cosine', which is not a metric: nothing bounds the error "
            "of sketched distances. Pass sketch_key=False, or metric='euclidean' on cells scaled to unit length."
        )
        raise ValueError(msg)
    return sketch_key


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
