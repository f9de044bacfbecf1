"""A metric as data: found, checked, and matched to features."""

from __future__ import annotations

import numpy as np
import pytest

import scggml as sg
from scggml._anndata._features import read_features
from scggml._anndata._stored_metric import read_metric
from scggml.core.transport._solvers import Entropic, Exact


def test_what_is_read_is_a_copy(fitted):
    learned = read_metric(fitted, "ggml")
    learned.entry["extra"] = learned.params["extra"] = 1
    assert "extra" not in fitted.uns["ggml"] and "extra" not in fitted.uns["ggml"]["params"]


def test_metric_reproduces_the_learned_space(fitted):
    learned = read_metric(fitted, "ggml")
    np.testing.assert_array_equal(learned.metric.project(fitted.obsm["X_pca"]), fitted.obsm["X_ggml"])
    np.testing.assert_array_equal(learned.project(fitted, read_features(fitted, "X_pca", None)), fitted.obsm["X_ggml"])
    offset = fitted.obsm["X_pca"][0] - fitted.obsm["X_pca"][1]
    squared = offset @ learned.metric.mahalanobis_matrix() @ offset
    assert squared == pytest.approx(((fitted.obsm["X_ggml"][0] - fitted.obsm["X_ggml"][1]) ** 2).sum())


@pytest.mark.parametrize("name", ["components", "scale", "params"])
def test_incomplete_entry(fitted, name):
    del fitted.uns["ggml"][name]
    with pytest.raises(ValueError, match=rf"uns\['ggml'\] is not a learned metric: {name} missing"):
        read_metric(fitted, "ggml")


def test_a_projection_has_no_learner(cohort, fitted, pdata):
    sg.tl.project(cohort, sg.tl.make_reference(fitted, pdata, cv=None))
    with pytest.raises(KeyError, match=r"uns\['ggml'\] is the learned space of a reference.*was learned on"):
        read_metric(cohort, "ggml").learner  # noqa: B018


def test_no_entry(cohort):
    with pytest.raises(KeyError, match=r"no learned metric in uns\['mine'\].*sg\.tl\.fit_metric"):
        read_metric(cohort, "mine")


def test_components_and_scale_that_do_not_fit(fitted):
    fitted.uns["ggml"]["scale"] = np.ones(3)
    with pytest.raises(
        ValueError, match=r"uns\['ggml'\]\['scale'\] must hold 5 finite numbers, .* float64 of shape \(3,\)"
    ):
        read_metric(fitted, "ggml")


def test_same_features_are_not_copied(fitted_x):
    assert read_metric(fitted_x, "ggml").points(fitted_x, read_features(fitted_x, "X", None)) is fitted_x.X


def test_features_in_another_order(fitted_x):
    learned = read_metric(fitted_x, "ggml")
    turned = fitted_x[:, ::-1].copy()
    points = learned.points(turned, read_features(turned, "X", None))
    np.testing.assert_array_equal(points.toarray(), fitted_x.X.toarray())


def test_without_names_the_width_decides(fitted_x):
    learned = read_metric(fitted_x, "ggml")
    del learned.entry["features"]
    assert learned.features is None
    assert learned.points(fitted_x, read_features(fitted_x, "X", None)) is fitted_x.X
    narrow = read_features(fitted_x[:, :4].copy(), "X", None)
    with pytest.raises(ValueError, match=r"'X' in uns\['ggml'\] was learned on 12 features, but X has 4\."):
        learned.points(fitted_x, narrow)


def test_many_missing_features_are_counted(fitted_x):
    fitted_x.var_names = [f"h{i}" for i in range(12)]
    with pytest.raises(ValueError, match=r"of which 12 are not in X: g0, g1, g2, g3, g4 and 7 more"):
        read_metric(fitted_x, "ggml").points(fitted_x, read_features(fitted_x, "X", None))


def test_samples_are_read_as_in_the_fit(cohort):
    cohort.obs["batch"] = cohort.obs["sample"].map({f"p{i}": "xy"[i % 5 < 2] for i in range(1, 9)})
    sg.tl.fit_metric(cohort, "sample", "label", batch_key="batch", layer="counts", rng=0)
    learned = read_metric(cohort, "ggml")
    found = learned.read_samples(cohort, labels=True)
    assert found.features.text == "layers['counts']" and found.batches is not None and found.labels.kind == "class"
    assert learned.read_samples(cohort).known_labels is None
    assert learned.read_samples(cohort, use_rep="X", layer=None).features.text == "X"


def test_solver_and_learner(cohort, fitted):
    assert read_metric(fitted, "ggml").solver == Exact()
    learner = sg.GroundMetricLearner(solver=sg.Sinkhorn(0.2, debiased=True), ridge=0.5)
    sg.tl.fit_metric(cohort, "sample", "label", learner=learner, rng=0)
    learned = read_metric(cohort, "ggml")
    assert isinstance(learned.solver, Entropic) and learned.solver.debiased
    assert learned.solver.epsilon == cohort.uns["ggml"]["epsilon"]
    assert learned.learner.solver == sg.Sinkhorn(0.2, debiased=True) and learned.learner.ridge == 0.5
