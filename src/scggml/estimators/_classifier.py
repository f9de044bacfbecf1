"""Classification of samples by optimal-transport distances to labelled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from scggml import _check as check
from scggml.core._neighbors import RULES, class_scores
from scggml.core.transport._distances import pairwise_distances

from ._checks import as_labels, as_measures
from ._ground_metric import MIN_CELLS, GroundMetricLearner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._ground_metric import Samples


class OTNeighborsClassifier(ClassifierMixin, BaseEstimator):
    """Classify samples by their nearest neighbours in optimal-transport distance.

    Parameters
    ----------
    learner
        The metric: None learns one with the defaults of :class:`GroundMetricLearner` (for principal components pass
        `GroundMetricLearner(scale="global")`), an unfitted learner is cloned and
        fitted to the training samples, and "euclidean" compares cells by Euclidean distance on raw features.
    rule
        "class_mean" picks the class with the smallest mean distance to its nearest samples: `n_neighbors` of the largest class
        and the same fraction of the others, so that large classes are not favoured for their size; but at least one, so that
        classes with less than a quarter of the samples of the largest still are at a disadvantage with 3. "knn" picks the most frequent class among the `n_neighbors` nearest samples; a tie
        goes to the class of the nearest.
    n_neighbors
        Number of neighbours.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    learner_ : GroundMetricLearner or None
        The fitted metric; None for "euclidean".
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
        check.check_choice("rule", self.rule, RULES)
        check.check_integer("n_neighbors", self.n_neighbors, minimum=1)
        check.check_jobs(self.n_jobs)
        learner = GroundMetricLearner(n_jobs=self.n_jobs) if self.learner is None else self.learner
        measures = as_measures(X, min_points=MIN_CELLS if isinstance(learner, GroundMetricLearner) else 1)
        labels = as_labels(y, len(measures))
        if isinstance(learner, GroundMetricLearner):
            self.learner_: GroundMetricLearner | None = clone(learner).fit(measures, labels)
        elif isinstance(learner, str) and learner == "euclidean":
            check.check_classes(labels, name="y")
            self.learner_ = None
        else:
            msg = f"learner must be a GroundMetricLearner, 'euclidean' or None, found {learner!r}"
            raise TypeError(msg)
        self.n_features_in_ = measures.n_features
        self.classes_, self._codes = np.unique(labels, return_inverse=True)
        self._samples = self._project(measures)
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

    def _scores(self, X: Samples) -> NDArray[np.float64]:
        check_is_fitted(self)
        measures = self._project(as_measures(X, n_features=self.n_features_in_))
        distances = pairwise_distances(measures, self._samples, n_jobs=self.n_jobs)[0]
        return class_scores(distances, self._codes, rule=self.rule, n_neighbors=self.n_neighbors)

    def _project(self, measures: Measures) -> Measures:
        return (
            measures if self.learner_ is None else measures.with_points(self.learner_.metric_.project(measures.points))
        )
