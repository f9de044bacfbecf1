"""Scalars that R returns as arrays of length one (zellkonverter, anndataR) are read as scalars."""

from __future__ import annotations

from collections.abc import Mapping

import mudata
import numpy as np
import pandas as pd
import pytest

import scggml as sg
from scggml._anndata._writing import plain

FIT = ("sample", "label")
NOT_OURS = ("_colors", "_rank_genes_groups")


def through_r(adata):
    """A copy whose scalars in `.uns` are arrays of length one."""

    def arrays(value):
        if isinstance(value, Mapping):
            return {name: arrays(part) for name, part in value.items()}
        return np.array([value]) if isinstance(value, str | bool | int | float | np.generic) else value

    found = adata.copy()
    for key in found.uns:
        if not key.endswith(NOT_OURS):
            found.uns[key] = arrays(found.uns[key])
    return found


@pytest.fixture(params=["X_pca", "X_df", "one feature"])
def cells(request, cohort):
    """Cells with all results, on features with and without loadings, and of one feature."""
    use_rep = request.param
    if use_rep == "one feature":  # whose scale is an array of length one by nature
        cohort.obsm["X_one"], use_rep = cohort.X.toarray()[:, [3]].astype(np.float64), "X_one"
    sg.pp.sketch(cohort, "sample", n_points=6, rng=0)
    sg.tl.fit_metric(cohort, *FIT, use_rep=use_rep, sketch_key="sketch", validate=True, rng=0)
    options = {"use_rep": use_rep, "rng": 0, "n_jobs": 1}
    sg.tl.cross_validate(cohort, *FIT, methods=["ggml", "pseudobulk"], cv=2, **options)
    sg.tl.tune(cohort, *FIT, grid={"ridge": [0.5, 1.0], "refine": [sg.Refinement(max_iter=2)]}, cv=4, **options)
    sg.tl.separation_test(cohort, *FIT, n_permutations=19, **options)
    if use_rep == "X_pca":
        sg.tl.rank_genes(cohort, n_boot=2, rng=0)
    return cohort


@pytest.mark.filterwarnings("ignore:obsm.*cannot be computed again:UserWarning")
def test_all_consumers(cells, assert_same_anndata, pyplot, tmp_path):
    from_r = through_r(cells)
    assert isinstance(from_r.uns["ggml"]["params"]["use_rep"], np.ndarray)
    use_rep = cells.uns["ggml"]["params"]["use_rep"]

    def same(function):
        """Apply a function to both, and to what both lead to."""
        one, other = function(cells), function(from_r)
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(other, one)
        elif hasattr(one, "obs"):
            assert_same_anndata(other, one)
        return one

    pdata = same(sg.tl.sample_distances)
    samples_from_r = through_r(pdata)
    same(lambda a: sg.tl.class_barycenters(a, n_points=3, rng=0))
    same(lambda a: sg.get.scores(a, baseline="pseudobulk"))
    same(sg.get.predictions)
    same(sg.get.separation)
    fits = [
        sg.tl.fit_metric(
            a, *FIT, use_rep=use_rep, learner=a.uns["ggml_tuning"]["best"], key_added="best", rng=0, copy=True
        )
        for a in (cells, from_r)
    ]
    np.testing.assert_array_equal(fits[1].obsm["X_best"], fits[0].obsm["X_best"])
    for plot in (sg.pl.tuning, sg.pl.training_history, sg.pl.cross_validation, sg.pl.predictions, sg.pl.separation):
        plot(from_r)
    if use_rep == "X_pca":
        same(sg.get.gene_weights)
        same(lambda a: sg.tl.rank_genes(a, n_boot=2, rng=0, copy=True).uns["ggml_rank_genes"])

    def both(function):
        one, other = function(cells, pdata), function(from_r, samples_from_r)
        assert_same_anndata(through_r(other), through_r(one))
        return one

    both(lambda a, s: sg.tl.cluster_samples(sg.tl.cluster_samples(s, 2, copy=True), 3, copy=True))
    both(lambda a, s: sg.tl.order_samples(s, "well", copy=True))
    explained = both(lambda a, s: sg.tl.explain_distances(a, s, copy=True))
    for table in ("summary", "cell_types", "flows", "genes", "pairs"):
        expected = sg.get.explanation(explained, table)
        pd.testing.assert_frame_equal(sg.get.explanation(through_r(explained), table), expected)
    expected = sg.get.distances(pdata, bounds=True)
    pd.testing.assert_frame_equal(sg.get.distances(samples_from_r, bounds=True), expected)
    assert sg.get.distances(samples_from_r).attrs["metric"] == "learned"
    sg.pl.distance_heatmap(samples_from_r)

    sg.tl.embed_samples(pdata, "mds")
    reference = both(lambda a, s: sg.tl.make_reference(a, pdata if a is cells else through_r(pdata), cv=4, rng=0))
    new = cells[cells.obs["sample"].isin(["p1", "p2"])].copy()
    new.obs["sample"] = new.obs["sample"].cat.rename_categories({"p1": "n1", "p2": "n2"})
    given = None if use_rep == "X_pca" else use_rep
    mapped = [sg.tl.map_samples(new, r, use_rep=given) for r in (reference, through_r(reference))]
    assert_same_anndata(through_r(mapped[1]), through_r(mapped[0]))
    sg.tl.embed_samples(through_r(mapped[0]), "mds")
    predictions = [sg.tl.predict_samples(each, copy=True) for each in (mapped[0], through_r(mapped[0]))]
    pd.testing.assert_frame_equal(predictions[1].obs, predictions[0].obs)
    for name, a, s, m in (("one", cells, pdata, predictions[0]), ("other", from_r, through_r(pdata), predictions[1])):
        sg.report(a, s, tmp_path / f"{name}.html", mapped=through_r(m) if a is from_r else m)
    assert (tmp_path / "other.html").read_text() == (tmp_path / "one.html").read_text()
    projected = [sg.tl.project(new, r, use_rep=given, copy=True) for r in (reference, through_r(reference))]
    np.testing.assert_array_equal(projected[1].obsm["X_ggml"], projected[0].obsm["X_ggml"])
    again = sg.tl.sample_distances(through_r(projected[0]))
    np.testing.assert_array_equal(
        again.obsp["ggml_distances"], sg.tl.sample_distances(projected[0]).obsp["ggml_distances"]
    )


def test_entropic_distances(cohort):
    learner = sg.GroundMetricLearner(solver=sg.Sinkhorn(0.2))
    sg.tl.fit_metric(cohort, *FIT, learner=learner, rng=0)
    expected = sg.tl.sample_distances(cohort)
    found = sg.tl.sample_distances(through_r(cohort))
    np.testing.assert_array_equal(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])
    with pytest.raises(ValueError, match="are entropic"):
        sg.get.distances(through_r(expected), bounds=True)


def test_modalities(cohort):
    protein = cohort[:, :2].copy()
    protein.var_names = ["CD4", "CD8"]
    del protein.obsm["X_pca"], protein.varm["PCs"]
    joint = sg.pp.join_modalities(mudata.MuData({"rna": cohort, "prot": protein}))
    found = through_r(joint)
    for each in (joint, found):
        sg.tl.fit_metric(each, *FIT, rng=0)
    assert found.uns["ggml"]["modality_weights"] == joint.uns["ggml"]["modality_weights"]


def test_arrays_of_length_one_stay_arrays():
    entry = {"scale": np.ones(1), "gap": np.array([0.5]), "classes": np.array(["a"], dtype=object)}
    entry["params"] = {"use_rep": np.array(["X"]), "names": np.array(["ridge"], dtype=object), "n": np.array(3)}
    entry["params"]["learner"] = {"scale": pd.array(["global"], dtype="string")}
    found = plain(entry)
    assert found["scale"].shape == found["classes"].shape == found["params"]["names"].shape == (1,)
    assert found["gap"] == 0.5 and type(found["gap"]) is float
    assert found["params"]["use_rep"] == "X" and type(found["params"]["n"]) is int
    assert found["params"]["learner"] == {"scale": "global"}
