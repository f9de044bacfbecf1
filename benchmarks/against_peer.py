"""scggml beside its peer, ggml-ot from PyPI: the same arrays, in the same session, in turn; one table at the end."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import joblib
import numpy as np
from _cohorts import cohort, standardised
from _jobs import run_job, write_samples
from _machine import machine
from _peer import VERSION, peer_python, peer_versions
from _table import print_table, seconds, write_markdown

PEER = f"ggml-ot {VERSION}"
HEADER = [
    "row",
    "what",
    "settings",
    "min s",
    "median s",
    "times scggml",
    "peak MB",
    "above data MB",
    "warm-up s",
    "result",
]
#: The peer as installed; with the standardised features of its tutorials and the threads that suit its exact solver
#: best; and with the Sinkhorn solver that they advise for speed, at the strength of its own performance tests.
PEER_SETTINGS = {
    "defaults": {},
    "normalize(), 1 thread": {"normalise": True, "n_threads": 1},
    "normalize(), Sinkhorn 0.5": {"normalise": True, "n_threads": joblib.cpu_count(), "entropic_reg": 0.5},
}
NOTES = [
    "Every job ran in a fresh process, the packages in turn. Times are those of the work itself: no imports, no "
    "reading, and after a warm-up on a few cells, whose time is given apart. Peaks are of resident memory while the "
    "work ran, of the whole process and above imports, data and warm-up.",
    "`times scggml` divides minima. The floor is the number of pairs times the time of POT's `emd` on one core, over "
    "cores. Quality is that of a second cohort. `as good as scggml` names, for each repeat, the first of the epochs 1, "
    "2, 3, 4, 5, 7, 10, 14, 20 and the last with no lower score than scggml's, and the share of the shortest training "
    "time up to it.",
    "`not learned` only standardises the features. The peer does not make the plot that ends its training by default.",
]


@dataclass
class Contender:
    """One line of the table: what is run, and with what."""

    package: str
    settings: str
    job: str
    options: dict = field(default_factory=dict)
    numbers: list = field(default_factory=list)
    arrays: list = field(default_factory=list)

    @property
    def seconds(self):
        return [n["seconds"] for n in self.numbers if "seconds" in n]


@dataclass
class Row:
    """Contenders on the same arrays."""

    name: str
    what: str
    sizes: dict
    contenders: list
    result: str = ""
    repeats: int | None = None
    new_draws: bool = False
    standardise: bool = False
    limited: bool = False
    same_work: bool = True


def benchmark_rows(*, quick, epochs):
    """All rows of the table."""
    rows = []
    size = {"n_samples": 12, "n_cells": 60} if quick else {"n_samples": 30, "n_cells": 300}
    presets = ("synth_200d",) if quick else ("synth_2d", "synth_200d")
    for preset in presets:
        peers = [
            Contender(PEER, f"{name}, {epochs} epoch{'s' * (epochs > 1)}", "train", {"max_iter": epochs, **options})
            for name, options in PEER_SETTINGS.items()
        ]
        contenders = [
            Contender("scggml", "defaults", "fit"),
            *peers,
            Contender("not learned", "standardised features", "unlearned"),
        ]
        what = f"learn a metric, {_text(size)}"
        rows.append(
            Row(f"fit-{preset}", what, {"preset": preset, **size}, contenders, result="quality", new_draws=True)
        )
    for n_samples, n_cells in ((12, 60),) if quick else ((30, 300), (60, 300), (30, 1000)):
        sizes = {"preset": "synth_200d", "n_samples": n_samples, "n_cells": n_cells}
        contenders = [
            Contender("scggml", "exact", "matrix"),
            Contender(PEER, "exact, tensors, default threads", "matrix"),
            Contender(PEER, "exact, NumPy, 1 thread", "matrix", {"n_threads": 1, "use_numpy": True}),
            Contender("floor", "POT emd", "floor"),
        ]
        rows.append(Row(f"matrix-{n_samples}x{n_cells}", "full matrix, rank 5", sizes, contenders, result="agreement"))
    for preset in presets:
        contenders = [Contender("scggml", "defaults", "fit_and_matrix")]
        rows.append(Row(f"ratio-{preset}", "fit beside matrix", {"preset": preset, **size}, contenders, result="ratio"))
    for n_samples, n_cells, n_features in ((12, 60, 10),) if quick else ((120, 300, 50), (60, 1000, 50)):
        sizes = {"n_samples": n_samples, "n_cells": n_cells, "n_features": n_features}
        exact = {"max_iter": 1, "n_threads": 1}
        contenders = [
            Contender("scggml", "whole fit", "fit"),
            Contender(PEER, "1 epoch", "train", exact),
            Contender(PEER, "1 epoch, batches of 16", "train", {**exact, "batch_size": 16}),
            Contender(PEER, "1 epoch, Sinkhorn 0.5", "train", {"max_iter": 1, "entropic_reg": 0.5}),
        ]
        name = f"memory-{n_samples}x{n_cells}x{n_features}"
        rows.append(Row(name, "memory of learning", sizes, contenders, repeats=1, limited=True, same_work=False))
    options = {"reg": 0.5, "epochs": 1 if quick else 3}
    contenders = [
        Contender("scggml", "reg 0.5", "entropic", options),
        Contender(PEER, "reg 0.5, all cores", "entropic", {**options, "n_threads": joblib.cpu_count()}),
    ]
    rows.append(
        Row(
            f"entropic-{size['n_samples']}x{size['n_cells']}",
            "entropic epoch",
            {"preset": "synth_200d", **size},
            contenders,
            standardise=True,
        )
    )
    return rows


def run(row, python, folder, args):
    """Run the contenders in turn, as often as asked."""
    repeats = row.repeats or args.repeats
    memory_gb = args.memory_limit if row.limited else None
    timeout = args.memory_timeout if row.limited else args.timeout
    for repeat in range(repeats):
        seed = args.seed + (repeat if row.new_draws else 0)
        data, test = folder / "train.npz", folder / "test.npz"
        _write(data, row, seed)
        if row.result == "quality":
            _write(test, row, 1000 + seed)
        for contender in row.contenders:
            which = (python, "_run_peer.py") if contender.package == PEER else (sys.executable, "_run_scggml.py")
            numbers, arrays = run_job(
                *which, contender.job, data, timeout=timeout, memory_gb=memory_gb, **contender.options
            )
            if row.result == "quality" and numbers["status"] == "ok":
                numbers |= _quality(row, contender, arrays, folder, args.timeout)  # its status too
            contender.numbers.append(numbers)
            contender.arrays.append(arrays)
            ended = numbers["status"] + (f", {numbers['seconds']:.3g} s" if "seconds" in numbers else "")
            print(f"{row.name} {repeat + 1}/{repeats}  {contender.package}, {contender.settings}: {ended}", flush=True)


def _quality(row, contender, arrays, folder, timeout):
    np.save(folder / "maps.npy", arrays["linear_maps"])
    ours = row.contenders[0].numbers
    target = [ours[-1]["knn"], ours[-1]["ari"]] if contender.package == PEER and "knn" in ours[-1] else None
    return run_job(
        sys.executable, "_run_scggml.py", "quality", folder / "train.npz",
        timeout=timeout, test=str(folder / "test.npz"), linear_maps=str(folder / "maps.npy"), target=target,
    )[0]  # fmt: skip


def lines(row):
    """The row's lines of the table, as text."""
    reference = row.contenders[0]
    for contender in row.contenders:
        times, numbers = contender.seconds, contender.numbers
        cells = ["-"] * 6
        if times:
            ours = min(reference.seconds, default=None)
            cells[:2] = seconds(min(times)), seconds(median(times))
            if ours is not None and row.same_work and contender is not reference:
                cells[2] = f"{min(times) / ours:.2g}"
        for i, (key, digits) in enumerate((("peak_mb", 0), ("above_mb", 0), ("warm_up", 1)), start=3):
            known = [n[key] for n in numbers if key in n]
            cells[i] = f"{max(known):.{digits}f}" if known else "-"
        failures = [n["status"] for n in numbers if n["status"] != "ok"]
        result = failures[0] if failures else _result(row, contender, reference)
        yield [row.name, row.what, f"{contender.package}, {contender.settings}", *cells, result]


def _result(row, contender, reference):
    numbers = contender.numbers
    if row.result == "quality":
        text = (
            f"5-NN {_mean_and_range([n['knn'] for n in numbers])}, ARI {_mean_and_range([n['ari'] for n in numbers])}"
        )
        if "reached" not in numbers[0]:
            return text
        reached = [n["reached"] for n in numbers]
        if all(r is None for r in reached):
            return f"{text}; never as good as scggml"
        epochs = ", ".join("never" if r is None else str(r) for r in reached)
        fastest = min(n["seconds"] * n["reached"] / n["epochs"] for n in numbers if n["reached"])
        return f"{text}; as good as scggml at epoch {epochs} ({seconds(fastest)} s)"
    if row.result == "agreement":
        if contender is reference:
            return ""
        if "emd_seconds" in numbers[0]:
            return f"{1000 * min(n['emd_seconds'] for n in numbers):.2g} ms per emd"
        if not reference.seconds:
            return ""
        return f"largest relative difference {_difference(contender, reference):.0e}"
    if row.result == "ratio":
        of_matrix = min(n["matrix_seconds"] for n in numbers)
        return f"fit / matrix {min(contender.seconds) / of_matrix:.2f} (matrix {seconds(of_matrix)} s)"
    return ""


def _difference(contender, reference):
    matrices = [next(a["distances"] for a in c.arrays if "distances" in a) for c in (reference, contender)]
    off_diagonal = ~np.eye(len(matrices[0]), dtype=bool)
    ours, theirs = (m[off_diagonal] for m in matrices)
    return float(np.max(np.abs(theirs - ours) / ours))


def _mean_and_range(values):
    text = f"{mean(values):.2f}"
    return text if min(values) == max(values) else f"{text} ({min(values):.2f} to {max(values):.2f})"


def _write(path, row, seed):
    arrays, labels = cohort(**row.sizes, seed=seed)
    write_samples(path, standardised(arrays) if row.standardise else arrays, labels)


def _text(size):
    return f"{size['n_samples']} x {size['n_cells']}"


def _default_memory_limit():
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return round(min(20.0, 0.85 * physical), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, help="times that every job but those of memory runs; default 2, quick 1")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows whose names begin so, for example fit matrix-30")
    parser.add_argument("--epochs", type=int, help="epochs of the peer; default 30, quick 2")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs at all, in a minute or two")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and stop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-env", metavar="DIR", help="the peer's virtual environment; made where there is none")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds per job")
    parser.add_argument("--memory-timeout", type=float, default=900, help="seconds per job of the memory rows")
    parser.add_argument(
        "--memory-limit", type=float, default=_default_memory_limit(), help="GB of addresses per job of the memory rows"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the table there too")
    args = parser.parse_args()
    args.repeats = args.repeats or (1 if args.quick else 2)
    rows = benchmark_rows(quick=args.quick, epochs=args.epochs or (2 if args.quick else 30))
    if args.only:
        rows = [row for row in rows if row.name.startswith(tuple(args.only))]
    if args.list or not rows:
        names = [row.name for row in (rows or benchmark_rows(quick=args.quick, epochs=1))]
        raise SystemExit("\n".join(["rows:", *names]))
    python = peer_python(args.peer_env)
    where = [
        f"scggml: {machine()}",
        f"Peer: {peer_versions(python)}",
        f"Repeats: {args.repeats} (memory rows: 1). Fits: a new cohort each. Memory rows: at most "
        f"{args.memory_limit:g} GB of addresses and {args.memory_timeout:g} s each. "
        f"Load of the machine before: {os.getloadavg()[0]:.1f}.",
    ]
    print("\n".join(where), flush=True)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            run(row, python, Path(folder), args)
            table += lines(row)
    print()
    print_table(HEADER, table)
    if args.markdown:
        write_markdown(args.markdown, f"scggml beside {PEER}", [*where, *NOTES], [("", HEADER, table)])


if __name__ == "__main__":
    main()
