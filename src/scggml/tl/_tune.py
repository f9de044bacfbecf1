"""Settings of the metric, chosen by nested cross-validation."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml._anndata._cohort import read_samples
from scggml._anndata._learners import learner_params
from scggml._anndata._long_runs import announce
from scggml._anndata._slots import check_free, tuning_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import anything, checked
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.estimators._ground_metric import GroundMetricLearner
from scggml.evaluation._splits import make_splits
from scggml.evaluation._tuning import Search, candidate_settings
from scggml.evaluation._tuning import tune as search
from scggml.evaluation._work import tuning_work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from scggml.core.metric._targets import LabelKind

_GRID = {"ridge": ["auto", 0.1, 0.3, 1.0], "whitening": ["auto", 0.5, 1.0]}


@shared_doc
@checked(grid=anything)
def tune(
    adata: AnnData,
    sample_key: str,
    label_key: str,
    *,
    label_kind: LabelKind = "class",
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | None = None,
    cv: Any = 5,
    donor_key: str | None = None,
    batch_key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    sketch_key: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
) -> pd.DataFrame:
    """Choose settings of the learner, and measure honestly what the choice is worth.

    Each outer fold holds out samples. On the others, every setting is scored in three inner folds. The best one is
    refitted on all of them and scored once on the held-out samples. These outer scores are returned: no held-out
    sample took part in the choice of the setting that it is scored with. The same search on all samples then gives the
    setting to fit with. The score is the balanced accuracy of the `"class_mean"` rule
    (:func:`scggml.tl.cross_validate`); for ordinal and continuous labels it is Spearman's rank correlation.

    Parameters
    ----------
    adata
        Cells. Nothing is written but the field below.
    %(sample_key)s
    %(label_key)s
    %(label_kind)s
    grid
        Values to try for parameters of :class:`scggml.GroundMetricLearner`, such as
        `{"ridge": [0.1, 1.0], "refine": [None, sg.Refinement()]}`, in all combinations; or a list of settings, such as
        `list(sklearn.model_selection.ParameterSampler(...))`. None tries `ridge` "auto", 0.1, 0.3 and 1 with
        `whitening` "auto", 0.5 and 1.
    cv
        Outer folds, as in :func:`scggml.tl.cross_validate`.
    %(donor_key)s
    %(batch_key)s
    %(use_rep)s
    %(layer)s
    %(sketch_key)s
    %(rng)s
        It draws the folds, and is passed on to settings that use random numbers.
    %(n_jobs)s
    %(key_added)s

    Returns
    -------
    A data frame with one row per outer fold: `repeat`, `fold`, `score` of its held-out samples (accuracy, if
    they are of one class), `inner_score` of the chosen setting in the inner folds, and the chosen value of each
    parameter as text. Sets the following field of `adata`:

    `.uns[key_added + "_tuning"]` : `dict`
        `params`; `outer`, the table that is returned; `inner`, the inner score of every setting in every outer fold,
        and on all samples (`fold` -1); `score` of all held-out samples together; `predictions` of the held-out
        samples; `best`, the settings of the learner chosen on all samples, for
        `sg.tl.fit_metric(..., learner=adata.uns["ggml_tuning"]["best"])`; and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column, the grid or the folds do not allow it, or `.uns` holds something other than an earlier result;
        before any work.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=4, rng=0)
    >>> outer = sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=3, rng=0)
    >>> len(outer), float(adata.uns["ggml_tuning"]["score"])
    (3, 1.0)
    """
    check_writable(adata, copy=False)
    check_free(adata, tuning_slots(key_added), "key_added", key_added)
    fold_rng, search_rng = np.random.default_rng(rng).spawn(2)
    settings = candidate_settings(_GRID if grid is None else grid)
    cohort = read_samples(
        adata, sample_key, label_key, label_kind=label_kind, batch_key=batch_key, donor_key=donor_key,
        use_rep=use_rep, layer=layer, sketch_key=sketch_key,
    )  # fmt: skip
    samples = cohort.samples
    splits = make_splits(samples.stratify_by(), samples.donors, cv=cv, rng=fold_rng)
    planned = Search.planned(samples, settings, splits, deepcopy(search_rng))  # as the search itself does
    announce(
        "tune", lambda extent: tuning_work(extent, samples, settings, planned), samples.measures, n_jobs=n_jobs,
        adata=adata, cohort=cohort, cheaper=["fewer settings in grid", "fewer folds (cv)"],
    )  # fmt: skip
    found = search(samples, settings, splits, rng=search_rng, n_jobs=n_jobs)

    names = list(settings[0])
    texts = [{name: str(value) for name, value in setting.items()} for setting in settings]

    def with_texts(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{name: [texts[i][name] for i in table["setting"]] for name in names})

    outer = with_texts(found.outer).drop(columns="setting")
    params = stored_params(
        sample_key=sample_key, label_key=label_key, label_kind=label_kind, donor_key=donor_key, batch_key=batch_key,
        use_rep=cohort.features.use_rep, layer=layer, sketch_key=sketch_key, cv=str(cv), rng=rng,
        names=np.array(names, dtype=object), score=found.score_name,
    )  # fmt: skip
    writable(adata, copy=False).uns[Keys(key_added).tuning] = stored_result(
        params=params, outer=outer.copy(), inner=with_texts(found.inner), score=found.score,
        predictions=found.predictions, best=learner_params(GroundMetricLearner(**settings[found.best])),
    )  # fmt: skip
    return outer
