"""Whether p-values of `tl.separation_test` are uniform if labels are random; also with donors, and with batches."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from _machine import machine
from scipy.stats import kstest
from tqdm import tqdm

import scggml as sg

TESTS = ("learned", "euclidean", "permanova")


DESIGNS = {"16 patients": None, "8 donors, paired": "donor", "16 patients in 2 batches": "batch"}


def cohort(rng, design):
    """Sixteen samples with random labels.

    With design "donor" each of eight donors has one sample of each label. With "batch" eight samples lie in each of two
    batches, which differ more than samples do; one has five samples of label "a", the other three.
    """
    n = 16
    names = np.array([f"s{i:02d}" for i in range(n)])
    donors = np.array([f"d{i // 2}" for i in range(n)]) if design == "donor" else names
    batches = np.repeat(["b0", "b1"], n // 2) if design == "batch" else np.full(n, "b0")
    if design == "donor":
        labels = np.concatenate([rng.permutation(["a", "b"]) for _ in range(n // 2)])
    elif design == "batch":
        labels = np.concatenate([rng.permutation(["a"] * k + ["b"] * (8 - k)) for k in (5, 3)])
    else:
        labels = rng.permutation(["a", "b"] * (n // 2))
    of_donor = {donor: rng.normal(size=6) for donor in np.unique(donors)}
    of_batch = {"b0": np.zeros(6), "b1": 2 * rng.normal(size=6)}
    sizes = rng.integers(15, 25, n)
    x = np.concatenate(
        [
            rng.normal(size=(size, 6)) + of_donor[d] + of_batch[b] + 0.5 * rng.normal(size=6)
            for size, d, b in zip(sizes, donors, batches, strict=True)
        ]
    )
    table = pd.DataFrame({"sample": names, "donor": donors, "batch": batches, "label": labels})
    obs = table.loc[np.repeat(np.arange(n), sizes)].set_axis([f"c{i}" for i in range(len(x))])
    return anndata.AnnData(obs=obs.astype("category"), obsm={"X_pca": x})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first cohort")
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=list(DESIGNS))
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--data", type=Path, help="real cohorts: OneK1K age, whose classes do not differ, and De Biasi")
    args = parser.parse_args()
    print(machine())
    for name_of_design in args.designs:
        design, values = DESIGNS[name_of_design], []
        for seed in tqdm(range(args.seed, args.seed + args.cohorts), file=sys.stderr):
            rng = np.random.default_rng(seed)
            table = sg.tl.separation_test(
                cohort(rng, design),
                "sample",
                "label",
                donor_key="donor" if design == "donor" else None,
                batch_key="batch" if design == "batch" else None,
                n_permutations=args.permutations,
                rng=rng,
            )
            values.append(table.loc[list(TESTS), "p_value"])
        for name, p in zip(TESTS, np.array(values).T, strict=True):
            ks = kstest(p, "uniform").pvalue
            low = ", ".join(f"{np.mean(p <= level):.3f} <= {level}" for level in (0.01, 0.05, 0.1))
            print(f"{name_of_design}, {name}: KS p {ks:.2f} against uniform; share of p-values {low}")
    if args.data is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("onek1k_subset_age", "debiasi2020_covid_cd8_flow"):
            adata = anndata.read_h5ad(args.data / f"{name}.h5ad")
            table = sg.tl.separation_test(adata, "sample", "label", rng=0)
            print(f"{name}: " + ", ".join(f"{test} p = {table.loc[test, 'p_value']:.3f}" for test in TESTS))


if __name__ == "__main__":
    main()
