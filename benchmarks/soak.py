"""Many fits, distances, maps and plots in one process: what it still holds at the end must be what it held early on.

Printed before, after a tenth of the rounds, and at the end: resident memory, open figures, threads, open files, and
files left in the temporary folder. Linux only, for /proc.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import threading
import time
import warnings
from pathlib import Path

import scanpy as sc
from fit_memory import resident
from matplotlib import pyplot as plt

import scggml as sg

_LARGEST_GROWTH = 0.05


def cohort(names, rng, reference=None):
    """Log-normalised cells of simulated patients, with PCs of their own unless there is a reference."""
    adata = sg.datasets.simulated_cohort(len(names), n_cells=30, n_genes=60, rng=rng)
    old = sorted(adata.obs["sample"].unique())
    adata.obs["sample"] = adata.obs["sample"].map(dict(zip(old, names, strict=True))).astype("category")
    sc.pp.normalize_total(adata, target_sum=2000)
    sc.pp.log1p(adata)
    if reference is None:
        sc.pp.pca(adata, n_comps=5)
    return adata


def prepare():
    """Return cells and samples with all results that plots draw, a reference, and new cells."""
    names = [f"s{i}" for i in range(8)]
    cells = cohort(names, 0)
    sg.tl.fit_metric(cells, "sample", "label", learner=sg.GroundMetricLearner(refine=sg.Refinement(max_iter=2)), rng=0)
    sg.tl.rank_genes(cells)
    sg.tl.cross_validate(cells, "sample", "label", methods=["euclidean"], cv=2, rng=0)
    sg.tl.tune(cells, "sample", "label", grid={"n_comps": [1, 2]}, cv=4, rng=0)
    pdata = sg.tl.sample_distances(cells)
    sg.tl.embed_samples(pdata)
    sg.tl.explain_distances(cells, pdata, cell_type_key="cell_type")
    reference = sg.tl.make_reference(cells, pdata, cv=2, rng=0)
    return cells, pdata, reference, cohort(["n0", "n1"], 1, reference)


def one_round(i, cells, pdata, reference, new, folder):
    """One of everything; a refinement, and entropic distances, now and then."""
    adata = cells.copy()
    refine = sg.Refinement(max_iter=2) if i % 10 == 0 else None
    entropic = i % 25 == 0
    learner = sg.GroundMetricLearner(refine=refine, solver=sg.Sinkhorn() if entropic else "exact")
    sg.tl.fit_metric(adata, "sample", "label", learner=learner, rng=i)
    checkpoint = folder / f"{i}.checkpoint"
    sg.tl.sample_distances(adata, checkpoint=None if entropic else checkpoint)
    checkpoint.unlink(missing_ok=True)
    samples = sg.tl.sample_distances(adata)
    sg.tl.embed_samples(samples, "mds")
    sg.tl.map_samples(new.copy(), reference)
    for name in sg.pl.__all__:
        draw = getattr(sg.pl, name)
        drawn = cells if name in ("cells", "cross_validation", "gene_weights", "training_history", "tuning") else pdata
        plt.close(draw(drawn.copy()).figure)


def state():
    """What this process holds, and what lies in the temporary folder."""
    gc.collect()
    return {
        "memory MB": round(resident(), 1),
        "figures": len(plt.get_fignums()),
        "threads": threading.active_count(),
        "system threads": len(list(Path("/proc/self/task").iterdir())),
        "open files": len(list(Path("/proc/self/fd").iterdir())),
        "temporary files": len(list(Path(tempfile.gettempdir()).iterdir())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500, help="rounds")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    plt.switch_backend("Agg")
    early = max(args.n // 10, 1)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        work = Path(folder) / "checkpoints"
        work.mkdir()
        prepared = prepare()
        print(f"before: {state()}", flush=True)
        held, start = {}, time.perf_counter()
        for i in range(1, args.n + 1):
            one_round(i, *prepared, work)
            if i == args.n or i % early == 0:
                held[i] = state()
                print(f"round {i} ({time.perf_counter() - start:.0f} s): {held[i]}", flush=True)
        tempfile.tempdir = None
    first, last = held[early], held[args.n]
    growth = last["memory MB"] / first["memory MB"] - 1
    print(f"memory grew by {growth:.1%} from round {early} to round {args.n}")
    left = {name: (first[name], last[name]) for name in last if name != "memory MB" and last[name] > first[name]}
    if growth > _LARGEST_GROWTH or left:
        raise SystemExit(f"left behind: memory +{growth:.1%}, {left}")


if __name__ == "__main__":
    main()
