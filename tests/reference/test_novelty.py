"""Differences of samples from their reference, against dense linear algebra and simulations with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from scggml.reference._gene_space import GeneSpace
from scggml.reference._novelty import CellClusters, novelty, outlier_probabilities

N_GENES = 20


@pytest.fixture
def genes():
    rng = np.random.default_rng(0)
    return rng.poisson(1.0, size=(240, N_GENES)) * rng.uniform(0.5, 2.0, size=N_GENES)


@pytest.fixture
def codes():
    return np.random.default_rng(1).permutation(np.repeat([0, 1], [140, 100]))


def space_of(x, n_comps=6, unit=None):
    unit = np.ones(x.shape[1]) if unit is None else unit
    mean = x.mean(axis=0)
    loadings = np.linalg.svd((x - mean) / unit, full_matrices=False)[2][:n_comps].T
    return GeneSpace(loadings, unit, -(mean / unit) @ loadings, mean)


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scaled", [False, True])
def test_against_dense_algebra(genes, codes, as_matrix, scaled, novelty_by_hand, assert_same_novelty):
    space = space_of(genes, unit=genes.std(axis=0) if scaled else None)
    clusters = CellClusters.fit(space, as_matrix(genes))
    assert clusters.n_clusters.tolist() == [2, 4]  # 240 cells are too few for eight
    moved = genes + (codes[:, None] == 1) * (np.arange(N_GENES) == 3)
    found = novelty(space, clusters, as_matrix(moved), codes, 2)
    assert_same_novelty(found, novelty_by_hand(space, clusters, moved, codes))
    assert found["outside"][1] > found["outside"][0]


def test_variance_outside(genes):
    space = space_of(genes)
    rest = genes - genes.mean(axis=0)
    rest -= rest @ space.loadings @ space.loadings.T
    np.testing.assert_allclose(CellClusters.fit(space, genes).variance, rest.var(axis=0), atol=1e-12)


def test_small_samples(genes, novelty_by_hand, assert_same_novelty):
    space = space_of(genes)
    clusters = CellClusters.fit(space, genes)
    for n in (2, 7):
        few = novelty(space, clusters, genes[:n], np.zeros(n, dtype=int), 1)
        assert all(np.isnan(few[name]).all() for name in ("outside", "new_cluster", "shift_0", "shift_0_error"))
        assert np.isfinite([few["share_0"][0], few["share_0_error"][0]]).all()
    codes = np.repeat(np.arange(20), 12)
    found = novelty(space, clusters, genes, codes, 20)
    assert_same_novelty(found, novelty_by_hand(space, clusters, genes, codes))


def test_clusters_of_many_cells():
    """Clusters are fitted to cells of the whole cohort, not to the first of them."""
    rng = np.random.default_rng(0)
    space = GeneSpace(np.eye(3)[:, :2], np.ones(3), np.zeros(2), np.zeros(3))
    cells = rng.normal(size=(50_000, 3))
    cells[40_000:, 0] += 50
    centroids = CellClusters.fit(space, cells).centroids
    assert centroids[:2, 0].max() > 40 > 10 > centroids[:2, 0].min()


def test_too_few_cells_for_clusters(genes):
    space = space_of(genes)
    clusters = CellClusters.fit(space, genes[:99])
    assert len(clusters.n_clusters) == 0 and clusters.centroids.shape == (0, 6)
    assert set(novelty(space, clusters, genes, np.repeat([0, 1], 120), 2)) == {
        "outside", "outside_error", "new_cluster", "new_cluster_error",
    }  # fmt: skip


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("cells_of", ["alike", "of the space", "zero"])
def test_nothing_differs_outside(as_matrix, cells_of):
    """If cells do not differ outside of the components, there is no ratio of variances."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(30, 4)))[0]
    space = GeneSpace(loadings, np.ones(30), np.zeros(4), np.zeros(30))
    many = rng.normal(size=(120, 4)) @ loadings.T
    cells = {"alike": np.tile(rng.normal(size=30), (20, 1)), "of the space": many, "zero": np.zeros((20, 30))}[cells_of]
    found = novelty(space, CellClusters.fit(space, many), as_matrix(cells), np.zeros(len(cells), dtype=int), 1)
    assert np.isnan(found["new_cluster"]).all()
    assert np.isfinite(found["outside"]).all() and (found["outside"] > np.log(1)).all() == (cells_of == "alike")


def test_clusters_follow_their_cells(genes):
    """In other features, centroids are those of the same cells. A cluster without cells is never the nearest."""
    space = space_of(genes)
    clusters = CellClusters.fit(space, genes)
    features = space.project(genes)
    labels = clusters.assign(features)
    turned = 3 * features @ np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0] + 1
    moved = clusters.with_features(turned, labels)
    for i, first in enumerate((0, 2)):
        own = slice(first, first + clusters.n_clusters[i])
        np.testing.assert_array_equal(labels[:, i] - first, cdist(features, clusters.centroids[own]).argmin(axis=1))
        for k in range(first, own.stop):
            np.testing.assert_allclose(moved.centroids[k], turned[labels[:, i] == k].mean(axis=0))
    one = labels[:, 0] == 0
    without = clusters.with_features(features[one], labels[one])
    assert np.isinf(without.centroids[1]).all() and (without.assign(features)[:, 0] == 0).all()


def test_unknown_genes_do_not_make_a_sample_an_outlier():
    """Cells of the space have no residual if a third of their genes is unknown; those outside still have one."""
    rng = np.random.default_rng(3)
    loadings = np.linalg.qr(rng.normal(size=(60, 4)))[0]
    space = GeneSpace(loadings, np.ones(60), np.zeros(4), np.zeros(60))
    cells = 5 * rng.normal(size=(100, 4)) @ loadings.T + 3 * loadings[:, 0] + 1e-3 * rng.normal(size=(100, 60))
    clusters, codes = CellClusters.fit(space, cells), np.zeros(100, dtype=int)
    present = np.arange(60) % 3 > 0
    part = space.restricted(present)
    found = novelty(part, clusters, cells[:, present], codes, 1, present)
    assert found["outside"] < np.log(0.01)
    moved = cells + rng.normal(size=60)
    assert novelty(part, clusters, moved[:, present], codes, 1, present)["outside"] > np.log(4)


def test_lengths_are_those_of_all_genes():
    """Lengths are scaled up to unknown genes in proportion to the variance."""
    rng = np.random.default_rng(5)
    n_genes, n = 400, 300
    space = GeneSpace(np.eye(n_genes)[:, :3], np.ones(n_genes), np.zeros(3), np.zeros(n_genes))
    spread = rng.uniform(0.2, 2, size=n_genes)
    cells = rng.normal(size=(n, n_genes)) * spread + 0.5 * rng.normal(size=n_genes) * spread
    cells[:, 0] += np.where(np.arange(n) < n / 2, -9, 9)
    cells[n // 2 :] += rng.normal(size=n_genes) * spread * (np.arange(n_genes) > 2)
    clusters, codes = CellClusters.fit(space, cells), np.zeros(n, dtype=int)
    present = rng.random(n_genes) < 0.5
    present[:3] = True
    whole = novelty(space, clusters, cells, codes, 1)
    half = novelty(space.restricted(present), clusters, cells[:, present], codes, 1, present)
    np.testing.assert_allclose(np.exp(half["outside"]), np.exp(whole["outside"]), rtol=0.1)
    np.testing.assert_allclose(half["shift_0"], whole["shift_0"], rtol=0.2)


@pytest.mark.parametrize("correlated", [False, True])
def test_sampling_noise_is_subtracted(correlated):
    """Cells are normal with known means and covariance, so that lengths, shifts and their errors are known."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(200, 4)))[0]
    space = GeneSpace(loadings, np.ones(200), np.zeros(4), np.zeros(200))
    outside = np.eye(200) - loadings @ loadings.T
    of_all, of_cluster = rng.normal(size=(2, 200)) @ outside
    of_all, of_cluster = (3 * x / np.linalg.norm(x) for x in (of_all, of_cluster))
    factors = 0.15 * rng.normal(size=(3, 200)) @ outside * correlated
    covariance = outside + factors.T @ factors
    clusters = CellClusters(np.array([[10.0, 0, 0, 0], [-10.0, 0, 0, 0]]), np.array([2]), np.ones(200))

    def true_error(true, n_cells):
        """The standard error of a squared length: its variance is 2 tr(V V) + 4 t' V t."""
        v = covariance / n_cells
        return np.sqrt(2 * (v**2).sum() + 4 * true @ v @ true)

    for n in (40, 400):
        codes = np.repeat(np.arange(60), n)
        cells = rng.normal(size=(60 * n, 200)) + rng.normal(size=(60 * n, 3)) @ factors
        is_first = clusters.assign(space.project(cells))[:, 0] == 0
        for shift in (0.0, 1.0, 3.0):
            moved = novelty(space, clusters, cells + of_all + shift * is_first[:, None] * of_cluster, codes, 60)
            found, error = moved["shift_0"], moved["shift_0_error"]
            expected = true_error(shift * of_cluster, n / 4)  # half of the cells on both sides
            assert abs(found.mean() - 9 * shift**2) < 3 * expected / np.sqrt(60)
            assert np.sqrt((error**2).mean()) == pytest.approx(expected, rel=0.15)
        lengths = novelty(space, clusters, cells + of_all, codes, 60)
        expected = true_error(of_all, n)
        assert abs(np.exp(2 * lengths["outside"]).mean() - 9) < 3 * expected / np.sqrt(60)
        of_log = expected / 9 / 2
        assert np.sqrt((lengths["outside_error"] ** 2).mean()) == pytest.approx(of_log, rel=0.15)


@pytest.mark.parametrize("n", [15, 60, 300])
def test_the_largest_variances_of_noise(n):
    """The correction and the error are mean and spread of the ratio in matrices of noise."""
    rng = np.random.default_rng(1)
    n_genes, n_samples = 100, 300
    squares = (np.linalg.svd(x - x.mean(axis=0), compute_uv=False) for x in rng.normal(size=(n_samples, n, n_genes)))
    ratios = np.array([2 * np.log(values[0] / values[1]) for values in squares])

    space = GeneSpace(np.eye(n_genes + 3)[:, :3], np.ones(n_genes + 3), np.zeros(3), np.zeros(n_genes + 3))
    variance = (np.arange(n_genes + 3) > 2).astype(float)
    clusters = CellClusters(np.empty((0, 3)), np.empty(0, dtype=int), variance)
    cells = rng.normal(size=(n, n_genes + 3))
    found = novelty(space, clusters, cells, np.zeros(n, dtype=int), 1)
    own = np.linalg.svd(cells[:, 3:] - cells[:, 3:].mean(axis=0), compute_uv=False)
    correction = 2 * np.log(own[0] / own[1]) - found["new_cluster"][0]
    assert correction == pytest.approx(ratios.mean(), rel=0.15)
    assert found["new_cluster_error"][0] == pytest.approx(ratios.std(), rel=0.15)


def test_a_cluster_of_cells_that_the_reference_lacks():
    rng = np.random.default_rng(1)
    space = GeneSpace(np.eye(300)[:, :3], np.ones(300), np.zeros(3), np.zeros(300))
    clusters = CellClusters(np.empty((0, 3)), np.empty(0, dtype=int), np.ones(300))
    cells, codes = rng.normal(size=(400, 300)), np.repeat(np.arange(4), 100)
    cells[codes == 2] += 12 * (np.arange(100) < 20)[:, None] * rng.normal(size=300) / np.sqrt(300)
    found = novelty(space, clusters, cells, codes, 4)["new_cluster"]
    assert (np.abs(found[[0, 1, 3]]) < 0.1).all() and found[2] > 0.5


def drawn(rng, n, n_outliers=0):
    """Columns of samples with two clusters, whose shifts have errors of any size. The first samples are outliers."""
    columns = {"distance": np.exp(rng.normal(size=n))}
    for name in ("outside", "new_cluster", "shift_0", "shift_1", "share_0", "share_1"):
        errors = rng.uniform(0.2, 5, size=n) if name.startswith("shift") else np.full(n, 0.1)
        columns |= {name: rng.normal(size=n) * np.sqrt(1 + errors**2), f"{name}_error": errors}
    columns["shift_0"][:n_outliers] += 40
    return columns


def test_p_values_of_samples_like_the_known_ones_are_uniform():
    rng = np.random.default_rng(0)
    p, families = zip(*(outlier_probabilities(drawn(rng, 24), drawn(rng, 5)) for _ in range(60)), strict=True)
    p = np.concatenate(p)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.035) and np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.1)
    assert np.mean(p <= 0.01) < 0.035
    for family in ("distance", "outside", "new_cluster", "clusters", "composition"):
        values = np.concatenate([found[family] for found in families])
        assert np.mean(values <= 0.05) == pytest.approx(0.05, abs=0.035), family
    assert kstest(np.concatenate([found["distance"] for found in families]), "uniform").pvalue > 0.01


def test_outliers_in_one_column_only():
    rng = np.random.default_rng(1)
    p, families = outlier_probabilities(drawn(rng, 24), drawn(rng, 6, n_outliers=3))
    assert (p[:3] < 0.01).all() and (families["clusters"][:3] < 0.01).all()
    assert (p[3:] > 0.05).all() and families["outside"].min() > 0.01


def test_outliers_in_the_reference():
    """With one outlier like the new ones among 24, p-values are about 2 / 25. With a third, they are large."""
    rng = np.random.default_rng(2)
    few, _ = outlier_probabilities(drawn(rng, 24, n_outliers=1), drawn(rng, 4, n_outliers=4))
    many, _ = outlier_probabilities(drawn(rng, 24, n_outliers=8), drawn(rng, 4, n_outliers=4))
    assert (few > 0.02).all() and (few < 0.2).all() and (many > 0.05).all()


def test_composition_has_two_sides():
    rng = np.random.default_rng(3)
    known, new = drawn(rng, 24), drawn(rng, 2)
    new["share_0"][:] = [-8, 8]
    assert (outlier_probabilities(known, new)[1]["composition"] < 0.001).all()


def test_missing_values_do_not_make_an_outlier():
    rng = np.random.default_rng(4)
    known, new = drawn(rng, 12), drawn(rng, 3)
    known["shift_1"][2:] = np.nan
    for name in ("shift_0", "shift_1", "new_cluster"):
        new[name][:] = np.nan
    p, families = outlier_probabilities(known, new)
    assert np.isfinite(p).all() and (families["clusters"] > 0.2).all() and (families["new_cluster"] == 1).all()


def test_the_distance_alone():
    rng = np.random.default_rng(5)
    known, new = ({"distance": drawn(rng, n)["distance"]} for n in (20, 6))
    p, families = outlier_probabilities(known, new)
    np.testing.assert_array_equal(p, families["distance"])
