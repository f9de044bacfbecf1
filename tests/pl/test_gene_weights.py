from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture
def ax():
    return Figure().subplots()


def labels(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_bars(fitted, ax):
    assert sg.pl.gene_weights(fitted, n_genes=5, ax=ax) is ax
    lengths = np.linalg.norm(fitted.varm["ggml"], axis=1)
    order = np.argsort(-lengths)[:5]
    assert labels(ax) == [f"g{i}" for i in order]
    assert len(ax.patches) == 5
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], lengths[order])
    for i, bar in enumerate(ax.patches):
        assert bar.get_y() + bar.get_height() / 2 == pytest.approx(i)
    low, high = ax.get_ylim()
    assert low > high  # the largest on top
    assert ax.get_xlabel() and len({to_hex(bar.get_facecolor()) for bar in ax.patches}) == 1


def test_all_genes_where_there_are_fewer(fitted, ax):
    sg.pl.gene_weights(fitted, ax=ax)
    assert len(ax.patches) == 12


def test_highlight(fitted, ax):
    sg.pl.gene_weights(fitted, n_genes=4, highlight=["g3", "absent"], ax=ax)
    colors = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert labels(ax)[0] == "g3"
    assert colors[0] not in colors[1:] and len(set(colors[1:])) == 1
    assert ax.get_title() == ""
    legend = ax.get_legend()
    shown = dict(zip([t.get_text() for t in legend.get_texts()], legend.get_patches(), strict=True))
    assert to_hex(shown["highlighted"].get_facecolor()) == colors[0]
    assert to_hex(shown["other"].get_facecolor()) == colors[1]


def test_legend_only_where_a_gene_is_highlighted(fitted, ax):
    sg.pl.gene_weights(fitted, n_genes=4, highlight={"absent"}, ax=ax)
    assert ax.get_legend() is None
    sg.pl.gene_weights(fitted, n_genes=4, highlight={"planted": ("g3",)}, ax=ax)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["planted", "other"]


def test_key(fitted, ax):
    sg.tl.fit_metric(fitted, "sample", "label", use_rep="X", key_added="mine")
    sg.pl.gene_weights(fitted, key="mine", n_genes=1, ax=ax)
    assert ax.patches[0].get_width() == pytest.approx(np.linalg.norm(fitted.varm["mine"], axis=1).max())


def test_errors_draw_nothing(cohort, fitted, ax, pyplot):
    for axes in (ax, None):
        with pytest.raises(ValueError, match="n_genes must be at least 1, found 0"):
            sg.pl.gene_weights(fitted, n_genes=0, ax=axes)
        with pytest.raises(KeyError, match=r"no learned metric in uns\['ggml'\].*fit_metric"):
            sg.pl.gene_weights(cohort, ax=axes)
        with pytest.raises(TypeError, match="unexpected keyword argument 'genes'"):
            sg.pl.gene_weights(fitted, genes=3, ax=axes)
        for text in ("g3", {"planted": "g3"}):
            with pytest.raises(TypeError, match=r"highlight must be a list of genes, found 'g3'"):
                sg.pl.gene_weights(fitted, highlight=text, ax=axes)
        with pytest.raises(ValueError, match="highlight must have one label, found 2: a, b"):
            sg.pl.gene_weights(fitted, highlight={"a": ["g3"], "b": ["g4"]}, ax=axes)
        with pytest.raises(TypeError, match="adata must be an AnnData"):
            sg.pl.gene_weights(fitted.obs, ax=axes)
    del fitted.varm["ggml"]
    with pytest.raises(KeyError, match=r"varm\['ggml'\] does not exist"):
        sg.pl.gene_weights(fitted)
    assert not pyplot.get_fignums() and not ax.patches
