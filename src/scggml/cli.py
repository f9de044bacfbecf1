"""The command line: `scggml demo` and `scggml run FILE.h5ad`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

logger = logging.getLogger("scggml")

_MIN_TRAINING = 2
_N_GENES = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        if args.command == "demo":
            _demo(args)
        else:
            _run(args)
    except (KeyError, OSError, TypeError, ValueError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"scggml: error: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("scggml: interrupted", file=sys.stderr)
        return 130
    finally:
        logger.removeHandler(handler)
    return 0


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        prog="scggml", description="Learn which ground metric between cells separates classes of patients."
    )
    parser.add_argument("--version", action="version", version=f"scggml {version('scggml')}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run on a simulated cohort with a planted disease programme")
    run = commands.add_parser("run", help="run on your own cells, an h5ad file")
    run.add_argument("file", type=Path, metavar="FILE.h5ad", help="cells, with samples and labels in obs")
    run.add_argument("--sample-key", required=True, metavar="S", help="column of obs that holds the samples (patients)")
    run.add_argument(
        "--label-key", required=True, metavar="L", help="column of obs that holds the class of each sample"
    )
    run.add_argument("--use-rep", metavar="R", help="key of obsm, or X; default: X_pca where there is one, else X")
    demo.add_argument("--out", type=Path, default=Path("scggml-demo"), metavar="DIR", help="default: %(default)s")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    for command in (demo, run):
        command.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
        command.add_argument("--n-jobs", type=int, default=None, metavar="N", help="threads; default: all cores")
    return parser


def _demo(args: argparse.Namespace) -> None:
    import scanpy as sc

    import scggml as sg

    logger.info("simulating a cohort")
    adata = sg.datasets.simulated_cohort(rng=args.seed)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)
    planted = adata.var_names[adata.var["programme"]]
    _analyse(adata, "sample", "label", "X_pca", args, planted=set(planted))


def _run(args: argparse.Namespace) -> None:
    import anndata

    if not args.file.is_file():
        msg = f"{args.file} is not a file"
        raise FileNotFoundError(msg)
    logger.info("reading %s", args.file)
    adata = anndata.read_h5ad(args.file)
    _analyse(adata, args.sample_key, args.label_key, args.use_rep, args, planted=None)


def _analyse(
    adata: AnnData,
    sample_key: str,
    label_key: str,
    use_rep: str | None,
    args: argparse.Namespace,
    *,
    planted: set[str] | None,
) -> None:
    """Fit, measure, draw, check on held-out samples, and write everything to a folder."""
    import pandas as pd

    import scggml as sg

    if args.out.exists() and not args.out.is_dir():
        msg = f"--out {args.out} is a file. Name a folder."
        raise NotADirectoryError(msg)
    start = time.perf_counter()
    _check_columns(adata, sample_key, label_key)
    logger.info("learning the metric, and checking it on held-out samples")
    sg.tl.fit_metric(
        adata, sample_key, label_key, use_rep=use_rep, validate=_can_be_held_out(adata, sample_key, label_key),
        rng=args.seed, n_jobs=args.n_jobs,
    )  # fmt: skip
    has_genes = "ggml" in adata.varm
    if has_genes:
        sg.tl.rank_genes(adata)
    logger.info("measuring distances between samples")
    pdata = sg.tl.sample_distances(adata, n_jobs=args.n_jobs)
    sg.tl.embed_samples(pdata, "mds")
    # labels are classes here, also where they are written as numbers
    if not isinstance(pdata.obs[label_key].dtype, pd.CategoricalDtype):
        pdata.obs[label_key] = pd.Categorical(pdata.obs[label_key].astype(str))
    args.out.mkdir(parents=True, exist_ok=True)
    _draw(adata, pdata, label_key, args.out, planted)
    adata.write_h5ad(args.out / "cells.h5ad", compression="gzip")
    pdata.write_h5ad(args.out / "samples.h5ad")
    table = sg.get.gene_weights(adata) if has_genes else None
    text = _summary(adata, pdata, label_key, table, planted)
    (args.out / "summary.txt").write_text(text, encoding="utf-8")
    print(text, end="")
    print(
        f"Wrote {args.out}/ in {time.perf_counter() - start:.0f} s: "
        f"{', '.join(sorted(p.name for p in args.out.iterdir()))}"
    )


def _check_columns(adata: AnnData, sample_key: str, label_key: str) -> None:
    from scggml import _check as check

    for name, key in (("sample_key", sample_key), ("label_key", label_key)):
        check.check_column(name, key, adata.obs)


def _can_be_held_out(adata: AnnData, sample_key: str, label_key: str) -> bool:
    """Whether every class has a third sample: two are left to learn from when one is held out."""
    labels = adata.obs[[sample_key, label_key]].astype(str).drop_duplicates()[label_key]
    return int(labels.value_counts().min()) > _MIN_TRAINING


def _draw(adata: AnnData, pdata: AnnData, label_key: str, out: Path, planted: set[str] | None) -> None:
    from matplotlib.figure import Figure

    import scggml as sg

    drawings = {
        "patient_map": lambda ax: sg.pl.sample_map(pdata, color=label_key, ax=ax).set_title("Patient map"),
        "distance_heatmap": lambda ax: sg.pl.distance_heatmap(pdata, color=label_key, ax=ax),
    }
    if "ggml" in adata.varm:
        highlight = None if planted is None else {"planted": planted}
        drawings["gene_weights"] = lambda ax: sg.pl.gene_weights(adata, n_genes=_N_GENES, highlight=highlight, ax=ax)
    for name, draw in drawings.items():
        # a figure of its own, so that no backend or global state of pyplot is touched
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        draw(figure.subplots())
        figure.savefig(out / f"{name}.png", dpi=150)


def _held_out(validation: dict[str, Any]) -> list[str]:
    """Return lines on held-out accuracy, from what `fit_metric(validate=True)` wrote."""
    lines = [
        f"Held-out accuracy ({validation['n_splits']} folds of samples, the metric refitted within each; nearest class",
        "by mean distance to its nearest samples, 3 of the largest class):",
    ]
    for method, text, score in (("ggml", "learned metric", "value"), ("euclidean", "Euclidean OT", "euclidean")):
        correct, n, balanced = validation["n_correct"][method], validation["n_predictions"], validation[score]
        lines.append(f"  {text:<15} {correct}/{n} correct ({correct / n:.2f}), balanced accuracy {balanced:.2f}")
    return lines


def _summary(
    adata: AnnData,
    pdata: AnnData,
    label_key: str,
    table: pd.DataFrame | None,
    planted: set[str] | None,
) -> str:
    entry = adata.uns["ggml"]
    params = entry["params"]
    labels = pdata.obs[label_key].astype(str)
    classes = ", ".join(f"{name} {count}" for name, count in labels.value_counts().sort_index().items())
    lines = [
        "scggml summary",
        "",
        (
            f"Samples: {pdata.n_obs} ({classes}); cells: {adata.n_obs}; features: {len(entry['scale'])} of "
            f"{params['use_rep']}"
        ),
        f"Metric: {len(entry['components'])} components; objective on these samples {entry['loss_history'][-1]:.3g}",
        "",
    ]
    if "validation" in entry:
        lines += _held_out(entry["validation"])
        if params["use_rep"] != "X":
            lines.append(f"  ({params['use_rep']} itself was computed on all samples, without labels.)")
    else:
        lines.append("Held-out accuracy: not computed, a class has fewer than 3 samples.")
    lines.append("")
    lines += ["The map and the heatmap show the samples that the metric was learned on, and so flatter it.", ""]
    if table is None:
        lines.append(f"Genes: none, {params['use_rep']} does not lead back to genes.")
    else:
        top = list(table.index[:_N_GENES])
        names = ", ".join(f"{gene}*" if planted and gene in planted else str(gene) for gene in top)
        lines.append(f"Top {len(top)} genes: {names}")
        if planted:
            hits = sum(gene in planted for gene in top)
            lines.append(
                f"  {hits} of them (*) belong to the {len(planted)} planted genes; by chance "
                f"{len(top) * len(planted) / len(table):.1f} would"
            )
    return "\n".join(lines) + "\n"
