"""Moments of transport, pair by pair: everything that the closed form learns from, for any labels and any left-out sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse.linalg

from scggml.core.measures._threads import single_threaded_blas

from ._discriminant import WIDE, metric_matrix
from ._targets import Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._plans import Plans

_MAX_BYTES = 1_000_000_000
_MAX_DIRECTIONS = 100  # the learned metric has half as many


@dataclass(frozen=True, eq=False)
class PairMoments:
    """Second moments of transported differences between each two samples.

    Plans under a metric that no label enters are the same whatever the labels, so that the closed form for other
    labels, or without some samples, needs nothing but sums of these.

    Parameters
    ----------
    packed
        Upper triangles, those off the diagonal times the square root of two, so that inner products are those of the
        matrices, (n_samples, n_samples, d (d + 1) / 2).
    n_features
        d.
    """

    packed: NDArray[np.float64]
    n_features: int

    @classmethod
    def from_plans(cls, measures: Measures, plans: Plans, pairs: NDArray[np.int64]) -> PairMoments:
        """Sum over the plans of all pairs of samples.

        More than 100 features, or so many that the moments would need more than a gigabyte, are first rotated to the
        leading directions of transport between any two samples, which labels do not enter.

        Parameters
        ----------
        measures
            Samples with scaled points.
        plans, pairs
            Transport plans of all pairs, (n_samples (n_samples - 1) / 2, 2).
        """
        points = _leading_directions(measures, plans)
        n, d = len(measures), points.shape[1]
        packed = np.zeros((n, n, d * (d + 1) // 2))
        for p, (i, j) in enumerate(pairs):
            entries = slice(plans.offsets[p], plans.offsets[p + 1])
            difference = points[plans.rows[entries]] - points[plans.cols[entries]]
            packed[i, j] = packed[j, i] = pack((difference * plans.mass[entries, None]).T @ difference)
        return cls(packed, d)

    def held_out_distances(
        self,
        codes: NDArray[np.integer],
        *,
        strata: NDArray[np.integer] | None = None,
        ridge: float,
        power: float,
        whitening: float,
    ) -> NDArray[np.float64]:
        """Return root mean squared transport under metrics that were learned without the sample of each row, (n, n).

        Row `i` holds distances from sample `i` under the closed form of all samples but `i`, along the plans that the
        moments were taken from.

        Parameters
        ----------
        codes
            Class of each sample, 0..n_classes-1; at least three samples of each class.
        strata
            Samples of different classes are compared within these only, (n_samples,), as in `Targets`.
        ridge, power, whitening
            As in `transport_discriminant`.
        """
        within, between = self._moments_without_each(codes, strata)
        metrics = metric_matrix(
            unpack(within, self.n_features),
            unpack(between, self.n_features),
            ridge=ridge,
            power=power,
            whitening=whitening,
            contrast=Targets.of_classes(codes, strata).contrast,
        )
        squared = np.einsum("ijq,iq->ij", self.packed, pack(metrics), optimize=True)
        return np.sqrt(np.maximum(squared, 0.0))

    def _moments_without_each(
        self, codes: NDArray[np.integer], strata: NDArray[np.integer] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return packed moments within and between classes without each sample in turn, (n, q) both."""
        n = len(codes)
        is_class = (codes[:, None] == np.arange(int(codes.max()) + 1)).astype(np.float64)
        others = 1.0 - np.eye(n)
        comparable = others if strata is None else others * (strata[:, None] == strata)
        return self._means_without_each(is_class, others, same=True), self._means_without_each(
            is_class, comparable, same=False
        )

    def _means_without_each(
        self, is_class: NDArray[np.float64], compared: NDArray[np.float64], *, same: bool
    ) -> NDArray[np.float64]:
        """Return the mean over classes, or over pairs of classes, of the mean over compared pairs, without each sample in turn."""
        n_classes = is_class.shape[1]
        # ordered pairs: moments and number of those of each sample with each class, and of each two classes
        moments = np.einsum("ij,ijq,jc->icq", compared, self.packed, is_class, optimize=True)
        numbers = compared @ is_class
        total_moments = np.einsum("icq,ib->bcq", moments, is_class, optimize=True)
        total_numbers = is_class.T @ numbers
        result, n_groups = np.zeros((len(is_class), self.packed.shape[2])), np.zeros(len(is_class))
        for b in range(n_classes):
            for c in [b] if same else range(b + 1, n_classes):
                of_b, of_c = is_class[:, b], is_class[:, c]
                left = total_numbers[b, c] - of_b * numbers[:, c] - of_c * numbers[:, b]
                mean = total_moments[b, c] - of_b[:, None] * moments[:, c] - of_c[:, None] * moments[:, b]
                known = left > 0.5
                result += np.where(known[:, None], mean, 0.0) / np.where(known, left, 1.0)[:, None]
                n_groups += known
        return result / np.maximum(n_groups, 1.0)[:, None]


def pack(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return symmetric matrices (..., d, d) as vectors (..., d (d + 1) / 2) with the same inner products."""
    rows, cols = np.triu_indices(matrices.shape[-1])
    return matrices[..., rows, cols] * np.where(rows == cols, 1.0, np.sqrt(2))


def unpack(packed: NDArray[np.float64], d: int) -> NDArray[np.float64]:
    """Return the symmetric matrices that `pack` was given."""
    rows, cols = np.triu_indices(d)
    matrices = np.empty((*packed.shape[:-1], d, d))
    values = packed / np.where(rows == cols, 1.0, np.sqrt(2))
    matrices[..., rows, cols] = values
    matrices[..., cols, rows] = values
    return matrices


def _leading_directions(measures: Measures, plans: Plans) -> NDArray[np.float64]:
    n, points = len(measures), measures.points
    room = min(int((np.sqrt(1 + 8 * _MAX_BYTES / (8 * n * n)) - 1) / 2), _MAX_DIRECTIONS)
    if points.shape[1] <= room and isinstance(points, np.ndarray):
        return points.astype(np.float64, copy=False)
    if points.shape[1] <= room:
        return points.toarray().astype(np.float64)
    if points.shape[1] > WIDE:
        laplacian = plans.laplacian(plans.mass, len(measures.weights))
        operator = scipy.sparse.linalg.LinearOperator(
            (points.shape[1],) * 2, matvec=lambda x: points.T @ (laplacian @ (points @ x)), dtype=np.float64
        )
        start = np.ones(points.shape[1])  # the same directions each time
        return np.asarray(points @ scipy.sparse.linalg.eigsh(operator, k=max(room, 1), v0=start)[1])
    with single_threaded_blas:
        moment = plans.second_moment(points, plans.mass)
    return np.asarray(points @ np.linalg.eigh(moment)[1][:, ::-1][:, : max(room, 1)])
