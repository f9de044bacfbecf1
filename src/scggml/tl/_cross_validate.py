"""Held-out scores of the learned metric and of baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import read_cohort, read_representation, read_sketch, sample_column
from scggml._anndata._labels import read_labels
from scggml._anndata._modalities import check_without, evaluate_joint, is_mudata
from scggml._anndata._samples import composition_of, labelled_samples, warn_about_sizes
from scggml._anndata._stored_metric import check_writable, stored_params, writable
from scggml._keys import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from scggml._anndata._cohort import Cohort
    from scggml.core.metric._targets import LabelKind


def cross_validate(
    adata: AnnData | MuData,
    sample_key: str,
    label_key: str,
    *,
    label_kind: LabelKind = "class",
    methods: Sequence[str] | Mapping[str, Any] = ("ggml", "euclidean", "pseudobulk"),
    cv: Any = "auto",
    n_repeats: int = 1,
    group_key: str | None = None,
    batch_key: str | None = None,
    cell_type_key: str | None = None,
    pdata: AnnData | None = None,
    use_rep: str | Mapping[str, str] | None = None,
    layer: str | None = None,
    mod: Sequence[str] | None = None,
    intersect: bool = False,
    sketch_key: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
) -> pd.DataFrame:
    """Score the learned metric and baselines on samples that were held out.

    All methods see the same splits. Whatever sees labels or scales features is fitted to the training samples of each split
    anew. Held-out samples are classified by their distances to the training samples, with two rules: `"class_mean"`, the
    class with the smallest mean distance to its nearest samples, 3 of the largest class and the same fraction of the others; and
    `"knn"`, the majority of the 5 nearest, which favours large classes and, when samples are left out one at a time, all others
    over the sample's own. Grades and numbers are predicted by the mean of as many nearest training samples as the root
    of their number (`"neighbors"`).

    Parameters
    ----------
    adata
        Cells; or a MuData with several modalities of the same cells. Nothing is written but the field below.
    sample_key, label_key
        Columns of `.obs`: the sample of each cell, and the class of each sample, or its grade or number.
    label_kind
        "class", "ordinal" or "continuous", as in :func:`scggml.tl.fit_metric`. A learner of classes among the `methods` takes
        grades for classes.
    methods
        Names, or a mapping from names of your own to any of these:

        - `"ggml"`, the metric of :func:`scggml.tl.fit_metric` with its defaults, or a :class:`scggml.GroundMetricLearner`
          with others, or any estimator with `fit(X, y)` and `pairwise_distances(X, Y=None)` on lists of arrays;
        - `"euclidean"`, `"cityblock"`, `"cosine"`: optimal transport with that ground cost;
        - `"pca"`, `"lda"`, `"nca"`: optimal transport after a map learned on single cells, each with the class of its sample
          (10 components; `"nca"` on 1,000 cells drawn at random);
        - `"pseudobulk"`: means of the features, and `"composition"`: fractions of the cell types; standardised, with Euclidean
          distances, and with logistic regression besides (ridge regression for grades and numbers);
        - a key of `pdata.obsp`: distances from elsewhere, which must not have seen labels (those of a metric learned on all
          samples are refused);
        - a function `f(train, labels, test)` of two lists of arrays, one (n_cells, n_features) array per sample, that returns
          the distances between all of them, (n_train + n_test, n_train + n_test).
    cv
        `"leave_one_out"`, a number of stratified folds, a splitter of scikit-learn, or `"auto"`: leave one out for at most 50
        samples (or groups), else five folds.
    n_repeats
        Repetitions with other folds.
    group_key
        Column of `.obs`: samples of one group, such as a donor, are held out together. In a paired design, pass it as `batch_key`
        too for metrics as with the `group_key` of :func:`scggml.tl.fit_metric`.
    batch_key
        Column of `.obs` with batches of samples. Metrics are learned as with the `batch_key` of :func:`scggml.tl.fit_metric`, and
        rows with `classifier` `"batch"` say how well the batch of a held-out sample is told by the majority of its 5 nearest
        training samples: by chance only, where batches do not matter. They leave out samples whose batch is not among the training
        samples. Classes that batches explain altogether are
        refused, and where some batch holds one class only, there is a warning with the table.
    cell_type_key
        Column of `.obs` with cell types, for `"composition"`.
    pdata
        Samples with distances of your own in `.obsp`, in any order.
    use_rep, layer, mod, intersect, sketch_key
        Features, and points that stand in for the cells, as in :func:`scggml.tl.fit_metric`. The units that balance the modalities
        of a MuData are those of all its cells, without labels, like principal components.
    rng
        Seed or generator for folds and for methods that draw.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key of the results.

    Returns
    -------
    A data frame with one row per score that is defined in a fold: `method`, `classifier` (`"clusters"` for scores of a
    clustering of the held-out samples by complete linkage, `"batch"` for predictions of the batch), `repeat`, `fold`, `score`, `value`. With one sample per fold there
    is nothing but `accuracy` to a fold: :func:`scggml.get.scores` takes all folds together, with intervals and with gains
    and losses against a baseline. Sets the following field of `adata`:

    `.uns[key_added + "_cross_validation"]` : `dict`
        `params`, `classes`, `predictions` (one row per method, classifier, split and held-out sample; `score_0` and so on say how
        well the classes fit, in the order of `classes`; of ordered labels `value` and `predicted_value`) and `scores`, the table
        that is returned.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column, a method or the folds do not allow it, such as a class with fewer samples than folds; before any work.

    Warns
    -----
    UserWarning
        If the number of cells goes with the class (Kruskal-Wallis test, p < 0.05), or some batch holds one class only.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> scores = sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "euclidean"], cv=5, rng=0)
    >>> summary = sg.get.scores(adata, baseline="euclidean")
    >>> row = summary.query("method == 'ggml' and classifier == 'class_mean' and score == 'balanced_accuracy'")
    >>> float(row["value"].iloc[0])
    1.0
    """
    check.check_name("key_added", key_added)
    if is_mudata(adata):
        check_without("a MuData", layer=layer, sketch_key=sketch_key)
        return evaluate_joint(
            cross_validate, adata, Keys(key_added).cross_validation, sample_key, label_key, columns=[group_key, batch_key, cell_type_key], mod=mod, use_rep=use_rep,
            intersect=intersect, label_kind=label_kind, methods=methods, cv=cv, n_repeats=n_repeats,
            group_key=group_key, batch_key=batch_key, cell_type_key=cell_type_key, pdata=pdata, rng=rng, n_jobs=n_jobs, key_added=key_added,
        )  # fmt: skip
    check_without("an AnnData", mod=mod, intersect=intersect or None)
    check.check_anndata("adata", adata)
    check_writable(adata, copy=False)
    check.check_jobs(n_jobs)
    generator = check.check_random_generator(rng)
    cohort = read_cohort(adata, sample_key)
    labels = read_labels(adata, cohort, label_key, label_kind=label_kind, batch_key=batch_key)
    groups = sample_column(adata.obs, "group_key", group_key, cohort)
    batches = sample_column(adata.obs, "batch_key", batch_key, cohort)
    stored = stored_distances(pdata, cohort)
    warn_about_sizes(cohort, labels)

    from scggml.evaluation._cross_validation import cross_validate as evaluate
    from scggml.evaluation._methods import named_methods
    from scggml.evaluation._splits import make_splits

    fold_rng, method_rng = generator.spawn(2)
    representation = read_representation(adata, use_rep, layer)
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, sample_key, cohort)
    samples = labelled_samples(
        cohort, labels, cohort.measures(representation.points, sketch), representation, groups=groups, batches=batches,
        composition=composition_of(adata, cohort, cell_type_key),
    )  # fmt: skip
    splits = make_splits(samples.strata(), groups, cv=cv, n_repeats=n_repeats, rng=fold_rng)
    known = named_methods(methods, samples=samples, stored=stored, has_cell_types=cell_type_key is not None)
    predictions, scores = evaluate(samples, known, splits, rng=method_rng, n_jobs=n_jobs)

    adata = writable(adata, copy=False)
    params = {
        "sample_key": sample_key, "label_key": label_key, "label_kind": label_kind, "group_key": group_key, "batch_key": batch_key,
        "cell_type_key": cell_type_key, "use_rep": representation.use_rep, "layer": representation.layer,
        "sketch_key": sketch_key, "cv": str(cv), "n_repeats": n_repeats,
        "n_splits": len(splits),
        "leave_one_out": n_repeats == 1 and all(len(np.unique((cohort.names if groups is None else groups)[s.test])) == 1 for s in splits), "rng": rng,
    }  # fmt: skip
    adata.uns[Keys(key_added).cross_validation] = {
        "params": stored_params(**params),
        "classes": labels.classes,
        "predictions": predictions,
        "scores": scores.copy(),
    }
    return scores


def stored_distances(pdata: AnnData | None, cohort: Cohort) -> dict[str, Any]:
    """Return the distances of a sample-level AnnData, in the order of the cohort."""
    if pdata is None:
        return {}
    check.check_anndata("pdata", pdata)
    place = pd.Index(pdata.obs_names.astype(str)).get_indexer(cohort.names)
    extra = pdata.n_obs - len(cohort.names)
    if (place < 0).any() or extra or not pdata.obs_names.is_unique:
        missing = check.listed(cohort.names[place < 0])
        msg = (
            f"pdata must hold the samples of adata, found {pdata.n_obs} samples for {len(cohort.names)}, without {missing}. "
            "Pass distances of the same cohort, with sample names as obs_names."
        )
        raise ValueError(msg)
    learned = {
        entry.get("distances_key")
        for entry in pdata.uns.values()
        if isinstance(entry, Mapping) and entry.get("metric") == "learned"
    }
    return {key: None if key in learned else matrix[place][:, place] for key, matrix in pdata.obsp.items()}
