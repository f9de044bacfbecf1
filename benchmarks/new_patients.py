"""Patients mapped to a reference: whether distances are exact, probabilities calibrated, and outliers flagged."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from _machine import machine
from scipy import sparse
from tqdm import tqdm

import scggml as sg
from scggml.core._probabilities import class_probabilities, fit_inverse_temperature, relative_class_scores
from scggml.datasets._simulation import Design, simulate
from scggml.reference._calibration import upper_tail

ALPHA = 0.05
PARTS = ("distance", "outside", "new_cluster", "clusters", "composition")


def normalised(adata):
    adata = adata.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def reference_of(cells, label="label", *, donor_key=None, n_comps=50, rng=0):
    """PCA, metric, map and reference of the cells of a cohort."""
    cells = cells.copy()
    sc.pp.pca(cells, n_comps=n_comps)
    sg.tl.fit_metric(cells, "sample", label, donor_key=donor_key, rng=rng)
    pdata = sg.tl.sample_distances(cells)
    sg.tl.embed_samples(pdata)
    return cells, sg.tl.make_reference(cells, pdata, rng=rng)


def programme(cells, genes, cell_type, change):
    """The same cells with genes of one cell type changed: counts of three quarters rise, the others fall."""
    rng = np.random.default_rng(0)
    x, rows = cells.X.toarray(), np.flatnonzero(cells.obs["cell_type"] == cell_type)
    up, down = np.split(genes, [3 * len(genes) // 4])
    x[np.ix_(rows, up)] += rng.poisson(x[np.ix_(rows, up)] * (np.exp(change) - 1))
    x[np.ix_(rows, down)] = rng.binomial(x[np.ix_(rows, down)].astype(int), np.exp(-change))
    cells = cells.copy()
    cells.X = sparse.csr_matrix(x)
    return cells


def cohort(seed, *, n_reference, n_new, effect_size, patient_effect=0.3):
    """Cells of a reference, of new patients of known classes, and of healthy patients with an unknown change."""
    cells = simulate(
        n_reference + n_new,
        effect_size=effect_size,
        patient_effect=patient_effect,
        design=Design(cell_types=4),
        rng=seed,
    )
    is_new = cells.obs["sample"].cat.codes.to_numpy() >= n_reference
    is_fourth = (cells.obs["cell_type"] == "NK").to_numpy()
    healthy = (cells.obs["label"] == "healthy").to_numpy()
    rng = np.random.default_rng(seed)
    known = cells[~is_new & ~is_fourth].copy()
    ordinary = cells[is_new & ~is_fourth].copy()
    base = cells[is_new & ~is_fourth & healthy].copy()
    free = ~known.var["programme"].to_numpy() & (known.var["marker_of"] == "").to_numpy()
    level = np.asarray(known.X.mean(axis=0)).ravel()
    genes = rng.permutation(np.flatnonzero(free & (level > np.median(level[free]))))[:40]
    few = (base.obs["cell_type"] == "B").to_numpy() | (rng.random(base.n_obs) < 0.3)
    outliers = {
        "another programme, same cell type, 2.2-fold": programme(base, genes, "T", 0.8),
        "another programme, same cell type, 5-fold": programme(base, genes, "T", 1.6),
        "another programme, other cell type, 2.2-fold": programme(base, genes, "B", 0.8),
        "another programme, other cell type, 5-fold": programme(base, genes, "B", 1.6),
        "a new cell type (a quarter of cells)": cells[is_new & healthy].copy(),
        "two cell types nearly gone": base[few].copy(),
    }
    return known, ordinary, outliers


def predicted(cells, reference):
    mapped = sg.tl.map_samples(cells, reference, "sample")
    sg.tl.predict_samples(mapped)
    return mapped


def exactness(seed=0):
    known, ordinary, _ = cohort(seed, n_reference=12, n_new=6, effect_size=0.8)
    cells, reference = reference_of(normalised(known))
    new = normalised(ordinary)
    mapped = sg.tl.map_samples(new, reference)
    sg.tl.project(new, reference)
    union = anndata.concat([cells, new])
    union.uns["ggml"] = new.uns["ggml"]
    whole = sg.tl.sample_distances(union)[mapped.obs_names].obsp["ggml_distances"]
    difference = np.abs(whole - mapped.obsp["ggml_distances"]).max()
    moved = np.abs(mapped.obsm["X_mds"][: reference.n_obs] - reference.obsm["X_mds"]).max()
    print(
        f"18 samples: largest difference from the distances of all cells together {difference:.1e}; "
        f"the map of the reference moved by {moved:.1e}",
        flush=True,
    )


def outliers_and_probabilities(n_seeds, *, effect_size, patient_effect):
    rows, truth, best, probabilities, naive = [], [], [], [], []
    for seed in tqdm(range(n_seeds), file=sys.stderr):
        known, ordinary, outliers = cohort(
            seed, n_reference=24, n_new=12, effect_size=effect_size, patient_effect=patient_effect
        )
        _, reference = reference_of(normalised(known))
        for patients, cells in {"ordinary": ordinary, **outliers}.items():
            mapped = predicted(normalised(cells), reference)
            p = mapped.uns["ggml_prediction"]["p_values"]
            rows += [
                [seed, patients, combined, *parts]
                for combined, *parts in zip(mapped.obs["outlier_p"].dropna(), *(p[name] for name in PARTS), strict=True)
            ]
            if patients == "ordinary":
                is_new = ~mapped.obs["is_reference"].to_numpy()
                classes = mapped.uns["ggml_prediction"]["classes"]
                codes = (mapped.obs["label"].astype(str).to_numpy()[:, None] == classes).argmax(axis=1)
                truth.append(codes[is_new])
                found = mapped.obs["predicted"][is_new].astype(str).to_numpy()
                best.append((found[:, None] == classes).argmax(axis=1))
                probabilities.append(mapped.obsm["ggml_probabilities"][is_new])
                naive.append(_naive(mapped.obsp["ggml_distances"], codes, is_new))
    table = pd.DataFrame(rows, columns=["seed", "patients", "combined", *PARTS])
    print(
        f"24 patients of two classes, effect {effect_size}, patients differ by {patient_effect}: "
        f"share flagged at {ALPHA}"
    )
    for patients, part in table.groupby("patients", sort=False):
        shares = ", ".join(f"{name} {np.mean(part[name] <= ALPHA):.2f}" for name in ("combined", *PARTS))
        print(f"  {patients} ({len(part)}): {shares}", flush=True)
    codes, best = np.concatenate(truth), np.concatenate(best)
    for name, values in (("held-out", probabilities), ("training (for comparison)", naive)):
        _report_probabilities(f"  probabilities calibrated on {name} distances", np.concatenate(values), codes, best)


def _naive(distances, codes, is_new):
    """Probabilities calibrated on distances between training samples, under the metric learned from their labels."""
    known = np.flatnonzero(~is_new)
    scores = []
    for i in known:
        others = known[known != i]
        scores.append(relative_class_scores(distances[[i]][:, others], codes[others])[0])
    inverse_temperature = fit_inverse_temperature(np.array(scores), codes[known])
    return class_probabilities(
        relative_class_scores(distances[np.ix_(is_new, ~is_new)], codes[known]), inverse_temperature
    )


def _report_probabilities(name, probabilities, codes, best):
    sure, right = probabilities.max(axis=1), best == codes
    bins = np.minimum((sure * 10).astype(int), 9)
    error = sum(np.abs(sure[bins == b].mean() - right[bins == b].mean()) * np.mean(bins == b) for b in np.unique(bins))
    loss = -np.log(probabilities[np.arange(len(codes)), codes]).mean()
    reliability = "; ".join(
        f"{sure[bins == b].mean():.2f} -> {right[bins == b].mean():.2f} ({np.sum(bins == b)})" for b in np.unique(bins)
    )
    print(
        f"{name}: {len(codes)} new patients, accuracy {right.mean():.3f}, "
        f"mean probability of the predicted class {sure.mean():.3f}, expected calibration error {error:.3f}, "
        f"log loss {loss:.3f}; stated -> true {reliability}",
        flush=True,
    )


def intervals(n_seeds):
    """Ordinary patients flagged by Student's t of logarithms and by ranks, for several sizes and distributions."""
    for spread in ("normal", "one class twice as wide", "heavy tails"):
        for n in (8, 12, 24, 48):
            flags = {"t": [], "ranks": []}
            for seed in range(n_seeds):
                rng = np.random.default_rng(seed)
                known, new = _patients(rng, n, spread), _patients(rng, 24, spread, prefix="new")
                sg.tl.fit_metric(known, "sample", "label", use_rep="X", rng=0)
                reference = sg.tl.make_reference(known, sg.tl.sample_distances(known), cv="leave_one_out", rng=0)
                mapped = sg.tl.map_samples(new, reference)
                is_new = ~mapped.obs["is_reference"].to_numpy()
                held = reference.uns["ggml_reference"]["calibration"]["held_out"]["distance"].to_numpy()
                near = np.sort(mapped.obsp["ggml_distances"][np.ix_(is_new, ~is_new)], axis=1)[:, :3].mean(axis=1)
                flags["t"] += list(upper_tail(held, near) <= ALPHA)
                flags["ranks"] += list((1 + (held[:, None] >= near).sum(axis=0)) / (n + 1) <= ALPHA)
            shares = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in flags.items())
            print(
                f"{spread}, {n} patients in the reference: ordinary patients flagged at {ALPHA}: {shares}", flush=True
            )


def _patients(rng, n, spread, prefix="s"):
    labels = np.array(["a", "b"])[np.arange(n) % 2]
    sd = np.ones(n)
    if spread == "one class twice as wide":
        sd[labels == "b"] = 2.0
    if spread == "heavy tails":
        sd = np.sqrt(5 / rng.chisquare(5, n))
    sizes = rng.integers(20, 40, n)
    shift = sd[:, None] * rng.normal(size=(n, 6)) + 1.5 * (labels == "b")[:, None] * (np.arange(6) == 0)
    x = np.concatenate([rng.normal(size=(size, 6)) + s for size, s in zip(sizes, shift, strict=True)])
    table = pd.DataFrame({"sample": [f"{prefix}{i:02d}" for i in range(n)], "label": labels})
    obs = table.loc[np.repeat(np.arange(n), sizes)].set_axis([f"{prefix}_{i}" for i in range(len(x))])
    return anndata.AnnData(x, obs=obs.astype("category"), var=pd.DataFrame(index=[f"g{i}" for i in range(6)]))


def kang(path):
    adata = anndata.read_h5ad(path)
    donors = adata.obs["donor"].astype(str)
    right, flagged, n = 0, 0, 0
    pairs = np.sort(donors.unique()).reshape(-1, 2)
    for pair in pairs:
        is_new = donors.isin(pair).to_numpy()
        _, reference = reference_of(adata[~is_new], donor_key="donor")
        mapped = predicted(adata[is_new].copy(), reference)
        new = mapped.obs[~mapped.obs["is_reference"]]
        right += (new["predicted"].astype(str) == new["label"].astype(str)).sum()
        flagged += new["outlier"].sum()
        n += len(new)
    print(
        f"kang2018, 6 donors in the reference, 2 new ones, in turn: {right} of {n} samples right, {flagged} flagged",
        flush=True,
    )


def aml(path):
    adata = anndata.read_h5ad(path)
    adata = adata[adata.obs["hierarchy"].notna()].copy()
    classes = adata.obs["hierarchy"].astype(str)
    for absent in np.unique(classes):
        unseen = (classes == absent).to_numpy()
        names = np.sort(adata.obs.loc[~unseen, "sample"].astype(str).unique())
        known_cells = adata[~unseen].copy()
        _, reference = reference_of(known_cells, "hierarchy", n_comps=20)
        mapped = predicted(adata[unseen].copy(), reference)
        new = mapped.obs[~mapped.obs["is_reference"]]
        p = mapped.uns["ggml_prediction"]["p_values"]
        parts = ", ".join(f"{name} {np.sum(p[name] <= ALPHA)}" for name in p)
        scores = reference.uns["ggml_reference"]["calibration"]["scores"]
        print(
            f"vangalen2019, reference of {len(names)} samples without {absent}: "
            f"{new['outlier'].sum()} of {len(new)} flagged ({parts}); "
            f"held-out balanced accuracy of the reference {scores['balanced_accuracy']:.2f}, "
            f"log loss {scores['log_loss']:.2f} (equal probabilities {scores['log_loss_uniform']:.2f})",
            flush=True,
        )


def flagged(cells, reference):
    mapped = predicted(cells, reference)
    return mapped.obs["outlier"][~mapped.obs["is_reference"]].to_numpy(dtype=bool)


def sizes(n_seeds):
    """Ordinary new patients with fewer cells than those of the reference, equally many, and more."""
    for n_known, n_new in ((100, 30), (100, 100), (100, 600), (400, 60), (400, 400), (400, 1200)):
        found = []
        for seed in range(n_seeds):
            parts = []
            for n_cells in (n_known, n_new):
                cells = simulate(36, n_cells=n_cells, design=Design(vary_cells=False), rng=seed)
                is_new = cells.obs["sample"].cat.codes.to_numpy() >= 24  # patients that the reference lacks
                parts.append(normalised(cells[is_new if parts else ~is_new]))
            _, reference = reference_of(parts[0])
            found += list(flagged(parts[1], reference))
        print(
            f"24 patients of {n_known} cells in the reference, ordinary new ones of {n_new} ({len(found)}): "
            f"flagged at {ALPHA} {np.mean(found):.2f}",
            flush=True,
        )


def unseen_classes(preset, n_seeds):
    """The paper's synthetic cohort: each class in turn, and two samples of each other class, are left out."""
    found = {"ordinary": [], "unseen class": []}
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        adata = sg.datasets.synthetic_cohort(preset, rng=seed)
        samples = adata.obs.groupby("label", observed=True)["sample"].unique()
        for absent in samples.index:
            unseen = (adata.obs["label"] == absent).to_numpy()
            chosen = [rng.choice(names, 2, replace=False) for label, names in samples.items() if label != absent]
            held = adata.obs["sample"].isin(np.concatenate(chosen)).to_numpy()
            known = adata[~unseen & ~held].copy()
            sg.tl.fit_metric(known, "sample", "label", use_rep="X", rng=0)
            reference = sg.tl.make_reference(known, sg.tl.sample_distances(known), rng=0)
            found["ordinary"] += list(flagged(adata[held].copy(), reference))
            found["unseen class"] += list(flagged(adata[unseen].copy(), reference))
    shares = ", ".join(f"{name} {np.mean(values):.2f} ({len(values)})" for name, values in found.items())
    print(f"{preset}, each class left out of the reference in turn: share flagged at {ALPHA}: {shares}", flush=True)


def unseen_stimulation(path):
    """A reference of controls with two meaningless classes: whether stimulated samples of new donors are flagged."""
    adata = anndata.read_h5ad(path)
    donors = adata.obs["donor"].astype(str)
    names = np.sort(donors.unique())
    is_control = (adata.obs["label"] == "ctrl").to_numpy()
    found = {"control": [], "stimulated": []}
    for pair in names.reshape(-1, 2):
        is_new = donors.isin(pair).to_numpy()
        known = adata[~is_new & is_control].copy()
        known.obs["class"] = known.obs["donor"].isin(np.setdiff1d(names, pair)[::2]).map({True: "a", False: "b"})
        _, reference = reference_of(known, "class")
        found["control"] += list(flagged(adata[is_new & is_control].copy(), reference))
        found["stimulated"] += list(flagged(adata[is_new & ~is_control].copy(), reference))
    counts = ", ".join(f"{name} {sum(values)} of {len(values)}" for name, values in found.items())
    print(f"kang2018, controls of 6 donors in the reference, 2 new donors, in turn: flagged {counts}", flush=True)


def real_patients(path, n_seeds):
    """Healthy people: ordinary new ones, with a programme added to one cell type, and with an unknown cell type."""
    adata = anndata.read_h5ad(path)
    adata.X = sparse.csr_matrix(adata.layers["counts"])
    level = np.asarray(adata.X.mean(axis=0)).ravel()
    samples = np.sort(adata.obs["sample"].astype(str).unique())
    types = adata.obs["cell_type"].astype(str)
    found = {}
    for seed in tqdm(range(n_seeds), file=sys.stderr):
        rng = np.random.default_rng(seed)
        is_new = adata.obs["sample"].astype(str).isin(rng.choice(samples, 12, replace=False)).to_numpy()
        genes = rng.permutation(np.flatnonzero(level > np.median(level)))[:40]
        new = adata[is_new].copy()
        _, reference = reference_of(normalised(adata[~is_new]))
        found.setdefault("ordinary", []).extend(flagged(normalised(new), reference))
        for cell_type in types.unique():
            cells = normalised(programme(new, genes, cell_type, 1.6))
            found.setdefault(f"a programme in {cell_type}, 5-fold", []).extend(flagged(cells, reference))
        for absent in ("bmem", "mononc"):
            known = (types != absent).to_numpy()
            _, reference = reference_of(normalised(adata[~is_new & known]))
            found.setdefault(f"ordinary, without {absent}", []).extend(
                flagged(normalised(adata[is_new & known]), reference)
            )
            found.setdefault(f"{absent}, unknown to the reference", []).extend(flagged(normalised(new), reference))
    print(f"onek1k, 28 people in the reference, 12 new ones, {n_seeds} repeats: share flagged at {ALPHA}")
    for name, values in found.items():
        print(f"  {name} ({len(values)}): {np.mean(values):.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, help="real cohorts: Kang and van Galen")
    parser.add_argument("--parts", nargs="*", default=["exact", "intervals", "sizes", "paper", "simulated", "real"])
    args = parser.parse_args()
    print(machine(), flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "exact" in args.parts:
            exactness()
        if "intervals" in args.parts:
            intervals(args.seeds)
        if "sizes" in args.parts:
            sizes(args.seeds)
        if "paper" in args.parts:
            unseen_classes("synth_2d", min(args.seeds, 3))
            unseen_classes("synth_200d", min(args.seeds, 3))
        if "simulated" in args.parts:
            outliers_and_probabilities(args.seeds, effect_size=0.8, patient_effect=0.15)
            outliers_and_probabilities(args.seeds, effect_size=0.8, patient_effect=0.3)
            outliers_and_probabilities(args.seeds, effect_size=0.4, patient_effect=0.3)
        if args.data is not None and "real" in args.parts:
            kang(args.data / "kang2018_ifnb_pbmc.h5ad")
            aml(args.data / "vangalen2019_aml.h5ad")
            unseen_stimulation(args.data / "kang2018_ifnb_pbmc.h5ad")
            real_patients(args.data / "onek1k_subset_age.h5ad", min(args.seeds, 4))


if __name__ == "__main__":
    main()
