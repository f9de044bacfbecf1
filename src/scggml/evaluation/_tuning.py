"""Nested search of settings: what is reported was never selected on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ParameterGrid, ParameterSampler
from tqdm.auto import tqdm

from scggml import _check as check
from scggml.estimators import GroundMetricLearner

from ._cross_validation import cross_validate, decoded
from ._methods import Learned
from ._scores import label_scores
from ._splits import Split, make_splits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._samples import Samples

CLASSIFIER = "class_mean"


@dataclass(frozen=True, eq=False)
class Tuned:
    """Result of a nested search.

    Parameters
    ----------
    outer
        One row per outer split: `repeat`, `fold`, `score` of its held-out samples, `inner_score` and number of the setting that
        was chosen without them.
    inner
        One row per outer split and setting: `repeat`, `fold`, `setting`, `inner_score`; -1 for all samples.
    score
        Of all held-out samples of a repeat together, mean over repeats.
    settings
        The settings, by number.
    best
        Number of the setting that is chosen on all samples.
    """

    outer: pd.DataFrame
    inner: pd.DataFrame
    score: float
    settings: list[dict[str, Any]]
    best: int


def candidate_settings(grid: Any, n_iter: int | None, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return the settings of a grid, or `n_iter` drawn from it, each checked to be parameters of the learner."""
    if not isinstance(grid, Mapping) or not grid:
        msg = f"grid must be a mapping from parameters of GroundMetricLearner to lists of values, found {grid!r}"
        raise TypeError(msg)
    known = set(GroundMetricLearner().get_params()) - {"label_kind", "rng", "n_jobs"}
    unknown = [str(name) for name in grid if name not in known]
    if unknown:
        msg = f"grid has {check.listed(unknown)}, which GroundMetricLearner does not know. Found: {check.listed(sorted(known), limit=None)}"
        raise ValueError(msg)
    drawable = {name for name, values in grid.items() if hasattr(values, "rvs")}
    if n_iter is None and drawable:
        msg = (
            f"grid has a distribution for {check.listed(sorted(drawable))}: pass n_iter, the number of settings to draw"
        )
        raise ValueError(msg)
    for name, values in grid.items():
        if name not in drawable and (
            isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values)
        ):
            msg = f"grid[{name!r}] must be a list of values or a distribution, found {values!r}"
            raise ValueError(msg)
    if n_iter is None:
        return list(ParameterGrid(grid))
    check.check_integer("n_iter", n_iter, minimum=1)
    return list(ParameterSampler(grid, n_iter, random_state=int(rng.integers(2**31))))


def tune(
    samples: Samples,
    settings: list[dict[str, Any]],
    splits: Sequence[Split],
    *,
    inner_cv: Any,
    score: str,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Tuned:
    """Choose a setting inside the training samples of each split, and score it on its held-out samples.

    Parameters
    ----------
    samples
        The samples; those of one group are held out together, in inner splits too.
    settings
        What to choose from: parameters of `GroundMetricLearner`.
    splits
        Outer splits.
    inner_cv
        Inner splits, as in `make_splits`.
    score
        What the setting is chosen by: the largest wins, the first of equals.
    rng
        Source of inner folds and random settings.
    n_jobs
        Threads; the result does not depend on it.
    """
    everything = Split(-1, -1, np.arange(len(samples)), np.arange(0))
    all_splits = [*splits, everything]
    rngs = rng.spawn(2 * len(all_splits))
    # inner folds are made before any work, so that those that cannot be made stop it
    inner_splits = [
        make_splits(
            samples.labels[s.train], None if samples.groups is None else samples.groups[s.train], cv=inner_cv, rng=child
        )
        for s, child in zip(all_splits, rngs[::2], strict=True)
    ]
    learned = Learned("tuned", GroundMetricLearner())
    learned.check(samples, splits)
    for split, within in zip(all_splits, inner_splits, strict=True):
        learned.check(samples.take(split.train), within)
    seeds = [int(child.integers(2**31)) for child in rngs[1::2]]
    inner: list[list[Any]] = []
    best: list[int] = []
    total = sum(len(found) for found in inner_splits) * len(settings)
    with tqdm(total=total, desc="tuning", unit="fit", delay=2, disable=None) as bar:
        for split, seed, within in zip(all_splits, seeds, inner_splits, strict=True):
            train = samples.take(split.train)
            scores = []
            for setting in settings:
                table = _predictions(train, setting, within, seed, n_jobs)
                scores.append(_score(table, samples.classes, score))
                bar.update(len(within))
            inner.extend([split.repeat, split.fold, i, value] for i, value in enumerate(scores))
            best.append(int(np.argmax(scores)))
    outer: list[list[Any]] = []
    held_out: list[pd.DataFrame] = []
    for split, seed, chosen in zip(splits, seeds, best, strict=False):
        table = _predictions(samples, settings[chosen], [split], seed, n_jobs)
        held_out.append(table)
        found = next(row[3] for row in inner if row[:3] == [split.repeat, split.fold, chosen])
        outer.append([split.repeat, split.fold, _score(table, samples.classes, score), found, chosen])
    repeats = pd.concat(held_out).groupby("repeat")
    return Tuned(
        pd.DataFrame(outer, columns=["repeat", "fold", "score", "inner_score", "setting"]),
        pd.DataFrame(inner, columns=["repeat", "fold", "setting", "inner_score"]),
        float(np.mean([_score(table, samples.classes, score) for _, table in repeats])),
        settings,
        best[-1],
    )


def _predictions(
    samples: Samples, setting: dict[str, Any], splits: Sequence[Split], seed: int, n_jobs: int | None
) -> pd.DataFrame:
    """Return what a setting predicts of the held-out samples of splits."""
    methods = {"tuned": Learned("tuned", GroundMetricLearner(**setting))}
    table, _ = cross_validate(samples, methods, splits, rng=np.random.default_rng(seed), n_jobs=n_jobs, progress=False)
    return table[table["classifier"] == CLASSIFIER]


def _score(table: pd.DataFrame, classes: NDArray[np.object_], score: str) -> float:
    """Return the score of predictions, all taken together; the accuracy where they are of one class."""
    found = label_scores(*decoded(table, list(classes)))
    return found.get(score, found["accuracy"])
