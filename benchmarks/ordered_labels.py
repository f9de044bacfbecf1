"""IgA nephropathy: held-out rank correlation of metrics learned from ordinal labels, from classes, and Euclidean OT."""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _machine import machine
from _table import print_table
from scipy.stats import spearmanr
from sklearn.model_selection import RepeatedStratifiedKFold

import scggml as sg

_GRADES = ["<30", "30-60", ">60"]  # eGFR


def difference(table, first, second, n_boot=4000):
    """Mean difference of rank correlation over repeats, and its bootstrap interval over patients."""
    wide = {
        m: t.pivot_table(index="sample", columns="repeat", values="predicted_value") for m, t in table.groupby("method")
    }
    truth = table.groupby("sample")["value"].first().reindex(wide[first].index).to_numpy()

    def of(rows):
        return np.mean([
            spearmanr(truth[rows], wide[first].iloc[rows, r]).statistic
            - spearmanr(truth[rows], wide[second].iloc[rows, r]).statistic
            for r in range(wide[first].shape[1])
        ])  # fmt: skip

    rng = np.random.default_rng(0)
    resampled = [of(rng.integers(len(truth), size=len(truth))) for _ in range(n_boot)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return f"{of(np.arange(len(truth))):+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--boot", type=int, default=1000, help="bootstrap samples of the differences")
    args = parser.parse_args()
    print(machine())
    adata = ad.read_h5ad(args.data / "igan_glomeruli_morphometry.h5ad")
    adata.obs["grade"] = pd.Categorical(adata.obs["label"].astype(str), categories=_GRADES, ordered=True)
    learners = {
        "learned from ordinal labels": sg.GroundMetricLearner(label_kind="ordinal"),
        "learned from classes": sg.GroundMetricLearner(),
        "Euclidean OT": "euclidean",
        "pseudobulk": "pseudobulk",
    }
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=args.repeats, random_state=0)
    sg.tl.cross_validate(adata, "sample", "grade", label_kind="ordinal", methods=learners, cv=folds, rng=0)
    table = sg.get.scores(adata, baseline="Euclidean OT")
    rows = []
    for score in ("spearman", "kendall", "mae"):
        for _, row in table[table["score"] == score].iterrows():
            against = (
                ""
                if np.isnan(row["only_method"])
                else f"+{row['only_method']:.0f} -{row['only_baseline']:.0f}, p = {row['p_value']:.2g}"
            )
            interval = f"{row['value']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
            rows.append([score, row["method"], row["classifier"], interval, against])
    found = adata.uns["ggml_cross_validation"]["predictions"]
    found = found[found["classifier"] == "neighbors"]
    others = [name for name in learners if name != "learned from ordinal labels"]
    differences = [[other, difference(found, "learned from ordinal labels", other, args.boot)] for other in others]
    print(f"{adata.obs['sample'].nunique()} patients in 3 grades of eGFR, 5 folds, {args.repeats} repeats")
    print_table(
        ["score", "method", "predicted by", "value (95 %)", "patients closer, further than by Euclidean OT"], rows
    )
    print("\nSpearman, neighbors, learned from ordinal labels minus the other method, 95 % bootstrap intervals:")
    print_table(["other", "difference"], differences)


if __name__ == "__main__":
    main()
