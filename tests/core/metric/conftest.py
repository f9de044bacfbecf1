"""The training that tests of refinement and of the closed form share."""

from __future__ import annotations

import numpy as np
import pytest

from scggml.core.metric._options import Refinement, TrainingOptions
from scggml.core.metric._targets import Targets
from scggml.core.metric._training import train
from scggml.core.transport._distances import pairwise_distances


@pytest.fixture(scope="session")
def fit():
    """Train with `refine`, the settings of a refinement or None."""

    def trained(cohort, refine=None, seed=0, n_jobs=None, **options):
        measures, codes = cohort
        options = TrainingOptions(refine=None if refine is None else Refinement(**refine), **options)
        return train(measures, Targets.of_classes(codes), options, rng=np.random.default_rng(seed), n_jobs=n_jobs)

    return trained


@pytest.fixture(scope="session")
def distances_under():
    """Distances between measures under the metric of a result."""

    def distances(result, measures):
        return pairwise_distances(result.metric.project_measures(measures))[0]

    return distances


def _upper(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


@pytest.fixture(scope="session")
def upper():
    """The distances i < j of a matrix."""
    return _upper
