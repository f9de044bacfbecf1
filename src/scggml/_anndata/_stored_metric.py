"""A learned metric as it is kept in `.uns`, so that it can be copied and saved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._keys import Keys
from scggml.core.metric._ground_metric import GroundMetric

from ._cohort import read_samples
from ._entries import METRIC, check_entry
from ._learners import learner_of, solver_of, stored_solver
from ._writing import stored_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.transport._solvers import Entropic, Exact
    from scggml.estimators._ground_metric import GroundMetricLearner

    from ._cohort import Cohort
    from ._features import Features

_NEEDED = ("components", "scale", "params")


@dataclass(frozen=True, eq=False)
class StoredMetric:
    """A learned metric, and how it was learned.

    Parameters
    ----------
    key
        Its key in `.uns`.
    entry
        What stands there.
    """

    key: str
    entry: dict[str, Any]

    @property
    def params(self) -> dict[str, Any]:
        """Columns and features that it was learned with, and the learner's settings."""
        return dict(self.entry["params"])

    @cached_property
    def metric(self) -> GroundMetric:
        """The ground metric on the features."""
        return GroundMetric(*(np.asarray(self.entry[name], dtype=np.float64) for name in ("components", "scale")))

    @property
    def features(self) -> NDArray[np.object_] | None:
        """Names of its features where they have any, (n_features,)."""
        names = self.entry.get("features")
        return None if names is None else np.asarray(names, dtype=object)

    @property
    def learner(self) -> GroundMetricLearner:
        """An unfitted learner with its settings."""
        if "learner" not in self.params:
            msg = (
                f"uns[{self.key!r}] is the learned space of a reference (sg.tl.project), without the settings of a "
                "learner. Pass the AnnData that the metric was learned on."
            )
            raise KeyError(msg)
        return learner_of(self.params, f"uns[{self.key!r}]['params']['learner']")

    @property
    def solver(self) -> Exact | Entropic:
        """The solver that it was learned with."""
        return solver_of({"solver": "exact", **self.entry})

    def points(self, features: Features) -> Any:
        """Return the points with its features in its order, (n_obs, n_features)."""
        what = f"the metric on {self.params.get('use_rep')!r} in uns[{self.key!r}]"
        return features.in_order_of(self.features, len(self.entry["scale"]), what)

    def project(self, features: Features) -> NDArray[np.float64]:
        """Return the cells in the learned space, (n_obs, n_components)."""
        return self.metric.project(self.points(features))

    def read_samples(self, adata: AnnData, *, labels: bool = False, **changed: Any) -> Cohort:
        """Return the samples of an AnnData, read as those that it was learned on, but for what is `changed`."""
        names = ("batch_key", "donor_key", "label_kind") if labels else ()
        chosen = {name: self.params[name] for name in names if name in self.params}
        chosen |= {name: self.params.get(name) for name in ("sample_key", "use_rep", "layer")}
        if labels:
            chosen["label_key"] = self.params["label_key"]
        return read_samples(adata, **{**chosen, "warn": False, **changed})


def read_metric(adata: AnnData, key: str) -> StoredMetric:
    """Return the learned metric of a key, or say how to make one."""
    entry = adata.uns.get(Keys(key).metric)
    if entry is None:
        msg = (
            f"there is no learned metric in uns[{key!r}]. Run sg.tl.fit_metric(adata, sample_key, label_key, "
            f"key_added={key!r}) first, or copy the entry from the AnnData that it was learned on."
        )
        raise KeyError(msg)
    missing = [name for name in _NEEDED if name not in entry]
    if missing:
        msg = f"uns[{key!r}] is not a learned metric: {check.listed(missing)} missing"
        raise ValueError(msg)
    check_entry(entry, METRIC, f"uns[{key!r}]", "Fit again, or copy the entry from where it was learned.")
    return StoredMetric(key, dict(entry))


def metric_entry(learner: GroundMetricLearner, params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return what is stored of a fitted learner."""
    return stored_result(
        params=dict(params),
        components=learner.metric_.components,
        scale=learner.metric_.scale,
        loss_history=learner.loss_history_,
        n_iter=learner.n_iter_,
        converged=learner.converged_,
        gap=learner.gap_,
        **stored_solver(learner.solver_),
        **more,
    )
