"""Kill `sample_distances(checkpoint=)` at random moments, resume, and compare with an uninterrupted run, bit by bit.

Each round starts a new process on the same checkpoint, and kills it (SIGKILL) at a random moment of its computation.
After the last kill a process finishes. A share of the kills comes with damage: a flipped bit, or zeros at the end, as a
disk may leave them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _machine import machine

import scggml as sg

WORK = """
import sys, warnings
import numpy as np, anndata
import scggml as sg
warnings.simplefilter("ignore")
adata = anndata.read_h5ad(sys.argv[1])
few = adata.obs["sample"].isin(adata.obs["sample"].unique()[:2])
sg.tl.sample_distances(adata[few].copy())  # compiled code is loaded here, not while the time runs
print("ready", flush=True)
found = sg.tl.sample_distances(adata, checkpoint=sys.argv[2])
np.save(sys.argv[3], found.obsp["ggml_distances"])
"""


def damaged(path: Path, rng: np.random.Generator) -> None:
    """Flip a bit of a record, or set the last bytes to zero."""
    content = bytearray(path.read_bytes())
    start = content.index(b"\n") + 1
    if len(content) <= start:
        return
    if rng.random() < 0.5:
        content[int(rng.integers(start, len(content)))] ^= 1 << int(rng.integers(8))
    else:
        size = int(rng.integers(1, len(content) - start + 1))
        content[-size:] = bytes(size)
    path.write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(args.seed)
    adata = sg.datasets.simulated_cohort(n_samples=args.samples, n_cells=args.cells, n_genes=50, rng=0)
    adata.obsm["X_pca"] = rng.normal(size=(adata.n_obs, 10)) + 0.3 * (adata.obs["label"].cat.codes.to_numpy()[:, None])
    sg.tl.fit_metric(adata, "sample", "label", use_rep="X_pca", rng=0)
    start = time.perf_counter()
    expected = sg.tl.sample_distances(adata).obsp["ggml_distances"]
    seconds = time.perf_counter() - start
    print(machine())
    print(f"{len(expected) * (len(expected) - 1) // 2} pairs, {seconds:.1f} s without interruption", flush=True)

    n_kills = n_damaged = n_rounds = n_equal = 0
    with tempfile.TemporaryDirectory() as name:
        cells, checkpoint, result = (Path(name) / file for file in ("cells.h5ad", "checkpoint", "result.npy"))
        adata.write_h5ad(cells)
        while n_kills < args.kills:
            n_rounds += 1
            checkpoint.unlink(missing_ok=True)
            result.unlink(missing_ok=True)
            while not result.exists():
                command = [sys.executable, "-c", WORK, str(cells), str(checkpoint), str(result)]
                with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                    assert process.stdout is not None
                    assert process.stdout.readline() == "ready\n"
                    if n_kills < args.kills:
                        time.sleep(float(rng.uniform(0, seconds / 2)))
                        if process.poll() is None:
                            process.kill()
                            n_kills += 1
                if checkpoint.exists() and not result.exists() and rng.random() < 0.2:
                    damaged(checkpoint, rng)
                    n_damaged += 1
            n_equal += bool((np.load(result) == expected).all())
    print(
        f"{n_kills} kills, {n_damaged} with damage, in {n_rounds} computations: {n_equal} of {n_rounds} equal bit by bit"
    )
    sys.exit(n_equal < n_rounds)


if __name__ == "__main__":
    main()
