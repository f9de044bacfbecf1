"""Held-out accuracy and power of the separation test against the numbers of patients and of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import read_samples
from scggml._anndata._columns import is_numeric
from scggml._anndata._long_runs import announce
from scggml._anndata._slots import check_free, power_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked, integer, integers
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.core.measures._moments import feature_scale
from scggml.evaluation._power import Design, Pilot, learning_curve, planned_subsets
from scggml.evaluation._separation import check_left_out
from scggml.evaluation._work import power_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scggml._anndata._cohort import Cohort

_FEWEST = 3  # samples of a class


@shared_doc
@checked(n_samples=integers(2), n_cells=integers(2), n_repeats=integer(1))
def power(
    adata: AnnData,
    sample_key: str,
    label_key: str,
    *,
    n_samples: int | Sequence[int] | None = None,
    n_cells: int | Sequence[int] | None = None,
    n_repeats: int = 100,
    donor_key: str | None = None,
    batch_key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
) -> pd.DataFrame:
    """Estimate held-out accuracy and power in smaller cohorts, from random subsets of the samples and cells.

    Each subset is analysed as if it were the whole study. Its samples are held out one at a time (all of a donor
    together) and predicted by the `"class_mean"` rule under the default metric, which is learned from the others. Power
    is the share of subsets in which the learned statistic of :func:`scggml.tl.separation_test` has p <= 0.05, with 99
    permutations.

    Transport plans under the Euclidean metric do not depend on labels. They are solved once for each number of cells,
    and all distances are root mean squared lengths along them. So a subset takes a fraction of a second, and accuracies
    differ a little from those of :func:`scggml.tl.cross_validate`, which solves transport anew under each metric.

    Nothing is said of cohorts that are larger than this one.

    Parameters
    ----------
    adata
        Cells. Nothing is written but the field below.
    %(sample_key)s
    %(label_key)s
        Labels are classes, with at least three samples each.
    n_samples
        Numbers of samples; with `donor_key`, of donors. Classes have the same shares as in the whole cohort. None takes
        five numbers, from the smallest possible one to all samples.
    n_cells
        Numbers of cells, drawn at random from each sample. None takes as many as the smallest sample has.
    n_repeats
        Number of random subsets of each size. Of all samples there is only one.
    %(donor_key)s
    %(batch_key)s
    %(use_rep)s
    %(layer)s
    %(rng)s
    %(n_jobs)s
    %(key_added)s

    Returns
    -------
    A data frame with one row per number of samples and of cells: `n_samples`, `n_cells`, `n_repeats` (the number of
    subsets), `balanced_accuracy` with its 95 % interval `accuracy_low` and `accuracy_high`, and `power` with
    `power_low` and `power_high`. Intervals account for the number of samples (or donors) of the whole cohort. Those of
    power are wide if a subset is a large part of it: N samples hold only N / n cohorts of n that do not overlap. A mean
    over all subsets varies at most as much as one over so many cohorts :cite:p:`hoeffding1948`. Sets the following
    field of `adata`:

    `.uns[key_added + "_power"]` : `dict`
        `params`, `classes`, `table` (what is returned) and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column, the labels, or numbers of samples or cells do not allow it, for example more samples than there
        are, or `.uns` holds something other than an earlier result; before any work.

    Warns
    -----
    UserWarning
        If a batch holds one class only.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> table = sg.tl.power(adata, "sample", "label", n_samples=[12, 18], n_repeats=5, rng=0)
    >>> table[["n_samples", "n_cells", "n_repeats"]].to_numpy().tolist()
    [[12, 15, 5], [18, 15, 5]]
    """
    check_writable(adata, copy=False)
    check_free(adata, power_slots(key_added), "key_added", key_added)
    _check_numbers(adata, sample_key, label_key)
    subset_rng, cell_rng, permutation_rng = np.random.default_rng(rng).spawn(3)
    cohort = read_samples(
        adata, sample_key, label_key, batch_key=batch_key, donor_key=donor_key, use_rep=use_rep, layer=layer
    )
    targets = cohort.labels.targets
    check_left_out(targets, cohort.names)
    numbers = _cell_numbers(cohort, n_cells)
    design = Design(targets.codes, cohort.donors, cohort.batches)
    sizes = None if n_samples is None else np.atleast_1d(n_samples).tolist()
    subsets = planned_subsets(design, sizes, n_repeats, subset_rng)
    measures = cohort.measures.drawn(max(numbers), cell_rng)
    scale, constant = feature_scale(measures, cohort.features.scale)
    if constant.all():
        msg = f"no feature of {cohort.features.text} varies between cells: there is no difference to find"
        raise ValueError(msg)
    measures = measures.scaled(~constant / scale)
    announce(
        "power", lambda extent: power_work(extent, subsets, numbers), measures, n_jobs=n_jobs,
        cheaper=["fewer subsets (n_repeats)", "fewer numbers of samples (n_samples) or cells (n_cells)"],
    )  # fmt: skip
    found = {}
    for n in sorted(numbers, reverse=True):
        measures = measures.drawn(n, cell_rng)  # of those drawn before, so that curves differ by less
        pilot = Pilot.of(measures, design, n_jobs=n_jobs)
        found[n] = learning_curve(pilot, subsets, rng=permutation_rng, n_jobs=n_jobs)
    table = pd.concat([found[n].assign(n_cells=n) for n in numbers], ignore_index=True)
    table.insert(1, "n_cells", table.pop("n_cells"))
    params = stored_params(
        sample_key=sample_key, label_key=label_key, donor_key=donor_key, batch_key=batch_key,
        use_rep=cohort.features.use_rep, layer=layer, n_units=len(np.unique(design.units)), rng=rng,
    )  # fmt: skip
    writable(adata, copy=False).uns[Keys(key_added).power] = stored_result(
        params=params, classes=cohort.labels.classes, table=table.copy()
    )
    return table


def _check_numbers(adata: AnnData, sample_key: str, label_key: str) -> None:
    """Refuse numbers that are no classes; elsewhere they are read with another `label_kind`."""
    labels = check.check_column("label_key", label_key, adata.obs)
    samples = check.check_column("sample_key", sample_key, adata.obs)
    if is_numeric(labels) and samples.groupby(labels.to_numpy()).nunique().min() < _FEWEST:
        msg = (
            f"label_key={label_key!r} holds numbers, some of them in fewer than {_FEWEST} samples. Only classes "
            f"have an accuracy: cut them into classes, for example with pandas.cut(adata.obs[{label_key!r}], 3)."
        )
        raise ValueError(msg)


def _cell_numbers(cohort: Cohort, n_cells: int | Sequence[int] | None) -> list[int]:
    """Return the numbers of cells, which every sample must have."""
    smallest = int(cohort.sizes.min())
    numbers = [smallest] if n_cells is None else np.atleast_1d(n_cells).tolist()
    if max(numbers) > smallest:
        few = cohort.names[cohort.sizes < max(numbers)]
        msg = (
            f"n_cells={max(numbers)} is more than {len(few)} of {len(cohort)} samples have: {check.listed(few)}; the "
            f"smallest has {smallest}. Pass smaller numbers, or drop these samples with sg.pp.filter_samples(adata, "
            f"{cohort.sample_key!r}, min_cells={max(numbers)})."
        )
        raise ValueError(msg)
    return numbers
