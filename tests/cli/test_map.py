"""`scggml map`: what it writes is what the functions return, and errors leave nothing."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scggml as sg
from scggml import cli


@pytest.fixture(scope="module")
def files(_cohort, tmp_path_factory):
    """The results of a run, and cells of two new samples."""
    folder = tmp_path_factory.mktemp("map")
    _cohort.copy().write_h5ad(folder / "cells.h5ad")
    keys = ["--sample-key", "sample", "--label-key", "label"]
    assert cli.main(["run", str(folder / "cells.h5ad"), *keys, "--out", str(folder / "run"), "--quiet"]) == 0
    new = _cohort[_cohort.obs["sample"].isin(["p1", "p2"])].copy()
    new.obs["sample"] = "new " + new.obs["sample"].astype(str)
    del new.obsm["X_pca"], new.obs["label"]
    new.write_h5ad(folder / "new.h5ad")
    new.obs["patient"] = new.obs.pop("sample")
    new.write_h5ad(folder / "renamed.h5ad")
    return folder


def run(files, new, reference, out, *options):
    return cli.main(["map", str(files / new), "--reference", str(files / reference), "--out", str(out), *options])


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_map_equals_the_functions(files, tmp_path, capsys):
    assert run(files, "new.h5ad", "run/reference.h5ad", tmp_path / "out") == 0
    out = tmp_path / "out"
    assert names(out) == {"predictions.csv", "new_patients.h5ad", "patient_map_new.png", "run.json"}
    reference, new = ad.read_h5ad(files / "run" / "reference.h5ad"), ad.read_h5ad(files / "new.h5ad")
    mapped = sg.tl.map_samples(new, reference)
    sg.tl.predict_samples(mapped)
    written = ad.read_h5ad(out / "new_patients.h5ad")
    np.testing.assert_array_equal(written.obsp["ggml_distances"], mapped.obsp["ggml_distances"])
    np.testing.assert_array_equal(written.obsm["X_mds"], mapped.obsm["X_mds"])
    table = pd.read_csv(out / "predictions.csv", index_col="sample")
    assert list(table.index) == ["new p1", "new p2"]
    assert list(table["predicted"]) == list(mapped.obs["predicted"].dropna())
    np.testing.assert_allclose(table[["probability sick", "probability well"]], mapped.obsm["ggml_probabilities"][-2:])
    np.testing.assert_allclose(table["outlier_p"], mapped.obs["outlier_p"].dropna())
    assert "p distance" in table.columns
    assert (out / "patient_map_new.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "map" and record["reference"].endswith("reference.h5ad")
    shown = capsys.readouterr()
    assert "New patients: 2; patients of the reference: 8" in shown.out and "Outliers: " in shown.out
    assert [line[:11] for line in shown.err.splitlines() if line.startswith("step")] == [
        f"step {i} of 4" for i in range(1, 5)
    ]


def test_reference_keeps_its_map_of_training_samples(files):
    reference = ad.read_h5ad(files / "run" / "reference.h5ad")
    samples = ad.read_h5ad(files / "run" / "samples.h5ad")
    expected = sg.tl.embed_samples(samples, "mds", key="ggml", copy=True).obsm["X_mds"]
    np.testing.assert_allclose(reference.obsm["X_mds"], expected)
    assert reference.uns["X_mds"]["status"] == "training" and "held_out" not in reference.uns


def test_another_column_of_samples(files, tmp_path, capsys):
    assert run(files, "renamed.h5ad", "run/reference.h5ad", tmp_path / "out") == 1
    assert "--sample-key (sample_key='sample') is not a column of obs. Found: " in capsys.readouterr().err
    assert run(files, "renamed.h5ad", "run/reference.h5ad", tmp_path / "out", "--sample-key", "patient") == 0
    assert list(pd.read_csv(tmp_path / "out" / "predictions.csv")["sample"]) == ["new p1", "new p2"]


@pytest.mark.parametrize(
    ("new", "reference", "text"),
    [
        ("new.h5ad", "run/samples.h5ad", "samples.h5ad is no reference: it has no uns['ggml_reference']. Pass"),
        ("new.h5ad", "none.h5ad", "No such file or directory"),
        ("none.h5ad", "run/reference.h5ad", "No such file or directory"),
        ("new.h5ad", "run/summary.txt", "summary.txt is not an h5ad file"),
        ("run/summary.txt", "run/reference.h5ad", "summary.txt is not an h5ad file"),
        ("cells.h5ad", "run/reference.h5ad", "8 new sample(s) have names of samples of the reference"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(files, tmp_path, capsys, new, reference, text):
    assert run(files, new, reference, tmp_path / "out") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("scggml: error: ") and text in said[-1]
    assert not names(tmp_path)


def test_the_reference_is_not_replaced(files, capsys):
    before = names(files / "run")
    assert run(files, "new.h5ad", "run/reference.h5ad", files / "run") == 1
    assert "reference.h5ad, which is to be read. Name another folder." in capsys.readouterr().err
    assert names(files / "run") == before


def test_reference_without_a_calibration_or_map(files, tmp_path, capsys):
    reference = ad.read_h5ad(files / "run" / "reference.h5ad")
    del reference.uns["ggml_reference"]["calibration"], reference.uns["ggml_reference"]["clusters"]
    del reference.obsm["X_mds"]
    reference.write_h5ad(tmp_path / "plain.h5ad")
    argv = ["map", str(files / "new.h5ad"), "--reference", str(tmp_path / "plain.h5ad"), "--out", str(tmp_path / "out")]
    assert cli.main(argv) == 0
    assert names(tmp_path / "out") == {"new_patients.h5ad", "run.json"}
    assert "warning: the reference was made without held-out samples" in capsys.readouterr().err
