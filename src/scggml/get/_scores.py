"""Held-out scores as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scggml import _check as check
from scggml._anndata._entries import CROSS_VALIDATION, stored_entry, warn_about_label
from scggml._arguments import checked, text
from scggml._keys import Keys
from scggml.evaluation._cross_validation import summary

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked(baseline=text("a method"))
def scores(adata: AnnData, *, key: str = "ggml", baseline: str | None = None) -> pd.DataFrame:
    """Return the scores of a cross-validation over all held-out samples.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.cross_validate`.
    key
        Key of its results: `.uns[key + "_cross_validation"]`.
    baseline
        Method that the others are compared with. None for no comparison.

    Returns
    -------
    A data frame, whose `attrs["label_key"]` names the label, with one row per `method`, `classifier` and `score`:

    `value`
        Score over all held-out samples of a repeat, averaged over repeats. For clusterings, the mean over folds.
    `ci_low`, `ci_high`
        95 % confidence interval, which allows for the number of samples. The method depends on the score: for
        accuracies, a combination of Jeffreys intervals of the classes :cite:p:`zou2008`; for F1, a simulation of the
        confusion matrix :cite:p:`brodersen2010`; for areas under the curve, the score interval :cite:p:`newcombe2006`;
        for rank correlations, Fisher's interval :cite:p:`bonett2000`; for mean absolute errors, Student's interval; for
        separations, the jackknife :cite:p:`efron1981`. With `donor_key`, each donor counts once per class. NaN for
        clusterings.
    `n`
        Number of samples. For clusterings, the number of folds.
    `only_method`, `only_baseline`
        Discordant pairs of predictions: the number of samples (donors, with `donor_key`) that are predicted correctly
        more often by this method than by the baseline, and less often. For ordinal and continuous labels, the number
        that is predicted more closely, and less closely. Both methods use the same classifier. If the baseline lacks
        it, the baseline uses "class_mean", or "neighbors" for ordinal and continuous labels. These columns compare
        predictions, whatever the score of the row. NaN for the baseline itself, clusterings and predicted batches.
    `p_value`
        Two-sided sign test of the discordant pairs.
    `difference`, `difference_low`, `difference_high`
        Of `"separation"` only: by how much it is larger than that of the baseline on the same samples, with its 95 %
        interval.

    Rows with `classifier` `"distances"` need no classifier. For each held-out sample take the log of its mean distance
    to the other classes over that to its own class. `"separation"` is the mean of these over classes, divided by their
    standard deviation within classes. It is about zero if distances do not depend on the class. It changes with every
    sample, whereas an accuracy changes in steps of one sample, so it shows smaller differences between methods.
    `"nearer_own_class"` is the share of samples that are nearer to their own class, for which the log is positive.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there was no cross-validation, or the baseline was not part of it.

    Warns
    -----
    UserWarning
        If the metric was learned from another label since.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> _ = sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "euclidean"], cv=5, rng=0)
    >>> table = sg.get.scores(adata, baseline="euclidean")
    >>> table.columns[:4].tolist()
    ['method', 'classifier', 'score', 'value']
    """
    entry = stored_scores(adata, key)
    warn_about_label(adata, key, entry, "sg.tl.cross_validate")
    names = entry["predictions"]["method"].unique()
    if baseline is not None and baseline not in names:
        msg = f"baseline={baseline!r} was not cross-validated. Found: {check.listed(names, limit=None)}"
        raise ValueError(msg)
    classes = [str(name) for name in entry["classes"]]
    table = summary(entry["predictions"], entry["scores"], classes=classes, baseline=baseline)
    table.attrs["label_key"] = entry["params"].get("label_key")
    return table


def stored_scores(adata: AnnData, key: str) -> dict[str, Any]:
    """Return the `.uns` entry of a cross-validation, or say how to make one."""
    how = f"sg.tl.cross_validate(adata, sample_key, label_key, key_added={key!r})"
    return stored_entry(adata, Keys(key).cross_validation, CROSS_VALIDATION, "cross-validation", how)
