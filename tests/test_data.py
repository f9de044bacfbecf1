"""Checks of matrices, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml import _data as data


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite(kind, dtype):
    x = np.ones((6, 4), dtype=dtype)
    data.check_finite(kind(x), None, name="X")
    x[0, 1] = np.nan
    x[[2, 3], 3] = np.inf
    with pytest.raises(
        ValueError, match=r"X has 3 values that are NaN or infinite, in 2 feature\(s\): c \(2\), b \(1\)\."
    ):
        data.check_finite(kind(x), list("xbyc"), name="X")
    with pytest.raises(ValueError, match=r"feature 3 \(2\), feature 1 \(1\)"):
        data.check_finite(kind(x), None, name="X")


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_finite_whatever_the_kind_of_number(kind):
    for dtype in (bool, np.uint8, np.int64):
        data.check_finite(kind(np.ones((3, 2), dtype=dtype)), None, name="X")


def test_large_values_are_finite():
    data.check_finite(np.full((4, 2), 3e38, dtype=np.float32), None, name="X")


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_values_whose_sum_overflows_are_finite(kind):
    data.check_finite(kind(np.full((4, 2), 1e308)), None, name="X")
