from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import scggml as sg


@pytest.fixture
def ax():
    return Figure().subplots()


def test_curve(cohort, ax):
    learner = sg.GroundMetricLearner(refine=sg.Refinement(max_iter=4, tol=0))
    sg.tl.fit_metric(cohort, "sample", "label", learner=learner, key_added="mine")
    history = cohort.uns["mine"]["loss_history"]
    assert len(history) > 1
    assert sg.pl.training_history(cohort, key="mine", ax=ax) is ax
    assert len(ax.lines) == 1
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(1, len(history) + 1))
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > max(history) and ax.get_xlabel() and ax.get_ylabel()


@pytest.mark.parametrize(
    ("converged", "text"),
    [(True, "closed form: nothing to iterate"), (False, "stopped before convergence after 1 iteration")],
)
def test_title_says_how_it_ended(fitted, ax, converged, text):
    fitted.uns["ggml"]["converged"] = converged
    fitted.uns["ggml"]["loss_history"] = np.zeros(1)
    sg.pl.training_history(fitted, ax=ax)
    assert ax.get_title() == text and ax.get_ylim() == (0, 1)


def test_errors(cohort, fitted, pdata, ax, pyplot):
    projected = sg.tl.project(cohort, sg.tl.make_reference(fitted, pdata, cv=None), copy=True)
    for axes in (ax, None):
        with pytest.raises(KeyError, match=r"no learned metric in uns\['ggml'\].*fit_metric"):
            sg.pl.training_history(cohort, ax=axes)
        with pytest.raises(KeyError, match=r"no learned metric in uns\['mine'\]"):
            sg.pl.training_history(fitted, key="mine", ax=axes)
        with pytest.raises(KeyError, match=r"uns\['ggml'\] has no loss_history.*was learned on"):
            sg.pl.training_history(projected, ax=axes)
        with pytest.raises(TypeError, match="adata must be an AnnData"):
            sg.pl.training_history(None, ax=axes)
    assert not pyplot.get_fignums() and not ax.lines


def test_a_history_of_one_value_as_a_number(fitted, ax):
    """Some readers make a scalar of an array of length one."""
    fitted.uns["ggml"]["loss_history"] = float(fitted.uns["ggml"]["loss_history"][0])
    sg.pl.training_history(fitted, ax=ax)
    assert len(ax.lines[0].get_ydata()) == 1
