"""The work that is estimated is the work that is done: pairs are counted while functions run."""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scggml as sg
from scggml import Refinement
from scggml._anndata import _long_runs
from scggml._anndata._long_runs import duration
from scggml.core.measures import _progress
from scggml.core.transport import _exact, _memory_limits


def make_cohort(n_samples=9, n_cells=12, d=4):
    rng = np.random.default_rng(0)
    sample = np.repeat(np.arange(n_samples), n_cells + np.arange(n_samples) % 3)
    x = rng.normal(size=(len(sample), d)) + 2.0 * (sample % 2)[:, None] * (np.arange(d) == 0)
    obs = pd.DataFrame({"sample": [f"s{s}" for s in sample], "label": np.where(sample % 2, "sick", "well")})
    return AnnData(x, obs=obs.set_index(obs.index.astype(str)))


@pytest.fixture
def adata():
    return make_cohort()


@pytest.fixture
def solved(monkeypatch):
    """Sizes of the largest pair of every block that was solved, and its number of pairs."""
    found = []
    solve = _exact._solve_block

    def spy(task, pairs, start):
        found.append(len(pairs))
        return solve(task, pairs, start)

    monkeypatch.setattr(_exact, "_solve_block", spy)
    return found


@pytest.fixture
def announced(monkeypatch, caplog):
    """Let everything count as long; return what is logged, without trials that would be counted as solved."""
    monkeypatch.setattr(_long_runs, "_LONG", 0.0)
    monkeypatch.setattr(_long_runs, "_WORTH_A_TRIAL", 0.0)
    monkeypatch.setattr(_long_runs, "_N_POINTS", 5)
    monkeypatch.setattr(_long_runs, "measured_pace", lambda *_, **__: 1.0)
    caplog.set_level(logging.WARNING, logger="scggml")
    return caplog


def n_announced(log):
    (message,) = log.messages
    return int(re.search(r"for ([\d,]+) transport problems", message)[1].replace(",", ""))


def distances(adata, **options):
    return sg.tl.sample_distances(adata, **options)


@pytest.mark.parametrize(
    "learner",
    [
        None,
        sg.GroundMetricLearner(n_sweeps=2, max_cells=5),
        sg.GroundMetricLearner(solver="pot"),
        sg.GroundMetricLearner(refine=Refinement(max_iter=4, tol=0, lr=1e-4, margin=100)),
    ],
    ids=["closed form", "two sweeps", "pot", "refinement"],
)
def test_fit_metric(adata, solved, announced, learner):
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X", learner=learner, rng=0)
    assert n_announced(announced) == sum(solved)
    assert announced.messages[0].startswith("sg.tl.fit_metric: about less than a minute for ")


def test_fit_metric_by_minibatches(adata, solved, announced):
    """How many of the triplets of a batch share their pairs is chance."""
    learner = sg.GroundMetricLearner(refine=Refinement(minibatch=20, max_iter=3, tol=0))
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X", learner=learner, rng=0)
    assert n_announced(announced) == pytest.approx(sum(solved), rel=0.1)


def test_fit_metric_that_is_validated(adata, solved, announced):
    with pytest.warns(UserWarning, match="not better"), pytest.warns(UserWarning, match="no more than on random"):
        sg.tl.fit_metric(adata[:, 1:].copy(), "sample", "label", use_rep="X", validate=True, rng=0)
    assert n_announced(announced) == sum(solved)
    assert "validate=False" in announced.text


def test_large_cohorts_take_some_of_the_pairs(solved, announced, monkeypatch):
    from scggml.core.metric import _training

    monkeypatch.setattr(_training, "_MAX_TRIPLETS", 10)
    monkeypatch.setattr(_training, "_AUTO_NEIGHBORS", 1)
    sg.tl.fit_metric(make_cohort(n_samples=40, n_cells=4), "sample", "label", use_rep="X", rng=0)
    assert sum(solved) < 40 * 39
    assert n_announced(announced) == pytest.approx(sum(solved), rel=0.2)


@pytest.mark.parametrize("metric", ["learned", "euclidean", "cosine"])
def test_sample_distances(adata, solved, announced, metric):
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    announced.clear()
    solved.clear()
    more = {} if metric == "learned" else {"sample_key": "sample", "use_rep": "X"}
    distances(adata, metric=metric, **more)
    assert n_announced(announced) == sum(solved) == 9 * 8 // 2
    assert re.search(r"the largest of 14 x 14 cells, on \d+ threads?, with 1 MB of memory each", announced.text)


@pytest.mark.parametrize("cv", [3, "auto"])
def test_cross_validate(adata, solved, announced, cv):
    methods = ["ggml", "euclidean", "cityblock", "pca", "pseudobulk"]
    sg.tl.cross_validate(adata, "sample", "label", use_rep="X", methods=methods, cv=cv, rng=0)
    assert n_announced(announced) == sum(solved)
    assert "fewer folds" in announced.text


def test_canonical_variates(adata, solved, announced):
    """The number of rounds is not known before."""
    sg.tl.cross_validate(adata, "sample", "label", use_rep="X", methods=["canonical_variates", "energy"], cv=3, rng=0)
    assert 0.5 < sum(solved) / n_announced(announced) < 2


def test_tune(solved, announced):
    grid = {"whitening": [0.5, 1.0]}
    sg.tl.tune(make_cohort(12), "sample", "label", grid=grid, use_rep="X", cv=3, rng=0)
    assert n_announced(announced) == pytest.approx(sum(solved), rel=0.1)


def test_separation_test(adata, solved, announced):
    sg.tl.separation_test(adata, "sample", "label", use_rep="X", n_permutations=19, rng=0)
    assert n_announced(announced) == sum(solved)
    assert "n_permutations" in announced.text


def test_power(adata, solved, announced):
    sg.tl.power(adata, "sample", "label", use_rep="X", n_cells=[4, 6, 8], n_repeats=2, rng=0)
    assert n_announced(announced) == sum(solved) == 3 * 36
    assert "fewer subsets" in announced.text and "sketch" not in announced.text


def test_explanations_references_barycenters_and_bootstraps(adata, solved, announced, monkeypatch):
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    pdata = distances(adata)

    def counted(name, *args, **options):
        announced.clear()
        solved.clear()
        result = getattr(sg.tl, name)(*args, **options)
        assert announced.messages[0].startswith(f"sg.tl.{name}: ")
        return result, n_announced(announced), sum(solved)

    _, expected, found = counted("explain_distances", adata, pdata)
    assert expected == found - 5  # a few are compared with what is stored, before the others
    reference, expected, found = counted("make_reference", adata, pdata, cv=3, rng=0)
    assert expected == found - (len(pdata) + 1) // 2  # one of each sample is compared with what is stored
    new = adata[adata.obs["sample"].isin(["s1", "s2", "s4"])].copy()
    new.obs["sample"] = "new_" + new.obs["sample"].astype(str)
    _, expected, found = counted("map_samples", new, reference)
    assert expected == found == 3 * 9 + 3
    _, expected, found = counted("rank_genes", adata, n_boot=3, rng=0)
    assert expected == found
    monkeypatch.setattr("scggml.core.transport._barycenters._USUAL_STEPS", 1)
    found, expected, n_solved = counted("class_barycenters", adata, n_points=5, rng=0)
    n_steps = found.uns["ggml_barycenters"]["history"].groupby("class", observed=True).size()
    assert expected == 9
    assert n_solved == n_steps["sick"] * 4 + n_steps["well"] * 5


def test_short_work_is_silent(adata, caplog):
    with caplog.at_level(logging.WARNING, logger="scggml"):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
        distances(adata)
        sg.tl.cross_validate(adata, "sample", "label", use_rep="X", cv=3, rng=0)
    assert not caplog.messages


def test_it_is_the_trial_that_decides(adata, announced, monkeypatch):
    monkeypatch.setattr(_long_runs, "_LONG", 60.0)
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    assert not announced.messages
    monkeypatch.setattr(_long_runs, "measured_pace", lambda *_, **__: 1e6)
    distances(adata)
    assert re.search(r"about \d+ minutes for 36 transport problems", announced.text)


def test_users_who_configured_nothing_see_it(adata, announced, capfd, monkeypatch):
    """Python prints warnings of loggers without handlers; it would not print what is less than a warning."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    distances(adata, metric="euclidean", sample_key="sample", use_rep="X")
    assert "transport problems" in capfd.readouterr().err


def test_sketches(adata, announced):
    options = {"metric": "euclidean", "sample_key": "sample", "use_rep": "X"}
    distances(adata, **options)
    assert "sg.pp.sketch(adata, 'sample', n_points=5) before, and sketch_key='sketch' here" in announced.text
    announced.clear()
    sg.pp.sketch(adata, "sample", n_points=6, use_rep="X", key_added="mine", rng=0)
    adata.uns["other"] = {"params": {"sample_key": "else", "method": "coreset"}}
    distances(adata, **options)
    assert "Faster: sketch_key='mine', a sketch that is there and is not used (less than a minute)" in announced.text
    assert "other" not in announced.text
    announced.clear()
    distances(adata, **options, sketch_key="mine")
    assert "6 x 6 cells" in announced.text
    assert "Faster" not in announced.text
    announced.clear()
    distances(make_cohort(n_cells=2), **options)
    assert "Faster" not in announced.text


def test_what_does_not_fit_is_refused_before_any_work(adata, solved, monkeypatch, assert_same_anndata):
    monkeypatch.setattr(_memory_limits, "_UNNOTICED", 0)
    monkeypatch.setattr(_memory_limits, "available_memory", lambda: 100)
    before = adata.copy()
    with pytest.raises(MemoryError, match=r"samples of 14 and 14 cells needs 1 MB.*sg.pp.sketch\(adata"):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", validate=True, rng=0)
    with pytest.raises(MemoryError, match="12 and 12 cells"):
        sg.tl.separation_test(adata, "sample", "label", use_rep="X", rng=0)
    assert not solved
    assert_same_anndata(adata, before)


def test_outer_loops_have_one_bar(monkeypatch):
    adata, drawn = make_cohort(12, 6), []
    bar = _progress.tqdm

    def spy(**options):
        if options["disable"] is None:
            drawn.append((options["desc"], options["unit"]))
        return bar(**options)

    monkeypatch.setattr(_progress, "tqdm", spy)

    def bars(function, *args, **options):
        drawn.clear()
        result = function(*args, **options)
        return result, list(drawn)

    given = {"use_rep": "X", "rng": 0}
    triplet = sg.GroundMetricLearner(refine=Refinement(max_iter=2))
    methods = {"triplet": triplet, "euclidean": "euclidean"}
    _, found = bars(sg.tl.cross_validate, adata, "sample", "label", methods=methods, cv=3, **given)
    assert found == [("cross-validation", "fit")]
    _, found = bars(sg.tl.tune, adata, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=3, **given)
    assert found == [("tuning", "fit"), ("cross-validation", "fit")]
    _, found = bars(sg.tl.separation_test, adata, "sample", "label", n_permutations=19, **given)
    assert found == [("transport", "pair"), ("moments", "pair"), ("permutations", "permutation")]
    _, found = bars(sg.tl.power, adata, "sample", "label", n_repeats=1, **given)
    assert found == [("transport", "pair"), ("moments", "pair"), ("subsets", "subset")]
    _, found = bars(sg.tl.fit_metric, adata, "sample", "label", learner=triplet, **given)
    closed_form = [("transport sweep 1/1", "pair"), ("moments", "pair")]
    assert found == [*closed_form, ("transport under the start", "pair"), ("refine", "iteration")]
    sg.tl.fit_metric(adata, "sample", "label", **given)
    pdata, found = bars(distances, adata)
    assert found == [("sample distances", "pair")]
    _, found = bars(sg.tl.explain_distances, adata, pdata)
    assert found == [("explain distances", "pair")]
    _, found = bars(sg.tl.make_reference, adata, pdata, cv=3, rng=0)
    assert found == [("held-out samples", "fit")]
    _, found = bars(sg.tl.class_barycenters, adata, n_points=5, rng=0)
    assert found == [("barycenter", "iteration")] * 2
    classifier = sg.OTNeighborsClassifier().fit([adata.X[:20] + i for i in range(6)], list("ababab"))
    _, found = bars(classifier._held_out_scores)
    assert found == [("held-out training samples", "fold")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59.9, "less than a minute"), (61, "1 minute"), (150, "2 minutes"), (5399, "90 minutes"), (5400, "1.5 hours"),
        (30 * 3600, "30 hours"), (72 * 3600, "3.0 days"), (2e8, "2,315 days"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_entries_that_only_look_like_sketches_are_not_proposed(adata, announced):
    adata.uns["mine"] = {"params": {"sample_key": "sample", "method": "coreset"}, "samples": 3}
    sg.tl.sample_distances(adata, "sample", metric="euclidean", use_rep="X")
    assert "mine" not in announced.messages[0]


def test_a_gpu_has_a_memory_of_its_own(adata, announced, monkeypatch):
    solver = sg.Sinkhorn(device="cpu")
    monkeypatch.setattr("scggml._anndata._long_runs.problems_within_memory", lambda *args: pytest.fail("host memory"))
    monkeypatch.setattr("scggml._anndata._long_runs.is_on_gpu", lambda given: True)
    sg.tl.sample_distances(adata, "sample", metric="euclidean", use_rep="X", solver=solver)
    assert "on 1 thread," in announced.messages[0]
