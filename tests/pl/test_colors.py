from __future__ import annotations

import datetime

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scggml as sg
from scggml.pl._colors import MISSING, Classes, Numbers, read_colors


@pytest.fixture
def sites():
    """Samples of 2, 8 or 14 sites."""

    def make(n):
        obs = pd.DataFrame({"site": [f"s{i:02}" for i in range(n)]}, index=[f"p{i}" for i in range(n)])
        return AnnData(obs=obs)

    return make


@pytest.mark.parametrize("n", [2, 8, 14])
def test_classes_have_different_colors(sites, n):
    colors = read_colors(sites(n), "site")
    assert colors.names == [f"s{i:02}" for i in range(n)]
    assert len(set(colors.shades)) == n


def test_up_to_ten_classes_are_colour_blind_safe(sites):
    """Colours of ten classes stay apart for red-green blindness (matrix of Machado et al., 2009, deuteranopia)."""
    matrix = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    rgb = np.array([mpl.colors.to_rgb(shade) for shade in read_colors(sites(10), "site").shades])
    seen = np.clip(rgb @ matrix.T, 0, 1)
    distances = np.linalg.norm(seen[:, None] - seen, axis=2)[np.triu_indices(10, k=1)]
    assert distances.min() > 0.08


def test_stored_colors_are_used_if_there_are_enough(sites):
    adata = sites(2)
    for stored in (["#112233", "#445566", "#778899"], np.array([[17, 34, 51], [68, 85, 102]]) / 255):
        adata.uns["site_colors"] = stored
        assert read_colors(adata, "site").shades == ["#112233", "#445566"]
    adata.uns["site_colors"] = ["#112233"]
    with pytest.warns(UserWarning, match="has 1 colours for 2 classes of color='site', and is not used"):
        assert len(set(read_colors(adata, "site").shades)) == 2


@pytest.mark.parametrize(
    ("n", "name"), [(11, "default_20"), (20, "default_20"), (21, "default_28"), (28, "default_28")]
)
def test_many_classes_have_the_colours_of_scanpy(sites, n, name):
    from scanpy.plotting import palettes

    assert read_colors(sites(n), "site").shades == [to_hex(shade) for shade in getattr(palettes, name)[:n]]


@pytest.mark.parametrize("n", [29, 60, 100])
def test_colours_of_very_many_classes_differ_and_are_no_white(sites, n):
    shades = read_colors(sites(n), "site").shades
    assert len(set(shades)) == n
    assert (np.array([mpl.colors.to_rgb(shade) for shade in shades]) @ (0.299, 0.587, 0.114)).max() < 0.85


def test_predicted_classes_have_the_colours_of_the_label():
    """Whatever the order of its categories."""
    names = ["healthy", "disease"]
    obs = pd.DataFrame({"state": pd.Categorical(names * 3, categories=names)}, index=[f"p{i}" for i in range(6)])
    obs["predicted"] = pd.Categorical([None, None, *names[::-1], *names], categories=sorted(names))
    mapped = AnnData(obs=obs, uns={"ggml_reference": {"params": {"label_key": "state"}}})
    for stored in (None, ["#112233", "#445566"]):
        if stored is not None:
            mapped.uns["state_colors"] = stored
        of_label, of_predicted = (read_colors(mapped, column) for column in ("state", "predicted"))
        assert of_predicted.names == ["disease", "healthy"]
        assert dict(zip(of_predicted.names, of_predicted.shades, strict=True)) == dict(
            zip(of_label.names, of_label.shades, strict=True)
        )
    mapped.uns["predicted_colors"] = ["#aaaaaa", "#bbbbbb"]
    assert read_colors(mapped, "predicted").shades == ["#aaaaaa", "#bbbbbb"]


@pytest.mark.parametrize(
    ("stored", "error", "found"),
    [
        ({"s00": "red"}, TypeError, "a list with the colour of each class of color='site', found dict"),
        ("red", TypeError, "found str"),
        (np.array("red"), TypeError, "found ndarray"),
        (["red", "nonsense"], ValueError, "holds 'nonsense', which is not a colour"),
        ([1, 2], ValueError, "holds 1, which is not a colour"),
    ],
)
def test_stored_colors_that_are_none(sites, pyplot, stored, error, found):
    adata = sites(2)
    adata.uns["site_colors"] = stored
    adata.obsm["X_mds"] = np.eye(2)
    adata.obsp["ggml_distances"] = 1 - np.eye(2)
    ax = Figure().subplots()
    for draw in (sg.pl.sample_map, sg.pl.distance_heatmap):
        for axes in (None, ax):
            with pytest.raises(error, match=rf"uns\['site_colors'\].*{found}.*Replace or delete it"):
                draw(adata, color="site", ax=axes)
    assert not pyplot.get_fignums() and not ax.has_data()


DAY = datetime.datetime(2024, 5, 1)
CLASSES = {
    "numbers and text": ([2, "b", None, 1.5], ["1.5", "2", "b"], [1, 2, -1, 0]),
    "unhashable": ([["b"], ["a"], None, {"a": 1}], ["['a']", "['b']", "{'a': 1}"], [1, 0, -1, 2]),
    "boolean": (pd.array([True, False, None, True], dtype="boolean"), ["False", "True"], [1, 0, -1, 1]),
    "bool": ([True, False, False, True], ["False", "True"], [1, 0, 0, 1]),
    "string": (pd.array(["b", "a", None, "b"], dtype="string"), ["a", "b"], [1, 0, -1, 1]),
    "text with nan": (["nan", "a", None, "a"], ["a", "nan"], [1, 0, -1, 0]),
    "datetime": (pd.to_datetime([DAY, None, DAY, "2023-01-01"]), ["2023-01-01", "2024-05-01"], [1, -1, 1, 0]),
    "dates": (pd.Categorical([DAY, None, DAY, None]), ["2024-05-01"], [0, -1, 0, -1]),
    "categories of numbers": (pd.Categorical([10, 9, None, 9]), ["9", "10"], [1, 0, -1, 0]),
    "mixed categories": (pd.Categorical([1, "b", 1, None], categories=["b", 1, "c"]), ["b", "1", "c"], [1, 0, 1, -1]),
    "intervals": (pd.cut([1, 5, np.nan, 2], [0, 3, 6]), ["(0, 3]", "(3, 6]"], [0, 1, -1, 0]),
    "all missing": (pd.Series([None] * 4, dtype=object), [], [-1] * 4),
    "all missing numbers": ([np.nan] * 4, [], [-1] * 4),
    "all missing categories": (pd.Categorical([None] * 4, categories=["a"]), ["a"], [-1] * 4),
    "complex": ([1j, 2.0, 1j, 2.0], ["1j", "(2+0j)"], None),
}  # values, names of the classes, classes of the four samples


@pytest.fixture
def four():
    """Four samples with a map and distances, and a column."""

    def make(values):
        obs = pd.DataFrame({"x": np.zeros(4)}, index=list("stuv"))
        adata = AnnData(obs=obs)
        adata.obs["x"] = pd.Series(values, index=obs.index) if not isinstance(values, pd.Series) else values.to_numpy()
        adata.obsm["X_mds"] = adata.obsm["X_ggml"] = np.arange(8.0).reshape(4, 2)
        adata.obsp["ggml_distances"] = 1 - np.eye(4)
        return adata

    return make


@pytest.mark.parametrize("case", CLASSES)
def test_what_holds_no_numbers_is_drawn_as_classes(four, case):
    values, names, codes = CLASSES[case]
    adata = four(values)
    colors = read_colors(adata, "x")
    assert isinstance(colors, Classes) and set(colors.names) == set(names)
    if codes is not None:
        assert colors.names == names
        np.testing.assert_array_equal(colors.codes, codes)
    for draw in (sg.pl.sample_map, sg.pl.cells, sg.pl.distance_heatmap):
        figure = Figure(layout="constrained")
        draw(adata, color="x", ax=figure.subplots())
        figure.draw_without_rendering()
        texts = [
            text.get_text().split(" (")[0] for ax in figure.axes if ax.get_legend() for text in ax.get_legend().texts
        ]
        present = [name.split(" (")[0] for name, _, _ in colors.present]
        assert texts == present and ("missing" in texts) == (colors.codes < 0).any()


NUMBERS = {
    "nullable integers": (pd.array([3, None, 1, 2], dtype="Int64"), [3, np.nan, 1, 2]),
    "nullable floats": (pd.array([0.5, None, 1, 2], dtype="Float32"), [0.5, np.nan, 1, 2]),
    "integers": ([3, 3, 3, 3], [3, 3, 3, 3]),
    "one known": ([np.nan, np.nan, 5.0, np.nan], [np.nan, np.nan, 5.0, np.nan]),
    "large": ([1e300, -1e300, 0, np.nan], [1e300, -1e300, 0, np.nan]),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_have_a_color_bar_and_missing_ones_a_legend(four, case):
    values, expected = NUMBERS[case]
    adata = four(values)
    colors = read_colors(adata, "x")
    assert isinstance(colors, Numbers)
    np.testing.assert_array_equal(colors.values, expected)
    n_missing = np.isnan(expected).sum()
    for draw, basis, name in ((sg.pl.sample_map, "mds", f"missing ({n_missing})"), (sg.pl.cells, "ggml", "missing")):
        figure = Figure(layout="constrained")
        ax = draw(adata, basis=basis, color="x", ax=figure.subplots())
        figure.draw_without_rendering()
        assert [other.get_ylabel() for other in figure.axes if other is not ax] == ["x"]
        legend = ax.get_legend()
        if not np.isnan(expected).any():
            assert legend is None
            continue
        assert [text.get_text() for text in legend.get_texts()] == [name]
        assert [to_hex(c) for c in legend.legend_handles[0].get_facecolors()] == [MISSING]
        grey = ax.collections[0]
        np.testing.assert_array_equal(grey.get_offsets(), adata.obsm["X_mds"][np.isnan(expected)])
        assert to_hex(grey.get_facecolors()[0]) == MISSING


COLUMNS = {
    "infinite": ([1, np.inf, -np.inf, 2], ValueError, "color='x' has 2 infinite values"),
    "list": (["a", "b"], TypeError, r"color must be one column, found \['a', 'b'\] of type list.*axes\[0\]"),
    "tuple": (("a", "b"), TypeError, r"color must be one column, found \('a', 'b'\) of type tuple"),
    "number": (3, TypeError, "color must be the name of a column as text, found 3"),
}


@pytest.mark.parametrize("case", COLUMNS)
@pytest.mark.parametrize("draw", [sg.pl.sample_map, sg.pl.cells, sg.pl.distance_heatmap])
def test_what_cannot_be_drawn(four, pyplot, draw, case):
    value, error, message = COLUMNS[case]
    if draw is sg.pl.distance_heatmap and case in ("list", "tuple"):  # which are its tracks
        value, error, message = ["x", "a"], KeyError, r"color='a': obs\['a'\] does not exist|color='a' "
    elif draw is sg.pl.distance_heatmap and case == "number":
        message = r"color must be .* found 3"
    adata, color = (four(value), "x") if case == "infinite" else (four([1, 2, 3, 4]), value)
    ax = Figure().subplots()
    for axes in (ax, None):
        with pytest.raises(error, match=message):
            draw(adata, color=color, ax=axes)
    assert not pyplot.get_fignums() and not ax.has_data()


def test_a_column_that_is_there_twice(four):
    adata = four([1, 2, 3, 4])
    adata.obs.columns = ["x"]
    obs = pd.concat([adata.obs, adata.obs], axis=1)
    adata._obs = obs  # AnnData itself warns of such tables only
    with pytest.raises(ValueError, match="color='x' names 2 columns of obs"):
        sg.pl.sample_map(adata, color="x")


def test_more_classes_than_a_legend_holds(pyplot):
    n = 101
    adata = AnnData(obs=pd.DataFrame({"id": [f"p{i}" for i in range(n)]}, index=[f"p{i}" for i in range(n)]))
    adata.obsm["X_mds"] = np.random.default_rng(0).normal(size=(n, 2))
    with pytest.raises(ValueError, match=r"color='id' has 101 classes, more than a legend has room for \(100\)"):
        sg.pl.sample_map(adata, color="id")
    assert not pyplot.get_fignums()
    ax = sg.pl.sample_map(adata[1:].copy(), color="id")
    ax.figure.canvas.draw()
    box, page = ax.get_legend().get_window_extent(), ax.figure.bbox
    assert box.y0 >= 0 and box.y1 <= page.y1 and box.x1 <= page.x1 + 1
