"""Labelled data frames as methods: distances between samples, or one profile per sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._keys import HELD_OUT

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SYMMETRIC = 1e-6


def frame_values(text: str, frame: pd.DataFrame, names: NDArray[np.object_]) -> tuple[bool, NDArray[np.float64]]:
    """Return whether a data frame holds distances, and its values in the order of the samples.

    A frame of distances has the sample names as index and columns. A frame of profiles has them as index only.

    Parameters
    ----------
    text
        Name of the frame in messages.
    frame
        The data frame; rows in any order, and columns too if these are samples.
    names
        Names of the samples, (n_samples,).
    """
    samples = pd.Index(names)
    index, columns = (axis.astype(str) for axis in (frame.index, frame.columns))
    if not index.isin(names).any() and columns.isin(names).any():
        msg = f"{text} has the samples as columns. Its index must be the sample names: pass the transpose, frame.T."
        raise ValueError(msg)
    _check_samples(f"the index of {text}", index, samples)
    if frame.attrs.get("metric") == "learned" and frame.attrs.get("status") != HELD_OUT:
        msg = (
            f"{text} comes from a metric that was learned with the labels of all samples, held-out ones included. "
            "Pass 'ggml' or a GroundMetricLearner, which is refitted within each fold, or held-out distances: "
            "sg.tl.sample_distances(..., cv='auto')."
        )
        raise ValueError(msg)
    if columns.isin(names).any():
        _check_samples(f"the columns of {text}", columns, samples)
        values = _numbers(text, frame.iloc[index.get_indexer(samples), columns.get_indexer(samples)])
        return True, check_distances(text, values, len(names))
    return False, _numbers(text, frame.iloc[index.get_indexer(samples)])


def _check_samples(text: str, found: pd.Index, samples: pd.Index) -> None:
    faults = {
        "more than once": found[found.duplicated()].unique(),
        "missing": samples[~samples.isin(found)],
        "unknown": found[~found.isin(samples)],
    }
    found_faults = "; ".join(f"{what}: {check.listed(which)}" for what, which in faults.items() if len(which))
    if found_faults:
        msg = f"{text} must hold each of the {len(samples)} samples once, and no others. Found {found_faults}."
        raise ValueError(msg)


def _numbers(text: str, frame: pd.DataFrame) -> NDArray[np.float64]:
    if not frame.shape[1]:
        msg = f"{text} has no columns. Pass at least one column of numbers."
        raise ValueError(msg)
    other = [name for name, dtype in frame.dtypes.items() if getattr(dtype, "kind", "O") not in "biuf"]
    if other:
        msg = (
            f"{text} must hold numbers, found other values in the columns {check.listed(other)}. "
            "Turn categories into columns of 0 and 1 with pandas.get_dummies."
        )
        raise TypeError(msg)
    values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = frame.columns[~np.isfinite(values).all(axis=0)]
    if len(bad):
        msg = (
            f"{text} has values that are NaN or infinite in the columns {check.listed(bad)}. "
            "Impute them, or drop the columns."
        )
        raise ValueError(msg)
    return values


def check_distances(text: str, found: Any, n: int) -> NDArray[np.float64]:
    """Return a distance matrix, or say what is wrong with it."""
    n_missing = n * (n - 1) - found.nnz if hasattr(found, "nnz") and found.shape == (n, n) else 0
    if n_missing > 0:
        msg = (
            f"{text} is sparse and lacks {n_missing} distances, such as a graph of neighbours does. "
            "Pass all distances as a dense matrix."
        )
        raise ValueError(msg)
    matrix = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    if matrix.shape != (n, n):
        msg = f"{text} must be distances between {n} samples, found shape {matrix.shape}"
        raise ValueError(msg)
    if matrix.dtype.kind not in "biuf":
        msg = f"{text} must hold numbers, found dtype {matrix.dtype}"
        raise TypeError(msg)
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all():
        msg = f"{text} holds {int((~np.isfinite(matrix)).sum())} values that are NaN or infinite"
        raise ValueError(msg)
    if matrix.min() < 0:
        msg = f"{text} must not be negative, found {matrix.min():.4g}. Pass distances, not similarities."
        raise ValueError(msg)
    unit = max(float(matrix.max()), np.finfo(float).tiny)
    difference = float(np.abs(matrix - matrix.T).max())
    if difference > _SYMMETRIC * unit:
        i, j = np.unravel_index(np.abs(matrix - matrix.T).argmax(), matrix.shape)
        msg = f"{text} must be symmetric, found {matrix[i, j]:.8g} and {matrix[j, i]:.8g} for samples {i} and {j}"
        raise ValueError(msg)
    if np.abs(np.diag(matrix)).max() > _SYMMETRIC * unit:
        msg = (
            f"{text} must be zero on its diagonal, found {np.abs(np.diag(matrix)).max():.4g}. "
            "Pass distances, not similarities."
        )
        raise ValueError(msg)
    return (matrix + matrix.T) / 2
