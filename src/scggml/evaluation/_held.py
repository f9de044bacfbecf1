"""What a method says of the held-out samples of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._samples import Samples
    from ._splits import Split


@dataclass(frozen=True, eq=False)
class Held:
    """Results of a method for the held-out samples of one split.

    Parameters
    ----------
    to_train
        Distances to the training samples, (n_test, n_train), or None.
    within
        Distances between the held-out samples, (n_test, n_test), or None.
    class_scores
        Score of each class by a classifier of the method's own, (n_test, n_classes), or None.
    values
        Ordinal or continuous labels predicted by a regression of the method's own, (n_test,), or None.
    """

    to_train: NDArray[np.float64] | None = None
    within: NDArray[np.float64] | None = None
    class_scores: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None


class Method(Protocol):
    """A way to compare samples."""

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        """Fit to the training samples of a split, and compare the held-out samples with them."""


def from_matrix(distances: NDArray[np.float64], split: Split) -> Held:
    """Return the results of distances between all samples, (n_samples, n_samples), that have seen no label."""
    return Held(distances[np.ix_(split.test, split.train)], distances[np.ix_(split.test, split.test)])
