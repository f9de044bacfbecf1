"""Held-out distances beside those of training samples: their time, and whether they show classes that are not there.

The silhouette of the classes is that of true labels, and its mean over relabelings, by Euclidean transport, by held-out
distances and by those of training samples. With three classes it is negative where nothing differs, because the nearest
other class is chosen after the fact: Euclidean transport, which sees no label, says how much.

    python benchmarks/held_out_maps.py --data DIR
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _machine import machine
from _table import print_table
from sklearn.metrics import silhouette_score

import scggml as sg

WAYS = {
    "euclidean": {"metric": "euclidean", "sample_key": "sample", "use_rep": "X_pca"},
    "held out": {"cv": "auto"},
    "held out, one at a time": {"cv": "leave_one_out"},
    "training": {},
}
REAL = {"De Biasi": "debiasi2020_covid_cd8_flow", "OneK1K": "onek1k_subset_age"}


def cohorts(data: Path | None) -> dict[str, ad.AnnData]:
    """Return the cohorts, at most 100 cells of each sample."""
    found = {} if data is None else {name: ad.read_h5ad(data / f"{file}.h5ad") for name, file in REAL.items()}
    for n_samples in (24, 10):
        adata = sg.datasets.simulated_cohort(n_samples=n_samples, n_cells=100, rng=0)
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        sc.pp.pca(adata, n_comps=30)
        found[f"simulated, {n_samples} samples"] = adata
    for name, adata in found.items():
        rows = adata.obs.groupby("sample", observed=True).cumcount() < 100
        adata = adata[rows.to_numpy()].copy()
        adata.obs["sample"], adata.obs["label"] = adata.obs["sample"].astype(str), adata.obs["label"].astype(str)
        found[name] = ad.AnnData(adata.obsm["X_pca"], obs=adata.obs, obsm={"X_pca": adata.obsm["X_pca"]})
    return found


def times(adata: ad.AnnData) -> dict[str, float]:
    """Return the seconds of each way, the second time of each."""
    sg.tl.fit_metric(adata, "sample", "label", rng=0)
    found = {}
    for _ in range(2):
        for way, options in WAYS.items():
            start = time.perf_counter()
            sg.tl.sample_distances(adata, **options)
            found[way] = time.perf_counter() - start
    return found


def silhouettes(adata: ad.AnnData) -> dict[str, float]:
    """Return the silhouette of the labels by each way."""
    sg.tl.fit_metric(adata, "sample", "label", rng=0)
    found = {}
    for way, options in WAYS.items():
        pdata = sg.tl.sample_distances(adata, **options)
        found[way] = silhouette_score(pdata.obsp["ggml_distances"], pdata.obs["label"], metric="precomputed")
    return found


def relabelled(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Return the cells with the labels of samples exchanged at random."""
    labels = adata.obs.groupby("sample")["label"].first()
    exchanged = pd.Series(rng.permutation(labels.to_numpy()), index=labels.index)
    adata = adata.copy()
    adata.obs["label"] = adata.obs["sample"].map(exchanged)
    return adata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the real cohorts")
    parser.add_argument("--relabelings", type=int, default=20)
    args = parser.parse_args()
    print(machine())
    seconds, true, permuted = {}, {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about small samples and gene weights
        for name, adata in cohorts(args.data).items():
            seconds[name], true[name] = times(adata), silhouettes(adata)
            rng = np.random.default_rng(0)
            table = pd.DataFrame([silhouettes(relabelled(adata, rng)) for _ in range(args.relabelings)])
            error = table.std() / np.sqrt(len(table))
            permuted[name] = {way: f"{table[way].mean():.3f} ± {error[way]:.3f}" for way in WAYS}
    tables = {
        "Seconds": pd.DataFrame(seconds).T.map("{:.2f}".format),
        "Silhouette of the classes": pd.DataFrame(true).T.map("{:.3f}".format),
        f"Its mean over {args.relabelings} relabelings ± standard error": pd.DataFrame(permuted).T,
    }
    for title, table in tables.items():
        print(f"\n{title}")
        print_table(["cohort", *table.columns], [[name, *row] for name, row in table.iterrows()])


if __name__ == "__main__":
    main()
