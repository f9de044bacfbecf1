"""How far the differences between transport directions are due to the labels, and not to chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ._discriminant import with_ridge
from ._pair_moments import pair_moments, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._plans import Plans

    from ._targets import Targets

N_RELABELINGS = 50
_SEED = 0  # the signal is a function of the data


@dataclass(frozen=True)
class LabelSignal:
    """What the given labels have beyond random ones.

    Parameters
    ----------
    strength
        From 0, as for random labels, to 1: the square root of the share of the spread of the ratio of moments that
        random relabelings do not reach.
    p_value
        The share of random relabelings, the given labels added, whose ratio is spread at least as much.
    """

    strength: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Relabelings:
    """Moments of transport along plans that do not depend on labels, for any labels of the samples.

    Parameters
    ----------
    packed
        Second moments of transported differences of each pair, as from `pack`, (n_pairs, d (d + 1) / 2).
    pairs
        Indices of the samples, (n_pairs, 2).
    n_features
        Number of features or directions, d.
    """

    packed: NDArray[np.float64]
    pairs: NDArray[np.int64]
    n_features: int

    @classmethod
    def of(cls, measures: Measures, active: NDArray[np.bool_], plans: Plans, pairs: NDArray[np.int64]) -> Relabelings:
        """Take the moments of scaled samples, in the features that vary.

        Parameters
        ----------
        measures
            Samples with scaled points.
        active
            Which features vary, (n_features,).
        plans, pairs
            Transport plans of pairs of samples under the Euclidean metric.
        """
        points = measures.points[:, np.flatnonzero(active)]
        dense = points if isinstance(points, np.ndarray) else points.toarray()
        return cls(pair_moments(dense.astype(np.float64, copy=False), plans), pairs, dense.shape[1])

    def signal(
        self, targets: Targets, *, ridge: float, sample_weights: NDArray[np.float64] | None = None
    ) -> LabelSignal:
        """Compare the labels with random exchanges of them within strata.

        The spread of the ratio of moments between and within labels is the variance of its eigenvalues, in units of
        their squared mean: zero, if transport is longer between labels by the same factor in all directions. Random
        relabelings show how much of it is noise, as in shrinkage of James and Stein :cite:p:`james1961`. The square
        root is the size of the effect of the labels relative to that of effect and noise.

        Samples exchange labels one by one. Several samples of a donor with the same label are no independent evidence,
        and make the signal too strong.

        Parameters
        ----------
        targets
            Labels of the samples.
        ridge
            As in `transport_discriminant`.
        sample_weights
            1 for each sample that takes part, else 0, (n_samples,); None takes all.
        """
        rng = np.random.default_rng(_SEED)
        weight = np.ones(len(targets)) if sample_weights is None else sample_weights
        taking_part = self._in_order(weight)
        strata = np.zeros(len(targets), dtype=np.int64) if targets.strata is None else targets.strata
        sets = [taking_part[strata[taking_part] == s] for s in dict.fromkeys(strata[taking_part])]
        weights = [targets.pair_weights(self.pairs, sample_weights)]
        for _ in range(N_RELABELINGS):
            values = targets.values.copy()
            for members in sets:
                values[members] = rng.permutation(values[members])
            weights.append(replace(targets, values=values).pair_weights(self.pairs, sample_weights))
        # a relabeling may leave no pairs with different labels within strata
        within, between = (np.array(side) for side in zip(*weights, strict=True))
        spread, *others = self._spreads(within, between, ridge)
        random = np.array(others)[np.isfinite(others)]
        if not spread > 0 or not len(random):
            return LabelSignal(0.0, 1.0)
        as_much = int((random >= spread * (1 - 1e-9)).sum())
        return LabelSignal(float(np.sqrt(max(0.0, 1 - random.mean() / spread))), (as_much + 1) / (len(random) + 1))

    def _in_order(self, weight: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the samples with weight, by their transport to one another: the order as given has no effect."""
        rows, cols = np.triu_indices(self.n_features)
        squared = self.packed[:, rows == cols].sum(axis=1) * weight[self.pairs].prod(axis=1)
        order = np.argsort(np.bincount(self.pairs.ravel(), np.repeat(squared, 2), minlength=len(weight)), kind="stable")
        return order[weight[order] > 0]

    def _spreads(self, within: NDArray[np.float64], between: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
        """Return the spread of the ratio for weights of pairs, (n, n_pairs) both, (n,); NaN without pairs."""
        known = within.any(axis=1) & between.any(axis=1)
        s_w, s_b = (unpack(weights[known] @ self.packed, self.n_features) for weights in (within, between))
        # its traces need no eigenvectors
        ratio = np.linalg.solve(with_ridge(s_w, s_b, ridge), s_b)
        mean = np.trace(ratio, axis1=1, axis2=2) / self.n_features
        apart = ratio - mean[:, None, None] * np.eye(self.n_features)
        spreads = np.full(len(within), np.nan)
        squares = (apart * np.swapaxes(apart, 1, 2)).sum(axis=(1, 2))
        spreads[known] = squares / np.maximum(self.n_features * mean**2, 1e-300)
        return spreads
