"""The labelled samples that are evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core import Measures


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples.

    Parameters
    ----------
    measures
        Cells of each sample, raw features.
    names
        Name of each sample, (n_samples,).
    labels
        Class of each sample, (n_samples,).
    scale
        How features are scaled where a method scales them: "feature" or "global", as in `GroundMetricLearner`.
    composition
        Fraction of each cell type in each sample, (n_samples, n_cell_types), or None.
    groups
        Samples that are held out together, such as those of one donor, (n_samples,); None for each on its own.
    """

    measures: Measures
    names: NDArray[np.object_]
    labels: NDArray[np.object_]
    scale: Literal["feature", "global"] = "feature"
    composition: NDArray[np.float64] | None = None
    groups: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> NDArray[np.object_]:
        """Classes in order, (n_classes,)."""
        return np.unique(self.labels)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Class of each sample, 0..n_classes-1, (n_samples,)."""
        return np.unique(self.labels, return_inverse=True)[1]

    def take(self, indices: NDArray[np.integer]) -> Samples:
        """Return the samples at these positions."""
        return Samples(
            self.measures.take(indices),
            self.names[indices],
            self.labels[indices],
            self.scale,
            None if self.composition is None else self.composition[indices],
            None if self.groups is None else self.groups[indices],
        )
