"""A metric as data: found, checked, and matched to features."""

from __future__ import annotations

import numpy as np
import pytest

from scggml._anndata._cohort import read_representation
from scggml._anndata._stored_metric import select_features, stored_entry, stored_metric


def test_entry_is_a_copy(fitted):
    entry = stored_entry(fitted, "ggml")
    entry["extra"] = 1
    assert "extra" not in fitted.uns["ggml"]


def test_metric_reproduces_the_learned_space(fitted):
    metric = stored_metric(stored_entry(fitted, "ggml"))
    np.testing.assert_array_equal(metric.project(fitted.obsm["X_pca"]), fitted.obsm["X_ggml"])
    offset = fitted.obsm["X_pca"][0] - fitted.obsm["X_pca"][1]
    squared = offset @ metric.mahalanobis_matrix() @ offset
    assert squared == pytest.approx(((fitted.obsm["X_ggml"][0] - fitted.obsm["X_ggml"][1]) ** 2).sum())


@pytest.mark.parametrize("name", ["components", "scale", "params"])
def test_incomplete_entry(fitted, name):
    del fitted.uns["ggml"][name]
    with pytest.raises(ValueError, match=rf"uns\['ggml'\] is not a learned metric: {name} missing"):
        stored_entry(fitted, "ggml")


def test_components_and_scale_that_do_not_fit(fitted):
    fitted.uns["ggml"]["scale"] = np.ones(3)
    with pytest.raises(ValueError, match=r"components \(5, 5\) and scale \(3,\) do not fit together"):
        stored_metric(stored_entry(fitted, "ggml"))


def test_same_features_are_not_copied(fitted_x):
    points = select_features(read_representation(fitted_x, "X", None), stored_entry(fitted_x, "ggml"), "ggml")
    assert points is fitted_x.X


def test_features_in_another_order(fitted_x):
    entry = stored_entry(fitted_x, "ggml")
    turned = fitted_x[:, ::-1].copy()
    points = select_features(read_representation(turned, "X", None), entry, "ggml")
    np.testing.assert_array_equal(points.toarray(), fitted_x.X.toarray())


def test_without_names_the_width_decides(fitted_x):
    entry = stored_entry(fitted_x, "ggml")
    del entry["features"]
    assert select_features(read_representation(fitted_x, "X", None), entry, "ggml") is fitted_x.X
    narrow = read_representation(fitted_x[:, :4].copy(), "X", None)
    with pytest.raises(ValueError, match=r"uns\['ggml'\] was learned on 12 features of 'X', but X has 4\."):
        select_features(narrow, entry, "ggml")


def test_many_missing_features_are_counted(fitted_x):
    entry = stored_entry(fitted_x, "ggml")
    fitted_x.var_names = [f"h{i}" for i in range(12)]
    with pytest.raises(ValueError, match=r"of which 12 are not in X: g0, g1, g2, g3, g4 and 7 more"):
        select_features(read_representation(fitted_x, "X", None), entry, "ggml")
