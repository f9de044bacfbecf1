"""Whether explanations of distances find planted cell types, genes and shifts of proportions, and a known response."""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import scanpy as sc
from _machine import machine
from sklearn.metrics import roc_auc_score

import scggml as sg

CLASSES = ("healthy", "disease")
PARTS = ("state", "exchange", "composition")


def explained(adata, use_rep, n_train=None):
    """Learn a metric and explain the distances under it. Return the cells that it was learned from, and the samples.

    With `n_train`, the metric is learned from the first patients, and the distances between the others are explained.
    """
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if use_rep == "X_pca":
        sc.pp.pca(adata, n_comps=30)
    learned = explained = adata
    if n_train is not None:
        first = (adata.obs["sample"].cat.codes < n_train).to_numpy()
        learned, explained = adata[first].copy(), adata[~first].copy()
        for part in (learned, explained):
            part.obs["sample"] = part.obs["sample"].cat.remove_unused_categories()
    sg.tl.fit_metric(learned, "sample", "label", use_rep=use_rep, rng=0)
    explained.uns["ggml"] = learned.uns["ggml"]
    pdata = sg.tl.sample_distances(explained)
    sg.tl.explain_distances(explained, pdata, cell_type_key="cell_type")
    return learned, pdata


def programme(seeds, use_rep, n_train=None):
    """Is the planted cell type first, and are the planted genes?"""
    whose = "training patients" if n_train is None else "other patients"
    print(f"\nprogramme of 40 genes in one cell type (T) of three, {use_rep}, distances between {whose}")
    print(
        "first: type with the largest distance, excess, excess per cell; shares of the excess; AUC of the planted genes"
    )
    print(
        line(
            ("seed", "first", "T", "B", "Mono", "state", "exchange", "composition", "by weight", "excess", "state of T")
        )
    )
    hits, areas = [], []
    for seed in range(seeds):
        adata = sg.datasets.simulated_cohort(24 if n_train is None else 2 * n_train, rng=seed)
        learned, pdata = explained(adata, use_rep, n_train)
        planted = adata.uns["simulated_cohort"]["programme_cell_types"][0]
        table = sg.get.explanation(pdata, "cell_types", classes=CLASSES).set_index("cell_type")
        summary = sg.get.explanation(pdata, classes=CLASSES).iloc[0]
        scores = [sg.get.gene_weights(learned)["weight"]]
        for cell_type in (None, planted):
            genes = sg.get.explanation(pdata, "genes", classes=CLASSES, cell_type=cell_type).set_index("gene")
            scores.append(genes["excess"])
        first = [table[name].idxmax() for name in ("distance", "excess", "distance_per_cell_excess")]
        hits.append([name == planted for name in first])
        areas.append([roc_auc_score(adata.var["programme"], score[adata.var_names]) for score in scores])
        shares = [summary[f"{part}_excess_share"] for part in PARTS]
        print(line([str(seed), " ".join(first), *table["excess_share"], *shares, *areas[-1]]), flush=True)
    distance, excess, per_cell = np.sum(hits, axis=0)
    mean, least = np.mean(areas, axis=0), np.min(areas, axis=0)
    print(f"planted type first: {distance} of {seeds} by distance, {excess} by excess, {per_cell} by excess per cell")
    names = ("weight", "excess", "excess in the state of T")
    print("AUC by " + ", ".join(f"{n} {m:.3f} (least {l:.3f})" for n, m, l in zip(names, mean, least, strict=True)))


def composition(seeds, use_rep, shift):
    """Is a shift of proportions distinguished from a shift of states?"""
    print(f"\nno programme, log-odds of one cell type of three shifted by {shift}, {use_rep}; shares of the excess")
    print(line(("seed", "", "excess", "se", "state", "se", "exchange", "se", "composition", "se")))
    hits = np.zeros(2, dtype=int)
    for seed in range(seeds):
        adata = sg.datasets.simulated_cohort(effect_size=0, composition_shift=shift, rng=seed)
        row = sg.get.explanation(explained(adata, use_rep)[1], classes=CLASSES).iloc[0]
        share = {part: row[f"{part}_excess_share"] for part in PARTS}
        hits += [share["composition"] > share["state"], share["composition"] > share["state"] + share["exchange"]]
        cells = [value for part in PARTS for value in (share[part], row[f"{part}_excess_share_se"])]
        print(line([str(seed), "", row["excess"], row["excess_se"], *cells]), flush=True)
    print(f"composition exceeds state: {hits[0]} of {seeds}; state and exchange together: {hits[1]} of {seeds}")


def line(cells):
    """One line of a table: numbers in columns of equal width."""
    texts = [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells]
    return texts[0].rjust(4) + "  " + texts[1].ljust(14) + "".join(text.rjust(12) for text in texts[2:])


def interferon(path):
    """Which cell types respond most?"""
    adata = anndata.read_h5ad(path)
    for use_rep in ("X_pca", "X"):
        start = time.perf_counter()
        sg.tl.fit_metric(adata, "sample", "label", use_rep=use_rep, rng=0)
        pdata = sg.tl.sample_distances(adata)
        middle = time.perf_counter()
        with warnings.catch_warnings():  # rare types are absent from some donors
            warnings.simplefilter("ignore", UserWarning)
            sg.tl.explain_distances(adata, pdata, cell_type_key="cell_type")
        seconds = time.perf_counter() - middle
        print(
            f"\nkang2018, ctrl and stim, {use_rep}: {middle - start:.1f} s to distances, "
            f"{seconds:.1f} s to explain them"
        )
        print(sg.get.explanation(pdata, classes=("ctrl", "stim")).T.to_string(header=False))
        table = sg.get.explanation(pdata, "cell_types", classes=("ctrl", "stim")).set_index("cell_type")
        columns = ["proportion_a", "proportion_b", "share", "excess_share", "excess_se", "state_per_cell"]
        columns += ["state_per_cell_excess", "state_per_cell_excess_se"]
        columns += ["distance_per_cell_excess", "distance_per_cell_excess_se"]
        print(table[columns].sort_values("distance_per_cell_excess", ascending=False).round(3).to_string())
        for cell_type in (None, table["distance_per_cell_excess"].idxmax()):
            genes = sg.get.explanation(pdata, "genes", classes=("ctrl", "stim"), cell_type=cell_type, n_genes=10)
            print(f"genes by excess, {cell_type or 'all'}: {', '.join(genes['gene'])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--shift", type=float, default=1.5, help="shift of the log-odds of a cell type")
    parser.add_argument("--data", type=Path, help="folder with kang2018_ifnb_pbmc.h5ad")
    args = parser.parse_args()
    print(machine())
    for use_rep in ("X_pca", "X"):
        programme(args.seeds, use_rep)
        programme(args.seeds, use_rep, n_train=24)
        composition(args.seeds, use_rep, args.shift)
    if args.data is not None:
        interferon(args.data / "kang2018_ifnb_pbmc.h5ad")


if __name__ == "__main__":
    main()
