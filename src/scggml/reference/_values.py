"""Normalisation of gene expression: counts, log-normalised, normalised or scaled; and whether two data sets agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_MAX_CELLS = 2000  # that are looked at
_FEW_CELLS = 200  # that show whether values are whole
_LARGEST_LOG = 30.0  # log1p of more than all molecules of any cell
_CONSTANT = 1e-3  # spread of totals that were made equal
_FACTOR = 1.5  # between medians of totals, beyond which data are called different
TEXTS = {
    "counts": "raw counts (whole numbers)",
    "log": "log-normalised (not negative, not whole, small)",
    "normalised": "normalised without the logarithm (not negative, not whole, large)",
    "scaled": "scaled (with negative values)",
}


def describe_values(everything: Any, used: Any) -> dict[str, Any]:
    """Return what kind of values the genes have, and the total of a cell.

    Parameters
    ----------
    everything
        Values of all genes, (n_cells, n_all_genes).
    used
        Values of those that a reference uses, (n_cells, n_genes).
    """
    rows = sample_of_rows(used.shape[0])
    part = taken_rows(used, rows)
    data = part.data if sp.issparse(part) else part.ravel()
    if (data < 0).any():
        return {"kind": "scaled"}
    if _are_whole(data):
        kind = "counts"
    else:
        kind = "log" if data.max(initial=0.0) <= _LARGEST_LOG else "normalised"
    totals = _totals(part, kind)
    found: dict[str, Any] = {"kind": kind, "total_quantiles": np.quantile(totals, [0.05, 0.25, 0.5, 0.75, 0.95])}
    of_all = _totals(taken_rows(everything, rows), kind)
    median = float(np.median(of_all))
    if median > 0 and np.quantile(np.abs(of_all / median - 1), 0.9) < _CONSTANT:
        found["target_sum"] = median
    return found


def largest_count(values: Any) -> float | None:
    """Return the largest of the values (n_cells, n_genes) if they are raw counts, else None.

    A few cells are looked at. Whole numbers that are all small are not called counts: logarithms of counts, indicators
    and grades are as small.
    """
    first = slice(0, _FEW_CELLS)  # one block of what is stored
    in_memory = isinstance(values, np.ndarray) or sp.issparse(values)
    part = values[sample_of_rows(values.shape[0], _FEW_CELLS)] if in_memory else values[first]
    data = part.data if sp.issparse(part) else part.ravel()
    largest = float(data.max(initial=0.0))
    return largest if largest > _LARGEST_LOG and (data >= 0).all() and _are_whole(data) else None


def _are_whole(data: NDArray[Any]) -> bool:
    return bool((data == np.rint(data)).all())


def difference_of_values(
    known: Mapping[str, Any], found: Mapping[str, Any], text: str, *, complete: bool
) -> str | None:
    """Return a warning if new values are not normalised like those of the reference.

    Parameters
    ----------
    known, found
        What `describe_values` returned of the reference and of new cells.
    text
        How messages call the new values.
    complete
        Whether the new cells have all genes of the reference.
    """
    same = "Normalise both in the same way, or distances reflect the difference in normalisation."
    if known["kind"] != found["kind"]:
        return f"{text} looks {TEXTS[found['kind']]}, that of the reference {TEXTS[known['kind']]}. {same}"
    sums = known.get("target_sum"), found.get("target_sum")
    if None not in sums and abs(float(sums[0]) / float(sums[1]) - 1) > 10 * _CONSTANT:  # type: ignore[arg-type]
        return (
            f"cells of {text} were normalised to a total of {sums[1]:.6g}, those of the reference to {sums[0]:.6g}. "
            f"{same}"
        )
    if "total_quantiles" not in known or "total_quantiles" not in found or not complete:
        return None
    low, _, median, _, high = np.asarray(known["total_quantiles"], dtype=np.float64)
    new = float(np.asarray(found["total_quantiles"])[2])
    factor = max(_FACTOR, high / median, median / max(low, np.finfo(float).tiny)) if None in sums else _FACTOR
    if median > 0 and not 1 / factor <= new / median <= factor:
        return (
            f"the median total of a cell over the reference's genes is {new:.4g} in {text} and {median:.4g} in the "
            f"reference: another normalisation or sequencing depth. {same}"
        )
    return None


def sample_of_rows(n_rows: int, at_most: int = _MAX_CELLS) -> NDArray[np.int64]:
    """Return evenly spaced rows, (at most `at_most`,)."""
    n = min(n_rows, at_most)
    return (np.arange(n) * n_rows) // n


def taken_rows(values: Any, rows: NDArray[np.int64]) -> Any:
    """Return some rows of values, in memory; all rows as they are."""
    in_memory = isinstance(values, np.ndarray) or sp.issparse(values)
    return values if in_memory and len(rows) == values.shape[0] else values[rows]


def _totals(values: Any, kind: str) -> NDArray[np.float64]:
    counts = values.astype(np.float64)
    if kind == "log":
        counts = counts.expm1() if sp.issparse(counts) else np.expm1(counts)
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
