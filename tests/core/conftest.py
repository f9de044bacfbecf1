"""Independent references: transport by POT on explicit points, and the ragged clouds it is compared on."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures


def _dense(points):
    return np.asarray(points.toarray() if sp.issparse(points) else points, dtype=np.float64)


@pytest.fixture(scope="session")
def emd2():
    """Wasserstein-1 distance of two clouds of explicit points, by `ot.emd2`."""

    def distance(x, y, a=None, b=None):
        x, y = _dense(x), _dense(y)
        cost = np.sqrt(((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2))
        a = np.full(len(x), 1 / len(x)) if a is None else np.asarray(a)
        b = np.full(len(y), 1 / len(y)) if b is None else np.asarray(b)
        return float(ot.emd2(a, b, cost))

    return distance


@pytest.fixture(scope="session")
def emd2_matrix(emd2):
    """All distances within a list of clouds, or between two lists."""

    def matrix(clouds, others=None, weights=None):
        others = clouds if others is None else others
        a = [None] * len(clouds) if weights is None else weights
        b = [None] * len(others) if weights is None else weights
        return np.array([[emd2(x, y, a[i], b[j]) for j, y in enumerate(others)] for i, x in enumerate(clouds)])

    return matrix


@pytest.fixture(scope="session")
def labelled():
    """Make clouds of 3-8 cells, two classes (or more) apart along the first feature, in mixed order."""

    def make(n_per_class=4, n_classes=2, d=3, shift=3.0, seed=0, sizes=(3, 9)):
        rng = np.random.default_rng(seed)
        codes = np.tile(np.arange(n_classes), n_per_class)
        clouds = []
        for code in codes:
            cloud = rng.normal(size=(rng.integers(*sizes), d)) + rng.normal(scale=0.5, size=d)
            cloud[:, 0] += shift * code
            clouds.append(cloud)
        return Measures.from_arrays(clouds), codes

    return make
