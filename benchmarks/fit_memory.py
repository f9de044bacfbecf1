"""Peak memory of fitting 30 samples x 1,000 cells x 50 features, above the imports and the data."""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path

import anndata
import numpy as np
import ot
import pandas as pd
import torch
from _machine import machine

import scggml as sg

_PAGE = 4096 / 1e6


def resident() -> float:
    """Return the memory of this process in MB, from /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--features", type=int, default=50)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(args.samples), args.cells)
    x = rng.normal(size=(len(code), args.features)).astype(np.float32)
    x[:, 0] += 0.5 * (code % 3)
    obs = pd.DataFrame(
        {"sample": code.astype(str), "label": (code % 3).astype(str)}, index=[f"c{i}" for i in range(len(x))]
    )
    adata = anndata.AnnData(obs=obs, obsm={"X_emb": x})
    _ = sg.tl.fit_metric, sg.GroundMetricLearner, torch, ot  # imported before the baseline is taken
    base, peak, done = resident(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_emb", rng=0)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    print(machine())
    print(
        f"{args.samples} samples x {args.cells} cells x {args.features} features: "
        f"{peak - base:.0f} MB above the imports and the data, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
