from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures import _means as module
from scggml.core.measures._means import group_means, share_means
from scggml.core.measures._on_disk import StoredPoints
from scggml.explanation._gene_statistics import separation_shares


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_means_of_groups_in_blocks(kind, monkeypatch):
    rng = np.random.default_rng(0)
    points, codes = rng.poisson(1.0, size=(40, 5)).astype(np.float32), rng.permutation(np.arange(40) % 3)
    expected = [points[codes == c].mean(axis=0) for c in range(3)]
    np.testing.assert_allclose(group_means(kind(points), codes, 3), expected, rtol=1e-6)
    rows = module.row_blocks
    monkeypatch.setattr(module, "row_blocks", lambda x: rows(x, budget=20))
    np.testing.assert_allclose(group_means(kind(points), codes, 3), expected, rtol=1e-6)


def test_shares_of_the_separation_sum_to_one_and_do_not_turn_with_the_components():
    rng = np.random.default_rng(1)
    means, loadings = rng.normal(size=(3, 6)), rng.normal(size=(6, 2))
    shares = separation_shares(means, loadings)
    assert shares.sum() == pytest.approx(1)
    rotation = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    np.testing.assert_allclose(separation_shares(means, loadings @ rotation), shares)
    # the share of a feature is what half of the derivative in its scale says (Euler)
    step = 1e-6

    def total(scale):
        return sum(np.sum(((means[a] - means[b]) * scale @ loadings) ** 2) for a in range(3) for b in range(a))

    for g in range(6):
        bumped = np.ones(6)
        bumped[g] += step
        derivative = (total(bumped) - total(np.ones(6))) / step
        assert shares[g] == pytest.approx(derivative / 2 / total(np.ones(6)), abs=1e-4)
    pairs = [means[a] - means[b] for a in range(3) for b in range(a)]
    expected = sum(delta * (loadings @ (delta @ loadings)) for delta in pairs)
    np.testing.assert_allclose(shares, expected / expected.sum())
    assert not separation_shares(np.zeros((2, 6)), loadings).any()


@pytest.mark.parametrize("kind", ["dense", "csr", "stored"])
def test_means_of_what_a_point_stands_for(kind, monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.poisson(0.4, size=(30, 7)).astype(np.float32)
    shares = sp.csr_array(rng.random((4, 30)) * (rng.random((4, 30)) < 0.3))
    of_kind = {
        "dense": values,
        "csr": sp.csr_array(values),
        "stored": StoredPoints(lambda start, stop: values[start:stop], values.shape, np.arange(0, 31, 5), 7.0),
    }[kind]
    monkeypatch.setattr(module, "row_blocks", lambda points: [slice(0, 11), slice(11, 30)])
    np.testing.assert_allclose(share_means(shares, of_kind), shares.toarray() @ values, rtol=1e-6)
