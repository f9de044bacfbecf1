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
from scggml.core.transport._distances import Entropic, pairwise_distances

from ._checks import as_labels, as_measures, as_targets, training_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._ground_metric import GroundMetric
    from scggml.core.metric._objective import Regularizer
    from scggml.core.metric._problem import Solver
    from scggml.core.metric._targets import LabelKind

    Samples = Sequence[NDArray[np.floating] | sp.csr_array] | Measures

MIN_CELLS = 2


class GroundMetricLearner(TransformerMixin, BaseEstimator):
    r"""Learn the ground metric under which optimal transport separates classes of samples :cite:p:`kuehn2025`.

    A sample is a cloud of cells. From one class per sample, a linear map `W` is learned such that the Wasserstein-1
    distance between samples with ground metric :math:`\|W(x - y)\|_2` between cells is small within classes and large
    between them. Transport plans between all training samples give `W` in closed form: with the second moments
    :math:`S_b` and :math:`S_w` of transported differences between and within classes, each class counting alike,

    .. math:: W^\top W \propto S_w^{-w/2} \left(S_w^{-1/2} S_b S_w^{-1/2}\right)^p S_w^{-w/2},

    with `power` :math:`p` and `whitening` :math:`w`. With `max_iter` above 1, gradient steps then lower the hinge loss over
    triplets (anchor :math:`j`, positive :math:`i` of the same class, negative :math:`k` of another)

    .. math:: \operatorname{mean} \max(0, D_{ij} - D_{jk} + \text{margin}) + \text{reg} \cdot R(W)

    until objective and metric settle. By default they do not: refined to the end, metrics of small cohorts fitted the
    training samples better and held-out samples worse. The paper's algorithm is
    `GroundMetricLearner(n_comps=5, scale=None, init="random", relative=False, margin=10, reg=0.1,
    regularizer="max_column_sum", triplets=4, batch_size=128, refine_cells=None, max_iter=30, tol=0)`.

    Parameters
    ----------
    label_kind
        What labels are: "class"; "ordinal", grades in an order, given as numbers of which only the order counts; or "continuous",
        numbers. Of ordered labels, :math:`S_w` takes pairs with like labels and :math:`S_b` the others as much as they are apart,
        the closed form looks at what is longer between these than within (`R - 0.5 I` in the place of the ratio `R` of
        moments, as with batches), and triplets are those with :math:`|y_i - y_j| < |y_j - y_k|`, with margins that grow with the
        difference.
    n_comps
        Upper bound on the number of components, at most the number of features; None stands for 50. The discriminant
        start drops directions that weigh next to nothing.
    scale
        Unit of the features: "feature" divides each by its standard deviation, "global" all by one number, None leaves
        them as they are. The scale is part of the metric, which acts on raw features. "auto" is "feature" here; in
        :func:`scggml.tl.fit_metric` it depends on the representation. For principal components pass "global": their variances
        mean something.
    init
        "discriminant" for the closed form, "random" for uniform entries in (-1, 1) as in the paper.
    n_sweeps
        Number of times that plans and closed form are computed in turn. More than one helps where the Euclidean plans
        mislead, and overfits small cohorts.
    ridge
        Shrinkage of :math:`S_w`: this fraction of its mean variance is added to every direction. "auto" is 0.03 + 3 d / N for
        d features and N cells.
    power
        Exponent of the ratio of moments; larger values concentrate the metric on fewer directions.
    whitening
        Between 0 and 1. Without ridge, classes that do not differ give the Euclidean metric back with 0, and the Mahalanobis
        metric of the within-class moments with 1.
    margin
        Required difference of distances, in median distances or, with `relative=False`, in units of the distance.
    reg
        Weight of the regulariser.
    regularizer
        Norm of the components: "frobenius", "l1", "l21" (norms of whole features), "nuclear", or "max_column_sum".
    relative
        Whether margin, regulariser and step size are relative to the median distance, the norm and the size of the
        start. The objective then does not depend on the unit of the data.
    triplets
        "all", a number t for t random positives per anchor combined with t random negatives of each other class, or
        "auto": all where these are at most 500,000, else t = 10. The closed form uses the pairs of these triplets.
    batch_size
        Number of triplets per step, with exact plans at each step, as in the paper; None for steps on all triplets with
        10 steps per exact solve.
    lr
        Step size of Adam, with `relative` in root mean squares of the start's entries.
    solver
        How transport is solved, in training and in the distances afterwards: "exact"; "sinkhorn" for the entropic value, the
        least :math:`\langle P, C\rangle + \varepsilon\,\mathrm{KL}(P \mid a b^\top)`, batched in torch; "sinkhorn_divergence" for
        the same without its bias. Entropic plans are dense and are not for more than 3,000 features.
    sinkhorn_reg
        Entropic strength :math:`\varepsilon` in units of the root mean squared distance between two cells under the start of
        the metric. One number for all pairs, fixed from then on.
    device
        Where entropic problems are solved, "cpu" or "cuda"; None takes a GPU if there is one.
    max_cells
        At most this many cells of each sample, evenly spaced in stored order, take part in the closed form; None takes all.
        "auto" takes all unless a sweep would need more than 10^10 ground costs (some minutes on two cores) or, with more
        than 3,000 features, more than 3 x 10^7 stored values. Distances are always between all cells.
    refine_cells
        Gradient steps see at most this many cells of each sample, evenly spaced in stored order; None for all. The
        closed form always sees all cells.
    max_iter
        Upper bound on evaluations of the objective on newly solved plans (epochs with `batch_size`). With 1, the metric
        is the start, unless there is a `batch_size`; some 50 let the refinement settle.
    tol
        Training stops when an iteration lowers the objective by less than this fraction and turns the metric by
        less than ten times this.
    rng
        Seed or generator for the random start, sampled triplets and batches.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.

    Attributes
    ----------
    metric_ : GroundMetric
        Components on scaled features and their scale.
    components_ : ndarray of shape (n_components, n_features)
        The linear map on raw features: `transform(X)[i] = X[i] @ components_.T`.
    classes_ : ndarray of shape (n_classes,)
        Classes, or grades in their order; empty for numbers.
    loss_history_ : ndarray of shape (n_iter,)
        Objective on newly solved plans, (n_iter,); the first value is that of the start.
    n_iter_ : int
        Number of these values.
    converged_ : bool
        Whether objective and metric settled before `max_iter`; the closed form without refinement counts as settled.
    epsilon_ : float or None
        Entropic strength in the unit of the metric's distances; None for the exact solver.
    gap_ : float
        Largest relative duality gap of the transport problems behind the best loss: how exact they are.
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
        rng: int | np.random.Generator | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.label_kind = label_kind
        self.n_comps = n_comps
        self.scale = scale
        self.init = init
        self.n_sweeps = n_sweeps
        self.ridge = ridge
        self.power = power
        self.whitening = whitening
        self.margin = margin
        self.reg = reg
        self.regularizer = regularizer
        self.relative = relative
        self.triplets = triplets
        self.batch_size = batch_size
        self.lr = lr
        self.solver = solver
        self.sinkhorn_reg = sinkhorn_reg
        self.device = device
        self.max_cells = max_cells
        self.refine_cells = refine_cells
        self.max_iter = max_iter
        self.tol = tol
        self.rng = rng
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Samples,
        y: Sequence[Any] | NDArray[Any],
        batches: Sequence[Any] | NDArray[Any] | None = None,
    ) -> GroundMetricLearner:
        """Learn the metric.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample, dense or CSR, with at least two cells each.
        y
            Class of each sample, (n_samples,), at least two classes with at least two samples each; or its grade, or number.
        batches
            Batch, or donor, of each sample, (n_samples,). Samples with different labels are then compared within batches only, so
            that a difference between batches does not pass for one between labels; those with the same label also across.

        Returns
        -------
        The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If an argument, a sample or a class does not allow a fit; before any work is done.
        """
        measures = as_measures(X, min_points=MIN_CELLS)
        targets, classes = as_targets(y, len(measures), self.label_kind, batches)
        options = training_options(self.get_params(deep=False), measures.n_features)
        check.check_jobs(self.n_jobs)
        rng = check.check_random_generator(self.rng)
        result = train(measures, targets, options, rng=rng, n_jobs=self.n_jobs)
        self.metric_: GroundMetric = result.metric
        self.components_ = result.metric.linear_map
        self.classes_ = classes
        self.loss_history_ = result.loss_history
        self.n_iter_ = len(result.loss_history)
        self.converged_ = result.converged
        self.gap_ = result.gap
        self.epsilon_ = result.epsilon
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

        For classes, the accuracy of their majority vote; for ordered labels, Spearman's rank correlation with their mean.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample, other than the training samples.
        y
            Their labels, (n_samples,).
        n_neighbors
            Number of neighbours.
        """
        check.check_integer("n_neighbors", n_neighbors, minimum=1)
        measures = self._project(self._check(X))
        labels = as_labels(y, len(measures))
        distances = self._distances(measures, self._training_samples)
        targets = self._training_targets
        if targets.kind == "class":
            scores = class_scores(distances, targets.codes, rule="knn", n_neighbors=n_neighbors)
            return float((self.classes_[scores.argmax(axis=1)] == labels).mean())
        predicted = neighbor_means(distances, targets.values, n_neighbors=n_neighbors)
        constant = len(np.unique(predicted)) == 1  # says nothing
        return 0.0 if constant else float(spearmanr(predicted, labels).statistic)

    def _check(self, X: Samples, name: str = "X") -> Measures:
        check_is_fitted(self)
        return as_measures(X, n_features=self.n_features_in_, name=name)

    def _distances(self, measures: Measures, other: Measures | None) -> NDArray[np.float64]:
        entropic = None
        if self.epsilon_ is not None:
            entropic = Entropic(self.epsilon_, self.solver == "sinkhorn_divergence", self.device)
        return pairwise_distances(measures, other, entropic=entropic, n_jobs=self.n_jobs)[0]

    def _project(self, measures: Measures) -> Measures:
        return measures.with_points(self.metric_.project(measures.points))


def check_labels(y: NDArray[Any], label_kind: LabelKind, batches: NDArray[Any] | None) -> None:
    """Refuse labels that `GroundMetricLearner.fit` would refuse."""
    as_targets(y, len(y), label_kind, batches)


def check_parameters(params: dict[str, Any], n_features: int) -> None:
    """Refuse parameters that `GroundMetricLearner.fit` would refuse."""
    training_options({**GroundMetricLearner().get_params(deep=False), **params}, n_features)
