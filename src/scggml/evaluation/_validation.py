"""Held-out accuracy of the learned metric beside Euclidean optimal transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._cross_validation import cross_validate, main_of, summary
from ._methods import named_methods

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd

    from scggml.estimators import GroundMetricLearner

    from ._held import Method
    from ._samples import Samples
    from ._splits import Split

LEARNED, EUCLIDEAN = "ggml", "euclidean"  # names of the methods in the table of predictions


@dataclass(frozen=True, eq=False)
class Validation:
    """Scores of held-out samples.

    Parameters
    ----------
    score
        "balanced_accuracy" of the classifier "class_mean", or "spearman", the rank correlation of "neighbors", for
        ordinal and continuous labels.
    value
        Score of the learned metric, of all held-out samples of a repeat together, averaged over repeats.
    ci_low, ci_high
        Its 95 % interval.
    euclidean
        Score of Euclidean optimal transport.
    only_learned, only_euclidean
        Discordant pairs: number of samples (or donors) that only the learned metric, or only Euclidean optimal
        transport, predicts correctly; for ordinal and continuous labels, more closely than the other.
    p_value
        Two-sided p-value of the sign test of these.
    separation, euclidean_separation
        Standardised held-out separation of the learned metric and of Euclidean optimal transport; NaN for ordinal and
        continuous labels.
    difference_low, difference_high
        95 % interval of their difference.
    n_splits
        Number of splits.
    n_predictions
        Number of predictions of each method: held-out samples, times repeats.
    n_correct
        Number of correct ones by method, "ggml" and "euclidean"; empty for ordinal and continuous labels.
    predictions
        Predictions of both methods by all classifiers, as from `cross_validate`.
    """

    score: str
    value: float
    ci_low: float
    ci_high: float
    euclidean: float
    only_learned: int
    only_euclidean: int
    p_value: float
    separation: float
    euclidean_separation: float
    difference_low: float
    difference_high: float
    n_splits: int
    n_predictions: int
    n_correct: dict[str, int]
    predictions: pd.DataFrame


def validation_methods(samples: Samples, learner: GroundMetricLearner) -> dict[str, Method]:
    """Return what is compared: the learner, not fitted, and Euclidean optimal transport."""
    return named_methods({LEARNED: learner, EUCLIDEAN: EUCLIDEAN}, samples=samples)


def validate(
    samples: Samples,
    learner: GroundMetricLearner,
    splits: Sequence[Split],
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Validation:
    """Score a learner, refitted within each fold, beside Euclidean optimal transport.

    Parameters
    ----------
    samples
        The samples.
    learner
        The learner, not fitted.
    splits
        Training and held-out samples.
    rng
        Source of the seed of each split.
    n_jobs
        Threads; the result does not depend on it.
    """
    methods = validation_methods(samples, learner)
    predictions, scores = cross_validate(samples, methods, splits, rng=rng, n_jobs=n_jobs)
    table = summary(predictions, scores, classes=list(samples.classes), baseline=EUCLIDEAN)
    classifier, score = main_of(samples.kind)
    row = table[(table["classifier"] == classifier) & (table["score"] == score)].set_index("method")
    judged = predictions[predictions["classifier"] == classifier]
    apart = table[table["score"] == "separation"].set_index("method").reindex([LEARNED, EUCLIDEAN])
    n_correct: dict[str, int] = {}
    if samples.kind == "class":
        is_correct = judged["predicted"] == judged["label"]
        n_correct = {name: int(is_correct[judged["method"] == name].sum()) for name in methods}
    return Validation(
        score=score,
        value=float(row["value"][LEARNED]),
        ci_low=float(row["ci_low"][LEARNED]),
        ci_high=float(row["ci_high"][LEARNED]),
        euclidean=float(row["value"][EUCLIDEAN]),
        only_learned=int(row["only_method"][LEARNED]),
        only_euclidean=int(row["only_baseline"][LEARNED]),
        p_value=float(row["p_value"][LEARNED]),
        separation=float(apart["value"][LEARNED]),
        euclidean_separation=float(apart["value"][EUCLIDEAN]),
        difference_low=float(apart["difference_low"][LEARNED]),
        difference_high=float(apart["difference_high"][LEARNED]),
        n_splits=len(splits),
        n_predictions=int((judged["method"] == LEARNED).sum()),
        n_correct=n_correct,
        predictions=predictions,
    )
