"""Distances that were computed under a learned metric, and whether they belong to these cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import read_sketch
from scggml._keys import Keys
from scggml.get import distances as get_distances

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort

_SAME = 1e-6


def learned_distances(pdata: AnnData, key: str) -> dict[str, Any]:
    get_distances(pdata, key=key)  # or say that there are none
    known = pdata.uns.get(Keys(key).metric)
    if known is None or known.get("metric") != "learned":
        found = "nothing" if known is None else f"metric={known.get('metric')!r}"
        msg = (
            f"pdata must hold distances under the learned metric, found {found} in uns[{key!r}]. Compute them with "
            f"sg.tl.sample_distances(adata, key={key!r})."
        )
        raise ValueError(msg)
    return dict(known)


def check_same_solver(known: dict[str, Any], entry: dict[str, Any], key: str) -> None:
    """Refuse distances that differ from those of held-out samples, which are by the solver of the metric."""
    wanted, found = ((e["params"].get("solver", "exact"), float(e.get("epsilon", 0.0))) for e in (entry, known))
    if wanted != found:
        texts = [name if name == "exact" else f"{name} (epsilon {epsilon:.6g})" for name, epsilon in (wanted, found)]
        msg = (
            f"the metric was learned with solver {texts[0]}, the distances in pdata were computed with {texts[1]}, so that those of held-out "
            f"samples are not comparable. Compute distances with sg.tl.sample_distances(adata, key={key!r}), which takes the metric's "
            "solver, or learn the metric with the other one, or pass calibrate=False."
        )
        raise ValueError(msg)


def order_of_samples(pdata: AnnData, cohort: Cohort) -> NDArray[np.int64]:
    """Return the position in the cohort of each sample of `pdata`."""
    order = pd.Index(cohort.names).get_indexer(pdata.obs_names.astype(str))
    absent = np.setdiff1d(np.arange(len(cohort.names)), order)
    if (order < 0).any() or len(absent) or not pdata.obs_names.is_unique:
        msg = (
            f"pdata must hold the samples of adata, each once, found {pdata.n_obs} for {len(cohort.names)}; not in adata: "
            f"{check.listed(pdata.obs_names[order < 0])}; not in pdata: {check.listed(cohort.names[absent])}. Compute "
            "sg.tl.sample_distances(adata) on the same cells."
        )
        raise ValueError(msg)
    return np.asarray(order, dtype=np.int64)


def check_same_metric(
    points: NDArray[np.float64], cohort: Cohort, pdata: AnnData, known: dict[str, Any], key: str, adata: AnnData,
    order: NDArray[np.int64],
) -> None:  # fmt: skip
    """Refuse distances that this metric does not give: one of them is computed again."""
    if known["params"].get("solver", "exact") != "exact" or len(order) < 2:
        return
    sketch_key = known["params"].get("sketch_key")
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, known["params"]["sample_key"], cohort)
    measures = cohort.measures(points, sketch)

    from scggml.core.transport._distances import pairwise_distances

    first, second = np.argsort(cohort.sizes[order], kind="stable")[:2]
    again = pairwise_distances(measures.take(order[[first, second]]))[0][0, 1]
    stored = get_distances(pdata, key=key).to_numpy()[first, second]
    if not np.isclose(again, stored, rtol=_SAME, atol=1e-12):
        names = pdata.obs_names[[first, second]]
        msg = (
            f"pdata does not hold the distances of the metric in adata.uns[{key!r}]: {names[0]!r} and {names[1]!r} are {stored:.6g} "
            f"apart there, {again:.6g} under the metric. Compute them again with sg.tl.sample_distances(adata, key={key!r})."
        )
        raise ValueError(msg)
