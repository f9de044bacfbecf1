from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg


def test_names_on_both_axes(sdata):
    table = sg.get.distances(sdata)
    assert isinstance(table, pd.DataFrame)
    assert list(table.index) == list(table.columns) == list(sdata.obs_names)
    np.testing.assert_array_equal(table.to_numpy(), sdata.obsp["ggml_distances"])
    assert table.loc["p2", "p5"] == sdata.obsp["ggml_distances"][1, 4]


def test_changes_do_not_reach_the_names(sdata):
    table = sg.get.distances(sdata)
    table.index.name = "changed"
    assert sdata.obs_names.name is None


def test_other_key_and_sparse(sdata):
    sdata.obsp["mine_distances"] = sp.csr_matrix(2 * sdata.obsp["ggml_distances"])
    np.testing.assert_array_equal(sg.get.distances(sdata, key="mine"), 2 * sdata.obsp["ggml_distances"])


def test_errors(sdata):
    with pytest.raises(
        KeyError, match=r"obsp\['mine_distances'\] does not exist. Found: ggml_distances.*key_added='mine'"
    ):
        sg.get.distances(sdata, key="mine")
    with pytest.raises(TypeError, match="sdata must be an AnnData, found DataFrame"):
        sg.get.distances(sdata.obs)
