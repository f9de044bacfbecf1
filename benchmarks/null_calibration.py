"""Whether p-values of `tl.separation_test` are uniform if labels are random, without and with donors."""

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


def cohort(rng, *, paired):
    """Sixteen samples with random labels. If `paired`, each of eight donors has one sample of each label."""
    n = 16
    names = np.array([f"s{i:02d}" for i in range(n)])
    donors = np.array([f"d{i // 2}" for i in range(n)]) if paired else names
    labels = np.concatenate([rng.permutation(["a", "b"]) for _ in range(n // 2)])
    if not paired:
        labels = rng.permutation(labels)
    of_donor = {donor: rng.normal(size=6) for donor in np.unique(donors)}
    sizes = rng.integers(15, 25, n)
    x = np.concatenate(
        [
            rng.normal(size=(size, 6)) + of_donor[d] + 0.5 * rng.normal(size=6)
            for size, d in zip(sizes, donors, strict=True)
        ]
    )
    table = pd.DataFrame({"sample": names, "donor": donors, "label": labels})
    obs = table.loc[np.repeat(np.arange(n), sizes)].set_axis([f"c{i}" for i in range(len(x))])
    return anndata.AnnData(obs=obs.astype("category"), obsm={"X_pca": x})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--data", type=Path, help="real cohorts: OneK1K age, whose classes do not differ, and De Biasi")
    args = parser.parse_args()
    print(machine())
    for paired in (False, True):
        values = []
        for seed in tqdm(range(args.cohorts), file=sys.stderr):
            rng = np.random.default_rng(seed)
            table = sg.tl.separation_test(
                cohort(rng, paired=paired),
                "sample",
                "label",
                donor_key="donor" if paired else None,
                n_permutations=args.permutations,
                rng=rng,
            )
            values.append(table.loc[list(TESTS), "p_value"])
        for name, p in zip(TESTS, np.array(values).T, strict=True):
            ks = kstest(p, "uniform").pvalue
            low = ", ".join(f"{np.mean(p <= level):.3f} <= {level}" for level in (0.01, 0.05, 0.1))
            print(
                f"{'8 donors, paired' if paired else '16 patients'}, {name}: KS p {ks:.2f} against uniform; "
                f"share of p-values {low}"
            )
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
