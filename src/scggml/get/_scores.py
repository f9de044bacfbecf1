"""Held-out scores as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scggml import _check as check
from scggml._anndata._modalities import check_cells
from scggml._keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


def scores(adata: AnnData | MuData, *, key: str = "ggml", baseline: str | None = None) -> pd.DataFrame:
    """Return the scores of a cross-validation, all held-out samples taken together.

    Parameters
    ----------
    adata
        Cells, or a MuData, after :func:`scggml.tl.cross_validate`.
    key
        Key of its results: `.uns[key + "_cross_validation"]`.
    baseline
        Method to compare with: samples that others gain and lose against it are counted.

    Returns
    -------
    A data frame with one row per `method`, `classifier` and `score`:

    `value`
        The score of all held-out samples of a repeat, averaged over repeats; for clusterings the mean over folds.
    `ci_low`, `ci_high`
        95 % interval that respects how few samples there are: of accuracies from Jeffreys' intervals of the classes, put
        together :cite:p:`zou2008`; of F1 from draws of the confusion matrix :cite:p:`brodersen2010`; of areas under the curve the
        score interval :cite:p:`newcombe2006`; of rank correlations Fisher's :cite:p:`bonett2000`, and of the mean absolute error
        Student's. With `group_key`, as if each group counted once per class. None (NaN) for
        clusterings.
    `n`
        Samples, or folds for clusterings.
    `gained`, `lost`, `p_value`
        Samples (with `group_key` groups) that were predicted rightly more often than with the baseline, and less often, or, of
        grades and numbers, more closely and less, by the same classifier (its `"class_mean"` or `"neighbors"` where it has not got
        that one); and the two-sided sign test. They are about predictions, whatever the score in the row; none (NaN) for
        batches.

    Raises
    ------
    KeyError, ValueError
        If there was no cross-validation, or the baseline was not part of it.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> _ = sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "euclidean"], cv=5, rng=0)
    >>> sg.get.scores(adata, baseline="euclidean").columns[:4].tolist()
    ['method', 'classifier', 'score', 'value']
    """
    check_cells("adata", adata)
    entry = stored_scores(adata, key)
    names = entry["predictions"]["method"].unique()
    if baseline is not None and baseline not in names:
        msg = f"baseline={baseline!r} was not cross-validated. Found: {check.listed(names, limit=None)}"
        raise ValueError(msg)

    from scggml.evaluation._cross_validation import summary

    classes = [str(name) for name in entry["classes"]]
    return summary(entry["predictions"], entry["scores"], classes=classes, baseline=baseline)


def stored_scores(adata: AnnData | MuData, key: str) -> dict[str, Any]:
    """Return the `.uns` entry of a cross-validation, or say how to make one."""
    name = Keys(key).cross_validation
    if name not in adata.uns:
        msg = (
            f"there is no cross-validation in uns[{name!r}]. Run sg.tl.cross_validate(adata, sample_key, label_key, "
            f"key_added={key!r}) first."
        )
        raise KeyError(msg)
    return dict(adata.uns[name])
