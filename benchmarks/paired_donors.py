"""Kang by donor: `fit_metric(validate=True)`, `cross_validate` and `tune` score the same metric on the same donors."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import anndata
from _machine import machine
from _table import print_table

import scggml as sg


def held_out(table):
    """The predictions of held-out samples under the learned metric by the class mean, sorted by sample."""
    table = table[(table["method"] == "ggml") & (table["classifier"] == "class_mean")]
    return table.set_index("sample").sort_index()[["label", "predicted", "score_0", "score_1"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with kang2018_ifnb_pbmc.h5ad")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(), flush=True)
    adata = anndata.read_h5ad(args.data / "kang2018_ifnb_pbmc.h5ad")
    columns = {"sample_key": "sample", "label_key": "label", "donor_key": "donor", "rng": 0}
    sg.tl.fit_metric(adata, **columns, validate=True)
    sg.tl.cross_validate(adata, **columns)
    sg.tl.tune(adata, **columns, grid=[{"ridge": "auto"}], cv="auto")
    found = {
        "fit_metric(validate=True)": held_out(adata.uns["ggml"]["validation"]["predictions"]),
        "cross_validate": held_out(adata.uns["ggml_cross_validation"]["predictions"]),
        "tune": held_out(adata.uns["ggml_tuning"]["predictions"]),
    }
    first = next(iter(found.values()))
    print_table(
        ["function", "samples", "accuracy", "predictions and scores equal"],
        [
            [name, str(len(table)), f"{(table['label'] == table['predicted']).mean():.3f}", str(table.equals(first))]
            for name, table in found.items()
        ],
    )


if __name__ == "__main__":
    main()
