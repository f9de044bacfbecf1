"""Distances between samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from anndata import AnnData

from scggml import _check as check
from scggml._anndata._cohort import read_samples
from scggml._anndata._columns import colors_of_samples
from scggml._anndata._held_out import read_held_out, status_of
from scggml._anndata._learners import stored_solver
from scggml._anndata._long_runs import announce
from scggml._anndata._sketches import has_sketch
from scggml._anndata._stored_metric import read_metric
from scggml._anndata._writing import stored_params, stored_result
from scggml._arguments import SHARED, checked, choice, either, path
from scggml._docs import shared_doc
from scggml._keys import HELD_OUT, N_POINTS, SKETCH_ERROR, Keys, SketchKeys
from scggml.core.measures._digest import digest
from scggml.core.transport._checkpoint import check_place
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import square_pairs
from scggml.core.transport._solvers import Exact, Sinkhorn
from scggml.core.transport._work import transport_work
from scggml.estimators._checks import SOLVERS, check_solver

if TYPE_CHECKING:
    import os

    import pandas as pd

    from scggml._anndata._cohort import Cohort
    from scggml._anndata._learners import Solver
    from scggml._anndata._stored_metric import StoredMetric
    from scggml.core.measures._measures import Measures

_METRICS = ("learned", "euclidean", "cityblock", "cosine")


@shared_doc
@checked(
    metric=choice(*_METRICS),
    sketch_key=either(False, otherwise="the key of a sketch", rule=SHARED["sketch_key"]),
    solver=check_solver,
    checkpoint=path,
)
def sample_distances(
    adata: AnnData,
    sample_key: str | None = None,
    *,
    key: str = "ggml",
    metric: Literal["learned", "euclidean", "cityblock", "cosine"] = "learned",
    use_rep: str | None = None,
    layer: str | None = None,
    sketch_key: str | Literal[False] | None = None,
    solver: Literal["exact", "pot"] | Sinkhorn | None = None,
    cv: Any = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    key_added: str | None = None,
) -> AnnData:
    """Compute optimal-transport distances between samples under a learned or a fixed ground metric.

    The distance between two samples is the Wasserstein-1 distance between their clouds of cells. All cells of a sample
    have the same weight. It is solved exactly by network simplex :cite:p:`bonneel2011`, and the dual problem certifies
    how exact it is. On request it is solved with entropic regularisation instead :cite:p:`cuturi2013`.

    A learned metric flatters its own training samples: classes are further apart than those of new ones. `cv="auto"`
    gives held-out distances instead: the metric of two samples has seen the label of neither.

    Parameters
    ----------
    adata
        Cells. Nothing is written to it. Features may stay in a backed or lazily read file or in a dask array: with a
        learned metric they are read block by block, with a fixed one they are loaded.
    sample_key
        Column of `.obs` with the sample of each cell. None takes the column that the metric was learned with; needed
        with a fixed metric.
    %(key)s
        A metric that was learned on another AnnData with the same features serves as well:
        `other.uns["ggml"] = adata.uns["ggml"]`. Principal components of `other` must be those of `adata`.
    metric
        "learned", or a fixed ground metric for comparison, on the features as they are.
    use_rep, layer
        Features, as in :func:`scggml.tl.fit_metric`. With a learned metric, None takes those that it was learned on.
    sketch_key
        Key of a sketch by :func:`scggml.pp.sketch`, whose points stand for the cells of each sample. None takes the
        sketch that the metric was learned with if `adata` has one of that key, else all cells. False takes all cells.
        Not for "cosine", which is not a metric, so that nothing bounds the error.
    solver
        "exact" for network simplex, "pot" for the slower one of POT, or :class:`scggml.Sinkhorn` for entropic
        distances. None takes the solver that the metric was learned with, with the same entropic strength; for a fixed
        metric "exact". Entropic distances need a learned or the Euclidean metric.
    cv
        None takes one metric for all distances. Otherwise distances are held-out: samples are divided into folds, and
        the distance of two samples is that under a metric which is learned without their folds, with the settings of
        the stored one. Of two samples of one fold the next fold is left out, too. `"auto"` takes as many stratified
        folds as the smallest class has samples (or donors, if the metric was learned with `donor_key`), at most 20 (10
        with more than 100 features; 5 with more than 500, `n_sweeps` or `refine`). `"leave_one_out"`, a number of
        folds, a splitter of scikit-learn or pairs of training and test positions are possible, too. Each sample must be
        held out once, and any two folds must leave two samples of every class. Scale of the features and principal
        components are those of all samples, without labels (of the features, with `n_sweeps` or `refine` those of the
        samples that a metric is learned from). Features are loaded into memory.
    rng
        Seed or generator of the folds, with `cv`; in cohorts of more than some 130 samples also of the pairs of samples
        that metrics are learned from. None takes the same ones in each call.
    %(n_jobs)s
    checkpoint
        File in which finished distances are kept. After an interruption, the same call continues where it stopped, also
        on another machine. One process at a time can use it. The file is yours to delete. For exact distances, without
        `cv`.
    key_added
        Key under which results are stored; None takes `key`.

    Returns
    -------
    A sample-level AnnData, (n_samples, 0), ordered by sample name, with the fields

    `.obsp[key_added + "_distances"]` : `numpy.ndarray` (n_samples, n_samples), float64
        Distances, symmetric with zero diagonal, in the unit of the ground metric; held-out ones in units of their
        median.
    `.obs` : `pandas.DataFrame`
        `n_cells`, and every column of `adata.obs` that is constant within samples, except columns of lists or dicts.
        Dates and columns of numbers and text are text here, so that files can hold them. With a sketch also `n_points`
        and, without `cv`, `sketch_error`: a distance differs from that between all cells by at most the sum of both
        samples' errors.
    `.uns[key_added]` : `dict`
        `params`, `distances_key`, `metric`, `solver` (with `epsilon`, the entropic strength, if it is entropic),
        `gap`, the largest relative duality gap (of entropic problems, the largest marginal error), and `version`. With
        a learned metric also `status`: "held_out"; "training", if samples are among those that it was learned from, by
        name; or "new". Held-out distances have `folds`, the fold of each sample, (n_samples,).

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, column or representation, the features do not match those of the metric (in
        number, names, or loadings in `.varm`, or because they were changed after the fit), `cv` leaves too few samples
        to learn from, samples, labels or features are not those that the metric was learned from (with `cv`), or
        `checkpoint` cannot be written, is in use, or holds distances of something else.

    Warns
    -----
    UserWarning
        If samples have so few cells that their distances are longer by chance, a fixed metric is applied to raw
        counts, or records of `checkpoint` are damaged. Their distances are computed again.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> pdata.obsp["ggml_distances"].shape
    (30, 30)

    Held-out distances, from which a map shows what the metric would find in new samples:

    >>> held_out = sg.tl.sample_distances(adata, cv="auto")
    >>> sg.tl.embed_samples(held_out)
    """
    keys = Keys(key if key_added is None else key_added)
    _check_solver(solver, metric, checkpoint)
    _check_cv(cv, rng, metric, checkpoint)
    learned = read_metric(adata, key) if metric == "learned" else None
    if checkpoint is not None and solver is None and learned is not None and not isinstance(learned.solver, Exact):
        msg = (
            f"checkpoint={str(checkpoint)!r} is for exact distances, but the metric in uns[{key!r}] is entropic. Pass "
            "solver='exact'."
        )
        raise ValueError(msg)
    cohort = _read(adata, sample_key, learned, metric, use_rep, layer, sketch_key)
    if cv is not None and learned is not None:
        held_out = read_held_out(adata, learned, cohort, cv, rng)
        cohort.warn_about_sizes()
        found = held_out.distances(solver, adata=adata, cohort=cohort, n_jobs=n_jobs)
        obs = _sample_obs(adata, cohort)
        how: dict[str, Any] = {"status": HELD_OUT, "folds": held_out.folds}
        distances, gap, chosen = found.matrix, found.gap, found.solver
    else:
        identity = None if checkpoint is None else _identity(adata, cohort, learned)
        points = cohort.features.points if learned is None else learned.project(adata, cohort.features)
        measures = cohort.measures_of(points)
        if metric == "cosine":
            _check_directions(measures.points, cohort.features.text)
        cost: Any = "euclidean" if metric == "learned" else metric
        chosen = _fixed_solver(solver, learned, measures)
        announce(
            "sample_distances", lambda extent: transport_work(extent, square_pairs(len(extent)), chosen, cost=cost),
            measures, solver=chosen, cost=cost, n_jobs=n_jobs, adata=adata, cohort=cohort,
            cheaper=[] if checkpoint is None else ["pairs in the checkpoint are not computed again"],
        )  # fmt: skip
        obs = _sample_obs(adata, cohort, points, cost if isinstance(chosen, Exact) else None)
        cohort.warn_about_sizes()
        distances, gap = pairwise_distances(
            measures, cost=cost, solver=chosen, n_jobs=n_jobs, progress="sample distances", checkpoint=checkpoint,
            identity=identity,
        )  # fmt: skip
        how = {} if learned is None else {"status": status_of(learned, cohort)}

    used = {
        "sample_key": cohort.sample_key, "use_rep": cohort.features.use_rep, "layer": cohort.features.layer,
        "sketch_key": cohort.sketch_key,
    }  # fmt: skip
    params = {} if learned is None else {name: v for name, v in learned.params.items() if name not in used}
    entry = stored_result(
        params={**params, **stored_params(**used)}, distances_key=keys.distances, metric=metric, gap=gap,
        **stored_solver(chosen), **how,
    )  # fmt: skip
    return AnnData(obs=obs, obsp={keys.distances: distances}, uns={**colors_of_samples(adata, obs), keys.metric: entry})


def _read(
    adata: AnnData,
    sample_key: str | None,
    learned: StoredMetric | None,
    metric: str,
    use_rep: str | None,
    layer: str | None,
    sketch_key: str | Literal[False] | None,
) -> Cohort:
    """Return the samples, with the features and the sketch that the metric was learned on where none are given."""
    if learned is None:
        if sample_key is None:
            msg = f"sample_key is needed with metric={metric!r}: name the column of obs that holds the samples"
            raise ValueError(msg)
        if metric == "cosine" and sketch_key:
            msg = (
                f"sketch_key={sketch_key!r} cannot be used with metric='cosine', which is not a metric: nothing "
                "bounds the error of sketched distances. Pass sketch_key=False, or metric='euclidean' on cells of "
                "unit length."
            )
            raise ValueError(msg)
        return read_samples(adata, sample_key, use_rep=use_rep, layer=layer, sketch_key=sketch_key or None)
    chosen: dict[str, Any] = {} if sample_key is None else {"sample_key": sample_key}
    if use_rep is not None or layer is not None:
        chosen |= {"use_rep": use_rep, "layer": layer}
    if sketch_key is None:  # a metric serves other cells, which need not have been sketched
        own = learned.params.get("sketch_key")
        sketch_key = own if own is not None and has_sketch(adata, own) else None
    return learned.read_samples(adata, sketch_key=sketch_key or None, **chosen)


def _check_solver(solver: Any, metric: str, checkpoint: Any) -> None:
    """Refuse a solver that cannot do what it is to do."""
    if checkpoint is not None:
        check_place(checkpoint)
    if not isinstance(solver, Sinkhorn):
        return
    if metric not in ("learned", "euclidean"):
        msg = (
            f"solver={solver!r} needs a learned or the Euclidean metric, found metric={metric!r}. Pass solver='exact'."
        )
        raise ValueError(msg)
    if checkpoint is not None:
        msg = f"checkpoint={str(checkpoint)!r} is for exact distances, found solver={solver!r}. Leave one of them out."
        raise ValueError(msg)


def _check_cv(cv: Any, rng: Any, metric: str, checkpoint: Any) -> None:
    """Refuse held-out distances where there are none, and a source of folds without folds."""
    if cv is None and rng is not None:
        msg = f"rng={check.shown(rng)} has no effect without cv, as it draws folds. Leave it out, or pass cv='auto'."
        raise ValueError(msg)
    if cv is None:
        return
    if metric != "learned":
        msg = (
            f"cv={check.shown(cv)} is for the learned metric, found metric={metric!r}: a fixed metric has seen no "
            "label, so that all its distances are held-out. Leave cv out."
        )
        raise ValueError(msg)
    if checkpoint is not None:
        msg = (
            f"checkpoint={str(checkpoint)!r} is for distances under one metric, and cannot be used with cv. Leave one "
            "of them out."
        )
        raise ValueError(msg)


def _identity(adata: AnnData, cohort: Cohort, learned: StoredMetric | None) -> str:
    """Return the digest of what distances are computed from: features as they are, metric, samples and sketch."""
    features, sketch = cohort.features, cohort.sketch
    found = [cohort.codes, features.points if learned is None else learned.points(adata, features)]
    if learned is not None:
        found += [learned.metric.components, learned.metric.scale]
    if sketch is not None:
        found += [sketch.groups, np.empty(0) if sketch.support is None else sketch.support]
    return digest(*found)


def _fixed_solver(solver: Any, learned: StoredMetric | None, measures: Measures) -> Solver:
    if isinstance(solver, Sinkhorn):
        return solver.at(measures)
    if solver is None:
        return Exact() if learned is None else learned.solver
    return SOLVERS[solver]


def _sample_obs(adata: AnnData, cohort: Cohort, points: Any = None, cost: Any = None) -> pd.DataFrame:
    """Return the table of samples; errors of a sketch are those of exact distances with this ground cost, if any."""
    if cohort.sketch is None:
        return cohort.table(adata.obs)
    keys = SketchKeys(str(cohort.sketch_key))
    obs = cohort.table(adata.obs.drop(columns=[keys.groups, keys.support], errors="ignore"))
    obs[N_POINTS] = cohort.sketch.sizes
    if cost is not None:
        obs[SKETCH_ERROR] = cohort.sketch.errors(points, cost)
    return obs


def _check_directions(points: Any, text: str) -> None:
    """Refuse all-zero cells, which have no direction."""
    empty = int((np.asarray((points != 0).sum(axis=1)).ravel() == 0).sum())
    if empty:
        msg = f"metric='cosine' is not defined for all-zero cells, found {empty} of them in {text}. Remove them."
        raise ValueError(msg)
