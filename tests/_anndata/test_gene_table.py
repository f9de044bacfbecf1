"""The table of gene weights, on a hand-made metric."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scggml._anndata._gene_table import gene_table


@pytest.fixture
def adata():
    """Three genes with weights 5, 0 and 13."""
    found = AnnData(np.zeros((2, 3)), var=pd.DataFrame(index=["a", "b", "c"]))
    found.varm["ggml"] = np.array([[3.0, -4.0], [0.0, 0.0], [5.0, 12.0]])
    found.uns["ggml"] = {"components": np.eye(2, 3), "scale": np.ones(3), "params": {"use_rep": "X"}}
    return found


def test_weights_shares_and_ranks(adata):
    expected = pd.DataFrame(
        {"weight": [13.0, 5.0, 0.0], "share": [169 / 194, 25 / 194, 0.0], "rank": [1, 2, 3], "component": [1, 1, 0]},
        index=["c", "a", "b"],
    )
    pd.testing.assert_frame_equal(gene_table(adata, "ggml"), expected, check_dtype=False)


def test_equal_weights_keep_the_order_of_genes(adata):
    adata.varm["ggml"] = np.ones((3, 2))
    assert list(gene_table(adata, "ggml").index) == ["a", "b", "c"]
    adata.varm["ggml"] = np.zeros((3, 2))
    assert (gene_table(adata, "ggml")["share"] == 0).all()


def test_modalities_of_joint_features_only(adata):
    adata.var["modality"] = ["rna", "rna", "prot"]
    assert "modality" not in gene_table(adata, "ggml")
    adata.uns["ggml"]["params"]["use_rep"] = "X_joint"
    assert gene_table(adata, "ggml")["modality"].to_dict() == {"c": "prot", "a": "rna", "b": "rna"}


def test_no_metric_and_no_weights(adata):
    with pytest.raises(KeyError, match=r"there is no learned metric in uns\['mine'\]"):
        gene_table(adata, "mine")
    del adata.varm["ggml"]
    with pytest.raises(KeyError, match=r"varm\['ggml'\] does not exist: the metric was learned on 'X'"):
        gene_table(adata, "ggml")
