"""A cohort prepared as reference for new patients."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml._anndata._features import read_features
from scggml._anndata._known_distances import check_same_metric, check_same_solver, learned_distances, order_of_samples
from scggml._anndata._learners import is_exact
from scggml._anndata._long_runs import announce
from scggml._anndata._slots import check_free, reference_slots
from scggml._anndata._stored_metric import read_metric
from scggml._anndata._stored_reference import gene_space, genes_of_features, measures_of
from scggml._anndata._writing import stored_params, stored_result
from scggml._arguments import checked, integer
from scggml._docs import shared_doc
from scggml._keys import N_CELLS, PCA, SKETCH_ERROR, Keys
from scggml._warnings import warn
from scggml.core.measures._measures import as_points
from scggml.core.measures._on_disk import StoredPoints
from scggml.core.metric._work import held_out_work
from scggml.core.transport._sketch import coresets
from scggml.estimators._checks import training_options
from scggml.evaluation._splits import make_splits
from scggml.reference._held_out import ReferenceCells, calibration, distance_unit, hold_out_each
from scggml.reference._novelty import CellClusters

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort
    from scggml._anndata._stored_metric import StoredMetric
    from scggml.core.transport._sketch import Sketch
    from scggml.core.transport._work import Extent, Work

_LEFT_OUT = ("loss_history", "validation")  # of the metric: not needed, and large


@shared_doc
@checked(n_points=integer(1))
def make_reference(
    adata: AnnData,
    pdata: AnnData,
    *,
    key: str = "ggml",
    layer: str | None = None,
    n_points: int | None = None,
    cv: Any = "auto",
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
) -> AnnData:
    """Collect in one sample-level AnnData all that new patients are compared with; it can be written to one file.

    :func:`scggml.tl.map_samples` maps new patients to the reference, and :func:`scggml.tl.predict_samples` predicts
    their classes. Nothing is refitted then, and the reference's map stays as it is.

    Of the training cells only their coordinates in the learned space are kept: one row of `n_components` numbers per
    cell or sketch point, in the order of samples and without names. Of the genes, names, means, standard deviations
    over all cells and loadings are kept.

    How reliable predictions are is measured on each sample with a reference that was made without it. Principal
    components (if they are a linear map of genes, see `layer`) and metric are refitted to the other samples, with the
    settings of the metric. Otherwise a sample would be nearer to its own class than any new patient: the metric has
    seen its label, and the principal components have seen its cells.

    Parameters
    ----------
    adata
        The cells that the metric was learned on with :func:`scggml.tl.fit_metric`. Nothing is written to it. Data in a
        backed or lazily read file are loaded if samples are held out.
    pdata
        Their samples, with distances under the same metric by :func:`scggml.tl.sample_distances` and, if new samples
        are to be shown on it, the map of :func:`scggml.tl.embed_samples`. If the distances are those of a sketch, its
        points stand for the cells here too. Nothing is written to it.
    %(key)s
    layer
        Layer with the gene expression that `X_pca` was computed from; None takes `X`. New cells need it in the same
        layer, normalised in the same way. If `X_pca` is a linear map of these values, or of them divided by their
        standard deviations (:func:`scanpy.pp.scale` without a maximum), new cells are projected from their genes.
    n_points
        Keep at most this many weighted cells of each sample, chosen in the learned space, instead of all cells or a
        sketch. Distances of new samples to a sample of the reference then differ by at most its
        `.obs["sketch_error"]`.
    cv
        Folds by which each sample is held out once to calibrate predictions, as in :func:`scggml.tl.cross_validate`;
        samples of one donor are held out together, if the metric was learned with `donor_key`. None leaves the
        calibration out, and :func:`scggml.tl.predict_samples` is then not available.
    %(rng)s
        It draws folds and `n_points`.
    %(n_jobs)s

    Returns
    -------
    A copy of `pdata` with the fields

    `.obs["n_cells"]` : `pandas.Series`, int64
        Number of cells of each sample, also if `.obs` was replaced by a table without it.
    `.obs["sketch_error"]` : `pandas.Series`, float64
        Bound on the error of the distances of each sample, if the reference keeps a sketch and they are exact.
    `.uns[key + "_reference"]` : `dict`
        `params`; `metric`, as written by :func:`scggml.tl.fit_metric`; `samples`, their names; `points` (n_points,
        n_components), `offsets` (n_samples + 1,) and, of sketches, `weights` (n_points,), where rows
        `offsets[i]:offsets[i + 1]` belong to sample i; `genes`, the linear map from genes to features, if there is
        one; `clusters` of cells, if there are principal components and a calibration; `calibration`, with `classes`,
        `inverse_temperature` of the class probabilities, `unit` (by which distances of new samples are divided),
        `held_out`, a data frame with one row per sample (`label`, `predicted`, `probability_0` and so on in the order
        of `classes`, and `distance`, see :func:`scggml.tl.predict_samples`), `novelty`, as in
        :func:`scggml.tl.map_samples`, and `scores` of these: `balanced_accuracy`, `log_loss` and `brier`, with those
        of equal probabilities for comparison. The probabilities of each held-out sample use the inverse temperature
        fitted to the others. And `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If metric, cells and distances do not belong together, classes are too small to hold samples out, or `pdata`
        holds something other than an earlier reference; before any work.

    Warns
    -----
    UserWarning
        If new cells cannot be projected from genes, or the representation cannot be computed without held-out samples.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> is_new = adata.obs["sample"].str.endswith("_09")
    >>> old, new = adata[~is_new].copy(), adata[is_new].copy()
    >>> sg.tl.fit_metric(old, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(old)
    >>> sg.tl.embed_samples(pdata, "mds")
    >>> reference = sg.tl.make_reference(old, pdata, cv=5, rng=0)
    >>> round(reference.uns["ggml_reference"]["calibration"]["scores"]["balanced_accuracy"], 2)
    1.0
    >>> mapped = sg.tl.map_samples(new, reference, "sample")
    >>> sg.tl.predict_samples(mapped)
    """
    learned = read_metric(adata, key)
    fold_rng, point_rng, fit_rng = np.random.default_rng(rng).spawn(3)
    known = learned_distances(pdata, key)
    errors_of_points = n_points is not None and "sketch_key" not in known["params"]
    check_free(pdata, reference_slots(key, errors=errors_of_points), "key", key)
    if cv is not None:
        check_same_solver(known, learned)
    cohort = learned.read_samples(adata, labels=True, sketch_key=known["params"].get("sketch_key"))
    order = order_of_samples(pdata, cohort)
    splits = [] if cv is None else _splits(cohort, cv, fold_rng)
    points = learned.project(adata, cohort.features)
    check_same_metric(points, cohort, pdata, known, key, order)
    genes = genes_of_features(adata, cohort.features, layer)

    if splits:
        _announce(cohort, points, learned, splits, n_points, n_jobs)
    sketch = cohort.sketch
    if n_points is not None:
        sketch = coresets(
            points, cohort.codes, len(cohort), n_points, rng=point_rng, n_jobs=n_jobs, progress="reference points"
        )
    params = stored_params(
        sample_key=cohort.sample_key, label_key=learned.param("label_key"), label_kind=cohort.labels.kind,
        layer=cohort.features.layer if layer is None else layer,
        sketch_key=cohort.sketch_key if n_points is None else None, n_points=n_points,
        donor_key=learned.params.get("donor_key"), cv=None if cv is None else str(cv), n_splits=len(splits), rng=rng,
    )  # fmt: skip
    found = stored_result(
        params=params,
        metric={name: deepcopy(value) for name, value in learned.entry.items() if name not in _LEFT_OUT},
        samples=cohort.names[order],
        genes=genes,
        **_kept_points(cohort, points, sketch, order),
    )
    if splits:
        cells = _cells_to_hold_out(adata, cohort, genes, layer, None if n_points is not None else sketch)
        if cells.clusters is not None:
            found["clusters"] = {field.name: getattr(cells.clusters, field.name) for field in fields(cells.clusters)}
        held = hold_out_each(cells, splits, learned.learner, rng=fit_rng, n_jobs=n_jobs)
        labels = cohort.labels
        found["calibration"] = {
            **calibration(held, cells.classes, labels.text, labels.classes, samples=cohort.names, order=order),
            "unit": distance_unit(learned.learner, measures_of(found), n_jobs),
        }
    reference = pdata.copy()
    reference.uns[Keys(key).reference] = found
    reference.obs[N_CELLS] = cohort.sizes[order]  # which a table of the user's own need not have
    if sketch is not None and is_exact(known):  # no bounds are known of entropic distances
        errors = sketch.errors(points)[order]
        if cohort.sketch is not None:  # whose error is that of the known distances
            errors = np.maximum(errors, cohort.sketch.errors(points)[order])
        reference.obs[SKETCH_ERROR] = errors
    return reference


def _announce(
    cohort: Cohort,
    points: NDArray[np.float64],
    learned: StoredMetric,
    splits: list[Any],
    n_points: int | None,
    n_jobs: int | None,
) -> None:
    width = cohort.features.points.shape[1]
    options = training_options(learned.learner.get_params(deep=False), width)
    each = [(split.train, split.test) for split in splits]

    def work(extent: Extent) -> Work:
        features = extent.thinned(n_points).projected(width)
        return held_out_work(features, cohort.labels.targets, options, each, within=False)

    announce(
        "make_reference", work, cohort.measures_of(points), solver=options.solver, n_jobs=n_jobs,
        cheaper=["fewer points of each sample, such as n_points=100", "fewer folds (cv)"],
    )  # fmt: skip


def _splits(cohort: Cohort, cv: Any, rng: np.random.Generator) -> list[Any]:
    """Return folds that hold each sample out once."""
    if cohort.labels.kind == "continuous":
        msg = (
            "there are no classes to predict with label_kind='continuous'. Pass cv=None for a reference that new "
            "samples are mapped to."
        )
        raise ValueError(msg)
    splits = make_splits(cohort.labels.text, cohort.donors, cv=cv, rng=rng)
    counts = np.bincount(np.concatenate([split.test for split in splits]), minlength=len(cohort))
    if (counts != 1).any():
        msg = (
            f"cv must hold each sample out once, found {int((counts == 0).sum())} never and {int((counts > 1).sum())} "
            "more than once. Pass a number of folds."
        )
        raise ValueError(msg)
    return splits


def _kept_points(
    cohort: Cohort, points: NDArray[np.float64], sketch: Sketch | None, order: NDArray[np.int64]
) -> dict[str, Any]:
    if sketch is None:
        measures = cohort.measures_of(points).take(order)
        return {"points": measures.points, "offsets": measures.offsets}
    measures = sketch.measures(points).take(order)
    return {"points": measures.points, "offsets": measures.offsets, "weights": measures.weights}


def _cells_to_hold_out(
    adata: AnnData, cohort: Cohort, genes: dict[str, Any] | None, layer: str | None, sketch: Sketch | None
) -> ReferenceCells:
    features, labels = cohort.features, cohort.labels
    values, scaled, clusters = None, False, None
    if genes is not None and features.use_rep == PCA:
        columns = adata.var_names.astype(str).get_indexer(genes["names"])
        values = _loaded(read_features(adata, "X", layer).columns(columns))
        scaled = bool((genes["unit"] != 1).any())
        clusters = CellClusters.fit(gene_space(genes), values)
    elif features.use_rep != "X":
        msg = (
            f"{features.text} cannot be computed again without the held-out samples. If it was computed from these "
            "samples, probabilities are less reliable, and new samples are not flagged as outliers by comparison "
            "with held-out ones."
        )
        warn(msg)
    codes = labels.values.astype(np.int64)
    return ReferenceCells(
        _loaded(features.points), cohort.codes, codes, labels.y, labels.strata, values, scaled, sketch, clusters
    )


def _loaded(points: Any) -> Any:
    """Return points in memory, where they are subset many times."""
    points = as_points(points)
    return points.load(np.arange(points.shape[0])) if isinstance(points, StoredPoints) else points
