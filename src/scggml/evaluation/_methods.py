"""Methods that are evaluated side by side. Each is fitted to training samples only."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler

from scggml import _check as check
from scggml.core.measures._moments import feature_scale
from scggml.core.metric._targets import LABEL_KINDS
from scggml.core.transport._costs import COSTS
from scggml.core.transport._distances import pairwise_distances
from scggml.estimators import GroundMetricLearner, check_labels, check_parameters

from ._frames import check_distances, frame_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._samples import Samples
    from ._splits import Split

_MAX_NCA_CELLS = 1000  # its cost grows with their square
N_COMPS = 10  # of PCA and NCA
_RIDGES = np.logspace(-1, 4, 12)


@dataclass(frozen=True, eq=False)
class Held:
    """Results of a method for the held-out samples of one split.

    Parameters
    ----------
    to_train
        Distances to the training samples, (n_test, n_train), or None.
    within
        Distances between the held-out samples, (n_test, n_test), or None.
    class_scores
        Score of each class by a classifier of the method's own, (n_test, n_classes), or None.
    values
        Ordinal or continuous labels predicted by a regression of the method's own, (n_test,), or None.
    """

    to_train: NDArray[np.float64] | None = None
    within: NDArray[np.float64] | None = None
    class_scores: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None


class Method(Protocol):
    """A way to compare samples."""

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        """Fit to the training samples of a split, and compare the held-out samples with them."""


@dataclass(frozen=True, eq=False)
class FixedTransport:
    """Optimal transport with a fixed ground cost."""

    cost: Any

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        distances = samples.once(
            self.cost,
            lambda: pairwise_distances(samples.measures, cost=self.cost, n_jobs=n_jobs, progress=self.cost)[0],
        )
        return _from_matrix(distances, split)


@dataclass(frozen=True, eq=False)
class Precomputed:
    """Distances between all samples that were computed elsewhere, without labels."""

    distances: NDArray[np.float64]

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        return _from_matrix(self.distances, split)


@dataclass(frozen=True, eq=False)
class Learned:
    """An estimator with `fit` and `pairwise_distances` on one array per sample. It is refitted within each fold."""

    name: str
    estimator: Any

    def check(self, samples: Samples, splits: Sequence[Split]) -> None:
        """Refuse splits whose training samples the metric cannot be learned from."""
        if not isinstance(self.estimator, GroundMetricLearner):
            return
        for split in splits:
            strata = None if samples.strata is None else samples.strata[split.train]
            try:
                check_labels(samples.y[split.train], self.estimator.label_kind, strata)
            except ValueError as error:
                held = check.listed(samples.names[split.test])
                msg = (
                    f"methods[{self.name!r}] cannot be learned without the samples of fold {split.fold} ({held}): "
                    f"{str(error).removesuffix('.')}. Pass other folds as cv, or methods without it."
                )
                raise ValueError(msg) from error

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        train, test = samples.take(split.train), samples.take(split.test)
        model = clone(self.estimator)
        if isinstance(model, GroundMetricLearner):
            settings = model.get_params(deep=False)
            model.set_params(
                **({"scale": samples.scale} if settings["scale"] == "auto" else {}),
                **({"rng": seed} if settings["rng"] is None else {}),
                **({"n_jobs": n_jobs} if settings["n_jobs"] is None else {}),
            )
            parts: tuple[Any, Any] = train.measures, test.measures
            model.fit(parts[0], train.y, train.strata)
        else:
            parts = train.measures.split(), test.measures.split()
            takes_strata = "strata" in inspect.signature(model.fit).parameters
            model.fit(parts[0], train.y, **({"strata": train.strata} if takes_strata else {}))
        to_train = np.asarray(model.pairwise_distances(parts[1], parts[0]), dtype=np.float64)
        within = None if len(test) == 1 else model.pairwise_distances(parts[1])
        text = f"the result of methods[{self.name!r}]"
        if to_train.shape != (len(test), len(train)) or not (to_train >= 0).all() or not np.isfinite(to_train).all():
            msg = (
                f"{text} must be distances, finite and not negative, of {len(test)} held-out samples (rows) to "
                f"{len(train)} training samples, found shape {to_train.shape}"
            )
            raise ValueError(msg)
        return Held(to_train, None if within is None else check_distances(text, within, len(test)))


@dataclass(frozen=True, eq=False)
class CellMetric:
    """Optimal transport after a linear map that was learned on single cells. A cell has the class of its sample."""

    kind: str

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        train, test = samples.take(split.train).measures, samples.take(split.test).measures
        scale, constant = feature_scale(train, samples.scale)
        if constant.all():
            msg = f"no feature varies between the training cells: there is nothing to learn {self.kind!r} from"
            raise ValueError(msg)
        keep = ~constant
        codes = np.repeat(samples.codes[split.train], train.sizes)
        x, rows = _dense(train.points)[:, keep] / scale[keep], np.arange(len(codes))
        if not train.are_uniform:  # points of a sketch stand for many cells
            rows = np.random.default_rng(seed).choice(rows, len(rows), p=train.weights / train.weights.sum())
        projection = self._fit(x[rows], codes[rows], seed)

        def project(measures: Measures) -> Measures:
            return measures.with_points(
                np.ascontiguousarray(projection.transform(_dense(measures.points)[:, keep] / scale[keep]))
            )

        train, test = project(train), project(test)
        return Held(
            pairwise_distances(test, train, n_jobs=n_jobs)[0],
            pairwise_distances(test, n_jobs=n_jobs)[0] if len(test) > 1 else None,
        )

    def _fit(self, x: NDArray[np.float64], codes: NDArray[np.int64], seed: int) -> Any:
        n_comps = min(N_COMPS, *x.shape)
        if self.kind == "pca":
            return PCA(n_comps, random_state=seed).fit(x)
        if self.kind == "lda":
            return LinearDiscriminantAnalysis().fit(x, codes)
        rows = np.random.default_rng(seed).permutation(len(x))[:_MAX_NCA_CELLS]
        return NeighborhoodComponentsAnalysis(n_comps, init="pca", max_iter=50, random_state=seed).fit(
            x[rows], codes[rows]
        )


@dataclass(frozen=True, eq=False)
class Profile:
    """One vector per sample, (n_samples, n).

    Vectors are standardised by those of the training samples. They give Euclidean distances and a linear model.
    """

    vectors: NDArray[np.float64]

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        train, test = self.vectors[split.train], self.vectors[split.test]
        scaler = StandardScaler().fit(train)
        a, b = scaler.transform(test), scaler.transform(train)
        to_train, within = cdist(a, b), cdist(a, a)
        if samples.kind != "class":
            ridge = RidgeCV(_RIDGES).fit(b, samples.known_values[split.train])
            return Held(to_train, within, values=ridge.predict(a))
        regression = LogisticRegression(class_weight="balanced", max_iter=5000).fit(b, samples.codes[split.train])
        scores = regression.decision_function(a)
        return Held(to_train, within, np.stack([-scores, scores], axis=1) / 2 if scores.ndim == 1 else scores)


@dataclass(frozen=True, eq=False)
class Called:
    """A user's function `f(train, labels, test)` of all distances, (n_train + n_test, n_train + n_test)."""

    name: str
    function: Any

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        train, test = samples.take(split.train), samples.take(split.test)
        found = self.function(train.measures.split(), train.y, test.measures.split())
        n = len(train)
        matrix = check_distances(f"the result of methods[{self.name!r}]", found, n + len(test))
        return Held(matrix[n:, :n], matrix[n:, n:])


def named_methods(methods: Any, *, samples: Samples) -> dict[str, Method]:
    """Return the methods by name, checked before any of them runs.

    Parameters
    ----------
    methods
        Names of known methods; or a mapping from names of one's own to names of known methods, estimators, functions or
        data frames. A data frame has the sample names as index. If its columns are the sample names too, it holds
        distances, else one profile per sample.
    samples
        The samples that will be compared.
    """
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, Mapping):
        if not isinstance(methods, Sequence) or not all(isinstance(method, str) for method in methods):
            found = "a DataFrame" if isinstance(methods, pd.DataFrame) else check.shown(methods)
            msg = (
                f"methods must be a list of names or a mapping from names to methods, found {found}. An estimator, "
                "a function or a data frame needs a name: methods={'mine': ..., 'euclidean': 'euclidean'}."
            )
            raise TypeError(msg)
        if len(set(methods)) < len(methods):
            msg = f"methods names some method more than once: {check.listed(methods)}"
            raise ValueError(msg)
        methods = {name: name for name in methods}
    if not methods:
        msg = f"methods is empty. Pass some of {check.listed(METHODS, limit=None)}."
        raise ValueError(msg)
    return {str(name): _method(str(name), what, samples) for name, what in methods.items()}


def _method(name: str, what: Any, samples: Samples) -> Method:
    if isinstance(what, str):
        if what not in METHODS:
            msg = (
                f"methods holds {check.shown(what)}, which is not known. Found: {check.listed(METHODS, limit=None)}. "
                "Pass your own distances or profiles as data frames with a name: methods={'mine': frame}."
            )
            raise ValueError(msg)
        if what == "cosine" and not np.asarray((samples.measures.points != 0).sum(axis=1)).all():
            msg = (
                "methods holds 'cosine', which is not defined for cells without any signal. "
                "Remove these cells, or leave it out."
            )
            raise ValueError(msg)
        if samples.kind == "continuous" and what in ("lda", "nca"):
            msg = (
                f"methods holds {check.shown(what)}, which needs classes or ordinal labels, not continuous ones. Leave "
                "it out."
            )
            raise ValueError(msg)
        return METHODS[what](samples)
    if isinstance(what, pd.DataFrame):
        are_distances, values = frame_values(f"methods[{name!r}]", what, samples.names)
        return Precomputed(values) if are_distances else Profile(values)
    if isinstance(what, BaseEstimator) or (hasattr(what, "fit") and hasattr(what, "pairwise_distances")):
        if isinstance(what, type) or not hasattr(what, "pairwise_distances"):
            msg = (
                f"methods[{name!r}] must be an instance of an estimator with fit and pairwise_distances, found "
                f"{check.shown(what)}"
            )
            raise TypeError(msg)
        if isinstance(what, GroundMetricLearner):
            check_parameters(what.get_params(deep=False), samples.measures.n_features)
            if what.label_kind not in (LABEL_KINDS if samples.kind == "ordinal" else (samples.kind,)):
                msg = (
                    f"methods[{name!r}] is a learner with label_kind={what.label_kind!r}, but labels are read with "
                    f"label_kind={samples.kind!r}. Make them the same."
                )
                raise ValueError(msg)
            return Learned(name, what)
        try:
            clone(what)
            inspect.signature(what.pairwise_distances).bind([], [])
        except TypeError as error:
            msg = (
                f"methods[{name!r}] must be an estimator with scikit-learn's interface, with get_params and "
                f"pairwise_distances(X, Y), found {check.shown(what)}: {error}"
            )
            raise TypeError(msg) from error
        _check_unweighted(name, samples)
        return Learned(name, what)
    if callable(what):
        _check_unweighted(name, samples)
        try:
            inspect.signature(what).bind([], [], [])
        except (TypeError, ValueError) as error:
            msg = f"methods[{name!r}] must take (train, labels, test), found {check.shown(what)}: {error}"
            raise TypeError(msg) from error
        return Called(name, what)
    msg = f"methods[{name!r}] must be a name, an estimator, a function or a data frame, found {check.shown(what)}"
    raise TypeError(msg)


def _check_unweighted(name: str, samples: Samples) -> None:
    if not samples.measures.are_uniform:
        msg = f"sketch_key gives weighted points, which methods[{name!r}] cannot take. Leave one of them out."
        raise ValueError(msg)


def _from_matrix(distances: NDArray[np.float64], split: Split) -> Held:
    return Held(distances[np.ix_(split.test, split.train)], distances[np.ix_(split.test, split.test)])


def _means(measures: Measures) -> NDArray[np.float64]:
    parts = (measures[i] for i in range(len(measures)))
    return np.stack([np.asarray(weights @ points) for points, weights in parts])


def _dense(points: Any) -> NDArray[np.float64]:
    return (points.toarray() if hasattr(points, "toarray") else points).astype(np.float64, copy=False)


def _fixed_transport(cost: Any) -> Callable[[Samples], Method]:
    return lambda _: FixedTransport(cost)


def _cell_metric(kind: str) -> Callable[[Samples], Method]:
    return lambda _: CellMetric(kind)


METHODS: dict[str, Callable[[Samples], Method]] = {
    "ggml": lambda samples: Learned("ggml", GroundMetricLearner(label_kind=samples.kind)),
    **{cost: _fixed_transport(cost) for cost in COSTS},
    **{kind: _cell_metric(kind) for kind in ("pca", "lda", "nca")},
    "pseudobulk": lambda samples: Profile(_means(samples.measures)),
}
