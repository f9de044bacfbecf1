"""What all plots promise: axes, figures, no showing, no global settings, nothing written."""

from __future__ import annotations

import io
import itertools
import warnings
from copy import deepcopy
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

import scggml as sg
from scggml.pl._axes import drawing, map_points, two_axes
from scggml.pl._legends import Arranged

PLOTS = {
    "sample_map": lambda cells, samples, ax: sg.pl.sample_map(samples, color="label", labels=True, ax=ax),
    "sample_map of numbers": lambda cells, samples, ax: sg.pl.sample_map(samples, color="age", ax=ax),
    "distance_heatmap": lambda cells, samples, ax: sg.pl.distance_heatmap(samples, color="label", ax=ax),
    "gene_weights": lambda cells, samples, ax: sg.pl.gene_weights(cells, ax=ax),
    "training_history": lambda cells, samples, ax: sg.pl.training_history(cells, ax=ax),
    "cross_validation": lambda cells, samples, ax: sg.pl.cross_validation(cells, baseline="euclidean", ax=ax),
    "cells": lambda cells, samples, ax: sg.pl.cells(cells, color="label", ax=ax),
    "transport": lambda cells, samples, ax: sg.pl.transport(samples, what="excess", ax=ax),
    "explained_genes": lambda cells, samples, ax: sg.pl.explained_genes(samples, cell_type="even", ax=ax),
    "tuning": lambda cells, samples, ax: sg.pl.tuning(cells, ax=ax),
    "power": lambda cells, samples, ax: sg.pl.power(cells, ax=ax),
    "predictions": lambda cells, samples, ax: sg.pl.predictions(cells, ax=ax),
    "predictions of roc": lambda cells, samples, ax: sg.pl.predictions(cells, what="roc", ax=ax),
    "separation": lambda cells, samples, ax: sg.pl.separation(cells, ax=ax),
    "distance_heatmap of tracks": lambda cells, samples, ax: sg.pl.distance_heatmap(
        samples, color=["label", "age"], ax=ax
    ),
}


@pytest.fixture(scope="module")
def evaluated():
    """What evaluation leaves in `.uns`."""
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "euclidean"], cv=3, rng=0)
    sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=3, rng=0)
    sg.tl.power(adata, "sample", "label", n_samples=[12, 15], n_cells=[5, 9], n_repeats=2, rng=0)
    sg.tl.separation_test(adata, "sample", "label", n_permutations=19, rng=0)
    names = ("ggml_cross_validation", "ggml_tuning", "ggml_power", "ggml_separation")
    return {key: adata.uns[key] for key in names}


def test_every_plot_is_tested():
    assert {name.split()[0] for name in PLOTS} == set(sg.pl.__all__)


@pytest.fixture(params=PLOTS)
def draw(request, fitted, pdata, evaluated, monkeypatch, assert_same_anndata, pyplot):
    def shown(*args, **kwargs):
        raise AssertionError("plt.show was called")

    monkeypatch.setattr(pyplot, "show", shown)
    fitted.uns.update(deepcopy(evaluated))
    fitted.obs["cell_type"] = ["even" if i % 2 else "odd" for i in range(fitted.n_obs)]
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    cells, samples, params = fitted.copy(), pdata.copy(), dict(mpl.rcParams)
    yield lambda ax: PLOTS[request.param](fitted, pdata, ax)
    assert dict(mpl.rcParams) == params
    assert_same_anndata(fitted, cells)
    assert_same_anndata(pdata, samples)


def test_without_ax_one_figure_is_made(draw, pyplot):
    ax = draw(None)
    assert isinstance(ax, Axes)
    assert pyplot.get_fignums() == [ax.figure.number]
    ax.figure.canvas.draw()


def test_with_ax_no_figure_is_made(draw, pyplot):
    figure, axes = pyplot.subplots(1, 2)
    assert draw(axes[1]) is axes[1]
    assert pyplot.get_fignums() == [figure.number]
    assert pyplot.gcf() is figure
    assert not axes[0].has_data()
    figure.canvas.draw()


def test_axes_without_pyplot(draw, pyplot, tmp_path):
    figure = Figure(layout="constrained")
    assert draw(figure.subplots()).figure is figure
    assert not pyplot.get_fignums()
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


class Broken(Exception):
    pass


def test_a_new_figure_is_closed_if_drawing_fails(pyplot):
    other = pyplot.figure()
    with pytest.raises(Broken), drawing(None, 3, 2) as ax:
        assert pyplot.get_fignums() == [other.number, ax.figure.number]
        raise Broken
    assert pyplot.get_fignums() == [other.number]
    with drawing(None, 3, 2) as ax:
        pass
    assert pyplot.get_fignums() == [other.number, ax.figure.number]
    assert tuple(ax.figure.get_size_inches()) == (3, 2)


def test_axes_of_the_caller_stay_open_if_drawing_fails(pyplot):
    figure, ax = pyplot.subplots()
    with pytest.raises(Broken), drawing(ax, 3, 2) as same:
        assert same is ax
        raise Broken
    assert pyplot.get_fignums() == [figure.number]


STEPS = [
    *((Axes, name) for name in ("scatter", "plot", "barh", "imshow", "legend", "set", "set_xticks", "set_yticks")),
    (Figure, "colorbar"), (Figure, "subplots"), (Axis, "set_major_locator"), (Axes, "set_title"),
]  # fmt: skip


def test_every_plot_closes_its_figure_if_drawing_fails(draw, pyplot, monkeypatch):
    n_failed = 0
    other = pyplot.figure()
    for error in (Broken, KeyboardInterrupt):
        for owner, name in STEPS:
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, lambda *args, error=error, **kwargs: (_ for _ in ()).throw(error))
                try:
                    draw(None)
                except error:
                    n_failed += 1
                    assert pyplot.get_fignums() == [other.number], name
                else:
                    pyplot.close(pyplot.get_fignums()[-1])
    assert n_failed >= 6


def other_axes(pyplot):
    """What `ax` cannot be, the error, and its words."""
    figure = pyplot.figure()
    removed, cleared = figure.add_subplot(), pyplot.figure().add_subplot()
    removed.remove()
    cleared.figure.clear()
    return {
        "text": ("axes", TypeError, "found 'axes'"),
        "figure": (figure, TypeError, "of type Figure"),
        "several": (np.array(pyplot.figure().subplots(1, 2)), TypeError, r"found ndarray of shape .*\. Pass one of them, such as ax\[0\]"),
        "three dimensions": (figure.add_subplot(projection="3d"), ValueError, "found the projection '3d'"),
        "polar": (figure.add_subplot(projection="polar"), ValueError, "found the projection 'polar'"),
        "removed": (removed, ValueError, "was removed from its figure"),
        "cleared": (cleared, ValueError, "was removed from its figure"),
    }  # fmt: skip


def test_what_ax_cannot_be(draw, pyplot):
    for ax, error, words in other_axes(pyplot).values():
        open_before = pyplot.get_fignums()
        with pytest.raises(error, match=rf"ax .*{words}"):
            draw(ax)
        assert pyplot.get_fignums() == open_before


def test_axes_within_others(draw, pyplot):
    figure = pyplot.figure(layout="constrained")
    left, right = figure.subfigures(1, 2)
    inset = left.subplots().inset_axes((0.2, 0.2, 0.7, 0.7))
    for ax in (right.subplots(), inset, inset.inset_axes((0.5, 0.5, 0.4, 0.4))):
        assert draw(ax) is ax
    pyplot.close(figure)  # axes of a closed figure can still be drawn on, and saved
    draw(right.axes[0])
    figure.canvas.draw()


@pytest.mark.parametrize("shared", ["sharex", "sharey", "both"])
def test_shared_axes(draw, pyplot, shared):
    names = ("sharex", "sharey") if shared == "both" else (shared,)
    figure, axes = pyplot.subplots(1, 2, layout="constrained", **dict.fromkeys(names, True))
    for ax in axes:
        draw(ax)
    figure.canvas.draw()


def test_figures_have_a_size_that_can_be_drawn(pyplot):
    with drawing(None, 3, 1e9) as ax:
        assert max(ax.figure.get_size_inches()) * 600 < 2**16


def test_two_axes_are_counted_from_one():
    assert two_axes((3, 1), 3, "the map") == two_axes(np.array([3, 1]), 3, "the map") == (2, 0)
    for wrong in ((1,), "12", 1, None, np.array(3), np.eye(3), {1, 2}, [[1], 2, 3]):
        with pytest.raises(ValueError, match="components must name two axes"):
            two_axes(wrong, 3, "the map")
    with pytest.raises(ValueError, match="components must be at most 3, the number of axes of the map, found 4"):
        two_axes((1, 4), 3, "the map")
    with pytest.raises(ValueError, match="a map needs two axes, but the map has 1"):
        two_axes((1, 1), 1, "the map")
    with pytest.raises(TypeError, match="components must be an integer"):
        two_axes([[1], 2], 3, "the map")


MAPS = {
    "NaN": (lambda x: np.where(np.arange(len(x))[:, None] == 1, np.nan, x), "NaN or infinite coordinates in 1 of 8 rows: {}"),
    "masked": (lambda x: np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 2), "NaN or infinite coordinates in 1 of 8 rows: {}"),
    "text": (lambda x: x.astype(str), "must hold numbers in two dimensions, found <U"),
    "one dimension": (lambda x: x[:, 0], "must hold numbers in two dimensions, found float64 of shape"),
    "three dimensions": (lambda x: x[:, :, None], "must hold numbers in two dimensions, found float64 of shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", MAPS)
def test_maps_that_cannot_be_drawn(pdata, case):
    change, words = MAPS[case]
    pdata = SimpleNamespace(is_view=False, obs_names=pdata.obs_names, obsm={"X_mds": change(pdata.obsm["X_mds"])})
    with pytest.raises(ValueError, match=rf"basis='mds': obsm\['X_mds'\] .*{words.format(pdata.obs_names[1])}"):
        map_points(pdata, "basis", "mds", "X_mds", "")


ODD = [
    "$\\frac$", "_hidden", "two\nlines\tand a tab", "nul\0byte", "\u05e9\u05dc\u05d5\u05dd \u202eabc",
    "\N{GRINNING FACE} \u7ec6\u80de", "x" * 3000, "$a$ and $b$ {}%",
]  # fmt: skip


@pytest.fixture(scope="module")
def odd(_cohort, evaluated):
    """Cells and samples whose samples, classes, cell types, genes and columns have odd names."""
    cells = _cohort.copy()
    cells.obs["sample"] = cells.obs["sample"].cat.rename_categories(ODD)
    cells.obs["label"] = cells.obs["label"].cat.rename_categories(ODD[:2])
    cells.obs["type"] = np.array(ODD, dtype=object)[cells.obs.groupby("sample", observed=True).cumcount() % len(ODD)]
    cells.var_names = [*ODD, *cells.var_names[len(ODD) :]]
    sg.tl.fit_metric(cells, "sample", "label", rng=0)
    samples = sg.tl.sample_distances(cells)
    sg.tl.embed_samples(samples, "mds")
    sg.tl.explain_distances(cells, samples, cell_type_key="type")
    for adata in (cells, samples):
        adata.obs["$\\frac$"] = adata.obs["sample"].astype(object)
        adata.obs.iloc[0, -1] = None
        adata.obs["_$number$"] = np.arange(float(adata.n_obs))
    samples.obsm["X_$\\frac$"] = samples.obsm["X_mds"]
    cells.obsm["X_$\\frac$"] = cells.obsm["X_ggml"]
    for key, entry in deepcopy(evaluated).items():
        cells.uns[key] = entry
    cells.uns["ggml_cross_validation"]["predictions"]["method"] = (
        cells.uns["ggml_cross_validation"]["predictions"]["method"].astype(str).replace("euclidean", "$\\frac$")
    )
    cells.uns["ggml_cross_validation"]["scores"]["method"] = (
        cells.uns["ggml_cross_validation"]["scores"]["method"].astype(str).replace("euclidean", "$\\frac$")
    )
    for table in ("inner", "outer"):
        cells.uns["ggml_tuning"][table]["ridge"] = "$\\frac$" + cells.uns["ggml_tuning"][table]["ridge"].astype(str)
    return cells, samples


ODD_PLOTS = {
    "sample_map": lambda cells, samples: sg.pl.sample_map(samples, basis=ODD[0], color=ODD[0], labels=True),
    "sample_map of numbers": lambda cells, samples: sg.pl.sample_map(samples, color="_$number$"),
    "distance_heatmap": lambda cells, samples: sg.pl.distance_heatmap(samples, color=ODD[0]),
    "gene_weights": lambda cells, samples: sg.pl.gene_weights(cells, highlight={ODD[0]: ODD[:1]}),
    "training_history": lambda cells, samples: sg.pl.training_history(cells),
    "cross_validation": lambda cells, samples: sg.pl.cross_validation(cells, baseline=ODD[0]),
    "cells": lambda cells, samples: sg.pl.cells(cells, basis=ODD[0], color=ODD[0]),
    "cells of numbers": lambda cells, samples: sg.pl.cells(cells, color="_$number$"),
    "cells of a gene": lambda cells, samples: sg.pl.cells(cells, color=ODD[1]),
    "transport": lambda cells, samples: sg.pl.transport(samples, what="excess"),
    "explained_genes": lambda cells, samples: sg.pl.explained_genes(samples, cell_type=ODD[0]),
    "tuning": lambda cells, samples: sg.pl.tuning(cells),
    "power": lambda cells, samples: sg.pl.power(cells),
    "predictions": lambda cells, samples: sg.pl.predictions(cells, method=ODD[0]),
    "predictions of roc": lambda cells, samples: sg.pl.predictions(cells, what="roc"),
    "separation": lambda cells, samples: sg.pl.separation(cells),
    "distance_heatmap of tracks": lambda cells, samples: sg.pl.distance_heatmap(samples, color=[ODD[0], "_$number$"]),
}  # fmt: skip


def test_every_plot_is_tested_with_odd_names():
    assert {name.split()[0] for name in ODD_PLOTS} == set(sg.pl.__all__)


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # of emoji and scripts that the font lacks
@pytest.mark.parametrize("name", ODD_PLOTS)
def test_names_are_drawn_as_they_are(odd, pyplot, name):
    """Formulas that are none, names that matplotlib would leave out, and characters without a shape."""
    figure = ODD_PLOTS[name](*odd).figure
    figure.savefig(io.BytesIO(), format="png")
    figure.savefig(io.BytesIO(), format="svg")
    assert max(figure.get_size_inches()) <= 60
    texts = [text.get_text() for text in figure.findobj(Text)]
    for text in texts:
        assert text.count("$") == text.count(r"\$") and not set(text) & set("\0\t")
    if name in ("sample_map", "cells", "distance_heatmap"):
        legend = next(ax.get_legend() for ax in figure.axes if ax.get_legend())
        known = sorted(set(ODD) - ({odd[1].obs_names[0]} if name != "cells" else set()))
        counted = [f"{known_name} (1)" if name == "sample_map" else known_name for known_name in known]
        missing = "missing (1)" if name == "sample_map" else "missing"
        arranged = Arranged([*counted, missing], **({"rows": 8} if name == "distance_heatmap" else {}))
        assert [text.get_text() for text in legend.get_texts()] == arranged.names


LONG = {
    2: ["chronic lymphocytic leukaemia (CLL)", "healthy donors, age-matched control"],
    4: ["severe acute respiratory", "moderate, hospitalised", "convalescent after 90 days", "uninfected healthy donors"],
    12: [f"{zone} zone of the left ventricle, {s}" for zone in ("border", "remote", "ischaemic", "fibrotic") for s in "abc"],
    30: [f"hospital site {i:02} (university clinic)" for i in range(30)],
}  # fmt: skip


def beyond(figure):
    """By how much what is drawn sticks out of a figure, in inches."""
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(figure.canvas.get_renderer()), figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


@pytest.mark.parametrize("n_classes", LONG)
@pytest.mark.parametrize("n", [6, 24, 300])
def test_long_names_of_classes_are_within_the_figure(pyplot, n, n_classes):
    if n_classes > n:
        return
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"state": np.array(LONG[n_classes])[np.arange(n) % n_classes]}, index=[f"p{i}" for i in range(n)]
    )
    obs["age"], obs["sex"] = rng.uniform(20, 90, n), rng.choice(["female", "male"], n)
    obs.iloc[-1, :] = [None, np.nan, None]
    x = rng.normal(size=(n, 4))
    adata = AnnData(obs=obs, obsm={"X_mds": x, "X_ggml": x})
    adata.obsp["ggml_distances"] = np.linalg.norm(x[:, None] - x, axis=2)
    for ax in (
        sg.pl.sample_map(adata, color="state"), sg.pl.cells(adata, color="state"),
        sg.pl.distance_heatmap(adata, color="state"), sg.pl.distance_heatmap(adata, color=["state", "age", "sex"]),
    ):  # fmt: skip
        assert beyond(ax.figure) <= 0.03
        assert min(ax.bbox.width, ax.bbox.height) / ax.figure.dpi > 2
        legend = next(other.get_legend() for other in ax.figure.axes if other.get_legend())
        boxes = [text.get_window_extent() for text in legend.get_texts() if text.get_text().strip()]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


@pytest.fixture(scope="module")
def long_names(_cohort, evaluated):
    """Cells and samples with long names of samples, classes, cell types and genes."""
    cells = _cohort.copy()
    cells.obs["sample"] = cells.obs["sample"].cat.rename_categories(
        [f"donor of the university clinic {i}" for i in range(8)]
    )
    cells.obs["label"] = cells.obs["label"].cat.rename_categories(LONG[2])
    cells.obs["type"] = np.array(LONG[12], dtype=object)[np.arange(cells.n_obs) % 12]
    cells.var_names = [f"ENSG00000000000{i:02}.15_PAR_Y" for i in range(cells.n_vars)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.fit_metric(cells, "sample", "label", rng=0)
        samples = sg.tl.sample_distances(cells)
        sg.tl.embed_samples(samples, "mds")
        sg.tl.explain_distances(cells, samples, cell_type_key="type")
        sg.tl.cross_validate(cells, "sample", "label", methods=["ggml", "euclidean"], cv=2, rng=0)
    cells.obs["cell_type"] = cells.obs["type"]
    for key in ("ggml_tuning", "ggml_power", "ggml_separation"):
        cells.uns[key] = deepcopy(evaluated[key])
    return cells, samples


@pytest.mark.parametrize("name", PLOTS)
def test_long_names_are_within_the_figure(long_names, pyplot, name):
    cells, samples = long_names
    ax = (
        sg.pl.explained_genes(samples, cell_type=LONG[12][0]) if name == "explained_genes"
        else PLOTS[name](cells, samples, None)
    )  # fmt: skip
    assert beyond(ax.figure) <= 0.03
    assert min(ax.bbox.width, ax.bbox.height) / ax.figure.dpi > 0.6


@pytest.mark.parametrize("name", ["sample_map", "distance_heatmap", "cells", "gene_weights"])
def test_legends_stay_within_the_place_of_axes_without_a_layout(long_names, pyplot, name):
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4))
    place = axes[0].get_position()
    PLOTS[name](*long_names, axes[0])
    figure.canvas.draw()
    legend = next(ax.get_legend() for ax in figure.axes if ax.get_legend())
    assert legend.get_window_extent().x1 <= axes[1].get_window_extent().x0
    assert axes[0].get_position(original=True).width >= 0.39 * place.width
