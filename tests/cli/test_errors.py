"""Errors in one line, with a remedy; a fault of the code is none of them."""

from __future__ import annotations

import errno

import numpy as np
import pytest

import scggml as sg
from scggml.cli._errors import explained
from scggml.core.transport._memory_limits import gigabytes, pair_bytes, sizes_in_memory_errors


def raised(function, *args, **kwargs):
    with pytest.raises(Exception) as found:
        function(*args, **kwargs)
    return found.value


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_disks(number):
    text = explained(OSError(number, "text", "/disk/file"))
    assert text == "no space left on the disk for /disk/file. Make room, or name another folder with --out."


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        raised(np.empty, 2**59),
    ],
)
def test_memory(error):
    text = explained(error)
    assert text.startswith("not enough memory") and "--n-jobs 1" in text and "sg.pp.sketch" in text
    assert "\n" not in text


def test_memory_of_transport():
    def solve():
        with sizes_in_memory_errors(np.array([[3, 4000]])):
            raise MemoryError

    text = explained(raised(solve))
    assert text.startswith("not enough memory: optimal transport between samples of 3 and 4,000 cells")
    assert text.endswith("or pass --n-jobs (n_jobs=1).")


def test_threads():
    text = explained(RuntimeError("can't start new thread"))
    assert "--n-jobs" in text and "ulimit -u" in text


def test_libraries():
    text = explained(ImportError("libtorch.so: failed to map segment from shared object"))
    assert text.startswith("not enough memory to load a library") and "ulimit -v" in text
    error = OSError("Could not find/load shared object file")
    error.__context__ = OSError("libllvmlite.so: failed to map segment from shared object")
    assert explained(error).startswith("not enough memory to load a library")
    assert "No module named 'nothing'. Install scggml" in explained(raised(__import__, "nothing"))


def test_options_are_named_beside_arguments(cohort):
    error = raised(sg.tl.fit_metric, cohort, "donor", "label")
    assert explained(error).startswith("--sample-key (sample_key='donor') is not a column of obs")
    error = raised(sg.tl.fit_metric, cohort, "sample", "label", n_jobs=0)
    assert "n_jobs must not be 0" in explained(error)


def test_system():
    assert "Permission denied" in explained(PermissionError(errno.EACCES, "Permission denied", "/file"))


@pytest.mark.parametrize(
    "error",
    [
        raised(np.zeros(3).reshape, 2), raised({}.__getitem__, 1), RuntimeError("x"), AssertionError("x"),
        # in frames of the package, but not said by it
        raised(gigabytes, None), raised(pair_bytes, np.zeros((1, 2)), "nothing"), raised(pair_bytes, [["a", "b"]], "pot"),
    ],
)  # fmt: skip
def test_faults_of_the_code_are_not_explained_away(error):
    assert explained(error) is None
