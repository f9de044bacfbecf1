"""Some of the problems of `benchmarks/exactness.py`, beside independent solvers."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.skipif(not SCRIPTS.exists(), reason="benchmarks are not part of the source distribution")
def test_random_and_adversarial_problems_are_solved_exactly(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    script = importlib.import_module("exactness")
    for problem in script.problems(20 * len(script.KINDS), seed=1):
        found = script.compare(*problem)
        assert found.difference is not None, found
        assert found.difference < {"HiGHS": 1e-9, "POT": 1e-12}[found.solver], found  # of HiGHS: what it tolerates
        assert found.gap < 1e-11, found
