"""What a reference keeps, and which cells, samples and representations make one."""

from __future__ import annotations

import re
from importlib.metadata import version

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp

import scggml as sg


@pytest.fixture
def entry(fitted, pdata):
    return sg.tl.make_reference(fitted, pdata, rng=0).uns["ggml_reference"]


def test_samples_are_a_copy(fitted, pdata, assert_same_anndata):
    cells, samples = fitted.copy(), pdata.copy()
    reference = sg.tl.make_reference(fitted, pdata, rng=0)
    assert_same_anndata(fitted, cells)
    assert_same_anndata(pdata, samples)
    assert set(reference.uns) == {*pdata.uns, "ggml_reference"}
    del reference.uns["ggml_reference"]
    assert_same_anndata(reference, pdata)


def test_cells_are_coordinates_in_the_learned_space(fitted, entry):
    samples = fitted.obs["sample"].astype(str).to_numpy()
    for i, name in enumerate(sorted(set(samples))):
        rows = slice(*entry["offsets"][i : i + 2])
        np.testing.assert_allclose(entry["points"][rows], fitted.obsm["X_ggml"][samples == name])
    assert "weights" not in entry
    assert len(entry["points"]) == fitted.n_obs


def test_linear_map_from_genes(fitted, entry):
    genes = entry["genes"]
    x = fitted.X.toarray()
    np.testing.assert_allclose(x @ genes["loadings"] + genes["offset"], fitted.obsm["X_pca"], atol=1e-6)
    np.testing.assert_allclose(genes["mean"], x.mean(axis=0), rtol=1e-6)
    assert list(genes["names"]) == list(fitted.var_names)
    assert genes["values"]["kind"] == "log"


def test_order_of_samples_follows_pdata(fitted, pdata):
    reference = sg.tl.make_reference(fitted, pdata, rng=0)
    turned = sg.tl.make_reference(fitted, pdata[::-1].copy(), rng=0)
    one, other = (r.uns["ggml_reference"] for r in (reference, turned))
    np.testing.assert_array_equal(one["points"][: one["offsets"][1]], other["points"][other["offsets"][-2] :])
    held = other["calibration"]["held_out"]
    assert list(held.index) == list(turned.obs_names)
    assert held.sort_index().equals(one["calibration"]["held_out"].sort_index())


def test_calibration(fitted, entry):
    found = entry["calibration"]
    held = found["held_out"]
    assert list(found["classes"]) == ["sick", "well"]
    assert list(held.columns) == ["label", "predicted", "probability_0", "probability_1", "distance"]
    np.testing.assert_allclose(held[["probability_0", "probability_1"]].sum(axis=1), 1)
    right = held["label"] == held["predicted"]
    assert found["scores"]["balanced_accuracy"] == pytest.approx(right.mean())  # four of each class
    assert found["inverse_temperature"] > 0 and found["unit"] == 1.0
    assert (held["distance"] > 0).all()
    beside = found["novelty"]
    assert list(beside.index) == list(held.index)
    assert np.isfinite(beside[["outside", "outside_error", "new_cluster", "new_cluster_error"]]).all(axis=None)


def test_rng_and_jobs(fitted, pdata, assert_same_anndata):
    one = sg.tl.make_reference(fitted, pdata, cv=2, rng=3, n_jobs=1)
    assert_same_anndata(one, sg.tl.make_reference(fitted, pdata, cv=2, rng=3, n_jobs=2))


def test_without_calibration(fitted, pdata):
    found = sg.tl.make_reference(fitted, pdata, cv=None).uns["ggml_reference"]
    assert "calibration" not in found and "clusters" not in found
    assert found["version"] == version("scggml") and "cv" not in found["params"]


def test_donors_of_the_metric_are_held_out_together(cohort):
    cohort.obs["donor"] = cohort.obs["sample"].map({f"p{i}": f"d{(i - 1) // 2}" for i in range(1, 9)})
    sg.tl.fit_metric(cohort, "sample", "label", donor_key="donor", rng=0)
    found = sg.tl.make_reference(cohort, sg.tl.sample_distances(cohort), rng=0).uns["ggml_reference"]
    assert found["params"]["n_splits"] == 4 and found["params"]["donor_key"] == "donor"


@pytest.mark.parametrize("how", ["n_points", "sketch_key"])
def test_fewer_points(cohort, how):
    if how == "sketch_key":
        sg.pp.sketch(cohort, "sample", n_points=5, rng=0)
        sg.tl.fit_metric(cohort, "sample", "label", sketch_key="sketch", rng=0)
        pdata = sg.tl.sample_distances(cohort)
        reference = sg.tl.make_reference(cohort, pdata, rng=0)  # the sketch of the distances
    else:
        sg.tl.fit_metric(cohort, "sample", "label", rng=0)
        pdata = sg.tl.sample_distances(cohort)
        reference = sg.tl.make_reference(cohort, pdata, n_points=5, rng=0)
    entry = reference.uns["ggml_reference"]
    assert (np.diff(entry["offsets"]) <= 5).all() and len(entry["weights"]) == len(entry["points"]) < cohort.n_obs
    np.testing.assert_allclose(np.add.reduceat(entry["weights"], entry["offsets"][:-1]), 1)
    assert (reference.obs["sketch_error"] > 0).all()
    whole = sg.tl.sample_distances(cohort, sketch_key=False).obsp["ggml_distances"]
    own = sg.tl.map_samples(cohort[cohort.obs["sample"] == "p1"].copy(), renamed(reference), "sample")
    error = np.abs(own.obsp["ggml_distances"][-1, :-1] - whole[0])
    assert (error <= reference.obs["sketch_error"].to_numpy() + 1e-12).all()


def renamed(reference):
    reference = reference.copy()
    reference.obs_names = [f"r{name}" for name in reference.obs_names]
    reference.uns["ggml_reference"]["samples"] = reference.obs_names.to_numpy(dtype=object)
    return reference


def test_scaled_before_the_components(cohort):
    cohort.layers["log"] = cohort.X.copy()
    scaled = cohort.copy()
    scaled.X = scaled.X.toarray()
    sc.pp.scale(scaled)
    sc.pp.pca(scaled, n_comps=5)
    sg.tl.fit_metric(scaled, "sample", "label", rng=0)
    pdata = sg.tl.sample_distances(scaled)
    reference = sg.tl.make_reference(scaled, pdata, layer="log", rng=0)
    assert not np.allclose(reference.uns["ggml_reference"]["genes"]["unit"], 1)
    new = sg.tl.project(cohort, reference, copy=True)
    np.testing.assert_allclose(new.obsm["X_ggml"], scaled.obsm["X_ggml"], atol=1e-4)
    # the scaled values themselves lead there as well, from cells that were scaled alike
    as_scaled = sg.tl.make_reference(scaled, pdata, cv=None)
    assert as_scaled.uns["ggml_reference"]["genes"]["values"]["kind"] == "scaled"
    with pytest.warns(UserWarning, match="looks log-normalised .*that of the reference scaled"):
        sg.tl.project(cohort, as_scaled)


def test_components_of_other_values(fitted, pdata):
    fitted.X = sp.csr_matrix(fitted.layers["counts"])
    with pytest.warns(UserWarning) as caught:
        reference = sg.tl.make_reference(fitted, pdata, rng=0)
    texts = [str(w.message) for w in caught]
    assert any(re.search(r"X_pca'\] is not a linear map of X: .* leaves \d+\.\d% of its spread", t) for t in texts)
    assert any("cannot be computed again without the held-out samples" in t for t in texts)
    assert "genes" not in reference.uns["ggml_reference"]
    assert "novelty" not in reference.uns["ggml_reference"]["calibration"]
    assert "clusters" not in reference.uns["ggml_reference"]


def test_missing_loadings(fitted, pdata):
    del fitted.varm["PCs"]
    with pytest.warns(UserWarning, match=r"obsm\['X_pca'\] cannot be computed from genes: varm\['PCs'\] is missing"):
        sg.tl.make_reference(fitted, pdata, cv=None)


def test_paper_settings_have_a_unit_of_their_own(cohort):
    refine = sg.Refinement(start="random", triplets=2, minibatch=16, relative=False, max_iter=2)
    learner = sg.GroundMetricLearner(n_comps=2, scale=None, refine=refine)
    sg.tl.fit_metric(cohort, "sample", "label", learner=learner, rng=0)
    pdata = sg.tl.sample_distances(cohort)
    found = sg.tl.make_reference(cohort, pdata, cv=2, rng=0).uns["ggml_reference"]["calibration"]
    upper = pdata.obsp["ggml_distances"][np.triu_indices(8, 1)]
    assert found["unit"] == pytest.approx(np.median(upper))


@pytest.mark.parametrize("name", ["p1", "p4", "p8"])
def test_distances_of_every_sample_are_compared(fitted, pdata, name):
    """Cells of one sample that were changed after the distances were computed."""
    del fitted.obsm["X_ggml"]
    fitted.obsm["X_pca"][fitted.obs["sample"] == name] += 0.1
    with pytest.raises(ValueError, match=rf"does not hold the distances .* {name!r}.* of 4 differ"):
        sg.tl.make_reference(fitted, pdata, cv=None)


def bad(error, match, make, **arguments):
    return pytest.param(error, match, make, arguments, id=match[:30])


@pytest.mark.parametrize(
    ("error", "match", "make", "arguments"),
    [
        bad(KeyError, "there is no learned metric", lambda a, s: a.uns.pop("ggml")),
        bad(KeyError, r"obsp\['ggml_distances'\] does not exist", lambda a, s: s.obsp.pop("ggml_distances")),
        bad(ValueError, "must hold distances under the learned metric, found metric='euclidean'", "euclidean"),
        bad(ValueError, "pdata must hold the samples of adata, each once, found 8 for 8; not in adata: x", "renamed"),
        bad(ValueError, "pdata does not hold the distances of the metric", "refitted"),
        bad(TypeError, "sketch_key", None, sketch_key="sketch"),
        bad(TypeError, "donor_key", None, donor_key="donor"),
        bad(TypeError, "calibrate", None, calibrate=False),
        bad(ValueError, "n_points must be at least 1", None, n_points=0),
        bad(KeyError, "layer='raw' is not in layers", None, layer="raw"),
        bad(ValueError, "cv=5 folds need at least 5 samples of every class", None, cv=5),
        bad(TypeError, "rng must be a seed", None, rng="0"),
        bad(ValueError, "n_jobs must not be 0", None, n_jobs=0),
        bad(ValueError, r"cv must hold each sample out once, found 6 never", None, cv=[(range(6), [6, 7])]),
    ],
)
def test_bad_input(fitted, pdata, assert_same_anndata, error, match, make, arguments):
    if callable(make):
        make(fitted, pdata)
    elif make == "euclidean":
        pdata = sg.tl.sample_distances(fitted, "sample", metric="euclidean")
    elif make == "renamed":
        pdata.obs_names = ["x", *pdata.obs_names[1:]]
    elif make == "refitted":
        sg.tl.fit_metric(fitted, "sample", "label", n_comps=1, learner=sg.GroundMetricLearner(power=3.0))
    cells, samples = fitted.copy(), pdata.copy()
    with pytest.raises(error, match=match):
        sg.tl.make_reference(fitted, pdata, **arguments)
    assert_same_anndata(fitted, cells)
    assert_same_anndata(pdata, samples)


def test_repeated_genes(fitted, pdata):
    fitted.var_names = ["g0", "g0", *fitted.var_names[2:]]
    with pytest.raises(ValueError, match="var_names are not unique, but the genes of new cells are found by name"):
        sg.tl.make_reference(fitted, pdata)


def test_continuous_labels_are_no_classes(cohort):
    sg.tl.fit_metric(cohort, "sample", "age", label_kind="continuous", rng=0)
    pdata = sg.tl.sample_distances(cohort)
    with pytest.raises(ValueError, match="there are no classes to predict with label_kind='continuous'"):
        sg.tl.make_reference(cohort, pdata)
    reference = sg.tl.make_reference(cohort, pdata, cv=None)
    assert "calibration" not in reference.uns["ggml_reference"]


def test_ordinal_labels_are_classes_in_their_order(cohort):
    cohort.obs["grade"] = (cohort.obs["label"] == "well").astype(int)
    sg.tl.fit_metric(cohort, "sample", "grade", label_kind="ordinal", rng=0)
    found = sg.tl.make_reference(cohort, sg.tl.sample_distances(cohort), rng=0).uns["ggml_reference"]["calibration"]
    assert list(found["classes"]) == ["0", "1"]


@pytest.mark.parametrize("use_rep", ["X_pca", "X"])
def test_features_in_a_file(cohort, use_rep, tmp_path, assert_same_anndata):
    sg.tl.fit_metric(cohort, "sample", "label", use_rep=use_rep, rng=0)
    pdata = sg.tl.sample_distances(cohort)
    expected = sg.tl.make_reference(cohort, pdata, cv=2, rng=0)
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = sg.tl.make_reference(backed, pdata, cv=2, rng=0)
    one, other = (r.uns["ggml_reference"] for r in (expected, found))
    np.testing.assert_allclose(other["points"], one["points"], atol=1e-12)
    np.testing.assert_allclose(
        other["calibration"]["inverse_temperature"], one["calibration"]["inverse_temperature"], rtol=1e-6
    )
    backed.file.close()


def test_distances_that_held_out_ones_do_not_compare_with(fitted):
    pdata = sg.tl.sample_distances(fitted, solver=sg.Sinkhorn(reg=0.3))
    with pytest.raises(
        ValueError, match=r"learned with solver Exact.*, .* computed with Entropic\(epsilon=0\.\d.* cv=None"
    ):
        sg.tl.make_reference(fitted, pdata)
    assert "calibration" not in sg.tl.make_reference(fitted, pdata, cv=None).uns["ggml_reference"]


def test_distances_of_another_entropic_kind(cohort):
    learner = sg.GroundMetricLearner(solver=sg.Sinkhorn(reg=0.3))
    sg.tl.fit_metric(cohort, "sample", "label", learner=learner, rng=0)
    pdata = sg.tl.sample_distances(cohort)
    assert "calibration" in sg.tl.make_reference(cohort, pdata, cv=2, rng=0).uns["ggml_reference"]
    pdata.uns["ggml"]["solver"] = "sinkhorn_divergence"  # of the same strength
    with pytest.raises(ValueError, match="learned with solver .*debiased=False.* computed with .*debiased=True"):
        sg.tl.make_reference(cohort, pdata, cv=2)
