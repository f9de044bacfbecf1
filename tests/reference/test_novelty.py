"""What a reference does not show of a sample, against dense linear algebra and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from scggml.reference._gene_space import GeneSpace
from scggml.reference._novelty import CellKinds, novelty, unusual

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


def outside_of(space, x):
    """Cells outside of the components, dense."""
    axes = np.linalg.qr(space.loadings)[0]
    rest = (x - space.mean) / space.unit
    return rest - rest @ axes @ axes.T


def by_hand(space, kinds, x, codes):
    """The columns of `novelty`, from dense cells; kinds by the nearest centroid of each division."""
    rows = []
    for i in range(codes.max() + 1):
        own = x[codes == i]
        rest, n = outside_of(space, own), int((codes == i).sum())
        row = dict.fromkeys(["outside", "outside_error", "group", "group_error"], np.nan)
        if n >= 8:
            square, error = length_by_hand([rest])
            square = max(square, 0.1 * rest.var(axis=0, ddof=1).sum() / n)
            variances = np.linalg.eigvalsh(np.cov(rest, rowvar=False))
            free = kinds.variance.sum() ** 2 / (kinds.variance**2).sum()
            edge, both = np.sqrt(n - 1) + np.sqrt(free), 1 / np.sqrt(n - 1) + 1 / np.sqrt(free)
            row = {
                "outside": np.log(np.sqrt(square)),
                "outside_error": error / square / 2,
                "group": np.log(variances[-1] / variances[-2]) - 2.06 * both ** (1 / 3) / edge,
                "group_error": 1.1 * both ** (1 / 3) / edge,
            }
        first = 0
        for division in kinds.divisions:
            nearest = cdist(space.project(own), kinds.centroids[first : first + division]).argmin(axis=1)
            for k in range(division):
                of, others = rest[nearest == k], rest[nearest != k]
                enough = min(len(of), len(others)) >= 8
                shift, error = length_by_hand([of, others]) if enough else (np.nan, np.nan)
                odds = np.array([len(of) + 0.5, len(others) + 0.5])
                row |= {f"shift_{first + k}": shift, f"shift_{first + k}_error": error}
                row |= {f"share_{first + k}": np.log(odds[0] / odds[1])}
                row |= {f"share_{first + k}_error": np.sqrt((1 / odds).sum())}
            first += division
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def length_by_hand(parts):
    """Squared length of the mean of cells, or of the difference of two means, without noise; and its standard error."""
    vector = parts[0].mean(axis=0) - (parts[1].mean(axis=0) if len(parts) > 1 else 0)
    covariance = sum(np.cov(part, rowvar=False) / len(part) for part in parts)
    whole, noise = vector @ vector, np.trace(covariance)
    share = max(whole - noise, 0) / whole
    return whole - noise, np.sqrt(2 * (1 + share) * vector @ covariance @ vector)


def assert_same_columns(found, expected):
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scaled", [False, True])
def test_against_dense_algebra(genes, codes, kind, scaled):
    space = space_of(genes, unit=genes.std(axis=0) if scaled else None)
    kinds = CellKinds.fit(space, kind(genes))
    assert kinds.divisions.tolist() == [2, 4]  # 240 cells are too few for eight
    moved = genes + (codes[:, None] == 1) * (np.arange(N_GENES) == 3)
    found = novelty(space, kinds, kind(moved), codes, 2)
    assert_same_columns(found, by_hand(space, kinds, moved, codes))
    assert found["outside"][1] > found["outside"][0]


def test_variance_outside(genes):
    space = space_of(genes)
    np.testing.assert_allclose(CellKinds.fit(space, genes).variance, outside_of(space, genes).var(axis=0), atol=1e-12)


def test_small_samples(genes):
    space = space_of(genes)
    kinds = CellKinds.fit(space, genes)
    for n in (2, 7):
        few = novelty(space, kinds, genes[:n], np.zeros(n, dtype=int), 1)
        assert all(np.isnan(few[name]).all() for name in ("outside", "group", "shift_0", "shift_0_error"))
        assert np.isfinite([few["share_0"][0], few["share_0_error"][0]]).all()
    codes = np.repeat(np.arange(20), 12)
    assert_same_columns(novelty(space, kinds, genes, codes, 20), by_hand(space, kinds, genes, codes))


def test_kinds_of_many_cells():
    """Kinds are found from cells of the whole cohort, not from the first of them."""
    rng = np.random.default_rng(0)
    space = GeneSpace(np.eye(3)[:, :2], np.ones(3), np.zeros(2), np.zeros(3))
    cells = rng.normal(size=(50_000, 3))
    cells[40_000:, 0] += 50
    centroids = CellKinds.fit(space, cells).centroids
    assert centroids[:2, 0].max() > 40 > 10 > centroids[:2, 0].min()


def test_too_few_cells_for_kinds(genes):
    space = space_of(genes)
    kinds = CellKinds.fit(space, genes[:99])
    assert len(kinds.divisions) == 0 and kinds.centroids.shape == (0, 6)
    assert set(novelty(space, kinds, genes, np.repeat([0, 1], 120), 2)) == {
        "outside", "outside_error", "group", "group_error",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("cells_of", ["alike", "of the space", "zero"])
def test_nothing_differs_outside(kind, cells_of):
    """Where cells do not differ outside of the components there is no group to speak of."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(30, 4)))[0]
    space = GeneSpace(loadings, np.ones(30), np.zeros(4), np.zeros(30))
    many = rng.normal(size=(120, 4)) @ loadings.T
    cells = {"alike": np.tile(rng.normal(size=30), (20, 1)), "of the space": many, "zero": np.zeros((20, 30))}[cells_of]
    found = novelty(space, CellKinds.fit(space, many), kind(cells), np.zeros(len(cells), dtype=int), 1)
    assert np.isnan(found["group"]).all()
    assert np.isfinite(found["outside"]).all() and (found["outside"] > np.log(1)).all() == (cells_of == "alike")


def test_kinds_follow_their_cells(genes):
    """In other features the same cells are of the same kinds; a kind without cells is never the nearest."""
    space = space_of(genes)
    kinds = CellKinds.fit(space, genes)
    features = space.project(genes)
    labels = kinds.kinds_of(features)
    turned = 3 * features @ np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0] + 1
    moved = kinds.moved(turned, labels)
    for i, first in enumerate((0, 2)):
        division = slice(first, first + kinds.divisions[i])
        np.testing.assert_array_equal(labels[:, i] - first, cdist(features, kinds.centroids[division]).argmin(axis=1))
        for k in range(first, division.stop):
            np.testing.assert_allclose(moved.centroids[k], turned[labels[:, i] == k].mean(axis=0))
    one = labels[:, 0] == 0
    without = kinds.moved(features[one], labels[one])
    assert np.isinf(without.centroids[1]).all() and (without.kinds_of(features)[:, 0] == 0).all()


def test_unknown_genes_do_not_make_a_sample_unusual():
    """Cells that lie in the space do so also where a third of their genes is unknown; a shift out of it is still seen."""
    rng = np.random.default_rng(3)
    loadings = np.linalg.qr(rng.normal(size=(60, 4)))[0]
    space = GeneSpace(loadings, np.ones(60), np.zeros(4), np.zeros(60))
    cells = 5 * rng.normal(size=(100, 4)) @ loadings.T + 3 * loadings[:, 0] + 1e-3 * rng.normal(size=(100, 60))
    kinds, codes = CellKinds.fit(space, cells), np.zeros(100, dtype=int)
    present = np.arange(60) % 3 > 0
    part = space.restricted(present)
    found = novelty(part, kinds, cells[:, present], codes, 1, present)
    assert found["outside"] < np.log(0.01)
    moved = cells + rng.normal(size=60)
    assert novelty(part, kinds, moved[:, present], codes, 1, present)["outside"] > np.log(4)


def test_lengths_are_those_of_all_genes():
    """What unknown genes would add to lengths is in proportion to their variance."""
    rng = np.random.default_rng(5)
    n_genes, n = 400, 300
    space = GeneSpace(np.eye(n_genes)[:, :3], np.ones(n_genes), np.zeros(3), np.zeros(n_genes))
    spread = rng.uniform(0.2, 2, size=n_genes)
    cells = rng.normal(size=(n, n_genes)) * spread + 0.5 * rng.normal(size=n_genes) * spread
    cells[:, 0] += np.where(np.arange(n) < n / 2, -9, 9)
    cells[n // 2 :] += rng.normal(size=n_genes) * spread * (np.arange(n_genes) > 2)
    kinds, codes = CellKinds.fit(space, cells), np.zeros(n, dtype=int)
    present = rng.random(n_genes) < 0.5
    present[:3] = True
    whole = novelty(space, kinds, cells, codes, 1)
    half = novelty(space.restricted(present), kinds, cells[:, present], codes, 1, present)
    np.testing.assert_allclose(np.exp(half["outside"]), np.exp(whole["outside"]), rtol=0.1)
    np.testing.assert_allclose(half["shift_0"], whole["shift_0"], rtol=0.2)


@pytest.mark.parametrize("correlated", [False, True])
def test_sampling_noise_is_taken_off(correlated):
    """Of samples of any size, lengths and shifts come out as they are, and errors of these as they spread."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(200, 4)))[0]
    space = GeneSpace(loadings, np.ones(200), np.zeros(4), np.zeros(200))
    outside = np.eye(200) - loadings @ loadings.T
    of_all, of_kind = rng.normal(size=(2, 200)) @ outside
    of_all, of_kind = (3 * x / np.linalg.norm(x) for x in (of_all, of_kind))
    factors = 0.15 * rng.normal(size=(3, 200)) @ outside * correlated
    kinds = CellKinds(np.array([[10.0, 0, 0, 0], [-10.0, 0, 0, 0]]), np.array([2]), np.ones(200))
    for n in (40, 400):
        codes = np.repeat(np.arange(60), n)
        cells = rng.normal(size=(60 * n, 200)) + rng.normal(size=(60 * n, 3)) @ factors
        is_first = kinds.kinds_of(space.project(cells))[:, 0] == 0
        for shift in (0.0, 1.0, 3.0):
            moved = novelty(space, kinds, cells + of_all + shift * is_first[:, None] * of_kind, codes, 60)
            found, error = moved["shift_0"], moved["shift_0_error"]
            assert abs(found.mean() - 9 * shift**2) < 3 * found.std() / np.sqrt(60)
            assert np.sqrt((error**2).mean()) == pytest.approx(found.std(), rel=0.35)
        lengths = novelty(space, kinds, cells + of_all, codes, 60)
        assert np.exp(2 * lengths["outside"]).mean() == pytest.approx(9, rel=0.15)
        assert np.sqrt((lengths["outside_error"] ** 2).mean()) == pytest.approx(lengths["outside"].std(), rel=0.35)


def test_noise_alone_has_no_groups():
    """The ratio of variances is on average that of noise, with its error, whatever the number of cells."""
    rng = np.random.default_rng(1)
    space = GeneSpace(np.eye(300)[:, :3], np.ones(300), np.zeros(3), np.zeros(300))
    kinds = CellKinds(np.empty((0, 3)), np.empty(0, dtype=int), np.ones(300))
    for n in (15, 60, 300):
        found = novelty(space, kinds, rng.normal(size=(80 * n, 300)), np.repeat(np.arange(80), n), 80)
        standard = found["group"] / found["group_error"]
        assert abs(standard.mean()) < 0.5 and 0.6 < standard.std() < 1.6


def test_a_group_of_cells_apart():
    rng = np.random.default_rng(1)
    space = GeneSpace(np.eye(300)[:, :3], np.ones(300), np.zeros(3), np.zeros(300))
    kinds = CellKinds(np.empty((0, 3)), np.empty(0, dtype=int), np.ones(300))
    cells, codes = rng.normal(size=(400, 300)), np.repeat(np.arange(4), 100)
    cells[codes == 2] += 12 * (np.arange(100) < 20)[:, None] * rng.normal(size=300) / np.sqrt(300)
    found = novelty(space, kinds, cells, codes, 4)["group"]
    assert (np.abs(found[[0, 1, 3]]) < 0.1).all() and found[2] > 0.5


def drawn(rng, n, odd=0):
    """Columns as of ordinary samples, of which two kinds have shifts with errors of any size; the first `odd` are unusual."""
    columns = {"distance": np.exp(rng.normal(size=n))}
    for name in ("outside", "group", "shift_0", "shift_1", "share_0", "share_1"):
        errors = rng.uniform(0.2, 5, size=n) if name.startswith("shift") else np.full(n, 0.1)
        columns |= {name: rng.normal(size=n) * np.sqrt(1 + errors**2), f"{name}_error": errors}
    columns["shift_0"][:odd] += 40
    return columns


def test_ordinary_samples_are_as_unusual_as_others():
    rng = np.random.default_rng(0)
    p, families = zip(*(unusual(drawn(rng, 24), drawn(rng, 5)) for _ in range(60)), strict=True)
    p = np.concatenate(p)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.035) and np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.1)
    assert np.mean(p <= 0.01) < 0.035
    for family in ("distance", "outside", "group", "kinds", "composition"):
        values = np.concatenate([found[family] for found in families])
        assert np.mean(values <= 0.05) == pytest.approx(0.05, abs=0.035), family
    assert kstest(np.concatenate([found["distance"] for found in families]), "uniform").pvalue > 0.01


def test_unusual_in_one_thing_alone():
    rng = np.random.default_rng(1)
    p, families = unusual(drawn(rng, 24), drawn(rng, 6, odd=3))
    assert (p[:3] < 0.01).all() and (families["kinds"][:3] < 0.01).all()
    assert (p[3:] > 0.05).all() and families["outside"].min() > 0.01


def test_odd_samples_in_the_reference_hide_no_more_than_they_must():
    """With one of 24 as odd as the new ones the probability is about that of being the second of 25; with a third, it is large."""
    rng = np.random.default_rng(2)
    few, _ = unusual(drawn(rng, 24, odd=1), drawn(rng, 4, odd=4))
    many, _ = unusual(drawn(rng, 24, odd=8), drawn(rng, 4, odd=4))
    assert (few > 0.02).all() and (few < 0.2).all() and (many > 0.05).all()


def test_composition_has_two_sides():
    rng = np.random.default_rng(3)
    known, new = drawn(rng, 24), drawn(rng, 2)
    new["share_0"][:] = [-8, 8]
    assert (unusual(known, new)[1]["composition"] < 0.001).all()


def test_what_is_missing_is_not_unusual():
    rng = np.random.default_rng(4)
    known, new = drawn(rng, 12), drawn(rng, 3)
    known["shift_1"][2:] = np.nan
    for name in ("shift_0", "shift_1", "group"):
        new[name][:] = np.nan
    p, families = unusual(known, new)
    assert np.isfinite(p).all() and (families["kinds"] > 0.2).all() and (families["group"] == 1).all()


def test_distance_alone_has_its_own_probability():
    rng = np.random.default_rng(5)
    known, new = ({"distance": drawn(rng, n)["distance"]} for n in (20, 6))
    p, families = unusual(known, new)
    np.testing.assert_array_equal(p, families["distance"])
