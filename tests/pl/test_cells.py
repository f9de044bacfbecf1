from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist, squareform

import scggml as sg


@pytest.fixture
def ax():
    return Figure().subplots()


def drawn(ax):
    """Coordinates and colours of the cells."""
    points = ax.collections[0]
    ax.figure.draw_without_rendering()  # maps numbers to colours
    n = len(points.get_offsets())
    return np.asarray(points.get_offsets()), [to_hex(c) for c in np.broadcast_to(points.get_facecolors(), (n, 4))]


def test_principal_axes(fitted, ax, assert_same_anndata):
    before = fitted.copy()
    assert sg.pl.cells(fitted, ax=ax) is ax
    found = drawn(ax)[0]
    z = fitted.obsm["X_ggml"] - fitted.obsm["X_ggml"].mean(axis=0)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    np.testing.assert_allclose(abs(found), abs((u * s)[:, :2]), atol=1e-9)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("principal axis 1", "principal axis 2", "")
    assert ax.get_aspect() == 1 and ax.get_legend() is None
    assert_same_anndata(fitted, before)


def test_classes_have_their_colors(fitted, ax, assert_same_anndata):
    before = fitted.copy()
    sg.pl.cells(fitted, color="label", ax=ax)
    shades = {"well": "#112233", "sick": "#aa0000"}
    points, found = drawn(ax)
    reference = Figure().subplots()
    order = {tuple(np.round(p, 9)): i for i, p in enumerate(drawn(sg.pl.cells(fitted, ax=reference))[0])}
    assert found == [shades[fitted.obs["label"].iloc[order[tuple(np.round(p, 9))]]] for p in points]
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["well", "sick"]
    assert legend.get_title().get_text() == "label"
    assert_same_anndata(fitted, before)


def test_missing_values_and_text(fitted, ax):
    fitted.obs["label"] = fitted.obs["label"].astype(object)
    fitted.obs.iloc[0, fitted.obs.columns.get_loc("label")] = None
    fitted.uns["label_colors"] = ["#0000ff", "#00ff00"]  # of sick and well
    sg.pl.cells(fitted, color="label", ax=ax)
    assert set(drawn(ax)[1]) == {"#00ff00", "#0000ff", "#bdbdbd"}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sick", "well", "missing"]
    assert fitted.obs["label"].dtype == object


@pytest.mark.parametrize("color", ["age", "g3"])
def test_numbers_and_genes_get_a_color_bar(fitted, ax, color):
    sg.pl.cells(fitted, color=color, ax=ax)
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylabel() == color and ax.get_legend() is None
    values = fitted.obs["age"].to_numpy() if color == "age" else fitted[:, "g3"].X.toarray().ravel()
    np.testing.assert_allclose(np.sort(ax.collections[0].get_array()), np.sort(values))


def test_components_and_other_maps(fitted, ax):
    sg.pl.cells(fitted, basis="ggml", components=(3, 1), ax=ax)
    np.testing.assert_allclose(drawn(ax)[0], fitted.obsm["X_ggml"][:, [2, 0]])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("component 3", "component 1", "")
    other = Figure().subplots()
    fitted.obsm["X_umap"] = np.random.default_rng(0).normal(size=(fitted.n_obs, 2))
    sg.pl.cells(fitted, basis="umap", ax=other)
    np.testing.assert_allclose(drawn(other)[0], fitted.obsm["X_umap"])
    assert other.get_xlabel() == "UMAP 1" and other.get_aspect() == "auto"


def test_barycenters_lie_where_their_cells_do(fitted, ax):
    """One point of a class with one sample is the mean of its cells, on any axes."""
    fitted.obs["own"] = pd.Categorical(np.where(fitted.obs["sample"] == "p5", "single", "rest"))
    points = sg.tl.class_barycenters(fitted, label_key="own", classes=["single"], n_points=1)
    for basis in (None, "ggml"):
        axes = Figure().subplots()
        sg.pl.cells(fitted, basis=basis, barycenters=points, ax=axes)
        cells, point = drawn(axes)[0], axes.collections[-1].get_offsets()
        np.testing.assert_allclose(point[0], cells[(fitted.obs["own"] == "single").to_numpy()].mean(axis=0), atol=1e-9)


def test_barycenters_have_the_colors_of_the_cells(fitted):
    points = sg.tl.class_barycenters(fitted, n_points=3, rng=0)
    for color, expected in (
        ("label", ["#112233"] * 3 + ["#aa0000"] * 3),
        ("cell_type", ["#ffffff"] * 6),
        ("g3", ["#ffffff"] * 6),
    ):
        axes = Figure().subplots()
        sg.pl.cells(fitted, color=color, barycenters=points, ax=axes)
        found = axes.collections[-1].get_facecolors()
        assert [to_hex(c) for c in np.broadcast_to(found, (6, 4))] == expected


def test_new_figure(fitted, pyplot):
    ax = sg.pl.cells(fitted, color="label")
    assert pyplot.get_fignums() and ax.figure.get_axes() == [ax]


def test_neighbors_in_the_learned_space(fitted):
    """What scanpy finds with use_rep="X_ggml" are the nearest cells under the ground metric."""
    import scanpy as sc

    sc.pp.neighbors(fitted, n_neighbors=6, use_rep="X_ggml")
    entry = fitted.uns["ggml"]
    metric = entry["components"] / entry["scale"]
    x = fitted.obsm["X_pca"]
    distance = squareform([np.linalg.norm(metric @ (a - b)) for i, a in enumerate(x) for b in x[i + 1 :]])
    np.testing.assert_allclose(distance, squareform(pdist(fitted.obsm["X_ggml"])), atol=1e-9)
    np.fill_diagonal(distance, np.inf)
    graph = fitted.obsp["distances"].tocsr()
    for i in range(fitted.n_obs):
        row = slice(graph.indptr[i], graph.indptr[i + 1])
        nearest = np.sort(distance[i])[: row.stop - row.start]
        assert row.stop - row.start == 5  # the cell itself is the sixth
        np.testing.assert_allclose(np.sort(graph.data[row]), nearest, rtol=1e-5)
        np.testing.assert_allclose(distance[i, graph.indices[row]], graph.data[row], rtol=1e-5)


CASES = {
    "key": ({"key": "mine"}, KeyError, ["key='mine'", "X_mine", "sg.tl.fit_metric"]),
    "basis": ({"basis": "umap"}, KeyError, ["basis='umap'", "X_umap", "X_pca"]),
    "color": ({"color": "state"}, KeyError, ["color='state'", "obs nor a gene", "label"]),
    "component 0": ({"components": (0, 1)}, ValueError, ["components", "at least 1"]),
    "component 99": ({"components": (1, 99)}, ValueError, ["components", "at most", "99"]),
    "one component": ({"components": (1,)}, ValueError, ["components", "two axes"]),
    "unknown": ({"colour": "label"}, TypeError, ["colour"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_draws_nothing(fitted, ax, pyplot, case):
    arguments, error, texts = CASES[case]
    for axes in (ax, None):
        with pytest.raises(error) as caught:
            sg.pl.cells(fitted, **arguments, ax=axes)
        for part in texts:
            assert part in str(caught.value.args[0])
    assert not pyplot.get_fignums() and not ax.collections


def test_barycenters_of_another_metric(cohort, fitted, pdata, ax):
    old = sg.tl.class_barycenters(fitted, n_points=3, rng=0)
    sg.tl.fit_metric(fitted, "sample", "label", learner=sg.GroundMetricLearner(ridge=0.5), rng=0)
    assert old.obsm["X_ggml"].shape[1] == fitted.obsm["X_ggml"].shape[1]
    with pytest.raises(ValueError, match=r"barycenters are those of another metric than that in uns\['ggml'\].*again"):
        sg.pl.cells(fitted, barycenters=old, ax=ax)
    sg.pl.cells(fitted, barycenters=sg.tl.class_barycenters(fitted, n_points=3, rng=0), ax=ax)


def test_barycenters_of_the_reference_over_new_cells(cohort, fitted, pdata, ax):
    points = sg.tl.class_barycenters(fitted, n_points=3, rng=0)
    sg.tl.project(cohort, sg.tl.make_reference(fitted, pdata, cv=None))
    sg.pl.cells(cohort, barycenters=points, ax=ax)
    assert len(ax.collections) == 2


def test_bad_barycenters(fitted, ax, pdata):
    points = sg.tl.class_barycenters(fitted, n_points=3)
    fitted.obsm["X_umap"] = fitted.obsm["X_ggml"][:, :2]
    with pytest.raises(ValueError, match="barycenters have no coordinates on basis='umap'"):
        sg.pl.cells(fitted, basis="umap", barycenters=points, ax=ax)
    with pytest.raises(
        ValueError, match=r"barycenters must have obsm\['X_ggml'\] with 5 comp.*sg\.tl\.class_barycenters"
    ):
        sg.pl.cells(fitted, barycenters=pdata, ax=ax)
    fitted.obsm["X_ggml"] = fitted.obsm["X_ggml"][:, :1]
    with pytest.raises(ValueError, match="there is only one principal axis"):
        sg.pl.cells(fitted, ax=ax)
    with pytest.raises(TypeError, match="adata must be an AnnData, found ndarray"):
        sg.pl.cells(np.eye(3))


def test_genes_that_cannot_be_drawn(fitted, ax):
    from anndata import AnnData

    adata = AnnData(obs=fitted.obs, var=fitted.var, obsm=dict(fitted.obsm))
    with pytest.raises(ValueError, match=r"color='g3' is a gene, but adata\.X is None"):
        sg.pl.cells(adata, color="g3", ax=ax)
    fitted.var_names = ["g3", "g3", *fitted.var_names[2:]]
    with pytest.raises(ValueError, match="adata.var_names are not unique"):
        sg.pl.cells(fitted, color="g3", ax=ax)
    assert not ax.collections


def test_classes_without_cells_are_not_in_the_legend(fitted, ax):
    fitted.obs["label"] = fitted.obs["label"].cat.add_categories("none")
    fitted.uns["label_colors"] = ["#112233", "#aa0000", "#000000"]
    sg.pl.cells(fitted, color="label", ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["well", "sick"]


def test_high_values_and_missing_ones(fitted, ax):
    """The cells with the highest values are drawn last, missing ones first."""
    values = np.random.default_rng(0).permutation(np.arange(float(fitted.n_obs)))
    values[values == 3] = np.nan
    fitted.obs["v"] = values
    sg.pl.cells(fitted, basis="ggml", color="v", ax=ax)
    grey, known = ax.collections[:2]
    np.testing.assert_array_equal(grey.get_offsets(), fitted.obsm["X_ggml"][np.isnan(values), :2])
    np.testing.assert_array_equal(known.get_offsets(), fitted.obsm["X_ggml"][np.argsort(values)[:-1], :2])


def test_cells_that_have_no_place(fitted, ax, pyplot):
    fitted.obsm["X_umap"] = np.where(np.arange(fitted.n_obs)[:, None] < 2, np.nan, fitted.obsm["X_ggml"][:, :2])
    with pytest.raises(ValueError, match=r"basis='umap': obsm\['X_umap'\] has NaN or infinite coordinates in 2 of 87"):
        sg.pl.cells(fitted, basis="umap", ax=ax)
    fitted.obsm["X_ggml"][0, 0] = np.inf
    for axes in (ax, None):
        with pytest.raises(
            ValueError, match=r"key='ggml': obsm\['X_ggml'\] has NaN or infinite coordinates in 1 of 87"
        ):
            sg.pl.cells(fitted, ax=axes)
    assert not pyplot.get_fignums() and not ax.collections
