"""The features that distances are measured in."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scggml._anndata._cohort import read_samples
from scggml._anndata._features import read_features, standard_deviation
from scggml.core.measures._on_disk import StoredPoints


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
    found = read_features(cohort, use_rep, layer)
    assert found.text == text and found.layer == layer
    assert found.points.shape[0] == cohort.n_obs
    if names is None:
        assert found.names is None
    else:
        assert list(found.names) == (list(cohort.var_names) if names == "var" else names)


def test_csr_is_not_copied_and_csc_is_converted(cohort):
    assert read_features(cohort, "X", None).points is cohort.X
    cohort.X = sp.csc_matrix(cohort.X)
    found = read_features(cohort, "X", None).points
    assert found.format == "csr" and cohort.X.format == "csc"
    np.testing.assert_array_equal(found.toarray(), cohort.X.toarray())


@pytest.mark.parametrize(("value", "words"), [(1e200, r"above 1e\+100"), (1e-200, "no values above 1e-100")])
def test_genes_that_cannot_be_squared_are_named(cohort, value, words):
    x = cohort.X.toarray().astype(np.float64)
    x[:, 1] = 0
    x[3, 1] = value
    found = re.escape(f"{cohort.var_names[1]} ({value:g})")
    for form in (np.asarray, sp.csr_matrix, sp.csc_array):
        cohort.X = form(x)
        with pytest.raises(ValueError, match=f"^X has .*{words} .*: {found}"):
            read_features(cohort, "X", None)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, sp.csc_array])
def test_standard_deviation(kind):
    x = np.random.default_rng(0).poisson(0.7, size=(50, 6)).astype(np.float32)
    x[:, 2] = 0
    np.testing.assert_allclose(standard_deviation(kind(x)), x.std(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array])
def test_standard_deviation_of_large_values(kind):
    x = np.random.default_rng(0).normal(3000.0, 1.0, size=(50, 6)).astype(np.float32)
    np.testing.assert_allclose(standard_deviation(kind(x)), x.std(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_a_backed_matrix_is_not_loaded(cohort, tmp_path, kind):
    if kind == "dense":
        cohort.X = cohort.X.toarray()
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = read_features(backed, "X", None)
    assert found.text == "X" and list(found.names) == list(cohort.var_names)
    assert isinstance(found.points, StoredPoints) and found.points.shape == cohort.shape
    assert found.points.dtype == np.float32 and found.points.size == cohort.X.size
    rows = np.array([50, 3, 3])
    for part in (slice(10, 30), rows):
        block, expected = found.points[part], cohort.X[part]
        assert sp.issparse(block) == (kind == "csr") and block.dtype == np.float32
        np.testing.assert_array_equal(*(x.toarray() if sp.issparse(x) else x for x in (block, expected)))
    np.testing.assert_array_equal(standard_deviation(found.points), standard_deviation(cohort.X))
    measures = read_samples(backed, "sample", features=False).measures_of(found.points)
    assert sp.issparse(measures.points) == (kind == "csr")
    backed.file.close()
    found.points[0:5]  # has been read into memory as a whole, and is taken from there


def test_values_under_a_mask_are_refused(cohort):
    values = cohort.obsm["X_pca"].copy()
    values[3, 1] = -999
    cohort.obsm["X_pca"] = np.ma.masked_equal(values, -999)
    with pytest.raises(ValueError, match=r"obsm\['X_pca'\] is a masked array, with 1 of 435 values masked"):
        read_features(cohort, "X_pca", None)
    cohort.layers["masked"] = np.ma.masked_greater(cohort.X.toarray(), 2)
    with pytest.raises(ValueError, match=r"layers\['masked'\] is a masked array"):
        read_features(cohort, None, "masked")
    with pytest.raises(ValueError, match="with 1 of 10 values masked"):  # views do not show masks
        read_features(cohort[2:4], "X_pca", None)
    read_features(cohort[4:], "X_pca", None)
    hidden = cohort.layers["masked"].mask
    rows, columns = np.flatnonzero(~hidden[:, 2]), [2]
    read_features(cohort[rows, columns], None, "masked")
    with pytest.raises(ValueError, match=rf"with {hidden[:, 2].sum()} of 87 values masked"):
        read_features(cohort[:, columns], None, "masked")
    cohort.obsm["X_pca"] = np.ma.masked_array(values)
    assert type(read_features(cohort, "X_pca", None).points) is np.ndarray


def test_missing_values_of_nullable_columns_are_found(cohort):
    frame = cohort.obsm["X_df"].copy()
    frame["n"] = pd.array([None, *range(cohort.n_obs - 1)], dtype="Int64")
    cohort.obsm["X_df"] = frame
    with pytest.raises(ValueError, match=r"obsm\['X_df'\] has 1 values that are NaN or infinite.*n \(1\)"):
        read_features(cohort, "X_df", None)
    frame["n"] = frame["n"].fillna(0)
    assert read_features(cohort, "X_df", None).points.dtype == np.float64


def large_counts(cohort):
    return sp.csr_matrix(cohort.layers["counts"] * 20)


@pytest.mark.parametrize("kind", ["csr", "dense", "integers", "backed"])
def test_raw_counts_are_warned_about(cohort, tmp_path, kind):
    cohort.X = large_counts(cohort)
    if kind == "dense":
        cohort.X = cohort.X.toarray()
    elif kind == "integers":
        cohort.X = cohort.X.astype(np.int64)
    elif kind == "backed":
        cohort.write_h5ad(tmp_path / "cells.h5ad")
        cohort = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.warns(UserWarning, match=r"X looks like raw counts \(whole numbers up to \d+\).*log1p"):
        read_samples(cohort, "sample", use_rep="X")


def test_what_is_not_raw_counts_is_not_warned_about(cohort):
    counts = large_counts(cohort)
    scaled = counts.toarray()
    scaled[0, 0] = -1
    others = {
        "log": counts.log1p(), "binary": (counts > 0).astype(np.float32), "boolean": counts > 0,
        "small": cohort.layers["counts"].astype(np.int32), "normalised": counts * 0.37, "scaled": scaled,
    }  # fmt: skip
    cohort.layers.update(others)
    for name in others:
        read_samples(cohort, "sample", layer=name)
    cohort.obsm["X_counts"] = counts  # not gene expression
    read_samples(cohort, "sample", use_rep="X_counts")
