"""Checks of matrices, one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
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


def test_masked_values_are_refused_and_masks_that_hide_nothing_are_taken_off():
    x = np.ma.masked_equal(np.array([[1.0, -999.0], [2.0, 3.0]]), -999.0)
    with pytest.raises(ValueError, match=r"X is a masked array, with 1 of 4 values masked.*\.filled\(numpy\.nan\)"):
        data.as_plain("X", x)
    found = data.as_plain("X", np.ma.masked_array(np.eye(2)))
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, np.eye(2))


class OnGPU:
    """What all arrays on a GPU have."""

    __cuda_array_interface__: dict = {}
    shape, ndim = (2, 2), 2


@pytest.mark.parametrize(("library", "remedy"), [("cupy", r"x\.get\(\)"), ("somewhere", "copy it from the GPU")])
def test_arrays_on_a_gpu_are_refused_with_the_way_back(monkeypatch, library, remedy):
    monkeypatch.setattr(OnGPU, "__module__", f"{library}.arrays")
    with pytest.raises(TypeError, match=f"X must be an array of NumPy.*found OnGPU of {library}.*{remedy}"):
        data.as_plain("X", OnGPU())


def test_tensors_are_refused_with_the_way_back():
    torch = pytest.importorskip("torch")
    tensor = torch.ones((2, 2), requires_grad=True)
    with pytest.raises(TypeError, match=r"found Tensor of torch.*x\.detach\(\)\.cpu\(\)\.numpy\(\)"):
        data.as_plain("X", tensor)
    assert type(data.as_plain("X", tensor.detach().cpu().numpy())) is np.ndarray


def test_numbers_of_data_frames():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    np.testing.assert_array_equal(data.frame_numbers("X", frame), [[1, 0.5], [2, 1.5]])
    nullable = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.array([True, False], dtype="boolean")})
    np.testing.assert_array_equal(data.frame_numbers("X", nullable), [[1, 1], [np.nan, 0]])
    assert data.frame_numbers("X", frame.astype(np.float32)).dtype == np.float32
    with pytest.raises(TypeError, match=r"X must be numeric and real, found other columns: c \(.*\), d \(complex128\)"):
        data.frame_numbers("X", frame.assign(c="text", d=1j))
