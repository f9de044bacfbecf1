"""Intervals that stay honest with a dozen samples, and paired tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_DRAWS = 20_000
_SEED = 0  # an interval is a function of the counts


def label_intervals(
    confusion: NDArray[np.float64], n_units: NDArray[np.float64], level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return credible intervals of accuracy, balanced accuracy and macro F1.

    Each class's predictions are multinomial with Jeffreys' prior, so that the interval of a class with eight samples, all of
    them right, still reaches down to 0.75 :cite:p:`brodersen2010`. The proportions of the classes are taken as they are.

    Parameters
    ----------
    confusion
        How often a sample of each class (rows) was predicted as each class (columns), (n_classes, n_classes); with several
        repeats, their mean.
    n_units
        Number of independent units in each class, (n_classes,): samples, or groups of them such as donors.
    level
        Coverage.
    """
    totals = confusion.sum(axis=1)
    present = totals > 0
    counts = confusion[present] * (n_units / np.maximum(totals, 1e-300))[present, None]
    rng = np.random.default_rng(_SEED)
    # the right class against the others, and what is wrong spread as it was seen
    right = np.flatnonzero(present)
    correct = counts[np.arange(len(right)), right]
    recall = rng.beta(correct + 0.5, counts.sum(axis=1) - correct + 0.5, size=(_N_DRAWS, len(right)))
    wrong = counts.copy()
    wrong[np.arange(len(right)), right] = 0
    wrong += 0.5 / max(confusion.shape[1] - 1, 1)
    wrong[np.arange(len(right)), right] = 0
    rates = np.stack(
        [rng.dirichlet(np.delete(row, c), size=_N_DRAWS) for row, c in zip(wrong, right, strict=True)], axis=1
    )
    drawn = np.empty((_N_DRAWS, *confusion[present].shape))
    for r, c in enumerate(right):
        drawn[:, r, np.arange(drawn.shape[2]) != c] = rates[:, r] * (1 - recall[:, r, None])
        drawn[:, r, c] = recall[:, r]
    share = totals[present] / totals.sum()
    table = drawn * share[:, None]
    true_positive = table[:, np.arange(len(right)), right]
    f1 = 2 * true_positive / (share + table.sum(axis=1)[:, right])
    draws = {
        "accuracy": true_positive.sum(axis=1),
        "balanced_accuracy": recall.mean(axis=1),
        "macro_f1": f1.sum(axis=1) / confusion.shape[1],
    }
    tails = [(1 - level) / 2, (1 + level) / 2]
    return {
        name: (float(low), float(high)) for name, (low, high) in ((n, np.quantile(x, tails)) for n, x in draws.items())
    }


def auc_interval(auc: float, n_positive: float, n_negative: float, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of one area under the curve, which is not empty where the area is one.

    It holds every area from which the one found is within the normal quantile of its standard error :cite:p:`newcombe2006`.
    """
    z = norm.ppf((1 + level) / 2)
    n_star = (n_positive + n_negative) / 2 - 1

    def beyond(area: float) -> float:
        variance = area * (1 - area) * (1 + n_star * (1 - area) / (2 - area) + n_star * area / (1 + area))
        return float(abs(auc - area) - z * np.sqrt(variance / (n_positive * n_negative)))

    edge = 1e-12
    inside = min(max(auc, edge), 1 - edge)
    low = brentq(beyond, edge, inside) if beyond(edge) > 0 > beyond(inside) else 0.0
    high = brentq(beyond, inside, 1 - edge) if beyond(1 - edge) > 0 > beyond(inside) else 1.0
    return float(low), float(high)


def sign_test(gained: int, lost: int) -> float:
    """Return the two-sided p-value of as many gains and losses, of samples that differ between two methods."""
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
