"""The field's scores of distances: of a sample-level AnnData, and equal to those of patpy."""

from __future__ import annotations

import sys
import types

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

import scggml as sg


def make_samples(n=24, seed=0):
    """Samples along a noisy line of stages, of pairs of replicates, with a batch that does not matter."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(size=n))
    points = np.stack([4 * time, *(0.2 * rng.normal(size=(2, n)))], axis=1)
    pdata = AnnData(obsp={"mine_distances": squareform(pdist(points))}, shape=(n, 0))
    pdata.obs_names = [f"s{i}" for i in range(n)]
    pdata.obs["patient"] = [f"patient {i // 2}" for i in range(n)]
    pdata.obs["stage"] = pd.Categorical.from_codes((3 * time).astype(int), ["low", "high", "end"], ordered=True)
    pdata.obs["disease"] = np.where(time > 0.5, "sick", "well")
    pdata.obs["age"] = 30 + 40 * time + 5 * rng.normal(size=n)
    pdata.obs["batch"] = pd.Categorical(rng.permutation(n) % 3)
    pdata.obs["smoker"] = rng.permutation(n) % 2 == 0
    return pdata


@pytest.fixture
def samples():
    return make_samples()


ROLES = {"relevant": ["disease", "stage", "age"], "technical": "batch", "contextual": ["smoker"]}


def test_one_row_per_score(samples):
    table = sg.tl.score_distances(samples, key="mine", replicate_key="patient", **ROLES)
    assert table[["covariate", "role", "kind", "score"]].to_numpy().tolist() == [
        ["disease", "relevant", "class", "information_retention"],
        ["stage", "relevant", "ordinal", "information_retention"],
        ["stage", "relevant", "ordinal", "trajectory_preservation"],
        ["age", "relevant", "continuous", "information_retention"],
        ["age", "relevant", "continuous", "trajectory_preservation"],
        ["batch", "technical", "class", "batch_removal"],
        ["smoker", "contextual", "class", "information_retention"],
        ["patient", "replicate", "class", "replicate_robustness"],
    ]
    value = table.set_index(["covariate", "score"])["value"]
    assert (table["n"] == 24).all()
    assert table["value"].between(table["ci_low"], table["ci_high"]).all()
    assert table[["value", "ci_low", "ci_high"]].stack().between(0, 1).all()
    assert value["disease", "information_retention"] > 0.8 and value["stage", "trajectory_preservation"] > 0.9
    assert value["batch", "batch_removal"] > 0.6 and value["smoker", "information_retention"] < 0.4
    assert value["patient", "replicate_robustness"] > 0.8
    entry = samples.uns["mine_distance_scores"]
    pd.testing.assert_frame_equal(entry["table"], table)
    assert entry["params"] == {**ROLES, "key": "mine", "replicate_key": "patient"}
    table["value"] = 0.0  # what is stored is not what was returned
    assert entry["table"]["value"].max() > 0.8


def test_only_replicates(samples):
    table = sg.tl.score_distances(samples, key="mine", replicate_key="patient")
    assert table["score"].tolist() == ["replicate_robustness"]


@pytest.mark.parametrize("n", [4, 9, 14, 15, 24])
def test_the_trajectory_is_that_of_scanpy(n):
    samples = make_samples(n)
    distances, age = samples.obsp["mine_distances"], samples.obs["age"].to_numpy()
    table = sg.tl.score_distances(samples, "age", key="mine")
    direct = AnnData(np.zeros((n, 1)), obsm={"distances": distances.copy()}, uns={"iroot": int(age.argmin())})
    sc.pp.neighbors(direct, use_rep="distances", metric="precomputed")
    sc.tl.diffmap(direct)
    sc.tl.dpt(direct, n_dcs=min(10, n - 1))
    expected = abs(spearmanr(direct.obs["dpt_pseudotime"], age).statistic)
    assert table["value"][1] == pytest.approx(expected, abs=1e-12)


def test_missing_values_are_left_out_and_named(samples):
    samples.obs.loc[["s3", "s10"], "age"] = np.nan
    samples.obs.loc["s5", "disease"] = None
    with pytest.warns(UserWarning, match=r"left out of the scores of disease \(1 of 24\), age \(2 of 24\)"):
        table = sg.tl.score_distances(samples, ["disease", "age", "stage"], key="mine").set_index(
            ["covariate", "score"]
        )
    assert table["n"].tolist() == [23, 22, 22, 24, 24]
    kept = samples[samples.obs["age"].notna()].copy()
    alone = sg.tl.score_distances(kept, "age", key="mine")
    assert table.loc[("age", "information_retention"), "value"] == alone["value"][0]


def test_classes_of_one_sample_are_named(samples):
    samples.obs["disease"] = ["other", *samples.obs["disease"][1:]]
    with pytest.warns(UserWarning, match=r"classes of one sample or patient cannot be predicted.*disease \(1 of 3"):
        sg.tl.score_distances(samples, "disease", key="mine")


def test_the_order_of_samples_does_not_matter(samples):
    shuffled = samples[np.random.default_rng(0).permutation(samples.n_obs)].copy()
    given = {**ROLES, "key": "mine", "replicate_key": "patient"}
    first, second = (sg.tl.score_distances(x, **given) for x in (samples, shuffled))
    np.testing.assert_allclose(second["value"], first["value"], atol=1e-6)


def test_results_survive_files(samples, tmp_path):
    table = sg.tl.score_distances(samples, key="mine", replicate_key="patient", **ROLES)
    samples.write_h5ad(tmp_path / "samples.h5ad")
    again = ad.read_h5ad(tmp_path / "samples.h5ad")
    stored = again.uns["mine_distance_scores"]["table"]
    pd.testing.assert_frame_equal(stored, table, check_dtype=False, check_index_type=False, check_column_type=False)
    sg.tl.score_distances(again, key="mine", **ROLES)  # an earlier result is replaced
    assert len(again.uns["mine_distance_scores"]["table"]) == 7


def test_learned_distances_must_be_held_out(pdata):
    before = pdata.copy()
    with pytest.raises(ValueError, match=r"learned with the labels.*sample_distances\(adata, cv='auto'\)"):
        sg.tl.score_distances(pdata, "label")
    assert pdata.uns.keys() == before.uns.keys()
    pdata.uns["ggml"] |= {"status": "held_out", "folds": np.arange(8) % 4}
    assert sg.tl.score_distances(pdata, "label")["n"].tolist() == [8]
    del pdata.uns["ggml"]["folds"]
    pdata.uns["ggml"]["status"] = "new"  # samples that the metric was not learned from
    sg.tl.score_distances(pdata, "label")


def test_a_failure_leaves_samples_as_they_were(samples, assert_same_anndata):
    before = samples.copy()
    samples.obs["constant"] = before.obs["constant"] = 1.0
    for given in ({"relevant": "constant"}, {"relevant": "age", "technical": "age"}, {"replicate_key": "constant"}, {}):
        with pytest.raises(ValueError, match=r"only the value|passed twice|the same value|nothing to score by"):
            sg.tl.score_distances(samples, key="mine", **given)
    assert_same_anndata(samples, before)


@pytest.fixture
def patpy():
    """The evaluation of patpy. Its ehrapy, which only passes samples on to scanpy here, may be missing."""
    reason = "patpy is not installed: pip install patpy"
    evaluation = pytest.importorskip("patpy.tl.evaluation", reason=reason)
    with pytest.MonkeyPatch.context() as patch:
        if "ehrapy" not in sys.modules:
            patch.setitem(sys.modules, "ehrapy", types.SimpleNamespace(tl=sc.tl))
        yield evaluation


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_those_of_patpy(patpy, seed):
    samples = make_samples(seed=seed)
    samples.obs.loc["s7", "age"] = np.nan
    with pytest.warns(UserWarning, match="left out"):
        table = sg.tl.score_distances(samples, key="mine", **ROLES)
    robustness = sg.tl.score_distances(samples, key="mine", replicate_key="patient")["value"][0]
    value = table.set_index(["covariate", "score"])["value"]

    meta = samples.copy()  # as docs/how_to/evaluation.md says
    meta.obs["stage"] = meta.obs["stage"].cat.codes
    meta.obsm["mine_distances"] = sg.get.distances(samples, key="mine")
    meta.uns["sample_representations"] = ["mine"]
    schema = {
        "relevant": {"disease": "classification", "stage": "ranking", "age": "regression"},
        "technical": {"batch": "classification"},
        "contextual": {"smoker": "classification"},
    }
    theirs = patpy.knn_prediction_score(meta, schema)
    ours = table[table["score"] != "trajectory_preservation"]
    assert theirs["covariate"].tolist() == ours["covariate"].tolist()
    np.testing.assert_allclose(ours["value"], theirs["score"], atol=1e-12)
    assert ours["n"].tolist() == theirs["n_observations"].tolist()

    meta.obsm["mine_distances"] = meta.obsm["mine_distances"].to_numpy()
    sc.pp.neighbors(meta, use_rep="mine_distances", key_added="mine_neighbors", metric="precomputed")
    first = samples.obs["age"].idxmin()
    theirs = patpy.trajectory_correlation(meta, first, "age")["correlation"].abs().iloc[0]
    assert value["age", "trajectory_preservation"] == pytest.approx(theirs, abs=1e-12)

    # patpy returns one minus the mean number of closer samples, which is to be divided by all others
    names = dict(zip(samples.obs_names, samples.obs["patient"], strict=True))
    frame = sg.get.distances(samples, key="mine")
    number = 1 - patpy.replicate_robustness(
        frame, lambda name, others: [names[other] == names[name] for other in others]
    )
    assert robustness == pytest.approx(1 - number / 23, abs=1e-12)
