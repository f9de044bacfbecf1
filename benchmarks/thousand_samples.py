"""1,000 samples x 1,000 cells x 50 features through a sketch: time and memory of each step, bounds and errors."""

from __future__ import annotations

import argparse
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import anndata
import numpy as np
import ot
import pandas as pd
import torch
from _machine import machine
from scipy.spatial.distance import cdist

import scggml as sg
from scggml.core._neighbors import class_scores

_PAGE = 4096 / 1e6
_N_TYPES = 8


def simulate(n_samples: int, n_cells: int, n_features: int, seed: int) -> anndata.AnnData:
    """Eight cell types. The class shifts half of them a little. Patients differ by more, and in composition."""
    rng = np.random.default_rng(seed)
    spread = np.linspace(3, 0.6, n_features)  # as of principal components
    types = rng.normal(size=(_N_TYPES, n_features)) * 1.5 * spread
    effects = rng.normal(size=(3, n_features)) * 0.15 * spread
    x = np.empty((n_samples, n_cells, n_features), dtype=np.float32)
    for i, child in enumerate(rng.spawn(n_samples)):
        cell_type = child.choice(_N_TYPES, size=n_cells, p=child.dirichlet(np.full(_N_TYPES, 10.0)))
        x[i] = types[cell_type] + child.normal(size=(n_cells, n_features)) * 0.7 * spread
        x[i] += 0.3 * child.normal(size=n_features) * spread + effects[i % 3] * (cell_type < _N_TYPES // 2)[:, None]
    code = np.repeat(np.arange(n_samples), n_cells)
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical.from_codes(code, [f"s{i:04d}" for i in range(n_samples)]),
            "label": pd.Categorical.from_codes(code % 3, ["a", "b", "c"]),
        },
        index=pd.RangeIndex(len(code)).astype(str),
    )
    return anndata.AnnData(obs=obs, obsm={"X_emb": x.reshape(-1, n_features)})


def resident() -> float:
    """Return the memory of this process in MB, from /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


@contextmanager
def step(name: str, base: float):
    """Print how long a step took, and its peak memory above imports and data and in total."""
    peak, done = resident(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    print(f"{name:40s} {seconds:8.1f} s   peak {peak - base:6.0f} MB above, {peak:6.0f} MB in total", flush=True)


def errors_of_pairs(adata: anndata.AnnData, distances: pd.DataFrame, n_pairs: int) -> np.ndarray:
    """Distances of the sketches minus exact distances of all cells, by `ot.emd2`, for random pairs."""
    rows = adata.obs.groupby("sample", observed=True).indices
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(n_pairs):
        i, j = rng.choice(distances.index, size=2, replace=False)
        exact = ot.emd2([], [], cdist(*(adata.obsm["X_ggml"][rows[name]] for name in (i, j))), numItermax=10**7)
        errors.append(distances.loc[i, j] - exact)
    return np.array(errors)


def accuracy(distances: pd.DataFrame, labels: pd.Series) -> float:
    """Leave one sample out: its class by its 3 nearest samples."""
    codes, matrix = labels.cat.codes.to_numpy(), distances.to_numpy()
    found = [
        class_scores(np.delete(matrix[[i]], i, axis=1), np.delete(codes, i), rule="knn", n_neighbors=3).argmax()
        for i in range(len(codes))
    ]
    return float((np.array(found) == codes).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=1000, help="per sample")
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--points", type=int, default=100, help="of the sketch, per sample")
    parser.add_argument("--pairs", type=int, default=50, help="compared with exact transport of all cells")
    parser.add_argument("--euclidean", action="store_true", help="Euclidean distances of the sketches as well")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(machine())
    _ = sg.pp.sketch, sg.tl.fit_metric, sg.GroundMetricLearner, torch, ot  # imported before the baseline is taken
    adata = simulate(args.samples, args.cells, args.features, args.seed)
    base = resident()
    print(f"{args.samples} samples x {args.cells} cells x {args.features} features, sketches of {args.points} points")
    print(f"imports and data: {base:.0f} MB")
    with step("pp.sketch", base):
        sg.pp.sketch(adata, "sample", n_points=args.points, use_rep="X_emb", rng=args.seed)
    with step("tl.fit_metric", base):
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X_emb", sketch_key="sketch", rng=args.seed)
    with step("tl.sample_distances, with bounds", base):
        pdata = sg.tl.sample_distances(adata)
        distances, bounds = sg.get.distances(pdata), sg.get.distances(pdata, bounds=True)
    upper = np.triu_indices(len(distances), k=1)
    median = np.median(distances.to_numpy()[upper])
    of_median = bounds.to_numpy()[upper] / median
    print(
        f"bound on a distance's error / median distance: median {np.median(of_median):.2f}, max {of_median.max():.2f}"
    )
    error = errors_of_pairs(adata, distances, args.pairs) / median
    print(
        f"error / median distance, {args.pairs} pairs: median {np.median(abs(error)):.4f}, max {abs(error).max():.4f}, "
        f"mean {error.mean():+.4f}"
    )
    print(f"leave-one-out 3-NN accuracy, learned from the same labels: {accuracy(distances, pdata.obs['label']):.3f}")
    if args.euclidean:
        with step("tl.sample_distances, Euclidean", base):
            plain = sg.tl.sample_distances(
                adata, "sample", metric="euclidean", use_rep="X_emb", sketch_key="sketch", key_added="plain"
            )
        euclidean = accuracy(sg.get.distances(plain, key="plain"), plain.obs["label"])
        print(f"leave-one-out 3-NN accuracy, Euclidean: {euclidean:.3f}")


if __name__ == "__main__":
    main()
