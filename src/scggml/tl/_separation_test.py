"""Permutation test of the labels of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scggml._anndata._cohort import read_samples
from scggml._anndata._long_runs import announce
from scggml._anndata._slots import check_free, separation_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked, either, integer
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml._warnings import warn
from scggml.core.measures._moments import feature_scale
from scggml.evaluation._permutations import Exchange
from scggml.evaluation._separation import check_left_out, separation_tests
from scggml.evaluation._work import separation_work

if TYPE_CHECKING:
    from anndata import AnnData

    from scggml._anndata._cohort import Cohort
    from scggml.core.measures._measures import Measures
    from scggml.core.metric._targets import LabelKind

_LEVEL = 0.05


@shared_doc
@checked(n_permutations=integer(19), n_cells=either("equal", None, otherwise="a number of cells", rule=integer(2)))
def separation_test(
    adata: AnnData,
    sample_key: str,
    label_key: str,
    *,
    label_kind: LabelKind = "class",
    n_permutations: int = 999,
    n_cells: Literal["equal"] | int | None = "equal",
    donor_key: str | None = None,
    batch_key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    sketch_key: str | None = None,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    key_added: str = "ggml",
) -> pd.DataFrame:
    """Test whether distances depend on the labels more than on random labels.

    Three statistics, each compared with its values under the same permutations of the labels:

    - `"learned"`: by how much a sample is nearer to its own class than to the nearest other class, under the closed
      form of :func:`scggml.tl.fit_metric` fitted without that sample. For every permutation and every held-out sample
      the metric is refitted, so that the null distribution includes what a flexible metric fits by chance. For ordinal
      and continuous labels the statistic is the rank correlation between the label and the mean label of the nearest
      samples.
    - `"euclidean"`: the same for optimal transport with the Euclidean metric, which is not learned.
    - `"permanova"`: the pseudo-F ratio of these Euclidean distances :cite:p:`anderson2001`; for ordinal and continuous
      labels that of distance-based regression :cite:p:`mcardle2001`.

    Transport plans under the Euclidean metric do not depend on labels. They are solved once, and the learned statistic
    takes root mean squared lengths along them: a thousand permutations take seconds. The closed form is not shrunk by
    the signal of the labels here, and does not have the settings of a `learner`.

    Parameters
    ----------
    adata
        Cells. Nothing is written but the field below.
    %(sample_key)s
    %(label_key)s
        At least three samples of each class.
    %(label_kind)s
    n_permutations
        Number of random permutations. If no more than these are possible, each is taken once and the test is exact.
    n_cells
        Upper bound on the cells of each sample, drawn at random. "equal" draws from each as many as the smallest
        sample has. Transport between few cells is longer by chance: with all cells (None), the test also detects
        classes that differ in nothing but the number of cells. The points of a sketch are all taken.
    %(donor_key)s
        Labels are permuted within donors that have several of them. Donors with one label are permuted as a whole, with
        donors of the same number of samples.
    %(batch_key)s
        Labels are permuted within batches only.
    %(use_rep)s
    %(layer)s
    %(sketch_key)s
    %(rng)s
    %(n_jobs)s
    %(key_added)s

    Returns
    -------
    A data frame indexed by `test`, with `statistic`, `null_mean`, `null_sd`, `p_value`, `n_permutations` and
    `exact`. The p-value is (b + 1) / (m + 1), where b of m random permutations reach the statistic, ties included; it
    is b / m if all permutations were taken. Sets the following field of `adata`:

    `.uns[key_added + "_separation"]` : `dict`
        `params`, `table` (what is returned), `null` (n_permutations, 3) and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column or the labels do not allow it, or `.uns` holds something other than an earlier result; before any
        work.

    Warns
    -----
    UserWarning
        If so few permutations are possible that no p-value can be below 0.05; if all cells are compared and their
        number depends on the label; or if a batch holds one class only.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> table = sg.tl.separation_test(adata, "sample", "label", n_permutations=99, rng=0)
    >>> float(table.loc["learned", "p_value"])
    0.01
    """
    check_writable(adata, copy=False)
    check_free(adata, separation_slots(key_added), "key_added", key_added)
    permutation_rng, cell_rng = np.random.default_rng(rng).spawn(2)
    cohort = read_samples(
        adata, sample_key, label_key, label_kind=label_kind, batch_key=batch_key, donor_key=donor_key,
        use_rep=use_rep, layer=layer, sketch_key=sketch_key,
    )  # fmt: skip
    labels = cohort.labels
    check_left_out(labels.targets, cohort.names)
    exchange = Exchange.of(labels.targets.codes, cohort.donors, cohort.batches, kind=labels.kind)
    if exchange.smallest_p > _LEVEL:
        msg = (
            f"only {exchange.n_possible} permutations of the labels are possible, some of them equivalent: no p-value "
            f"can be below {exchange.smallest_p:.3g}. More samples are needed, or donors or batches that hold more of "
            "them."
        )
        warn(msg)
    measures = _scaled(cohort, n_cells, cell_rng)
    announce(
        "separation_test", lambda extent: separation_work(extent, exchange, n_permutations), measures, n_jobs=n_jobs,
        adata=adata, cohort=cohort, cheaper=["fewer cells (n_cells)", "fewer permutations (n_permutations)"],
    )  # fmt: skip
    tests = separation_tests(
        measures, labels.targets, exchange, n_permutations=n_permutations, rng=permutation_rng, n_jobs=n_jobs
    )
    table = pd.DataFrame(
        [[t.statistic, t.null.mean(), t.null.std(), t.p_value, len(t.null), t.exact] for t in tests.values()],
        index=pd.Index(tests, name="test"),
        columns=["statistic", "null_mean", "null_sd", "p_value", "n_permutations", "exact"],
    )
    params = stored_params(
        sample_key=sample_key, label_key=label_key, label_kind=label_kind, donor_key=donor_key, batch_key=batch_key,
        use_rep=cohort.features.use_rep, layer=layer, sketch_key=sketch_key, n_permutations=n_permutations,
        n_cells=n_cells, rng=rng,
    )  # fmt: skip
    writable(adata, copy=False).uns[Keys(key_added).separation] = stored_result(
        params=params, table=table.copy(), null=np.stack([t.null for t in tests.values()], axis=1)
    )
    return table


def _scaled(cohort: Cohort, n_cells: Literal["equal"] | int | None, rng: np.random.Generator) -> Measures:
    """Return the samples with as many cells as asked for, in units of the features."""
    measures = cohort.measures
    if cohort.sketch is None and n_cells is not None:
        measures = measures.drawn(int(cohort.sizes.min()) if n_cells == "equal" else n_cells, rng)
    else:
        cohort.warn_about_sizes()
    scale, constant = feature_scale(measures, cohort.features.scale)
    if constant.all():
        msg = f"no feature of {cohort.features.text} varies between cells: there is no difference to test"
        raise ValueError(msg)
    return measures.scaled(~constant / scale)
