"""Input that cannot be explained: refused with a reason, before any work, and nothing is written."""

from __future__ import annotations

import numpy as np
import pytest

import scggml as sg


def missing_type(adata, pdata):
    adata.obs.loc[adata.obs_names[:3], "cell_type"] = np.nan


def type_called_composition(adata, pdata):
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories({"T": "composition"})


def no_metric(adata, pdata):
    del adata.uns["ggml"]


def other_metric(adata, pdata):
    adata.uns["ggml"]["components"] = adata.uns["ggml"]["components"] * (1 + 2e-6)


def moved_cells(adata, pdata):
    adata.obsm["X_pca"][:30] += 0.1
    del adata.obsm["X_ggml"]


def moved_cells_beside_their_coordinates(adata, pdata):
    adata.obsm["X_pca"][:30] += 0.1


def other_distance(adata, pdata):
    pdata.obsp["ggml_distances"][[2, 5], [5, 2]] *= 1.00001


def no_distances(adata, pdata):
    del pdata.obsp["ggml_distances"]


def no_source(adata, pdata):
    del pdata.uns["ggml"]


def cityblock(adata, pdata):
    pdata.uns["ggml"]["metric"] = "cityblock"


def entropic(adata, pdata):
    pdata.uns["ggml"] |= {"solver": "sinkhorn", "epsilon": 0.1}


def lost_cells(adata, pdata):
    adata._inplace_subset_obs(adata.obs["sample"] != "p4")
    adata.obs["sample"] = adata.obs["sample"].cat.remove_unused_categories()


def renamed_sample(adata, pdata):
    pdata.obs_names = ["q1", *pdata.obs_names[1:]]


def doubled_sample(adata, pdata):
    pdata.obs_names = ["p2", *pdata.obs_names[1:]]


def missing_label(adata, pdata):
    pdata.obs.loc["p5", "label"] = np.nan


def no_label_in_metric(adata, pdata):
    del pdata.uns["ggml"]["params"]["label_key"]


def all_different(adata, pdata):
    pdata.obs["own"] = [f"c{i}" for i in range(8)]


def sketched(adata, pdata):
    pdata.uns["ggml"]["params"]["sketch_key"] = "sketch"


CASES = {
    "cell type": (None, {"cell_type_key": "type"}, KeyError, ["cell_type_key='type'", "not a column of obs", "sample, label"]),
    "cell type number": (None, {"cell_type_key": 3}, TypeError, ["cell_type_key", "3"]),
    "missing type": (missing_type, {}, ValueError, ["cell_type_key='cell_type'", "missing values in 3 of 87", "cell0", "Fill"]),
    "composition": (type_called_composition, {}, ValueError, ["'composition'", "Rename"]),
    "no metric": (no_metric, {}, KeyError, ["uns['ggml']", "fit_metric", "copy the entry"]),
    "other metric": (other_metric, {}, ValueError, ["do not belong to the cells", "between p1 and", "sg.tl.sample_distances"]),
    "moved cells": (moved_cells, {}, ValueError, ["do not belong to the cells"]),
    "moved beside": (moved_cells_beside_their_coordinates, {}, ValueError, ["obsm['X_ggml']", "changed after the fit"]),
    "other distance": (other_distance, {}, ValueError, ["between p3 and p6", "do not belong to the cells"]),
    "no distances": (no_distances, {}, KeyError, ["obsp['ggml_distances']", "sg.tl.sample_distances"]),
    "no source": (no_source, {}, KeyError, ["pdata.uns['ggml']", "sg.tl.sample_distances"]),
    "cityblock": (cityblock, {}, ValueError, ["metric='cityblock'", "metric='euclidean'"]),
    "entropic": (entropic, {}, ValueError, ["entropic (sinkhorn)", "solver='exact'"]),
    "sketch": (sketched, {}, KeyError, ["uns['sketch']", "sg.pp.sketch"]),
    "lost cells": (lost_cells, {}, ValueError, ["1 in pdata only (p4)", "0 in adata only (none)", "obs['sample'].isin"]),
    "renamed": (renamed_sample, {}, ValueError, ["1 in pdata only (q1)", "1 in adata only (p1)"]),
    "doubled": (doubled_sample, {}, ValueError, ["'p2' appears more than once"]),
    "label": (None, {"label_key": "stage"}, KeyError, ["label_key='stage'", "not a column of obs", "age"]),
    "missing label": (missing_label, {}, ValueError, ["label_key='label'", "1 sample(s): p5"]),
    "numbers": (None, {"label_key": "age"}, ValueError, ["label_key='age'", "continuous label", "8 different numbers", "pandas.cut"]),
    "no label": (no_label_in_metric, {}, ValueError, ["label_key is needed", "pdata.obs"]),
    "classes": (None, {"classes": ["well", "ill"]}, KeyError, ["classes", "ill", "well, sick"]),
    "same class": (None, {"classes": ["well", "well"]}, ValueError, ["two different", "well, sick"]),
    "one class": (None, {"classes": "well"}, TypeError, ["classes must be a list of classes", "['well']"]),
    "three classes": (None, {"classes": ["well", "sick", "x"]}, ValueError, ["classes must be two"]),
    "samples": (None, {"samples": ["p1", "p9"]}, KeyError, ["samples", "p9 not among", "p1, p2"]),
    "same sample": (None, {"samples": ["p1", "p1"]}, ValueError, ["two different samples", "p1, p2"]),
    "one sample": (None, {"samples": ["p1"]}, ValueError, ["samples must be two"]),
    "both": (None, {"samples": ["p1", "p2"], "classes": ["well", "sick"]}, ValueError, ["samples=", "classes", "exclude"]),
    "both labels": (None, {"samples": ["p1", "p2"], "label_key": "label"}, ValueError, ["samples=", "label_key", "exclude"]),
    "key": (None, {"key": "mine"}, KeyError, ["obsp['mine_distances']"]),
    "key with a slash": (None, {"key": "a/b"}, ValueError, ["key", "'a/b'"]),
    "copy": (None, {"copy": "yes"}, TypeError, ["copy", "'yes'"]),
    "unknown": (None, {"cell_types": "cell_type"}, TypeError, ["cell_types"]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("case", CASES)
def test_bad_input(fitted, pdata, assert_same_anndata, monkeypatch, case):
    change, arguments, error, texts = CASES[case]
    if change is not None:
        change(fitted, pdata)

    def no_work(*args, **kwargs):
        raise AssertionError("plans were solved before the input was checked")

    if case != "other distance":  # which is found at the end
        monkeypatch.setattr("scggml.tl._explain_distances.explain_pairs", no_work)
    cells, samples = fitted.copy(), pdata.copy()
    with pytest.raises(error) as caught:
        sg.tl.explain_distances(fitted, pdata, **{"cell_type_key": "cell_type", **arguments})
    for part in texts:
        assert part in str(caught.value.args[0])
    assert_same_anndata(fitted, cells)
    assert_same_anndata(pdata, samples)


def test_euclidean_needs_labels(cohort):
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean")
    with pytest.raises(ValueError, match="label_key is needed"):
        sg.tl.explain_distances(cohort, pdata)


def test_nothing_within(fitted, pdata):
    all_different(fitted, pdata)
    with pytest.warns(UserWarning, match=r"8 class\(es\).*c0, c1, c2, c3, c4 and 3 more"):
        sg.tl.explain_distances(fitted, pdata, label_key="own")
    assert sg.get.explanation(pdata)["excess"].isna().all() and len(sg.get.explanation(pdata)) == 28


def test_one_sample(cohort):
    one = cohort[cohort.obs["sample"] == "p1"].copy()
    one.obs["sample"] = one.obs["sample"].cat.remove_unused_categories()
    pdata = sg.tl.sample_distances(one, "sample", metric="euclidean")
    with pytest.raises(ValueError, match="has 1 sample.*at least two samples are needed"):
        sg.tl.explain_distances(one, pdata, label_key="label")


def test_no_anndata(fitted, pdata):
    with pytest.raises(TypeError, match="pdata must be an AnnData, found DataFrame"):
        sg.tl.explain_distances(fitted, pdata.obs)
    with pytest.raises(TypeError, match="adata must be an AnnData, found DataFrame"):
        sg.tl.explain_distances(fitted.obs, pdata)


def test_integers_that_a_metric_was_learned_from_are_no_classes(cohort):
    cohort.obs["age"] = cohort.obs["age"].astype(int)
    sg.tl.fit_metric(cohort, "sample", "age", label_kind="continuous", rng=0)
    pdata = sg.tl.sample_distances(cohort)
    with pytest.raises(ValueError, match="label_key='age' is a continuous label: 8 different numbers for 8 samples"):
        sg.tl.explain_distances(cohort, pdata)
