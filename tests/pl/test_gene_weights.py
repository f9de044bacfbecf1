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
    assert ax.get_xlabel()


def test_all_genes_where_there_are_fewer(fitted, ax):
    sg.pl.gene_weights(fitted, ax=ax)
    assert len(ax.patches) == 12


def entries(ax):
    """Names and colours in the legend."""
    legend = ax.get_legend()
    patches = legend.get_patches()
    return {t.get_text(): to_hex(p.get_facecolor()) for t, p in zip(legend.get_texts(), patches, strict=True)}


def highest(fitted):
    """The class with the largest mean over samples of the mean over cells, computed gene by gene."""
    table = fitted.to_df().groupby(fitted.obs["sample"].astype(str)).mean()
    label = fitted.obs.groupby(fitted.obs["sample"].astype(str))["label"].first().astype(str)
    return table.groupby(label.loc[table.index].to_numpy()).mean().idxmax()


@pytest.mark.parametrize("ranked", [False, True])
def test_colors_say_in_which_class_a_gene_is_highest(fitted, ax, ranked):
    if ranked:
        sg.tl.rank_genes(fitted)
    sg.pl.gene_weights(fitted, ax=ax)
    shades = {"well": "#112233", "sick": "#aa0000"}
    expected = highest(fitted)
    assert {gene: to_hex(bar.get_facecolor()) for gene, bar in zip(labels(ax), ax.patches, strict=True)} == {
        gene: shades[expected[gene]] for gene in labels(ax)
    }
    assert entries(ax) == shades and ax.get_legend().get_title().get_text() == "label: highest in"


def test_continuous_labels_rise_or_fall(cohort, ax):
    sg.tl.fit_metric(cohort, "sample", "age", label_kind="continuous", rng=0)
    sg.pl.gene_weights(cohort, ax=ax)
    by_sample = cohort.to_df().groupby(cohort.obs["sample"].astype(str)).mean()
    age = cohort.obs.groupby(cohort.obs["sample"].astype(str))["age"].first()
    rises = {gene: np.corrcoef(by_sample[gene], age.loc[by_sample.index])[0, 1] > 0 for gene in labels(ax)}
    shades = entries(ax)
    for gene, bar in zip(labels(ax), ax.patches, strict=True):
        assert to_hex(bar.get_facecolor()) == shades["rises with age" if rises[gene] else "falls with age"]
    other = Figure().subplots()
    sg.tl.rank_genes(cohort)
    sg.pl.gene_weights(cohort, ax=other)
    assert [bar.get_facecolor() for bar in other.patches] == [bar.get_facecolor() for bar in ax.patches]


def test_without_the_samples_there_is_one_color(fitted, ax):
    del fitted.obs["sample"]
    sg.pl.gene_weights(fitted, ax=ax)
    assert len({to_hex(bar.get_facecolor()) for bar in ax.patches}) == 1 and ax.get_legend() is None


def test_intervals_of_bootstraps(fitted, ax):
    sg.tl.rank_genes(fitted, n_boot=5, rng=0)
    sg.pl.gene_weights(fitted, n_genes=3, ax=ax)
    table = fitted.uns["ggml_rank_genes"].head(3)
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_array_equal(segments[:, :, 0], table[["low", "high"]])
    np.testing.assert_array_equal(segments[:, 0, 1], range(3))
    assert "bootstraps" in ax.get_xlabel()


def test_highlight(fitted, ax):
    sg.pl.gene_weights(fitted, n_genes=4, highlight=["g3", "absent"], ax=ax)
    weights = {text.get_text(): text.get_fontweight() for text in ax.get_yticklabels()}
    assert labels(ax)[0] == "g3"
    assert weights.pop("g3") == "bold" and set(weights.values()) == {"normal"}
    assert ax.get_title() == ""
    last = ax.get_legend().get_texts()[-1]
    assert last.get_text() == "highlighted" and last.get_fontweight() == "bold"
    assert last.get_color() == ax.get_yticklabels()[0].get_color()


def test_only_highlighted_genes_that_are_drawn_are_in_the_legend(fitted, ax):
    sg.pl.gene_weights(fitted, n_genes=4, highlight={"absent"}, ax=ax)
    assert "highlighted" not in entries(ax)
    sg.pl.gene_weights(fitted, n_genes=4, highlight={"planted": ("g3",)}, ax=ax)
    assert list(entries(ax))[-1] == "planted"


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
