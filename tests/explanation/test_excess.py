"""Means between and within classes and their jackknife, against loops over pairs of samples."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from scggml.explanation._excess import class_means, jackknife_error


def matrix(n, seed=0):
    x = np.random.default_rng(seed).random((n, n))
    return np.triu(x, 1) + np.triu(x, 1).T


def sums(d, a, b):
    between = np.concatenate([d[np.ix_(a, b)].sum(axis=1), d[np.ix_(b, a)].sum(axis=1)])
    return between, d[np.ix_(a, a)].sum(axis=1), d[np.ix_(b, b)].sum(axis=1)


def means_by_loops(d, a, b):
    return [
        np.mean([d[i, j] for i, j in pairs]) if pairs else np.nan
        for pairs in (list(product(a, b)), list(combinations(a, 2)), list(combinations(b, 2)))
    ]


@pytest.mark.parametrize(("n_a", "n_b"), [(3, 5), (4, 3), (2, 4), (2, 2), (1, 3), (1, 1)])
def test_means_and_errors(n_a, n_b):
    d = matrix(n_a + n_b)
    a, b = list(range(n_a)), list(range(n_a, n_a + n_b))
    means, without = class_means(*sums(d, a, b))
    np.testing.assert_allclose([*means], means_by_loops(d, a, b), rtol=1e-12)
    excess = means.between - (means.first + means.second) / 2
    np.testing.assert_allclose(means.excess, excess, equal_nan=True)
    np.testing.assert_allclose(means.within, (means.first + means.second) / 2, equal_nan=True)
    repeats = []
    for left_out in a + b:
        kept = [i for i in a if i != left_out], [i for i in b if i != left_out]
        expected = means_by_loops(d, *kept) if all(kept) else [np.nan] * 3
        found = [part[left_out] for part in without]
        if all(kept):
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        repeats.append(expected[0] - (expected[1] + expected[2]) / 2)
    repeats = np.array(repeats)
    np.testing.assert_allclose(without.excess, repeats, rtol=1e-9, equal_nan=True)
    variance = sum(
        (len(part) - 1) ** 2 / len(part) * np.var(part, ddof=1) if len(part) > 1 else np.nan
        for part in (repeats[:n_a], repeats[n_a:])
    )
    np.testing.assert_allclose(jackknife_error(without.excess, n_a), np.sqrt(variance), rtol=1e-9, equal_nan=True)
    assert np.isnan(variance) == (min(n_a, n_b) < 3)


def test_error_of_a_mean_is_the_usual_one():
    """The jackknife of a difference of means is the standard error of Welch."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=6), rng.normal(size=9)
    without = np.concatenate(
        [[np.delete(a, i).mean() - b.mean() for i in range(6)], [a.mean() - np.delete(b, i).mean() for i in range(9)]]
    )
    expected = np.sqrt(a.var(ddof=1) / 6 + b.var(ddof=1) / 9)
    np.testing.assert_allclose(jackknife_error(without, 6), expected, rtol=1e-12)


def test_error_is_about_right():
    """Over many simulated cohorts, the error is close to the spread of the excess."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        x = np.concatenate([rng.normal(size=8), 1.5 + rng.normal(size=8)])
        means, without = class_means(*sums(abs(x[:, None] - x), range(8), range(8, 16)))
        found.append((means.excess, jackknife_error(without.excess, 8)))
    excess, error = np.array(found).T
    assert 0.85 < np.sqrt((error**2).mean()) / excess.std() < 1.25


def test_trailing_axes():
    d = np.stack([matrix(7, seed) for seed in range(6)], axis=-1)
    a, b = range(3), range(3, 7)
    parts = [np.array(part) for part in sums(d, a, b)]
    means, without = class_means(*(part.reshape(len(part), 2, 3) for part in parts))
    single, single_without = class_means(*(part[:, 4] for part in parts))
    np.testing.assert_allclose(means.excess[1, 1], single.excess, rtol=1e-12)
    error = jackknife_error(without.excess, 3)
    assert error.shape == (2, 3)
    np.testing.assert_allclose(error[1, 1], jackknife_error(single_without.excess, 3), rtol=1e-12)
