"""Nothing of the user's is overwritten: every slot that a function writes is either free or an earlier result."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import scggml as sg
from scggml._anndata._slots import drop_results

SLOTS = ("uns", "obs", "obsm", "varm", "obsp", "varp", "layers")
NO_SLOTS = {  # what returns an AnnData or a table of its own, or only removes cells
    *("pp.filter_samples", "pp.join_modalities"),
    *("tl.sample_distances", "tl.map_samples", "tl.class_barycenters"),
}
FOREIGN = {
    "uns": lambda adata: {"mine": np.ones(3)},
    "obs": lambda adata: np.arange(adata.n_obs).astype(str),
    "obsm": lambda adata: np.ones((adata.n_obs, 4)),
    "varm": lambda adata: np.ones((adata.n_vars, 4)),
}


def keys(adata):
    return {(slot, key) for slot in SLOTS for key in getattr(adata, slot) if key is not None}


class Inputs:
    """What functions take, each made once and copied."""

    def __init__(self, cohort, fitted, pdata):
        self.cohort, self.fitted, self.pdata = cohort, fitted, pdata

    @property
    def euclidean(self):
        return sg.tl.sample_distances(self.cohort, "sample", metric="euclidean")

    @property
    def reference(self):
        return sg.tl.make_reference(self.fitted, self.pdata, cv=4, rng=0)

    @property
    def mapped(self):
        new = self.cohort[self.cohort.obs["sample"].isin(["p1", "p2"])].copy()
        new.obs["sample"] = new.obs["sample"].cat.rename_categories({"p1": "n1", "p2": "n2"})
        return sg.tl.map_samples(new, self.reference)


FIT = ("sample", "label")
SETS = {"some": [f"g{i}" for i in range(6)]}
# function: the AnnData that it writes to, and the call, which returns what was written to
WRITERS = {
    "pp.sketch": ("cohort", lambda a, of: sg.pp.sketch(a, "sample", n_points=4, rng=0)),
    "tl.fit_metric": ("cohort", lambda a, of: sg.tl.fit_metric(a, *FIT, rng=0)),
    "tl.project": ("cohort", lambda a, of: sg.tl.project(a, of.reference)),
    "tl.rank_genes": ("fitted", lambda a, of: sg.tl.rank_genes(a, n_boot=2, rng=0)),
    "tl.enrich_genes": ("fitted", lambda a, of: sg.tl.enrich_genes(a, SETS)),
    "tl.cross_validate": ("cohort", lambda a, of: sg.tl.cross_validate(a, *FIT, methods=["pseudobulk"], cv=2, rng=0)),
    "tl.tune": ("cohort", lambda a, of: sg.tl.tune(a, *FIT, grid={"ridge": [1.0]}, cv=4, rng=0)),
    "tl.separation_test": ("cohort", lambda a, of: sg.tl.separation_test(a, *FIT, n_permutations=19, rng=0)),
    "tl.power": ("cohort", lambda a, of: sg.tl.power(a, *FIT, n_samples=8, rng=0)),
    "tl.embed_samples": ("pdata", lambda a, of: sg.tl.embed_samples(a, "mds")),
    "tl.cluster_samples": ("pdata", lambda a, of: sg.tl.cluster_samples(a, 2, key_added="mine")),
    "tl.score_distances": ("euclidean", lambda a, of: sg.tl.score_distances(a, "label", technical="age")),
    "tl.order_samples": ("pdata", lambda a, of: sg.tl.order_samples(a, "well")),
    "tl.explain_distances": ("pdata", lambda a, of: sg.tl.explain_distances(of.fitted, a)),
    "tl.make_reference": ("pdata", lambda a, of: sg.tl.make_reference(of.fitted, a, n_points=5, cv=None, rng=0)),
    "tl.predict_samples": ("mapped", lambda a, of: sg.tl.predict_samples(a)),
}


@pytest.fixture
def inputs(cohort, fitted, pdata):
    pdata = pdata.copy()
    del pdata.obsm["X_mds"], pdata.uns["X_mds"]
    return Inputs(cohort, fitted, pdata)


def test_all_functions_are_here():
    every = {f"{part}.{name}" for part in ("pp", "tl") for name in getattr(sg, part).__all__}
    assert every == set(WRITERS) | NO_SLOTS


@pytest.mark.parametrize("name", WRITERS)
def test_every_written_slot_is_free_or_an_earlier_result(name, inputs, assert_same_anndata):
    if name == "tl.enrich_genes":
        pytest.importorskip("decoupler")
    place, call = WRITERS[name]
    start = getattr(inputs, place)

    def run(adata):
        found = call(adata, inputs)
        return found if name == "tl.make_reference" else adata

    done = run(start.copy())
    written = keys(done) - keys(start)
    assert written and {slot for slot, _ in written} <= set(FOREIGN)
    again = run(done.copy())
    assert keys(again) == keys(done)
    for slot, key in written:
        taken = start.copy()
        getattr(taken, slot)[key] = FOREIGN[slot](taken)
        before = taken.copy()
        with pytest.raises(ValueError, match=rf"would replace {slot}\['{key}'\], which is no "):
            run(taken)
        assert_same_anndata(taken, before)


def test_a_representation_is_never_overwritten(cohort, fitted, assert_same_anndata):
    cohort.obsm["X_scVI"] = cohort.obsm["X_pca"] + 1.0
    before = cohort.copy()
    for arguments in ({"use_rep": "X_scVI", "key_added": "scVI"}, {"key_added": "scVI"}):
        with pytest.raises(ValueError, match=r"key_added='scVI' would .*obsm\['X_scVI'\].*another key_added"):
            sg.tl.fit_metric(cohort, *FIT, **arguments)
        assert_same_anndata(cohort, before)
    del cohort.obsm["X_pca"]
    for key in ("pca", "joint"):  # the next fit would take the learned space for principal components
        with pytest.raises(ValueError, match=rf"key_added='{key}' would write obsm\['X_{key}'\], .* by default"):
            sg.tl.fit_metric(cohort, *FIT, use_rep="X", key_added=key)
    with pytest.raises(ValueError, match=r"would write obsm\['X_ggml'\], the features that are used"):
        sg.tl.fit_metric(fitted, *FIT, use_rep="X_ggml")
    sg.tl.fit_metric(fitted, *FIT, use_rep="X_ggml", key_added="twice", rng=0)


def test_a_projection_does_not_overwrite_what_it_reads(cohort, fitted, pdata):
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    cohort.obsm["X_ggml"] = cohort.obsm["X_pca"].copy()
    with pytest.raises(ValueError, match=r"key='ggml' would write obsm\['X_ggml'\], .*another key"):
        sg.tl.project(cohort, reference, use_rep="X_ggml")


def test_entries_of_other_functions_are_not_replaced(fitted, pdata):
    """A result of one function is foreign to another one."""
    for call in (
        lambda: sg.tl.cluster_samples(pdata, 2, key_added="ggml"),
        lambda: sg.tl.cluster_samples(pdata, 2, key_added="X_mds"),
        lambda: sg.pp.sketch(fitted, "sample", key_added="ggml"),
    ):
        with pytest.raises(ValueError, match=r"key_added='\w+' would replace uns\['\w+'\]"):
            call()
    fitted.uns["ggml"].pop("version")  # a dict of someone else's with the same fields
    with pytest.raises(ValueError, match=r"would replace uns\['ggml'\], obsm\['X_ggml'\], varm\['ggml'\]"):
        sg.tl.fit_metric(fitted, *FIT)


def test_rankings_of_scanpy_stay(fitted, assert_same_anndata):
    sc.tl.rank_genes_groups(fitted, "label", key_added="ggml_rank_genes_groups")
    before = fitted.copy()
    with pytest.raises(ValueError, match=r"key='ggml' would replace uns\['ggml_rank_genes_groups'\].*Rename or remove"):
        sg.tl.rank_genes(fitted)
    assert_same_anndata(fitted, before)


def test_only_results_are_dropped_at_a_refit(fitted):
    sg.tl.rank_genes(fitted, n_boot=2, rng=0)
    fitted.uns["ggml_enrichment"] = pd.DataFrame({"mine": [1.0]})
    drop_results(fitted, "ggml")
    assert set(fitted.uns) == {"ggml", "label_colors", "ggml_enrichment"} and "ggml" not in fitted.varm
    sg.tl.fit_metric(fitted, *FIT, rng=0)
    assert list(fitted.uns["ggml_enrichment"]) == ["mine"]
    sg.tl.project(fitted, sg.tl.make_reference(fitted, sg.tl.sample_distances(fitted), cv=None))
    assert list(fitted.uns["ggml_enrichment"]) == ["mine"]


def test_maps_of_new_samples_can_be_computed_again(cohort, fitted, pdata):
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    new = cohort[cohort.obs["sample"].isin(["p1", "p2"])].copy()
    new.obs["sample"] = new.obs["sample"].cat.rename_categories({"p1": "n1", "p2": "n2"})
    mapped = sg.tl.map_samples(new, reference)
    sg.tl.embed_samples(mapped, "mds")
    assert mapped.obsm["X_mds"].shape == (10, 2)
