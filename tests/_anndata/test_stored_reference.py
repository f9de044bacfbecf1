"""The linear map from genes to features that a reference keeps."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import scggml as sg
from scggml._anndata._features import read_features
from scggml._anndata._stored_reference import genes_of_features


@pytest.fixture
def joined(cohort):
    """Cells with a sparse joint space, in which features have units of their own."""
    unit = np.linspace(1, 3, cohort.n_vars)
    cohort.obsm["X_joint"] = sp.csr_matrix(cohort.X.multiply(1 / unit))
    cohort.varm["joint_loadings"] = sp.csr_matrix(np.diag(1 / unit))
    return cohort


def test_a_sparse_joint_space_is_linear_in_its_variables(joined):
    features = read_features(joined, "X_joint", None)
    table = genes_of_features(joined, features, None)
    found = joined.X.toarray() @ table["loadings"] + table["offset"]
    np.testing.assert_allclose(found, joined.obsm["X_joint"].toarray(), atol=1e-6)


def test_a_reference_of_a_sparse_joint_space(joined):
    sg.tl.fit_metric(joined, "sample", "label", use_rep="X_joint", rng=0)
    reference = sg.tl.make_reference(joined, sg.tl.sample_distances(joined), cv=None)
    new = joined.copy()
    new.obs["sample"] = "new_" + new.obs["sample"].astype(str)
    mapped = sg.tl.map_samples(new[:, ::-1].copy(), reference).obsp["ggml_distances"]
    np.testing.assert_allclose(mapped[8:, 8:], mapped[:8, :8], atol=1e-6)


def test_features_that_do_not_lead_back_to_variables(joined):
    joined.varm["joint_loadings"] = sp.csr_matrix(np.diag(np.arange(12) < 4) * 1.0)
    with pytest.warns(UserWarning, match=r"X_joint'\] is not a linear map of X: .* of some modality do not lead back"):
        assert genes_of_features(joined, read_features(joined, "X_joint", None), None) is None
