"""Distances by entropic transport on a GPU and on the processor, beside exact transport. Without a GPU, it is left out."""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from _cohorts import cohort
from _machine import machine
from _table import print_table, seconds

from scggml import Sinkhorn
from scggml.core.measures._measures import Measures
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._solvers import Exact

HEADER = ["samples", "cells", "reg", "exact s", "CPU s", "GPU s", "CPU / GPU", "exact / GPU", "largest CPU - GPU"]


def timed(arrays, solver_at, repeats):
    """The distances, and the smallest of repeated times after one small run to warm up."""
    small, measures = Measures.from_arrays([x[:20] for x in arrays[:3]]), Measures.from_arrays(arrays)
    pairwise_distances(small, solver=solver_at(small))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        distances, _ = pairwise_distances(measures, solver=solver_at(measures))
        times.append(time.perf_counter() - start)
    return distances, min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["30x300", "100x300", "100x1000"], help="samples x cells")
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--regs", type=float, nargs="+", default=[0.2, 0.05])
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    there = torch.cuda.is_available()
    print(machine(), "with", torch.cuda.get_device_name() if there else "no GPU", flush=True)
    rows = []
    for size in args.sizes:
        n_samples, n_cells = map(int, size.split("x"))
        arrays, _ = cohort(n_samples, n_cells, n_features=args.features)
        _, exact = timed(arrays, lambda _: Exact(), args.repeats)
        for reg in args.regs:
            on_cpu, cpu = timed(arrays, Sinkhorn(reg, device="cpu").at, args.repeats)
            row = [str(n_samples), str(n_cells), str(reg), seconds(exact), seconds(cpu)]
            if there:
                on_gpu, gpu = timed(arrays, Sinkhorn(reg, device="cuda").at, args.repeats)
                difference = np.abs(on_cpu - on_gpu).max() / on_cpu.max()
                row += [seconds(gpu), f"{cpu / gpu:.1f}", f"{exact / gpu:.2f}", f"{difference:.1e}"]
            rows.append(row + ["-"] * (len(HEADER) - len(row)))
            print(*rows[-1], flush=True)
    print_table(HEADER, rows)


if __name__ == "__main__":
    main()
