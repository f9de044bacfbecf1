"""Learn a ground metric from an AnnData of cells."""

from __future__ import annotations

import logging
import warnings
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from scggml import _check as check
from scggml._anndata._cohort import (
    Representation,
    read_cohort,
    read_representation,
    read_sketch,
    sample_column,
    standard_deviation,
)
from scggml._anndata._labels import read_labels
from scggml._anndata._modalities import (
    JOINT,
    check_mudata,
    check_without,
    check_without_metric,
    is_mudata,
    joint_cells,
    read_joint,
)
from scggml._anndata._on_disk import unreadable
from scggml._anndata._samples import labelled_samples
from scggml._anndata._stored_metric import check_writable, drop_results, stored_metric, stored_params, writable
from scggml._keys import PCA, PCA_LOADINGS, Keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    from scggml.core.metric._objective import Regularizer
    from scggml.core.metric._problem import Solver
    from scggml.core.metric._targets import LabelKind
    from scggml.estimators import GroundMetricLearner
    from scggml.evaluation._samples import Samples

logger = logging.getLogger(__name__)


def fit_metric(
    adata: AnnData | MuData,
    sample_key: str,
    label_key: str,
    *,
    label_kind: LabelKind = "class",
    batch_key: str | None = None,
    group_key: str | None = None,
    use_rep: str | Mapping[str, str] | None = None,
    layer: str | None = None,
    mod: Sequence[str] | None = None,
    intersect: bool = False,
    sketch_key: str | None = None,
    n_comps: int | None = None,
    scale: Literal["auto", "feature", "global"] | None = "auto",
    init: Literal["discriminant", "random"] = "discriminant",
    n_sweeps: int = 1,
    ridge: Literal["auto"] | float = "auto",
    power: float = 1.0,
    whitening: float = 1.0,
    margin: float = 1.0,
    reg: float = 0.1,
    regularizer: Regularizer = "frobenius",
    relative: bool = True,
    triplets: Literal["auto", "all"] | int = "auto",
    batch_size: int | None = None,
    lr: float = 0.02,
    solver: Solver = "exact",
    sinkhorn_reg: float = 0.05,
    device: str | None = None,
    max_cells: Literal["auto"] | int | None = "auto",
    refine_cells: int | None = 100,
    max_iter: int = 1,
    tol: float = 1e-2,
    validate: bool = False,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Learn the ground metric under which optimal transport separates classes of samples :cite:p:`kuehn2025`.

    Each sample (patient) is the cloud of its cells. From the label of each sample, one linear map `W` is learned such
    that optimal-transport distances between samples with ground metric `||W (x - y)||` are small within classes and
    large between them. See :class:`scggml.GroundMetricLearner` for the algorithm and for the parameters from `init` on.

    Parameters
    ----------
    adata
        Cells, (n_obs, n_vars). A view is made an actual copy before anything is written to it. Features may stay in a backed
        or lazily read file or a dask array: the points of training are read into memory, blocks of rows of all other cells.
        Or a MuData with several modalities of the same cells, for one metric on all of them: features are taken in units
        that give each modality the same total variance.
    sample_key
        Column of `.obs` that says which sample a cell belongs to; at least two cells per sample.
    label_key
        Column of `.obs` with the class, one per sample; at least two classes with at least two samples each. Or with its grade
        or number, see `label_kind`.
    label_kind
        "class"; "ordinal" for grades in an order, an ordered categorical or numbers of which only the order counts; "continuous"
        for numbers. Of ordered labels, samples should be the further apart the more their labels differ, see
        :class:`scggml.GroundMetricLearner`.
    batch_key
        Column of `.obs` with batches of samples. Samples with different labels are compared within batches only, those with the
        same label also across, so that what differs between batches is not learned, but counts as noise.
    group_key
        Column of `.obs` with groups of samples in a paired design, such as donors with several conditions. Used like
        `batch_key`: labels are compared within groups; with both, within the same batch and group.
    use_rep
        Features that the metric acts on: a key of `.obsm`, or "X". None takes `.obsm["X_pca"]` where there is one and
        no `layer` is given, else `X`. Of a MuData a mapping from modalities to these, such as `{"rna": "X_pca", "prot": "X"}`.
    layer
        Layer to take instead of `X`; not of a MuData.
    mod
        Modalities of a MuData; None takes all of them.
    intersect
        Whether to take only the cells that are in all of these modalities; if not, others are an error.
    sketch_key
        Key of a sketch by :func:`scggml.pp.sketch`, whose points stand in for the cells of each sample in training. None
        takes all cells.
    n_comps
        Upper bound on the number of components; None lets the soft spectrum decide, at most 50.
    scale
        Unit of the features: "auto" divides a representation of `.obsm` by one number and the features of `X` by
        their standard deviations; "global" and "feature" force one or the other, None leaves the features as they are.
    init, n_sweeps, ridge, power, whitening, margin, reg, regularizer, relative, triplets, batch_size, lr, solver, sinkhorn_reg, device, max_cells, refine_cells, max_iter, tol
        See :class:`scggml.GroundMetricLearner`.
    validate
        Whether to tell, with the same settings learned anew without the samples that are held out, how the metric does on
        these beside Euclidean optimal transport, and to warn if it does not help. Samples are left out one at a time, beyond
        50 in five folds; with `group_key`, those of one group together. :func:`scggml.tl.cross_validate` tells more.
    rng
        Seed or generator; only sampled triplets, minibatches, `init="random"` and the folds of `validate` use it.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key under which results are stored.
    copy
        Whether to return a copy instead of writing to `adata`.

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following fields:

    `.uns[key_added]` : `dict`
        `params`; `components` (n_components, n_features) and `scale` (n_features,), with
        `d(x, y) = ||components @ ((x - y) / scale)||`; `loss_history` (n_iter,); `n_iter`; `converged`; `gap`, the
        largest relative duality gap of the last transport problems (of entropic ones, the largest marginal error); `epsilon`,
        the entropic strength, with an entropic `solver`; `classes`, or grades in order (none of numbers); `features`, the feature names where
        the representation has any; and with `validate` the `validation`: `balanced_accuracy` of held-out samples (`spearman`, the
        rank correlation, of ordered labels), its 95 % interval `ci_low` to `ci_high`, `euclidean` for that of Euclidean optimal
        transport, samples `gained` and `lost` against it, the `p_value` of the sign test, and `n_splits`.
    `.obsm["X_" + key_added]` : `numpy.ndarray` (n_obs, n_components), float64
        Cells in the learned space, where Euclidean distance is the ground metric.
    `.varm[key_added]` : `numpy.ndarray` (n_vars, n_components), float64
        Gene weights: where a cell moves in the learned space when a gene rises by one standard deviation. For `X_pca` they
        are projected back through `.varm["PCs"]`; for other representations there are none.

    Of a MuData, `.uns` and `.obsm` are its own, with NaN in `.obsm` for cells that are not in all modalities, and weights stand in
    the `.varm` of each modality. `.uns[key_added]` then holds `modality_weights` besides, the share of each modality in the variance
    of cells in the learned space.

    Raises
    ------
    KeyError, ValueError, TypeError
        If keys, data or arguments do not allow a fit. Nothing has been written then.

    Warns
    -----
    UserWarning
        If some batch holds one class only, or some group one label, if features are constant, if there is no way to gene weights, or if `validate` finds no help in the metric.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> adata.obsm["X_ggml"].shape
    (900, 2)
    """
    params: dict[str, Any] = {
        "label_kind": label_kind, "n_comps": n_comps, "scale": scale, "init": init, "n_sweeps": n_sweeps, "ridge": ridge, "power": power,
        "whitening": whitening, "margin": margin, "reg": reg, "regularizer": regularizer, "relative": relative,
        "triplets": triplets, "batch_size": batch_size, "lr": lr,
        "solver": solver, "sinkhorn_reg": sinkhorn_reg, "device": device, "max_cells": max_cells, "refine_cells": refine_cells, "max_iter": max_iter, "tol": tol,
    }  # fmt: skip
    check.check_name("key_added", key_added)
    if is_mudata(adata):
        settings = {
            **params, "batch_key": batch_key, "group_key": group_key, "validate": validate, "rng": rng, "n_jobs": n_jobs,
            "key_added": key_added,
        }  # fmt: skip
        check_without("a MuData", layer=layer, sketch_key=sketch_key)
        return _fit_joint(adata, sample_key, label_key, mod, use_rep, intersect, settings, copy)
    check_without("an AnnData", mod=mod, intersect=intersect or None)
    check.check_anndata("adata", adata)
    check_writable(adata, copy=copy)
    cohort = read_cohort(adata, sample_key)
    labels = read_labels(adata, cohort, label_key, label_kind=label_kind, batch_key=batch_key, group_key=group_key)
    representation = read_representation(adata, use_rep, layer)
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, sample_key, cohort)
    check.check_choice("scale", scale, ("auto", "feature", "global", None))
    if scale == "auto":
        params["scale"] = representation.scale

    way = way_to_genes(adata, representation)
    check.check_choice("validate", validate, (True, False))

    from scggml.estimators import GroundMetricLearner

    learner = GroundMetricLearner(**params, rng=rng, n_jobs=n_jobs)
    measures = cohort.measures(representation.points, sketch)
    validation = None
    if validate:
        groups = sample_column(adata.obs, "group_key", group_key, cohort)
        samples = labelled_samples(cohort, labels, measures, representation, groups=groups)
        validation = _validate(samples, GroundMetricLearner(**params, n_jobs=n_jobs), rng, n_jobs)
    learner.fit(measures, labels.y, labels.blocks)
    _warn_about_constant(learner, representation, sketch_key)
    if not learner.converged_ and max_iter > 1:
        logger.info("the objective was still falling after max_iter=%d iterations", max_iter)
    cells = learner.metric_.project(representation.points)
    weights = None if way is None else _gene_weights(way, learner.components_)

    keys = Keys(key_added)
    adata = writable(adata, copy=copy)
    entry = {
        "params": stored_params(
            sample_key=sample_key, label_key=label_key, batch_key=batch_key, group_key=group_key, use_rep=representation.use_rep, layer=layer, sketch_key=sketch_key,
            rng=rng, **params,
        ),
        "components": learner.metric_.components,
        "scale": learner.metric_.scale,
        "loss_history": learner.loss_history_,
        "n_iter": learner.n_iter_,
        "converged": learner.converged_,
        "gap": learner.gap_,
        "classes": labels.classes,
    }  # fmt: skip
    if learner.epsilon_ is not None:
        entry["epsilon"] = learner.epsilon_
    if representation.names is not None:
        entry["features"] = representation.names
    if validation is not None:
        entry["validation"] = validation
    adata.uns[keys.metric] = entry
    adata.obsm[keys.cells] = cells
    drop_results(adata, keys)
    if weights is not None:
        adata.varm[keys.gene_weights] = weights
    return adata if copy else None


def _fit_joint(
    mdata: MuData,
    sample_key: str,
    label_key: str,
    mod: Sequence[str] | None,
    use_rep: Any,
    intersect: bool,
    settings: dict[str, Any],
    copy: bool,
) -> MuData | None:
    """Learn one metric on several modalities."""
    check_mudata(mdata)
    joint = read_joint(mdata, mod, use_rep, intersect=intersect)
    check_without_metric(mdata, joint.mods, settings["key_added"])
    columns = [sample_key, label_key, settings["batch_key"], settings["group_key"]]
    cells = joint_cells(mdata, joint, columns, balanced=True)
    logger.info("one metric on %d cells of the modalities %s", cells.n_obs, ", ".join(joint.mods))
    fit_metric(cells, sample_key, label_key, use_rep=JOINT, **settings)
    keys = Keys(settings["key_added"])
    entry = cells.uns[keys.metric]
    metric = stored_metric(entry)
    weights: dict[str, Any] = {}
    variances: dict[str, float] = {}
    for name, part in joint.blocks.items():
        places = cells.obsm[JOINT][:, part] @ metric.linear_map[:, part].T
        variances[name] = float(np.var(places, axis=0).sum())
    for name, representation, unit in zip(joint.mods, joint.representations, joint.units, strict=True):
        way = way_to_genes(mdata.mod[name], representation)
        if way is not None:
            weights[name] = _gene_weights(way, metric.linear_map[:, joint.blocks[name]] / unit)
    entry["scale"] = entry["scale"] * joint.unit
    entry["features"] = joint.features()
    entry["modality_weights"] = {name: value / sum(variances.values()) for name, value in variances.items()}
    entry["params"] |= joint.params(intersect=intersect)

    mdata = mdata.copy() if copy else mdata
    places = np.full((mdata.n_obs, cells.obsm[keys.cells].shape[1]), np.nan)
    places[mdata.obs_names.get_indexer(joint.names)] = cells.obsm[keys.cells]
    mdata.uns[keys.metric] = entry
    mdata.obsm[keys.cells] = places
    for name in mdata.mod:
        if keys.metric not in mdata.mod[name].uns:  # else they are of a metric of its own
            mdata.mod[name].varm.pop(keys.gene_weights, None)
        if name in weights:
            mdata.mod[name].varm[keys.gene_weights] = weights[name]
    return mdata if copy else None


def _gene_weights(way: tuple[Any, Any], linear_map: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a cell moves when a gene rises by one standard deviation, (n_vars, n_components)."""
    to_features, genes = way
    return np.asarray((to_features @ linear_map.T) * standard_deviation(genes)[:, None])


def _validate(
    samples: Samples, learner: GroundMetricLearner, rng: int | np.random.Generator | None, n_jobs: int | None
) -> dict[str, Any]:
    """Return how the metric does on held-out samples beside Euclidean transport; warn if it does not help."""
    from scggml.evaluation._cross_validation import cross_validate, summary
    from scggml.evaluation._methods import named_methods
    from scggml.evaluation._splits import make_splits

    fold_rng, method_rng = check.check_random_generator(deepcopy(rng)).spawn(2)  # the fit is the same without
    splits = make_splits(samples.strata(), samples.groups, rng=fold_rng)
    methods = named_methods(
        {"learned": learner, "euclidean": "euclidean"}, samples=samples, stored={}, has_cell_types=False
    )
    predictions, scores = cross_validate(samples, methods, splits, rng=method_rng, n_jobs=n_jobs)
    table = summary(predictions, scores, classes=list(samples.classes), baseline="euclidean")
    classifier, score = ("class_mean", "balanced_accuracy") if samples.kind == "class" else ("neighbors", "spearman")
    table = table[(table["classifier"] == classifier) & (table["score"] == score)].set_index("method")
    columns = {"value": score, "ci_low": "ci_low", "ci_high": "ci_high", "p_value": "p_value"}
    found: dict[str, Any] = {new: float(table[old]["learned"]) for old, new in columns.items()}
    found |= {name: int(table[name]["learned"]) for name in ("gained", "lost")}
    found |= {"euclidean": float(table["value"]["euclidean"]), "n_splits": len(splits)}
    if found[score] <= found["euclidean"] < 1:
        msg = (
            f"on held-out samples the learned metric does not help: {score.replace('_', ' ')} {found[score]:.2f}, "
            f"Euclidean optimal transport {found['euclidean']:.2f} ({found['gained']} samples gained, {found['lost']} lost). Take "
            "distances with sg.tl.sample_distances(..., metric='euclidean'), and gene weights with a grain of salt."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    return found


def _warn_about_constant(learner: GroundMetricLearner, representation: Representation, sketch_key: str | None) -> None:
    constant = np.flatnonzero(learner.constant_features_)
    if len(constant):
        names = constant if representation.names is None else representation.names[constant]
        where = "" if sketch_key is None else f" in the points of sketch {sketch_key!r}"
        msg = (
            f"{len(constant)} feature(s) of {representation.text} are constant{where} and get weight zero: "
            f"{check.listed(names)}"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def way_to_genes(adata: AnnData, representation: Representation) -> tuple[Any, Any] | None:
    """Return the loadings of the features on genes, (n_vars, n_features), and the genes' values; None where there are none."""
    if representation.use_rep == "X":
        return sp.eye_array(adata.n_vars), representation.points
    if representation.use_rep != PCA:
        logger.info("no gene weights: %s does not lead back to genes", representation.text)
        return None
    pcs, width = adata.varm.get(PCA_LOADINGS), representation.points.shape[1]
    if pcs is None or pcs.shape[1] != width:
        found = "missing" if pcs is None else f"{pcs.shape[1]} wide, not {width} like the PCs"
        reason = f"varm[{PCA_LOADINGS!r}] is {found}. Compute the PCs with scanpy.pp.pca, or fit with use_rep='X'."
    elif adata.X is None:
        reason = "X, which their spread is taken from, is None."
    elif unreadable(adata.X) is not None:
        reason = f"X, which their spread is taken from, {unreadable(adata.X)}"
    else:
        return np.asarray(pcs, dtype=np.float64), read_representation(adata, "X", None).points
    msg = f"no gene weights for the metric on {representation.text}: {reason}"
    warnings.warn(msg, UserWarning, stacklevel=3)
    return None
