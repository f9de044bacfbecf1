"""Benchmark jobs in fresh processes: how they are started, limited and measured, and how results come back.

The environment of the peer imports this module too, so it needs nothing but NumPy and the standard library.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

_MARK = "benchmark result: "


def write_samples(path, arrays, labels):
    """Store one (n_cells, n_features) array per sample and the classes as one .npz file."""
    sizes = [len(x) for x in arrays]
    np.savez(path, points=np.concatenate(arrays), ends=np.cumsum(sizes), labels=np.asarray(labels))


def read_samples(path):
    """Read the arrays and classes that `write_samples` has stored."""
    with np.load(path) as stored:
        return np.split(stored["points"], stored["ends"][:-1]), stored["labels"]


def few(arrays, labels, *, n_samples=2, n_cells=20):
    """A few cells of a few samples of each class: enough to compile and load everything before it is timed."""
    chosen = np.concatenate([np.flatnonzero(labels == c)[:n_samples] for c in np.unique(labels)])
    return [arrays[i][:: max(1, len(arrays[i]) // n_cells)] for i in chosen], labels[chosen]


def fixed_map(arrays):
    """A rank-5 map, the same in every process, to measure distances under."""
    width = arrays[0].shape[1]
    return (np.random.default_rng(0).normal(size=(5, width)) / np.sqrt(width)).astype(np.float32)


def measured(work, warm_up=None):
    """Run `warm_up`, then `work`. Return the result of `work`, and its time and memory."""
    start = time.perf_counter()
    if warm_up is not None:
        warm_up()
    warm = time.perf_counter() - start
    gc.collect()
    _reset_peak()
    base = _memory("VmRSS")
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    peak = _memory("VmHWM")
    return result, {"seconds": seconds, "warm_up": warm, "peak_mb": peak, "above_mb": max(0.0, peak - base)}


def run_job(python, script, job, data, *, timeout, memory_gb=None, **settings):
    """Run one job in a fresh process.

    Returns its numbers and its arrays. The numbers hold `status`: "ok", or the reason why there are no others.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "result.npz"
        request = {"job": job, "data": str(data), "saved": str(saved), "memory_gb": memory_gb, "settings": settings}
        command = [str(python), str(Path(__file__).parent / script), json.dumps(request)]
        start = time.perf_counter()
        try:
            process = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, env={**os.environ, "MPLBACKEND": "Agg"}
            )
        except subprocess.TimeoutExpired:
            return {"status": f"timeout after {timeout:.0f} s"}, {}
        lines = [line for line in process.stdout.splitlines() if line.startswith(_MARK)]
        if lines:
            numbers = json.loads(lines[-1].removeprefix(_MARK))
        else:
            numbers = {"status": _reason(process)}
        if numbers["status"] not in ("ok", "failed"):
            numbers["status"] += f" after {time.perf_counter() - start:.0f} s"
        arrays = {}
        if saved.exists():
            with np.load(saved) as stored:
                arrays = dict(stored)
    if numbers["status"] == "failed":
        sys.stderr.write(process.stderr)
    return numbers, arrays


def main(jobs):
    """Do the job that the first argument describes. `jobs` maps names to functions returning numbers and arrays."""
    request = json.loads(sys.argv[1])
    if request["memory_gb"]:
        limit = int(request["memory_gb"] * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    arrays, labels = read_samples(request["data"])
    try:
        numbers, results = jobs[request["job"]](arrays, labels, **request["settings"])
    except (MemoryError, RuntimeError) as error:
        text = traceback.format_exception_only(error)[-1].strip()
        if not isinstance(error, MemoryError) and "memory" not in text:
            raise
        # torch raises RuntimeError where NumPy raises MemoryError
        numbers, results = {"status": f"{type(error).__name__}: out of memory", "peak_mb": _memory("VmHWM")}, {}
    numbers.setdefault("status", "ok")
    np.savez(request["saved"], **results)
    print(_MARK + json.dumps(numbers), flush=True)


def _reason(process):
    if "bad_alloc" in process.stderr:
        return "bad_alloc"
    if "MemoryError" in process.stderr:
        return "MemoryError"
    if process.returncode < 0:
        return f"killed by {signal.Signals(-process.returncode).name}"
    return "failed"


def _memory(field):
    """Memory of this process in MB. `VmHWM` is the peak.

    The peak of getrusage can be that of the process which started this one, so it only stands in where there is no
    /proc.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line for line in status.read_text().splitlines() if line.startswith(field)]
        if lines:
            return int(lines[0].split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _reset_peak():
    """Let the peak start again from what is in use now, where the system can do that (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
