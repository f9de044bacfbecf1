from __future__ import annotations

import pytest
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture(scope="module")
def adata():
    adata = sg.datasets.simulated_cohort(n_samples=10, n_cells=20, n_genes=60, rng=1)
    adata.X = adata.X.log1p()
    sg.tl.cross_validate(
        adata, "sample", "label", methods=["ggml", "euclidean", "pseudobulk"], cv=3, use_rep="X", rng=0
    )
    return adata


@pytest.fixture
def ax():
    return Figure().subplots()


def test_values_and_intervals_of_each_method(adata, ax):
    assert sg.pl.cross_validation(adata, baseline="euclidean", ax=ax) is ax
    table = sg.get.scores(adata, baseline="euclidean")
    table = table.query("score == 'balanced_accuracy' and classifier in ['class_mean', 'logistic']")
    table.index = table["method"].where(table["classifier"] == "class_mean", table["method"] + " (logistic)")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert set(names) == {"ggml", "euclidean", "pseudobulk", "pseudobulk (logistic)"}
    assert list(table.loc[names, "value"]) == sorted(table["value"])
    drawn = {line.get_ydata()[0]: line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 1}
    for y, name in enumerate(names):
        assert drawn[y][0] == table.loc[name, "value"]
    bars = {
        line.get_ydata()[0]: list(line.get_xdata())
        for line in ax.lines
        if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2
    }
    assert bars[names.index("ggml")] == list(table.loc["ggml", ["ci_low", "ci_high"]])
    texts = " ".join(text.get_text() for text in ax.texts)
    assert f"{table.loc['ggml', 'only_method']:.0f} : {table.loc['ggml', 'only_baseline']:.0f}, p = " in texts
    assert "euclidean" in texts and f"p = {table.loc['ggml', 'p_value']:.2g}" in texts
    assert "10 samples, 3 splits" in ax.get_title()


def test_a_classifier_that_is_asked_for_is_alone(adata, ax):
    sg.pl.cross_validation(adata, classifier="class_mean", ax=ax)
    assert {label.get_text() for label in ax.get_yticklabels()} == {"ggml", "euclidean", "pseudobulk"}


def test_methods_without_the_classifier_show_their_own(adata, ax):
    sg.pl.cross_validation(adata, classifier="logistic", ax=ax)
    names = {label.get_text() for label in ax.get_yticklabels()}
    assert names == {"pseudobulk", "ggml (class_mean)", "euclidean (class_mean)"}
    assert not ax.texts  # no baseline


def test_bad_choices(adata, ax):
    with pytest.raises(ValueError, match="score must be one of"):
        sg.pl.cross_validation(adata, score="kappa", ax=ax)
    with pytest.raises(ValueError, match="classifier must be one of"):
        sg.pl.cross_validation(adata, classifier="svm", ax=ax)
    for name in ("score", "classifier"):  # only None is the default
        with pytest.raises(ValueError, match=f"{name} must be one of"):
            sg.pl.cross_validation(adata, **{name: ""}, ax=ax)
    with pytest.raises(ValueError, match="score='ari' does not exist for classifier='knn'. Pass one of clusters"):
        sg.pl.cross_validation(adata, score="ari", classifier="knn", ax=ax)
    assert sg.pl.cross_validation(adata, score="ari", classifier="clusters", ax=ax) is ax


def test_title_says_what_was_held_out(adata, ax):
    params = adata.uns["ggml_cross_validation"]["params"]
    donors, one = adata.copy(), adata.copy()
    donors.uns["ggml_cross_validation"]["params"] = {**params, "donor_key": "donor", "leave_one_out": True}
    one.uns["ggml_cross_validation"]["params"] = {**params, "leave_one_out": True}
    assert sg.pl.cross_validation(donors, ax=ax).get_title() == "label: 10 samples, one donor held out"
    assert sg.pl.cross_validation(one, ax=ax).get_title() == "label: 10 samples, one sample held out"


def test_chance_level(adata, ax):
    sg.pl.cross_validation(adata, ax=ax)
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] == [0.5]


def test_no_cross_validation(pyplot):
    fresh = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    with pytest.raises(KeyError, match="no cross-validation in uns"):
        sg.pl.cross_validation(fresh)
    with pytest.raises(TypeError, match="adata must be an AnnData, found DataFrame"):
        sg.pl.cross_validation(fresh.obs)
    assert not pyplot.get_fignums()


def test_separation(adata, ax):
    sg.pl.cross_validation(adata, score="separation", baseline="euclidean", ax=ax)
    table = sg.get.scores(adata, baseline="euclidean").query("score == 'separation'").set_index("method")
    drawn = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert sorted(drawn) == sorted(table["value"])
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] == [0.0]  # chance
    row, texts = table.loc["ggml"], [text.get_text() for text in ax.texts]
    difference = f"{row['difference']:+.2f} ({row['difference_low']:.2f} to {row['difference_high']:.2f})"
    assert difference in texts and "difference from\neuclidean" in texts and len(texts) == 3
    assert ax.get_xlabel() == "separation of held-out samples"


def test_share_of_samples_nearer_to_their_own_class(adata, ax):
    sg.pl.cross_validation(adata, score="nearer_own_class", ax=ax)
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] == [0.5]
