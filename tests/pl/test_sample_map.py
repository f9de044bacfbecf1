from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture
def ax():
    return Figure().subplots()


def drawn(ax):
    """Position to colour of every point."""
    return {
        tuple(np.round(point, 9)): to_hex(color)
        for points in ax.collections
        for point, color in zip(
            points.get_offsets(),
            np.broadcast_to(points.get_facecolors(), (len(points.get_offsets()), 4)),
            strict=True,
        )
    }


def expected(pdata, colors):
    return {tuple(np.round(point, 9)): c for point, c in zip(pdata.obsm["X_mds"], colors, strict=True)}


def test_points_and_axes(pdata, ax):
    assert sg.pl.sample_map(pdata, ax=ax) is ax
    assert set(drawn(ax)) == set(expected(pdata, range(8)))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("MDS 1", "MDS 2")
    assert ax.get_aspect() == 1 and ax.get_legend() is None and ax.get_title() == "training samples"


def test_stored_colors(pdata, ax):
    sg.pl.sample_map(pdata, color="label", ax=ax)
    shades = {"well": "#112233", "sick": "#aa0000"}
    assert drawn(ax) == expected(pdata, [shades[label] for label in pdata.obs["label"]])
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["well (4)", "sick (4)"]
    assert legend.get_title().get_text() == "label"


def test_colors_of_a_safe_palette(pdata, ax):
    import seaborn as sns

    del pdata.uns["label_colors"]
    sg.pl.sample_map(pdata, color="label", ax=ax)
    shades = [to_hex(c) for c in sns.color_palette("colorblind", 2)]
    assert drawn(ax) == expected(pdata, [shades[label == "sick"] for label in pdata.obs["label"]])


def test_classes_without_samples_are_not_in_the_legend(pdata, ax):
    sg.pl.sample_map(pdata[pdata.obs["label"] == "sick"].copy(), color="label", ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sick (4)"]


def test_many_classes_have_distinct_colors(ax):
    n = 14
    cells = AnnData(obs=pd.DataFrame({"site": [f"s{i}" for i in range(n)]}, index=[f"p{i}" for i in range(n)]))
    cells.obsm["X_mds"] = np.random.default_rng(0).normal(size=(n, 2))
    sg.pl.sample_map(cells, color="site", ax=ax)
    assert len(set(drawn(ax).values())) == n


def test_too_few_stored_colors_are_not_used(pdata, ax):
    pdata.uns["label_colors"] = ["#112233"]
    with pytest.warns(UserWarning, match=r"uns\['label_colors'\] has 1 colours for 2 classes .* not used"):
        sg.pl.sample_map(pdata, color="label", ax=ax)
    assert len(set(drawn(ax).values())) == 2


def test_missing_classes_are_grey(pdata, ax):
    pdata.obs["label"] = pdata.obs["label"].astype(object)
    pdata.obs.loc[["p2", "p3"], "label"] = None
    pdata.uns["label_colors"] = ["#aa0000", "#112233"]  # of sick, well
    sg.pl.sample_map(pdata, color="label", ax=ax)
    shades = {"well": "#112233", "sick": "#aa0000", None: "#bdbdbd"}
    assert drawn(ax) == expected(pdata, [shades[label] for label in pdata.obs["label"]])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["sick (3)", "well (3)", "missing (2)"]


def test_numbers_get_a_color_bar(pdata, ax):
    pdata.obs.loc["p4", "age"] = np.nan
    sg.pl.sample_map(pdata, color="age", ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["missing (1)"]
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylabel() == "age"
    ages = pdata.obs["age"]
    scaled = (ages - ages.min()) / (ages.max() - ages.min())
    ax.figure.draw_without_rendering()  # maps numbers to colours
    viridis = mpl.colormaps["viridis"]
    assert drawn(ax) == expected(pdata, ["#bdbdbd" if np.isnan(s) else to_hex(viridis(s)) for s in scaled])


def test_booleans_are_classes(pdata, ax):
    pdata.obs["old"] = pdata.obs["age"] > 36
    sg.pl.sample_map(pdata, color="old", ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["False (4)", "True (4)"]


def test_labels_components_and_basis(pdata, ax):
    pdata.obsm["X_umap"] = np.random.default_rng(0).normal(size=(8, 3))
    sg.pl.sample_map(pdata, basis="umap", components=(3, 1), labels=True, ax=ax)
    points = ax.collections[0]
    np.testing.assert_array_equal(points.get_offsets(), pdata.obsm["X_umap"][:, [2, 0]])
    assert {t.get_text(): tuple(t.xy) for t in ax.texts} == {
        name: tuple(point) for name, point in zip(pdata.obs_names, pdata.obsm["X_umap"][:, [2, 0]], strict=True)
    }
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("UMAP 3", "UMAP 1", "")
    assert ax.get_aspect() == "auto"


def test_trajectory(ax):
    rng = np.random.default_rng(0)
    time = rng.permutation(30) / 29
    pdata = AnnData(obs=pd.DataFrame({"ggml_pseudotime": time}, index=[f"s{i}" for i in range(30)]))
    angle = np.pi * time
    pdata.obsm["X_mds"] = np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    sg.pl.sample_map(pdata, trajectory=True, ax=ax)
    path = ax.lines[-1].get_xydata()
    # from the first sample to the last, near the half circle that the samples lie on
    assert np.linalg.norm(path[0] - [-1, 0]) < 0.2 and (np.diff(path[:, 0]) > 0).all()
    assert abs(np.linalg.norm(path, axis=1) - 1).max() < 0.2
    assert np.linalg.norm(np.array(ax.texts[-1].xy) - [1, 0]) < 0.2  # the tip of the arrow
    pdata.obs["back"] = 1 - time
    other = Figure().subplots()
    sg.pl.sample_map(pdata, trajectory="back", ax=other)
    np.testing.assert_allclose(other.lines[-1].get_xydata()[0], ax.texts[-1].xy, atol=1e-9)


@pytest.mark.parametrize(("n", "scale"), [(25, 1), (100, 2)])
def test_a_new_figure_has_room_for_names(pyplot, n, scale):
    pdata = AnnData(obs=pd.DataFrame(index=[f"p{i}" for i in range(n)]))
    pdata.obsm["X_mds"] = np.random.default_rng(0).normal(size=(n, 2))
    named, plain = (sg.pl.sample_map(pdata, labels=labels).figure.get_size_inches() for labels in (True, False))
    np.testing.assert_allclose(named, scale * plain)


def test_the_path_covers_no_point(pdata, ax):
    pdata.obs["ggml_pseudotime"] = np.linspace(0, 1, 8)
    sg.pl.sample_map(pdata, trajectory=True, ax=ax)
    path = [ax.lines[-1], ax.texts[-1], ax.texts[-1].arrow_patch]
    assert max(part.get_zorder() for part in path) < ax.collections[0].get_zorder()


def test_pseudotime_of_nullable_numbers(pdata, ax):
    pdata.obs["time"] = pd.array(range(8), dtype="Int64")
    sg.pl.sample_map(pdata, trajectory="time", ax=ax)
    assert ax.lines
    pdata.obs["time"] = pd.array([None, *range(7)], dtype="Int64")
    with pytest.raises(ValueError, match=r"obs\['time'\] must hold different finite numbers"):
        sg.pl.sample_map(pdata, trajectory="time", ax=ax)


def test_trajectory_of_few_samples_and_ties(pdata, ax):
    pdata.obs["ggml_pseudotime"] = [0.0, 0, 0, 0, 1, 1, 1, 1]
    sg.pl.sample_map(pdata, color="label", trajectory=True, ax=ax)
    assert np.isfinite(ax.lines[-1].get_xydata()).all()
    plain = Figure().subplots()
    sg.pl.sample_map(pdata, ax=plain)
    assert not plain.lines and not plain.texts


CASES = {
    "trajectory": ({"trajectory": True}, KeyError, ["trajectory", "obs['ggml_pseudotime']", "sg.tl.order_samples"]),
    "trajectory column": ({"trajectory": "label"}, ValueError, ["trajectory='label'", "numbers"]),
    "trajectory number": ({"trajectory": 3}, TypeError, ["trajectory", "3"]),
    "basis": ({"basis": "umap"}, KeyError, ["basis='umap'", "X_umap", "X_mds", "sg.tl.embed_samples(pdata, 'umap')"]),
    "color": ({"color": "state"}, KeyError, ["color='state'", "sample, label, age, n_cells"]),
    "component 0": ({"components": (0, 1)}, ValueError, ["components", "at least 1", "found 0"]),
    "component 3": ({"components": (1, 3)}, ValueError, ["components", "at most 2", "obsm['X_mds']", "found 3"]),
    "one component": ({"components": (1,)}, ValueError, ["components", "two axes", "(1,)"]),
    "unknown": ({"colour": "label"}, TypeError, ["colour"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_draws_nothing(pdata, ax, pyplot, case):
    arguments, error, texts = CASES[case]
    for axes in (ax, None):
        with pytest.raises(error) as caught:
            sg.pl.sample_map(pdata, **arguments, ax=axes)
        for part in texts:
            assert part in str(caught.value.args[0])
    assert not pyplot.get_fignums() and not ax.collections


def test_no_anndata():
    with pytest.raises(TypeError, match="pdata must be an AnnData, found ndarray"):
        sg.pl.sample_map(np.eye(3))


@pytest.mark.parametrize("color", ["label", None])
def test_new_samples_are_rings(pdata, ax, color):
    pdata.obs["is_reference"] = np.arange(pdata.n_obs) % 3 > 0
    sg.pl.sample_map(pdata, color=color, ax=ax)
    drawn = ax.collections[0]
    position = {tuple(np.round(point, 9)): i for i, point in enumerate(pdata.obsm["X_mds"][:, :2])}
    order = [position[tuple(np.round(point, 9))] for point in np.asarray(drawn.get_offsets())]
    is_new = ~pdata.obs["is_reference"].to_numpy()[order]
    faces, edges = drawn.get_facecolors(), drawn.get_edgecolors()
    assert (faces[is_new] == 1).all() and not (faces[~is_new] == 1).all(axis=1).any()
    assert not (edges[is_new] == 1).all(axis=1).any() and (edges[~is_new] == 1).all()
    assert ax.get_title() == "new samples (rings) beside training samples"
