"""From an AnnData to samples, labels and features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scggml._cohort import read_cohort, read_representation, standard_deviation


def test_samples_are_sorted_by_name(cohort):
    found = read_cohort(cohort, "sample", "label")
    assert list(found.names) == [f"p{i}" for i in range(1, 9)]
    assert list(found.names[found.codes]) == list(cohort.obs["sample"])
    assert list(found.known_labels[found.codes]) == list(cohort.obs["label"])
    assert list(found.sizes) == list(cohort.obs["sample"].value_counts().reindex(found.names))


def test_without_labels(cohort):
    del cohort.obs["label"]
    assert read_cohort(cohort, "sample").labels is None


@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_measures_hold_each_samples_cells_in_their_order(cohort, use_rep):
    found = read_cohort(cohort, "sample").measures(read_representation(cohort, use_rep, None))
    points = cohort.X if use_rep == "X" else cohort.obsm[use_rep]
    assert len(found) == 8
    for i in range(8):
        cells, weights = found[i]
        rows = (cohort.obs["sample"] == f"p{i + 1}").to_numpy()
        assert sp.issparse(cells) == (use_rep == "X")
        expected = points[rows].toarray() if sp.issparse(points) else points[rows]
        np.testing.assert_array_equal(cells.toarray() if sp.issparse(cells) else cells, expected)
        np.testing.assert_allclose(weights, 1 / rows.sum())


def test_sample_obs_with_missing_values(cohort):
    cohort.obs["batch"] = cohort.obs["sample"].map({f"p{i}": i if i > 2 else np.nan for i in range(1, 9)}).astype(float)
    cohort.obs["when"] = pd.Timestamp("2024-01-01")
    table = read_cohort(cohort, "sample").sample_obs(cohort.obs)
    assert list(table.index) == [f"p{i}" for i in range(1, 9)]
    assert set(table.columns) == {"sample", "label", "age", "batch", "when", "n_cells"}
    np.testing.assert_array_equal(table["batch"], [np.nan, np.nan, 3, 4, 5, 6, 7, 8])
    assert table["n_cells"].sum() == cohort.n_obs
    assert "n_cells" not in cohort.obs


def test_sample_obs_drops_unused_categories(cohort):
    cohort.obs["label"] = cohort.obs["label"].cat.add_categories(["dead"])
    table = read_cohort(cohort, "sample").sample_obs(cohort.obs)
    assert list(table["label"].cat.categories) == ["well", "sick"]
    assert list(cohort.obs["label"].cat.categories) == ["well", "sick", "dead"]


@pytest.mark.parametrize(
    ("use_rep", "layer", "text", "names"),
    [
        (None, None, "obsm['X_pca']", None),
        ("X", None, "X", "var"),
        (None, "counts", "layers['counts']", "var"),
        ("X_df", None, "obsm['X_df']", ["u", "v", "w"]),
    ],
)
def test_representation(cohort, use_rep, layer, text, names):
    found = read_representation(cohort, use_rep, layer)
    assert found.text == text and found.layer == layer
    assert found.points.shape[0] == cohort.n_obs
    if names is None:
        assert found.names is None
    else:
        assert list(found.names) == (list(cohort.var_names) if names == "var" else names)


def test_csr_is_not_copied_and_csc_is_converted(cohort):
    assert read_representation(cohort, "X", None).points is cohort.X
    cohort.X = sp.csc_matrix(cohort.X)
    found = read_representation(cohort, "X", None).points
    assert found.format == "csr" and cohort.X.format == "csc"
    np.testing.assert_array_equal(found.toarray(), cohort.X.toarray())


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, sp.csc_array])
def test_standard_deviation(kind):
    x = np.random.default_rng(0).poisson(0.7, size=(50, 6)).astype(np.float32)
    x[:, 2] = 0
    np.testing.assert_allclose(standard_deviation(kind(x)), x.std(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array])
def test_standard_deviation_of_large_values(kind):
    x = np.random.default_rng(0).normal(3000.0, 1.0, size=(50, 6)).astype(np.float32)
    np.testing.assert_allclose(standard_deviation(kind(x)), x.std(axis=0, dtype=np.float64), rtol=1e-6)
