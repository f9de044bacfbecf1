from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture(scope="module")
def adata():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    sg.tl.power(adata, "sample", "label", n_samples=[12, 21, 30], n_cells=[4, 9], n_repeats=3, rng=0)
    return adata


def curves(ax):
    return {line.get_label(): line.get_xydata() for line in ax.lines if not line.get_label().startswith("_")}


def test_curves_bands_and_lines(adata):
    ax = Figure().subplots()
    assert sg.pl.power(adata, ax=ax) is ax
    table = adata.uns["ggml_power"]["table"].set_index("n_cells")
    drawn = curves(ax)
    for n in (9, 4):
        for text, column in (
            ("held-out balanced accuracy", "balanced_accuracy"),
            ("power of separation test", "power"),
        ):
            np.testing.assert_allclose(drawn[f"{text}, {n} cells"], table.loc[n, ["n_samples", column]].to_numpy())
    assert len(drawn) == 4
    levels = [line.get_ydata()[0] for line in ax.lines if line.get_label().startswith("_")]
    assert levels == pytest.approx([1 / 3, 0.8])  # chance level of three classes, and the usual power
    bands = [band.get_paths()[0].vertices[:, 1] for band in ax.collections]
    for band, what in zip(bands, ("accuracy", "power"), strict=True):
        assert band.min() == pytest.approx(table.loc[9, f"{what}_low"].min())
        assert band.max() == pytest.approx(table.loc[9, f"{what}_high"].max())
    assert ax.get_xlabel() == "number of samples" and ax.get_title() == "label: random subsets of 30 samples"


def test_one_number_of_samples_is_drawn_against_cells(adata):
    changed = adata.copy()
    entry = changed.uns["ggml_power"]
    entry["table"] = entry["table"].query("n_samples == 21")
    entry["params"]["donor_key"] = "donor"
    ax = sg.pl.power(changed, ax=Figure().subplots())
    assert ax.get_xlabel() == "number of cells per sample"
    assert curves(ax)["power of separation test, 21 donors"][:, 0].tolist() == [4, 9]
    assert ax.get_title() == "label: random subsets of 30 donors"


def test_no_results(adata):
    with pytest.raises(KeyError, match=r"uns\['other_power'\].*sg.tl.power"):
        sg.pl.power(adata, key="other")
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        sg.pl.power(adata.obs)
