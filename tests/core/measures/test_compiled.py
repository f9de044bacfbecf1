"""Compiled functions where numba's cache cannot be written, as in containers and on full disks."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numba.core.caching as caching
import pytest

from scggml.core.measures import _compiled as module
from scggml.core.measures._compiled import cached_imports, njit


@pytest.fixture(autouse=True)
def untold():
    module._log_once.cache_clear()
    yield
    module._log_once.cache_clear()


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_nowhere_to_write(monkeypatch, caplog):
    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", no_space)
    functions = [njit(nogil=True, cache=True)(function) for function in (lambda x: x + 1, lambda x: x + 2)]
    assert [function(1) for function in functions] == [2, 3]
    (record,) = caplog.records  # once, not for each function
    assert record.levelname == "WARNING" and "NUMBA_CACHE_DIR" in record.getMessage()


@pytest.mark.parametrize("method", ["save", "load"])
def test_disk_that_fails_later(monkeypatch, tmp_path, caplog, method):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))  # without what earlier runs have kept
    monkeypatch.setattr(caching.IndexDataCacheFile, method, no_space)
    assert njit(cache=True)(lambda x: x + 3)(1) == 4
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage() and "NUMBA_CACHE_DIR" in record.getMessage()


def test_cache_is_used(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    def function(x):
        return x + 4

    assert njit(cache=True)(function)(1) == 5
    assert list(tmp_path.rglob("*.nbc"))
    again = njit(cache=True)(function)
    assert again(1) == 5 and sum(again.stats.cache_hits.values()) == 1
    assert not caplog.records


def test_other_errors_pass():
    def failing(x):
        return undefined(x)  # noqa: F821

    with pytest.raises(Exception, match="undefined"):
        njit(cache=True)(failing)(1)
    with pytest.raises(RuntimeError, match="other"), cached_imports():
        raise RuntimeError("other")


def test_packages_that_need_the_cache():
    with pytest.raises(ImportError, match=r"cannot cache function 'f'.*NUMBA_CACHE_DIR"), cached_imports():
        raise RuntimeError("cannot cache function 'f': no locator available for file 'g'")


def test_everything_can_be_imported_where_nothing_can_be_written():
    code = """
        import logging, os, sys, tempfile
        import numba.core.caching as caching
        def nowhere(*args, **kwargs):
            raise PermissionError(13, "Permission denied")
        caching._CacheLocator.ensure_cache_path = nowhere
        tempfile.gettempdir = tempfile.mkdtemp = nowhere
        import scggml as sg
        for name in ("pp", "tl", "get", "datasets", "GroundMetricLearner"):
            getattr(sg, name)
        import scipy.sparse as sp
        from scggml.core.measures._sparse import inner_products
        x = sp.csr_array([[1.0, 2.0], [0.0, 3.0]])
        assert inner_products(x, x).tolist() == [[5.0, 6.0], [6.0, 9.0]]
        import anndata, numpy as np
        try:
            sg.tl.embed_samples(anndata.AnnData(obs=dict(a=range(6)), obsp={"ggml_distances": 1 - np.eye(6)}), "umap")
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1
    assert "NUMBA_CACHE_DIR" in done.stdout


def test_nothing_else_compiles_without_it():
    """A function that numba itself caches cannot be imported where there is no place for the cache."""
    sources = Path(module.__file__).parents[2].rglob("*.py")
    direct = [path.name for path in sources if re.search(r"from numba import|numba\.n?jit\b", path.read_text())]
    assert direct == ["_compiled.py"]
