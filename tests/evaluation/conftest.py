from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scggml.core.measures._measures import Measures
from scggml.evaluation._samples import CellTypes, Samples


@pytest.fixture
def cohort():
    """Samples whose class moves the first feature; the second feature is noise with a large variance."""

    def make(n_per_class=5, n_classes=2, n_cells=12, d=3, effect=2.0, seed=0, with_types=False):
        rng = np.random.default_rng(seed)
        labels = np.repeat([f"class {c}" for c in range(n_classes)], n_per_class).astype(object)
        arrays = []
        for i in range(len(labels)):
            x = rng.normal(size=(n_cells + i % 3, d))
            x[:, 0] += effect * (i // n_per_class)
            x[:, 1] = 4 * x[:, 1] + 6 * rng.normal()
            arrays.append(x)
        names = np.array([f"s{i:02d}" for i in range(len(labels))], dtype=object)
        samples = Samples(Measures.from_arrays(arrays), names, labels)
        if with_types:
            codes = rng.integers(3, size=len(samples.measures.weights))
            samples = replace(samples, cell_types=CellTypes(["A", "B", "C"], codes))
        return samples

    return make
