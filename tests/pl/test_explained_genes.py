from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def explained(fitted, pdata):
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type")
    return pdata


def names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


@pytest.mark.parametrize("cell_type", [None, "T", "exchange"])
def test_bars_are_the_largest_excesses(explained, ax, cell_type):
    assert sg.pl.explained_genes(explained, cell_type=cell_type, n_genes=5, ax=ax) is ax
    table = sg.get.explanation(explained, "genes", classes=("well", "sick"), cell_type=cell_type).set_index("gene")
    widths = np.array([patch.get_width() for patch in ax.patches])
    np.testing.assert_array_equal(widths, table["excess"][names(ax)])
    assert set(names(ax)) == set(table["excess"].abs().nlargest(5).index)
    assert (np.diff(widths) <= 0).all()
    colors = {to_hex(patch.get_facecolor()) for patch, width in zip(ax.patches, widths, strict=True) if width < 0}
    assert len(colors) == ((widths < 0).any())
    assert ax.get_title() == ("well and sick" if cell_type is None else f"well and sick: {cell_type}")


def test_negative_bars_have_their_own_color(explained, ax):
    explained.uns["ggml_explanation"]["genes"]["distance"][0, :, 4] -= 1
    sg.pl.explained_genes(explained, ax=ax)
    assert names(ax)[-1] == "g4" and len(ax.patches) == 12
    assert to_hex(ax.patches[-1].get_facecolor()) != to_hex(ax.patches[0].get_facecolor())
    shown = [to_hex(patch.get_facecolor()) for patch in ax.get_legend().get_patches()]
    assert shown == [to_hex(ax.patches[i].get_facecolor()) for i in (0, -1)]
    assert ["between" in text.get_text() for text in ax.get_legend().get_texts()] == [True, False]


def test_two_samples_show_distances(fitted, pdata, ax):
    sg.tl.explain_distances(fitted, pdata, samples=("p7", "p2"))
    pdata.uns["mine_explanation"] = pdata.uns.pop("ggml_explanation")
    sg.pl.explained_genes(pdata, key="mine", ax=ax)
    assert ax.get_xlabel() == "contribution to the distance" and ax.get_title() == "p7 and p2"
    np.testing.assert_allclose(
        sum(p.get_width() for p in ax.patches), sg.get.distances(pdata).loc["p7", "p2"], rtol=1e-8
    )


def test_within_a_class(explained, ax):
    sg.pl.explained_genes(explained, classes=("sick", "sick"), ax=ax)
    assert ax.get_title() == "within sick"


CASES = {
    "n_genes": ({"n_genes": 0}, ValueError, ["n_genes", "0"]),
    "cell type": ({"cell_type": "NK"}, ValueError, ["B, T, exchange, composition", "'NK'"]),
    "classes": ({"classes": ("well", "ill")}, KeyError, ["(well, sick)"]),
    "key": ({"key": "mine"}, KeyError, ["uns['mine_explanation']"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_draws_nothing(explained, ax, pyplot, case):
    arguments, error, texts = CASES[case]
    for axes in (ax, None):
        with pytest.raises(error) as caught:
            sg.pl.explained_genes(explained, **arguments, ax=axes)
        for part in texts:
            assert part in str(caught.value.args[0])
    assert not pyplot.get_fignums() and not ax.patches


def test_no_genes(explained, ax):
    del explained.uns["ggml_explanation"]["genes"]
    with pytest.raises(KeyError, match="the explanation has no genes"):
        sg.pl.explained_genes(explained, ax=ax)
    with pytest.raises(TypeError, match="pdata must be an AnnData, found DataFrame"):
        sg.pl.explained_genes(explained.obs, ax=ax)


def test_new_figure(explained, pyplot):
    assert sg.pl.explained_genes(explained).patches
    assert len(pyplot.get_fignums()) == 1
