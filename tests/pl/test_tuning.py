from __future__ import annotations

import pytest
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture(scope="module")
def adata():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    sg.tl.tune(adata, "sample", "label", grid={"ridge": [0.1, 100.0], "power": [1.0, 2.0]}, cv=3, rng=0)
    return adata


def test_inner_means_choices_and_the_outer_score(adata):
    ax = Figure().subplots()
    assert sg.pl.tuning(adata, ax=ax) is ax
    entry = adata.uns["ggml_tuning"]
    nested = entry["inner"].query("fold >= 0").groupby(["power", "ridge"])["inner_score"].mean()
    points = sorted(line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o")
    assert points == pytest.approx(sorted(nested))
    assert {tick.get_text() for tick in ax.get_yticklabels()} == {f"power={p}, ridge={r}" for p, r in nested.index}
    counts = [int(text.get_text().removeprefix("chosen ").removesuffix(" of 3")) for text in ax.texts]
    assert sum(counts) == 3
    assert f"{entry['score']:.2f}" in ax.get_title()
    assert ax.get_title().startswith("label: ")
    assert [line for line in ax.lines if list(line.get_xdata()) == [entry["score"]] * 2]


def test_without_a_search():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    with pytest.raises(KeyError, match="no search for settings in uns"):
        sg.pl.tuning(adata)
    with pytest.raises(TypeError, match="adata must be an AnnData, found DataFrame"):
        sg.pl.tuning(adata.obs)


def test_long_settings_are_broken_into_lines(adata):
    entry = adata.uns["ggml_tuning"]
    long = {table: entry[table].assign(power="Refinement(" + "margin=0.25, " * 8 + ")") for table in ("inner", "outer")}
    changed = adata.copy()
    changed.uns["ggml_tuning"] = {**entry, **long}
    ax = sg.pl.tuning(changed, ax=Figure().subplots())
    texts = [tick.get_text() for tick in ax.get_yticklabels()]
    assert all("\n" in text and max(map(len, text.split("\n"))) <= 48 for text in texts)
    assert ax.texts  # settings are still found among those chosen


def test_one_setting_as_a_text(adata):
    """Some readers make a scalar of an array of length one."""
    changed = adata.copy()
    entry = changed.uns["ggml_tuning"]
    entry["params"] = {**entry["params"], "names": "ridge"}
    ax = sg.pl.tuning(changed, ax=Figure().subplots())
    assert {tick.get_text() for tick in ax.get_yticklabels()} == {"ridge=0.1", "ridge=100.0"}
