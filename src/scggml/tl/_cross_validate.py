"""Held-out scores of the learned metric and of baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml._anndata._cohort import read_samples
from scggml._anndata._long_runs import announce
from scggml._anndata._slots import check_free, cross_validation_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import anything, checked
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.evaluation._cross_validation import check_methods
from scggml.evaluation._cross_validation import cross_validate as evaluate
from scggml.evaluation._methods import named_methods
from scggml.evaluation._splits import make_splits
from scggml.evaluation._work import evaluation_work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from scggml.core.metric._targets import LabelKind


@shared_doc
@checked(methods=anything)
def cross_validate(
    adata: AnnData,
    sample_key: str,
    label_key: str,
    *,
    label_kind: LabelKind = "class",
    methods: Sequence[str] | Mapping[str, Any] = ("ggml", "euclidean", "pseudobulk"),
    cv: Any = "auto",
    donor_key: str | None = None,
    batch_key: str | None = None,
    cell_type_key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    sketch_key: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
) -> pd.DataFrame:
    """Score the learned metric and baselines on held-out samples.

    All methods see the same folds, and everything that uses labels or scales features is refitted within each fold.
    Held-out samples are classified by their distances to the training samples, by two rules. `"class_mean"` predicts
    the class with the smallest mean distance to its nearest samples: 3 of the largest class, and the same fraction of
    the others. `"knn"` predicts the most frequent class among the 5 nearest samples; it favours large classes. If
    samples are held out one at a time, it also disfavours the sample's own class, which is one smaller. Ordinal and
    continuous labels are predicted by the mean label of the nearest training samples, as many as the square root of
    their number (`"neighbors"`).

    Parameters
    ----------
    adata
        Cells. Nothing is written but the field below.
    %(sample_key)s
    %(label_key)s
    %(label_kind)s
        A learner of classes among the `methods` takes ordinal labels as classes.
    methods
        Names of methods, or a mapping from names of your own to methods. A method is one of

        - `"ggml"`, the metric of :func:`scggml.tl.fit_metric` with its defaults; a :class:`scggml.GroundMetricLearner`
          with other settings; or any estimator with `fit(X, y)` and `pairwise_distances(X, Y=None)` on lists of
          arrays;
        - `"euclidean"`, `"cityblock"`, `"cosine"`: optimal transport with that ground cost;
        - `"pca"`, `"lda"`, `"nca"`, `"wda"`: optimal transport after a linear map that is fitted to single cells, each
          labelled with the class of its sample (10 components; `"nca"` on 1,000 random cells). `"wda"` is Wasserstein
          discriminant analysis :cite:p:`flamary2018` by POT (2 components, 300 random cells), which needs the extra
          `wda`;
        - `"canonical_variates"`: Wasserstein-2 distances in the subspace with the largest ratio of mean squared
          distances between and within classes :cite:p:`li2024` (10 components, learned on at most 100 cells of each
          sample); for classes only;
        - `"gloscope"`: symmetrised Kullback-Leibler divergences of densities from the 25 nearest cells
          :cite:p:`wang2024`, as in the R package GloScope. Each sample needs 26 cells;
        - `"mmd"`: maximum mean discrepancies with a Gaussian kernel :cite:p:`gretton2012`, whose bandwidth is the
          median distance between two cells; `"energy"`: energy distances :cite:p:`szekely2013`; `"sliced"`: sliced
          Wasserstein-2 distances :cite:p:`bonneel2015` along 200 random directions;
        - `"pseudobulk"`: the mean features of each sample, standardised; by their Euclidean distances, and by logistic
          regression (ridge regression for ordinal and continuous labels);
        - `"pseudobulk_by_type"`: the mean features of each cell type. The distance of two samples is the mean of the
          Euclidean distances of the types that both have, as for cell-type pseudobulks in patpy. The regression takes
          the types that all samples have, if there are any. Nothing is imputed;
        - `"composition"`: the proportions of cell types, used like `"pseudobulk"`;
        - a data frame with the sample names on both axes: distances from elsewhere, such as
          :func:`scggml.get.distances` returns. They must not have seen any label. Those of a metric that was learned
          on all samples are refused. Held-out ones (`cv` of :func:`scggml.tl.sample_distances`) are not: the distance
          of two samples has seen the label of neither;
        - a data frame with one row per sample and other columns: one profile per sample, used like `"pseudobulk"`;
        - a function `f(train, labels, test)` of two lists of (n_cells, n_features) arrays, one per sample, that
          returns the distances between all of them, (n_train + n_test, n_train + n_test).
    cv
        `"leave_one_out"`, a number of stratified folds, a splitter of scikit-learn (for repeats
        :class:`sklearn.model_selection.RepeatedStratifiedKFold`), or pairs of training and test positions of the
        samples in alphabetical order. `"auto"` holds out one sample (or donor) at a time up to 50 of them, else five
        folds.
    %(donor_key)s
    %(batch_key)s
        Rows with `classifier` `"batch"` say how well the batch of a held-out sample is predicted by its 5 nearest
        training samples: at chance level, if batches do not matter.
    %(cell_type_key)s
        Only `"pseudobulk_by_type"` and `"composition"` use it, and need it. The types must not have been made from the
        labels.
    %(use_rep)s
    %(layer)s
    %(sketch_key)s
    %(rng)s
        It draws the folds, and is passed on to methods that use random numbers.
    %(n_jobs)s
    %(key_added)s

    Returns
    -------
    A data frame with one row per score of a fold: `method`, `classifier` (`"class_mean"` and `"knn"`, or
    `"neighbors"`; `"logistic"` or `"ridge"` for the regression on pseudobulks and other profiles; `"clusters"` for
    scores of a complete-linkage clustering of the held-out samples; `"batch"` for predictions of the batch), `repeat`,
    `fold`, `score`, `value`. A fold of one sample has only an `accuracy`: :func:`scggml.get.scores` takes all folds
    together, with intervals and with discordant pairs against a baseline. Sets the following field of `adata`:

    `.uns[key_added + "_cross_validation"]` : `dict`
        `params`; `classes`; `predictions`, one row per method, classifier, fold and held-out sample, with `score_0`
        and so on for how well each class fits, in the order of `classes`, and `separation`, the log of the mean
        distance to the other classes over that to the own class (for ordinal and continuous labels `value` and
        `predicted_value`); `scores`, the table that is returned; and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column, a method or the folds do not allow it, for example a class with fewer samples than folds, or
        `.uns` holds something other than an earlier result; before any work.
    ImportError
        If `"wda"` is among the methods, and the packages that it needs are not installed.

    Warns
    -----
    UserWarning
        If the number of cells depends on the class (Kruskal-Wallis test, p < 0.05), or a batch holds one class only.

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
    check_writable(adata, copy=False)
    check_free(adata, cross_validation_slots(key_added), "key_added", key_added)
    fold_rng, method_rng = np.random.default_rng(rng).spawn(2)
    cohort = read_samples(
        adata, sample_key, label_key, label_kind=label_kind, batch_key=batch_key, donor_key=donor_key,
        cell_type_key=cell_type_key, use_rep=use_rep, layer=layer, sketch_key=sketch_key,
    )  # fmt: skip
    cohort.warn_about_sizes()
    samples = cohort.samples
    splits = make_splits(samples.stratify_by(), samples.donors, cv=cv, rng=fold_rng)
    known = named_methods(methods, samples=samples)
    check_methods(samples, known, splits)
    announce(
        "cross_validate", lambda extent: evaluation_work(extent, samples, known.values(), splits), samples.measures,
        n_jobs=n_jobs, adata=adata, cohort=cohort, cheaper=["fewer methods", "fewer folds, such as cv=5"],
    )  # fmt: skip
    predictions, scores = evaluate(samples, known, splits, rng=method_rng, n_jobs=n_jobs)

    units = cohort.names if samples.donors is None else samples.donors
    params = stored_params(
        sample_key=sample_key, label_key=label_key, label_kind=label_kind, donor_key=donor_key, batch_key=batch_key,
        cell_type_key=cell_type_key, use_rep=cohort.features.use_rep, layer=layer, sketch_key=sketch_key, cv=str(cv),
        n_splits=len(splits), leave_one_out=all(len(np.unique(units[split.test])) == 1 for split in splits), rng=rng,
    )  # fmt: skip
    writable(adata, copy=False).uns[Keys(key_added).cross_validation] = stored_result(
        params=params, classes=cohort.labels.classes, predictions=predictions, scores=scores.copy()
    )
    return scores
