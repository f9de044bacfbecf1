from __future__ import annotations

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


def names(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def strip(ax):
    return next(child for child in ax.child_axes if child.images)


def legend(ax):
    return next(other.get_legend() for other in ax.figure.axes if other.get_legend() is not None)


def test_matrix_is_reordered_like_its_labels(pdata, ax):
    assert sg.pl.distance_heatmap(pdata, ax=ax) is ax
    order = names(ax.yaxis)
    assert names(ax.xaxis) == order and sorted(order) == list(pdata.obs_names)
    table = pd.DataFrame(pdata.obsp["ggml_distances"], pdata.obs_names, pdata.obs_names)
    shown, expected = np.ma.filled(ax.images[0].get_array(), np.nan), table.loc[order, order].to_numpy()
    between = ~np.eye(len(order), dtype=bool)
    np.testing.assert_array_equal(shown[between], expected[between])
    assert np.isnan(np.diag(shown)).all()
    assert ax.images[0].get_clim() == (expected[between].min(), expected[between].max())
    assert any(other.get_ylabel() == "distance" for other in ax.figure.axes)


def test_leaves_put_neighbours_together(pdata, ax):
    positions = np.array([0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 3.0, 13.0])
    pdata.obsp["ggml_distances"] = np.abs(positions[:, None] - positions)
    sg.pl.distance_heatmap(pdata, ax=ax)
    shown = positions[[list(pdata.obs_names).index(name) for name in names(ax.yaxis)]]
    assert (np.diff(shown) > 0).all() or (np.diff(shown) < 0).all()


def test_classes_are_blocks_with_their_colors(pdata, ax):
    sg.pl.distance_heatmap(pdata, color="label", ax=ax)
    shown = pdata.obs["label"].loc[names(ax.yaxis)]
    assert list(shown) == ["well"] * 4 + ["sick"] * 4
    colors = [to_hex(c) for c in np.asarray(strip(ax).images[0].get_array())[0]]
    assert colors == ["#112233"] * 4 + ["#aa0000"] * 4
    assert legend(ax).get_title().get_text() == "label"
    assert [t.get_text() for t in legend(ax).get_texts()] == ["well", "sick"]
    assert [to_hex(p.get_facecolor()) for p in legend(ax).get_patches()] == ["#112233", "#aa0000"]


def test_missing_class_is_grey_and_last(pdata, ax):
    pdata.obs.loc["p3", "label"] = np.nan
    pdata.uns["label_colors"] = ["#00ff00", "#0000ff"]
    sg.pl.distance_heatmap(pdata, color="label", ax=ax)
    assert names(ax.yaxis)[-1] == "p3"
    colors = [to_hex(c) for c in np.asarray(strip(ax).images[0].get_array())[0]]
    assert colors == ["#00ff00"] * 4 + ["#0000ff"] * 3 + ["#bdbdbd"]
    assert [t.get_text() for t in legend(ax).get_texts()] == ["well", "sick", "missing"]


def test_classes_without_samples_are_not_in_the_legend(pdata, ax):
    sg.pl.distance_heatmap(pdata[pdata.obs["label"] == "sick"].copy(), color="label", ax=ax)
    assert [t.get_text() for t in legend(ax).get_texts()] == ["sick"]
    assert [to_hex(p.get_facecolor()) for p in legend(ax).get_patches()] == ["#aa0000"]


def test_several_columns_are_tracks_in_the_order_of_the_clusters(pdata, ax):
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    pdata.obs.loc["p4", "age"] = np.nan
    sg.pl.distance_heatmap(pdata, color=["label", "age"], ax=ax)
    tree = linkage(squareform(pdata.obsp["ggml_distances"], checks=False), "average", optimal_ordering=True)
    order = list(pdata.obs_names[leaves_list(tree)])
    assert names(ax.yaxis) == order
    lowest, above, dendrogram = sorted(ax.child_axes, key=lambda child: child.get_position().y0)
    assert [names(strip.yaxis) for strip in (lowest, above)] == [["age"], ["label"]]
    shades = {"well": "#112233", "sick": "#aa0000"}
    drawn = [to_hex(c) for c in np.asarray(above.images[0].get_array())[0]]
    assert drawn == [shades[label] for label in pdata.obs["label"].loc[order]]
    drawn = {name: to_hex(c) for name, c in zip(order, np.asarray(lowest.images[0].get_array())[0], strict=True)}
    assert drawn.pop("p4") == "#bdbdbd"
    darkness = [-sum(int(drawn[name][i : i + 2], 16) for i in (1, 3, 5)) for name in drawn]
    assert (np.argsort(darkness) == np.argsort([pdata.obs["age"][name] for name in drawn])).all()
    texts = [text.get_text() for text in legend(ax).get_texts()]
    ages = pdata.obs["age"]
    assert texts == ["label", "well", "sick", "age", f"{ages.min():g}", f"{ages.max():g}", "missing"]
    # the highest arch of the dendrogram is the last merge
    heights = [segment[:, 1].max() for segment in dendrogram.collections[0].get_segments()]
    assert max(heights) == pytest.approx(tree[-1, 2]) and len(heights) == len(order) - 1


def test_one_track_of_numbers_does_not_order(pdata, ax):
    sg.pl.distance_heatmap(pdata, color=["age"], ax=ax)
    plain = Figure().subplots()
    sg.pl.distance_heatmap(pdata, ax=plain)
    assert names(ax.yaxis) == names(plain.yaxis)
    assert [t.get_text() for t in legend(ax).get_texts()] == [
        f"{pdata.obs['age'].min():g}",
        f"{pdata.obs['age'].max():g}",
    ]


def test_key(pdata, ax):
    pdata.obsp["mine_distances"] = 2 * pdata.obsp["ggml_distances"]
    sg.pl.distance_heatmap(pdata, key="mine", ax=ax)
    assert ax.get_title() == ""
    assert ax.images[0].get_array().max() == 2 * pdata.obsp["ggml_distances"].max()


def test_names_that_would_overlap_are_left_out(pdata):
    figure = Figure(figsize=(1.5, 0.8))
    assert names(sg.pl.distance_heatmap(pdata, ax=figure.subplots()).yaxis) == []


def test_many_samples_are_not_named(ax):
    n = 51
    x = np.random.default_rng(0).normal(size=(n, 1))
    pdata = AnnData(obsp={"ggml_distances": np.abs(x - x.T)}, shape=(n, 0))
    sg.pl.distance_heatmap(pdata, ax=ax)
    assert names(ax.yaxis) == [] and ax.images[0].get_array().shape == (n, n)


CASES = {
    "key": ({"key": "mine"}, KeyError, ["obsp['mine_distances']", "ggml_distances", "sg.tl.sample_distances"]),
    "color": ({"color": "state"}, KeyError, ["color='state'", "sample, label, age, n_cells"]),
    "number": ({"color": "age"}, ValueError, ["color='age'", "numbers", "pandas.cut"]),
    "no columns": ({"color": []}, ValueError, ["color", "empty list"]),
    "one of two": ({"color": ["label", "state"]}, KeyError, ["color='state'"]),
    "unknown": ({"colour": "label"}, TypeError, ["colour"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_draws_nothing(pdata, ax, pyplot, case):
    arguments, error, texts = CASES[case]
    for axes in (ax, None):
        with pytest.raises(error) as caught:
            sg.pl.distance_heatmap(pdata, **arguments, ax=axes)
        for part in texts:
            assert part in str(caught.value.args[0])
    assert not pyplot.get_fignums() and not ax.images


def test_no_anndata():
    with pytest.raises(TypeError, match="pdata must be an AnnData, found ndarray"):
        sg.pl.distance_heatmap(np.eye(3))


def test_distances_that_are_none(pdata, ax, pyplot):
    good = pdata.obsp["ggml_distances"]
    bad = {"NaN": good.copy(), "asymmetric": good.copy(), "negative": good.copy()}
    bad["NaN"][0, 1] = bad["NaN"][1, 0] = np.nan
    bad["asymmetric"][0, 1] *= 2
    bad["negative"][0, 1] = bad["negative"][1, 0] = -1
    for matrix in bad.values():
        pdata.obsp["ggml_distances"] = matrix
        for axes in (ax, None):
            with pytest.raises(ValueError, match=r"obsp\['ggml_distances'\] (holds|must)"):
                sg.pl.distance_heatmap(pdata, color="label", ax=axes)
    assert not pyplot.get_fignums() and not ax.images


@pytest.mark.parametrize("n", [1, 2, 3, 300])
@pytest.mark.parametrize("color", [None, "label"])
def test_any_number_of_samples(n, color):
    obs = pd.DataFrame({"label": [f"class {i % 20}" for i in range(n)]}, index=[f"s{i}" for i in range(n)])
    x = np.random.default_rng(0).normal(size=(n, 1))
    pdata = AnnData(obs=obs, obsp={"ggml_distances": np.abs(x - x.T)})
    figure = Figure(figsize=(8, 5), layout="constrained")
    ax = sg.pl.distance_heatmap(pdata, color=color, ax=figure.subplots())
    figure.draw_without_rendering()
    assert ax.images[0].get_array().shape == (n, n)
    if color is not None:
        assert len(legend(ax).get_texts()) == min(n, 20)


def test_long_names_and_many_classes_are_within_the_figure(pyplot):
    n = 24
    names = [f"Healthy_control_donor_of_the_site_{i:02}" for i in range(n)]
    obs = pd.DataFrame({"state": [f"state of the disease at month {i:02}" for i in np.arange(n) // 2]}, index=names)
    x = np.random.default_rng(0).normal(size=(n, 1))
    ax = sg.pl.distance_heatmap(AnnData(obs=obs, obsp={"ggml_distances": np.abs(x - x.T)}), color="state")
    ax.figure.canvas.draw()
    page, box = ax.figure.bbox, legend(ax).get_window_extent()
    assert box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1 and box.y0 >= 0
    first = ax.get_yticklabels()[0].get_window_extent()
    assert first.x0 >= 0 and ax.bbox.width > 0.25 * page.width
