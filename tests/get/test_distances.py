from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg


def test_names_on_both_axes(pdata):
    table = sg.get.distances(pdata)
    assert isinstance(table, pd.DataFrame)
    assert list(table.index) == list(table.columns) == list(pdata.obs_names)
    np.testing.assert_array_equal(table.to_numpy(), pdata.obsp["ggml_distances"])
    assert table.loc["p2", "p5"] == pdata.obsp["ggml_distances"][1, 4]


def test_the_metric_is_named_where_it_is_known(pdata):
    assert sg.get.distances(pdata).attrs == {"metric": "learned", "status": "training"}
    pdata.uns["ggml"]["metric"] = "euclidean"
    assert sg.get.distances(pdata).attrs == {"metric": "euclidean"}
    pdata.obsp["mine_distances"] = pdata.obsp["ggml_distances"]  # of unknown origin
    assert sg.get.distances(pdata, key="mine").attrs == {}


def test_changes_do_not_reach_the_names(pdata):
    table = sg.get.distances(pdata)
    table.index.name = "changed"
    assert pdata.obs_names.name is None


def test_other_key_and_sparse(pdata):
    pdata.obsp["mine_distances"] = sp.csr_matrix(2 * pdata.obsp["ggml_distances"])
    np.testing.assert_array_equal(sg.get.distances(pdata, key="mine"), 2 * pdata.obsp["ggml_distances"])


def test_errors(pdata):
    with pytest.raises(
        KeyError, match=r"obsp\['mine_distances'\] does not exist. Found: ggml_distances.*key_added='mine'"
    ):
        sg.get.distances(pdata, key="mine")
    with pytest.raises(TypeError, match="pdata must be an AnnData, found DataFrame"):
        sg.get.distances(pdata.obs)


def test_bounds_are_sums_of_errors(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean", sketch_key="sketch", key_added="mine")
    table = sg.get.distances(pdata, key="mine", bounds=True)
    assert list(table.index) == list(table.columns) == list(pdata.obs_names)
    error = pdata.obs["sketch_error"].to_numpy()
    np.testing.assert_array_equal(table, np.add.outer(error, error) * (1 - np.eye(8)))
    some = sg.get.distances(pdata[["p3", "p1"]].copy(), key="mine", bounds=True)
    np.testing.assert_array_equal(some, table.loc[["p3", "p1"], ["p3", "p1"]])


def test_bounds_are_zero_without_a_sketch(pdata):
    assert (sg.get.distances(pdata, bounds=True).to_numpy() == 0).all()


def test_bounds_of_samples_mapped_to_a_sketched_reference(cohort):
    is_new = cohort.obs["sample"].isin(["p2", "p3"])
    old, new = cohort[~is_new].copy(), cohort[is_new].copy()
    sg.tl.fit_metric(old, "sample", "label", rng=0)
    pdata = sg.tl.sample_distances(old)
    whole, few = (
        sg.tl.map_samples(new, sg.tl.make_reference(old, pdata, cv=None, n_points=n, rng=0)) for n in (None, 3)
    )
    error = (sg.get.distances(few) - sg.get.distances(whole)).abs()
    assert error.to_numpy().max() > 0
    assert (error <= sg.get.distances(few, bounds=True) + 1e-12).all(axis=None)


def test_entropic_distances_have_no_bounds(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    solver = sg.Sinkhorn(0.5, device="cpu")
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean", sketch_key="sketch", solver=solver)
    with pytest.raises(ValueError, match=r"are entropic, for which no bounds are known.*solver='exact'"):
        sg.get.distances(pdata, bounds=True)


def test_bounds_without_errors_or_distances_are_refused(cohort):
    sg.pp.sketch(cohort, "sample", n_points=4, rng=0)
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean", sketch_key="sketch")
    with pytest.raises(KeyError, match=r"obsp\['mine_distances'\] does not exist"):
        sg.get.distances(pdata, key="mine", bounds=True)
    pdata.obsp["mine_distances"] = pdata.obsp["ggml_distances"]  # of unknown origin
    with pytest.raises(
        KeyError,
        match=r"uns\['mine'\], which says how .* were computed, does not exist.*sample_distances",
    ):
        sg.get.distances(pdata, key="mine", bounds=True)
    del pdata.obs["sketch_error"]
    with pytest.raises(KeyError, match=r"obs\['sketch_error'\] does not exist.*sketch 'sketch'.*sample_distances"):
        sg.get.distances(pdata, bounds=True)


@pytest.mark.parametrize("entry", ["text", 7, {"a": 1}, {"metric": "learned", "solver": "exact", "params": 3}])
def test_bounds_of_distances_whose_origin_was_damaged(pdata, entry):
    pdata.uns["ggml"] = entry
    with pytest.raises((KeyError, ValueError), match=r"uns\['ggml'\]"):
        sg.get.distances(pdata, bounds=True)


def test_bounds_from_errors_that_are_no_numbers(cohort):
    sg.pp.sketch(cohort, "sample", n_points=3, rng=0)
    pdata = sg.tl.sample_distances(cohort, "sample", metric="euclidean", sketch_key="sketch")
    pdata.obs["sketch_error"] = pdata.obs["sketch_error"].astype(str)
    with pytest.raises(TypeError, match=r"obs\['sketch_error'\] must hold numbers"):
        sg.get.distances(pdata, bounds=True)
