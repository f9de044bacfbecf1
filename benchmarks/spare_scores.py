"""SPARE's scores of several distances beside those that patpy computes from the same matrices, on real cohorts.

It needs patpy (`pip install patpy`). If ehrapy, which patpy takes for pseudotime, is not installed, scanpy takes its
place: the two functions that patpy calls are scanpy's.

    python benchmarks/spare_scores.py --data DIR
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import types
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from _machine import machine
from _table import print_table

import scggml as sg

OUTCOMES = ["Control", "Home", ">30 days in Hospital", "Death"]
TASKS = {"class": "classification", "ordinal": "ranking", "continuous": "regression"}
#: name: file, arguments of the fit, cell types, covariates by role, column of samples that stand for replicates
COHORTS = {
    "De Biasi": (
        "debiasi2020_covid_cd8_flow", {"label_key": "label"}, "cluster",
        {"relevant": ["label", "outcome", "age"], "technical": ["n_cells"], "contextual": None}, None,
    ),
    "AML, patients": (
        "vangalen2019_aml", {"label_key": "hierarchy"}, "cell_type",
        {"relevant": ["hierarchy", "mono_fraction_malignant"], "technical": ["n_cells"], "contextual": None}, None,
    ),
    "Kang": (
        "kang2018_ifnb_pbmc", {"label_key": "label", "donor_key": "donor"}, "cell_type",
        {"relevant": ["label"], "technical": ["n_cells"], "contextual": ["donor"]}, "donor",
    ),
}  # fmt: skip


def representations(adata, fit, cell_types):
    """Distances between the samples of a cohort in alphabetical order, by method, and the table of samples."""
    from patpy.tl import GloScope_py, GroupedPseudobulk

    found = sg.tl.sample_distances(adata, "sample", metric="euclidean", key_added="euclidean")
    for name, method in (
        ("gloscope", GloScope_py("sample")),
        ("pseudobulk_per_type", GroupedPseudobulk("sample", cell_types)),
    ):
        method.prepare_anndata(adata.copy())
        values = np.asarray(method.calculate_distance_matrix())
        frame = pd.DataFrame(values, index=list(method.samples), columns=list(method.samples))
        found.obsp[f"{name}_distances"] = frame.loc[found.obs_names, found.obs_names].to_numpy()
    sg.tl.fit_metric(adata, "sample", **fit, rng=0)
    held_out = sg.tl.sample_distances(adata, cv="auto", key_added="ggml_held_out")
    for slot in ("obsp", "uns"):
        getattr(found, slot).update(getattr(held_out, slot))
    return found


def of_patpy(pdata, key, ours, roles, replicates):
    """The same scores in the same order from patpy, which takes distances from `obsm`."""
    from patpy.tl import evaluation

    meta = pdata.copy()
    for name in ours.loc[ours["kind"] == "ordinal", "covariate"].unique():
        meta.obs[name] = meta.obs[name].cat.codes
    meta.obsm[f"{key}_distances"] = pdata.obsp[f"{key}_distances"].copy()
    meta.uns["sample_representations"] = [key]
    tasks = ours.set_index("covariate")["kind"].map(TASKS)
    schema = {role: {name: tasks[[name]].iloc[0] for name in names or []} for role, names in roles.items()}
    knn = evaluation.knn_prediction_score(meta, schema).set_index("covariate")["score"]
    sc.pp.neighbors(meta, use_rep=f"{key}_distances", key_added=f"{key}_neighbors", metric="precomputed")
    values = []
    for name, score in ours[["covariate", "score"]].itertuples(index=False):
        if score == "trajectory_preservation":
            start = lowest(meta, key, name)
            found = evaluation.trajectory_correlation(meta.copy(), start, name, force=True)
            values.append(abs(found["correlation"].iloc[0]))
        elif score == "replicate_robustness":
            patient = meta.obs[replicates].astype(str)
            distances = meta.obsm[f"{key}_distances"] - np.eye(
                meta.n_obs
            )  # patpy takes the first for the sample itself
            frame = pd.DataFrame(distances, index=meta.obs_names, columns=meta.obs_names)
            number = 1 - evaluation.replicate_robustness(frame, lambda a, of, p=patient: list(p[of] == p[a]))
            values.append(1 - number / (meta.n_obs - 1))  # patpy does not divide the number of closer samples
        else:
            values.append(knn[name])
    return np.array(values)


def lowest(meta, key, name):
    """The medoid of the samples of the lowest value."""
    members = np.flatnonzero(meta.obs[name] == meta.obs[name].min())
    distances = meta.obsm[f"{key}_distances"][np.ix_(members, members)]
    return meta.obs_names[members[distances.sum(axis=1).argmin()]]


def main() -> None:
    """Print both columns side by side, and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the cohorts")
    parser.add_argument("--only", nargs="+", choices=COHORTS, default=list(COHORTS), help="cohorts")
    options = parser.parse_args()
    print(machine())
    if importlib.util.find_spec("ehrapy") is None:
        sys.modules["ehrapy"] = types.SimpleNamespace(tl=sc.tl)
        print("ehrapy is not installed: scanpy takes its place")
    warnings.simplefilter("ignore")
    largest = 0.0
    for cohort in options.only:
        file, fit, cell_types, roles, replicates = COHORTS[cohort]
        adata = anndata.read_h5ad(options.data / f"{file}.h5ad")
        if cohort == "AML, patients":  # three healthy samples are too few to leave out two folds
            adata = adata[adata.obs["label"] == "AML"].copy()
        if "outcome" in adata.obs:
            adata.obs["outcome"] = pd.Categorical(adata.obs["outcome"].astype(str), OUTCOMES, ordered=True)
        pdata = representations(adata, fit, cell_types)
        rows = []
        for key in ("euclidean", "gloscope", "pseudobulk_per_type", "ggml_held_out"):
            parts = [sg.tl.score_distances(pdata, key=key, **roles)]
            if replicates is not None:  # in a call of its own: with it, replicates do not predict one another
                parts.append(sg.tl.score_distances(pdata, replicate_key=replicates, key=key))
            ours = pd.concat(parts, ignore_index=True)
            with contextlib.redirect_stdout(io.StringIO()):  # patpy prints what it does
                theirs = of_patpy(pdata, key, ours, roles, replicates)
            largest = max(largest, float(np.abs(ours["value"] - theirs).max()))
            rows += [
                [key, row.covariate, row.role, row.score, str(row.n), f"{row.value:.6f}", f"{value:.6f}",
                 f"{row.ci_low:.2f} to {row.ci_high:.2f}"]
                for row, value in zip(ours.itertuples(), theirs, strict=True)
            ]  # fmt: skip
        print(f"\n{cohort}, {pdata.n_obs} samples; our metric is learned from {fit['label_key']}\n")
        print_table(["distances", "covariate", "role", "score", "n", "scggml", "patpy", "95 % interval"], rows)
    print(f"\nlargest difference: {largest:.1e}")


if __name__ == "__main__":
    main()
