"""Classification of samples by optimal-transport distances to labelled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from scggml import _check as check
from scggml._arguments import SHARED, check_all, choice, integer
from scggml.core._neighbors import RULES, class_scores, neighbor_shares
from scggml.core._probabilities import class_probabilities, fit_inverse_temperature, relative_class_scores
from scggml.core.measures._progress import progress_bar
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._solvers import Exact

from ._checks import as_labels, as_measures, as_same_labels, as_weights, check_classes
from ._ground_metric import MIN_CELLS, GroundMetricLearner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scggml._arguments import Rule
    from scggml.core.measures._measures import Measures

    from ._ground_metric import Samples

_N_FOLDS = 5  # of the samples that probabilities are calibrated on
_MIN_CALIBRATION = 3  # samples of a class: two are left to learn from without one fold


def _check_learner(name: str, learner: Any) -> None:
    if not (
        learner is None
        or isinstance(learner, GroundMetricLearner)
        or (isinstance(learner, str) and learner == "euclidean")
    ):
        msg = f"{name} must be a GroundMetricLearner, 'euclidean' or None, found {check.shown(learner)}"
        raise TypeError(msg)


_PARAMETERS: dict[str, Rule] = {
    "learner": _check_learner,
    "rule": choice(*RULES),
    "n_neighbors": integer(1),
    "n_jobs": SHARED["n_jobs"],
}


class OTNeighborsClassifier(ClassifierMixin, BaseEstimator):
    """Classify samples by their nearest neighbours in optimal-transport distance.

    Parameters
    ----------
    learner
        The metric. None learns one with the defaults of :class:`GroundMetricLearner` (for principal components pass
        `GroundMetricLearner(scale="global")`). An unfitted learner is cloned and fitted to the training samples; its
        solver also computes the distances to new samples. "euclidean" compares cells by Euclidean distance on raw
        features.
    rule
        "class_mean" predicts the class with the smallest mean distance to its nearest samples: to `n_neighbors` of
        the largest class and the same fraction of the others, at least one, so that large classes are not favoured
        for their size. "knn" predicts the most frequent class among the `n_neighbors` nearest samples; ties go to the
        class of the nearest sample.
    n_neighbors
        Number of neighbours.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    learner_ : GroundMetricLearner or None
        The fitted metric; None for "euclidean".
    inverse_temperature_ : float
        Of the softmax that gives the probabilities of rule "class_mean"; set by the first call of `predict_proba`.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from scggml import OTNeighborsClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["healthy", "disease"], 6)
    >>> X = [rng.normal(size=(40, 3)) + [2.0 * (label == "disease"), 3 * rng.normal(), 0] for label in y]
    >>> OTNeighborsClassifier().fit(X[::2], y[::2]).score(X[1::2], y[1::2])
    1.0
    """

    def __init__(
        self,
        learner: GroundMetricLearner | Literal["euclidean"] | None = None,
        *,
        rule: Literal["class_mean", "knn"] = "class_mean",
        n_neighbors: int = 3,
        n_jobs: int | None = None,
    ) -> None:
        self.learner = learner
        self.rule = rule
        self.n_neighbors = n_neighbors
        self.n_jobs = n_jobs

    def fit(self, X: Samples, y: Sequence[Any] | NDArray[Any]) -> OTNeighborsClassifier:
        """Fit the metric and keep the training samples.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample.
        y
            Class of each sample, (n_samples,).

        Returns
        -------
        The fitted classifier.
        """
        check_all(self.get_params(deep=False), _PARAMETERS)
        learner = GroundMetricLearner(n_jobs=self.n_jobs) if self.learner is None else self.learner
        measures = as_measures(X, min_points=MIN_CELLS if isinstance(learner, GroundMetricLearner) else 1)
        labels = as_labels(y, len(measures))
        _check_classification(labels, learner)
        if isinstance(learner, GroundMetricLearner):
            self.learner_: GroundMetricLearner | None = clone(learner).fit(measures, labels)
        else:
            check_classes(labels)
            self.learner_ = None
        self.n_features_in_ = measures.n_features
        self.classes_, self._codes = np.unique(labels, return_inverse=True)
        self._measures, self._samples = measures, _projected(measures, self.learner_)
        self.__dict__.pop("inverse_temperature_", None)  # of an earlier fit
        return self

    def decision_function(self, X: Samples) -> NDArray[np.float64]:
        """Return how well each class fits: minus a mean distance ("class_mean") or a share of votes ("knn").

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample.

        Returns
        -------
        Scores, (n_samples, n_classes); for two classes their difference, (n_samples,), positive for `classes_[1]`.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Samples) -> NDArray[Any]:
        """Return the class of each sample, (n_samples,).

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample.
        """
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Samples) -> NDArray[np.float64]:
        """Return the probability of each class, (n_samples, n_classes), in the order of `classes_`.

        Rule "knn": the share of the class among the nearest training samples. Rule "class_mean": the softmax of the
        mean distances to the classes, relative to their mean over classes. Its inverse temperature is fitted to
        held-out training samples: the first call splits them into at most five stratified folds, and refits the
        metric without each fold. All classes are equally likely if distances do not predict the classes of held-out
        samples.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample.

        Raises
        ------
        ValueError
            If the rule is "class_mean" and a class has fewer than three training samples.
        """
        distances = self._distances(X)
        if self.rule == "knn":
            return neighbor_shares(distances, self._codes, n_neighbors=self.n_neighbors)
        if not hasattr(self, "inverse_temperature_"):
            self.inverse_temperature_ = fit_inverse_temperature(self._held_out_scores(), self._codes)
        scores = relative_class_scores(distances, self._codes, n_neighbors=self.n_neighbors)
        return class_probabilities(scores, self.inverse_temperature_)

    def score(
        self, X: Samples, y: Sequence[Any] | NDArray[Any], sample_weight: NDArray[np.floating] | None = None
    ) -> float:
        """Return the accuracy of the predicted classes.

        Parameters
        ----------
        X
            One (n_cells_i, n_features) array per sample.
        y
            Their classes, (n_samples,), text or numbers as in training.
        sample_weight
            Weight of each sample in the mean, (n_samples,). None weighs all alike.
        """
        check_is_fitted(self)
        measures = as_measures(X, n_features=self.n_features_in_)
        labels = as_same_labels(y, len(measures), self.classes_)
        if sample_weight is not None:
            sample_weight = as_weights(sample_weight, len(measures))
        return float(np.average(self.predict(measures) == labels, weights=sample_weight))

    def _scores(self, X: Samples) -> NDArray[np.float64]:
        return class_scores(self._distances(X), self._codes, rule=self.rule, n_neighbors=self.n_neighbors)

    def _distances(self, X: Samples) -> NDArray[np.float64]:
        check_is_fitted(self)
        measures = _projected(as_measures(X, n_features=self.n_features_in_), self.learner_)
        return _transport(measures, self._samples, self.learner_, self.n_jobs)

    def _held_out_scores(self) -> NDArray[np.float64]:
        """Return the scores of each training sample, with its fold held out, (n_samples, n_classes)."""
        counts = np.bincount(self._codes)
        if counts.min() < _MIN_CALIBRATION:
            few = check.listed(self.classes_[counts < _MIN_CALIBRATION])
            msg = (
                f"predict_proba with rule='class_mean' needs at least {_MIN_CALIBRATION} training samples of each "
                f"class to calibrate probabilities on held-out samples, found fewer in {few}. Add samples, merge "
                "classes, or pass rule='knn'."
            )
            raise ValueError(msg)
        scores = np.empty((len(self._codes), len(counts)))
        folds = StratifiedKFold(min(_N_FOLDS, int(counts.min())))
        with progress_bar(folds.get_n_splits(), "held-out training samples", "fold") as bar:
            for train, test in folds.split(self._codes, self._codes):
                learner = None
                if self.learner_ is not None:
                    learner = clone(self.learner_).fit(self._measures.take(train), self.classes_[self._codes[train]])
                known, new = (_projected(self._measures.take(rows), learner) for rows in (train, test))
                distances = _transport(new, known, learner, self.n_jobs)
                scores[test] = relative_class_scores(distances, self._codes[train], n_neighbors=self.n_neighbors)
                bar.update()
        return scores


def _check_classification(labels: NDArray[Any], learner: Any) -> None:
    """Refuse numbers that are no classes."""
    cut = "Cut them into classes, for example with pandas.cut"
    if type_of_target(labels).startswith("continuous"):
        msg = (
            f"y must hold classes, found numbers with fractions, such as {check.shown(labels[labels % 1 != 0][0])}. "
            f"{cut}, or learn a metric with GroundMetricLearner(label_kind='continuous')."
        )
        raise ValueError(msg)
    if getattr(learner, "label_kind", None) == "continuous":
        msg = f"learner must have label_kind='class' or 'ordinal' to predict classes, found 'continuous'. {cut}."
        raise ValueError(msg)


def _projected(measures: Measures, learner: GroundMetricLearner | None) -> Measures:
    return measures if learner is None else learner.metric_.project_measures(measures)


def _transport(
    measures: Measures, known: Measures, learner: GroundMetricLearner | None, n_jobs: int | None
) -> NDArray[np.float64]:
    solver = Exact() if learner is None else learner.solver_
    return pairwise_distances(measures, known, solver=solver, n_jobs=n_jobs)[0]
