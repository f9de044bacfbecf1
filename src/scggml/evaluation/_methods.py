"""Methods that are evaluated side by side. Each is fitted to training samples only."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from scggml import _check as check
from scggml.core.metric._targets import LABEL_KINDS, LabelKind
from scggml.core.transport._costs import COSTS
from scggml.core.transport._distances import pairwise_distances
from scggml.estimators import GroundMetricLearner, check_labels, check_parameters

from ._by_cell_type import composition, type_profile
from ._canonical_variates import CanonicalVariates
from ._cell_metrics import CELL_METRICS, CellMetric, check_wda_is_installed
from ._divergences import DIVERGENCES, Divergence, check_divergence
from ._frames import check_distances, frame_values
from ._held import Held, from_matrix
from ._profiles import Profile, sample_means

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from ._held import Method
    from ._samples import Samples
    from ._splits import Split

BY_CELL_TYPE = ("pseudobulk_by_type", "composition")
_LABEL_KINDS: dict[str, tuple[LabelKind, ...]] = {
    **dict.fromkeys(("lda", "nca", "wda"), ("class", "ordinal")),
    "canonical_variates": ("class",),  # it compares samples of one class: with ordinal labels there may be no two
}


@dataclass(frozen=True, eq=False)
class FixedTransport:
    """Optimal transport with a fixed ground cost."""

    cost: Any

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        distances = samples.once(
            self.cost,
            lambda: pairwise_distances(samples.measures, cost=self.cost, n_jobs=n_jobs, progress=self.cost)[0],
        )
        return from_matrix(distances, split)


@dataclass(frozen=True, eq=False)
class Precomputed:
    """Distances between all samples that were computed elsewhere, without labels."""

    distances: NDArray[np.float64]

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        return from_matrix(self.distances, split)


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
    if samples.cell_types is not None and not any(
        isinstance(what, str) and what in BY_CELL_TYPE for what in methods.values()
    ):
        msg = (
            f"cell_type_key has no effect, because methods holds none of {check.listed(BY_CELL_TYPE)}. Leave it out, "
            "or add one of them."
        )
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
        if samples.kind not in _LABEL_KINDS.get(what, LABEL_KINDS):
            needed = " or ".join({"class": "classes", "ordinal": "ordinal labels"}[kind] for kind in _LABEL_KINDS[what])
            msg = f"methods holds {check.shown(what)}, which needs {needed}, not {samples.kind} ones. Leave it out."
            raise ValueError(msg)
        if what in BY_CELL_TYPE and samples.cell_types is None:
            msg = (
                f"methods holds {check.shown(what)}, which needs the type of each cell. Pass its column of obs as "
                "cell_type_key, or leave it out."
            )
            raise ValueError(msg)
        if what == "wda":
            check_wda_is_installed()
        if what in DIVERGENCES:
            check_divergence(what, samples)
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


def _named(method: Callable[[Any], Method], names: Iterable[str]) -> dict[str, Callable[[Samples], Method]]:
    """Return methods by the name that they are made from."""

    def of(name: str) -> Callable[[Samples], Method]:
        return lambda _: method(name)

    return {name: of(name) for name in names}


METHODS: dict[str, Callable[[Samples], Method]] = {
    "ggml": lambda samples: Learned("ggml", GroundMetricLearner(label_kind=samples.kind)),
    **_named(FixedTransport, COSTS),
    **_named(CellMetric, CELL_METRICS),
    "canonical_variates": lambda _: CanonicalVariates(),
    "pseudobulk": lambda samples: Profile(sample_means(samples.measures)),
    "pseudobulk_by_type": type_profile,
    "composition": composition,
    **_named(Divergence, DIVERGENCES),
}
