"""Moments of transport for each pair of samples. They give the closed form for any labels, without any one sample."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse.linalg

from scggml.core.measures._progress import progress_bar
from scggml.core.measures._threads import single_threaded_blas
from scggml.core.transport._exact import square_pairs

from ._discriminant import WIDE, metric_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._plans import Plans

    from ._targets import Targets

_MAX_BYTES = 1_000_000_000
_MAX_DIRECTIONS = 100  # up to which the learned metric keeps all, too


@dataclass(frozen=True, eq=False)
class PairMoments:
    """Second moments of transported differences between any two samples.

    Plans under a metric without labels do not depend on the labels. Weighted sums of these moments therefore give the
    closed form for any labels, and without any samples.

    Parameters
    ----------
    packed
        Upper triangles of the moments as from `pack`, (n_samples, n_samples, d (d + 1) / 2).
    n_features
        Number of features or directions, d.
    """

    packed: NDArray[np.float64]
    n_features: int

    @classmethod
    def from_plans(cls, measures: Measures, plans: Plans, pairs: NDArray[np.int64]) -> PairMoments:
        """Return the moments of the plans of all pairs of samples.

        More than 100 features are first projected to the leading directions of transport between all samples, without
        labels. So are fewer features if the moments would need more than a gigabyte.

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
        packed[pairs[:, 0], pairs[:, 1]] = packed[pairs[:, 1], pairs[:, 0]] = pair_moments(points, plans)
        return cls(packed, d)

    def held_out_distances(
        self, targets: Targets, *, ridge: float, power: float, whitening: float
    ) -> NDArray[np.float64]:
        """Return distances from each sample under the metric learned without that sample, (n_samples, n_samples).

        Row `i` holds root mean squared transport from sample `i` along the plans of the moments. Its metric is the
        closed form of all samples but `i`.

        Parameters
        ----------
        targets
            Labels of the samples. The others must suffice to learn a metric whichever sample is left out; of classes,
            at least three samples each.
        ridge, power, whitening
            As in `transport_discriminant`.
        """
        within, between = self.moments_without_each(targets)
        metrics = metric_matrix(
            unpack(within, self.n_features),
            unpack(between, self.n_features),
            ridge=ridge,
            power=power,
            whitening=whitening,
            contrast=targets.contrast,
        )
        squared = (self.packed @ pack(metrics)[:, :, None])[:, :, 0]
        return np.sqrt(np.maximum(squared, 0.0))

    def moments_without_each(self, targets: Targets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return packed moments within and between labels without each sample, (n_samples, q) both."""
        n = len(targets)
        if targets.kind != "class":
            within, between = _weights_without_each(targets)
            return within @ self._of_pairs, between @ self._of_pairs
        codes, everyone = targets.codes, np.arange(n)
        is_class = (codes[:, None] == np.arange(int(codes.max()) + 1)).astype(np.float64)
        others = 1.0 - np.eye(n)
        sums = self._class_sums(is_class, others)
        comparable = others * targets.comparable(everyone[:, None], everyone[None])
        across = sums if targets.strata is None else self._class_sums(is_class, comparable)
        return _means_without_each(is_class, *sums, same=True), _means_without_each(is_class, *across, same=False)

    @cached_property
    def _of_pairs(self) -> NDArray[np.float64]:
        """Moments of all pairs i < j, (n_samples (n_samples - 1) / 2, q)."""
        return self.packed[np.triu_indices(len(self.packed), k=1)]

    def _class_sums(
        self, is_class: NDArray[np.float64], compared: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sums of moments of each sample with each class, (n, n_classes, q), and their numbers."""
        # one product for each sample: einsum would copy all moments
        return (is_class.T * compared[:, None, :]) @ self.packed, compared @ is_class


def _means_without_each(
    is_class: NDArray[np.float64], moments: NDArray[np.float64], numbers: NDArray[np.float64], *, same: bool
) -> NDArray[np.float64]:
    """Return the mean over classes, or pairs of classes, of mean moments without each sample, (n_samples, q)."""
    n, n_classes = is_class.shape
    # over ordered pairs: sums of moments and numbers of any two classes
    total_moments = (is_class.T @ moments.reshape(n, -1)).reshape(n_classes, n_classes, -1)
    total_numbers = is_class.T @ numbers
    result, n_known = np.zeros((n, moments.shape[2])), np.zeros(n)
    for b in range(n_classes):
        for c in [b] if same else range(b + 1, n_classes):
            of_b, of_c = is_class[:, b], is_class[:, c]
            left = total_numbers[b, c] - of_b * numbers[:, c] - of_c * numbers[:, b]
            mean = total_moments[b, c] - of_b[:, None] * moments[:, c] - of_c[:, None] * moments[:, b]
            known = left > 0.5
            result += np.where(known[:, None], mean, 0.0) / np.where(known, left, 1.0)[:, None]
            n_known += known
    return result / np.maximum(n_known, 1.0)[:, None]


def moments_of_plans(points: NDArray[np.float64], plans: Plans) -> Iterator[NDArray[np.float64]]:
    """Yield the packed second moment of transported differences of each plan, (d (d + 1) / 2,)."""
    for start, stop in itertools.pairwise(plans.offsets):
        difference = points[plans.rows[start:stop]] - points[plans.cols[start:stop]]
        yield pack((difference * plans.mass[start:stop, None]).T @ difference)


def pair_moments(points: NDArray[np.float64], plans: Plans) -> NDArray[np.float64]:
    """Return the packed second moments of transported differences of all plans, (n_pairs, d (d + 1) / 2)."""
    return stacked_moments(moments_of_plans(points, plans), len(plans.offsets) - 1, points.shape[1])


def stacked_moments(found: Iterable[NDArray[np.float64]], n_pairs: int, d: int) -> NDArray[np.float64]:
    """Return the packed moments that are computed pair by pair, (n_pairs, d (d + 1) / 2)."""
    packed = np.empty((n_pairs, d * (d + 1) // 2))
    with progress_bar(n_pairs, "moments", "pair") as bar:
        for p, moment in enumerate(found):
            packed[p] = moment
            bar.update()
    return packed


def _weights_without_each(targets: Targets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of all pairs i < j without each sample, (n_samples, n_pairs), as in `Targets.pair_weights`."""
    n = len(targets)
    pairs, of_others = square_pairs(n), square_pairs(n - 1)  # the latter in the order of the pairs that are left
    within, between = np.zeros((2, n, len(pairs)))
    for i in range(n):
        left = (pairs != i).all(axis=1)
        within[i, left], between[i, left] = without(targets, i).pair_weights(of_others)
    return within, between


def without(targets: Targets, i: int) -> Targets:
    """Return the targets of all samples but one."""
    return targets.take(np.delete(np.arange(len(targets)), i))


def pack(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return symmetric matrices (..., d, d) as vectors (..., d (d + 1) / 2) with the same inner products.

    These are the upper triangles. Values off the diagonal are multiplied by the square root of two.
    """
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


def n_directions(n: int, n_features: int) -> int:
    """Return in how many directions the moments between n samples are taken."""
    return min(int((np.sqrt(1 + 8 * _MAX_BYTES / (8 * n * n)) - 1) / 2), _MAX_DIRECTIONS, n_features)


def _leading_directions(measures: Measures, plans: Plans) -> NDArray[np.float64]:
    points = measures.points
    room = n_directions(len(measures), points.shape[1])
    if points.shape[1] <= room:
        dense = points if isinstance(points, np.ndarray) else points.toarray()
        return dense.astype(np.float64, copy=False)
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
