"""Stored distances: every function that reads them refuses what is none."""

from __future__ import annotations

import numpy as np
import pytest

import scggml as sg


def spoiled(matrix, kind):
    matrix = matrix.copy()
    if kind == "NaN":
        matrix[1, 2] = matrix[2, 1] = np.nan
    elif kind == "negative":
        matrix[1, 2] = matrix[2, 1] = -1
    elif kind == "symmetric":
        matrix[1, 2] *= 2
    elif kind == "diagonal":
        matrix[3, 3] = 1
    elif kind == "masked":
        matrix = np.ma.masked_equal(matrix, matrix[1, 2])
    return matrix


READERS = {
    "get.distances": lambda pdata, cells: sg.get.distances(pdata),
    "pl.distance_heatmap": lambda pdata, cells: sg.pl.distance_heatmap(pdata),
    "tl.embed_samples": lambda pdata, cells: sg.tl.embed_samples(pdata),
    "tl.cluster_samples": lambda pdata, cells: sg.tl.cluster_samples(pdata),
    "tl.order_samples": lambda pdata, cells: sg.tl.order_samples(pdata, "p1"),
    "tl.make_reference": lambda pdata, cells: sg.tl.make_reference(cells, pdata, cv=None),
    "tl.explain_distances": lambda pdata, cells: sg.tl.explain_distances(cells, pdata, cell_type_key="cell_type"),
}


@pytest.mark.parametrize("kind", ["NaN", "negative", "symmetric", "diagonal", "masked"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_distance_matrix_is_refused(pdata, fitted, assert_same_anndata, pyplot, reader, kind):
    pdata.obsp["ggml_distances"] = spoiled(pdata.obsp["ggml_distances"], kind)
    before = pdata.copy()
    with pytest.raises(ValueError, match=rf"obsp\['ggml_distances'\] .*{kind}.*sg\.tl\.sample_distances"):
        READERS[reader](pdata, fitted)
    assert_same_anndata(pdata, before)
    assert not pyplot.get_fignums()


def test_a_mask_is_seen_in_a_view(pdata):
    pdata.obsp["ggml_distances"] = spoiled(pdata.obsp["ggml_distances"], "masked")
    with pytest.raises(ValueError, match="with 2 of 9 values masked"):
        sg.get.distances(pdata[:3])
    assert sg.get.distances(pdata[2:]).shape == (6, 6)
