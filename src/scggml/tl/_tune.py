"""Settings of the metric, chosen by nested cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._anndata._cohort import read_cohort, read_representation, read_sketch, sample_column
from scggml._anndata._labels import read_labels
from scggml._anndata._modalities import check_without, evaluate_joint, is_mudata
from scggml._anndata._samples import labelled_samples
from scggml._anndata._stored_metric import check_writable, stored_params, writable
from scggml._keys import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

_GRID = {"ridge": ["auto", 0.1, 0.3, 1.0], "whitening": [0.5, 0.75, 1.0]}
_SCORES = ("balanced_accuracy", "accuracy", "macro_f1", "roc_auc")


def tune(
    adata: AnnData | MuData,
    sample_key: str,
    label_key: str,
    *,
    grid: Mapping[str, Any] | None = None,
    n_iter: int | None = None,
    score: str = "balanced_accuracy",
    cv: Any = 5,
    inner_cv: Any = 3,
    n_repeats: int = 1,
    group_key: str | None = None,
    batch_key: str | None = None,
    use_rep: str | Mapping[str, str] | None = None,
    layer: str | None = None,
    mod: Sequence[str] | None = None,
    intersect: bool = False,
    sketch_key: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
) -> pd.DataFrame:
    """Choose settings of the metric, and tell honestly what choosing is worth.

    Each outer split holds out samples. Among the others, every setting is scored in inner splits, and the best one, learned on all
    of them, is scored once on what was held out. Those outer scores are returned: no held-out sample had a say in the setting
    that it is scored with. The same search on all samples then gives the setting to fit with.

    Parameters
    ----------
    adata
        Cells; or a MuData with several modalities of the same cells. Nothing is written but the field below.
    sample_key, label_key
        Columns of `.obs`: the sample of each cell, and the class of each sample.
    grid
        Values to try for parameters of :class:`scggml.GroundMetricLearner`, such as
        `{"ridge": [0.1, 1.0], "n_comps": [5, None]}`; with `n_iter` also distributions of :mod:`scipy.stats`. None tries
        `ridge` "auto", 0.1, 0.3, 1 with `whitening` 0.5, 0.75, 1.
    n_iter
        Number of settings to draw from the grid; None takes all of them.
    score
        What settings are chosen by, and scored: "balanced_accuracy", "accuracy", "macro_f1" or "roc_auc" of the class with the
        smallest mean distance to its nearest samples, as in :func:`scggml.tl.cross_validate`.
    cv, n_repeats
        Outer splits, as in :func:`scggml.tl.cross_validate`.
    inner_cv
        Inner splits, likewise.
    group_key
        Column of `.obs`: samples of one group, such as a donor, are held out together, in outer and inner splits.
    batch_key
        Column of `.obs` with batches of samples. Metrics are learned as with the `batch_key` of :func:`scggml.tl.fit_metric`.
    use_rep, layer, mod, intersect, sketch_key
        Features, and points that stand in for the cells, as in :func:`scggml.tl.fit_metric`. The units that balance the modalities
        of a MuData are those of all its cells, without labels, like principal components.
    rng
        Seed or generator for folds and for settings that are drawn.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key of the results.

    Returns
    -------
    A data frame with one row per outer split: `repeat`, `fold`, `score` of its held-out samples (accuracy where they are of one
    class), `inner_score`, what the chosen setting reached inside, and the chosen value of each parameter as text. Sets the
    following field of `adata`:

    `.uns[key_added + "_tuning"]` : `dict`
        `params`; `outer`, the table that is returned; `inner`, the inner score of every setting in every outer split, and on
        all samples (`fold` -1); `score`, that of all held-out samples together; `best`, the setting chosen on all samples,
        ready for `sg.tl.fit_metric(adata, ..., **best)`; parameters that are None are left out of it.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column, the grid or the folds do not allow it; before any work.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=4, rng=0)
    >>> outer = sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=3, rng=0)
    >>> len(outer), float(adata.uns["ggml_tuning"]["score"])
    (3, 1.0)
    """
    check.check_name("key_added", key_added)
    if is_mudata(adata):
        check_without("a MuData", layer=layer, sketch_key=sketch_key)
        return evaluate_joint(
            tune, adata, Keys(key_added).tuning, sample_key, label_key, columns=[group_key, batch_key], mod=mod, use_rep=use_rep,
            intersect=intersect, grid=grid, n_iter=n_iter, score=score, cv=cv, inner_cv=inner_cv, n_repeats=n_repeats,
            group_key=group_key, batch_key=batch_key, rng=rng, n_jobs=n_jobs, key_added=key_added,
        )  # fmt: skip
    check_without("an AnnData", mod=mod, intersect=intersect or None)
    check.check_anndata("adata", adata)
    check_writable(adata, copy=False)
    check.check_choice("score", score, _SCORES)
    check.check_jobs(n_jobs)
    generator = check.check_random_generator(rng)
    cohort = read_cohort(adata, sample_key)
    labels = read_labels(adata, cohort, label_key, batch_key=batch_key)
    groups = sample_column(adata.obs, "group_key", group_key, cohort)

    from scggml.estimators import check_parameters
    from scggml.evaluation._splits import make_splits
    from scggml.evaluation._tuning import candidate_settings
    from scggml.evaluation._tuning import tune as nested

    setting_rng, fold_rng, inner_rng = generator.spawn(3)
    settings = candidate_settings(_GRID if grid is None else grid, n_iter, setting_rng)
    splits = make_splits(labels.text, groups, cv=cv, n_repeats=n_repeats, rng=fold_rng)
    representation = read_representation(adata, use_rep, layer)
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, sample_key, cohort)
    measures = cohort.measures(representation.points, sketch)
    for setting in settings:
        check_parameters(setting, measures.n_features)
    samples = labelled_samples(cohort, labels, measures, representation, groups=groups)
    found = nested(samples, settings, splits, inner_cv=inner_cv, score=score, rng=inner_rng, n_jobs=n_jobs)
    names = list(settings[0])
    outer = found.outer.drop(columns="setting").assign(
        **{name: [str(settings[i][name]) for i in found.outer["setting"]] for name in names}
    )
    inner = found.inner.assign(**{name: [str(settings[i][name]) for i in found.inner["setting"]] for name in names})
    params = {
        "sample_key": sample_key, "label_key": label_key, "group_key": group_key, "batch_key": batch_key, "score": score, "cv": str(cv),
        "inner_cv": str(inner_cv), "n_repeats": n_repeats, "use_rep": representation.use_rep, "layer": representation.layer,
        "sketch_key": sketch_key, "rng": rng, "names": np.array(names, dtype=object),
    }  # fmt: skip
    writable(adata, copy=False).uns[Keys(key_added).tuning] = {
        "params": stored_params(**params),
        "outer": outer.copy(),
        "inner": inner,
        "score": found.score,
        "best": stored_params(**settings[found.best]),
    }
    return outer
