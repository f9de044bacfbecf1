"""Simulated CITE-seq cohorts with signal in RNA and in protein: the joint metric beside the metric of each alone."""

from __future__ import annotations

import argparse
import warnings

import mudata as md
import numpy as np
import pandas as pd
import scanpy as sc
from _machine import machine
from _table import print_table
from anndata import AnnData
from sklearn.model_selection import StratifiedKFold

import scggml as sg
from scggml.core._neighbors import class_scores

_PROTEINS = 20


def cohort(args, seed):
    """A weak programme in the RNA of one cell type, and a weak shift of five proteins in another."""
    rng = np.random.default_rng(seed)
    rna = sg.datasets.simulated_cohort(args.samples, n_cells=args.cells, effect_size=args.rna, rng=seed)
    sc.pp.normalize_total(rna, target_sum=1e4)
    sc.pp.log1p(rna)
    sc.pp.pca(rna, n_comps=20)
    types, patients = (rna.obs[c].cat.codes.to_numpy() for c in ("cell_type", "sample"))
    sick = (rna.obs["label"] == "disease").to_numpy()
    mean = rng.normal(scale=1.0, size=(types.max() + 1, _PROTEINS))[types]
    mean = mean + rng.normal(scale=0.3, size=(patients.max() + 1, _PROTEINS))[patients]
    shift = np.where(np.arange(_PROTEINS) < 5, args.protein, 0.0)
    mean[(types == 1) & sick] += shift
    prot = AnnData((mean + rng.normal(size=mean.shape)).astype(np.float32), obs=pd.DataFrame(index=rna.obs_names))
    mdata = md.MuData({"rna": rna, "prot": prot})
    for column in ("sample", "label"):
        mdata.obs[column] = rna.obs[column]
    return mdata


def held_out(mdata, mod, seed):
    """Accuracy of held-out patients, ten folds, the metric refitted within each."""
    joined = sg.pp.join_modalities(mdata, {name: {"rna": "X_pca", "prot": "X"}[name] for name in mod})
    labels = mdata.obs.groupby("sample", observed=True)["label"].first()
    codes = pd.factorize(labels)[0]
    right = np.zeros(len(codes), dtype=bool)
    for train, test in StratifiedKFold(10, shuffle=True, random_state=seed).split(codes, codes):
        cells = joined[joined.obs["sample"].isin(labels.index[train])].copy()
        sg.tl.fit_metric(cells, "sample", "label", use_rep="X_joint", rng=0)
        joined.uns["ggml"] = cells.uns["ggml"]
        pdata = sg.tl.sample_distances(joined)
        order = pdata.obs_names.get_indexer(labels.index.astype(str))
        distances = pdata.obsp["ggml_distances"][np.ix_(order, order)]
        scores = class_scores(distances[np.ix_(test, train)], codes[train], rule="class_mean", n_neighbors=3)
        right[test] = scores.argmax(axis=1) == codes[test]
    return float(right.mean()), cells.uns["ggml"]["modality_weights"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--cells", type=int, default=80)
    parser.add_argument("--rna", type=float, default=0.55, help="log fold change of the programme")
    parser.add_argument("--protein", type=float, default=0.7, help="shift of five proteins, in standard deviations")
    args = parser.parse_args()
    print(machine())
    warnings.filterwarnings("ignore", message="From 0.4 .update")
    rows, scores = [], []
    for seed in range(args.seeds):
        mdata = cohort(args, seed)
        found = {"+".join(mod): held_out(mdata, mod, seed) for mod in (["rna"], ["prot"], ["rna", "prot"])}
        scores.append([score for score, _ in found.values()])
        weights = ", ".join(f"{name} {value:.2f}" for name, value in found["rna+prot"][1].items())
        rows.append([str(seed), *(f"{score:.2f}" for score, _ in found.values()), weights])
    rows.append(["mean", *(f"{score:.3f}" for score in np.mean(scores, axis=0)), ""])
    print_table(["seed", *found, "modality weights"], rows)
    print(f"Accuracy of {args.samples} patients in ten folds, nearest class by the mean of its 3 nearest patients.")


if __name__ == "__main__":
    main()
