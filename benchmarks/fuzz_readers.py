"""Damage files at random, read them, and say what came of it: the same numbers, a clear error, or a fault.

A fault is a crash, a hang, an error that does not come from scggml's own checks (or, where the file is opened, from
anndata), or other numbers from the same data. A file whose data were changed to other valid data may give other
numbers, which is counted apart: h5ad files have no checksums. Checkpoints have them. So is a file on which the HDF5
library itself hangs or ends the process, before anything of it can be checked.
"""

from __future__ import annotations

import argparse
import faulthandler
import mmap
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np

import scggml as sg
from scggml.cli._errors import is_ours
from scggml.explanation._gene_sets import read_gene_sets

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = "same numbers", "clear error", "other data", "HDF5 hangs", "FAULT"
SAME, ERROR, OTHER, HDF5, FAULT = KINDS
OPENING = mmap.mmap(-1, 1)  # shared with children: whether one is inside of anndata and HDF5
SECONDS = 20.0


class Opening(Exception):
    """The file could not be opened; this is between the user and anndata."""


def cohort(folder: Path) -> dict[str, Any]:
    """Write one valid file of each kind, and return what is read from it undamaged."""
    adata = sg.datasets.simulated_cohort(n_samples=8, n_cells=20, n_genes=40, rng=0)
    adata.X = np.log1p(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)
    centred = adata.X.astype(np.float64) - adata.X.mean(axis=0, dtype=np.float64)
    pcs = np.linalg.svd(centred, full_matrices=False)[2][:4].T
    adata.obsm["X_pca"], adata.varm["PCs"] = centred @ pcs, pcs
    sg.pp.sketch(adata, "sample", n_points=5, rng=0)
    sg.tl.fit_metric(adata, "sample", "label", rng=0, n_jobs=1)
    samples = sg.tl.sample_distances(adata, n_jobs=1, checkpoint=folder / "checkpoint")
    sg.tl.explain_distances(adata, samples, cell_type_key="cell_type")
    new = adata[adata.obs["sample"].isin(samples.obs_names[:2])].copy()
    new.obs["sample"] = "new_" + new.obs["sample"].astype(str)
    del new.uns["ggml"]
    adata.write_h5ad(folder / "cells.h5ad")
    samples.write_h5ad(folder / "samples.h5ad", compression="gzip")
    sg.tl.make_reference(adata, samples, rng=0, n_jobs=1).write_h5ad(folder / "reference.h5ad")
    sets = ["\t".join([f"set {i}", "made", *adata.var_names[i : i + 6]]) for i in range(8)]
    (folder / "sets.gmt").write_text("\n".join(sets))
    return {"adata": adata, "new": new}


def opened(path: Path, backed: str | None = None) -> ad.AnnData:
    OPENING[0] = 1
    try:
        adata = ad.read_h5ad(path, backed=backed)
        OPENING[0] = 0
        return adata
    except Exception as error:
        raise Opening(repr(error)) from error


def targets(known: dict[str, Any]) -> dict[str, tuple[str, Callable[[Path], Any], bool]]:
    """Return for each reader its file, a call, and whether what it reads has checksums."""

    def distances(adata: ad.AnnData, **options: Any) -> Any:
        return sg.tl.sample_distances(adata, n_jobs=1, **options).obsp["ggml_distances"]

    def of_x(path: Path, backed: str | None) -> Any:
        return distances(opened(path, backed), sample_key="sample", metric="euclidean", use_rep="X", key_added="ggml")

    return {
        "metric": ("cells.h5ad", lambda path: distances(opened(path)), False),
        "sketch": ("cells.h5ad", lambda path: distances(opened(path), sketch_key="sketch"), False),
        "X": ("cells.h5ad", lambda path: of_x(path, None), False),
        "backed X": ("cells.h5ad", lambda path: of_x(path, "r"), False),
        "explanation": ("samples.h5ad", lambda path: sg.get.explanation(opened(path), "genes")["distance"], False),
        "reference": (
            "reference.h5ad",
            lambda path: sg.tl.map_samples(known["new"], opened(path), n_jobs=1).obsp["ggml_distances"],
            False,
        ),
        "checkpoint": ("checkpoint", lambda path: distances(known["adata"], checkpoint=path), True),
        "gene sets": ("sets.gmt", lambda path: read_gene_sets(path).to_numpy(dtype=object).astype(str), False),
    }


def damaged_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut, insert, or overwrite a part."""
    data = bytearray(content)
    kind = rng.integers(5)
    if kind == 0:
        for place in rng.integers(len(data), size=rng.integers(1, 20)):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[int(rng.integers(len(data))) :]
    elif kind == 2:
        start = int(rng.integers(len(data)))
        size = int(min(rng.integers(1, 200), len(data) - start))
        data[start : start + size] = bytes(size) if rng.random() < 0.5 else rng.bytes(size)
    elif kind == 3:
        start = int(rng.integers(len(data)))
        data[start:start] = rng.bytes(int(rng.integers(1, 50)))
    else:
        start, other = (int(x) for x in rng.integers(len(data), size=2))
        data[start : start + 64] = data[other : other + 64]
    return bytes(data)


def damage_content(path: Path, rng: np.random.Generator) -> None:
    """Replace one dataset of an HDF5 file by one of another type, shape or value, or remove it."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else None)
        within = (
            [name for name in names if name.startswith(("uns", "obsm", "obsp", "varm"))]
            if rng.random() < 0.8
            else names
        )
        name = str(rng.choice(within))
        old, attributes = file[name][()], dict(file[name].attrs)
        array = np.asarray(old)
        numeric = array.dtype.kind in "iufb"
        kind = rng.integers(8)
        new: Any = old
        if kind == 0:
            new = None
        elif kind == 1 and numeric:
            new = array.astype(float) * rng.choice([np.nan, np.inf, -1.0, 0.0, 1e200])
        elif kind == 2:
            new = np.full(array.shape, b"text")
        elif kind == 3:
            new = array[..., None] if array.ndim else np.repeat(array, 3)
        elif kind == 4 and array.ndim:
            new = array[: len(array) // 2]
        elif kind == 5 and numeric:
            new = array.astype(complex)
        elif kind == 6 and numeric:
            new = np.full(array.shape, 2**62, dtype=np.int64)
        elif array.ndim:
            new = array[::-1]
        del file[name]
        if new is not None:
            try:
                file[name] = new
            except TypeError:
                return
            file[name].attrs.update(attributes)


def outcome(call: Callable[[Path], Any], path: Path, expected: Any, *, has_checksums: bool) -> tuple[str, str]:
    """Say what came of reading a file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = np.asarray(call(path))
    except Opening:
        return ERROR, "the file cannot be opened"
    except Exception as error:  # noqa: BLE001 what is looked for
        if is_ours(error) and isinstance(error, ValueError | KeyError | TypeError | OSError):
            return ERROR, type(error).__name__
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return FAULT, f"{type(error).__name__} from {frame.filename}:{frame.lineno}: {error}"[:400]
    if found.shape == expected.shape and (found == expected).all():
        return SAME, ""
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        return FAULT, "numbers that are NaN or infinite"
    return (FAULT, "other numbers") if has_checksums else (OTHER, "")


def in_child(work: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """Run in a process of its own, which may crash or hang."""
    OPENING[0] = 0
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        signal.alarm(int(SECONDS))
        sys.stderr = Path(os.devnull).open("w")
        with os.fdopen(write, "wb") as file:
            pickle.dump(work(), file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        answer = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if (status or not answer) and OPENING[0]:  # the C library, on a file that nobody has looked at yet
        return HDF5, ""
    if status == -signal.SIGALRM:
        return FAULT, f"not done after {SECONDS:.0f} s"
    if status or not answer:
        return FAULT, f"the process ended with {status}"
    found: tuple[str, str] = pickle.loads(answer)  # of our own child
    return found


def fuzz(folder: Path, rng: np.random.Generator, *, seconds: float, n_cases: int | None = None) -> dict[str, Counter]:
    """Damage and read files until the time is over, or `n_cases` of each kind are done; print faults."""
    counts: dict[str, Counter] = {}
    known = cohort(folder)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    readers = targets(known)
    expected = {}
    for name, (file, call, _) in readers.items():
        path = folder / "undamaged"
        path.write_bytes(whole[file])
        expected[name] = np.asarray(call(path))
        counts[name] = Counter()
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end and (n_cases is None or number < n_cases):
        number += 1
        for name, (file, call, has_checksums) in readers.items():
            path = folder / "damaged"
            path.write_bytes(whole[file])
            if file.endswith("h5ad") and rng.random() < 0.7:
                damage_content(path, rng)
            else:
                path.write_bytes(damaged_bytes(whole[file], rng))
            content = path.read_bytes()
            kind, text = in_child(
                lambda c=call, p=path, n=name, h=has_checksums: outcome(c, p, expected[n], has_checksums=h)
            )
            counts[name][kind] += 1
            if kind == FAULT:
                kept = Path(tempfile.gettempdir()) / f"fuzz_{name.replace(' ', '_')}_{number}"
                kept.write_bytes(content)
                print(f"{name} {number}: {text} ({kept})", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, help="stop after so many damaged files of each kind")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz(Path(folder), np.random.default_rng(args.seed), seconds=60 * args.minutes, n_cases=args.cases)
    print(f"{'':12}", *(f"{kind:>14}" for kind in KINDS))
    for name, found in counts.items():
        print(f"{name:12}", *(f"{found[kind]:14}" for kind in KINDS))
    total = sum(found[FAULT] for found in counts.values())
    print(f"{sum(sum(found.values()) for found in counts.values())} damaged files, {total} faults")
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
