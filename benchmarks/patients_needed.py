"""How many patients and cells a study needs, by `sg.tl.power` on simulated patients, for three sizes of the effect."""

from __future__ import annotations

import argparse

import pandas as pd
import scanpy as sc
from _machine import machine

import scggml as sg

EFFECTS = (0.8, 0.6, 0.4)  # log fold changes of 40 of 1,000 genes in one of three cell types
MIN_CELLS = 100


def table_of(effect, n_samples, n_repeats):
    """The table of power for a cohort of some 100 patients."""
    adata = sg.datasets.simulated_cohort(120, n_cells=150, effect_size=effect, patient_effect=0.3, rng=0)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=20)
    sg.pp.filter_samples(adata, "sample", min_cells=MIN_CELLS)
    return sg.tl.power(
        adata, "sample", "label", n_samples=n_samples, n_cells=[MIN_CELLS, 30], n_repeats=n_repeats, rng=0
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="random studies of each size")
    parser.add_argument("--patients", type=int, nargs="+", default=[8, 12, 24, 36, 48], help="both classes together")
    args = parser.parse_args()
    print(machine())
    found = {effect: table_of(effect, args.patients, args.repeats) for effect in EFFECTS}
    print(pd.concat(found, names=["effect"]).reset_index(level=0).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
