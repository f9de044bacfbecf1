"""Nested cross-validation of settings: scores are those of samples that had no part in the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ParameterGrid

from scggml import _check as check
from scggml.core.measures._progress import progress_bar
from scggml.estimators import GroundMetricLearner, check_parameters

from ._cross_validation import cross_validate, evaluate, main_of, main_score, split_seeds
from ._methods import Learned
from ._splits import Split, make_splits, units_of_classes

if TYPE_CHECKING:
    from ._held import Held
    from ._samples import Samples

METHOD = "ggml"  # name of the metric in the tables of predictions
_N_INNER_FOLDS = 3
_FIXED = {"label_kind", "rng", "n_jobs"}
# parameters of the parts that a learner is made of: parameter of the learner, class of the part
_PARTS = {
    ("refine", "Refinement"): (
        "start", "margin", "reg", "regularizer", "relative", "triplets", "minibatch", "lr", "max_iter", "tol",
    ),
    ("solver", "Sinkhorn"): ("reg", "debiased", "device"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tuned:
    """Result of a nested search.

    Parameters
    ----------
    outer
        One row per outer split: `repeat`, `fold`, `score` of its held-out samples (NaN where it is not defined),
        `inner_score` and number of the setting that was chosen without them.
    inner
        One row per outer split and setting: `repeat`, `fold`, `setting`, `inner_score`; `repeat` and `fold` are -1 for
        all samples.
    score_name
        "balanced_accuracy" for classes, else "spearman".
    score
        Score of all held-out samples of a repeat together, averaged over repeats.
    predictions
        Predictions of held-out samples under the chosen settings, as from `cross_validate`.
    settings
        The settings by number. All have values for the same parameters.
    best
        Number of the setting that is chosen on all samples.
    """

    outer: pd.DataFrame
    inner: pd.DataFrame
    score_name: str
    score: float
    predictions: pd.DataFrame
    settings: list[dict[str, Any]]
    best: int


@dataclass(frozen=True, eq=False)
class Chosen:
    """The learner with the setting that was chosen for each split."""

    learners: dict[tuple[int, int], Learned]

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        return self.learners[split.repeat, split.fold].held_out(samples, split, seed, n_jobs)


@dataclass(frozen=True, eq=False)
class Search:
    """All folds of a search, and the learners with its settings, checked before any work.

    Parameters
    ----------
    learners
        One for each setting.
    outer
        The outer splits, and one that trains with all samples, last.
    inner
        The inner splits of each of them.
    seeds
        Seed of each outer split but the last, as in `cross_validate`.
    rngs
        Source of the seeds of the inner splits, one for each of `outer`.
    """

    learners: list[Learned]
    outer: list[Split]
    inner: list[list[Split]]
    seeds: list[int]
    rngs: list[np.random.Generator]

    @classmethod
    def planned(
        cls, samples: Samples, settings: list[dict[str, Any]], splits: Sequence[Split], rng: np.random.Generator
    ) -> Search:
        """Return the search that `tune` makes with the same arguments, or say why it cannot be made."""
        defaults = GroundMetricLearner().get_params(deep=False)
        for setting in settings:
            check_parameters({**defaults, **setting, "label_kind": samples.kind}, samples.measures.n_features)
        learners = [Learned(METHOD, GroundMetricLearner(label_kind=samples.kind, **setting)) for setting in settings]
        outer = [*splits, Split(-1, -1, np.arange(len(samples)), np.arange(0))]
        seeds = split_seeds(rng, len(splits))  # first, as in cross_validate
        rngs = rng.spawn(2 * len(outer))
        inner = [_inner_splits(samples, split, child) for split, child in zip(outer, rngs[::2], strict=True)]
        learners[0].check(samples, splits)
        for split, within in zip(outer, inner, strict=True):
            learners[0].check(samples.take(split.train), within)
        return cls(learners, outer, inner, seeds, rngs[1::2])


def candidate_settings(grid: Any) -> list[dict[str, Any]]:
    """Return the settings of a grid. Their names are checked here, their values in `tune`.

    Parameters
    ----------
    grid
        A mapping from parameters of `GroundMetricLearner` to lists of values, of which all combinations are taken; or a
        list of dicts with one value per parameter. Parameters that a dict lacks have their defaults.
    """
    if isinstance(grid, Mapping) and grid:
        _check_names(grid, "grid")
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
                msg = f"grid[{name!r}] must be a list of values, found {check.shown(values)}."
                if hasattr(values, "rvs"):
                    msg += " Draw from distributions with grid=list(sklearn.model_selection.ParameterSampler(...))."
                raise ValueError(msg)
        settings = [dict(setting) for setting in ParameterGrid(grid)]
    elif isinstance(grid, list | tuple) and grid and all(isinstance(setting, Mapping) for setting in grid):
        for i, setting in enumerate(grid):
            _check_names(setting, f"grid[{i}]")
        settings = [dict(setting) for setting in grid]
    else:
        msg = (
            "grid must be a mapping from parameters of GroundMetricLearner to lists of values, or a list of dicts with "
            f"one value per parameter, found {check.shown(grid)}"
        )
        raise TypeError(msg)
    defaults = GroundMetricLearner().get_params(deep=False)
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    settings = [{name: setting.get(name, defaults[name]) for name in names} for setting in settings]
    for i, setting in enumerate(settings):
        if setting in settings[:i]:
            msg = (
                f"grid holds the same setting twice, at positions {settings.index(setting)} and {i}: {setting}. "
                "Leave one of them out."
            )
            raise ValueError(msg)
    return settings


def _check_names(setting: Mapping[Any, Any], text: str) -> None:
    """Refuse names that are no parameters of the learner."""
    known = set(GroundMetricLearner().get_params(deep=False)) - _FIXED
    unknown = [str(name) for name in setting if name not in known]
    if not unknown:
        return
    msg = f"{text} has {check.listed(unknown)}, which cannot be tuned as such."
    for (parameter, part), names in _PARTS.items():
        inside = [name for name in unknown if name in names]
        if inside and parameter in known:
            values = ", ".join(f"{name}=..." for name in inside)
            msg += f' {check.listed(inside)} of {part} is written {{"{parameter}": [{part}({values}), ...]}}.'
    msg += f" Parameters of GroundMetricLearner to tune: {check.listed(sorted(known), limit=None)}."
    raise ValueError(msg)


def tune(
    samples: Samples,
    settings: list[dict[str, Any]],
    splits: Sequence[Split],
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Tuned:
    """Choose a setting with the training samples of each split, and score it on the held-out samples.

    Settings are scored by three stratified inner folds of the training samples, or fewer if a class has fewer samples
    or donors. The best score wins, and the first of equal ones. With one setting, predictions are those of
    `cross_validate` with the same splits and generator.

    Parameters
    ----------
    samples
        The samples. Those of one donor are held out together, in inner splits too.
    settings
        Parameters of `GroundMetricLearner` to choose from, as from `candidate_settings`.
    splits
        Outer splits.
    rng
        Source of the seeds of the splits, and of inner folds.
    n_jobs
        Threads; the result does not depend on it.
    """
    search = Search.planned(samples, settings, splits, rng)
    inner: list[list[Any]] = []
    best: list[tuple[int, float]] = []
    total = sum(len(found) for found in search.inner) * len(settings)
    with progress_bar(total, "tuning", "fit") as bar:
        for split, child, within in zip(search.outer, search.rngs, search.inner, strict=True):
            train, seed = samples.take(split.train), int(child.integers(2**31))
            scores = []
            for learner in search.learners:
                table, _ = cross_validate(
                    train, {METHOD: learner}, within, rng=np.random.default_rng(seed), n_jobs=n_jobs
                )
                scores.append(main_score(table, train))
                bar.update(len(within))
            inner.extend([split.repeat, split.fold, i, value] for i, value in enumerate(scores))
            i = int(np.argmax(scores))
            best.append((i, scores[i]))
    chosen = {(split.repeat, split.fold): search.learners[i] for split, (i, _) in zip(splits, best, strict=False)}
    predictions, _ = evaluate(samples, {METHOD: Chosen(chosen)}, splits, search.seeds, n_jobs=n_jobs)
    outer = []
    for split, (i, inner_score) in zip(splits, best, strict=False):
        held = predictions[(predictions["repeat"] == split.repeat) & (predictions["fold"] == split.fold)]
        outer.append([split.repeat, split.fold, main_score(held, samples), inner_score, i])
    return Tuned(
        outer=pd.DataFrame(outer, columns=["repeat", "fold", "score", "inner_score", "setting"]),
        inner=pd.DataFrame(inner, columns=["repeat", "fold", "setting", "inner_score"]),
        score_name=main_of(samples.kind)[1],
        score=main_score(predictions, samples),
        predictions=predictions,
        settings=settings,
        best=best[-1][0],
    )


def _inner_splits(samples: Samples, split: Split, rng: np.random.Generator) -> list[Split]:
    """Return splits of the training samples."""
    train = samples.take(split.train)
    labels = train.stratify_by()
    n_folds = min(_N_INNER_FOLDS, *units_of_classes(labels, train.units).values())
    try:
        return make_splits(labels, train.donors, cv=n_folds, rng=rng)
    except ValueError as error:
        where = "all samples" if split.fold < 0 else f"the training samples of repeat {split.repeat}, fold {split.fold}"
        what = "samples" if samples.donors is None else "donors"
        msg = (
            f"{where} do not suffice for inner folds: {error} Tuning needs more {what} of each class, or fewer classes."
        )
        raise ValueError(msg) from error
