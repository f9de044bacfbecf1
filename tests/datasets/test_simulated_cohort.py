from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse, stats

from scggml.datasets import simulated_cohort
from scggml.datasets._simulation import Design, simulate

SMALL = {"n_samples": 6, "n_cells": 20, "n_genes": 150, "n_programme_genes": 10}
# nothing differs between the cells of a type but the counts themselves
PLAIN = {"n_samples": 2, "patient_effect": 0, "effect_size": 0, "cell_types": 1, "vary_cells": False}


def simulated(**settings):
    """Simulate a cohort with settings of its design among the others."""
    design = {field.name: settings.pop(field.name) for field in fields(Design) if field.name in settings}
    return simulate(design=Design(**design), **settings)


def assert_same(left, right):
    for name in ("obs", "var"):
        pd.testing.assert_frame_equal(getattr(left, name), getattr(right, name))
    assert left.X.dtype == right.X.dtype
    assert left.shape == right.shape and (left.X != right.X).nnz == 0
    assert_same_value(left.uns.copy(), right.uns.copy())


def assert_same_value(left, right):
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key, value in left.items():
            assert_same_value(value, right[key])
    else:
        np.testing.assert_array_equal(left, right)


def truth(adata):
    return adata.uns["simulated_cohort"]


def sample_labels(adata):
    return adata.obs.groupby("sample", observed=True)["label"].first()


def pseudobulk(adata, cell_type):
    """Log of the mean counts per 1e4 of each sample's cells of a type."""
    rows = []
    for sample in adata.obs["sample"].cat.categories:
        keep = ((adata.obs["sample"] == sample) & (adata.obs["cell_type"] == cell_type)).to_numpy()
        counts = np.asarray(adata.X[keep].sum(axis=0), dtype=float).ravel()
        rows.append(np.log(1e4 * (counts + 0.5) / counts.sum()))
    return np.array(rows)


def programme_test(adata, cell_type="T"):
    """Difference of disease and healthy, and its p-value, for each programme gene."""
    bulk = pseudobulk(adata, cell_type)[:, adata.var["programme"].to_numpy()]
    disease = (sample_labels(adata) == "disease").to_numpy()
    difference = bulk[disease].mean(axis=0) - bulk[~disease].mean(axis=0)
    return difference, stats.ttest_ind(bulk[disease], bulk[~disease]).pvalue


@pytest.fixture(scope="module")
def default():
    return simulated_cohort(rng=0)


def test_fields(default):
    assert sparse.isspmatrix_csr(default.X)
    assert default.X.dtype == np.float32
    assert default.X.data.min() >= 1
    np.testing.assert_array_equal(default.X.data, np.rint(default.X.data))
    assert list(default.obs.columns) == ["sample", "label", "cell_type"]
    assert all(dtype == "category" for dtype in default.obs.dtypes)
    assert list(default.obs["label"].cat.categories) == ["healthy", "disease"]
    assert list(default.obs["cell_type"].cat.categories) == ["T", "B", "Mono"]
    assert default.obs_names.is_unique
    assert default.var_names.is_unique
    assert sample_labels(default).value_counts().to_dict() == {"healthy": 12, "disease": 12}
    assert default.obs["sample"].value_counts().min() >= 20


def test_every_argument_is_passed_on():
    settings = {
        "n_samples": 9, "n_classes": 3, "n_cells": 25, "n_genes": 80, "effect_size": 1.1, "patient_effect": 0.2,
        "n_batches": 2, "batch_effect": 0.4, "batch_label_correlation": 0.5, "composition_shift": 0.6, "rng": 4,
    }  # fmt: skip
    assert set(settings) == set(inspect.signature(simulated_cohort).parameters)
    adata = simulated_cohort(**settings)
    assert_same(adata, simulate(**settings))
    stored = truth(adata)["params"]
    assert {name: stored[name] for name in settings if name != "rng"} == {
        n: v for n, v in settings.items() if n != "rng"
    }


@pytest.mark.parametrize(("n_genes", "expected"), [(32, 2), (60, 5), (479, 39), (480, 40), (1000, 40)])
def test_number_of_programme_genes(n_genes, expected):
    adata = simulated_cohort(n_samples=2, n_cells=20, n_genes=n_genes, rng=0)
    assert adata.n_vars == n_genes and adata.var["programme"].sum() == expected
    assert (adata.var["marker_of"].value_counts().drop("") >= 5).all()


def test_too_few_genes():
    with pytest.raises(ValueError, match="n_genes must be at least 32, found 31"):
        simulated_cohort(n_genes=31)


def test_truth_agrees_with_var(default):
    t, var = truth(default), default.var
    assert list(t["programme_genes"]) == list(var.index[var["programme"]])
    assert len(t["programme_genes"]) == 40
    np.testing.assert_array_equal(t["log_fold_change"] != 0, var["programme"])
    assert (t["log_fold_change"] > 0).sum() == 30
    np.testing.assert_allclose(np.abs(t["log_fold_change"][var["programme"]]), t["params"]["effect_size"])
    assert (var.loc[var["programme"], "marker_of"] == "").all()
    assert list(t["programme_cell_types"]) == ["T"]
    assert list(t["class_dose"]) == [0, 1]


def test_library_size():
    adata = simulated(**PLAIN, n_cells=2000, library_size=(1500, 0.5), dispersion=0, rng=0)
    totals = np.asarray(adata.X.sum(axis=1)).ravel()
    assert totals.mean() == pytest.approx(1500, rel=0.05)
    # Poisson noise adds 1 / mean to the variance of the log, below 1 in 100 here
    assert np.log(totals).std() == pytest.approx(0.5, rel=0.05)


def test_library_size_with_every_effect_on():
    adata = simulated_cohort(
        n_batches=2, batch_effect=0.5, patient_effect=0.5, effect_size=2, composition_shift=1, rng=1
    )
    assert np.asarray(adata.X.sum(axis=1)).mean() == pytest.approx(2000, rel=0.05)


@pytest.mark.parametrize("dispersion", [0, 0.3, 1.0])
def test_negative_binomial_variance(dispersion):
    adata = simulated(**PLAIN, n_cells=2000, library_size=(1000, 0), dispersion=dispersion, n_genes=200, rng=2)
    x = adata.X.toarray().astype(float)
    mean, variance = x.mean(axis=0), x.var(axis=0, ddof=1)
    frequent = mean > 1
    assert frequent.sum() > 100
    ratio = variance / (mean + dispersion * mean**2)
    np.testing.assert_allclose(ratio[frequent], 1, atol=0.35)  # single genes, 4000 cells
    assert ratio[frequent].mean() == pytest.approx(1, abs=0.02)
    # the law, not two moments only: the share of zeros of a negative binomial
    zeros = np.exp(-mean) if dispersion == 0 else (1 + dispersion * mean) ** (-1 / dispersion)
    np.testing.assert_allclose((x == 0).mean(axis=0), zeros, atol=5 * 0.5 / np.sqrt(len(x)))


def test_planted_fold_change_is_found_in_the_programme_cell_types_only():
    adata = simulated(
        n_samples=2, n_cells=3000, patient_effect=0, n_genes=300, effect_size=1.0, programme_cell_types=2, rng=0
    )
    expected = truth(adata)["log_fold_change"]
    for cell_type, planted in [("T", expected), ("B", expected), ("Mono", 0 * expected)]:
        log_means, variances = [], []
        for label in ("healthy", "disease"):
            keep = (adata.obs["label"] == label) & (adata.obs["cell_type"] == cell_type)
            x = adata.X[keep.to_numpy()].toarray().astype(float)
            log_means.append(np.log(x.mean(axis=0)))
            variances.append(x.var(axis=0, ddof=1) / len(x) / x.mean(axis=0) ** 2)  # of the log, delta method
        found = log_means[1] - log_means[0]
        found -= np.median(found[expected == 0])  # a common constant is not identified, see the docstring
        z = (found - planted) / np.sqrt(sum(variances))
        assert np.abs(z).max() < 5
        assert z.std() == pytest.approx(1, abs=0.2)


def test_default_disease_is_detectable(default):
    difference, p = programme_test(default)
    sign = np.sign(truth(default)["log_fold_change"][default.var["programme"]])
    assert (np.sign(difference) == sign).mean() > 0.95
    assert (p < 0.01).mean() > 0.7
    _, p_other = programme_test(default, "Mono")
    assert (p_other < 0.01).mean() < 0.1


def test_without_effect_there_is_no_difference():
    p = np.concatenate([programme_test(simulated_cohort(effect_size=0, rng=seed))[1] for seed in range(3)])
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_scanpy_workflow_separates_cell_types_and_classes(default):
    adata = default.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=20, svd_solver="arpack")
    pcs, types = adata.obsm["X_pca"], adata.obs["cell_type"]
    centres = np.array([pcs[types == t].mean(axis=0) for t in types.cat.categories])
    nearest = ((pcs[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == types.cat.codes).mean() > 0.99

    labels = sample_labels(adata)
    bulk = np.array(
        [pcs[(adata.obs["sample"] == s) & (types == "T")].mean(axis=0) for s in adata.obs["sample"].cat.categories]
    )
    correct = 0
    for i, label in enumerate(labels):  # nearest class mean, each sample held out
        rest = np.arange(len(labels)) != i
        means = {c: bulk[rest & (labels == c).to_numpy()].mean(axis=0) for c in labels.cat.categories}
        correct += min(means, key=lambda c: np.linalg.norm(bulk[i] - means[c])) == label
    assert correct / len(labels) > 0.85


def test_seed_decides_the_cohort():
    first = simulated(**SMALL, rng=5)
    assert_same(first, simulated(**SMALL, rng=5))
    assert_same(first, simulated(**SMALL, rng=np.random.default_rng(5)))
    other = simulated(**SMALL, rng=6)
    assert list(truth(first)["programme_genes"]) != list(truth(other)["programme_genes"])


def test_same_seed_without_effect_gives_the_same_patients():
    sick, well = (simulated(**SMALL, effect_size=e, rng=0) for e in (2.0, 0.0))
    pd.testing.assert_frame_equal(sick.obs, well.obs)
    pd.testing.assert_frame_equal(sick.var, well.var)
    healthy = (sick.obs["label"] == "healthy").to_numpy()
    assert (sick.X[healthy] != well.X[healthy]).nnz == 0
    assert (sick.X[~healthy] != well.X[~healthy]).nnz > 0
    assert not truth(well)["log_fold_change"].any()


def test_streams_are_independent():
    base = simulated(**SMALL, rng=0)
    more_cells = simulated(**(SMALL | {"n_cells": 40}), rng=0)
    pd.testing.assert_frame_equal(base.var, more_cells.var)
    more_samples = simulated(**(SMALL | {"n_samples": 8}), rng=0)
    assert (more_samples.X[: base.n_obs] != base.X).nnz == 0
    bigger_programme = simulated(**(SMALL | {"programme_cell_types": 2}), rng=0)
    np.testing.assert_array_equal(base.var["programme"], bigger_programme.var["programme"])


def test_numbers_of_cells():
    exact = simulated(**SMALL, vary_cells=False, rng=0)
    assert (exact.obs["sample"].value_counts() == 20).all()
    varied = simulated_cohort(n_samples=200, n_cells=60, n_genes=60, rng=0)
    sizes = varied.obs["sample"].value_counts()
    assert sizes.min() >= 20
    sd = np.sqrt(60 + 0.1 * 60**2)
    assert abs(sizes.mean() - 60) < 5 * sd / np.sqrt(200)
    assert sizes.std() == pytest.approx(sd, rel=0.2)


def test_graded_classes():
    adata = simulated(n_samples=3, n_classes=3, n_cells=1500, cell_types=1, patient_effect=0, effect_size=1.2, rng=0)
    assert list(truth(adata)["classes"]) == ["healthy", "disease_1", "disease_2"]
    np.testing.assert_allclose(truth(adata)["class_dose"], [0, 0.5, 1])
    healthy, middle, full = pseudobulk(adata, "T")
    up = truth(adata)["log_fold_change"] > 0
    still = ~adata.var["programme"].to_numpy()
    for bulk, dose in [(middle, 0.5), (full, 1.0)]:
        change = (bulk - healthy)[up].mean() - np.median((bulk - healthy)[still])
        assert change == pytest.approx(1.2 * dose, abs=0.05)


def test_composition_shift():
    kwargs = {"n_samples": 200, "n_cells": 200, "n_genes": 60, "n_programme_genes": 5, "vary_cells": False}
    adata = simulated(**kwargs, composition_shift=1.0, rng=0)
    assert truth(adata)["shifted_cell_type"] == "Mono"
    shares = (adata.obs["cell_type"] == "Mono").groupby(adata.obs["sample"], observed=True).mean()
    disease = (sample_labels(adata) == "disease").to_numpy()
    # a share p ~ Beta(10, 20) of a Dirichlet(10, 10, 10); its odds are then multiplied by e
    p = stats.beta(10, 20).rvs(200_000, random_state=0)
    expected = {False: p, True: np.e * p / (1 - p + np.e * p)}
    for is_disease, law in expected.items():
        found = shares[disease == is_disease]
        variance = law.var() + (law * (1 - law)).mean() / 200
        assert abs(found.mean() - law.mean()) < 5 * np.sqrt(variance / 100)
        assert found.var(ddof=1) == pytest.approx(variance, rel=5 * np.sqrt(2 / 99))


def test_an_extreme_composition_shift_stays_finite():
    adata = simulated(**SMALL, composition_shift=1e4, rng=0)
    disease = adata.obs["label"] == "disease"
    assert (adata.obs.loc[disease, "cell_type"] == "Mono").all()


def test_batches_are_balanced_and_shift_genes():
    kwargs = {"n_samples": 8, "n_cells": 300, "patient_effect": 0, "effect_size": 0, "cell_types": 1}
    adata = simulated(**kwargs, n_batches=2, batch_effect=0.5, rng=0)
    table = adata.obs.drop_duplicates("sample").groupby(["label", "batch"], observed=True).size()
    assert table.to_list() == [2, 2, 2, 2]
    bulk = pseudobulk(adata, "T")
    batch = adata.obs.drop_duplicates("sample")["batch"].cat.codes.to_numpy()
    difference = bulk[batch == 1].mean(axis=0) - bulk[batch == 0].mean(axis=0)
    frequent = bulk.mean(axis=0) > np.log(5)
    assert difference[frequent].std() == pytest.approx(np.sqrt(2) * 0.5, rel=0.15)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_batch_label_correlation(correlation):
    adata = simulated(**(SMALL | {"n_samples": 16}), n_batches=2, batch_label_correlation=correlation, rng=0)
    samples = adata.obs.drop_duplicates("sample")
    label, batch = samples["label"].cat.codes, samples["batch"].cat.codes
    assert np.corrcoef(label, batch)[0, 1] == pytest.approx(correlation)


def test_patient_effect_is_the_spread_between_patients():
    adata = simulated(
        n_samples=40, n_cells=300, n_genes=200, cell_types=1, effect_size=0, patient_effect=0.5, dispersion=0, rng=0
    )
    bulk = pseudobulk(adata, "T")
    assert np.sqrt(bulk.var(axis=0, ddof=1).mean()) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:.*[zZ]arr.*")  # anndata announces the next zarr format
def test_round_trip(tmp_path, fmt):
    adata = simulated(**SMALL, n_batches=2, rng=0)
    path = tmp_path / f"cohort.{fmt}"
    getattr(adata, f"write_{fmt}")(path)
    assert_same(adata, getattr(ad, f"read_{fmt}")(path))


def test_many_cell_types_have_distinct_names():
    adata = simulated(cell_types=9, n_samples=2, n_cells=20, rng=0)
    assert adata.obs["cell_type"].cat.categories.is_unique
    assert list(adata.obs["cell_type"].cat.categories[-2:]) == ["type_7", "type_8"]
    assert (adata.var["marker_of"].value_counts().drop("") == 30).all()


def test_import_is_light():
    code = "import sys, scggml.datasets; print([m for m in ('scanpy', 'torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"n_classes": 1}, ValueError, r"n_classes must be at least 2, found 1"),
        ({"n_samples": 1}, ValueError, r"n_samples must be at least 2, found 1"),
        ({"n_samples": 4.0}, TypeError, r"n_samples must be an integer, found 4.0"),
        ({"n_cells": 19}, ValueError, r"n_cells must be at least 20, found 19"),
        ({"n_cells": 0, "vary_cells": False}, ValueError, r"n_cells must be at least 1, found 0"),
        ({"n_genes": 119, "n_programme_genes": 40}, ValueError, r"n_genes=119 are too few for 40.*at least 120 genes"),
        ({"n_genes": 70, "cell_types": 7, "n_programme_genes": 1}, ValueError, r"n_genes=70.*at least 71"),
        ({"cell_types": 0}, ValueError, r"cell_types must be at least 1, found 0"),
        ({"n_programme_genes": 0}, ValueError, r"n_programme_genes must be at least 1, found 0"),
        ({"programme_cell_types": 0}, ValueError, r"programme_cell_types must be at least 1, found 0"),
        ({"programme_cell_types": 4}, ValueError, r"programme_cell_types=4 exceeds cell_types=3"),
        ({"effect_size": -1}, ValueError, r"effect_size must be finite and at least 0, found -1"),
        ({"effect_size": "big"}, TypeError, r"effect_size must be a number, found 'big'"),
        ({"patient_effect": np.nan}, ValueError, r"patient_effect must be finite and at least 0, found nan"),
        ({"library_size": 2000}, ValueError, r"library_size must be \(mean, sd of the log\), found 2000"),
        ({"library_size": (0, 1)}, ValueError, r"library_size\[0\] must be finite and greater than 0, found 0"),
        ({"library_size": (10, -1)}, ValueError, r"library_size\[1\] must be finite and at least 0, found -1"),
        ({"dispersion": -0.1}, ValueError, r"dispersion must be finite and at least 0, found -0.1"),
        ({"n_batches": 0}, ValueError, r"n_batches must be at least 1, found 0"),
        ({"n_batches": 13}, ValueError, r"n_batches=13 exceeds the 12 samples .* at least n_samples=26"),
        ({"batch_effect": 0.1}, ValueError, r"batch_effect=0.1 has no effect with n_batches=1"),
        ({"batch_label_correlation": 0.1}, ValueError, r"batch_label_correlation=0.1 has no effect with n_batches=1"),
        ({"batch_label_correlation": 2, "n_batches": 2}, ValueError, r"at least 0 and at most 1, found 2"),
        ({"composition_shift": np.inf}, ValueError, r"composition_shift must be finite, found inf"),
        (
            {"composition_shift": 1, "cell_types": 1},
            ValueError,
            r"composition_shift=1.0 has no effect with cell_types=1",
        ),
    ],
)
def test_bad_arguments(kwargs, error, match):
    with pytest.raises(error, match=match):
        simulated(**kwargs)
