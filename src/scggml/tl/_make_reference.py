"""A cohort made ready for patients who come later."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scggml import _check as check
from scggml._anndata._cohort import read_cohort, read_representation, read_sketch, sample_column
from scggml._anndata._labels import label_params, read_labels
from scggml._anndata._stored_metric import (
    select_features,
    stored_entry_of_one,
    stored_metric,
    stored_params,
    stored_settings,
)
from scggml._anndata._stored_reference import gene_space, stored_measures, way_from_genes
from scggml._keys import SKETCH_ERROR, Keys

from ._known_distances import check_same_metric, check_same_solver, learned_distances, order_of_samples

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort, Representation
    from scggml._anndata._labels import Labels
    from scggml.core.transport._sketch import Sketch
    from scggml.estimators import GroundMetricLearner
    from scggml.reference._held_out import ReferenceCells


def make_reference(
    adata: AnnData,
    pdata: AnnData,
    *,
    key: str = "ggml",
    layer: str | None = None,
    sketch_key: str | Literal[False] | None = None,
    n_points: int | None = None,
    calibrate: bool = True,
    cv: Any = "auto",
    group_key: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
) -> AnnData:
    """Put all that later patients are compared with into one AnnData of samples, which can be written to one file.

    The reference takes patients in with :func:`scggml.tl.map_samples` and says what they are with
    :func:`scggml.tl.predict_samples`; nothing is learned anew then, and the reference's map stays as it is.

    What is kept of the cells of training: their places in the learned space, no genes and no principal components, one row of
    `n_components` numbers per cell or point of a sketch, in the order of samples and without names. What is kept of genes: their
    names, and over all cells together mean, standard deviation and loadings.

    How far predictions can be trusted is measured on each sample with a reference that was made without it: principal components
    (where they are a linear map of genes, see `layer`) and metric are learned anew from the other samples, with the settings of the
    metric. Under a metric that saw its label, and principal components that saw its cells, a sample is nearer to its own class,
    and its peculiarities show more, than those of any new patient.

    Parameters
    ----------
    adata
        The cells that the metric was learned on with :func:`scggml.tl.fit_metric`. Nothing is written to it. What is in a backed
        or lazily read file is loaded where samples are held out.
    pdata
        Their samples, with distances under the same metric by :func:`scggml.tl.sample_distances` and, if new samples are to be
        placed on it, the map of :func:`scggml.tl.embed_samples`. Nothing is written to it.
    key
        Key of the metric and of the distances.
    layer
        Layer with the genes' values that `X_pca` was computed from; None takes `X`. New cells must be normalised in the same way.
        Where `X_pca` is a linear map of these values, or of them divided by their standard deviations
        (:func:`scanpy.pp.scale` without a maximum), new cells can be projected from their genes.
    sketch_key
        Key of a sketch by :func:`scggml.pp.sketch`, whose points stand in for the cells. None takes the one that the distances
        were computed with, where there was one, else all cells; False takes all cells.
    n_points
        Keep at most so many weighted cells of each sample, chosen in the learned space, in place of a sketch. Distances of
        new samples to a sample of the reference are then off by at most its `.obs["sketch_error"]`.
    calibrate
        Whether to measure on held-out samples what :func:`scggml.tl.predict_samples` needs. It takes as many fits as `cv` says.
    cv
        As in :func:`scggml.tl.cross_validate`: by default, samples are left out one at a time, beyond 50 in five folds. Each
        must be held out once.
    group_key
        Column of `adata.obs`: samples of one group, such as a donor, are held out together. None takes that of the metric.
    rng
        Seed or generator for folds, `n_points`, and fits that draw.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.

    Returns
    -------
    A copy of `pdata` with the field

    `.uns[key + "_reference"]` : `dict`
        `params`; `metric`, what :func:`scggml.tl.fit_metric` wrote; `samples`, their names; `points` (n_points, n_components), `offsets` (n_samples + 1,)
        and, of sketches, `weights` (n_points,), where rows `offsets[i]:offsets[i + 1]` belong to sample i; `genes`, the way from genes to
        the learned space where there is one; `kinds`, where there are components and calibration: the `centroids` of kinds of cells in the
        components, `divisions`, how many kinds there are in each, and the `variance` of genes outside of the components; and `calibration` with `classes`, `sharpness` (the inverse temperature of the class
        probabilities), `unit` (what distances of new samples are divided by), `held_out`, a data frame with a row per sample (`label`, `predicted`, `probability_0` and so on in the order
        of `classes`, and `distance`, see :func:`scggml.tl.predict_samples`), `novelty`, where components lead from genes to the metric, as
        in :func:`scggml.tl.map_samples`, and `scores` of these: `balanced_accuracy`,
        `log_loss` and `brier`, with those of equal probabilities for comparison. Each held-out sample's probabilities are those
        of the sharpness that the others suggest.

    Raises
    ------
    KeyError, ValueError, TypeError
        If metric, cells and distances do not belong together, or classes are too small to hold samples out; before any work.

    Warns
    -----
    UserWarning
        If new cells cannot be projected from genes, or the representation cannot be computed anew without held-out samples.

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
    check.check_anndata("adata", adata)
    check.check_anndata("pdata", pdata)
    check.check_name("key", key)
    check.check_choice("calibrate", calibrate, (True, False))
    check.check_jobs(n_jobs)
    entry = stored_entry_of_one(adata, key)
    params = entry["params"]
    fold_rng, point_rng, fit_rng = check.check_random_generator(rng).spawn(3)
    known = learned_distances(pdata, key)
    if calibrate:
        check_same_solver(known, entry, key)
    cohort = read_cohort(adata, params["sample_key"])
    order = order_of_samples(pdata, cohort)
    sketch_key = _choose_points(sketch_key, n_points, known["params"])
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, params["sample_key"], cohort)
    labels = read_labels(adata, cohort, params["label_key"], **label_params(params))
    splits: list[Any] = []
    if calibrate:
        from scggml.evaluation._splits import make_splits
        from scggml.reference._held_out import calibration, distance_unit, hold_out_each

        _check_classes(labels.kind)
        group_key = params.get("group_key") if group_key is None else group_key
        splits = make_splits(
            labels.text, sample_column(adata.obs, "group_key", group_key, cohort), cv=cv, n_repeats=1, rng=fold_rng
        )
        _check_each_once(splits, len(cohort.names))
    representation = read_representation(adata, params["use_rep"], params.get("layer"))
    points = stored_metric(entry).project(select_features(representation, entry, key))
    check_same_metric(points, cohort, pdata, known, key, adata, order)
    genes = way_from_genes(adata, representation, layer)

    errors = None
    if n_points is not None:
        from scggml.core.transport._sketch import coresets

        sketch = coresets(points, cohort.codes, len(cohort.names), n_points, rng=point_rng, n_jobs=n_jobs)
    if sketch is not None:
        errors = sketch.errors(points)[order]
    found: dict[str, Any] = {
        "params": stored_params(
            sample_key=params["sample_key"], label_key=params["label_key"], label_kind=labels.kind, layer=layer,
            sketch_key=sketch_key, n_points=n_points, group_key=group_key, cv=str(cv), n_splits=len(splits), rng=rng,
        ),
        "metric": {name: deepcopy(value) for name, value in entry.items() if name not in ("loss_history", "validation")},
        "samples": cohort.names[order],
        **_kept_points(cohort, points, sketch, order),
    }  # fmt: skip
    if genes is not None:
        found["genes"] = genes
    if calibrate:
        cells = _cells_to_hold_out(
            adata, cohort, labels, representation, genes, layer, sketch if n_points is None else None
        )
        if cells.kinds is not None:
            found["kinds"] = {field.name: getattr(cells.kinds, field.name) for field in fields(cells.kinds)}
        learner = _learner(params)
        held = hold_out_each(cells, splits, learner, rng=fit_rng, n_jobs=n_jobs)
        found["calibration"] = {
            **calibration(held, cells.classes, labels.text, labels.classes, samples=cohort.names, order=order),
            "unit": distance_unit(learner, stored_measures(found), n_jobs),
        }
    reference = pdata.copy()
    reference.uns[Keys(key).reference] = found
    if errors is not None:
        reference.obs[SKETCH_ERROR] = errors
    return reference


def _choose_points(sketch_key: str | Literal[False] | None, n_points: int | None, used: dict[str, Any]) -> str | None:
    if n_points is not None:
        check.check_integer("n_points", n_points, minimum=1)
        if sketch_key is not None and sketch_key is not False:
            msg = f"n_points={n_points} and sketch_key={sketch_key!r} exclude each other. Pass one of them."
            raise ValueError(msg)
        return None
    if sketch_key is False:
        return None
    return used.get("sketch_key") if sketch_key is None else sketch_key


def _check_classes(kind: str) -> None:
    if kind == "continuous":
        msg = (
            "there are no classes to predict with label_kind='continuous'. Pass calibrate=False for a reference that new samples "
            "are mapped on."
        )
        raise ValueError(msg)


def _check_each_once(splits: list[Any], n_samples: int) -> None:
    counts = np.bincount(np.concatenate([split.test for split in splits]), minlength=n_samples)
    if (counts != 1).any():
        msg = f"cv must hold each sample out once, found {int((counts == 0).sum())} never and {int((counts > 1).sum())} more than once"
        raise ValueError(msg)


def _kept_points(
    cohort: Cohort, points: NDArray[np.float64], sketch: Sketch | None, order: NDArray[np.int64]
) -> dict[str, Any]:
    measures = cohort.measures(points, sketch).take(order)
    kept = {"points": measures.points, "offsets": measures.offsets}
    return kept if sketch is None else {**kept, "weights": measures.weights}


def _cells_to_hold_out(
    adata: AnnData,
    cohort: Cohort,
    labels: Labels,
    representation: Representation,
    genes: dict[str, Any] | None,
    layer: str | None,
    sketch: Sketch | None,
) -> ReferenceCells:
    from scggml.reference._held_out import ReferenceCells
    from scggml.reference._novelty import CellKinds

    values, scaled, kinds = None, False, None
    if genes is not None and "loadings" in genes:
        columns = adata.var_names.astype(str).get_indexer(genes["names"])
        values = _loaded(read_representation(adata, "X", layer).points, columns)
        scaled = bool((genes["unit"] != 1).any())
        kinds = CellKinds.fit(gene_space(genes), values)
    elif representation.use_rep != "X":
        msg = (
            f"{representation.text} cannot be computed anew without the samples that are held out, which it has seen. Where it was made "
            "of these samples only, probabilities are less reliable, and no new sample will seem unusual beside held-out ones, which it knows."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    codes = labels.values.astype(np.int64)
    return ReferenceCells(
        _loaded(representation.points), cohort.codes, codes, labels.y, labels.blocks, values, scaled, sketch, kinds
    )


def _loaded(points: Any, columns: NDArray[np.int64] | None = None) -> Any:
    """Return points in memory, which are taken apart many times."""
    from scggml.core.measures._measures import as_points
    from scggml.core.measures._on_disk import StoredPoints

    points = as_points(points)
    if isinstance(points, StoredPoints):
        points = points if columns is None else points.columns(columns)
        return points.load(np.arange(points.shape[0]))
    return points if columns is None else points[:, columns]


def _learner(params: dict[str, Any]) -> GroundMetricLearner:
    """Return a learner with the settings of a stored metric."""
    from scggml.estimators import GroundMetricLearner

    return GroundMetricLearner(**stored_settings(params, GroundMetricLearner().get_params(deep=False)))
