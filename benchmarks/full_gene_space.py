"""A fit on 200,000 cells x 20,000 genes (CSR): time, peak memory, and whether the planted genes lead."""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from _machine import machine

import scggml as sg

N_PLANTED = 50


def simulate(
    n_cells: int, n_genes: int, n_samples: int, density: float, seed: int
) -> tuple[anndata.AnnData, np.ndarray]:
    """Log counts with uneven gene frequencies. The class raises the planted genes. Patients differ in all genes."""
    rng = np.random.default_rng(seed)
    frequency = rng.gamma(0.5, size=n_genes) + 0.02
    planted = rng.choice(np.argsort(-frequency)[: n_genes // 5], N_PLANTED, replace=False)
    codes = np.repeat(np.arange(n_samples), n_cells // n_samples)
    blocks = []
    for sample in range(n_samples):
        rate = frequency * rng.lognormal(0, 0.2, size=n_genes)
        rate[planted] *= 1.5 ** (sample % 3)
        bounds = np.cumsum(rate / rate.sum())
        n_own = n_cells // n_samples
        n_reads = int(1.45 * density * n_genes)
        genes = np.searchsorted(bounds, rng.random((n_own, n_reads))).clip(0, n_genes - 1)
        block = sp.csr_array(
            (np.ones(genes.size, np.float32), (np.repeat(np.arange(n_own), n_reads), genes.ravel())), (n_own, n_genes)
        )
        block.sum_duplicates()
        block.data = np.log1p(block.data)
        blocks.append(block)
    x = sp.csr_matrix(sp.vstack(blocks, format="csr"))
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical.from_codes(codes, [f"s{i:03d}" for i in range(n_samples)]),
            "label": pd.Categorical.from_codes(codes % 3, ["a", "b", "c"]),
        },
        index=pd.RangeIndex(len(codes)).astype(str),
    )
    return anndata.AnnData(x, obs=obs), planted


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--density", type=float, default=0.05)
    args = parser.parse_args()
    print(machine())
    adata, planted = simulate(args.cells, args.genes, args.samples, args.density, 0)
    found = adata.X.nnz / (adata.n_obs * adata.n_vars)
    print(f"{adata.n_obs} cells x {adata.n_vars} genes, density {found:.3f}, peak so far {peak():.2f} GB", flush=True)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*are constant")
        sg.tl.fit_metric(adata, "sample", "label", use_rep="X", rng=0)
    print(
        f"fit {time.perf_counter() - start:.0f} s, peak of the process {peak():.2f} GB, "
        f"metric {adata.obsm['X_ggml'].shape}"
    )
    leading = np.argsort(-np.linalg.norm(adata.varm["ggml"], axis=1))[:N_PLANTED]
    print(
        f"{np.isin(leading, planted).sum()} of the {N_PLANTED} leading genes are planted "
        f"({N_PLANTED} of {args.genes} are)"
    )


if __name__ == "__main__":
    main()
