"""What each function writes to an AnnData, and how its earlier results are told from what is not its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from scggml import _check as check
from scggml._keys import LOADINGS, OUTLIER, OUTLIER_P, PREDICTED, SKETCH_ERROR, Keys, SketchKeys, embedding

from ._on_disk import reading

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Slots:
    """The slots of one result.

    Parameters
    ----------
    what
        What the result is, for messages.
    uns
        Keys of `.uns`, each with the fields that an entry has if it is such a result. Slots outside of `.uns` belong
        to the first of them.
    obs, obsm, varm
        Other keys.
    """

    what: str
    uns: Mapping[str, tuple[str, ...]]
    obs: tuple[str, ...] = ()
    obsm: tuple[str, ...] = ()
    varm: tuple[str, ...] = ()

    def own(self, adata: AnnData) -> list[str]:
        """Return the keys of `.uns` that hold an earlier result."""
        return [key for key, fields in self.uns.items() if _has_fields(adata.uns.get(key), fields)]

    def taken(self, adata: AnnData) -> list[str]:
        """Return the slots that hold something else, as text."""
        own = self.own(adata)
        found = [f"uns[{key!r}]" for key in self.uns if key in adata.uns and key not in own]
        if next(iter(self.uns)) in own:
            return found
        for name, keys in (("obs", self.obs), ("obsm", self.obsm), ("varm", self.varm)):
            with reading(name):  # anndata looks into every matrix
                found += [f"{name}[{key!r}]" for key in keys if key in getattr(adata, name)]
        return found


def check_free(adata: AnnData, slots: Slots, argument: str, value: str) -> None:
    """Refuse to write where there is something other than an earlier result.

    Parameters
    ----------
    adata
        Where results are to be written.
    slots
        All that a function may write.
    argument, value
        The argument that the keys come from, and its value.
    """
    taken = slots.taken(adata)
    if taken:
        remedy = "Pass another key_added." if argument == "key_added" else "Rename or remove it first."
        msg = (
            f"{argument}={value!r} would replace {check.listed(taken, limit=None)}, which is no {slots.what}. {remedy}"
        )
        raise ValueError(msg)


def check_other_representation(argument: str, key: str, use_rep: str | None) -> None:
    """Refuse coordinates in the learned space that would be written where cells are read from, now or by default."""
    name = Keys(key).cells
    if name == use_rep or name in LOADINGS:
        what = "the features that are used" if name == use_rep else "the place of the features that are used by default"
        remedy = "Pass another key_added." if argument == "key_added" else "Make the reference with another key."
        msg = f"{argument}={key!r} would write obsm[{name!r}], {what}. {remedy}"
        raise ValueError(msg)


def sketch_slots(key: str) -> Slots:
    """Return what `pp.sketch` writes."""
    keys = SketchKeys(key)
    return Slots("sketch", {keys.entry: ("version", "params", "samples")}, obs=(keys.groups, keys.support))


def metric_slots(key: str) -> Slots:
    """Return what `tl.fit_metric` and `tl.project` write."""
    keys = Keys(key)
    fields = ("version", "components", "scale", "params")
    return Slots("learned metric", {keys.metric: fields}, obsm=(keys.cells,), varm=(keys.gene_weights,))


def ranking_slots(key: str) -> Slots:
    """Return what `tl.rank_genes` writes."""
    keys = Keys(key)
    return Slots(
        "ranking of genes",
        {
            keys.gene_ranking: ("weight", "share", "rank", "component"),
            keys.gene_ranking_by_class: ("version", "params", "names", "scores"),
            keys.stability: ("version", "n_boot", "alignment", "principal_angles"),
        },
    )


def enrichment_slots(key: str) -> Slots:
    """Return what `tl.enrich_genes` writes."""
    fields = ("score", "p_value", "p_adjusted", "n_genes", "leading_genes")
    return Slots("enrichment of gene sets", {Keys(key).enrichment: fields})


def cross_validation_slots(key: str) -> Slots:
    """Return what `tl.cross_validate` writes."""
    return Slots("cross-validation", {Keys(key).cross_validation: ("version", "params", "predictions", "scores")})


def tuning_slots(key: str) -> Slots:
    """Return what `tl.tune` writes."""
    return Slots("search for settings", {Keys(key).tuning: ("version", "params", "outer", "inner", "best")})


def separation_slots(key: str) -> Slots:
    """Return what `tl.separation_test` writes."""
    return Slots("separation test", {Keys(key).separation: ("version", "params", "table", "null")})


def power_slots(key: str) -> Slots:
    """Return what `tl.power` writes."""
    return Slots("learning curve", {Keys(key).power: ("version", "params", "classes", "table")})


def embedding_slots(method: str) -> Slots:
    """Return what `tl.embed_samples` writes."""
    return Slots("map of sg.tl.embed_samples", {embedding(method): ("version", "params")}, obsm=(embedding(method),))


def cluster_slots(name: str) -> Slots:
    """Return what `tl.cluster_samples` writes."""
    return Slots("result of clustering", {name: ("version", "params", "silhouette")}, obs=(name,))


def trajectory_slots(key: str) -> Slots:
    """Return what `tl.order_samples` writes."""
    keys = Keys(key)
    fields = ("version", "params", "root", "n_neighbors")
    return Slots("trajectory", {keys.trajectory: fields}, obs=(keys.pseudotime,))


def distance_score_slots(key: str) -> Slots:
    """Return what `tl.score_distances` writes."""
    return Slots("table of scores of distances", {Keys(key).distance_scores: ("version", "params", "table")})


def explanation_slots(key: str) -> Slots:
    """Return what `tl.explain_distances` writes."""
    fields = ("version", "params", "summary", "cell_types", "flows", "pairs")
    return Slots("explanation of distances", {Keys(key).explanation: fields})


def reference_slots(key: str, *, errors: bool) -> Slots:
    """Return what `tl.make_reference` writes, with `errors` of a sketch that the distances do not have."""
    fields = ("version", "params", "metric", "samples", "points")
    return Slots("reference", {Keys(key).reference: fields}, obs=(SKETCH_ERROR,) if errors else ())


def prediction_slots(key: str) -> Slots:
    """Return what `tl.predict_samples` writes."""
    keys = Keys(key)
    fields = ("version", "classes", "p_values", "scores")
    return Slots(
        "prediction", {keys.prediction: fields}, obs=(PREDICTED, OUTLIER_P, OUTLIER), obsm=(keys.probabilities,)
    )


def drop_results(adata: AnnData, key: str) -> None:
    """Remove results about an earlier metric of this key; what is none stays."""
    for slots in (ranking_slots(key), enrichment_slots(key)):
        for own in slots.own(adata):
            del adata.uns[own]
    adata.varm.pop(Keys(key).gene_weights, None)


def _has_fields(entry: Any, fields: tuple[str, ...]) -> bool:
    return isinstance(entry, Mapping | pd.DataFrame) and set(fields) <= set(entry)
