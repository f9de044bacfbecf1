"""A learned metric as it is kept in `.uns`, so that it can be copied and saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._keys import Keys
from scggml.core.metric._ground_metric import GroundMetric
from scggml.reference._values import sample_of_rows, taken_rows

from ._cohort import read_samples
from ._entries import METRIC
from ._learners import learner_of, solver_of, stored_solver
from ._schema import read_entry
from ._space import check_same_cells, check_same_space
from ._writing import stored_result

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.transport._solvers import Entropic, Exact
    from scggml.estimators._ground_metric import GroundMetricLearner

    from ._cohort import Cohort
    from ._features import Features

_NEEDED = ("components", "scale", "params")
_AGAIN = "Fit again, or copy the entry from where it was learned."


@dataclass(frozen=True, eq=False)
class StoredMetric:
    """A learned metric, and how it was learned.

    Parameters
    ----------
    key
        Its key in `.uns`.
    entry
        What stands there.
    with_cells
        Whether it was read from the AnnData that it is applied to, which may hold its coordinates of the cells.
    """

    key: str
    entry: dict[str, Any]
    with_cells: bool = False

    @property
    def params(self) -> dict[str, Any]:
        """Columns and features that it was learned with, and the learner's settings."""
        return dict(self.entry["params"])

    def param(self, name: str) -> str:
        """Return a column or representation that it was learned with, or say that it is not known."""
        if name not in self.params:
            msg = f"uns[{self.key!r}]['params'] does not say {name!r} of the metric. {_AGAIN}"
            raise ValueError(msg)
        return str(self.params[name])

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
    def n_genes(self) -> int | None:
        """Number of genes that its features were computed from, where it is known."""
        n_genes: int | None = self.entry.get("space", {}).get("n_genes")
        return n_genes

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

    @property
    def fingerprint(self) -> NDArray[np.float64]:
        """Where it takes a fixed point, by which it is told from other metrics, (n_components,)."""
        stored = self.entry.get("fingerprint")  # of a projection, that of the metric of its reference
        if stored is not None:
            return np.asarray(stored, dtype=np.float64)
        return self.metric.linear_map @ np.cos(np.arange(1, len(self.entry["scale"]) + 1))

    def points(self, adata: AnnData, features: Features) -> Any:
        """Return the points of cells with its features in its order, (n_obs, n_features), of the same space."""
        what = f"the metric on {self.params.get('use_rep')!r} in uns[{self.key!r}]"
        points = features.in_order_of(self.features, len(self.entry["scale"]), what)
        check_same_space(adata, features, self.entry.get("space"), self.key)
        return points

    def project(self, adata: AnnData, features: Features) -> NDArray[np.float64]:
        """Return the cells in the learned space, (n_obs, n_components)."""
        cells = self.metric.project(self.points(adata, features))
        if self._has_cells(adata, features):
            check_same_cells(adata, cells, None, self.key)
        return cells

    def check_space(self, adata: AnnData, features: Features) -> None:
        """Refuse features of another space than it was learned in, where it is not applied to all cells."""
        points = self.points(adata, features)
        if self._has_cells(adata, features):
            rows = sample_of_rows(points.shape[0])
            check_same_cells(adata, self.metric.project(taken_rows(points, rows)), rows, self.key)

    def _has_cells(self, adata: AnnData, features: Features) -> bool:
        """Whether its coordinates of the cells are there, computed from these features."""
        known = self.params.get("use_rep"), self.params.get("layer")
        name = Keys(self.key).cells
        return self.with_cells and name in adata.obsm and known == (features.use_rep, features.layer) != (name, None)

    def read_samples(self, adata: AnnData, *, labels: bool = False, **changed: Any) -> Cohort:
        """Return the samples of an AnnData, read as those that it was learned on, but for what is `changed`."""
        names = ("batch_key", "donor_key", "label_kind") if labels else ()
        chosen = {name: self.params[name] for name in names if name in self.params}
        chosen |= {name: self.params.get(name) for name in ("sample_key", "use_rep", "layer")}
        if labels:
            chosen["label_key"] = self.param("label_key")
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
    missing = [name for name in _NEEDED if not isinstance(entry, Mapping) or name not in entry]
    if missing:
        msg = f"uns[{key!r}] is not a learned metric: {check.listed(missing)} missing"
        raise ValueError(msg)
    return StoredMetric(key, read_entry(entry, METRIC, f"uns[{key!r}]", _AGAIN), with_cells=True)


def metric_entry(learner: GroundMetricLearner, params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return what is stored of a fitted learner."""
    signal = {"label_signal": learner.label_signal_, "label_p_value": learner.label_p_value_}
    return stored_result(
        params=dict(params),
        components=learner.metric_.components,
        scale=learner.metric_.scale,
        loss_history=learner.loss_history_,
        n_iter=learner.n_iter_,
        converged=learner.converged_,
        gap=learner.gap_,
        **{name: value for name, value in signal.items() if not np.isnan(value)},
        **stored_solver(learner.solver_),
        **more,
    )
