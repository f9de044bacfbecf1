"""New cells in the learned space: by name, from genes or from a representation; and values normalised in other ways."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp

import scggml as sg


@pytest.fixture
def reference(fitted, pdata):
    return sg.tl.make_reference(fitted, pdata, cv=None)


@pytest.fixture
def reference_x(fitted_x):
    return sg.tl.make_reference(fitted_x, sg.tl.sample_distances(fitted_x), cv=None)


@pytest.mark.parametrize("name", ["reference", "reference_x"])
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray])
def test_cells_get_the_coordinates_of_the_fit(cohort, name, kind, request, fitted, fitted_x):
    reference = request.getfixturevalue(name)
    expected = {"reference": fitted, "reference_x": fitted_x}[name].obsm["X_ggml"]
    cohort.X = cohort.X.toarray() if kind is np.asarray else kind(cohort.X)
    assert sg.tl.project(cohort, reference) is None
    np.testing.assert_allclose(cohort.obsm["X_ggml"], expected, atol=1e-6)
    assert cohort.obsm["X_ggml"].dtype == np.float64


@pytest.mark.parametrize("name", ["reference", "reference_x"])
def test_genes_in_any_order_among_others(cohort, name, request):
    reference = request.getfixturevalue(name)
    expected = sg.tl.project(cohort, reference, copy=True).obsm["X_ggml"]
    others = cohort[:, :3].copy()
    others.var_names = ["x", "y", "z"]
    wide = ad.concat([cohort, others], axis=1, merge="first")[:, ::-1].copy()
    sg.tl.project(wide, reference)
    np.testing.assert_allclose(wide.obsm["X_ggml"], expected, atol=1e-12)


def test_distances_are_those_of_the_metric(fitted, cohort, reference):
    sg.tl.project(cohort, reference)
    found = sg.tl.sample_distances(cohort)
    np.testing.assert_allclose(
        found.obsp["ggml_distances"], sg.tl.sample_distances(fitted).obsp["ggml_distances"], atol=1e-6
    )


def test_key(fitted, cohort):
    sg.tl.fit_metric(fitted, "sample", "label", key_added="mine", rng=0)
    reference = sg.tl.make_reference(fitted, sg.tl.sample_distances(fitted, key="mine"), key="mine", cv=None)
    sg.tl.project(cohort, reference, key="mine")
    np.testing.assert_allclose(cohort.obsm["X_mine"], fitted.obsm["X_mine"], atol=1e-6)
    assert "mine" in cohort.uns and "ggml" not in cohort.uns
    with pytest.raises(TypeError, match="key_added"):
        sg.tl.project(cohort, reference, key="mine", key_added="ggml")


def test_layer_of_the_reference_is_that_of_new_cells(cohort, fitted, pdata):
    fitted.layers["log"], fitted.X = fitted.X, fitted.layers["counts"]
    reference = sg.tl.make_reference(fitted, pdata, layer="log", cv=None)
    with pytest.raises(KeyError, match="layer='log' is not in layers"):
        sg.tl.project(cohort, reference)
    cohort.layers["log"], cohort.X = cohort.X, cohort.layers["counts"]
    sg.tl.project(cohort, reference)
    np.testing.assert_allclose(cohort.obsm["X_ggml"], fitted.obsm["X_ggml"], atol=1e-6)


def test_metric_on_a_layer(cohort):
    sg.tl.fit_metric(cohort, "sample", "label", layer="counts", rng=0)
    reference = sg.tl.make_reference(cohort, sg.tl.sample_distances(cohort), cv=None)
    new = sg.tl.project(cohort, reference, copy=True)
    np.testing.assert_allclose(new.obsm["X_ggml"], cohort.obsm["X_ggml"], atol=1e-6)


def test_representation_of_the_new_cells(cohort, fitted, reference):
    cohort.obsm["theirs"] = cohort.obsm["X_pca"]
    sg.tl.project(cohort, reference, use_rep="theirs")
    np.testing.assert_allclose(cohort.obsm["X_ggml"], fitted.obsm["X_ggml"])


def test_data_frame_in_obsm(cohort):
    sg.tl.fit_metric(cohort, "sample", "label", use_rep="X_df", rng=0)
    reference = sg.tl.make_reference(cohort, sg.tl.sample_distances(cohort), cv=None)
    expected = cohort.obsm["X_ggml"].copy()
    with pytest.raises(ValueError, match="'X_df', which cannot be computed from genes"):
        sg.tl.project(cohort, reference)
    cohort.obsm["X_df"] = cohort.obsm["X_df"][["w", "u", "v"]]
    sg.tl.project(cohort, reference, use_rep="X_df")
    np.testing.assert_allclose(cohort.obsm["X_ggml"], expected)


@pytest.mark.parametrize("name", ["reference", "reference_x"])
def test_missing_genes_are_at_the_mean(cohort, name, request):
    reference = request.getfixturevalue(name)
    mean = np.asarray(cohort.X.mean(axis=0)).ravel()
    filled = cohort.copy()
    filled.X = filled.X.toarray()
    filled.X[:, [1, 7]] = mean[[1, 7]]
    part = cohort[:, [i for i in range(12) if i not in (1, 7)]].copy()
    weights = reference.uns["ggml_reference"]
    with pytest.warns(
        UserWarning, match=r"2 of the reference's 12 genes, which carry (\d+\.\d)% of the metric .* g1, g7"
    ) as seen:
        sg.tl.project(part, reference)
    sg.tl.project(filled, reference)
    np.testing.assert_allclose(part.obsm["X_ggml"], filled.obsm["X_ggml"], atol=1e-6)
    adata = request.getfixturevalue("fitted" if name == "reference" else "fitted_x")
    squares = (adata.varm["ggml"] ** 2).sum(axis=1)
    share = float(str(seen[0].message).split("carry ")[1].split("%")[0])
    assert share == pytest.approx(100 * squares[[1, 7]].sum() / squares.sum(), abs=0.06)
    assert weights is reference.uns["ggml_reference"]


def test_half_of_the_metric_missing(fitted, cohort, reference):
    squares = (fitted.varm["ggml"] ** 2).sum(axis=1)
    kept = np.argsort(squares)[:4]
    assert squares[kept].sum() < squares.sum() / 2
    with pytest.raises(ValueError, match="More than half of the metric is missing"):
        sg.tl.project(cohort[:, kept].copy(), reference)


def test_counts_for_logarithms_and_back(cohort, fitted, reference):
    raw = cohort.copy()
    raw.X = raw.layers["counts"]
    with pytest.warns(UserWarning, match=r"X looks raw counts .*, that of the reference log-normalised"):
        sg.tl.project(raw, reference)
    counts = fitted.copy()
    counts.X = counts.layers["counts"]
    sg.tl.fit_metric(counts, "sample", "label", use_rep="X", rng=0)
    of_counts = sg.tl.make_reference(counts, sg.tl.sample_distances(counts), cv=None)
    sg.tl.project(counts, of_counts)
    with pytest.warns(UserWarning, match=r"X looks log-normalised .*, that of the reference raw counts"):
        sg.tl.project(cohort, of_counts)


def normalised(cohort, target_sum):
    cohort = cohort.copy()
    counts = cohort.layers["counts"].toarray() + 0.5
    cohort.X = np.log1p(counts / counts.sum(axis=1, keepdims=True) * target_sum)
    return cohort


@pytest.mark.parametrize(("old", "new"), [(1e4, 5e3), (100.0, 120.0), (120.0, 100.0)])
def test_other_totals(cohort, old, new):
    known = normalised(cohort, old)
    sg.tl.fit_metric(known, "sample", "label", use_rep="X", rng=0)
    reference = sg.tl.make_reference(known, sg.tl.sample_distances(known), cv=None)
    sg.tl.project(normalised(cohort, old), reference)
    with pytest.warns(UserWarning, match=f"normalised to a total of {new:g}, those of the reference to {old:g}"):
        sg.tl.project(normalised(cohort, new), reference)


def test_other_totals_of_some_genes(cohort, reference):
    """Totals that were made equal over genes that are not here any more."""
    strong = cohort.copy()
    strong.X = sp.csr_matrix(np.log1p(4 * np.expm1(cohort.X.toarray()) + 0.01))
    with pytest.warns(UserWarning, match="the median total of a cell over the reference's genes is"):
        sg.tl.project(strong, reference)


def test_view_and_copy(cohort, reference, assert_same_anndata):
    before = cohort.copy()
    found = sg.tl.project(cohort, reference, copy=True)
    assert_same_anndata(cohort, before)
    view = cohort[:10]
    sg.tl.project(view, reference)
    assert not view.is_view
    np.testing.assert_array_equal(view.obsm["X_ggml"], found.obsm["X_ggml"][:10])
    assert_same_anndata(cohort, before)


def test_cells_in_a_file(cohort, reference, tmp_path):
    expected = sg.tl.project(cohort, reference, copy=True).obsm["X_ggml"]
    cohort.write_h5ad(tmp_path / "new.h5ad")
    backed = ad.read_h5ad(tmp_path / "new.h5ad", backed="r")
    sg.tl.project(backed, reference)
    np.testing.assert_allclose(backed.obsm["X_ggml"], expected, atol=1e-12)
    backed.file.close()


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (KeyError, "reference has no uns\\['mine_reference'\\]", {"key": "mine"}),
        (TypeError, "missing_genes", {"missing_genes": "mean"}),
        (TypeError, "layer", {"layer": "log"}),
        (KeyError, "use_rep='X_umap' is not in obsm", {"use_rep": "X_umap"}),
        (ValueError, "on 'X_pca' .* was learned on 5 features, but obsm\\['X_df'\\] has 3", {"use_rep": "X_df"}),
        (ValueError, "key must be a non-empty text", {"key": ""}),
        (TypeError, "copy must be True or False", {"copy": None}),
    ],
)
def test_bad_arguments(cohort, reference, assert_same_anndata, error, match, arguments):
    before = cohort.copy()
    with pytest.raises(error, match=match):
        sg.tl.project(cohort, reference, **arguments)
    assert_same_anndata(cohort, before)


def test_bad_cells(cohort, reference, pdata):
    with pytest.raises(TypeError, match="new must be an AnnData"):
        sg.tl.project(cohort.to_df(), reference)
    with pytest.raises(KeyError, match="Pass the result of sg.tl.make_reference"):
        sg.tl.project(cohort, pdata)
    cohort.X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite, in 1 feature"):
        sg.tl.project(cohort, reference)


def test_bad_genes(cohort, reference):
    repeated = cohort.copy()
    repeated.var_names = ["g0", "g0", *cohort.var_names[2:]]
    with pytest.raises(ValueError, match="holds 1 of the reference's genes more than once: g0"):
        sg.tl.project(repeated, reference)
    cohort.var_names = [f"ENSG{i}" for i in range(12)]
    with pytest.raises(
        ValueError, match=r"none of the reference's 12 genes is in new.var_names: .*has g0, g1, g2.* ENSG0, ENSG1"
    ):
        sg.tl.project(cohort, reference)


def test_genes_without_loadings_are_not_needed(cohort):
    kept = np.arange(12) % 4 > 0
    sc.pp.pca(cohort, n_comps=4, mask_var=kept)
    sg.tl.fit_metric(cohort, "sample", "label", rng=0)
    reference = sg.tl.make_reference(cohort, sg.tl.sample_distances(cohort), cv=2, rng=0)
    assert list(reference.uns["ggml_reference"]["genes"]["names"]) == list(cohort.var_names[kept])
    new = cohort[:, kept].copy()
    sg.tl.project(new, reference)
    np.testing.assert_allclose(new.obsm["X_ggml"], cohort.obsm["X_ggml"], atol=1e-5)


def test_what_an_earlier_metric_left_is_gone(fitted, reference):
    sg.tl.rank_genes(fitted, rng=0)
    sg.tl.project(fitted, reference)
    assert "ggml" not in fitted.varm and "ggml_rank_genes" not in fitted.uns
