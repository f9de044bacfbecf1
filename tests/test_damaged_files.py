"""A few of the damaged files of `benchmarks/fuzz_readers.py`, which says what each came to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "fuzz_readers.py"


@pytest.mark.skipif(not hasattr(os, "fork") or not SCRIPT.is_file(), reason="needs fork and the benchmarks")
def test_damaged_files_give_errors_or_the_same_numbers():
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--cases", "3", "--seed", "11"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 damaged files, 0 faults" in done.stdout
