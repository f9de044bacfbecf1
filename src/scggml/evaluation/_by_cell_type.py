"""Mean features of each cell type, and proportions of cell types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from scggml import _check as check
from scggml.core.measures._moments import feature_scale

from ._held import Held
from ._profiles import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._samples import Samples
    from ._splits import Split


@dataclass(frozen=True, eq=False)
class TypeProfile:
    """Mean features of each cell type, (n_samples, n_types, n_features); NaN where a sample lacks a type.

    The distance of two samples is the mean over the cell types that both have of the Euclidean distance between the
    means, as that of cell-type pseudobulks in patpy. A type that no training sample has cannot contribute, then. The
    linear model takes the types that all samples have.
    """

    means: NDArray[np.float64]

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        scale, _ = feature_scale(samples.take(split.train).measures, samples.scale)
        train, test = (np.moveaxis(self.means[part] / scale, 1, 0) for part in (split.train, split.test))
        to_train = np.nanmean([cdist(a, b) for a, b in zip(test, train, strict=True)], axis=0)
        within = np.nanmean([cdist(a, a) for a in test], axis=0)
        complete = ~np.isnan(self.means).any(axis=(0, 2))
        if not complete.any():
            return Held(to_train, within)
        linear = Profile(self.means[:, complete].reshape(len(self.means), -1)).held_out(samples, split, seed, n_jobs)
        return Held(to_train, within, linear.class_scores, linear.values)


def type_profile(samples: Samples) -> TypeProfile:
    """Return the mean features of each cell type, checked: any two samples must share one."""
    weights, sums = _mass(samples), _by_type(samples) @ samples.measures.points
    sums = np.asarray(sums.toarray() if sp.issparse(sums) else sums).reshape(*weights.shape, -1)
    present = weights > 0
    shared = present.astype(np.int64) @ present.T
    if not shared.all():
        pair = samples.names[list(np.argwhere(shared == 0)[0])]
        msg = (
            f"methods holds 'pseudobulk_by_type', but {check.listed(pair)} share no cell type, so that they cannot be "
            "compared. Pass coarser types as cell_type_key, drop such samples, or leave it out."
        )
        raise ValueError(msg)
    means = np.full(sums.shape, np.nan)
    means[present] = sums[present] / weights[present, None]
    return TypeProfile(means)


def composition(samples: Samples) -> Profile:
    """Return the proportions of the cell types, checked: there must be two types at least."""
    weights = _mass(samples)
    if weights.shape[1] < 2:
        msg = (
            "methods holds 'composition', but there is only one cell type, whose proportion is one in every sample. "
            "Pass another cell_type_key, or leave it out."
        )
        raise ValueError(msg)
    return Profile(weights)


def _by_type(samples: Samples) -> sp.csr_array:
    """Return the mass of each cell (columns) in its sample and type (rows, types within samples)."""
    measures, types = samples.measures, samples.known_cell_types
    n_points, n_types = len(measures.weights), len(types.names)
    rows = np.repeat(np.arange(len(measures)), measures.sizes) * n_types + types.codes
    return sp.csr_array((measures.weights, (rows, np.arange(n_points))), shape=(len(measures) * n_types, n_points))


def _mass(samples: Samples) -> NDArray[np.float64]:
    """Return the share of each cell type in each sample, (n_samples, n_types)."""
    return np.asarray(_by_type(samples).sum(axis=1)).reshape(len(samples), -1)
