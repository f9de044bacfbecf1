from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures import _blocks, _digest
from scggml.core.measures._digest import digest
from scggml.core.measures._on_disk import StoredPoints


def matrix(kind="dense", dtype=np.float64):
    rng = np.random.default_rng(0)
    x = np.where(rng.random((30, 5)) < 0.5, 0, rng.normal(size=(30, 5))).astype(dtype)
    return sp.csr_array(x) if kind == "csr" else x


def stored(x, step=7):
    cuts = np.append(np.arange(0, x.shape[0], step), x.shape[0])
    return StoredPoints(lambda start, stop: x[start:stop], x.shape, cuts, x.shape[1])


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_and_disk_make_no_difference(monkeypatch, kind, dtype):
    x = matrix(kind, dtype)
    expected = digest(x)
    assert digest(stored(x)) == expected
    monkeypatch.setattr(_digest, "row_blocks", lambda points: _blocks.row_blocks(points, budget=11))
    assert digest(x) == expected
    assert digest(stored(x)) == expected


def test_memory_order_makes_no_difference():
    x = matrix()
    weights = np.arange(30.0)
    assert digest(np.asfortranarray(x), np.repeat(weights, 2)[::2]) == digest(x, weights)
    wide = matrix("csr")
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert digest(wide) == digest(matrix("csr"))


def others():
    x, s = matrix(), matrix("csr")
    moved = x.copy()
    moved[29, 4] = np.nextafter(moved[29, 4], 9)
    yield "a value", (moved, "a")
    yield "text", (x, "b")
    yield "order", ("a", x)
    yield "fewer", (x,)
    yield "more", (x, "a", "")
    yield "sparse", (s, "a")
    yield "stored columns", (sp.csr_array(x[:, ::-1]), "a")
    yield "stored rows", (sp.csr_array(x[::-1]), "a")
    yield "the same bytes of another type", (x.view(np.float32).reshape(60, 5), "a")
    yield "the same bytes of another shape", (x.reshape(15, 10), "a")
    yield "wider", (sp.csr_array((s.data, s.indices, s.indptr), shape=(30, 6)), "a")
    yield "moved between parts", (x[:20], x[20:], "a")


def test_all_else_makes_a_difference():
    found = {"itself": digest(matrix(), "a"), **{name: digest(*parts) for name, parts in others()}}
    assert len(set(found.values())) == len(found), found


@pytest.mark.parametrize("parts", [(), ("",), (np.empty(0),), (np.empty((0, 3)),), (sp.csr_array((0, 3)),)])
def test_nothing_has_a_digest_too(parts):
    assert len(digest(*parts)) == 64
