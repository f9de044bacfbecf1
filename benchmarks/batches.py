"""Batches that differ more than the disease does: held-out accuracy with and without `batch_key`."""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
import scanpy as sc
from _machine import machine
from _table import print_table

import scggml as sg
from scggml.core._neighbors import class_scores
from scggml.datasets._simulation import Design, simulate


def cohort(args, seed):
    """Two batches, half of each class put into its own batch: class and batch correlate by 0.5."""
    adata = simulate(
        args.samples, n_cells=args.cells, n_batches=2, batch_effect=args.batch_effect, batch_label_correlation=0.5,
        design=Design(programme_cell_types=3), rng=seed,
    )  # fmt: skip
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)
    return adata


def held_out(table, seed):
    """Equally many patients of each class and batch, so that class and batch are independent."""
    rows_of = table.groupby(["label", "batch"], observed=True).indices
    n = max(2, min(map(len, rows_of.values())) // 2)
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.permutation(rows)[:n] for rows in rows_of.values()]))


def nearest(distances, train, test, column):
    """The share of held-out patients whose value is that of most of their 5 nearest training patients."""
    codes = pd.factorize(column)[0]
    votes = class_scores(distances[np.ix_(test, train)], codes[train], rule="knn", n_neighbors=5)
    return float((votes.argmax(axis=1) == codes[test]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument(
        "--batch-effect", type=float, default=1.0, help="the effect of the disease is 0.8, in 40 of 1,000 genes"
    )
    args = parser.parse_args()
    print(machine())
    rows, chosen = [], []
    for seed in range(args.seeds):
        adata = cohort(args, seed)
        pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
        table = pdata.obs[["label", "batch"]]
        test = held_out(table, seed)
        train = np.setdiff1d(np.arange(len(table)), test)
        cells = adata[adata.obs["sample"].isin(table.index[train])].copy()
        matrices = {"Euclidean OT": pdata.obsp["ggml_distances"]}
        for name, batch_key in (("learned without batch_key", None), ("learned with batch_key", "batch")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                sg.tl.fit_metric(cells, "sample", "label", batch_key=batch_key, rng=0)
            adata.uns["ggml"] = cells.uns["ggml"]
            matrices[name] = sg.tl.sample_distances(adata).obsp["ggml_distances"]
        found = [nearest(d, train, test, table[c]) for d in matrices.values() for c in ("label", "batch")]
        chosen.append(found)
        rows.append([str(seed), str(len(train)), str(len(test)), *(f"{value:.2f}" for value in found)])
    rows.append(["mean", "", "", *(f"{value:.2f}" for value in np.mean(chosen, axis=0))])
    names = [f"{name}: {what}" for name in matrices for what in ("class", "batch")]
    print_table(["seed", "training", "held out", *names], rows)
    print("Share of held-out patients predicted by most of their 5 nearest training patients; chance is 0.5 for both.")


if __name__ == "__main__":
    main()
