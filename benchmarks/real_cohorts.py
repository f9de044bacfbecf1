"""Real cohorts: held-out accuracy beside Euclidean OT with the same classifier and cells, and the genes found."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import anndata
import numpy as np
from _machine import machine
from matplotlib.figure import Figure
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_predict

import scggml as sg

INTERFERON_STIMULATED = set(
    "ISG15 ISG20 IFIT1 IFIT2 IFIT3 IFIT5 IFITM1 IFITM2 IFITM3 RSAD2 CXCL9 CXCL10 CXCL11 CCL2 CCL7 CCL8 TNFSF10 "
    "TNFSF13B IDO1 APOBEC3A MX1 MX2 LY6E IFI6 IFI27 IFI35 IFI44 IFI44L OAS1 OAS2 OAS3 OASL IRF7 STAT1 "
    "HERC5 PLSCR1 XAF1 EPSTI1 BST2 USP18 SAMD9L GBP1 GBP4 GBP5 EIF2AK2".split()
)


def samples(adata, label, *, n_cells, n_comps, seed):
    """Return at most `n_cells` random cells of each sample: one array of PCs per sample, labels and first rows."""
    rng = np.random.default_rng(seed)
    groups = adata.obs.groupby("sample", observed=True).indices
    arrays, labels, first = [], [], []
    for name in sorted(groups):
        rows = np.sort(rng.permutation(groups[name])[:n_cells])
        arrays.append(adata.obsm["X_pca"][rows, :n_comps])
        labels.append(str(adata.obs[label].iloc[rows[0]]))
        first.append(rows[0])
    return arrays, np.array(labels), np.array(first)


def held_out(arrays, labels, splitter, groups=None):
    """Balanced accuracy of the learned metric and of Euclidean OT, nearest class by the mean of its 3 nearest."""
    scores = []
    for learner in (sg.GroundMetricLearner(scale="global", rng=0), "euclidean"):
        model = sg.OTNeighborsClassifier(learner)
        predicted = cross_val_predict(model, arrays, labels, cv=splitter, groups=groups)
        scores.append(balanced_accuracy_score(labels, predicted))
    return scores


def kang(path):
    """Interferon response: leave one donor out, and the genes with the largest weights."""
    adata = anndata.read_h5ad(path)
    arrays, labels, first = samples(adata, "label", n_cells=10**6, n_comps=50, seed=0)
    learned, euclidean = held_out(arrays, labels, LeaveOneGroupOut(), adata.obs["donor"].astype(str).to_numpy()[first])
    print(f"kang2018, leave one donor out: learned {learned:.2f}, Euclidean OT {euclidean:.2f}")
    for rep in ("X", "X_pca"):
        sg.tl.fit_metric(adata, "sample", "label", use_rep=rep, rng=0)
        top = list(sg.get.gene_weights(adata).index[:10])
        hits = sum(gene in INTERFERON_STIMULATED for gene in top)
        print(
            f"kang2018, fitted on {rep}: {hits} of the 10 largest weights are interferon-stimulated: {', '.join(top)}"
        )
    return adata


def benchmark(path, label, *, n_seeds=3):
    """Leave one patient out on 100 cells and 20 PCs, several cell subsamples."""
    adata = anndata.read_h5ad(path)
    adata = adata[adata.obs[label].notna()]
    start = time.perf_counter()
    scores = np.array(
        [
            held_out(*samples(adata, label, n_cells=100, n_comps=20, seed=seed)[:2], LeaveOneOut())
            for seed in range(n_seeds)
        ]
    )
    by_seed = ", ".join(f"{learned:.3f} / {euclidean:.3f}" for learned, euclidean in scores)
    learned, euclidean = scores.mean(axis=0)
    print(
        f"{path.stem} ({label}), leave one patient out: balanced accuracy learned {learned:.3f}, "
        f"Euclidean OT {euclidean:.3f} (by subsample {by_seed}; {time.perf_counter() - start:.0f} s)",
        flush=True,
    )


def end_to_end(adata, name, label, out):
    """Fit, distances and figures on all cells."""
    start = time.perf_counter()
    sg.tl.fit_metric(adata, "sample", label, rng=0)
    pdata = sg.tl.sample_distances(adata)
    sg.tl.embed_samples(pdata, "mds")
    drawings = {
        "map": lambda ax: sg.pl.sample_map(pdata, color=label, labels=True, ax=ax),
        "heatmap": lambda ax: sg.pl.distance_heatmap(pdata, color=label, ax=ax),
        "genes": lambda ax: sg.pl.gene_weights(adata, ax=ax),
        "history": lambda ax: sg.pl.training_history(adata, ax=ax),
    }
    out.mkdir(parents=True, exist_ok=True)
    for kind, draw in drawings.items():
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        draw(figure.subplots())
        figure.savefig(out / f"{name}_{kind}.png", dpi=120)
    print(f"{name}: {adata.n_obs} cells, fit to figures in {time.perf_counter() - start:.0f} s", flush=True)


def many_samples(path, label):
    """Fit and the full matrix of a cohort with hundreds of samples."""
    adata = anndata.read_h5ad(path)
    start = time.perf_counter()
    sg.tl.fit_metric(adata, "sample", label, rng=0)
    fitted = time.perf_counter()
    pdata = sg.tl.sample_distances(adata)
    done = time.perf_counter()
    n_pairs = pdata.n_obs * (pdata.n_obs - 1) // 2
    print(
        f"{path.stem}: {pdata.n_obs} samples, {adata.n_obs} cells, {adata.n_vars} features: "
        f"fit {fitted - start:.0f} s + exact matrix of {n_pairs} pairs {done - fitted:.0f} s = {done - start:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    args = parser.parse_args()
    print(machine())
    many_samples(args.data / "igan_glomeruli_morphometry.h5ad", "label")
    end_to_end(kang(args.data / "kang2018_ifnb_pbmc.h5ad"), "kang2018", "label", args.out)
    aml = args.data / "vangalen2019_aml.h5ad"
    benchmark(aml, "hierarchy")
    end_to_end(anndata.read_h5ad(aml), "vangalen2019", "hierarchy", args.out)
    benchmark(aml, "label")
    benchmark(args.data / "debiasi2020_covid_cd8_flow.h5ad", "label")


if __name__ == "__main__":
    main()
