"""Methods side by side on the same held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml.core._neighbors import class_scores, neighbor_means
from scggml.core._probabilities import N_NEIGHBORS, relative_class_scores
from scggml.core.measures._progress import progress_bar

from ._held_out_separation import log_ratios, separation, separation_interval
from ._intervals import auc_interval, label_intervals, mean_interval, rank_interval, share_interval, sign_test
from ._methods import Called, Learned
from ._scores import LABEL_SCORES, cluster_scores, label_scores, one_against_rest_auc, value_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from scggml.core.metric._targets import LabelKind

    from ._held import Held, Method
    from ._samples import Samples
    from ._splits import Split

CLASSIFIERS = {"class_mean": N_NEIGHBORS, "knn": 5}  # and their numbers of neighbours
REGRESSION = "neighbors"
BATCHES = "batch"  # takes the column of the classifier for predictions of the batch
CLUSTERS = "clusters"  # for scores of clusterings
DISTANCES = "distances"  # and for scores of the distances themselves
LOGISTIC, RIDGE = "logistic", "ridge"
OF_PROFILES = (LOGISTIC, RIDGE)  # regressions on profiles, which methods of distances do not have
MAIN = ("class_mean", "balanced_accuracy")  # the classifier and the score of classes by which methods are judged
MAIN_ORDERED = (REGRESSION, "spearman")  # and those of ordinal and continuous labels
_CLASS = "score_"
_ROUNDING = 1e-9


def cross_validate(
    samples: Samples,
    methods: Mapping[str, Method],
    splits: Sequence[Split],
    *,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate each method on each split.

    Parameters
    ----------
    samples
        The samples.
    methods
        Methods by name, as from `named_methods`.
    splits
        Training and held-out samples.
    rng
        Source of the seed of each split.
    n_jobs
        Threads; the result does not depend on it.

    Returns
    -------
    Predictions: one row per method, classifier, split and held-out sample. Scores: one row per method, classifier,
    split and score that is defined there.
    """
    return evaluate(samples, methods, splits, split_seeds(rng, len(splits)), n_jobs=n_jobs)


def check_methods(samples: Samples, methods: Mapping[str, Method], splits: Sequence[Split]) -> None:
    """Refuse methods that cannot learn without the samples of some split."""
    for method in methods.values():
        if isinstance(method, Learned):
            method.check(samples, splits)


def split_seeds(rng: np.random.Generator, n_splits: int) -> list[int]:
    """Return the seed of each split."""
    return [int(child.integers(2**31)) for child in rng.spawn(n_splits)]


def evaluate(
    samples: Samples,
    methods: Mapping[str, Method],
    splits: Sequence[Split],
    seeds: Sequence[int],
    *,
    n_jobs: int | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return predictions and scores as `cross_validate`, from the seed of each split."""
    check_methods(samples, methods, splits)
    # what is learned or called comes first, so that errors of the user's functions show before the long work
    order = sorted(methods, key=lambda name: not isinstance(methods[name], Called | Learned))
    predictions, scores = [], []
    with progress_bar(len(splits) * len(methods), "cross-validation", "fit") as bar:
        for split, seed in zip(splits, seeds, strict=True):
            for name in order:
                held = methods[name].held_out(samples, split, seed, n_jobs)
                for table, found in _evaluated(held, samples, split):
                    predictions.append(table.assign(method=name))
                    scores.extend(_score_rows(name, table["classifier"].iloc[0], split, found))
                if held.within is not None and samples.kind != "continuous":
                    found = cluster_scores(samples.codes[split.test], held.within)
                    scores.extend(_score_rows(name, CLUSTERS, split, found))
                bar.update()
    columns = ["method", "classifier", "repeat", "fold", "score", "value"]
    rank = {name: i for i, name in enumerate(methods)}

    def by_method(table: pd.DataFrame) -> pd.DataFrame:
        table = table.sort_values("method", key=lambda c: c.map(rank), kind="stable").reset_index(drop=True)
        return table[["method", *table.columns.drop("method")]]

    return by_method(pd.concat(predictions, ignore_index=True)), by_method(pd.DataFrame(scores, columns=columns))


def main_of(kind: LabelKind) -> tuple[str, str]:
    """Return the classifier and the score by which methods are judged."""
    return MAIN if kind == "class" else MAIN_ORDERED


def main_score(predictions: pd.DataFrame, samples: Samples) -> float:
    """Return the score by which methods are judged.

    This is the balanced accuracy of "class_mean" for classes, and Spearman's rank correlation of "neighbors" for
    ordinal and continuous labels. All held-out samples of a repeat count together, and repeats are averaged. The score
    is the accuracy if all samples are of one class, and NaN if no rank correlation is defined.

    Parameters
    ----------
    predictions
        Predictions of one method, as from `cross_validate`.
    samples
        The samples.
    """
    classifier, score = main_of(samples.kind)
    by_repeat = []
    for _, part in predictions[predictions["classifier"] == classifier].groupby("repeat"):
        if samples.kind == "class":
            found = label_scores(*decoded(part, list(samples.classes)))
            by_repeat.append(found.get(score, found["accuracy"]))
        else:
            found = value_scores(part["value"].to_numpy(), part["predicted_value"].to_numpy())
            by_repeat.append(found.get(score, float("nan")))
    return float(np.mean(by_repeat))


def summary(
    predictions: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    classes: Sequence[str],
    baseline: str | None = None,
) -> pd.DataFrame:
    """Return one row per method, classifier and score.

    Scores of predictions are those of all held-out samples of a repeat together, averaged over repeats; scores of
    clusterings are averaged over folds.

    Parameters
    ----------
    predictions, scores
        From `cross_validate`.
    classes
        Names of the classes.
    baseline
        Method that the others are compared with; None for none. `only_method` and `only_baseline` are the discordant
        pairs of predictions: the number of samples (or donors) that only the method, or only the baseline, predicts
        correctly.
    """
    if "value" in predictions:
        right = -(predictions["value"] - predictions["predicted_value"]).abs()
    else:
        right = (predictions["predicted"] == predictions["label"]).astype(float)
    table = predictions.assign(right=right)
    rows = []
    for method in table["method"].unique():
        for classifier, part in table[table["method"] == method].groupby("classifier", sort=False):
            if classifier == BATCHES:
                comparison, pooled = (np.nan,) * 3, _pooled(part, sorted({*part["label"], *part["predicted"]}))
            else:
                comparison = _comparison(table, part, method, str(classifier), baseline)
                pooled = _pooled_values(part) if "value" in part else _pooled(part, classes)
            for name, value, low, high in pooled:
                rows.append([method, classifier, name, value, low, high, part["sample"].nunique(), *comparison])
        rows += _separation_rows(table, method, baseline)
        clusters = scores[(scores["method"] == method) & (scores["classifier"] == CLUSTERS)]
        for name, values in clusters.groupby("score", sort=False)["value"]:
            rows.append([method, CLUSTERS, name, values.mean(), *[np.nan] * 2, len(values), *[np.nan] * 3])
    columns = ["method", "classifier", "score", "value", "ci_low", "ci_high", "n"]
    columns += ["only_method", "only_baseline", "p_value", "difference", "difference_low", "difference_high"]
    return pd.DataFrame([row + [np.nan] * (len(columns) - len(row)) for row in rows], columns=columns)


def _separation_rows(table: pd.DataFrame, method: str, baseline: str | None) -> list[list[Any]]:
    """Return the rows of the held-out separation of classes, and of the share of samples nearer to their own class."""
    found = _log_ratios_of(table, method)
    if found is None:
        return []
    values, codes, n = found["separation"].to_numpy(), found["label"].cat.codes.to_numpy(), found["sample"].nunique()
    units = np.unique(found["donor"], return_inverse=True)[1]
    other = None if baseline in (None, method) else _log_ratios_of(table, str(baseline))
    comparison, difference = [np.nan] * 3, [np.nan] * 3
    right = pd.Series((values > 0).astype(float))
    if other is not None and other.index.equals(found.index):
        against = other["separation"].to_numpy()
        difference = [separation(values, codes) - separation(against, codes)]
        difference += separation_interval(values, codes, units, against)
        apart = right.groupby(units).mean() - pd.Series((against > 0).astype(float)).groupby(units).mean()
        only_method, only_baseline = int((apart > 0).sum()), int((apart < 0).sum())
        comparison = [only_method, only_baseline, sign_test(only_method, only_baseline)]
    n_units = int(units.max()) + 1
    share = float(right.groupby(units).mean().mean())
    return [
        [method, DISTANCES, "separation", separation(values, codes), *separation_interval(values, codes, units), n]
        + [np.nan] * 3 + difference,
        [method, DISTANCES, "nearer_own_class", share, *map(float, share_interval(share * n_units, n_units)), n]
        + comparison,
    ]  # fmt: skip


def _log_ratios_of(table: pd.DataFrame, method: str) -> pd.DataFrame | None:
    """Return the mean log ratio of each sample over repeats, with its label and donor; None if there are none."""
    part = table[table["method"] == method]
    if "separation" not in part or part["separation"].isna().all():
        return None
    part = part[part["classifier"] == part["classifier"].iloc[0]]  # they are the same for all classifiers
    by_sample = part.groupby("sample", observed=True)
    found = by_sample[["label", "donor"]].first().assign(separation=by_sample["separation"].mean())
    return found.astype({"label": "category"}).reset_index().set_index("sample", drop=False)


def _pooled_values(part: pd.DataFrame) -> Iterator[tuple[str, float, float, float]]:
    """Yield scores of ordinal or continuous labels, and their intervals, with donors as independent units."""
    by_repeat = [
        value_scores(repeat["value"].to_numpy(), repeat["predicted_value"].to_numpy())
        for _, repeat in part.groupby("repeat")
    ]
    by_donor = (part["value"] - part["predicted_value"]).abs().groupby(part["donor"])
    share = by_donor.size().to_numpy() * by_donor.ngroups / len(part)
    for name in by_repeat[0]:
        value = float(np.mean([scores[name] for scores in by_repeat]))
        errors = value + share * (by_donor.mean().to_numpy() - value)  # weighted by samples, as in the value
        low, high = mean_interval(errors) if name == "mae" else rank_interval(name, value, len(errors))
        yield name, value, low, high


def decoded(
    part: pd.DataFrame, classes: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64] | None]:
    """Return true and predicted class, as positions in `classes`, and the score of each class where there is one."""
    code = {name: i for i, name in enumerate(classes)}
    truth, predicted = (np.array(part[name].map(code), dtype=np.int64) for name in ("label", "predicted"))
    columns = [f"{_CLASS}{c}" for c in range(len(classes))]
    fits = np.array(part[columns], dtype=np.float64) if set(columns) <= set(part.columns) else None
    return truth, predicted, fits if fits is None or not np.isnan(fits).any() else None


def _pooled(part: pd.DataFrame, classes: Sequence[str]) -> Iterator[tuple[str, float, float, float]]:
    donors = part.drop_duplicates(["label", "donor"]).groupby("label").size()
    units = np.array([donors.get(name, 0) for name in classes], dtype=np.float64)
    by_repeat = []
    confusion = np.zeros((len(classes), len(classes)))
    areas = []
    for _, repeat in part.groupby("repeat"):
        truth, predicted, fits = decoded(repeat, classes)
        np.add.at(confusion, (truth, predicted), 1.0)
        by_repeat.append(label_scores(truth, predicted, fits))
        areas.append(one_against_rest_auc(truth, fits) if fits is not None and len(np.unique(truth)) > 1 else [])
    confusion /= len(by_repeat)
    intervals = label_intervals(confusion, units)
    if areas[0]:
        present = confusion.sum(axis=1) > 0
        bounds = [
            auc_interval(area, n, units[present].sum() - n)
            for area, n in zip(np.mean(areas, axis=0), units[present], strict=True)
        ]
        # the mean of the classes' bounds: as wide as if the errors of all classes were correlated
        intervals["roc_auc"] = tuple(np.mean(bounds, axis=0))
    for name in LABEL_SCORES:
        if name in by_repeat[0]:
            low, high = intervals[name]
            yield name, float(np.mean([scores[name] for scores in by_repeat])), float(low), float(high)


def _comparison(
    table: pd.DataFrame, part: pd.DataFrame, method: str, classifier: str, baseline: str | None
) -> tuple[float, float, float]:
    """Return the discordant pairs of method and baseline, and the p-value of the sign test.

    A sample (or donor) counts for the method that predicts it correctly more often; for ordinal and continuous labels,
    for the one whose prediction is closer.
    """
    if baseline is None or method == baseline:
        return np.nan, np.nan, np.nan
    other = table[(table["method"] == baseline) & (table["classifier"] == classifier)]
    if other.empty:  # the baseline lacks this classifier
        other = table[(table["method"] == baseline) & table["classifier"].isin([MAIN[0], REGRESSION])]
    difference = part.groupby("donor")["right"].mean() - other.groupby("donor")["right"].mean()
    least = _ROUNDING * max(float(part["right"].abs().max()), 1.0)  # means of the same numbers in another order
    only_method, only_baseline = int((difference > least).sum()), int((difference < -least).sum())
    return only_method, only_baseline, sign_test(only_method, only_baseline)


def _classified(held: Held, codes: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    if held.class_scores is not None:
        yield LOGISTIC, held.class_scores
    if held.to_train is not None:
        for rule, n_neighbors in CLASSIFIERS.items():
            if rule == "class_mean":  # relative, because the unit of distance differs between splits
                yield rule, relative_class_scores(held.to_train, codes, n_neighbors=n_neighbors)
            else:
                yield rule, class_scores(held.to_train, codes, rule="knn", n_neighbors=n_neighbors)


def _evaluated(held: Held, samples: Samples, split: Split) -> Iterator[tuple[pd.DataFrame, dict[str, float]]]:
    """Yield the predictions of each classifier on a split, and their scores."""
    about: dict[str, Any] = {
        "repeat": split.repeat,
        "fold": split.fold,
        "sample": samples.names[split.test],
        "donor": samples.units[split.test],
    }
    classes, labels = samples.classes, samples.labels[split.test]
    if samples.kind == "class":
        codes = samples.codes
        if held.to_train is not None:
            about["separation"] = log_ratios(held.to_train, codes[split.train], codes[split.test])
        for classifier, fits in _classified(held, codes[split.train]):
            predicted = fits.argmax(axis=1)
            # not by name: a name of a class may not be allowed as a key in a file
            by_class = {f"{_CLASS}{c}": fits[:, c] for c in range(len(classes))}
            table = {"classifier": classifier, **about, "label": labels, "predicted": classes[predicted], **by_class}
            yield pd.DataFrame(table), label_scores(codes[split.test], predicted, fits)
    else:
        truth = samples.known_values[split.test]
        for classifier, values in _regressed(held, samples.known_values[split.train]):
            text = np.array([f"{value:.6g}" for value in values], dtype=object)
            table = {"classifier": classifier, **about, "label": labels, "predicted": text}
            yield pd.DataFrame({**table, "value": truth, "predicted_value": values}), value_scores(truth, values)
    if samples.batches is not None and held.to_train is not None:
        names, batches = np.unique(samples.batches[split.train], return_inverse=True)
        is_known = np.isin(samples.batches[split.test], names)
        if is_known.any():
            fits = class_scores(held.to_train, batches, rule="knn", n_neighbors=CLASSIFIERS["knn"])[is_known]
            found, predicted = samples.batches[split.test], fits.argmax(axis=1)
            known = pd.DataFrame({"classifier": BATCHES, **about, "label": found})[is_known]
            in_training = np.searchsorted(names, found[is_known])
            yield known.assign(predicted=names[predicted]), label_scores(in_training, predicted, None)


def _regressed(held: Held, values: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    if held.values is not None:
        yield RIDGE, held.values
    if held.to_train is not None:
        yield REGRESSION, neighbor_means(held.to_train, values, n_neighbors=round(np.sqrt(len(values))))


def _score_rows(method: str, classifier: str, split: Split, scores: Mapping[str, float]) -> list[list[Any]]:
    return [[method, classifier, split.repeat, split.fold, name, value] for name, value in scores.items()]
