from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.transport import _entropic, _exact
from scggml.core.transport import _memory_limits as module
from scggml.core.transport._entropic import solve_pairs_entropic
from scggml.core.transport._exact import solve_pairs, square_pairs
from scggml.core.transport._memory_limits import (
    engine_of,
    gigabytes,
    pair_bytes,
    plan_bytes,
    problems_within_memory,
    threads_within_memory,
)


@pytest.fixture
def memory(monkeypatch):
    """Set the bytes that may be taken."""

    def available(n_bytes):
        monkeypatch.setattr(module, "_UNNOTICED", 0)
        monkeypatch.setattr(module, "available_memory", lambda: None if n_bytes is None else n_bytes / module._SHARE)

    return available


def test_bytes_of_a_pair():
    # costs of 8 bytes and a kernel of 4 for each pair of cells: what the issue of large samples is about
    assert pair_bytes(np.array([5000, 5000]), "simplex") == 5000 * 5000 * (8 + 4) + 160 * 10_000
    assert 4.8e9 < pair_bytes(np.array([20_000, 20_000]), "simplex") < 4.81e9
    np.testing.assert_array_equal(
        pair_bytes(np.array([[2, 3], [1, 1]]), "entropic"), [6 * 16 + 5 * 160, 1 * 16 + 2 * 160]
    )


def test_bytes_of_a_pair_whose_costs_are_turned():
    # few rows of many columns are solved as many rows of few columns, with a copy of the costs
    sizes = np.array([[10, 640], [10, 639], [640, 10]])
    found = pair_bytes(sizes, "simplex")
    np.testing.assert_array_equal(found, [20 * 6400 + 160 * 650, 12 * 6390 + 160 * 649, 12 * 6400 + 160 * 650])
    np.testing.assert_array_equal(pair_bytes(sizes[:1], "simplex_on_sparse"), 25 * 6400 + 160 * 650)
    np.testing.assert_array_equal(pair_bytes(sizes[:1], "entropic"), 16 * 6400 + 160 * 650)


def test_bytes_of_plans():
    # of n + m - 1 entries, each of two int32 and a float64, twice while they are joined
    assert plan_bytes(np.array([[2, 3], [10, 1]])) == (4 + 10) * (4 + 4 + 8) * 2


@pytest.mark.parametrize(
    ("method", "cost", "sparse", "engine"),
    [
        ("simplex", "euclidean", False, "simplex"),
        ("simplex", "euclidean", True, "simplex_on_sparse"),
        ("simplex", "cosine", False, "simplex_on_costs"),
        ("simplex", "cosine", True, "simplex_on_costs"),
        ("pot", "euclidean", False, "pot"),
    ],
)
def test_engines(method, cost, sparse, engine):
    assert engine_of(method, cost, sparse=sparse) == engine


def test_as_many_threads_as_fit(memory):
    sizes = np.array([[30, 30], [100, 100], [100, 100], [30, 30], [30, 30]])
    large, small = 12 * 10_000 + 160 * 200, 12 * 900 + 160 * 60
    memory(2 * large + 2 * small)
    assert threads_within_memory(8, sizes, "simplex") == 4
    memory(2 * large + 3 * small)
    assert threads_within_memory(8, sizes, "simplex") == 8
    memory(2 * large - 1)
    assert threads_within_memory(8, sizes, "simplex") == 1
    assert threads_within_memory(1, sizes, "simplex") == 1
    memory(2 * large - 1 + plan_bytes(sizes))
    assert threads_within_memory(8, sizes, "simplex", keep_plans=True) == 1
    memory(None)
    assert threads_within_memory(8, sizes, "simplex") == 8
    memory(0)
    assert threads_within_memory(8, sizes[:0], "simplex") == 8


def test_one_pair_that_does_not_fit(memory):
    memory(1_000_000)
    with pytest.raises(MemoryError, match=r"samples of 300 and 290 cells.*1 MB.*sg.pp.sketch\(adata, sample_key"):
        threads_within_memory(2, np.array([[290, 300], [5, 5]]), "simplex")
    with pytest.raises(MemoryError, match="samples of 300 and 290 cells"):
        problems_within_memory(2, (290, 300), 1_100_000, 0)


def test_plans_that_do_not_fit(memory):
    memory(1_000_000)
    sizes = np.full((300, 2), 100)
    with pytest.raises(MemoryError, match=r"plans between all samples, the largest of 100 and 100 cells.*max_cells"):
        threads_within_memory(2, sizes, "simplex", keep_plans=True)
    assert threads_within_memory(2, sizes, "simplex") == 2


def test_problems_within_memory(memory):
    memory(1000)
    assert problems_within_memory(4, (10, 10), 300, 0) == 3
    assert problems_within_memory(4, (10, 10), 300, 500) == 1
    assert problems_within_memory(2, (10, 10), 300, 0) == 2


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_pairs_are_those_that_must_fit_together(memory, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 1000, size=(20, 2))
    needed = np.sort(12 * sizes.prod(axis=1) + 160 * sizes.sum(axis=1))[::-1]
    for n in range(1, 7):
        memory(int(needed[:n].sum()) + 1)
        assert threads_within_memory(6, sizes, "simplex") == n


def test_what_just_fits(memory):
    memory(3000)
    assert problems_within_memory(3, (10, 10), 1000, 0) == 3
    assert problems_within_memory(1, (10, 10), 1000, 2000) == 1
    with pytest.raises(MemoryError):
        problems_within_memory(1, (10, 10), 1000, 2001)


def test_the_message_counts_plans_that_are_kept(memory):
    memory(4e9)
    with pytest.raises(MemoryError, match=r"need 5.0 GB of memory, of which 4.0 GB may be taken \(75% of what"):
        problems_within_memory(1, (10, 10), 2_000_000_000, 3_000_000_000)


def test_memory_is_looked_at_when_all_threads_together_take_much(monkeypatch):
    monkeypatch.setattr(module, "_UNNOTICED", 1000)
    monkeypatch.setattr(module, "available_memory", lambda: 800)
    assert problems_within_memory(4, (10, 10), 300, 0) == 2
    assert problems_within_memory(2, (10, 10), 300, 0) == 2
    assert problems_within_memory(3, (10, 10), 300, 200) == 1
    sizes = np.full((4, 2), 1)  # 332 bytes
    assert threads_within_memory(4, sizes, "simplex") == 1
    assert threads_within_memory(2, sizes, "simplex") == 2


def test_little_memory_is_not_looked_at(monkeypatch):
    def fail():
        raise AssertionError

    monkeypatch.setattr(module, "available_memory", fail)
    assert threads_within_memory(2, np.array([[300, 300]]), "simplex", keep_plans=True) == 2


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    return Measures.from_arrays([rng.normal(size=(n, 3)) for n in (20, 25, 30, 22)])


@pytest.mark.parametrize("entropic", [False, True])
def test_fewer_threads_and_the_same_results(clouds, memory, monkeypatch, entropic):
    used = []
    parallel = _exact.joblib.Parallel

    def spy(**options):
        used.append(options["n_jobs"])
        return parallel(**options)

    monkeypatch.setattr((_entropic if entropic else _exact).joblib, "Parallel", spy)
    pairs = square_pairs(len(clouds))

    def solve():
        if entropic:
            return solve_pairs_entropic(clouds, pairs, epsilon=0.5, device="cpu", chunk_entries=1, n_jobs=3)
        return solve_pairs(clouds, pairs, keep_plans=False, n_jobs=3)

    before = solve().distances
    engine = "entropic" if entropic else "simplex"
    memory(int(pair_bytes(np.array([30, 25]), engine)) + 10)
    np.testing.assert_array_equal(solve().distances, before)
    assert used == [3, 1]


def test_nothing_is_solved_when_the_largest_pair_does_not_fit(clouds, memory, monkeypatch):
    monkeypatch.setattr(_exact, "_solve_block", lambda *_: pytest.fail("a pair was solved"))
    memory(1000)
    with pytest.raises(MemoryError, match="30 and 25 cells"):
        solve_pairs(clouds, square_pairs(4))
    sparse = clouds.with_points(sp.csr_array(clouds.points))
    memory(int(pair_bytes(np.array([30, 25]), "simplex")))
    with pytest.raises(MemoryError, match="30 and 25 cells"):
        solve_pairs(sparse, square_pairs(4))


def test_texts():
    assert [gigabytes(n) for n in (1, 3.4e8, 1.24e9, 1.2345e12)] == ["1 MB", "340 MB", "1.2 GB", "1,234 GB"]
