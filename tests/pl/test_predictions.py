from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.integrate import trapezoid
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold

import scggml as sg


@pytest.fixture(scope="module")
def three():
    """Cells of three classes."""
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    sg.tl.cross_validate(adata, "sample", "label", methods=["euclidean", "ggml"], cv=cv, rng=0)
    adata.obs["age"] = adata.obs["sample"].cat.codes.astype(float)
    sg.tl.cross_validate(
        adata, "sample", "age", label_kind="continuous", methods=["euclidean"], cv=3, rng=0, key_added="age"
    )
    return adata


@pytest.fixture
def two(cohort):
    sg.tl.cross_validate(cohort, "sample", "label", methods=["ggml", "euclidean", "pseudobulk"], cv=2, rng=0)
    return cohort


@pytest.fixture
def ax():
    return Figure().subplots()


def numbers(ax):
    """The numbers in the cells, row by row."""
    n = len(ax.get_yticklabels())
    return np.array([float(text.get_text()) for text in ax.texts]).reshape(n, n)


@pytest.mark.parametrize("method", [None, "euclidean"])
def test_confusion(two, ax, method):
    assert sg.pl.predictions(two, method=method, ax=ax) is ax
    part = sg.get.predictions(two).query(f"method == '{method or 'ggml'}' and classifier == 'class_mean'")
    order = ["well", "sick"]  # as in obs, not by the alphabet
    assert [text.get_text() for text in ax.get_yticklabels()] == order
    expected = confusion_matrix(part["label"], part["predicted"], labels=order)
    np.testing.assert_array_equal(numbers(ax), expected)
    np.testing.assert_allclose(ax.images[0].get_array(), expected / expected.sum(axis=1, keepdims=True))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.get_title().endswith(method or "ggml")


def test_confusion_is_the_mean_of_repeats(three, ax):
    sg.pl.predictions(three, ax=ax)
    assert numbers(ax).sum() == 30  # samples, not predictions


def test_roc_of_two_classes(two, ax):
    sg.pl.predictions(two, what="roc", ax=ax)
    table = sg.get.predictions(two).query("classifier == 'class_mean'")
    curves = ax.lines[1:]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(curves) == len(texts) == 3
    for curve, text, method in zip(curves, texts, ["ggml", "euclidean", "pseudobulk"], strict=True):
        part = table[table["method"] == method]
        score = part["score: well"] - part["score: sick"]
        expected = roc_auc_score(part["label"] == "well", score)
        assert trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(expected)
        assert text.replace("\n", " ").startswith(f"{method}: {expected:.2f} (")
    assert "well against sick" in ax.get_title()
    one = Figure().subplots()
    sg.pl.predictions(two, what="roc", method="euclidean", ax=one)
    assert len(one.lines) == 2


def test_roc_of_several_classes(three, ax):
    three = three.copy()
    table = three.uns["ggml_cross_validation"]["predictions"]
    columns = ["score_0", "score_1", "score_2"]
    table[columns] = np.random.default_rng(0).normal(size=(len(table), 3))  # those of real classes are all right
    sg.pl.predictions(three, what="roc", ax=ax)
    part = sg.get.predictions(three).query("method == 'ggml' and classifier == 'class_mean'")
    for c, (curve, text) in enumerate(zip(ax.lines[1:], ax.get_legend().get_texts(), strict=True)):
        others = part[[f"score: class_{other}" for other in range(3) if other != c]].max(axis=1)
        expected = roc_auc_score(part["label"] == f"class_{c}", part[f"score: class_{c}"] - others)
        assert trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(expected)
        assert text.get_text() == f"class_{c}: {expected:.2f}"


def test_values(three, ax):
    sg.pl.predictions(three, key="age", ax=ax)
    part = sg.get.predictions(three, key="age").query("classifier == 'neighbors'")
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), part[["value", "predicted_value"]])


@pytest.fixture
def mapped():
    names = ["p1", "p2", "new1", "new2", "new3"]
    obs = pd.DataFrame({"is_reference": [True, True, False, False, False]}, index=names)
    obs["state"] = pd.Categorical(["well", "ill", None, None, None], categories=["well", "ill"])
    obs["predicted"] = pd.Categorical([None, None, "ill", "well", "ill"], categories=["ill", "well"])
    obs["outlier_p"], obs["outlier"] = [np.nan, np.nan, 0.5, 0.01, 0.3], [False, False, False, True, False]
    probabilities = np.array([[np.nan] * 2] * 2 + [[0.75, 0.25], [0.4, 0.6], [0.9, 0.1]])
    samples = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)[:5].copy()
    samples.obs = obs
    samples.obsm["ggml_probabilities"] = probabilities
    samples.uns = {
        "ggml_reference": {"params": {"label_key": "state"}},
        "ggml_prediction": {"classes": np.array(["ill", "well"]), "alpha": 0.05, "version": "0"},
        "state_colors": ["#112233", "#aa0000"],
    }
    return samples


def test_probabilities_of_new_samples(mapped, ax):
    sg.pl.predictions(mapped, ax=ax)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(2, 3)
    np.testing.assert_allclose(widths, mapped.obsm["ggml_probabilities"][2:].T)
    lefts = np.array([bar.get_x() for bar in ax.patches]).reshape(2, 3)
    np.testing.assert_allclose(lefts, [[0, 0, 0], widths[0]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["new1", "new2", "new3"]
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], [1])  # the outlier
    assert ax.get_title() == "3 new samples, 1 of them outlier (x)"
    shown = dict(zip([t.get_text() for t in ax.get_legend().get_texts()], ax.get_legend().get_patches(), strict=True))
    assert {name: to_hex(patch.get_facecolor()) for name, patch in shown.items()} == {
        "well": "#112233",
        "ill": "#aa0000",
    }


def test_many_new_samples_are_not_named(mapped, ax):
    many = AnnData(obs=mapped.obs.iloc[[2] * 70].set_axis([f"n{i}" for i in range(70)]), uns=dict(mapped.uns))
    many.obsm["ggml_probabilities"] = mapped.obsm["ggml_probabilities"][[2] * 70]
    sg.pl.predictions(many, ax=ax)
    assert not [text for text in ax.get_yticklabels() if text.get_text()] and len(ax.patches) == 140


CASES = {
    "values of classes": ({"what": "values"}, ValueError, ["what='values'", "'confusion', 'roc'"]),
    "confusion of values": ({"what": "confusion", "key": "age"}, ValueError, ["what='confusion'", "'values'"]),
    "probabilities": ({"what": "probabilities"}, ValueError, ["what='probabilities'", "held-out samples"]),
    "what": ({"what": "matrix"}, ValueError, ["what", "confusion, roc, values, probabilities"]),
    "method": ({"method": "nca"}, ValueError, ["method", "euclidean, ggml", "'nca'"]),
    "key": ({"key": "mine"}, KeyError, ["uns['mine_cross_validation']", "sg.tl.cross_validate"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_draws_nothing(three, ax, pyplot, case):
    arguments, error, texts = CASES[case]
    for axes in (ax, None):
        with pytest.raises(error) as caught:
            sg.pl.predictions(three, **arguments, ax=axes)
        for part in texts:
            assert part in str(caught.value.args[0])
    assert not pyplot.get_fignums() and not ax.has_data()


@pytest.mark.parametrize("arguments", [{"what": "roc"}, {"method": "ggml"}])
def test_held_out_arguments_have_no_effect_on_new_samples(mapped, ax, arguments):
    with pytest.raises(ValueError, match="is about held-out samples, but these are predictions of new ones"):
        sg.pl.predictions(mapped, **arguments, ax=ax)


def test_no_scores_no_curve(two, ax):
    table = two.uns["ggml_cross_validation"]["predictions"]
    two.uns["ggml_cross_validation"]["predictions"] = table.drop(columns=["score_0", "score_1"])
    with pytest.raises(ValueError, match="what='roc' needs a score of each class"):
        sg.pl.predictions(two, what="roc", ax=ax)


@pytest.mark.parametrize("what", ["confusion", "roc"])
def test_another_label_is_named_once(two, ax, what):
    two.uns["ggml"] = {"params": {"label_key": "stage"}}
    with pytest.warns(UserWarning, match="are about label_key='label', but .* from 'stage'") as caught:
        sg.pl.predictions(two, what=what, ax=ax)
    assert len(caught) == 1
