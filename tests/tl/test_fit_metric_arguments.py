"""What the arguments of `fit_metric` do: each of them, the learner, and what is stored of it."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import anndata as ad
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.base import clone

import scggml as sg
from scggml._anndata._learners import learner_of


def fit(adata, **kwargs):
    return sg.tl.fit_metric(adata, "sample", "label", rng=0, **kwargs)


def metric(adata, key="ggml"):
    """The linear map on raw features."""
    return adata.uns[key]["components"] / adata.uns[key]["scale"]


def by_hand(points, adata, **kwargs):
    """The estimator on arrays that are cut out here, in the order of sample names."""
    names = sorted(adata.obs["sample"].astype(str).unique())
    where = [(adata.obs["sample"].astype(str) == name).to_numpy() for name in names]
    labels = [str(adata.obs["label"][rows].iloc[0]) for rows in where]
    return sg.GroundMetricLearner(rng=0, **kwargs).fit([points[rows] for rows in where], labels)


@pytest.fixture(scope="module")
def designed(_cohort):
    """Cells with batches, donors that have several ordinal labels, and a sketch."""
    adata = _cohort.copy()
    position = adata.obs["sample"].cat.codes.to_numpy()
    adata.obs["grade"] = np.array([0, 1, 2, 2, 0, 1, 0, 1])[position]
    adata.obs["batch"] = np.array(list("xxxyyyyx"))[position]
    adata.obs["donor"] = np.array(list("uuuvvvww"))[position]
    sg.pp.sketch(adata, "sample", n_points=4, rng=0)
    return adata


CHANGES = {  # the change of each argument, or an error that it gives
    "label_kind": {"label_kind": "ordinal"},
    "batch_key": {"batch_key": "batch"},
    "donor_key": {"donor_key": "donor"},
    "use_rep": {"use_rep": "X"},
    "layer": {"layer": "counts"},
    "sketch_key": {"sketch_key": "sketch"},
    "n_comps": {"n_comps": 1},
    "learner": {"learner": "triplet"},
    "validate": {"validate": True, "label_key": "label"},  # of which there are enough to hold one out
    "rng": {"rng": 1},
    "n_jobs": {"n_jobs": 1},
    "key_added": {"key_added": "mine"},
    "copy": {"copy": True},
}


# labels without meaning would shrink the metric to the Euclidean one
FULL = {"scale": "auto", "power": 1.0, "whitening": 1.0}


@pytest.mark.filterwarnings("ignore:the learned metric is not better")
@pytest.mark.filterwarnings("ignore:transport between these samples depends")
def test_every_argument_has_an_effect(designed, assert_same_anndata):
    assert list(CHANGES) == list(inspect.signature(sg.tl.fit_metric).parameters)[3:]

    def run(label_key="grade", **changed):
        adata = designed.copy()
        learner = sg.GroundMetricLearner(label_kind=changed.get("label_kind", "class"), **FULL)
        result = sg.tl.fit_metric(adata, "sample", label_key, **{"rng": 0, "learner": learner, **changed})
        return adata, result

    plain, nothing = run()
    assert nothing is None
    by_chance = sg.GroundMetricLearner(refine=sg.Refinement(start="random", max_iter=2))
    with_chance = run(learner=by_chance)[0]
    for name, change in CHANGES.items():
        adata, result = run(**change, **({"learner": by_chance} if name == "rng" else {}))
        if name == "n_jobs":  # speed only
            assert_same_anndata(adata, plain)
            with pytest.raises(ValueError, match="n_jobs must not be 0"):
                run(n_jobs=0)
        elif name == "copy":
            assert_same_anndata(result, plain)
            assert_same_anndata(adata, designed)
        elif name == "key_added":
            np.testing.assert_array_equal(adata.obsm["X_mine"], plain.obsm["X_ggml"])
            assert "ggml" not in adata.uns and "X_ggml" not in adata.obsm
        elif name == "validate":
            np.testing.assert_array_equal(adata.obsm["X_ggml"], run(label_key="label")[0].obsm["X_ggml"])
            assert "validation" in adata.uns["ggml"] and "validation" not in plain.uns["ggml"]
        else:
            found, before = adata.obsm["X_ggml"], (with_chance if name == "rng" else plain).obsm["X_ggml"]
            assert found.shape != before.shape or not np.allclose(pdist(found), pdist(before)), name
            stored = adata.uns["ggml"]["params"]
            if name not in ("n_comps", "learner"):
                assert stored[name] == change[name]
    assert run(n_comps=1)[0].uns["ggml"]["params"]["learner"]["n_comps"] == 1


def test_learner_and_arguments_do_not_contradict_each_other(cohort, assert_same_anndata):
    cohort.obs["grade"] = cohort.obs["sample"].cat.codes // 2
    before = cohort.copy()
    learner = sg.GroundMetricLearner
    for given, arguments, texts in (
        (learner(n_comps=2), {"n_comps": 3}, ["n_comps=3", "n_comps=2", "one place"]),
        (learner(n_comps=2), {"n_comps": 2}, ["n_comps=2", "one place"]),
        (learner(rng=1), {"rng": 0}, ["rng=0", "rng=1", "one place"]),
        (learner(n_jobs=1), {"n_jobs": 2}, ["n_jobs=2", "n_jobs=1", "one place"]),
        (learner(label_kind="ordinal"), {}, ["label_kind='class'", "label_kind='ordinal'", "both"]),
        (learner(), {"label_kind": "ordinal"}, ["label_kind='ordinal'", "label_kind='class'", "both"]),
        ("best", {}, ["'best'", "discriminant", "triplet", "paper"]),
    ):
        with pytest.raises(ValueError) as caught:
            sg.tl.fit_metric(cohort, "sample", "grade", learner=given, **arguments)
        for text in texts:
            assert text in str(caught.value), (given, arguments)
    for given in (learner, sg.Refinement()):
        with pytest.raises(TypeError, match="learner must be a GroundMetricLearner, the name of a preset"):
            sg.tl.fit_metric(cohort, "sample", "label", learner=given)
    assert_same_anndata(cohort, before)


def test_presets(cohort, fitted):
    fit(cohort, learner="discriminant")
    np.testing.assert_array_equal(cohort.obsm["X_ggml"], fitted.obsm["X_ggml"])
    fit(cohort, learner="triplet")
    expected = sg.GroundMetricLearner(refine=sg.Refinement(), rng=0, scale="global")
    by_learner = by_hand(cohort.obsm["X_pca"], cohort, refine=sg.Refinement(), scale="global")
    np.testing.assert_allclose(metric(cohort), by_learner.components_, atol=1e-8)
    assert learner_of(cohort.uns["ggml"]["params"]).refine == expected.refine
    fit(cohort, learner="paper", n_comps=2)
    found = learner_of(cohort.uns["ggml"]["params"])
    assert found.refine.start == "random" and found.refine.minibatch and not found.refine.relative
    assert found.scale is None and found.n_comps == 2 and (cohort.uns["ggml"]["scale"] == 1).all()


RANDOM = sg.Refinement(start="random", triplets=2, minibatch=16, relative=False, max_iter=2)
LEARNERS = {
    "closed form": None,
    "refined": sg.GroundMetricLearner(refine=sg.Refinement(max_iter=2)),
    "paper": sg.GroundMetricLearner(n_comps=2, scale=None, refine=RANDOM),
}


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_same_seed_and_any_n_jobs_give_the_same_bits(cohort, assert_same_anndata, learner):
    results = [fit(cohort, n_jobs=n_jobs, learner=learner, copy=True) for n_jobs in (1, 2, None)]
    for other in results[1:]:
        assert_same_anndata(results[0], other)
    sample_level = [sg.tl.sample_distances(results[0], n_jobs=n_jobs) for n_jobs in (1, 3)]
    assert_same_anndata(*sample_level)


def test_seed_matters_where_chance_is_used(cohort):
    learner = LEARNERS["paper"]
    results = [
        sg.tl.fit_metric(cohort, "sample", "label", learner=learner, rng=rng, copy=True).obsm["X_ggml"]
        for rng in (0, 1, np.random.default_rng(0))
    ]
    results.append(  # a seed of the learner's own
        sg.tl.fit_metric(cohort, "sample", "label", learner=clone(learner).set_params(rng=0), copy=True).obsm["X_ggml"]
    )
    assert not np.allclose(results[0], results[1])
    for other in results[2:]:
        np.testing.assert_array_equal(results[0], other)


def test_params_reproduce_the_fit(cohort):
    learner = sg.GroundMetricLearner(ridge=0.5, power=2.0, refine=sg.Refinement(max_iter=3))
    fit(cohort, use_rep="X", n_comps=3, learner=learner)
    params = dict(cohort.uns["ggml"]["params"])
    assert params["rng"] == 0 and "rng" not in params["learner"]
    keys = params.pop("sample_key"), params.pop("label_key")
    params["learner"] = learner_of(params)
    sg.tl.fit_metric(cohort, *keys, **params, key_added="again")
    np.testing.assert_array_equal(cohort.obsm["X_again"], cohort.obsm["X_ggml"])
    assert not hasattr(learner, "metric_") and learner.n_comps is None and learner.rng is None  # it was copied


STORED = {
    "raw scale": {"scale": None, "n_comps": None, "ridge": "auto", "max_cells": None},
    "entropic": {"solver": sg.Sinkhorn(reg=0.2, debiased=True), "whitening": 0.5, "n_sweeps": 2},
    "minibatches": {"n_comps": 2, "solver": "pot", "refine": sg.Refinement(minibatch=8, triplets=2, max_iter=1)},
    "all triplets": {"refine": sg.Refinement(start="random", triplets="all", max_cells=None, max_iter=2, tol=0)},
}


@pytest.mark.parametrize("settings", STORED.values(), ids=STORED)
def test_a_stored_metric_gives_its_learner_back(cohort, tmp_path, assert_same_anndata, settings):
    learner = sg.GroundMetricLearner(**settings)
    fit(cohort, learner=learner)
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert_same_anndata(back, cohort)
    entry = back.uns["ggml"]
    assert entry["version"] == version("scggml")
    expected = learner.get_params(deep=False) | ({} if learner.scale is None else {"scale": "global"})  # that of PCs
    for stored in (entry, cohort.uns["ggml"]):
        found = learner_of(stored["params"])
        assert found.get_params(deep=False) == expected
        for name, value in found.get_params(deep=False).items():  # Python's own, which clone and == like
            assert type(value) is type(expected[name])
    again = sg.tl.fit_metric(back, "sample", "label", learner=learner_of(entry["params"]), rng=0, copy=True)
    np.testing.assert_array_equal(again.obsm["X_ggml"], cohort.obsm["X_ggml"])
