"""How much longer the distances of small samples are by chance, and what helps.

Cells are Gaussian. Samples are drawn from one distribution, or from patients whose means differ along one direction with
the standard deviation of cells. The ratio is the mean distance of a small sample to all others, divided by that of a
sample of the usual size: one if the number of cells does not matter.

    python benchmarks/small_samples.py
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from _machine import machine
from _table import print_table
from anndata import AnnData

import scggml as sg

N_SMALL, N_USUAL = 6, 18
FRACTIONS = ((15, 60), (30, 60), (75, 300), (150, 300))
REMEDIES = {
    "exact": {},
    "debiased Sinkhorn, reg=0.2": {"solver": sg.Sinkhorn(reg=0.2, debiased=True)},
    "debiased Sinkhorn, reg=1": {"solver": sg.Sinkhorn(reg=1.0, debiased=True)},
    "sketch": {"sketch_key": "sketch"},
}


def cohort(small: int, usual: int, n_features: int, *, spread: float, seed: int) -> AnnData:
    """Return samples of `small` cells, followed by those of `usual` cells."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat([small, usual], [N_SMALL, N_USUAL])
    sample = np.repeat(np.arange(len(sizes)), sizes)
    cells = rng.normal(size=(len(sample), n_features))
    cells[:, 0] += spread * rng.normal(size=len(sizes))[sample]
    obs = pd.DataFrame({"sample": [f"s{i:02d}" for i in sample]}, index=[f"c{i}" for i in range(len(sample))])
    return AnnData(cells, obs=obs)


def ratio(adata: AnnData, **options: object) -> float:
    """Return the mean distance of small samples over that of the others."""
    pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean", **options)
    means = pdata.obsp["ggml_distances"].mean(axis=1)
    return float(means[:N_SMALL].mean() / means[N_SMALL:].mean())


def equal_numbers(adata: AnnData) -> AnnData:
    """Return as many cells of each sample as the smallest has."""
    by_sample = adata.obs.groupby("sample", observed=True)
    return adata[by_sample.sample(int(by_sample.size().min()), random_state=0).index]


def mean_ratio(small: int, usual: int, n_features: int, spread: float, name: str = "exact") -> float:
    """Return the mean ratio over cohorts."""
    found = []
    for seed in range(3):
        adata = cohort(small, usual, n_features, spread=spread, seed=seed)
        if name == "sketch":
            sg.pp.sketch(adata, "sample", n_points=small, rng=0)
        found.append(ratio(equal_numbers(adata)) if name == "equal numbers" else ratio(adata, **REMEDIES[name]))
    return float(np.mean(found))


def main() -> None:
    """Print both tables."""
    warnings.filterwarnings("ignore", message=".*far fewer cells than the median")
    print(machine())
    for spread, title in ((0.0, "one distribution"), (1.0, "patients that differ")):
        rows = [
            [f"{small} of {usual}", *(f"{mean_ratio(small, usual, d, spread):.2f}" for d in (2, 5, 15))]
            for small, usual in FRACTIONS
        ]
        print(f"\n{title}, exact distances\n")
        print_table(["cells", "2 features", "5", "15"], rows)
        rows = [
            [name, *(f"{mean_ratio(3, 60, d, spread, name):.2f}" for d in (2, 5, 15))]
            for name in (*REMEDIES, "equal numbers")
        ]
        print(f"\n{title}, samples of 3 and of 60 cells\n")
        print_table(["distances", "2 features", "5", "15"], rows)


if __name__ == "__main__":
    main()
