"""New samples beside those of a reference."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import kept_colors, read_cohort
from scggml._anndata._stored_reference import cell_kinds, project_cells, reference_entry, stored_measures
from scggml._keys import IS_REFERENCE, N_CELLS, SKETCH_ERROR, Keys, colors, embedding
from scggml.get import distances as get_distances

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort
    from scggml._anndata._stored_reference import InGenes
    from scggml.core.transport._distances import Entropic

logger = logging.getLogger(__name__)


def map_samples(
    new: AnnData,
    reference: AnnData,
    sample_key: str | None = None,
    *,
    key: str = "ggml",
    layer: str | None = None,
    use_rep: str | None = None,
    missing_genes: Literal["mean", "error"] = "mean",
    n_jobs: int | None = None,
) -> AnnData:
    """Compute the distances of new samples to those of a reference, and place them on its map.

    Cells are projected as in :func:`scggml.tl.project`. The distances of new samples to those of the reference and to one another
    are what :func:`scggml.tl.sample_distances` gives for all cells together (where the reference keeps a sketch of its cells, for
    that); those within the reference are copied. On the map of `method="mds"`, samples of the reference stay where they are, and
    each new one is placed such that its distances on the map differ least from those to the reference, by least squares from Gower's
    interpolation of classical scaling :cite:p:`gower1968`. Other maps have no place for new samples and are left out.

    Samples that the metric was learned on lie further apart than new ones will: metric and principal components know what is
    peculiar to each of them, and nothing of what is peculiar to a new one. Where a new sample lies on the map is no proof of its
    class, for which there is :func:`scggml.tl.predict_samples`.

    Parameters
    ----------
    new
        Cells of the new samples, normalised as those of the reference. Nothing is written to it.
    reference
        From :func:`scggml.tl.make_reference`, with the map of :func:`scggml.tl.embed_samples` if new samples are to be placed on
        it. Nothing is written to it.
    sample_key
        Column of `new.obs` that says which sample a cell belongs to. None takes the name that it has in the reference.
    key
        Key of the reference.
    layer, use_rep, missing_genes
        As in :func:`scggml.tl.project`.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.

    Returns
    -------
    A sample-level AnnData of the samples of the reference followed by the new ones, by name, (n_reference + n_new, 0), with the fields

    `.obs` : `pandas.DataFrame`
        `is_reference`; the label, missing where the new samples have none; `n_cells` and all other columns that both have.
    `.obsp[key + "_distances"]` : `numpy.ndarray`, float64
        All distances.
    `.obsm["X_mds"]` : `numpy.ndarray`, float64
        The map, where the reference has one.
    `.obsm[key + "_novelty"]` : `pandas.DataFrame`
        What :func:`scggml.tl.predict_samples` finds unusual samples by, where principal components lead from genes to the metric and the reference
        was calibrated; of samples of the reference as measured when they were held out. `outside`: the log of the length of the mean of
        a sample's cells outside of the components, less what it owes to the sampling of cells. `group`: the log of the ratio of the
        two largest variances of its cells outside, less what it is of noise. For each kind of cells, `shift_0` and so on: how far its mean is
        from that of the other cells outside, squared and less what it owes to sampling; `share_0`: the log odds of its share of the
        cells. All with standard errors by the sampling of cells, `outside_error` and so on. All but shares are missing where there are
        less than eight cells, shifts where a kind or the rest has less than eight.
    `.uns[key]` : `dict`
        As of :func:`scggml.tl.sample_distances`.
    `.uns[key + "_reference"]` : `dict`
        `params` and `calibration` of the reference.

    Raises
    ------
    KeyError, ValueError, TypeError
        If names of new samples are those of samples of the reference, or cells cannot be projected.

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
    >>> reference = sg.tl.make_reference(adata, pdata, calibrate=False)
    >>> new = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=1)
    >>> new.obs["sample"] = "new_" + new.obs["sample"].astype(str)
    >>> mapped = sg.tl.map_samples(new, reference)
    >>> mapped.obsp["ggml_distances"].shape
    (60, 60)
    >>> ax = sg.pl.sample_map(mapped, color="is_reference")
    """
    check.check_anndata("new", new)
    entry = reference_entry(reference, key)
    check.check_choice("missing_genes", missing_genes, ("mean", "error"))
    check.check_jobs(n_jobs)
    keys = Keys(key)
    known = get_distances(reference, key=key).to_numpy()
    cohort = read_cohort(new, entry["params"]["sample_key"] if sample_key is None else sample_key)
    clash = sorted(set(cohort.names) & set(reference.obs_names.astype(str)))
    if clash:
        msg = (
            f"{len(clash)} new sample(s) have names of samples of the reference: {check.listed(clash)}. If they are the same samples, leave "
            "them out; else rename them."
        )
        raise ValueError(msg)
    cells, in_genes = project_cells(new, entry, key, layer=layer, use_rep=use_rep, missing_genes=missing_genes)

    from scggml.core.transport._distances import pairwise_distances

    measures = cohort.measures(cells)
    of_reference = stored_measures(entry)
    entropic = _entropic(reference.uns[keys.metric])  # as the distances that there are
    options: Any = {"entropic": entropic, "n_jobs": n_jobs}
    across, gap = pairwise_distances(measures, of_reference, progress="to the reference", **options)
    within, own_gap = np.zeros((1, 1)), 0.0
    if len(measures) > 1:
        within, own_gap = pairwise_distances(measures, progress="between new samples", **options)
    obs = _joint_obs(reference, cohort.sample_obs(new.obs), entry["params"])
    if SKETCH_ERROR in reference.obs:
        errors = reference.obs[SKETCH_ERROR].to_numpy(dtype=np.float64)
        obs[SKETCH_ERROR] = np.concatenate([errors, np.zeros(len(measures))])

    from anndata import AnnData

    source = dict(reference.uns[keys.metric])
    calibration = {name: entry[name] for name in ("params", "calibration") if name in entry}
    return AnnData(
        obs=obs,
        obsp={keys.distances: np.block([[known, across.T], [across, within]])},
        obsm={**_extended_map(reference, across), **_novelty(entry, in_genes, cohort, keys, obs.index)},
        uns={
            **_kept_palettes(reference, obs),
            keys.metric: {**source, "gap": max(float(source.get("gap", 0.0)), gap, own_gap)},
            keys.reference: calibration,
        },
    )


def _entropic(distances: Mapping[str, Any]) -> Entropic | None:
    """Return how distances with this entry of `.uns` were regularised."""
    from scggml.core.transport._distances import Entropic

    solver = distances["params"].get("solver", "exact")
    if solver == "exact":
        return None
    return Entropic(float(distances["epsilon"]), solver == "sinkhorn_divergence", None)


def _novelty(
    entry: Mapping[str, Any], in_genes: InGenes | None, cohort: Cohort, keys: Keys, index: pd.Index
) -> dict[str, pd.DataFrame]:
    kinds = cell_kinds(entry)
    if kinds is None or in_genes is None:
        return {}
    from scggml.reference._novelty import novelty

    space, genes, present = in_genes
    of_new = pd.DataFrame(novelty(space, kinds, genes, cohort.codes, len(cohort.names), present))
    return {keys.novelty: pd.concat([entry["calibration"]["novelty"], of_new]).set_axis(index)}


def _extended_map(reference: AnnData, across: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    from scggml.reference._placement import place_on_map

    name = embedding("mds")
    left_out = [other for other in reference.obsm if other != name]
    if left_out:
        logger.info("left out of the joint map: %s, which have no place for new samples", check.listed(left_out))
    if name not in reference.obsm:
        logger.info("the reference has no map: run sg.tl.embed_samples(pdata, 'mds') before sg.tl.make_reference")
        return {}
    places = np.asarray(reference.obsm[name], dtype=np.float64)
    return {name: np.concatenate([places, place_on_map(places, across)])}


def _joint_obs(reference: AnnData, of_new: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the columns that both tables have, the label in any case."""
    n, m = reference.n_obs, len(of_new)
    of_reference = reference.obs
    label_key, numbers = params["label_key"], params.get("label_kind") == "continuous"
    shared = [
        name for name in of_reference.columns if (name in of_new.columns or name == label_key) and name != IS_REFERENCE
    ]
    index = pd.Index([*of_reference.index.astype(str), *of_new.index.astype(str)])
    table = pd.DataFrame({IS_REFERENCE: np.arange(n + m) < n}, index=index)
    for name in shared:
        first = of_reference[name]
        absent = pd.Series([None] * m, dtype=np.float64 if numbers else object)
        second = of_new[name] if name in of_new.columns else absent
        table[name] = _joined(first, second)
    left_out = [name for name in [*of_reference.columns, *of_new.columns] if name not in shared]
    if left_out:
        logger.info("left out, since only one side has them: %s", check.listed(left_out, limit=None))
    table[N_CELLS] = table[N_CELLS].astype(np.int64)
    return table


def _joined(first: pd.Series, second: pd.Series) -> Any:
    numeric = all(
        pd.api.types.is_numeric_dtype(part) and not pd.api.types.is_bool_dtype(part) for part in (first, second)
    )
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
        palette = kept_colors(reference, name, then.categories) if len(now.categories) == len(then.categories) else None
        if palette is not None:
            kept[colors(name)] = palette
    return kept
