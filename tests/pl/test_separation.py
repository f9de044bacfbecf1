from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture(scope="module")
def adata():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    sg.tl.separation_test(adata, "sample", "label", n_permutations=39, rng=0)
    return adata


def test_lines_histograms_and_p_values(adata):
    ax = Figure().subplots()
    assert sg.pl.separation(adata, ax=ax) is ax
    entry = adata.uns["ggml_separation"]
    null, table = entry["null"], entry["table"]
    assert len(ax.lines) == 3
    for i, (line, text, bars) in enumerate(zip(ax.lines, ax.texts, ax.containers, strict=True)):
        statistic = table["statistic"].iloc[i]
        expected = (statistic - np.mean(null[:, i])) / np.std(null[:, i])
        np.testing.assert_allclose(line.get_xdata(), expected)
        b = (null[:, i] >= statistic - 1e-9).sum()
        assert text.get_text() == f"p = {(b + 1) / 40:.2g}"
        # the area of the histogram is in proportion to counts: its mean is zero within a bin
        heights, middles = np.array([[bar.get_height(), bar.get_x() + bar.get_width() / 2] for bar in bars]).T
        assert abs(np.average(middles, weights=heights)) < bars[0].get_width()
    tops = [line.get_ydata()[0] for line in ax.lines]
    assert tops == sorted(tops, reverse=True)  # the learned metric is on top
    assert "learned" in ax.get_yticklabels()[0].get_text() and ax.get_title().startswith("label: ")


def test_no_test_draws_nothing(adata, pyplot):
    with pytest.raises(KeyError, match="no permutation test in uns"):
        sg.pl.separation(adata, key="mine")
    assert not pyplot.get_fignums()


def test_permutations_that_are_all_alike(adata):
    adata = adata.copy()
    adata.uns["ggml_separation"]["table"].loc["learned", "null_sd"] = 0.0
    adata.uns["ggml_separation"]["null"][:, 0] = adata.uns["ggml_separation"]["table"].loc["learned", "null_mean"]
    ax = sg.pl.separation(adata, ax=Figure().subplots())
    assert np.isfinite(ax.lines[0].get_xdata()).all()


def test_another_label_is_named_once(adata):
    adata = adata.copy()  # others see it, too
    adata.uns["ggml"] = {"params": {"label_key": "stage"}}
    with pytest.warns(UserWarning, match="from 'stage'") as caught:
        sg.pl.separation(adata, ax=Figure().subplots())
    assert len(caught) == 1
