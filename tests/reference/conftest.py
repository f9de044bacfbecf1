"""Columns of `novelty` written out with dense linear algebra, and noise from the theory of random matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigvalsh_tridiagonal
from scipy.spatial.distance import cdist


@pytest.fixture(scope="session")
def edge_gap():
    """Mean and spread of the difference of the two largest eigenvalues at the edge of the Gaussian orthogonal ensemble.

    They are simulated by the tridiagonal model of Dumitriu and Edelman, of which the first 10 n^(1/3) rows suffice. The
    means of both eigenvalues are -1.2065 and -3.2624 (Bornemann, Markov Process. Relat. Fields 16, 2010).
    """
    rng = np.random.default_rng(0)
    n, rows = 5000, 170
    largest = np.array(
        [
            eigvalsh_tridiagonal(
                rng.normal(scale=np.sqrt(2), size=rows),
                np.sqrt(rng.chisquare(n - 1 - np.arange(rows - 1))),
                select="i",
                select_range=(rows - 2, rows - 1),
            )
            for _ in range(4000)
        ]
    )
    largest = n ** (1 / 6) * (largest - 2 * np.sqrt(n))
    np.testing.assert_allclose(largest.mean(axis=0), [-3.2624, -1.2065], atol=0.07)
    gap = largest[:, 1] - largest[:, 0]
    return gap.mean(), gap.std()


@pytest.fixture(scope="session")
def novelty_by_hand(edge_gap):
    """Compute the columns of `novelty`, and `noise`, the log length of a mean residual that sampling alone gives."""

    def columns(space, clusters, x, codes):
        rows = []
        for i in range(codes.max() + 1):
            own = x[codes == i]
            rest, n = residuals(space, own), int((codes == i).sum())
            row = dict.fromkeys(["outside", "outside_error", "new_cluster", "new_cluster_error", "noise"], np.nan)
            if n >= 8:
                square, error = squared_length([rest])
                variances = np.linalg.eigvalsh(np.cov(rest, rowvar=False))
                free = clusters.variance.sum() ** 2 / (clusters.variance**2).sum()
                edge = np.sqrt(n - 1) + np.sqrt(free)
                unit = (1 / np.sqrt(n - 1) + 1 / np.sqrt(free)) ** (
                    1 / 3
                ) / edge  # Johnstone's, of the largest variance
                row = {
                    "outside": np.log(square) / 2 if square > 0 else -np.inf,
                    "outside_error": error / square / 2,
                    "new_cluster": np.log(variances[-1] / variances[-2]) - edge_gap[0] * unit,
                    "new_cluster_error": edge_gap[1] * unit,
                    "noise": np.log(rest.var(axis=0, ddof=1).sum() / n) / 2,
                }
            first = 0
            features = (own - space.mean) / space.unit @ space.loadings
            for k_clusters in clusters.n_clusters:
                nearest = cdist(features, clusters.centroids[first : first + k_clusters]).argmin(axis=1)
                for k in range(k_clusters):
                    of, others = rest[nearest == k], rest[nearest != k]
                    enough = min(len(of), len(others)) >= 8
                    shift, error = squared_length([of, others]) if enough else (np.nan, np.nan)
                    odds = np.array([len(of) + 0.5, len(others) + 0.5])
                    row |= {f"shift_{first + k}": shift, f"shift_{first + k}_error": error}
                    row |= {f"share_{first + k}": np.log(odds[0] / odds[1])}
                    row |= {f"share_{first + k}_error": np.sqrt((1 / odds).sum())}
                first += k_clusters
            rows.append(row)
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    return columns


def residuals(space, x):
    """Cells outside of the components, dense."""
    axes = np.linalg.qr(space.loadings)[0]
    rest = (x - space.mean) / space.unit
    return rest - rest @ axes @ axes.T


def squared_length(parts):
    """Squared length of the mean of cells, or of the difference of two means, without noise; and its standard error."""
    vector = parts[0].mean(axis=0) - (parts[1].mean(axis=0) if len(parts) > 1 else 0)
    covariance = sum(np.cov(part, rowvar=False) / len(part) for part in parts)
    whole, noise = vector @ vector, np.trace(covariance)
    share = max(whole - noise, 0) / whole
    return whole - noise, np.sqrt(2 * (1 + share) * vector @ covariance @ vector)


@pytest.fixture(scope="session")
def assert_same_novelty():
    """Assert that columns are those written out by hand.

    A length without a signal has no logarithm: it must then be finite and below the noise. What noise gives for the two
    largest variances is known up to the error of the simulation.
    """

    def compare(found, by_hand):
        noise = by_hand["noise"]
        assert set(found) == set(by_hand) - {"noise"}
        small = by_hand["outside"] < noise - 0.5
        assert np.isfinite(found["outside"][small]).all() and (found["outside"][small] < noise[small]).all()
        for name, values in found.items():
            expected = by_hand[name]
            tolerance = {"rtol": 1e-5, "atol": 1e-8}
            if name.startswith("outside"):
                values, expected = values[~small], expected[~small]
            elif name == "new_cluster":
                tolerance = {"atol": 0.05 * np.nanmax(found["new_cluster_error"], initial=0.0)}
            elif name == "new_cluster_error":
                tolerance = {"rtol": 0.06}
            np.testing.assert_allclose(values, expected, err_msg=name, **tolerance)

    return compare
