"""Permutation test of the classes of samples."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import read_cohort, read_representation, read_sketch, sample_column
from scggml._anndata._labels import read_labels
from scggml._anndata._modalities import check_without, evaluate_joint, is_mudata
from scggml._anndata._samples import warn_about_sizes
from scggml._anndata._stored_metric import check_writable, stored_params, writable
from scggml._keys import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from scggml._anndata._cohort import Cohort
    from scggml._anndata._labels import Labels

_MIN_SAMPLES = 3  # of a class: two are left to learn from when one is held out
_LEVEL = 0.05


def separation_test(
    adata: AnnData | MuData,
    sample_key: str,
    label_key: str,
    *,
    n_permutations: int = 999,
    n_cells: Literal["equal"] | int | None = "equal",
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
    """Test whether the classes are further apart than labels given out at random.

    Three statistics, each compared with its values under the same relabelings of samples:

    - `"learned"`: by how much a sample is nearer to its own class than to the best other, under the closed form of
      :func:`scggml.tl.fit_metric` learned without that sample. The metric is learned anew for every relabeling and every
      held-out sample, so that what a flexible metric makes of chance is part of the null distribution.
    - `"euclidean"`: the same for optimal transport with the Euclidean metric, which is not learned.
    - `"permanova"`: the pseudo-F ratio of these Euclidean transport distances :cite:p:`anderson2001`.

    Transport plans under the Euclidean metric do not depend on labels. They are solved once, and the learned statistic measures
    root mean squared transport along them, which makes a thousand relabelings a matter of seconds.

    Parameters
    ----------
    adata
        Cells; or a MuData with several modalities of the same cells. Nothing is written but the field below.
    sample_key, label_key
        Columns of `.obs`: the sample of each cell, and the class of each sample, three samples at least of each.
    n_permutations
        Number of random relabelings. Where no more than these are possible, each is taken once and the test is exact.
    n_cells
        Cells drawn at random of each sample, at most; "equal" draws as many as the smallest sample has. Transport between few
        cells is longer by chance: with all cells (None) the test also finds classes that differ in nothing but the number of
        cells. Of a sketch, points are taken as they are.
    group_key
        Column of `.obs` with groups of samples, such as donors. Labels are exchanged within groups of several classes (paired
        designs); groups of one class each keep together, and exchange labels with groups of as many samples.
    batch_key
        Column of `.obs` with batches: labels are exchanged within batches only, and metrics are learned as with the `batch_key` of
        :func:`scggml.tl.fit_metric`.
    use_rep, layer, mod, intersect, sketch_key
        Features, and points that stand in for the cells, as in :func:`scggml.tl.fit_metric`. The units that balance the modalities
        of a MuData are those of all its cells, without labels, like principal components.
    rng
        Seed or generator for the relabelings.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    key_added
        Key of the results.

    Returns
    -------
    A data frame indexed by `test`, with `statistic`, `null_mean`, `null_sd`, `p_value`, `n_permutations` and `exact`. The
    p-value is (b + 1) / (m + 1) for b of m random relabelings that do as well, ties included, and b / m when all
    relabelings were taken. Sets the following field of `adata`:

    `.uns[key_added + "_separation"]` : `dict`
        `params`, `table` (what is returned) and `null` (n_permutations, 3).

    Raises
    ------
    KeyError, ValueError, TypeError
        If a column or the classes do not allow it; before any work.

    Warns
    -----
    UserWarning
        If so few relabelings are possible that no p-value could be below 0.05; if all cells are compared and their number goes
        with the class; or if some batch holds one class only.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> table = sg.tl.separation_test(adata, "sample", "label", n_permutations=99, rng=0)
    >>> float(table.loc["learned", "p_value"])
    0.01
    """
    check.check_name("key_added", key_added)
    if is_mudata(adata):
        check_without("a MuData", layer=layer, sketch_key=sketch_key)
        return evaluate_joint(
            separation_test, adata, Keys(key_added).separation, sample_key, label_key, columns=[group_key, batch_key], mod=mod, use_rep=use_rep,
            intersect=intersect, n_permutations=n_permutations, n_cells=n_cells, group_key=group_key, batch_key=batch_key, rng=rng, n_jobs=n_jobs, key_added=key_added,
        )  # fmt: skip
    check_without("an AnnData", mod=mod, intersect=intersect or None)
    check.check_anndata("adata", adata)
    check_writable(adata, copy=False)
    check.check_integer("n_permutations", n_permutations, minimum=19)
    if isinstance(n_cells, str):
        check.check_choice("n_cells", n_cells, ("equal",))
    elif n_cells is not None:
        check.check_integer("n_cells", n_cells, minimum=2)
    check.check_jobs(n_jobs)
    generator = check.check_random_generator(rng)
    cohort = read_cohort(adata, sample_key)
    labels = read_labels(adata, cohort, label_key, batch_key=batch_key)
    check.check_classes(labels.text, name=f"label_key={label_key!r}", minimum=_MIN_SAMPLES)
    _check_left_out(cohort, labels, batch_key)
    groups = sample_column(adata.obs, "group_key", group_key, cohort)
    batches = sample_column(adata.obs, "batch_key", batch_key, cohort)

    from scggml.core.measures._moments import feature_scale
    from scggml.evaluation._permutations import Exchange
    from scggml.evaluation._separation import separation_tests

    exchange = Exchange.of(labels.targets.codes, groups, batches)
    if exchange.smallest_p > _LEVEL:
        msg = (
            f"labels can be given out in {exchange.n_possible} ways only, some of them alike: no p-value can be below "
            f"{exchange.smallest_p:.3g}. More samples are needed, or blocks that hold more of them."
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
    representation = read_representation(adata, use_rep, layer)
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, sample_key, cohort)
    measures = cohort.measures(representation.points, sketch)
    permutation_rng, cell_rng = generator.spawn(2)
    if sketch is None and n_cells is not None:
        measures = measures.drawn(int(cohort.sizes.min()) if n_cells == "equal" else n_cells, cell_rng)
    else:
        warn_about_sizes(cohort, labels)
    scale, constant = feature_scale(measures, representation.scale)
    if constant.all():
        msg = (
            f"no feature of {representation.text} varies between cells: there is no difference between classes to test"
        )
        raise ValueError(msg)
    tests = separation_tests(
        measures.scaled(~constant / scale),
        labels.targets,
        exchange,
        n_permutations=n_permutations,
        rng=permutation_rng,
        n_jobs=n_jobs,
    )
    table = pd.DataFrame(
        [[t.statistic, t.null.mean(), t.null.std(), t.p_value, len(t.null), t.exact] for t in tests.values()],
        index=pd.Index(tests, name="test"),
        columns=["statistic", "null_mean", "null_sd", "p_value", "n_permutations", "exact"],
    )
    params = {
        "sample_key": sample_key, "label_key": label_key, "group_key": group_key, "batch_key": batch_key,
        "use_rep": representation.use_rep, "layer": representation.layer, "sketch_key": sketch_key,
        "n_permutations": n_permutations, "n_cells": n_cells, "rng": rng,
    }  # fmt: skip
    writable(adata, copy=False).uns[Keys(key_added).separation] = {
        "params": stored_params(**params),
        "table": table.copy(),
        "null": np.stack([t.null for t in tests.values()], axis=1),
    }
    return table


def _check_left_out(cohort: Cohort, labels: Labels, batch_key: str | None) -> None:
    """Refuse batches within which there is nothing to compare once some sample is left out; relabelings change nothing in that."""
    targets = labels.targets
    if labels.blocks is None or targets.blocks is None:
        return
    counts = pd.crosstab(targets.blocks, targets.codes).to_numpy()
    mixed = np.flatnonzero((counts > 0).sum(axis=1) > 1)
    if len(mixed) > 1 or ((counts[mixed[0]] > 1).sum() > 1) or ((counts[mixed[0]] > 0).sum() > 2):
        return
    of_block = targets.blocks == mixed[0]
    alone = [i for i in np.flatnonzero(of_block) if counts[mixed[0], targets.codes[i]] == 1]
    msg = (
        f"batch_key={batch_key!r} has one batch with several classes ({np.unique(labels.blocks)[mixed[0]]}), and one class there is sample "
        f"{cohort.names[alone[0]]} alone: when it is held out, no batch is left to learn from. Leave batch_key out, knowing that "
        "batches may be what is learned, or add samples."
    )
    raise ValueError(msg)
