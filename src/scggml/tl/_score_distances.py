"""The field's scores of distances between samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml._anndata._covariates import read_covariates, read_patients
from scggml._anndata._distances import check_not_training, checked_distances
from scggml._anndata._sample_graph import pseudotime_since, trajectory_graph
from scggml._anndata._slots import check_free, distance_score_slots
from scggml._anndata._writing import check_writable, stored_params, stored_result, writable
from scggml._arguments import checked, columns, text
from scggml._docs import shared_doc
from scggml._keys import Keys
from scggml.core._neighbors import medoid
from scggml.evaluation._representation_scores import (
    N_NEIGHBORS,
    Covariate,
    information_retention,
    replicate_robustness,
    reversed_score,
    trajectory_preservation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

_COLUMNS = ("covariate", "role", "kind", "score", "value", "ci_low", "ci_high", "n")


@shared_doc
@checked(
    relevant=columns,
    technical=columns,
    contextual=columns,
    replicate_key=text("the name of a column of obs"),
)
def score_distances(
    pdata: AnnData,
    relevant: str | Sequence[str] | None = None,
    *,
    technical: str | Sequence[str] | None = None,
    contextual: str | Sequence[str] | None = None,
    replicate_key: str | None = None,
    key: str = "ggml",
) -> pd.DataFrame:
    """Score distances between samples by what is known of the samples: the scores of SPARE.

    These are the scores by which the field compares representations of patients :cite:p:`shitov2025`, computed as in
    patpy :cite:p:`patpy`. All are between 0 and 1, and larger is better:

    - `"information_retention"` of relevant and contextual covariates: how well the value of a sample is predicted by
      its 3 nearest samples, each weighted by one over its distance. For classes, macro F1 corrected for chance: with L
      classes, L / (L - 1) (F1 - 1 / L). For other values, Spearman's correlation between values and predictions.
      Negative scores are set to zero. (The publication weights neighbours alike, and takes the absolute value of
      correlations.)
    - `"batch_removal"` of technical covariates: one minus the same.
    - `"trajectory_preservation"` of relevant covariates with an order: the absolute Spearman correlation of the
      covariate with a diffusion pseudotime :cite:p:`haghverdi2016` that begins at the samples of its lowest value,
      at their medoid if there are several. The pseudotime has scanpy's settings, not those of
      :func:`scggml.tl.order_samples`.
    - `"replicate_robustness"`: the share of samples that are farther from a sample than its replicate, as a mean over
      patients. patpy 0.15 returns one minus the number of samples that are closer.

    Parameters
    ----------
    pdata
        Samples with distances: from :func:`scggml.tl.sample_distances`, or any others in
        `.obsp[key + "_distances"]`, if they have not seen the covariates. Distances under a learned metric must be
        held-out.
    relevant
        Columns of `.obs` that distances should reflect, such as the disease. The dtype decides how a column is scored:
        numbers are ordered, like ordered categories; other categories, text and booleans are classes. If numbers are
        names, such as those of batches, convert the column to a categorical.
    technical
        Columns that distances should not reflect, such as the batch or the number of cells.
    contextual
        Columns that are neither, such as the sex.
    replicate_key
        Column with the patient, if some have several samples. Samples of one patient then do not predict one another,
        and count as one in intervals.
    %(key_distances)s

    Returns
    -------
    A data frame with one row per score: `covariate`, `role`, `kind` ("class", "ordinal" or "continuous", as
    of labels), `score`, `value`, `ci_low` and `ci_high`, and `n`, the number of samples that it is a score of. The
    95 % intervals are those of :func:`scggml.get.scores`, and Student's over patients for replicates. They account
    for the number of samples, but not for samples that predict one another. Sets the following field of `pdata`:

    `.uns[key + "_distance_scores"]` : `dict`
        `params`, `table` (what is returned) and `version`.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances or columns, a column is constant or has another class in each sample, fewer than
        3 other samples can predict one, the distances are those of training samples, or `.uns` holds something other
        than an earlier result.

    Warns
    -----
    UserWarning
        If values are missing: these samples are left out, as in patpy. If some classes have only one sample.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> pdata.obs["depth"] = [float(i % 7) for i in range(30)]
    >>> table = sg.tl.score_distances(pdata, "label", technical="depth")
    >>> table["score"].tolist()
    ['information_retention', 'batch_removal']
    """
    matrix = checked_distances(pdata, key, minimum=N_NEIGHBORS + 1, what="a score of distances")
    check_not_training(pdata, key)
    check_writable(pdata, copy=False)
    check_free(pdata, distance_score_slots(key), "key", key)
    given: Any = {
        role: names if names is None or isinstance(names, str) else list(names)
        for role, names in (("relevant", relevant), ("technical", technical), ("contextual", contextual))
    }
    if replicate_key is None and all(names is None for names in given.values()):
        msg = (
            "there is nothing to score by. Pass columns of pdata.obs as relevant, technical, contextual or "
            "replicate_key."
        )
        raise ValueError(msg)
    units = np.arange(pdata.n_obs) if replicate_key is None else read_patients(pdata.obs, replicate_key)
    rows = _rows(matrix, read_covariates(pdata.obs, given, units), units)
    if replicate_key is not None:
        n = int((np.bincount(units)[units] > 1).sum())
        what = [replicate_key, "replicate", "class", "replicate_robustness"]
        rows.append([*what, *replicate_robustness(matrix, units), n])
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    params = stored_params(key=key, **given, replicate_key=replicate_key)
    writable(pdata, copy=False).uns[Keys(key).distance_scores] = stored_result(params=params, table=table.copy())
    return table


def _rows(matrix: NDArray[np.float64], covariates: list[Covariate], units: NDArray[np.int64]) -> list[list[Any]]:
    """Return one row per score of each covariate."""
    rows = []
    has_order = any(covariate.role == "relevant" and covariate.kind != "class" for covariate in covariates)
    graph = trajectory_graph(matrix) if has_order else None
    for covariate in covariates:
        known = np.flatnonzero(covariate.known)
        what, n = [covariate.name, covariate.role, covariate.kind], len(known)
        score = information_retention(matrix[np.ix_(known, known)], covariate.values, covariate.kind, units[known])
        if covariate.role == "technical":
            rows.append([*what, "batch_removal", *reversed_score(score), n])
            continue
        rows.append([*what, "information_retention", *score, n])
        if graph is not None and covariate.role == "relevant" and covariate.kind != "class":
            root = medoid(matrix, known[covariate.values == covariate.values.min()])
            score = trajectory_preservation(pseudotime_since(graph, root)[known], covariate.values, units[known])
            rows.append([*what, "trajectory_preservation", *score, n])
    return rows
