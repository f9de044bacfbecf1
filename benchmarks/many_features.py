"""What it gains to keep all directions of a metric on more than 50 features, which can then be shrunk by the signal.

Simulated cohorts of 24 patients, with their labels and with permuted ones. The default is beside a bound of 50 components and
Euclidean transport.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import scanpy as sc
from _machine import machine
from _table import print_table

import scggml as sg

METHODS = {
    "default": "ggml",
    "n_comps=50": sg.GroundMetricLearner(n_comps=50, scale="global"),
    "euclidean": "euclidean",
}


def cohort(seed, n_pcs, *, permuted):
    """PCs of a simulated cohort."""
    adata = sg.datasets.simulated_cohort(24, n_cells=80, n_genes=600, effect_size=0.8, rng=seed)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=n_pcs)
    if permuted:
        labels = adata.obs.groupby("sample", observed=True)["label"].first()
        shuffled = np.random.default_rng(seed).permutation(labels.to_numpy())
        adata.obs["label"] = adata.obs["sample"].map(dict(zip(labels.index, shuffled, strict=True))).astype("category")
    return adata


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pcs", type=int, nargs="+", default=[70, 100])
    parser.add_argument("--seeds", type=int, nargs=2, default=[10, 20], help="first seed, and the seed after the last")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine())
    rows = []
    for n_pcs in args.pcs:
        for permuted in (False, True):
            tables = []
            for seed in range(*args.seeds):
                adata = cohort(seed, n_pcs, permuted=permuted)
                sg.tl.cross_validate(adata, "sample", "label", methods=METHODS, rng=0)
                tables.append(sg.get.scores(adata, baseline="n_comps=50").query("score == 'balanced_accuracy'"))
            found = [table.query("classifier == 'class_mean'").set_index("method") for table in tables]
            means = [f"{np.mean([table.loc[name, 'value'] for table in found]):.3f}" for name in METHODS]
            only = [int(sum(table.loc["default", key] for table in found)) for key in ("only_method", "only_baseline")]
            rows.append([str(n_pcs), "permuted" if permuted else "given", *means, f"+{only[0]} -{only[1]}"])
    print_table(["PCs", "labels", *METHODS, "patients, default beside n_comps=50"], rows)


if __name__ == "__main__":
    main()
