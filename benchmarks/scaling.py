"""How scggml's time and memory grow with samples, cells and features; each point in a fresh process."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from _cohorts import cohort
from _jobs import run_job, write_samples
from _machine import machine
from _table import print_table, seconds, write_markdown

AXES = {"samples": "n_samples", "cells": "n_cells", "features": "n_features"}
BASE = {"n_samples": 30, "n_cells": 300, "n_features": 50}
SWEEPS = {
    "samples": (10, 20, 30, 60, 120),
    "cells": (50, 100, 200, 300, 500, 1000),
    "features": (2, 10, 50, 200, 500, 1000, 2000),
}
QUICK_BASE = {"n_samples": 9, "n_cells": 60, "n_features": 10}
QUICK_SWEEPS = {"samples": (6, 9, 18), "cells": (30, 60, 120), "features": (2, 20, 100)}
COLUMNS = {"fit s": "seconds", "matrix s": "matrix_seconds", "fit MB above data": "above_mb"}
HEADER = ["samples", "cells", "features", *COLUMNS, "fit / matrix", "peak MB"]


def measure(sizes, folder, args):
    """The smallest of repeated times, the largest of repeated peaks."""
    data = folder / "samples.npz"
    write_samples(data, *cohort(**sizes, seed=args.seed))
    found = []
    for _ in range(args.repeats):
        numbers, _ = run_job(sys.executable, "_run_scggml.py", "fit_and_matrix", data, timeout=args.timeout)
        if numbers["status"] != "ok":
            return numbers
        found.append(numbers)
    best = {key: min(n[key] for n in found) for key in ("seconds", "matrix_seconds")}
    return best | {key: max(n[key] for n in found) for key in ("above_mb", "peak_mb", "warm_up")} | {"status": "ok"}


def table_row(sizes, numbers):
    """One line of the table, as text."""
    cells = [str(sizes[key]) for key in AXES.values()]
    if numbers["status"] != "ok":
        return [*cells, numbers["status"], *["-"] * (len(HEADER) - len(cells) - 1)]
    return [
        *cells,
        seconds(numbers["seconds"]),
        seconds(numbers["matrix_seconds"]),
        f"{numbers['above_mb']:.0f}",
        f"{numbers['seconds'] / numbers['matrix_seconds']:.2f}",
        f"{numbers['peak_mb']:.0f}",
    ]


def exponents(values, results):
    """Slopes of the logarithms over all points and over the three largest, by least squares, as text."""
    texts = []
    for name, key in COLUMNS.items():
        points = [(v, r[key]) for v, r in zip(values, results, strict=True) if r["status"] == "ok" and r[key] > 0]
        slopes = [
            f"{np.polyfit(*np.log(part).T, 1)[0]:.2f}" if len(part) > 1 else "-" for part in (points, points[-3:])
        ]
        texts.append(f"{name} {slopes[0]} ({slopes[1]})")
    return ", ".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, help="default 2, quick 1; minima of times are printed")
    parser.add_argument("--only", nargs="+", choices=sorted(SWEEPS), default=list(SWEEPS))
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs at all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=3600, help="seconds per process")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there too")
    args = parser.parse_args()
    args.repeats = args.repeats or (1 if args.quick else 2)
    base, sweeps = (QUICK_BASE, QUICK_SWEEPS) if args.quick else (BASE, SWEEPS)
    where = [machine(), f"Repeats: {args.repeats}. Load of the machine before: {os.getloadavg()[0]:.1f}."]
    print("\n".join(where))
    tables, notes, done = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        for axis in args.only:
            results = []
            for value in sweeps[axis]:
                sizes = {**base, AXES[axis]: value}
                key = tuple(sizes.values())
                if key not in done:  # the sweeps cross at the base
                    done[key] = measure(sizes, Path(folder), args)
                results.append(done[key])
                print(f"{axis} {value}: {'  '.join(table_row(sizes, done[key])[3:])}", flush=True)
            rows = [table_row({**base, AXES[axis]: v}, r) for v, r in zip(sweeps[axis], results, strict=True)]
            grown = f"Exponents in {axis} over all points (over the three largest): {exponents(sweeps[axis], results)}."
            tables.append((f"Number of {axis}", HEADER, rows))
            notes.append(grown)
    for (name, header, rows), note in zip(tables, notes, strict=True):
        print(f"\n{name}")
        print_table(header, rows)
        print(note)
    if args.markdown:
        how = (
            "Fits with defaults on the paper's synthetic cohort. "
            "The exact matrix is of the same samples under the learned metric."
        )
        write_markdown(args.markdown, "How scggml scales", [*where, how, *notes], tables)


if __name__ == "__main__":
    main()
