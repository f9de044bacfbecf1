"""Distances of held-out samples: what they are computed from, and whether the samples are those of the metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._keys import NEW, TRAINING
from scggml.core.metric._out_of_fold import max_folds, out_of_fold_distances
from scggml.core.metric._work import out_of_fold_work
from scggml.estimators._checks import SOLVERS, training_options
from scggml.evaluation._folds import folds_of_samples

from ._long_runs import announce

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._options import TrainingOptions
    from scggml.core.metric._out_of_fold import OutOfFoldDistances
    from scggml.core.metric._targets import Targets
    from scggml.core.transport._solvers import SolverSpec

    from ._cohort import Cohort
    from ._stored_metric import StoredMetric


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What distances of held-out samples are computed from.

    Parameters
    ----------
    learned_from, compared
        The samples in raw features, as metrics are learned and as they are compared.
    targets, options
        Labels, and the learner's settings.
    folds
        Fold of each sample, (n_samples,).
    rng
        Source of what the learner draws.
    """

    learned_from: Measures
    compared: Measures
    targets: Targets
    options: TrainingOptions
    folds: NDArray[np.int64]
    rng: np.random.Generator

    def distances(self, solver: Any, *, adata: AnnData, cohort: Cohort, n_jobs: int | None) -> OutOfFoldDistances:
        """Return the distances, by the solver of the metric or another one; say before how long they take."""
        spec: SolverSpec = self.options.solver if solver is None else SOLVERS.get(solver, solver)
        announce(
            "sample_distances",
            lambda extent: out_of_fold_work(extent, self.targets, self.options, self.folds, spec),
            self.compared, solver=spec, n_jobs=n_jobs, adata=adata, cohort=cohort, cheaper=["fewer folds (cv)"],
        )  # fmt: skip
        return out_of_fold_distances(
            self.learned_from, self.targets, self.options, self.folds, compared=self.compared, solver=spec,
            rng=self.rng, n_jobs=n_jobs,
        )  # fmt: skip


def read_held_out(
    adata: AnnData, learned: StoredMetric, cohort: Cohort, cv: Any, rng: int | np.random.Generator | None
) -> HeldOut:
    """Return what distances of held-out samples are computed from, checked.

    Parameters
    ----------
    adata, learned
        The cells, and the metric.
    cohort
        The samples as they are to be compared.
    cv, rng
        Folds, and their source.
    """
    learner = learned.learner
    labelled = learned.read_samples(adata, labels=True, sketch_key=learned.params.get("sketch_key"))
    _check_learned_from(learned, cohort, labelled)
    learned.check_space(adata, labelled.features)
    points = learned.points(adata, labelled.features)
    options = training_options(learner.get_params(deep=False), points.shape[1])
    fold_rng, fit_rng = np.random.default_rng(0 if rng is None else rng).spawn(2)
    targets = labelled.labels.targets
    folds = folds_of_samples(labelled.samples, targets, cv, max_folds=max_folds(points.shape[1], options), rng=fold_rng)
    learned_from = labelled.measures_of(points)
    same = labelled.sketch_key == cohort.sketch_key
    return HeldOut(learned_from, learned_from if same else cohort.measures_of(points), targets, options, folds, fit_rng)


def status_of(learned: StoredMetric, cohort: Cohort) -> str | None:
    """Return whether some of the samples are those that the metric was learned from, or None if that is not known."""
    known = learned.entry.get("learned_from")
    if known is None:
        return None
    return TRAINING if np.isin(cohort.names, np.asarray(known["samples"], dtype=object)).any() else NEW


def _check_learned_from(learned: StoredMetric, cohort: Cohort, labelled: Cohort) -> None:
    """Refuse samples, labels or features other than those that the metric was learned from."""
    key, where = learned.key, f"the metric in uns[{learned.key!r}]"
    if "learned_from" not in learned.entry:
        msg = (
            f"cv needs to know the samples and labels that {where} was learned from, which it does not say. Fit it "
            "again with sg.tl.fit_metric, or pass cv=None."
        )
        raise ValueError(msg)
    params = learned.params
    for name, found in (
        ("sample_key", cohort.sample_key), ("use_rep", cohort.features.use_rep), ("layer", cohort.features.layer),
    ):  # fmt: skip
        if found != params.get(name):
            msg = (
                f"{name}={check.shown(found)}, but {where} was learned with {name}={check.shown(params.get(name))}. "
                f"With cv it is learned again without the held-out samples, in the same way: leave {name} out."
            )
            raise ValueError(msg)
    then = learned.entry["learned_from"]
    known = dict(zip(*(np.asarray(then[name], dtype=object) for name in ("samples", "labels")), strict=True))
    present = dict(zip(labelled.names, labelled.labels.text, strict=True))
    again = f"Fit again with sg.tl.fit_metric(..., key_added={key!r}), or pass cv=None."
    if set(known) != set(present):
        other, absent = sorted(set(present) - set(known)), sorted(set(known) - set(present))
        msg = (
            f"cv needs the samples that {where} was learned from. Others: {check.listed(other)}; missing: "
            f"{check.listed(absent)}. Distances of samples that it has not seen are held-out as they are. {again}"
        )
        raise ValueError(msg)
    changed = [name for name, label in present.items() if known[name] != label]
    if changed:
        name = changed[0]
        msg = (
            f"cv needs the labels that {where} was learned from, but obs[{params['label_key']!r}] was changed since: "
            f"sample {name} had {known[name]!r} and has {present[name]!r} ({len(changed)} such samples). {again}"
        )
        raise ValueError(msg)
