"""Transport that does not fit into memory says which samples, and what helps."""

from __future__ import annotations

import numpy as np
import pytest

from scggml.core.measures._measures import Measures
from scggml.core.transport import _entropic, _exact
from scggml.core.transport._entropic import solve_pairs_entropic
from scggml.core.transport._exact import solve_pairs, square_pairs

SIZES = (20, 30, 40)


@pytest.fixture
def measures():
    rng = np.random.default_rng(0)
    return Measures.from_arrays([rng.normal(size=(n, 2)) for n in SIZES])


def raises_memory_error(*args, **kwargs):
    raise MemoryError


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_exact(measures, monkeypatch, n_jobs):
    monkeypatch.setattr(_exact.simplex, "solve_block", raises_memory_error)
    with pytest.raises(MemoryError, match=r"samples of 30 and 40 cells .* 9.6e-06 GB .*sg.pp.sketch .* n_jobs=1"):
        solve_pairs(measures, square_pairs(3), n_jobs=n_jobs)


def test_other_costs(measures, monkeypatch):
    monkeypatch.setattr(_exact, "cost_matrix", raises_memory_error)
    with pytest.raises(MemoryError, match="samples of 30 and 40 cells"):
        solve_pairs(measures, square_pairs(3), cost="cityblock")


def test_entropic(measures, monkeypatch):
    monkeypatch.setattr(_entropic, "SinkhornIteration", raises_memory_error)
    with pytest.raises(MemoryError, match=r"samples of (40 and 30|40 and 20|30 and 20) cells"):
        solve_pairs_entropic(measures, square_pairs(3), epsilon=0.1)
