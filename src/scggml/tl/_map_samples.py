"""New samples beside those of a reference."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scggml import _check as check
from scggml._anndata._cohort import read_samples
from scggml._anndata._columns import is_numeric, kept_palettes, sample_numbers, sample_sizes
from scggml._anndata._distances import distances_entry, read_distances, refuse_held_out, status_of_map
from scggml._anndata._learners import is_exact, solver_of
from scggml._anndata._long_runs import announce
from scggml._anndata._stored_reference import read_reference
from scggml._arguments import checked
from scggml._docs import shared_doc
from scggml._keys import HELD_OUT, IS_REFERENCE, N_CELLS, SKETCH_ERROR, Keys, embedding
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import cross_pairs, square_pairs
from scggml.core.transport._work import transport_work
from scggml.reference._novelty import novelty
from scggml.reference._placement import place_on_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort
    from scggml._anndata._stored_reference import InGenes, StoredReference

logger = logging.getLogger(__name__)

_AGAIN = "Make the reference again with sg.tl.make_reference."


@shared_doc
@checked()
def map_samples(
    new: AnnData,
    reference: AnnData,
    sample_key: str | None = None,
    *,
    key: str = "ggml",
    use_rep: str | None = None,
    n_jobs: int | None = None,
) -> AnnData:
    """Compute the distances of new samples to those of a reference, and add them to its map.

    Cells are projected as by :func:`scggml.tl.project`. Distances of new samples to those of the reference and to one
    another are the same as :func:`scggml.tl.sample_distances` computes for all cells together; if the reference keeps
    a sketch of its cells, they are those of the sketch. Distances within the reference are copied. On the map of
    `method="mds"`, samples of the reference keep their coordinates. Each new one gets the coordinates at which its
    distances on the map differ least from those to the reference, by least squares that start from Gower's
    interpolation of classical scaling :cite:p:`gower1968`. Other maps cannot take new samples and are left out.

    Samples that the metric was learned on are further apart than new ones will be: metric and principal components
    were fitted to them. So new samples tend to the middle of the map. :func:`scggml.tl.embed_samples` of the result
    makes a new map of all samples together, on which they have more room. The position of a new sample on a map does
    not prove its class; use :func:`scggml.tl.predict_samples`.

    Parameters
    ----------
    new
        Cells of the new samples, normalised like those of the reference. Nothing is written to it.
    reference
        From :func:`scggml.tl.make_reference`, with the map of :func:`scggml.tl.embed_samples` if new samples are to be
        added to it. Nothing is written to it.
    sample_key
        Column of `new.obs` with the sample of each cell. None takes the name of the column in the reference.
    key
        Key of the reference.
    use_rep
        As in :func:`scggml.tl.project`.
    %(n_jobs)s

    Returns
    -------
    A sample-level AnnData of the samples of the reference followed by the new ones, by name, (n_reference +
    n_new, 0), with the fields

    `.obs` : `pandas.DataFrame`
        `is_reference`; the label, missing where the new samples have none; `n_cells` and all other columns that both
        have; `sketch_error`, if the reference has it, which is zero for new samples.
    `.obsp[key + "_distances"]` : `numpy.ndarray`, float64
        All distances.
    `.obsm["X_mds"]` : `numpy.ndarray`, float64
        The map, if the reference has one.
    `.obsm[key + "_novelty"]` : `pandas.DataFrame`
        Measures by which :func:`scggml.tl.predict_samples` detects outliers, if the metric acts on principal
        components of genes and the reference was calibrated. Those of samples of the reference were measured while
        they were held out. `outside`: log length of the mean of a sample's cells outside of the components, minus the
        part due to sampling of cells. `new_cluster`: log ratio of the two largest variances of its cells outside,
        minus that of noise. For each cluster of cells, `shift_0` and so on: squared distance of its mean from that of
        the other cells outside, minus the part due to sampling; `share_0`: log odds of its share of the cells. All
        with standard errors by sampling of cells, `outside_error` and so on. All but shares are missing for samples of
        fewer than eight cells; shifts are missing if the cluster or the rest has fewer than eight.
    `.uns[key]` : `dict`
        As of :func:`scggml.tl.sample_distances`.
    `.uns[key + "_reference"]` : `dict`
        `params` and `calibration` of the reference.

    Raises
    ------
    KeyError, ValueError, TypeError
        If new samples have names of samples of the reference, or cells cannot be projected.

    Warns
    -----
    UserWarning
        As :func:`scggml.tl.project`.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> sg.tl.embed_samples(pdata, "mds")
    >>> reference = sg.tl.make_reference(adata, pdata, cv=None)
    >>> new = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=1)
    >>> new.obs["sample"] = "new_" + new.obs["sample"].astype(str)
    >>> mapped = sg.tl.map_samples(new, reference)
    >>> mapped.obsp["ggml_distances"].shape
    (60, 60)
    >>> ax = sg.pl.sample_map(mapped, color="is_reference")
    """
    known = read_reference(reference, key)
    distances = read_distances(reference, key).to_numpy()
    source = distances_entry(reference, key)
    refuse_held_out(source, key, "A map of new samples")
    _check_map(reference)
    source.pop("status", None)  # it has samples of both kinds
    _check_columns(reference, [N_CELLS, *([SKETCH_ERROR] if known.is_sketched and is_exact(source) else [])])
    params = known.entry["params"]
    cohort = read_samples(new, params["sample_key"] if sample_key is None else sample_key, features=False)
    _check_names(cohort, reference)
    obs = _joint_obs(reference, cohort.table(new.obs), params)
    if SKETCH_ERROR in reference.obs:
        errors = sample_numbers(reference, SKETCH_ERROR, _AGAIN, minimum=0)
        obs[SKETCH_ERROR] = np.concatenate([errors, np.zeros(len(obs) - len(errors))])
    cells, in_genes = known.project(new, use_rep)

    measures = cohort.measures_of(cells)
    options: Any = {"solver": solver_of(source), "n_jobs": n_jobs}  # as the distances that there are
    n, m = len(measures), len(known.measures)
    pairs = np.concatenate([cross_pairs(n, m), square_pairs(n)])
    announce(
        "map_samples", lambda extent: transport_work(extent, pairs, options["solver"]),
        measures.concat(known.measures), **options,
        cheaper=["a reference of fewer points, sg.tl.make_reference(..., n_points=100)", "fewer cells of new samples"],
    )  # fmt: skip
    across, gap = pairwise_distances(measures, known.measures, progress="to the reference", **options)
    within, own_gap = pairwise_distances(measures, progress="between new samples", **options)

    keys = Keys(key)
    return AnnData(
        obs=obs,
        obsp={keys.distances: np.block([[distances, across.T], [across, within]])},
        obsm={**_extended_map(reference, across), **_novelty(known, in_genes, cohort, keys, obs.index)},
        uns={
            **_kept_palettes(reference, obs),
            **_entry_of_map(reference),
            keys.metric: {**source, "gap": max(float(source.get("gap", 0.0)), gap, own_gap)},
            keys.reference: {name: known.entry[name] for name in ("params", "calibration") if name in known.entry},
        },
    )


def _check_columns(reference: AnnData, columns: list[str]) -> None:
    """Refuse a table of samples that has lost what `make_reference` wrote to it."""
    check.check_unique_columns(reference.obs.columns, "reference")
    missing = [name for name in columns if name not in reference.obs]
    if missing:
        msg = (
            f"reference.obs has no column {check.listed(map(repr, missing))}: it was replaced after "
            "sg.tl.make_reference. Add columns of your own to it, with reference.obs.join(...), and keep those there."
        )
        raise KeyError(msg)


def _check_map(reference: AnnData) -> None:
    """Refuse a map of other distances than those by which new samples are placed on it."""
    name = embedding("mds")
    if name in reference.obsm and status_of_map(reference, name) == HELD_OUT:
        msg = (
            f"the map in reference.obsm[{name!r}] is one of held-out distances, on which new samples cannot be placed. "
            "Compute one of the distances of the reference with sg.tl.embed_samples(reference)."
        )
        raise ValueError(msg)


def _check_names(cohort: Cohort, reference: AnnData) -> None:
    clash = sorted(set(cohort.names) & set(reference.obs_names.astype(str)))
    if clash:
        msg = (
            f"{len(clash)} new sample(s) have names of samples of the reference: {check.listed(clash)}. If they are "
            "the same samples, leave them out; else rename them."
        )
        raise ValueError(msg)


def _novelty(
    known: StoredReference, in_genes: InGenes | None, cohort: Cohort, keys: Keys, index: pd.Index
) -> dict[str, pd.DataFrame]:
    clusters = known.clusters
    if clusters is None or in_genes is None:
        return {}
    space, genes, present = in_genes
    of_new = pd.DataFrame(novelty(space, clusters, genes, cohort.codes, len(cohort), present))
    return {keys.novelty: pd.concat([known.entry["calibration"]["novelty"], of_new]).set_axis(index)}


def _extended_map(reference: AnnData, across: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    name = embedding("mds")
    left_out = [other for other in reference.obsm if other != name]
    if left_out:
        logger.info("left out of the joint map: %s, which cannot take new samples", check.listed(left_out))
    if name not in reference.obsm:
        logger.info("the reference has no map: run sg.tl.embed_samples(pdata, 'mds') before sg.tl.make_reference")
        return {}
    known = np.asarray(reference.obsm[name], dtype=np.float64)
    return {name: np.concatenate([known, place_on_map(known, across)])}


def _entry_of_map(reference: AnnData) -> dict[str, Any]:
    """Return what `.uns` says of the map that new samples are added to."""
    name = embedding("mds")
    if name not in reference.uns or name not in reference.obsm:
        return {}
    if not isinstance(reference.uns[name], Mapping):  # of the user
        return {name: deepcopy(reference.uns[name])}
    return {name: {field: deepcopy(value) for field, value in reference.uns[name].items() if field != "status"}}


def _joint_obs(reference: AnnData, of_new: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the columns that both tables have, the label in any case."""
    sizes = sample_sizes(reference, _AGAIN)
    n, m = reference.n_obs, len(of_new)
    of_reference = reference.obs
    label_key, is_continuous = params["label_key"], params.get("label_kind") == "continuous"
    shared = [
        name for name in of_reference.columns if (name in of_new.columns or name == label_key) and name != IS_REFERENCE
    ]
    index = pd.Index([*of_reference.index.astype(str), *of_new.index.astype(str)])
    table = pd.DataFrame({IS_REFERENCE: np.arange(n + m) < n}, index=index)
    for name in shared:
        first = of_reference[name]
        absent = pd.Series([None] * m, dtype=np.float64 if is_continuous else object)
        second = of_new[name] if name in of_new.columns else absent
        table[name] = _joined(first, second)
    left_out = [name for name in [*of_reference.columns, *of_new.columns] if name not in shared]
    if left_out:
        logger.info("left out, since only one side has them: %s", check.listed(left_out, limit=20))
    table[N_CELLS] = np.concatenate([sizes, of_new[N_CELLS]])
    return table


def _joined(first: pd.Series, second: pd.Series) -> Any:
    numeric = all(is_numeric(part) for part in (first, second))
    both_bool = all(pd.api.types.is_bool_dtype(part) for part in (first, second))
    if numeric or both_bool:
        return np.concatenate([first.to_numpy(), second.to_numpy()])
    text = [
        None if missing else str(value)
        for part in (first, second)
        for value, missing in zip(part, part.isna(), strict=True)
    ]
    categories: list[str] = []
    for part in (first, second):
        own = (
            part.cat.categories
            if isinstance(part.dtype, pd.CategoricalDtype)
            else sorted(part.dropna().astype(str).unique())
        )
        categories += [str(value) for value in own if str(value) not in categories]
    ordered = (
        isinstance(first.dtype, pd.CategoricalDtype)
        and first.cat.ordered
        and len(categories) == len(first.cat.categories)
    )
    return pd.Categorical(text, categories=categories, ordered=bool(ordered))


def _kept_palettes(reference: AnnData, obs: pd.DataFrame) -> dict[str, Any]:
    """Return scanpy's colours of the columns that have the same categories as in the reference."""
    kept = {}
    for name in obs.columns.intersection(reference.obs.columns):
        now, then = obs[name].dtype, reference.obs[name].dtype
        if not isinstance(now, pd.CategoricalDtype) or not isinstance(then, pd.CategoricalDtype):
            continue
        if len(now.categories) == len(then.categories):
            kept[name] = then.categories
    return kept_palettes(reference, kept)
