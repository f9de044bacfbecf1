"""A run that is killed at any of its operations on files leaves the earlier results or the new ones, whole."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="killed runs are forks of one process")

DRIVER = """
    import hashlib, json, os, shutil, signal, sys, tempfile
    from pathlib import Path
    from scggml.cli._results import results_folder

    EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"}

    def run(out, number):
        with results_folder(out) as results:
            for name in ("cells.h5ad", "summary.txt"):
                (results.partial / name).write_text(f"{name} of {number}")
            results.install({"seed": number})

    def killed_at(moment, out, number):
        '''Run in a fork, which kills itself before its operation on files of this number; return whether it did.'''
        pid = os.fork()
        if pid == 0:
            seen = 0
            def count(event, arguments):
                nonlocal seen
                if event in EVENTS:
                    seen += 1
                    if seen == moment:
                        os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(count)
            run(out, number)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

    def whole(out):
        '''The number of the run whose files are all here.'''
        record = json.loads((out / "run.json").read_text())
        assert {path.name for path in out.iterdir()} == {"cells.h5ad", "summary.txt", "run.json"}
        for name, checksum in record["sha256"].items():
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == checksum
            assert (out / name).read_text() == f"{name} of {record['seed']}"
        return record["seed"]

    found = []
    for before in (None, 1):
        moment = 0
        while True:
            moment += 1
            folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
            out = folder / "out"
            if before is not None:
                run(out, before)
            if not killed_at(moment, out, 2):
                break
            earlier = folder / ".out.earlier"
            left = [path for path in (out, earlier) if path.exists()]
            # what is not in its place is the earlier run as it was
            state = None if not left else whole(out) if out.exists() else f"beside {whole(earlier)}"
            found.append((before, state))
            run(out, 3)
            assert whole(out) == 3 and os.listdir(folder) == ["out"], os.listdir(folder)
    for before, state in sorted(set(found), key=str):
        print(before, state, found.count((before, state)))
"""


def test_killed_at_every_operation_on_files(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(DRIVER), str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = {tuple(line.split()[:-1]): int(line.split()[-1]) for line in done.stdout.splitlines()}
    # nothing or the new run; the earlier run, the new one, and between two renames the earlier one beside its place
    assert set(counts) == {("None", "None"), ("None", "2"), ("1", "1"), ("1", "2"), ("1", "beside", "1")}
    assert counts[("None", "None")] >= 10 and counts[("1", "1")] >= 15  # before each of so many operations
