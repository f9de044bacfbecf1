"""Confidence intervals for cohorts of a dozen samples, and the sign test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binomtest, norm, t

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAILS = (1 - 0.95) / 2, (1 + 0.95) / 2  # all intervals cover 95 %
_N_DRAWS = 20_000
_SEED = 0  # an interval is a function of the counts


def label_intervals(confusion: NDArray[np.float64], n_units: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Return intervals of accuracy, balanced accuracy and macro F1.

    The recall of each class has the interval of Jeffreys' prior. Thus the interval of a class with eight samples, all
    of them predicted correctly, still reaches down to 0.75. Accuracy and balanced accuracy are weighted means of
    recalls. Their intervals combine those of the recalls by the variance estimates that each bound implies (MOVER,
    :cite:p:`zou2008`). The interval of macro F1 comes from random confusion matrices :cite:p:`brodersen2010`. The
    proportions of the classes are held fixed.

    Parameters
    ----------
    confusion
        Number of samples of each class (rows) that were predicted as each class (columns), (n_classes, n_classes); with
        several repeats, the mean.
    n_units
        Number of independent units in each class, (n_classes,): samples or donors.
    """
    totals = confusion.sum(axis=1)
    present = np.flatnonzero(totals > 0)
    counts = confusion[present] * (n_units / np.maximum(totals, 1e-300))[present, None]
    correct, n = counts[np.arange(len(present)), present], counts.sum(axis=1)
    recall = correct / n
    low, high = share_interval(correct, n)
    share = totals[present] / totals.sum()
    found = {}
    for name, weights in (("accuracy", share), ("balanced_accuracy", np.full(len(present), 1 / len(present)))):
        mean = weights @ recall
        below, above = (np.sqrt(((weights * (recall - end)) ** 2).sum()) for end in (low, high))
        found[name] = float(max(mean - below, 0.0)), float(min(mean + above, 1.0))
    found["macro_f1"] = _f1_interval(counts, present, share)
    return found


def share_interval(n_right: Any, n: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the intervals of shares `n_right / n` by Jeffreys' prior, which hold shares of zero and one."""
    share, low, high = n_right / n, *(beta.ppf(tail, n_right + 0.5, n - n_right + 0.5) for tail in _TAILS)
    return np.where(share <= 0, 0.0, low), np.where(share >= 1, 1.0, high)


def _f1_interval(
    counts: NDArray[np.float64], present: NDArray[np.int64], share: NDArray[np.float64]
) -> tuple[float, float]:
    n_classes = counts.shape[1]
    rng = np.random.default_rng(_SEED)
    drawn = np.stack([rng.dirichlet(row + 0.5 / n_classes, size=_N_DRAWS) for row in counts], axis=1)
    draws = _macro_f1(drawn * share[:, None], present)
    value = float(_macro_f1(counts / counts.sum(axis=1, keepdims=True) * share[:, None], present))
    # around the value found: with many small classes the prior shifts all draws in the same direction
    low, high = value + np.quantile(draws, _TAILS) - draws.mean()
    return float(max(min(low, value), 0.0)), float(min(max(high, value), 1.0))


def _macro_f1(table: NDArray[np.float64], present: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean F1 of tables of shares (..., n_present, n_classes)."""
    right = table[..., np.arange(len(present)), present]
    f1 = 2 * right / np.maximum(table.sum(axis=-1) + table.sum(axis=-2)[..., present], 1e-300)
    return np.asarray(f1.sum(axis=-1) / table.shape[-1])


def auc_interval(auc: float, n_positive: float, n_negative: float) -> tuple[float, float]:
    """Return the score interval of one area under the curve, which has a positive length even if the area is one.

    It holds every area whose distance from the one found is below the normal quantile times its standard error
    :cite:p:`newcombe2006`.
    """
    z = norm.ppf(_TAILS[1])
    n_star = (n_positive + n_negative) / 2 - 1

    def beyond(area: float) -> float:
        variance = area * (1 - area) * (1 + n_star * (1 - area) / (2 - area) + n_star * area / (1 + area))
        return float(abs(auc - area) - z * np.sqrt(variance / (n_positive * n_negative)))

    edge = 1e-12
    inside = min(max(auc, edge), 1 - edge)
    low = brentq(beyond, edge, inside) if beyond(edge) > 0 > beyond(inside) else 0.0
    high = brentq(beyond, inside, 1 - edge) if beyond(1 - edge) > 0 > beyond(inside) else 1.0
    return float(low), float(high)


def rank_interval(name: str, value: float, n: int) -> tuple[float, float]:
    """Return the interval of a rank correlation, "spearman" or "kendall", on Fisher's scale :cite:p:`bonett2000`."""
    if n < 5:
        return -1.0, 1.0
    error = np.sqrt((1 + value**2 / 2) / (n - 3)) if name == "spearman" else np.sqrt(0.437 / (n - 4))
    inside = float(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    low, high = np.tanh(np.arctanh(inside) + norm.ppf(_TAILS) * error)
    return float(low), float(high)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of a mean, by Student's t."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = t.ppf(_TAILS[1], len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def jackknife_interval(value: float, without: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of a statistic of independent units from its values without each unit :cite:p:`efron1981`.

    Parameters
    ----------
    value
        The statistic of all units.
    without
        The statistic without each unit, (n_units,).
    """
    n = len(without)
    if n < 3 or not np.isfinite(without).all():
        return float("nan"), float("nan")
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    half = t.ppf(_TAILS[1], n - 2) * error
    return float(value - half), float(value + half)


def sign_test(only_method: int, only_baseline: int) -> float:
    """Return the two-sided p-value of these numbers of discordant pairs."""
    n = only_method + only_baseline
    return float(binomtest(only_method, n).pvalue) if n else 1.0
