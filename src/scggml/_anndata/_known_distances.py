"""Distances that were computed under a learned metric, and whether they belong to these cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml.core.transport._exact import solve_pairs

from ._distances import distances_entry, read_distances, refuse_held_out
from ._learners import is_exact, solver_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._cohort import Cohort
    from ._stored_metric import StoredMetric

_SAME = 1e-6


def learned_distances(pdata: AnnData, key: str) -> dict[str, Any]:
    """Return what is stored of distances, which must be those of a learned metric."""
    entry = distances_entry(pdata, key)
    if entry["metric"] != "learned":
        msg = (
            f"pdata must hold distances under the learned metric, found metric={entry['metric']!r} in uns[{key!r}]. "
            f"Compute them with sg.tl.sample_distances(adata, key={key!r})."
        )
        raise ValueError(msg)
    refuse_held_out(entry, key, "A reference")
    return entry


def check_same_solver(known: dict[str, Any], learned: StoredMetric) -> None:
    """Refuse distances that differ from those of held-out samples, which are by the solver of the metric."""
    wanted, found = learned.solver, solver_of(known)
    if any(getattr(wanted, name, None) != getattr(found, name, None) for name in ("epsilon", "debiased")):
        msg = (
            f"the metric was learned with solver {wanted}, the distances in pdata were computed with {found}, so that "
            "those of held-out samples are not comparable. Compute distances with sg.tl.sample_distances(adata, "
            f"key={learned.key!r}), which takes the metric's solver, or learn the metric with the other one, or pass "
            "cv=None."
        )
        raise ValueError(msg)


def order_of_samples(pdata: AnnData, cohort: Cohort) -> NDArray[np.int64]:
    """Return the position in the cohort of each sample of `pdata`."""
    order = pd.Index(cohort.names).get_indexer(pdata.obs_names.astype(str))
    absent = np.setdiff1d(np.arange(len(cohort)), order)
    if (order < 0).any() or len(absent) or not pdata.obs_names.is_unique:
        msg = (
            f"pdata must hold the samples of adata, each once, found {pdata.n_obs} for {len(cohort)}; not in adata: "
            f"{check.listed(pdata.obs_names[order < 0])}; not in pdata: {check.listed(cohort.names[absent])}. Compute "
            "sg.tl.sample_distances(adata) on the same cells."
        )
        raise ValueError(msg)
    return np.asarray(order, dtype=np.int64)


def check_same_metric(
    points: NDArray[np.float64],
    cohort: Cohort,
    pdata: AnnData,
    known: dict[str, Any],
    key: str,
    order: NDArray[np.int64],
) -> None:
    """Refuse distances that this metric does not give: one of each sample is computed again.

    Parameters
    ----------
    points
        Cells in the learned space, (n_obs, n_components).
    cohort
        The samples, with the sketch that the distances were computed with.
    pdata, known, key
        The distances, what is stored of them, and their key.
    order
        Position in the cohort of each sample of `pdata`.
    """
    if not is_exact(known) or len(order) < 2:
        return
    by_size = np.argsort(cohort.sizes[order], kind="stable")
    pairs = np.stack([by_size[:-1:2], by_size[1::2]], axis=1)
    if len(order) % 2:
        pairs = np.concatenate([pairs, by_size[None, -2:]])
    again = solve_pairs(cohort.measures_of(points).take(order), pairs).distances
    stored = read_distances(pdata, key).to_numpy()[pairs[:, 0], pairs[:, 1]]
    wrong = np.flatnonzero(~np.isclose(again, stored, rtol=_SAME, atol=1e-12))
    if len(wrong):
        names, i = pdata.obs_names[pairs[wrong[0]]], wrong[0]
        msg = (
            f"pdata does not hold the distances of the metric in adata.uns[{key!r}]: between {names[0]!r} and "
            f"{names[1]!r} it stores {stored[i]:.6g}, but the metric gives {again[i]:.6g} ({len(wrong)} of "
            f"{len(pairs)} differ). Compute them again with sg.tl.sample_distances(adata, key={key!r})."
        )
        raise ValueError(msg)
