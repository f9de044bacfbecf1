"""Where results may be written, and what is stored of arguments."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scggml as sg
from scggml._anndata._slots import drop_results
from scggml._anndata._writing import check_writable, plain, stored_params, stored_result, writable


def test_copies_and_views(cohort):
    assert writable(cohort, copy=False) is cohort
    copied = writable(cohort, copy=True)
    assert copied is not cohort and copied.n_obs == cohort.n_obs
    view = cohort[:10]
    assert writable(view, copy=False) is view and not view.is_view


def test_what_is_backed_cannot_be_copied(cohort, tmp_path):
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    check_writable(backed, copy=False)
    with pytest.raises(ValueError, match=r"copy=True cannot copy .*to_memory.* With copy=False"):
        check_writable(backed, copy=True)
    with pytest.raises(ValueError, match=r"view of a file.*to_memory"):
        check_writable(backed[:5], copy=False)
    backed.file.close()


def test_params_without_none_and_with_a_seed_only():
    found = stored_params(a=1, b=None, rng=np.int64(3), refine=sg.Refinement(minibatch=None, tol=0.5))
    assert found["a"] == 1 and "b" not in found and found["rng"] == 3 and type(found["rng"]) is int
    assert found["refine"]["tol"] == 0.5 and "minibatch" not in found["refine"]
    assert stored_params(rng=np.random.default_rng(0)) == {}


def test_results_have_a_version():
    assert stored_result(a=1, b=None) == {"version": sg.__version__, "a": 1}


def test_numbers_of_files_become_those_of_python():
    found = plain({"a": np.float64(1.5), "b": {"c": np.bool_(True), "d": "text"}})
    assert found == {"a": 1.5, "b": {"c": True, "d": "text"}} and type(found["a"]) is float


def test_results_of_an_earlier_metric_are_dropped(fitted):
    sg.tl.rank_genes(fitted, n_boot=2, rng=0)
    drop_results(fitted, "ggml")
    assert set(fitted.uns) == {"ggml", "label_colors"} and "ggml" not in fitted.varm


def test_results_replace_nothing_but_results(cohort, pdata):
    cohort.uns["pca"] = {"variance": np.ones(3)}
    with pytest.raises(ValueError, match=r"key_added='pca' would write obsm\['X_pca'\], .*another key_added"):
        sg.tl.fit_metric(cohort, "sample", "label", key_added="pca")
    with pytest.raises(ValueError, match=r"key_added='label' would replace obs\['label'\], .*another key_added"):
        sg.tl.cluster_samples(pdata, 2, key_added="label")
    for n_clusters in (2, 3):
        sg.tl.cluster_samples(pdata, n_clusters, key_added="mine")
    assert pdata.obs["mine"].nunique() == 3
