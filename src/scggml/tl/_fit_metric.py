"""Learn a ground metric from an AnnData of cells."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from scggml import _check as check
from scggml._anndata._cohort import read_samples
from scggml._anndata._genes import read_genes
from scggml._anndata._learners import choose_learner, learner_params
from scggml._anndata._long_runs import announce
from scggml._anndata._modalities import modality_shares
from scggml._anndata._slots import check_free, check_other_representation, drop_results, metric_slots
from scggml._anndata._space import space_of
from scggml._anndata._stored_metric import metric_entry
from scggml._anndata._writing import check_writable, stored_params, writable
from scggml._arguments import anything, checked, flag, integer
from scggml._docs import shared_doc
from scggml._keys import JOINT, Keys
from scggml._warnings import warn
from scggml.core.metric._label_signal import N_RELABELINGS
from scggml.core.metric._work import training_work
from scggml.estimators._checks import training_options
from scggml.evaluation._cross_validation import check_methods
from scggml.evaluation._permutations import Exchange
from scggml.evaluation._splits import make_splits
from scggml.evaluation._validation import validate as validate_learner
from scggml.evaluation._validation import validation_methods
from scggml.evaluation._work import evaluation_work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from scggml._anndata._cohort import Cohort
    from scggml.core.metric._targets import LabelKind
    from scggml.core.transport._work import Extent, Work
    from scggml.estimators._ground_metric import GroundMetricLearner
    from scggml.estimators._presets import Preset
    from scggml.evaluation._samples import Samples
    from scggml.evaluation._splits import Split

logger = logging.getLogger(__name__)

_CHANCE = 0.2  # p-value from which on the labels may as well be random ones; eight samples cannot reach 0.05
_LEVEL = 0.05  # of a permutation test
_WEAK = 0.5  # signal up to which it is the labels, and above which it is the number of samples


@shared_doc
@checked(learner=anything, n_comps=integer(1), validate=flag)
def fit_metric(
    adata: AnnData,
    sample_key: str,
    label_key: str,
    *,
    label_kind: LabelKind = "class",
    batch_key: str | None = None,
    donor_key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    sketch_key: str | None = None,
    n_comps: int | None = None,
    learner: GroundMetricLearner | Preset | Mapping[str, Any] | None = None,
    validate: bool = False,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
    copy: bool = False,
) -> AnnData | None:
    """Learn the ground metric under which optimal transport separates classes of samples :cite:p:`kuehn2025`.

    Each sample (patient) is a cloud of cells. The labels of the samples are used to learn one linear map `W`. Under the
    ground metric `||W (x - y)||` between cells, optimal-transport distances are small between samples of the same class
    and large between samples of different classes. :class:`scggml.GroundMetricLearner` describes the algorithm.

    Parameters
    ----------
    adata
        Cells, (n_obs, n_vars). Log-normalise counts first. A view is copied before anything is written to it. Features
        may stay in a backed or lazily read file or in a dask array: the cells used in training are read into memory,
        all others block by block. Join several modalities with :func:`scggml.pp.join_modalities`.
    %(sample_key)s
    %(label_key)s
    %(label_kind)s
    %(batch_key)s
    %(donor_key)s
    %(use_rep)s
    %(layer)s
    %(sketch_key)s
    n_comps
        Upper bound on the number of components. None keeps all that contribute, with more than 100 features at most 50.
        If it is below the number of features, or these are more than 100, the metric is not shrunk by the signal of the
        labels.
    learner
        How the metric is learned: an unfitted :class:`scggml.GroundMetricLearner`, or a preset. "discriminant" (the
        default) is the closed form. "triplet" takes a few small gradient steps on the triplet loss from there. On
        held-out patients it was as good as the closed form, not better: choose it if :func:`scggml.tl.cross_validate`
        says so. "paper" is the algorithm of the paper, with its random start, its margin and its minibatches, for
        comparisons; its features should have like scales. The settings that
        :func:`scggml.tl.tune` found also go here: `learner=adata.uns["ggml_tuning"]["best"]`.
    validate
        Whether to test the metric on held-out samples. The learner is refitted within each fold and compared with
        Euclidean optimal transport. A warning says so if the learned metric is not better. Samples are held out one at
        a time, or in five folds if there are more than 50. :func:`scggml.tl.cross_validate` gives more detail.
    %(rng)s
        The closed form depends on it only in large cohorts, where it compares each sample with some of the others
        (more than 500,000 triplets: some 130 samples).
    %(n_jobs)s
    %(key_added)s
    %(copy)s

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following fields:

    `.uns[key_added]` : `dict`
        The metric: `components` (n_components, n_features) and `scale` (n_features,), with `d(x, y) = ||components @
        ((x - y) / scale)||`. `features`, their names, where they have any. `learned_from`, the `samples` and their
        `labels`, as text. `classes`, the classes, or the ordinal labels in order. `label_signal`, from 0 to 1, and
        `label_p_value`, with at most 100 features: whether transport depends on the labels more than on 50 random
        relabelings. The metric is shrunk towards the Euclidean one by the former, see
        :class:`scggml.GroundMetricLearner`. Relabelings exchange single samples: several samples of a donor with the
        same label make both too favourable. `loss_history` (n_iter,), `n_iter` and `converged`. `gap`, the
        largest relative duality gap of the last transport problems (of entropic ones, the largest marginal error), and
        `solver`, with `epsilon` if it is entropic. `params`, the arguments, and `version`, that of scggml. On `"X_pca"`
        or `"X_joint"` also `space`, by which their space is known again: up to 200 `genes` with the largest loadings,
        their `loadings`, and `n_genes`, the number of all genes with loadings. On several modalities also
        `modality_weights`, the share of each modality in the variance of cells in the learned space.
        With `validate` also `validation`: `score`, the name of the score of held-out samples ("balanced_accuracy", or
        "spearman" for ordinal and continuous labels), its `value` with the 95 % interval `ci_low` to `ci_high`, and
        `euclidean`, that of Euclidean optimal transport; the discordant pairs `only_learned` and `only_euclidean`
        (samples right with one of both only) and the `p_value` of their sign test; `separation` and
        `euclidean_separation`, the standardised held-out separation of :func:`scggml.get.scores`, and the 95 % interval
        `difference_low` to `difference_high` of their difference (NaN for ordinal and continuous labels); `n_correct`
        of `n_predictions`; `n_splits`; and `predictions`.
    `.obsm["X_" + key_added]` : `numpy.ndarray` (n_obs, n_components), float64
        Cells in the learned space, where Euclidean distance is the ground metric.
    `.varm[key_added]` : `numpy.ndarray` (n_vars, n_components), float64
        Gene weights: by how much a cell moves in the learned space when a gene rises by one standard deviation. With
        `use_rep="X_pca"` or `"X_joint"` they are computed through the loadings in `.varm["PCs"]` or
        `.varm["joint_loadings"]`, if `X` times these is the representation, up to a constant. Other representations do
        not lead back to genes and have none.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a key, the data or an argument does not allow a fit, or one of these fields holds something other than what
        an earlier fit wrote. Nothing has been written then.

    Warns
    -----
    UserWarning
        If a batch holds one class only, features are constant, the representation should lead back to genes but does
        not, the labels have no more to do with transport than random ones (`label_p_value` above 0.2), there are so few
        samples that no permutation test can have a p-value below 0.05 (three against three), or `validate` finds no
        gain over Euclidean transport.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> adata.obsm["X_ggml"].shape
    (900, 2)

    Other settings are those of the learner:

    >>> learner = sg.GroundMetricLearner(whitening=0.5, solver=sg.Sinkhorn(reg=0.1))
    >>> sg.tl.fit_metric(adata, "sample", "label", learner=learner, key_added="entropic")
    """
    check_writable(adata, copy=copy)
    check_other_representation("key_added", key_added, use_rep)
    check_free(adata, metric_slots(key_added), "key_added", key_added)
    cohort = read_samples(
        adata, sample_key, label_key, label_kind=label_kind, batch_key=batch_key, donor_key=donor_key,
        use_rep=use_rep, layer=layer, sketch_key=sketch_key,
    )  # fmt: skip
    features, labels = cohort.features, cohort.labels
    model = choose_learner(
        learner, label_kind=label_kind, scale=features.scale, n_comps=n_comps, rng=rng, n_jobs=n_jobs
    )
    genes = read_genes(adata, features)

    fold_rng, method_rng = np.random.default_rng(deepcopy(model.rng)).spawn(2)  # the fit is the same without
    samples = cohort.samples
    splits = make_splits(samples.stratify_by(), samples.donors, rng=fold_rng) if validate else []
    _announce(adata, cohort, model, splits)
    validation = _validation(samples, model, splits, method_rng, own_rng=rng is None) if validate else None
    model.fit(cohort.measures, labels.y, labels.strata)
    _warn_about_constant(model, cohort)
    _warn_about_signal(model, Exchange.of(labels.targets.codes, kind=labels.kind))
    if not model.converged_:
        logger.info("the objective was still falling after %d iterations (max_iter)", model.n_iter_)
    cells = model.metric_.project(features.points)
    weights = None if genes is None else genes.weights(model.components_)

    params = stored_params(
        sample_key=sample_key, label_key=label_key, label_kind=label_kind, batch_key=batch_key, donor_key=donor_key,
        use_rep=features.use_rep, layer=layer, sketch_key=sketch_key, rng=model.rng,
    )  # fmt: skip
    entry = metric_entry(
        model,
        {**params, "learner": learner_params(model)},
        classes=labels.classes,
        features=features.names,
        learned_from={"samples": cohort.names, "labels": labels.text},
        space=space_of(adata, features),
        validation=validation,
        modality_weights=modality_shares(adata, model.components_) if features.use_rep == JOINT else None,
    )
    keys = Keys(key_added)
    adata = writable(adata, copy=copy)
    drop_results(adata, key_added)
    adata.uns[keys.metric] = entry
    adata.obsm[keys.cells] = cells
    if weights is not None:
        adata.varm[keys.gene_weights] = weights
    return adata if copy else None


def _announce(adata: AnnData, cohort: Cohort, learner: GroundMetricLearner, splits: list[Split]) -> None:
    samples = cohort.samples
    options = training_options(learner.get_params(deep=False), cohort.measures.n_features)
    methods = validation_methods(samples, learner) if splits else {}
    check_methods(samples, methods, splits)

    def work(extent: Extent) -> Work:
        fit = training_work(extent, cohort.labels.targets, options)
        return fit + evaluation_work(extent, samples, methods.values(), splits)

    announce(
        "fit_metric", work, samples.measures, solver=options.solver, n_jobs=learner.n_jobs, adata=adata, cohort=cohort,
        cheaper=["validate=False"] if splits else ["learner=sg.GroundMetricLearner(max_cells=100)"],
    )  # fmt: skip


def _validation(
    samples: Samples, learner: GroundMetricLearner, splits: list[Split], rng: np.random.Generator, *, own_rng: bool
) -> dict[str, Any]:
    """Return how the metric does on held-out samples beside Euclidean transport; warn if it is not better."""
    if not own_rng:  # each fold draws a seed, as in cross_validate
        learner = clone(learner).set_params(rng=None)
    found = validate_learner(samples, learner, splits, rng=rng, n_jobs=learner.n_jobs)
    if found.value <= found.euclidean < 1 and not found.difference_low > 0:
        msg = (
            "the learned metric is not better than the Euclidean one on held-out samples: "
            f"{found.score.replace('_', ' ')} {found.value:.2f}, Euclidean {found.euclidean:.2f} "
            f"({found.only_learned} samples are right with the learned metric only, {found.only_euclidean} with the "
            "Euclidean one only). Prefer distances of sg.tl.sample_distances(..., metric='euclidean'), and do not "
            "rely on gene weights."
        )
        warn(msg)
    return {field.name: getattr(found, field.name) for field in fields(found)}


def _warn_about_constant(learner: GroundMetricLearner, cohort: Cohort) -> None:
    constant = np.flatnonzero(learner.constant_features_)
    if len(constant):
        features, sketch_key = cohort.features, cohort.sketch_key
        names = constant if features.names is None else features.names[constant]
        where = "" if sketch_key is None else f" in the points of sketch {sketch_key!r}"
        msg = (
            f"{len(constant)} feature(s) of {features.text} are constant{where} and get weight zero: "
            f"{check.listed(names)}"
        )
        warn(msg)


def _warn_about_signal(learner: GroundMetricLearner, exchange: Exchange) -> None:
    """Warn where the labels matter no more than random ones, or samples are too few to show that they matter."""
    if learner.label_p_value_ > _CHANCE:
        weak = "transport between these samples depends on their labels no more than on random ones"
        few = "there are too few samples to tell whether transport between them depends on their labels"
        msg = (
            f"{weak if learner.label_signal_ < _WEAK else few} (p = {learner.label_p_value_:.2g} of {N_RELABELINGS} "
            f"relabelings, signal {learner.label_signal_:.2f} of 1). "
            "Do not rely on gene weights or on a map of the training samples. sg.tl.cross_validate and "
            "sg.tl.separation_test look at held-out samples."
        )
        warn(msg)
    elif exchange.smallest_p > _LEVEL:
        msg = (
            f"there are too few samples to show that the metric holds: {len(exchange.codes)} labels can be exchanged "
            f"in {exchange.n_possible} ways only, so that no permutation test can have a p-value below "
            f"{exchange.smallest_p:.2g}. A map of so few training samples separates almost any labels. Add samples, "
            "and compare held-out ones with sg.tl.cross_validate."
        )
        warn(msg)
