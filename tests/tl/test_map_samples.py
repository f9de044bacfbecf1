"""New samples beside a reference: the distances of all cells together, on a map that does not move."""

from __future__ import annotations

import logging
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

import scggml as sg


@pytest.fixture
def reference(fitted, pdata):
    return sg.tl.make_reference(fitted, pdata, cv=2, rng=0)


@pytest.fixture
def new(cohort):
    """Three patients more: cells of some known ones, with other counts."""
    rng = np.random.default_rng(11)
    cells = cohort[cohort.obs["sample"].isin(["p2", "p5", "p6"])].copy()
    cells.X = np.log1p(rng.poisson(1.1 * np.expm1(cells.X.toarray()) + 0.1)).astype(np.float32)
    cells.obs["sample"] = cells.obs["sample"].astype(str).replace({"p2": "q1", "p5": "q2", "p6": "a3"})
    cells.obs_names = [f"new_{name}" for name in cells.obs_names]
    del cells.obsm, cells.varm, cells.uns
    return cells


def test_distances_are_those_of_all_cells_together(new, fitted, reference):
    mapped = sg.tl.map_samples(new, reference)
    sg.tl.project(new, reference)
    union = ad.concat([fitted, new])
    union.uns["ggml"] = new.uns["ggml"]
    whole = sg.tl.sample_distances(union)
    assert list(mapped.obs_names) == [*reference.obs_names, "a3", "q1", "q2"]
    found = mapped.obsp["ggml_distances"]
    np.testing.assert_allclose(found, whole[mapped.obs_names].obsp["ggml_distances"], atol=1e-10, rtol=0)
    np.testing.assert_array_equal(found[:8, :8], reference.obsp["ggml_distances"])
    np.testing.assert_array_equal(found, found.T)


def test_metric_on_genes(new, fitted_x):
    reference = sg.tl.make_reference(fitted_x, sg.tl.sample_distances(fitted_x), cv=None)
    mapped = sg.tl.map_samples(new, reference)
    union = ad.concat([fitted_x, new])
    union.uns["ggml"] = fitted_x.uns["ggml"]
    whole = sg.tl.sample_distances(union)[mapped.obs_names].obsp["ggml_distances"]
    np.testing.assert_allclose(mapped.obsp["ggml_distances"], whole, atol=1e-10, rtol=0)
    assert "ggml_novelty" not in mapped.obsm


@pytest.mark.parametrize("debiased", [False, True])
def test_entropic_distances(new, cohort, debiased):
    learner = sg.GroundMetricLearner(solver=sg.Sinkhorn(reg=0.1, debiased=debiased))
    sg.tl.fit_metric(cohort, "sample", "label", learner=learner, rng=0)
    reference = sg.tl.make_reference(cohort, sg.tl.sample_distances(cohort), cv=None)
    mapped = sg.tl.map_samples(new, reference)
    sg.tl.project(new, reference)
    union = ad.concat([cohort, new])
    union.uns["ggml"] = new.uns["ggml"]
    whole = sg.tl.sample_distances(union)[mapped.obs_names]
    assert mapped.uns["ggml"]["solver"] == ("sinkhorn_divergence" if debiased else "sinkhorn")
    assert whole.uns["ggml"]["epsilon"] == mapped.uns["ggml"]["epsilon"] > 0
    np.testing.assert_allclose(mapped.obsp["ggml_distances"], whole.obsp["ggml_distances"], atol=1e-6)


def test_reference_does_not_move(new, reference, assert_same_anndata):
    before, cells = reference.copy(), new.copy()
    mapped = sg.tl.map_samples(new, reference)
    assert_same_anndata(reference, before)
    assert_same_anndata(new, cells)
    np.testing.assert_array_equal(mapped.obsm["X_mds"][:8], reference.obsm["X_mds"])


def test_new_coordinates_have_the_least_stress(new, reference):
    mapped = sg.tl.map_samples(new, reference)
    known, found = mapped.obsm["X_mds"][:8], mapped.obsm["X_mds"][8:]
    wanted = mapped.obsp["ggml_distances"][8:, :8]
    grid = np.stack(np.meshgrid(*[np.linspace(-2, 2, 401)] * 2), axis=-1).reshape(-1, 2)
    on_grid = cdist(grid, known)
    for coordinates, distances in zip(found, wanted, strict=True):
        least = ((on_grid - distances) ** 2).sum(axis=1).min()
        assert ((cdist(coordinates[None], known) - distances) ** 2).sum() <= least


def test_a_sample_of_the_reference_comes_to_itself(fitted, reference):
    again = fitted[fitted.obs["sample"] == "p4"].copy()
    again.obs["sample"] = "again"
    mapped = sg.tl.map_samples(again, reference)
    np.testing.assert_allclose(mapped.obsp["ggml_distances"][-1, :-1], reference.obsp["ggml_distances"][3], atol=1e-6)
    assert mapped.obsp["ggml_distances"][-1, -1] == 0


def test_columns(new, reference):
    new.obs["age"] = 50  # an integer beside floats
    new.obs["only_new"] = 1
    reference.obs["only_known"] = 1
    reference.obs["smoker"] = True
    new.obs["smoker"] = False
    mapped = sg.tl.map_samples(new, reference)
    assert set(mapped.obs.columns) == {"is_reference", "sample", "label", "age", "n_cells", "smoker"}
    assert mapped.obs["is_reference"].tolist() == [True] * 8 + [False] * 3
    assert mapped.obs["smoker"].tolist() == [True] * 8 + [False] * 3
    assert mapped.obs["age"].tolist() == [*reference.obs["age"], 50, 50, 50]
    assert mapped.obs["n_cells"].tolist() == [
        *reference.obs["n_cells"],
        *np.unique(new.obs["sample"], return_counts=True)[1],
    ]
    assert list(mapped.obs["label"].cat.categories) == list(reference.obs["label"].cat.categories)
    assert list(mapped.uns["label_colors"]) == list(reference.uns["label_colors"])
    known = reference.uns["ggml_reference"]["calibration"]["novelty"]
    assert mapped.obsm["ggml_novelty"].iloc[:8].equals(known)
    assert np.isfinite(mapped.obsm["ggml_novelty"]["outside"]).all()


def test_labels_need_not_be_known(new, reference):
    del new.obs["label"]
    mapped = sg.tl.map_samples(new, reference)
    assert mapped.obs["label"].isna().tolist() == [False] * 8 + [True] * 3
    new.obs["label"] = "other"
    mapped = sg.tl.map_samples(new, reference)
    assert list(mapped.obs["label"].cat.categories) == ["well", "sick", "other"]
    assert "label_colors" not in mapped.uns  # of two classes, not of three


def test_one_sample(new, reference):
    mapped = sg.tl.map_samples(new[new.obs["sample"] == "q1"].copy(), reference)
    assert mapped.n_obs == 9 and mapped.obsp["ggml_distances"][8, 8] == 0


def test_other_maps_are_left_out(new, reference, caplog):
    reference.obsm["X_umap"] = reference.obsm["X_mds"].copy()
    with caplog.at_level(logging.INFO, logger="scggml"):
        mapped = sg.tl.map_samples(new, reference)
    assert list(mapped.obsm) == ["X_mds", "ggml_novelty"]
    assert "X_umap, which cannot take new samples" in caplog.text
    del reference.obsm["X_mds"]
    assert list(sg.tl.map_samples(new, reference).obsm) == ["ggml_novelty"]


def test_other_names_of_the_sample_column(new, reference):
    expected = sg.tl.map_samples(new, reference)
    new.obs["patient"] = new.obs.pop("sample")
    found = sg.tl.map_samples(new, reference, "patient")
    np.testing.assert_array_equal(found.obsp["ggml_distances"], expected.obsp["ggml_distances"])
    with pytest.raises(KeyError, match="sample_key='sample' is not a column of obs"):
        sg.tl.map_samples(new, reference)


def test_jobs_do_not_matter(new, reference, assert_same_anndata):
    assert_same_anndata(sg.tl.map_samples(new, reference, n_jobs=1), sg.tl.map_samples(new, reference, n_jobs=2))


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_the_file_is_all_that_is_needed(new, reference, tmp_path, kind, assert_same_anndata, pyplot):
    expected = sg.tl.map_samples(new, reference)
    sg.tl.predict_samples(expected)
    for step in ("reference", "mapped"):
        adata = reference if step == "reference" else expected
        path = tmp_path / f"{step}.{kind}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(adata, f"write_{kind}")(path)
            found = getattr(ad, f"read_{kind}")(path)
        assert_same_anndata(found, adata)
        if step == "reference":
            mapped = sg.tl.map_samples(new, found)
            sg.tl.predict_samples(mapped)
            assert_same_anndata(mapped, expected)
    sg.tl.predict_samples(found, alpha=0.01)
    assert sg.pl.sample_map(found, color="predicted").collections
    assert sg.pl.distance_heatmap(found, color="label").images
    assert sg.get.distances(found).shape == (11, 11)


def test_names_of_the_reference(new, reference, fitted):
    new.obs["sample"] = new.obs["sample"].replace({"q1": "p1", "q2": "p2"})
    with pytest.raises(ValueError, match=r"2 new sample\(s\) have names of samples of the reference: p1, p2"):
        sg.tl.map_samples(new, reference)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (KeyError, "reference has no uns\\['x_reference'\\]", {"key": "x"}),
        (ValueError, "n_jobs must not be 0", {"n_jobs": 0}),
        (TypeError, "missing_genes", {"missing_genes": None}),
        (KeyError, "use_rep='X_pca' is not in obsm", {"use_rep": "X_pca"}),
        (TypeError, "layer", {"layer": "x"}),
        (KeyError, "sample_key='donor' is not a column", {"sample_key": "donor"}),
    ],
)
def test_bad_arguments(new, reference, error, match, arguments):
    with pytest.raises(error, match=match):
        sg.tl.map_samples(new, reference, **arguments)


def test_bad_cells(new, reference):
    with pytest.raises(TypeError, match="new must be an AnnData"):
        sg.tl.map_samples(pd.DataFrame(), reference)
    one_cell = new[[0, *np.flatnonzero(new.obs["sample"] != new.obs["sample"].iloc[0])]].copy()
    with pytest.raises(ValueError, match="a sample needs at least 2 cells"):
        sg.tl.map_samples(one_cell, reference)


@pytest.mark.parametrize("kind", ["part", "turned", "renamed"])
def test_a_reference_that_was_changed(new, reference, kind):
    changed = {"part": reference[1:], "turned": reference[::-1], "renamed": reference}[kind].copy()
    if kind == "renamed":
        changed.obs_names = ["x", *changed.obs_names[1:]]
    with pytest.raises(ValueError, match="samples were dropped, moved or renamed after it was made"):
        sg.tl.map_samples(new, changed)


def test_continuous_labels_stay_numbers(new, cohort):
    sg.tl.fit_metric(cohort, "sample", "age", label_kind="continuous", rng=0)
    reference = sg.tl.make_reference(cohort, sg.tl.sample_distances(cohort), cv=None)
    del new.obs["age"]
    ages = sg.tl.map_samples(new, reference).obs["age"]
    assert ages.dtype == np.float64 and ages.isna().tolist() == [False] * 8 + [True] * 3
    sg.tl.project(new, reference)
    assert new.uns["ggml"]["params"]["label_kind"] == "continuous"


def test_a_column_called_is_reference(new, fitted):
    fitted.obs["is_reference"] = new.obs["is_reference"] = True
    reference = sg.tl.make_reference(fitted, sg.tl.sample_distances(fitted), cv=None)
    mapped = sg.tl.map_samples(new, reference)
    assert mapped.obs["is_reference"].tolist() == [True] * 8 + [False] * 3


def test_distances_by_another_solver_than_that_of_the_metric(new, fitted):
    pdata = sg.tl.sample_distances(fitted, solver=sg.Sinkhorn(reg=0.3, debiased=True))
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    mapped = sg.tl.map_samples(new, reference)
    sg.tl.project(new, reference)
    union = ad.concat([fitted, new])
    union.uns["ggml"] = new.uns["ggml"]
    whole = sg.tl.sample_distances(union)[mapped.obs_names]
    np.testing.assert_allclose(mapped.obsp["ggml_distances"], whole.obsp["ggml_distances"], atol=1e-6)


def test_reference_with_a_table_of_the_users_own(new, fitted, pdata):
    expected = sg.tl.map_samples(new, sg.tl.make_reference(fitted, pdata, cv=None)).obs["n_cells"]
    pdata.obs = pd.DataFrame({"label": pdata.obs["label"], "stage": "II"}, index=pdata.obs_names)
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    pd.testing.assert_series_equal(sg.tl.map_samples(new, reference).obs["n_cells"], expected)


@pytest.mark.parametrize("column", ["n_cells", "sketch_error"])
@pytest.mark.parametrize("damage", [np.complex128, str, lambda x: x * np.nan, lambda x: -1 - x])
def test_reference_with_a_damaged_column(new, fitted, pdata, column, damage):
    reference = sg.tl.make_reference(fitted, pdata, n_points=4, cv=None, rng=0)
    numbers = reference.obs[column]
    reference.obs[column] = damage(numbers) if damage not in (np.complex128, str) else numbers.astype(damage)
    with pytest.raises(ValueError, match=rf"obs\['{column}'\] must hold .*numbers.* Make the reference again"):
        sg.tl.map_samples(new, reference)


def test_reference_whose_table_was_replaced(new, fitted, pdata):
    reference = sg.tl.make_reference(fitted, pdata, cv=None)
    reference.obs = pdata.obs[["label"]]
    with pytest.raises(KeyError, match=r"reference\.obs has no column 'n_cells'.*after sg\.tl\.make_reference"):
        sg.tl.map_samples(new, reference)
    sketched = sg.tl.make_reference(fitted, pdata, n_points=4, cv=None, rng=0)
    del sketched.obs["sketch_error"]
    with pytest.raises(KeyError, match=r"reference\.obs has no column 'sketch_error'"):
        sg.tl.map_samples(new, sketched)
