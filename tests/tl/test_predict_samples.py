"""Classes and flags of new samples, against the rule written out."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.stats import t

import scggml as sg
from scggml._anndata._stored_reference import gene_space, read_reference
from scggml.reference._novelty import novelty, outlier_probabilities


def patients(n, seed, *, prefix="r", shift=0.0, cells=25):
    """Patients of classes a, b and c, by turns, that differ in the first two of six genes; `shift` moves the fourth."""
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "b", "c"])[np.arange(n) % 3]
    centre = rng.normal(scale=0.4, size=(n, 6))
    centre[:, 0] += 2.0 * (labels == "b")
    centre[:, 1] += 2.0 * (labels == "c")
    centre[:, 3] += shift
    x = rng.normal(size=(n * cells, 6)) + np.repeat(centre, cells, axis=0)
    names = [f"{prefix}{i:02d}" for i in range(n)]
    obs = pd.DataFrame({"sample": np.repeat(names, cells), "label": np.repeat(labels, cells)}).astype("category")
    obs.index = [f"{prefix}_{i}" for i in range(len(x))]
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(6)]))


@pytest.fixture(scope="module")
def _reference():
    known = patients(15, 0)
    sg.tl.fit_metric(known, "sample", "label", rng=0)
    return sg.tl.make_reference(known, sg.tl.sample_distances(known), rng=0)


@pytest.fixture
def mapped(_reference):
    return sg.tl.map_samples(patients(6, 1, prefix="n"), _reference)


def test_probabilities_are_a_softmax_of_the_rule(mapped):
    assert sg.tl.predict_samples(mapped) is None
    calibration = mapped.uns["ggml_reference"]["calibration"]
    matrix = mapped.obsp["ggml_distances"][15:, :15]
    labels = mapped.obs["label"].astype(str).to_numpy()[:15]
    means = np.stack([np.sort(matrix[:, labels == c], axis=1)[:, :3].mean(axis=1) for c in "abc"], axis=1)
    e = np.exp(-calibration["inverse_temperature"] * means / means.mean(axis=1, keepdims=True))
    found = mapped.obsm["ggml_probabilities"]
    np.testing.assert_allclose(found[15:], e / e.sum(axis=1, keepdims=True))
    assert np.isnan(found[:15]).all()
    assert list(mapped.uns["ggml_prediction"]["classes"]) == ["a", "b", "c"]
    assert mapped.obs["predicted"][15:].tolist() == np.array(["a", "b", "c"])[means.argmin(axis=1)].tolist()
    assert (mapped.obs["predicted"] == mapped.obs["label"])[15:].mean() > 0.8
    assert mapped.obs["predicted"][:15].isna().all()


def test_p_values_are_those_of_a_prediction_interval(mapped):
    sg.tl.predict_samples(mapped, alpha=0.3)
    held = np.log(mapped.uns["ggml_reference"]["calibration"]["held_out"]["distance"].to_numpy())
    near = np.log(np.sort(mapped.obsp["ggml_distances"][15:, :15], axis=1)[:, :3].mean(axis=1))
    expected = t.sf((near - held.mean()) / (held.std(ddof=1) * np.sqrt(1 + 1 / 15)), 14)
    np.testing.assert_allclose(mapped.obs["outlier_p"][15:], expected)  # the metric acts on genes: there is no outside
    assert mapped.obs["outlier_p"][:15].isna().all()
    assert mapped.obs["outlier"].tolist() == [False] * 15 + (expected <= 0.3).tolist()
    assert mapped.obs["outlier"].dtype == bool


def test_scores_are_those_of_the_reference(mapped):
    sg.tl.predict_samples(mapped)
    assert mapped.uns["ggml_prediction"]["scores"] == mapped.uns["ggml_reference"]["calibration"]["scores"]


def test_outliers_are_flagged(_reference):
    shifted = sg.tl.map_samples(patients(6, 2, prefix="n", shift=6.0), _reference)
    sg.tl.predict_samples(shifted)
    assert shifted.obs["outlier"][15:].all()


def test_ordinary_samples_are_flagged_as_often_as_alpha_says():
    p = []
    for seed in range(4):
        known = patients(15, 10 + seed)
        sg.tl.fit_metric(known, "sample", "label", rng=0)
        reference = sg.tl.make_reference(known, sg.tl.sample_distances(known), rng=0)
        mapped = sg.tl.map_samples(patients(30, 100 + seed, prefix="n"), reference)
        sg.tl.predict_samples(mapped)
        p.append(mapped.obs["outlier_p"].dropna())
    p = np.concatenate(p)
    assert np.mean(p <= 0.05) <= 0.12
    assert 0.35 <= np.mean(p <= 0.5) <= 0.65


def in_clusters(prefix, seed, *, programme=False, n=14, cells=40, genes=60):
    """Patients of classes a and b whose cells are of two clusters; one of them may have a programme."""
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "b"])[np.arange(n) % 2]
    x = rng.normal(scale=0.5, size=(n * cells, genes))
    x[:, 0] += rng.choice([-3.0, 3.0], size=n * cells)
    x[:, 1] += np.repeat(3.0 * (labels == "b") + 0.3 * rng.normal(size=n), cells)
    x += np.repeat(0.05 * rng.normal(size=(n, genes)), cells, axis=0)
    if programme:
        x[x[:, 0] > 0, 20:40] += 0.6
    names = [f"{prefix}{i:02d}" for i in range(n)]
    obs = pd.DataFrame({"sample": np.repeat(names, cells), "label": np.repeat(labels, cells)})
    obs.index = [f"{prefix}_{i}" for i in range(len(x))]
    return ad.AnnData(x, obs=obs.astype("category"), var=pd.DataFrame(index=[f"g{i}" for i in range(genes)]))


@pytest.fixture(scope="module")
def with_components():
    known = in_clusters("r", 85)
    sc.pp.pca(known, n_comps=3)
    sg.tl.fit_metric(known, "sample", "label", rng=0)
    return sg.tl.make_reference(known, sg.tl.sample_distances(known), rng=0)


@pytest.mark.parametrize("programme", [False, True])
def test_outside_of_the_components(with_components, programme):
    """A programme of genes that the components do not hold is seen outside of them, and the metric does not see it."""
    mapped = sg.tl.map_samples(in_clusters("n", 5, programme=programme), with_components)
    sg.tl.predict_samples(mapped)
    p = mapped.uns["ggml_prediction"]["p_values"]
    assert list(p.columns) == ["distance", "outside", "new_cluster", "clusters", "composition"]
    assert (p["clusters"] <= 0.01).mean() == (1.0 if programme else pytest.approx(0, abs=0.1))
    assert mapped.obs["outlier"].sum() == (14 if programme else pytest.approx(0, abs=2))
    assert (p["distance"] <= 0.025).mean() < 0.2
    assert (p["composition"] <= 0.025).mean() < 0.15


def test_samples_are_compared_by_name(with_components):
    """The order of samples makes no difference, and the probabilities are those of the tables."""
    mapped = sg.tl.map_samples(in_clusters("n", 6), with_components)
    turned = mapped[np.random.default_rng(0).permutation(mapped.n_obs)].copy()
    for each in (mapped, turned):
        sg.tl.predict_samples(each)
    np.testing.assert_allclose(turned[mapped.obs_names].obs["outlier_p"], mapped.obs["outlier_p"], rtol=1e-9)
    calibration = with_components.uns["ggml_reference"]["calibration"]
    known = {"distance": calibration["held_out"]["distance"], **calibration["novelty"]}
    nearest = np.sort(mapped.obsp["ggml_distances"][14:, :14], axis=1)[:, :3].mean(axis=1) / calibration["unit"]
    new = {"distance": nearest, **mapped.obsm["ggml_novelty"].iloc[14:]}
    p, families = outlier_probabilities(*({name: np.asarray(x) for name, x in table.items()} for table in (known, new)))
    np.testing.assert_allclose(mapped.obs["outlier_p"][14:], p)
    for family, values in families.items():
        np.testing.assert_allclose(mapped.uns["ggml_prediction"]["p_values"][family], values)


def test_missing_genes_are_left_out_of_novelty(with_components):
    new = in_clusters("n", 7, programme=True)
    part = new[:, np.arange(60) % 4 > 0].copy()
    with pytest.warns(UserWarning, match="outliers in these genes are not detected"):
        mapped = sg.tl.map_samples(part, with_components)
    entry = with_components.uns["ggml_reference"]
    present = np.isin(entry["genes"]["names"].astype(str), part.var_names)
    space = gene_space(entry["genes"]).restricted(present)
    codes = part.obs["sample"].cat.codes.to_numpy()
    expected = novelty(space, read_reference(with_components, "ggml").clusters, part.X, codes, 14, present)
    for name, values in expected.items():
        np.testing.assert_allclose(mapped.obsm["ggml_novelty"][name][14:], values, err_msg=name)
    sg.tl.predict_samples(mapped)
    assert mapped.obs["outlier"].sum() == 14


def test_copy_and_again(mapped, assert_same_anndata):
    before = mapped.copy()
    found = sg.tl.predict_samples(mapped, copy=True)
    assert_same_anndata(mapped, before)
    sg.tl.predict_samples(mapped)
    assert_same_anndata(mapped, found)
    sg.tl.predict_samples(mapped)  # again, over what is there
    assert_same_anndata(mapped, found)


def test_small_samples_are_named(_reference):
    few = sg.tl.map_samples(patients(3, 3, prefix="n", cells=4), _reference)
    with pytest.warns(
        UserWarning, match=r"3 new sample\(s\) have fewer cells than any of the reference \(25\): n00 \(4\)"
    ):
        sg.tl.predict_samples(few)


@pytest.mark.parametrize(
    ("error", "match", "change", "arguments"),
    [
        (KeyError, "mapped needs uns\\['x_reference'\\]", None, {"key": "x"}),
        (ValueError, "alpha must be finite and at most 0.5 and greater|alpha must be", None, {"alpha": 0.0}),
        (TypeError, "alpha must be a number", None, {"alpha": "0.05"}),
        (ValueError, "no sample is new", lambda m: m.obs.__setitem__("is_reference", True), {}),
        (KeyError, "obs\\['is_reference'\\]", lambda m: m.obs.pop("is_reference"), {}),
        (
            ValueError,
            "made with cv=None, without a calibration",
            lambda m: m.uns["ggml_reference"].pop("calibration"),
            {},
        ),
        (KeyError, "obsp\\['ggml_distances'\\] does not exist", lambda m: m.obsp.pop("ggml_distances"), {}),
    ],
)
def test_bad_input(mapped, assert_same_anndata, error, match, change, arguments):
    if change is not None:
        change(mapped)
    before = mapped.copy()
    with pytest.raises(error, match=match):
        sg.tl.predict_samples(mapped, **arguments)
    assert_same_anndata(mapped, before)


def test_samples_that_the_calibration_does_not_know(mapped):
    mapped.obs_names = ["x", *mapped.obs_names[1:]]
    with pytest.raises(ValueError, match=r"not known: x; missing: r00\..*map the new ones again"):
        sg.tl.predict_samples(mapped)


def test_part_of_the_reference(mapped):
    with pytest.raises(
        ValueError, match=r"mapped holds 12 samples of the reference, which has 15; .*missing: r00, r01, r02"
    ):
        sg.tl.predict_samples(mapped[3:].copy())


def test_part_of_the_samples(mapped):
    """A view of some new samples, with all of the reference, gives the same."""
    whole = sg.tl.predict_samples(mapped, copy=True)
    part = mapped[[*range(15), 16, 19]]
    sg.tl.predict_samples(part)
    np.testing.assert_allclose(part.obs["outlier_p"][15:], whole.obs["outlier_p"].iloc[[16, 19]])


def test_the_best_score_is_predicted_even_with_equal_probabilities(mapped):
    expected = sg.tl.predict_samples(mapped, copy=True).obs["predicted"]
    mapped.uns["ggml_reference"]["calibration"]["inverse_temperature"] = 0.0
    sg.tl.predict_samples(mapped)
    np.testing.assert_allclose(mapped.obsm["ggml_probabilities"][15:], 1 / 3)
    assert mapped.obs["predicted"].equals(expected)
