"""What all plots promise: axes, figures, no showing, no global settings, nothing written."""

from __future__ import annotations

from copy import deepcopy

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

import scggml as sg
from scggml.pl._axes import class_colors, drawing, two_axes

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
}


@pytest.fixture(scope="module")
def evaluated():
    """What evaluation leaves in `.uns`."""
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "euclidean"], cv=3, rng=0)
    sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=3, rng=0)
    return {key: adata.uns[key] for key in ("ggml_cross_validation", "ggml_tuning")}


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
    from matplotlib.figure import Figure

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


def test_every_plot_closes_its_figure_if_drawing_fails(draw, pyplot, monkeypatch):
    def fail(*args, **kwargs):
        raise Broken

    for method in ("set_yticks", "set"):  # one of these is called by every plot, after it has drawn
        monkeypatch.setattr(Axes, method, fail)
    with pytest.raises(Broken):
        draw(None)
    assert not pyplot.get_fignums()


@pytest.fixture
def sites():
    """Samples of 2, 8 or 14 sites."""

    def make(n):
        obs = pd.DataFrame({"site": [f"s{i:02}" for i in range(n)]}, index=[f"p{i}" for i in range(n)])
        return AnnData(obs=obs)

    return make


@pytest.mark.parametrize("n", [2, 8, 14])
def test_classes_have_different_colors(sites, n):
    shades = class_colors(sites(n), "site")
    assert list(shades) == [f"s{i:02}" for i in range(n)]
    assert len({to_hex(shade) for shade in shades.values()}) == n


def test_up_to_ten_classes_are_colour_blind_safe(sites):
    """Colours of ten classes stay apart for red-green blindness (matrix of Machado et al., 2009, deuteranopia)."""
    matrix = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    rgb = np.array([mpl.colors.to_rgb(shade) for shade in class_colors(sites(10), "site").values()])
    seen = np.clip(rgb @ matrix.T, 0, 1)
    distances = np.linalg.norm(seen[:, None] - seen, axis=2)[np.triu_indices(10, k=1)]
    assert distances.min() > 0.08


def test_stored_colors_are_used_if_there_are_enough(sites):
    adata = sites(2)
    adata.uns["site_colors"] = ["#112233", "#445566", "#778899"]
    assert class_colors(adata, "site") == {"s00": "#112233", "s01": "#445566"}
    adata.uns["site_colors"] = ["#112233"]
    assert len(set(class_colors(adata, "site").values())) == 2


def test_two_axes_are_counted_from_one():
    assert two_axes((3, 1), 3, "the map") == two_axes(np.array([3, 1]), 3, "the map") == (2, 0)
    for wrong in ((1,), "12", 1, None):
        with pytest.raises(ValueError, match="components must name two axes"):
            two_axes(wrong, 3, "the map")
    with pytest.raises(ValueError, match="components must be at most 3, the number of axes of the map, found 4"):
        two_axes((1, 4), 3, "the map")


def test_columns_of_numbers_and_text(pdata, pyplot):
    pdata.obs["stage"] = pd.Series([1, "II", "III", 1, "II", None, 1, 1], index=pdata.obs_names, dtype=object)
    assert list(class_colors(pdata, "stage")) == ["1", "II", "III"]
    sg.pl.sample_map(pdata, color="stage")
    sg.pl.distance_heatmap(pdata, color="stage")


def test_a_column_twice(pdata, pyplot):
    pdata.obs = pd.concat([pdata.obs, pdata.obs[["age"]]], axis=1)
    with pytest.raises(ValueError, match="color='age' names 2 columns of obs. Rename them apart"):
        sg.pl.sample_map(pdata, color="age")
