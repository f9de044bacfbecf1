"""Ground-metric learning with scikit-learn's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from scggml import _check as check
from scggml.core._neighbors import class_scores, neighbor_means
from scggml.core.metric._training import train
from scggml.core.transport._distances import pairwise_distances

from ._checks import as_measures, as_same_labels, as_targets, training_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._ground_metric import GroundMetric
    from scggml.core.metric._options import Refinement
    from scggml.core.metric._targets import LabelKind
    from scggml.core.transport._solvers import Sinkhorn, Solver

    Samples = Sequence[NDArray[np.floating] | sp.csr_array] | Measures

MIN_CELLS = 2


class GroundMetricLearner(TransformerMixin, BaseEstimator):
    r"""Learn the ground metric under which optimal transport separates classes of samples :cite:p:`kuehn2025`.

    A sample is a cloud of cells with one label. The estimator learns a linear map `W` such that the Wasserstein-1
    distance between samples with ground metric :math:`\|W(x - y)\|_2` between cells is small within classes and large
    between them.

    The objective, a hinge loss on triplets of samples, is from the paper; `refine=Refinement(...)` lowers it by
    gradient steps. The default is ours: transport plans between all training samples give `W` in closed form. With
    the second moments :math:`S_b` and :math:`S_w` of transported differences between and within classes, each class
    counting alike,

    .. math:: W^\top W \propto S_w^{-w/2} \left(S_w^{-1/2} S_b S_w^{-1/2}\right)^p S_w^{-w/2},

    with `power` :math:`p` and `whitening` :math:`w`. By default both are the strength of the signal of the labels, a
    number between 0 and 1: along the same plans, 50 random relabelings show how much of the differences between
    directions is noise. Without any signal the metric is the Euclidean one.

    Refinement until convergence fitted the training samples better and held-out samples worse than the closed form; a
    few small steps, the default of :class:`scggml.Refinement`, made no difference beyond noise. So the closed form is
    the default.

    Others have maximised such a ratio before. :cite:t:`li2024` take Fisher's ratio of mean squared Wasserstein
    distances, with plans and a subspace of fixed rank in turn. Wasserstein discriminant analysis :cite:p:`flamary2018`
    takes classes of cells. Ours are the soft spectrum (directions are weighted, not cut off), the whitening, exact
    Wasserstein-1 distances with certificates, and the full gene space.

    Ordinal and continuous labels: :math:`S_w` takes pairs with like labels, :math:`S_b` weights the other pairs by
    the difference of their labels, and the ratio :math:`R` of moments is replaced by the positive part of :math:`R -
    0.5 I`, as with strata. Triplets are those with :math:`|y_i - y_j| < |y_j - y_k|`, with margins that grow with the
    difference.

    Parameters
    ----------
    label_kind
        Kind of the labels: "class"; "ordinal", numbers of which only the order counts; or "continuous", numbers.
    n_comps
        Upper bound on the number of components, at most the number of features. None stands for this number up to 100
        features, else for 50. The closed form drops directions of negligible weight.
    scale
        Unit of the features: "feature" divides each by its standard deviation, "global" divides all by one number,
        None leaves them as they are. The scale is part of the metric, which acts on raw features. "auto" is "feature"
        here; in :func:`scggml.tl.fit_metric` it depends on the representation. For principal components pass
        "global", because their variances carry information.
    n_sweeps
        Number of times that plans and closed form are computed in turn. More than one helps if the Euclidean plans
        mislead, and overfits small cohorts.
    ridge
        Shrinkage of :math:`S_w`: this fraction of its mean variance is added to every direction. "auto" is 0.03 + 3 d
        / N for d features and N cells.
    power
        Exponent of the ratio of moments; larger values concentrate the metric on fewer directions. "auto" is
        `label_signal_`, and 1 if that is NaN.
    whitening
        Between 0 and 1. If classes do not differ and there is no ridge, 0 gives the Euclidean metric back, and 1 the
        Mahalanobis metric of the within-class moments. "auto" as for `power`.
    max_cells
        At most this many cells of each sample, evenly spaced in stored order, take part in the closed form; None
        takes all. "auto" takes all unless a sweep would need more than 10^10 ground costs (some minutes on two cores)
        or, with more than 3,000 features, more than 3 x 10^7 stored values. Distances are always between all cells.
    solver
        How transport is solved, in training and for distances: "exact"; :class:`scggml.Sinkhorn` for entropic
        transport; or "pot", the exact solver of POT, which gives the same distances as "exact" but is slower.
    refine
        None takes the closed form. :class:`scggml.Refinement` adds gradient steps on triplets.
    rng
        Seed or generator for the pairs of samples that are compared in large cohorts (more than 500,000 triplets: some
        130 samples), the random start, sampled triplets and minibatches. The random relabelings behind the signal of
        the labels do not depend on it.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.

    Attributes
    ----------
    metric_ : GroundMetric
        Components on scaled features and their scale. Unless `refine` says otherwise, the unit of distance is the
        median distance between training samples.
    components_ : ndarray of shape (n_components, n_features)
        The linear map on raw features: `transform(X)[i] = X[i] @ components_.T`.
    classes_ : ndarray of shape (n_classes,)
        Classes, or ordinal labels in their order; empty for continuous labels.
    loss_history_ : ndarray of shape (n_iter,)
        Objective on newly solved plans; the first value is that of the start (of minibatches, the mean over the first
        epoch). Without refinement, the objective of a default `Refinement` at the closed form.
    n_iter_ : int
        Number of these values.
    converged_ : bool
        Whether objective and metric settled before `max_iter`; the closed form without refinement counts as settled.
    solver_ : Exact or Entropic
        The solver of distances under the metric; an entropic strength is in the unit of these distances.
    gap_ : float
        Error of the transport problems behind the metric: the largest relative duality gap, or the largest marginal
        error of entropic transport.
    label_signal_ : float
        Strength of the signal of the labels, from 0 (no more than random labels) to 1. NaN if it shrinks nothing: with
        both `power` and `whitening` given, `n_comps` below the number of features, more than 100 features, entropic
        transport, or a random start.
    label_p_value_ : float
        Share of random relabelings, the given labels added, in which directions differ at least as much; or NaN.
    constant_features_ : ndarray of shape (n_features,)
        Features that do not vary in training, which have weight zero.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from scggml import GroundMetricLearner
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["healthy", "disease"], 6)
    >>> X = [rng.normal(size=(40, 3)) + [2.0 * (label == "disease"), 3 * rng.normal(), 0] for label in y]
    >>> learner = GroundMetricLearner(rng=0).fit(X, y)
    >>> int(np.abs(learner.components_).max(axis=0).argmax())
    0
    >>> learner.pairwise_distances(X).shape
    (12, 12)
    """

    def __init__(
        self,
        *,
        label_kind: LabelKind = "class",
        n_comps: int | None = None,
        scale: Literal["auto", "feature", "global"] | None = "auto",
        n_sweeps: int = 1,
        ridge: Literal["auto"] | float = "auto",
        power: Literal["auto"] | float = "auto",
        whitening: Literal["auto"] | float = "auto",
        max_cells: Literal["auto"] | int | None = "auto",
        solver: Literal["exact", "pot"] | Sinkhorn = "exact",
        refine: Refinement | None = None,
        rng: int | np.random.Generator | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.label_kind = label_kind
        self.n_comps = n_comps
        self.scale = scale
        self.n_sweeps = n_sweeps
        self.ridge = ridge
        self.power = power
        self.whitening = whitening
        self.max_cells = max_cells
        self.solver = solver
        self.refine = refine
        self.rng = rng
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Samples,
        y: Sequence[Any] | NDArray[Any],
        strata: Sequence[Any] | NDArray[Any] | None = None,
    ) -> GroundMetricLearner:
        """Learn the metric.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample, dense or CSR, with at least two cells each.
        y
            Label of each sample, (n_samples,). Classes: at least two, with at least two samples each.
        strata
            Stratum of each sample, such as its batch or its donor, (n_samples,). Samples with different labels are
            compared within strata only, so that a difference between strata is not taken for one between labels.
            Samples with the same label are compared within and across strata.

        Returns
        -------
        The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If an argument, a sample or a label does not allow a fit. It is raised before any computation.
        """
        measures = as_measures(X, min_points=MIN_CELLS)
        targets, classes = as_targets(y, len(measures), self.label_kind, strata)
        options = training_options(self.get_params(deep=False), measures.n_features)
        rng = np.random.default_rng(self.rng)
        result = train(measures, targets, options, rng=rng, n_jobs=self.n_jobs)
        self.metric_: GroundMetric = result.metric
        self.components_ = result.metric.linear_map
        self.classes_ = classes
        self.loss_history_ = result.loss_history
        self.n_iter_ = len(result.loss_history)
        self.converged_ = result.converged
        self.gap_ = result.gap
        self.solver_: Solver = result.solver
        self.label_signal_ = float("nan") if result.signal is None else result.signal.strength
        self.label_p_value_ = float("nan") if result.signal is None else result.signal.p_value
        self.constant_features_ = result.constant
        self.n_features_in_ = measures.n_features
        self._training_samples = self._project(measures)
        self._training_targets = targets
        return self

    def transform(self, X: Samples) -> list[NDArray[np.float64]]:
        """Map cells to the learned space, where Euclidean distance is the ground metric.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample.

        Returns
        -------
        One (n_cells_i, n_components) array per sample.
        """
        projected = self._project(self._check(X))
        return [np.asarray(points) for points in projected.split()]

    def pairwise_distances(self, X: Samples, Y: Samples | None = None) -> NDArray[np.float64]:
        """Compute optimal-transport distances between samples under the learned metric, by the solver of the fit.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample.
        Y
            Samples to compare with; None compares the samples of `X` with one another.

        Returns
        -------
        Distances, (n_samples, n_samples) symmetric with zero diagonal, or (n_samples, n_samples_of_Y).
        """
        measures = self._project(self._check(X))
        other = None if Y is None else self._project(self._check(Y, "Y"))
        return self._distances(measures, other)

    def get_mahalanobis_matrix(self) -> NDArray[np.float64]:
        """Return `M` with `d(x, y)^2 = (x - y)^T M (x - y)` on raw features, (n_features, n_features)."""
        check_is_fitted(self)
        return self.metric_.mahalanobis_matrix()

    def score(self, X: Samples, y: Sequence[Any] | NDArray[Any], *, n_neighbors: int = 5) -> float:
        """Return how well the nearest training samples predict the labels of others.

        For classes, the accuracy of their majority vote; for ordinal and continuous labels, Spearman's rank
        correlation with their mean.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample, not from training.
        y
            Their labels, (n_samples,).
        n_neighbors
            Number of neighbours.
        """
        check.check_integer("n_neighbors", n_neighbors, minimum=1)
        measures = self._project(self._check(X))
        targets = self._training_targets
        labels = as_same_labels(y, len(measures), self.classes_ if targets.kind == "class" else targets.values)
        distances = self._distances(measures, self._training_samples)
        if targets.kind == "class":
            scores = class_scores(distances, targets.codes, rule="knn", n_neighbors=n_neighbors)
            return float((self.classes_[scores.argmax(axis=1)] == labels).mean())
        predicted = neighbor_means(distances, targets.values, n_neighbors=n_neighbors)
        constant = len(np.unique(predicted)) == 1  # no rank correlation is defined
        return 0.0 if constant else float(spearmanr(predicted, labels).statistic)

    def _check(self, X: Samples, name: str = "X") -> Measures:
        check_is_fitted(self)
        return as_measures(X, n_features=self.n_features_in_, name=name)

    def _distances(self, measures: Measures, other: Measures | None) -> NDArray[np.float64]:
        return pairwise_distances(
            measures, other, solver=self.solver_, n_jobs=self.n_jobs, progress="sample distances"
        )[0]

    def _project(self, measures: Measures) -> Measures:
        return self.metric_.project_measures(measures)


def check_labels(y: NDArray[Any], label_kind: LabelKind, strata: NDArray[Any] | None) -> None:
    """Refuse labels that `GroundMetricLearner.fit` would refuse."""
    as_targets(y, len(y), label_kind, strata)


def check_parameters(params: dict[str, Any], n_features: int) -> None:
    """Refuse parameters that `GroundMetricLearner.fit` would refuse."""
    training_options({**GroundMetricLearner().get_params(deep=False), **params}, n_features)
