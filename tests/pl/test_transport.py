from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import scggml as sg


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def explained(fitted, pdata):
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    return pdata


def flows(pdata, column, classes=("well", "sick")):
    return sg.get.explanation(pdata, "flows", classes=classes)[column].to_numpy().reshape(2, 2)


def names(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


@pytest.mark.parametrize(("what", "column"), [("cost", "share"), ("mass", "mass"), ("excess", "excess")])
def test_matrix(explained, ax, what, column):
    assert sg.pl.transport(explained, what=what, ax=ax) is ax
    expected = flows(explained, column)
    np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    assert names(ax.xaxis) == names(ax.yaxis) == ["B", "T"]
    assert ax.get_title() == "well to sick"
    assert ax.get_ylabel() == "from type in well" and ax.get_xlabel() == "to type in sick"
    low, high = ax.images[0].get_clim()
    assert high == abs(expected).max() and low == (-high if what == "excess" else 0)
    written = {tuple(map(int, text.get_position()[::-1])): float(text.get_text()) for text in ax.texts}
    for position, value in np.ndenumerate(expected):
        assert written.get(position, 0.0) == pytest.approx(value, abs=0.005)
        assert (position in written) == (abs(value) >= 0.005)
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert sorted(frame.get_xy() for frame in frames) == [(-0.5, -0.5), (0.5, 0.5)]


def test_within_a_class(explained, ax):
    sg.pl.transport(explained, classes=("sick", "sick"), ax=ax)
    assert ax.get_title() == "within sick" and ax.get_ylabel() == "from type"
    np.testing.assert_array_equal(ax.images[0].get_array(), flows(explained, "share", ("sick", "sick")))


def test_key(explained, ax):
    explained.uns["mine_explanation"] = explained.uns.pop("ggml_explanation")
    sg.pl.transport(explained, key="mine", ax=ax)
    np.testing.assert_array_equal(
        ax.images[0].get_array(), explained.uns["mine_explanation"]["flows"]["share"][:4].to_numpy().reshape(2, 2)
    )


def test_several_comparisons_need_classes(fitted, pdata, ax):
    pdata.obs["stage"] = list("aabbccaa")
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", label_key="stage")
    with pytest.raises(ValueError, match=r"classes is needed, because 3 pairs .*\(a, b\), \(a, c\)"):
        sg.pl.transport(pdata, ax=ax)
    sg.pl.transport(pdata, classes=("c", "a"), ax=ax)
    assert ax.get_title() == "a to c"


def test_two_samples(fitted, pdata, ax):
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", samples=("p7", "p2"))
    sg.pl.transport(pdata, ax=ax)
    assert ax.get_title() == "p7 to p2"
    with pytest.raises(ValueError, match=r"'p7' and 'p2' have no excess.*what='cost'"):
        sg.pl.transport(pdata, what="excess", ax=ax)


def test_many_types_are_not_written(fitted, pdata, ax):
    fitted.obs["fine"] = [f"type {i % 17}" for i in range(fitted.n_obs)]
    with pytest.warns(UserWarning, match="absent from some samples"):
        sg.tl.explain_distances(fitted, pdata, cell_type_key="fine")
    sg.pl.transport(pdata, ax=ax)
    assert not ax.texts and len(names(ax.xaxis)) == 17 and ax.get_xticklabels()[0].get_rotation() == 90


CASES = {
    "what": ({"what": "flow"}, ValueError, ["what must be one of cost, mass, excess", "'flow'"]),
    "classes": ({"classes": ("well", "ill")}, KeyError, ["('well', 'ill')", "(well, sick)"]),
    "key": ({"key": "mine"}, KeyError, ["uns['mine_explanation']", "sg.tl.explain_distances"]),
    "within": ({"classes": ("well", "well"), "what": "excess"}, ValueError, ["'well' and 'well' have no excess"]),
    "unknown": ({"colour": "label"}, TypeError, ["colour"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_draws_nothing(explained, ax, pyplot, case):
    arguments, error, texts = CASES[case]
    for axes in (ax, None):
        with pytest.raises(error) as caught:
            sg.pl.transport(explained, **arguments, ax=axes)
        for part in texts:
            assert part in str(caught.value.args[0])
    assert not pyplot.get_fignums() and not ax.images


def test_no_types(fitted, pdata, ax):
    sg.tl.explain_distances(fitted, pdata)
    with pytest.raises(ValueError, match="not explained by cell types.*cell_type_key"):
        sg.pl.transport(pdata, ax=ax)
    with pytest.raises(TypeError, match="pdata must be an AnnData, found DataFrame"):
        sg.pl.transport(pdata.obs, ax=ax)


def test_new_figure(explained, pyplot):
    assert sg.pl.transport(explained).figure.axes
    assert len(pyplot.get_fignums()) == 1
