"""Kill a program (SIGKILL) at random moments, half of them while it writes, and check what it leaves each time.

What is there afterwards must be the earlier result or the new one, whole; and the program that is started again must
end well. The same for disks that are full, by limits of the size of files (RLIMIT_FSIZE). Each program is a `Target`. It
runs in a fork of this process, which has imported everything and computed nothing. Linux and macOS.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import json
import logging
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anndata
import numpy as np
import pandas as pd
from _machine import machine

from scggml import cli
from scggml.cli import _run  # noqa: F401 loaded here, not in each fork

if TYPE_CHECKING:
    from collections.abc import Callable

_END_OF_PNG = b"IEND\xaeB`\x82"


class Target(NamedTuple):
    """A program that is killed.

    Parameters
    ----------
    prepare
        Writes the input to a new, empty folder.
    work
        The program, given that folder and the number of the try; it logs or prints what it does.
    writing
        Text in what it logs, from which on it writes.
    check
        Raises an AssertionError unless the folder holds one whole result; returns its seed.
    seed
        The seed of each try. A try after one that was killed has the same seed if it is to go on from there.
    left
        Names in the folder when the program has ended well.
    full
        Pattern of what it says of a full disk.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path, int], None]
    writing: str
    check: Callable[[Path], int]
    seed: Callable[[int], int]
    left: set[str]
    full: str


def write_cells(folder: Path) -> None:
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(6), 40)
    x = rng.normal(size=(len(code), 20)).astype(np.float32)
    x[:, 3] += code % 2
    obs = pd.DataFrame({"sample": [f"p{i}" for i in code], "label": [f"c{i % 2}" for i in code]})
    obs.index = obs.index.astype(str)
    anndata.AnnData(x, obs=obs).write_h5ad(folder / "cells.h5ad")


def run(folder: Path, seed: int, *options: str, out: str = "out") -> None:
    file = str(folder / "cells.h5ad")
    status = cli.main(
        ["run", file, "--sample-key", "sample", "--label-key", "label", "--use-rep", "X", "--seed", str(seed), "--out",
         str(folder / out), *options]
    )  # fmt: skip
    if status:
        raise SystemExit(status)


def resume(folder: Path, seed: int) -> None:
    run(folder, seed, "--resume")


def check_run(folder: Path) -> int:
    out = folder / "out"
    if not out.exists():  # killed between two renames: the next run restores it
        out = folder / ".out.earlier"
    record = json.loads((out / "run.json").read_text())
    assert {path.name for path in out.iterdir()} == {"run.json", *record["sha256"]}, "files without a record"
    for name, checksum in record["sha256"].items():
        content = (out / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksum, f"{name} is of another run"
        assert not name.endswith(".png") or content.endswith(_END_OF_PNG), f"{name} is not whole"
    cells, samples = (anndata.read_h5ad(out / f"{name}.h5ad") for name in ("cells", "samples"))
    assert cells.uns["ggml"]["params"]["rng"] == record["seed"], "cells.h5ad has another seed"
    assert samples.obsp["ggml_distances"].shape == (6, 6)
    return record["seed"]


def check_resumed(folder: Path) -> int:
    """Compare with a run that was not killed, too."""
    seed = check_run(folder)
    if seed not in _TABLES:
        child = Child(run, folder, seed, out="whole")
        child.listen()
        assert child.end() == 0, child.said.decode()
        _TABLES[seed] = tables(folder / "whole")
        shutil.rmtree(folder / "whole")
    found = tables(folder / "out" if (folder / "out").exists() else folder / ".out.earlier")
    assert found == _TABLES[seed], "other results than those of a run that was not killed"
    return seed


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".csv", ".png", ".txt")}


_TABLES: dict[int, dict[str, bytes]] = {}
_FULL = "error: (no space left on the disk|--out .* cannot be written: File too large)"
TARGETS = {
    "run": Target(write_cells, run, "writing", check_run, int, {"cells.h5ad", "out"}, _FULL),
    "run --resume": Target(
        write_cells, resume, "writing", check_resumed, lambda number: number // 2, {"cells.h5ad", "out"}, _FULL
    ),
}


class Child:
    """A function in a fork of this process, and what it says."""

    def __init__(self, function: Callable[..., None], *args: object, **options: object) -> None:
        self._pipe, written = os.pipe()
        self.start = time.perf_counter()
        self.said = b""
        self.pid = os.fork()
        if self.pid == 0:
            for stream in (1, 2):
                os.dup2(written, stream)
            status = 1
            try:
                function(*args, **options)
                status = 0
            except SystemExit as ended:
                status = ended.code
            except BaseException:  # noqa: BLE001 the fork must end here, whatever comes
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        os.close(written)

    def listen(self, until: float = np.inf, text: str | None = None) -> None:
        """Take in what the fork says until it ends, or until a moment or a text."""
        while (left := until - time.perf_counter()) > 0 and (text is None or text.encode() not in self.said):
            if not select.select([self._pipe], [], [], min(left, 60.0))[0]:
                continue
            found = os.read(self._pipe, 1 << 16)
            if not found:
                return
            self.said += found

    def end(self) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        os.close(self._pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def whole(target: Target, folder: Path, number: int) -> tuple[float, float]:
    """Let the program end; return when it began to write and when it ended, in seconds from its start."""
    child = Child(target.work, folder, target.seed(number))
    child.listen(text=target.writing)
    writes = time.perf_counter()
    child.listen()
    ends = time.perf_counter()
    status = child.end()
    assert status == 0, child.said.decode()
    assert target.check(folder) == target.seed(number), "the result is not of this run"
    assert {path.name for path in folder.iterdir()} == target.left, "something is left beside the result"
    return writes - child.start, ends - child.start


def kill(target: Target, folder: Path, number: int, wait: float, *, while_writing: bool) -> str:
    """Kill the program some time after its start, or after it begins to write; return what was found then."""
    child = Child(target.work, folder, target.seed(number))
    if while_writing:
        child.listen(text=target.writing)
    child.listen(until=time.perf_counter() + wait)
    os.kill(child.pid, signal.SIGKILL)
    status = child.end()
    assert status in (0, -signal.SIGKILL), child.said.decode()
    if status == 0:
        return "ended before"
    found, new = target.check(folder), target.seed(number)
    assert found in (target.seed(number - 1), new), f"the result with seed {found} came back"
    when = "writing" if target.writing.encode() in child.said else "computing"
    return f"killed while {when}: {'the new' if found == new else 'the earlier'} result, whole"


def fill(target: Target, folder: Path, number: int, size: int) -> str:
    """Let the program run with a limit of the size of files; return how it ended."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        target.work(folder, target.seed(number))

    child = Child(limited)
    child.listen()
    status, said = child.end(), child.said.decode()
    assert status == 1 and re.search(target.full, said) and "Traceback" not in said, said
    assert target.check(folder) == target.seed(number - 1), "the earlier result was lost"
    for path in folder.iterdir():
        if path.name not in target.left | {".out.steps"}:
            assert "rescued" in path.name, f"{path} was left"
            shutil.rmtree(path)
    return "full disk: said so, the earlier result, whole"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=50, help="kills of each program")
    parser.add_argument("--disks", type=int, default=10, help="full disks of each program")
    parser.add_argument("--only", choices=TARGETS, nargs="+", default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    print(f"{machine()}\n")
    for name in args.only:
        target, rng = TARGETS[name], np.random.default_rng(args.seed)
        folder = Path(tempfile.mkdtemp(prefix="scggml-kills-"))
        try:
            target.prepare(folder)
            whole(target, folder, 0)  # compiles, too
            shutil.rmtree(folder / "out")
            typical = whole(target, folder, 1)
            print(f"{name}: begins to write after {typical[0]:.1f} s of {typical[1]:.1f} s")
            counts: collections.Counter[str] = collections.Counter()
            for number in itertools.count(2, 2):
                writes, ends = typical
                while_writing = number % 4 == 0
                wait = rng.uniform(0, 1.1 * (ends - writes if while_writing else ends))
                counts[kill(target, folder, number, wait, while_writing=while_writing)] += 1
                typical = whole(target, folder, number + 1)
                if counts.total() - counts["ended before"] == args.n:
                    break
            largest = max(path.stat().st_size for path in folder.rglob("*"))
            for size in rng.integers(0, largest, args.disks):
                number += 2
                counts[fill(target, folder, number, int(size))] += 1
                whole(target, folder, number + 1)
            for text, count in sorted(counts.items()):
                print(f"  {count:>3} {text}")
            print(
                f"  {counts.total()} runs after that: all ended well, with nothing left beside the result\n", flush=True
            )
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
