"""The command line, in this process, on small cohorts."""

from __future__ import annotations

import errno
import importlib.abc
import importlib.machinery
import json
import re
import subprocess
import sys
import textwrap
import warnings
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numba
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import scggml as sg
from scggml import cli
from scggml.cli import _analysis, _demo, _finished_steps, _run
from scggml.datasets._simulation import Design, simulate

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def small_demo(monkeypatch):
    def small(n_samples, *, rng):
        design = Design(n_programme_genes=12)
        return simulate(n_samples, n_cells=30, n_genes=200, effect_size=2.0, patient_effect=0.1, design=design, rng=rng)

    monkeypatch.setattr(sg.datasets, "simulated_cohort", small)
    monkeypatch.setattr(_demo, "_N_PATIENTS", 8)
    monkeypatch.setattr(_demo, "_N_NEW", 6)
    return small


@pytest.fixture
def cells(cohort, tmp_path):
    """A file in a folder that holds nothing else."""
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def run(file, out, *options):
    keys = [] if "--sample-key" in options else ["--sample-key", "sample"]
    keys += [] if "--label-key" in options else ["--label-key", "label"]
    return cli.main(["run", str(file), *keys, *map(str, options), "--out", str(out), "--n-jobs", "2"])


def names(folder):
    return {path.name for path in folder.iterdir()}


TRAINING = {"patient_map_training.png", "distance_heatmap_training.png"}
HELD_OUT = {"patient_map_held_out.png", "distance_heatmap_held_out.png"}
NEW = "patient_map_new.png"
PICTURES = {*TRAINING, *HELD_OUT, "gene_weights.png"}
TABLES = {"samples.csv", "predictions_held_out.csv", "scores_held_out.csv", "distances_held_out.csv"}
DEMO = {"cells.h5ad", "samples.h5ad", "summary.txt", "gene_weights.csv", "run.json", *TABLES, *PICTURES}
FILES = {*DEMO, "reference.h5ad"}


def test_demo(small_demo, tmp_path, capsys, pyplot):
    params = dict(mpl.rcParams)
    out = tmp_path / "new" / "demo"
    assert cli.main(["demo", "--out", str(out), "--n-jobs", "2"]) == 0
    assert names(out) == DEMO | {NEW}
    for name in {*PICTURES, NEW}:
        assert (out / name).read_bytes().startswith(PNG)
    cells, samples = ad.read_h5ad(out / "cells.h5ad"), ad.read_h5ad(out / "samples.h5ad")
    assert {"ggml", "ggml_rank_genes"} <= set(cells.uns) and "X_ggml" in cells.obsm and "ggml" in cells.varm
    assert samples.obsp["ggml_distances"].shape == (8, 8) and samples.obsm["X_mds"].shape == (8, 2)
    assert samples.uns["ggml"]["status"] == "training" and samples.uns["held_out"]["status"] == "held_out"
    assert samples.uns["X_mds"]["status"] == "held_out"
    text = (out / "summary.txt").read_text(encoding="utf-8")
    shown = capsys.readouterr()
    assert text in shown.out and f"Wrote {out}/" in shown.out
    assert "Samples: 8 (disease 4, healthy 4); cells: " in text and "features: 30 of X_pca" in text
    for method in ("learned metric", "Euclidean OT"):
        correct, n, share, balanced = re.search(
            rf"{method} +(\d+)/(\d+) correct \(([\d.]+)\), balanced accuracy ([\d.]+)", text
        ).groups()
        assert int(n) == 8 and float(share) == round(int(correct) / 8, 2) and 0 <= float(balanced) <= 1
    # the genes of the summary are those of the file, the marked ones were planted
    top = re.search(r"Top 20 genes: (.*)", text).group(1).split(", ")
    planted = set(cells.var_names[cells.var["programme"]])
    assert [gene.rstrip("*") for gene in top] == list(cells.uns["ggml_rank_genes"].index[:20])
    assert {gene.rstrip("*") for gene in top if gene.endswith("*")} == planted & {gene.rstrip("*") for gene in top}
    marked = sum(gene.endswith("*") for gene in top)
    assert marked >= 6  # 1.2 by chance
    assert (
        f"{marked} of them (*) are among the 12 genes that the simulated disease changes; by chance 1.2 would be"
        in text
    )
    signal = re.search(r"Metric: \d+ components; signal of the labels ([\d.]+) \(0: none, .*\), p = ([\d.]+)", text)
    assert [float(x) for x in signal.groups()] == pytest.approx(
        [cells.uns["ggml"][key] for key in ("label_signal", "label_p_value")], abs=0.005
    )
    assert not pyplot.get_fignums() and dict(mpl.rcParams) == params


def test_new_patients_of_the_demo(small_demo, tmp_path, capsys):
    """The accuracy in the summary is that of a classifier that is fitted to the cells of the file."""
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--seed", "2"]) == 0
    known, new = ad.read_h5ad(tmp_path / "demo" / "cells.h5ad"), small_demo(14, rng=2)
    sc.pp.normalize_total(new, target_sum=1e4)
    sc.pp.log1p(new)
    new = new[~new.obs["sample"].isin(known.obs["sample"])].copy()
    new.obsm["X_pca"] = np.asarray((new.X - known.X.mean(axis=0)) @ known.varm["PCs"])
    assert (known.obs["sample"].nunique(), new.obs["sample"].nunique()) == (8, 6)
    clouds, labels = [], []
    for cells in (known, new):
        rows = cells.obs.groupby("sample", observed=True).indices
        clouds.append([cells.obsm["X_pca"][which] for which in rows.values()])
        labels.append([cells.obs["label"].iloc[which[0]] for which in rows.values()])
    found = re.findall(r"(learned metric|Euclidean OT) +(\d)/6 correct", capsys.readouterr().out)
    classifier = sg.OTNeighborsClassifier(sg.GroundMetricLearner(scale="global"), rule="class_mean", n_neighbors=3)
    predicted = classifier.fit(clouds[0], labels[0]).predict(clouds[1])
    assert ("learned metric", str((predicted == labels[1]).sum())) in found and len(found) == 2


def test_demo_is_reproducible(small_demo, tmp_path, capsys):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert cli.main(["demo", "--out", str(tmp_path / name), "--seed", seed]) == 0
    a, b, c = (ad.read_h5ad(tmp_path / name / "samples.h5ad") for name in "abc")
    np.testing.assert_array_equal(a.obsp["ggml_distances"], b.obsp["ggml_distances"])
    assert not np.array_equal(a.obsp["ggml_distances"], c.obsp["ggml_distances"])
    text = (tmp_path / "a" / "summary.txt").read_text(encoding="utf-8")
    assert text == (tmp_path / "b" / "summary.txt").read_text(encoding="utf-8")


def test_run_equals_the_functions(cohort, cells, pdata, tmp_path, capsys):
    assert run(cells, tmp_path / "out") == 0
    assert names(tmp_path / "out") == FILES
    samples = ad.read_h5ad(tmp_path / "out" / "samples.h5ad")
    np.testing.assert_array_equal(samples.obsp["ggml_distances"], pdata.obsp["ggml_distances"])
    held_out = sg.tl.sample_distances(sg.tl.fit_metric(cohort, "sample", "label", rng=0, copy=True), cv="auto", rng=0)
    sg.tl.embed_samples(held_out)
    np.testing.assert_array_equal(samples.obsp["held_out_distances"], held_out.obsp["ggml_distances"])
    np.testing.assert_array_equal(samples.obsm["X_mds"], held_out.obsm["X_mds"])
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "Samples: 8 (sick 4, well 4); cells: 87; features: 5 of X_pca" in text
    assert "Top 12 genes: g3, " in text and "*" not in text  # nothing was planted
    assert "Held-out accuracy (8 folds" in text


@pytest.mark.filterwarnings("ignore:the learned metric is not better")
def test_held_out_is_held_out(cohort, tmp_path, capsys):
    """The reported numbers are those of a loop written out here, for labels that mean nothing."""
    from sklearn.model_selection import LeaveOneOut

    cohort.obs["label"] = np.where(cohort.obs["sample"].isin(["p1", "p3", "p5", "p6"]), "a", "b")
    del cohort.uns["label_colors"]
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out") == 0
    order = sorted(cohort.obs["sample"].unique())
    where = [(cohort.obs["sample"] == name).to_numpy() for name in order]
    clouds = [cohort.obsm["X_pca"][rows] for rows in where]
    y = np.array([cohort.obs["label"][rows].iloc[0] for rows in where])
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    for name, learner in (("learned metric", sg.GroundMetricLearner(scale="global")), ("Euclidean OT", "euclidean")):
        correct = 0
        for train, test in LeaveOneOut().split(y):
            classifier = sg.OTNeighborsClassifier(learner).fit([clouds[i] for i in train], y[train])
            correct += (classifier.predict([clouds[i] for i in test]) == y[test]).sum()
        assert re.search(rf"^  {name} +{correct}/8 correct", text, re.MULTILINE)
        assert correct < 8  # the training samples would all be right


def test_scores_and_permutations_are_those_of_the_functions(cohort, cells, tmp_path, capsys):
    assert run(cells, tmp_path / "out", "--report") == 0
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    sg.tl.cross_validate(cohort, "sample", "label", rng=0)
    table = sg.get.scores(cohort, baseline="euclidean").set_index(["method", "classifier", "score"])
    names = {
        "learned metric": ("ggml", "class_mean"), "Euclidean OT": ("euclidean", "class_mean"),
        "pseudobulks": ("pseudobulk", "class_mean"), "pseudobulks, logistic regression": ("pseudobulk", "logistic"),
    }  # fmt: skip
    for name, row in names.items():
        found = re.search(
            rf"^  {name}  +.* balanced accuracy ([\d.]+) \(95 % interval ([\d.]+) to ([\d.]+)\)", text, re.M
        )
        expected = table.loc[(*row, "balanced_accuracy"), ["value", "ci_low", "ci_high"]]
        assert [float(x) for x in found.groups()] == pytest.approx(list(expected), abs=0.0051)
    own = table.loc[("ggml", "class_mean", "balanced_accuracy")]
    found = re.search(r"(\d+) samples are right with the learned metric only, (\d+) with Euclidean OT only", text)
    assert [int(x) for x in found.groups()] == [own["only_method"], own["only_baseline"]]
    tests = sg.tl.separation_test(cohort, "sample", "label", rng=0)
    assert (
        f"p = {tests.loc['learned', 'p_value']:.2g}; Euclidean OT p = {tests.loc['euclidean', 'p_value']:.2g}" in text
    )
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "logistic regression" in html and "Permutation test" in html


@pytest.mark.filterwarnings("ignore:only 36 permutations")
def test_batch_of_held_out_samples(cohort, tmp_path, capsys):
    cohort.obs["batch"] = np.where(cohort.obs["sample"].isin(["p1", "p2", "p3", "p6"]), "x", "y")
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out", "--batch-key", "batch") == 0
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    scores = sg.get.scores(ad.read_h5ad(tmp_path / "out" / "cells.h5ad"))
    value = scores.query("method == 'ggml' and classifier == 'batch' and score == 'balanced_accuracy'")["value"]
    assert f"the batch of held-out samples is predicted with balanced accuracy {value.iloc[0]:.2f}" in text


def test_run_on_x(cells, tmp_path, capsys):
    assert run(cells, tmp_path / "out", "--use-rep", "X") == 0
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "features: 12 of X" in text and "Top 12 genes: g3" in text
    assert "computed on all samples" not in text


@pytest.mark.filterwarnings("ignore:obsm\\['X_df'\\] cannot be computed again")
def test_run_without_genes(cells, tmp_path, capsys):
    (tmp_path / "out").mkdir()  # may exist
    assert run(cells, tmp_path / "out", "--use-rep", "X_df") == 0
    assert names(tmp_path / "out") == FILES - {"gene_weights.png", "gene_weights.csv"}
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "Genes: none, X_df does not lead back to genes." in text


def test_run_with_too_few_samples_to_hold_out(cohort, tmp_path, capsys):
    cohort[cohort.obs["sample"].isin(["p1", "p2", "p3", "p6"])].write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out") == 0
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "Held-out accuracy: not computed, a class has fewer than 3 samples." in text
    training = {"samples.csv", "distances_training.csv"}
    assert names(tmp_path / "out") == FILES - HELD_OUT - TABLES | training
    said = capsys.readouterr().err
    assert "warning: distances cannot be held-out, so that the map and the heatmap show training samples" in said
    assert "needs at least 4 samples of every class" in said
    samples = ad.read_h5ad(tmp_path / "out" / "samples.h5ad")
    assert "held_out" not in samples.uns and samples.uns["X_mds"]["status"] == "training"
    assert "show the samples that the metric was learned on, and so flatter it" in text


def test_run_with_numbers_as_labels(cohort, tmp_path, capsys):
    cohort.obs["label"] = cohort.obs["label"].cat.codes.astype(int)
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out") == 0
    assert names(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--sample-key", "donor"], ["--sample-key (sample_key='donor') is not a column of obs. Found: sample, label"]),
        (["--label-key", "state"], ["--label-key (label_key='state') is not a column of obs. Found: sample, label"]),
        (["--use-rep", "X_umap"], ["--use-rep (use_rep='X_umap') is not in obsm. Found: X_df, X_pca"]),
        (
            ["--label-key", "age"],
            ["--label-key (label_key='age') holds 8 different numbers", "--label-kind continuous"],
        ),
        (
            ["--label-key", "age", "--label-kind", "class"],
            [
                "each class of --label-key (label_key='age') needs at least 2 samples",
                "--label-kind (label_kind='continuous')",
            ],
        ),
        (["--label-kind", "ordinal"], ["--label-key (label_key='label') has no order"]),
        (["--label-kind", "continuous"], ["--label-key (label_key='label') must hold numbers"]),
        (["--batch-key", "label"], ["confounded"]),
        (["--donor-key", "site"], ["--donor-key (donor_key='site') is not a column of obs"]),
        (["--batch-key", "site"], ["--batch-key (batch_key='site') is not a column of obs"]),
        (["--cell-type-key", "kind"], ["--cell-type-key (cell_type_key='kind') is not a column of obs"]),
    ],
)
def test_errors_are_one_line_and_leave_nothing(cells, tmp_path, capsys, options, texts):
    assert run(cells, tmp_path / "new" / "out", *options) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("scggml: error: ") and all(text in lines[-1] for text in texts)
    assert not any("Traceback" in line for line in lines)
    assert names(tmp_path) == {"cells.h5ad"}


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["--version"], 0, f"scggml {version('scggml')}"),
        (["--help"], 0, "demo"),
        (["run", "--help"], 0, "--sample-key"),
        ([], 2, "required"),
        (["run", "cells.h5ad", "--out", "x"], 2, "--sample-key"),
        (["run", "cells.h5ad", "--sample-key", "s", "--label-key", "l"], 2, "--out"),
        (["fit"], 2, "invalid choice"),
        (["demo", "--seed", "a"], 2, "argument --seed: must be a whole number from 0 to 4294967295, found 'a'"),
        (["demo", "--seed", "-1"], 2, "argument --seed: must be a whole number from 0 to 4294967295, found '-1'"),
        (["demo", "--seed", "1e3"], 2, "argument --seed"),
        (["demo", "--seed", str(2**32)], 2, "argument --seed"),
        (["demo", "--n-jobs", "0"], 2, "argument --n-jobs: must be a positive whole number, or -1 for all cores"),
        (["demo", "--n-jobs", "-2"], 2, "argument --n-jobs"),
        (["demo", "--out", ""], 2, "argument --out: must name a folder"),
        (["run", "--help"], 0, "exit status: 0 "),
        (["map", "--help"], 0, "--reference"),
        (["map", "new.h5ad", "--out", "x"], 2, "--reference"),
        (["run", "cells.h5ad", "--label-kind", "number"], 2, "argument --label-kind: invalid choice: 'number'"),
        (["demo", "--se", "1"], 2, "unrecognized arguments: --se"),
        (
            [*"run c.h5ad --sample-key s --label-key l --out o --label-kind continuous --cell-type-key t".split()],
            2,
            "--cell-type-key compares classes, which --label-kind continuous does not have",
        ),
    ],
)
def test_parser(argv, status, text, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    shown = capsys.readouterr()
    assert ended.value.code == status
    assert text in (shown.out if status == 0 else shown.err)


def test_logging_is_as_before(tmp_path, capsys):
    before = list(cli.logger.handlers), cli.logger.level
    run(tmp_path / "none.h5ad", tmp_path / "out")
    assert (cli.logger.handlers, cli.logger.level) == before


def test_interrupt(cells, tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sg.tl, "sample_distances", interrupted)
    assert run(cells, tmp_path / "out") == 130
    assert "interrupted" in capsys.readouterr().err
    assert names(tmp_path) == {"cells.h5ad"}


def test_runs_replace_one_another_and_failures_nothing(cells, tmp_path, capsys, monkeypatch):
    def full(adata, path, **kwargs):
        if path.name == "cells.h5ad":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_h5ad(adata, path, **kwargs)

    out = tmp_path / "out"
    assert run(cells, out) == 0
    record = (out / "run.json").read_bytes()
    with monkeypatch.context() as patch:
        write_h5ad = _analysis.write_h5ad
        patch.setattr(_analysis, "write_h5ad", full)
        assert run(cells, out, "--seed", "1") == 1
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert first.startswith("scggml: error: no space left on the disk for ") and first.endswith("with --out.")
    assert second == f"cells.h5ad could not be written. The other results are in {out}.rescued"
    assert (out / "run.json").read_bytes() == record and names(out) == FILES
    rescued = tmp_path / "out.rescued"
    assert names(rescued) == FILES - {"cells.h5ad"}
    assert json.loads((rescued / "run.json").read_text())["seed"] == 1
    assert run(cells, out, "--seed", "2") == 0
    assert json.loads((out / "run.json").read_text())["seed"] == 2
    assert names(tmp_path) == {"cells.h5ad", "out", "out.rescued"}


@pytest.mark.parametrize("where", ["out", "out/sub"])
def test_own_input_is_not_replaced(cohort, tmp_path, capsys, where):
    folder = tmp_path / where
    folder.mkdir(parents=True)
    cohort.write_h5ad(folder / "cells.h5ad")
    before = (folder / "cells.h5ad").read_bytes()
    assert run(folder / "cells.h5ad", tmp_path / "out") == 1
    assert "cells.h5ad, which is to be read. Name another folder." in capsys.readouterr().err
    assert (folder / "cells.h5ad").read_bytes() == before and names(tmp_path) == {"out"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda tmp_path: (tmp_path / "cells.h5ad").write_text("text"), "cells.h5ad is not an h5ad file"),
        (lambda tmp_path: (tmp_path / "cells.h5ad").unlink(), "No such file or directory: "),
        (lambda tmp_path: (tmp_path / "out").write_text("mine"), "out is a file. Name a folder."),
        (lambda tmp_path: (tmp_path / "out").symlink_to(tmp_path / "cells.h5ad"), "cells.h5ad is a file"),
    ],
)
def test_refused_before_any_work(cells, tmp_path, capsys, monkeypatch, change, text):
    monkeypatch.setattr(sg.tl, "fit_metric", lambda *args, **kwargs: pytest.fail("work was begun"))
    change(tmp_path)
    before = names(tmp_path)
    assert run(cells, tmp_path / "out") == 1
    assert text in capsys.readouterr().err and names(tmp_path) == before


def test_cells_that_cannot_be_written_are_refused_before_any_work(cohort, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sg.tl, "fit_metric", lambda *args, **kwargs: pytest.fail("work was begun"))
    monkeypatch.setattr(_run, "check_cells", lambda *args: None)
    monkeypatch.setattr(_run, "read_cells", lambda *args: cohort)
    cohort.raw = cohort.copy()
    cohort.raw.var["_index"] = 1
    (tmp_path / "cells.h5ad").touch()
    assert run(tmp_path / "cells.h5ad", tmp_path / "out") == 1
    assert "cells.h5ad holds raw.var, which cannot be written" in capsys.readouterr().err
    assert names(tmp_path) == {"cells.h5ad"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError("samples of 3 and 4 cells"), "not enough memory: samples of 3 and 4 cells. Pass --n-jobs 1"),
        (RuntimeError("can't start new thread"), "no more threads can be started here"),
        (ImportError("No module named 'umap'"), "No module named 'umap'. Install scggml"),
    ],
)
def test_errors_of_the_machine_are_explained(cells, tmp_path, capsys, monkeypatch, error, text):
    def failing(*args, **kwargs):
        raise error

    monkeypatch.setattr(sg.tl, "sample_distances", failing)
    assert run(cells, tmp_path / "out") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"scggml: error: {text}")
    assert names(tmp_path) == {"cells.h5ad"}


def test_faults_of_the_code_are_shown_whole(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(sg.tl, "sample_distances", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError) as found:
        run(cells, tmp_path / "out")
    assert "please report it" in found.value.__notes__[0]
    assert names(tmp_path) == {"cells.h5ad"}


def test_output_that_nobody_reads(tmp_path):
    code = f"""
        import argparse, pathlib
        from scggml.cli._output import tell
        tell("text", argparse.Namespace(out=pathlib.Path({str(tmp_path)!r}), quiet=False), 0.0)
    """
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    program.stdout.close()
    assert (program.stderr.read(), program.wait(timeout=120)) == (b"", 0)
    program.stderr.close()


def test_demo_makes_a_place_for_the_cache_that_scanpy_needs(monkeypatch):
    class Scanpy(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name, path=None, target=None):
            return importlib.machinery.ModuleSpec(name, self) if name == "scanpy" else None

        def exec_module(self, module):
            if not numba.config.CACHE_DIR:
                raise RuntimeError("cannot cache function 'f': no locator available for file 'g'")

    monkeypatch.setattr(sys, "meta_path", [Scanpy(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "scanpy", raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    assert _demo._scanpy().__spec__.loader.__class__ is Scanpy
    assert Path(numba.config.CACHE_DIR).is_dir()
    monkeypatch.delitem(sys.modules, "scanpy")


def test_warnings_are_one_line(cells, tmp_path, capsys, monkeypatch):
    def warns(*args, **kwargs):
        warnings.warn("look at this", UserWarning, stacklevel=2)
        raise KeyboardInterrupt

    monkeypatch.setattr(sg.tl, "sample_distances", warns)
    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(cells, tmp_path / "out") == 130
    assert warnings.showwarning is shown
    assert "warning: look at this" in capsys.readouterr().err.splitlines()


def test_steps_are_announced_without_a_terminal(cells, tmp_path, capsys):
    assert run(cells, tmp_path / "out", "--cell-type-key", "cell_type") == 0
    steps = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in steps] == [f"step {i} of 9" for i in range(1, 10)]
    assert "held-out samples" in steps[2] and "results in" in steps[8]


def test_cell_types(cells, tmp_path, capsys):
    assert run(cells, tmp_path / "out", "--cell-type-key", "cell_type") == 0
    assert names(tmp_path / "out") == FILES | {"cell_types.csv"}
    samples = ad.read_h5ad(tmp_path / "out" / "samples.h5ad")
    table = pd.read_csv(tmp_path / "out" / "cell_types.csv")
    pd.testing.assert_frame_equal(table, sg.get.explanation(samples, "cell_types"), check_dtype=False, rtol=1e-9)


def test_quiet(cells, tmp_path, capsys):
    assert run(cells, tmp_path / "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run(tmp_path / "none.h5ad", tmp_path / "other", "--quiet") == 1
    assert "scggml: error: " in capsys.readouterr().err


def paired(cohort):
    """Two samples of each of eight donors, one of each class."""
    both = ad.concat([cohort, cohort], index_unique="-")
    both.obsm["X_rep"] = both.obsm["X_pca"] + np.random.default_rng(0).normal(scale=0.3, size=both.obsm["X_pca"].shape)
    second = np.arange(both.n_obs) >= cohort.n_obs
    both.obs["donor"] = both.obs["sample"].astype(str)
    both.obs["label"] = np.where(second, "stimulated", "control")
    both.obs["sample"] = both.obs["donor"] + np.where(second, " b", " a")
    both.obsm["X_rep"][second, 0] += 2
    return both


@pytest.mark.filterwarnings("ignore:obsm\\['X_rep'\\] cannot be computed again")
def test_donors_are_held_out_together(cohort, tmp_path, capsys):
    paired(cohort).write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out", "--donor-key", "donor", "--use-rep", "X_rep") == 0
    cells = ad.read_h5ad(tmp_path / "out" / "cells.h5ad")
    samples = ad.read_h5ad(tmp_path / "out" / "samples.h5ad")
    folds = pd.Series(samples.uns["held_out"]["folds"], index=[name[:2] for name in samples.obs_names])
    assert (folds.groupby(level=0).nunique() == 1).all() and folds.nunique() >= 3
    predictions = sg.get.predictions(cells)
    assert cells.uns["ggml_cross_validation"]["params"]["n_splits"] == 8
    assert (predictions.groupby("donor")["fold"].nunique() == 1).all()
    assert cells.uns["ggml"]["params"]["donor_key"] == "donor"
    assert "Held-out accuracy (8 folds of donors" in (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["donor_key"] == "donor"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["continuous", "ordinal"])
def test_ordered_labels(cohort, tmp_path, capsys, kind):
    if kind == "ordinal":
        cohort.obs["age"] = (cohort.obs["age"] - 30) // 8
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out", "--label-key", "age", "--label-kind", kind) == 0
    assert names(tmp_path / "out") == FILES
    cells = ad.read_h5ad(tmp_path / "out" / "cells.h5ad")
    assert cells.uns["ggml"]["params"]["label_kind"] == kind
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    scores = sg.get.scores(cells).query("method == 'ggml' and score == 'spearman'")
    found = re.search(
        r"learned metric +rank correlation ([-\d.]+) \(95 % interval .*\) between label and prediction", text
    )
    assert float(found.group(1)) == pytest.approx(scores["value"].iloc[0], abs=0.005)
    assert "Samples: 8 (age from 30 to 44)" in text or "Samples: 8 (0.0 4, 1.0 4)" in text
    reference = ad.read_h5ad(tmp_path / "out" / "reference.h5ad").uns["ggml_reference"]
    assert ("calibration" in reference) == (kind == "ordinal")


def test_report(cells, tmp_path, capsys):
    assert run(cells, tmp_path / "out", "--report") == 0
    assert names(tmp_path / "out") == FILES | {"report.html"}
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "8 patients compared by their cells" in text and "Accuracy on held-out patients" in text


def test_report_without_its_libraries_is_refused_before_any_work(cells, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert run(cells, tmp_path / "out", "--report") == 1
    assert 'a report needs plotly. Install it: pip install "scggml[report]"' in capsys.readouterr().err
    assert names(tmp_path) == {"cells.h5ad"}


@pytest.mark.parametrize(
    ("sizes", "donors", "kind", "expected"),
    [
        ((3, 3), None, "class", True),
        ((2, 4), None, "class", False),
        ((4, 60), None, "class", False),  # five folds of many samples
        ((5, 60), None, "class", True),
        ((4, 4), "aabbaabb", "class", True),
        ((4, 4), "aaabaabb", "class", False),  # without donor a, one is left
        ((4, 4), "aaaaaaaa", "class", False),
        ((1, 1, 1), None, "continuous", True),
        ((1, 1), None, "continuous", False),
    ],
)
def test_what_can_be_scored(sizes, donors, kind, expected):
    label = np.repeat(np.arange(len(sizes)), sizes)
    obs = {"s": np.arange(len(label)).astype(str), "l": label, "d": list(donors) if donors else "x"}
    adata = ad.AnnData(obs=pd.DataFrame(obs, index=obs["s"]))
    question = _analysis.Question("s", "l", kind, donor_key="d" if donors else None)
    assert _analysis._can_be_scored(adata, question) is expected


def test_tables(cells, pdata, tmp_path, capsys):
    assert run(cells, tmp_path / "out") == 0
    samples = ad.read_h5ad(tmp_path / "out" / "samples.h5ad")
    table = pd.read_csv(tmp_path / "out" / "samples.csv", index_col="sample")
    assert list(table.index) == list(samples.obs_names) and list(table["label"]) == list(samples.obs["label"])
    np.testing.assert_allclose(table[["mds_0", "mds_1"]], samples.obsm["X_mds"], rtol=1e-9)
    distances = pd.read_csv(tmp_path / "out" / "distances_held_out.csv", index_col="sample")
    assert list(distances.columns) == list(samples.obs_names)
    np.testing.assert_allclose(distances, samples.obsp["held_out_distances"], rtol=1e-9)
    predictions = pd.read_csv(tmp_path / "out" / "predictions_held_out.csv")
    found = predictions.query("method == 'ggml' and classifier == 'class_mean'")
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert re.search(rf"learned metric +{(found['label'] == found['predicted']).sum()}/8 correct", text)
    scores = pd.read_csv(tmp_path / "out" / "scores_held_out.csv")
    assert {"ggml", "euclidean", "pseudobulk"} == set(scores["method"])
    assert {"score: sick", "score: well"} <= set(predictions.columns)


@pytest.mark.parametrize(("suffix", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figure_formats(cells, tmp_path, capsys, suffix, start):
    for folder in ("a", "b"):
        assert run(cells, tmp_path / folder, "--figure-format", suffix) == 0
    assert names(tmp_path / "a") == {name.replace(".png", f".{suffix}") for name in FILES}
    for path in (tmp_path / "a").glob(f"*.{suffix}"):
        assert path.read_bytes().startswith(start) and path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.filterwarnings("ignore:obsm\\['X_pca'\\]")
def test_layer(cohort, cells, tmp_path, capsys):
    cohort.layers["half"] = cohort.X / 2
    cohort.X = np.zeros(cohort.shape)
    cohort.write_h5ad(tmp_path / "layer.h5ad")
    assert run(tmp_path / "layer.h5ad", tmp_path / "out", "--use-rep", "X", "--layer", "half") == 0
    assert run(cells, tmp_path / "whole", "--use-rep", "X") == 0
    of_layer, whole = (ad.read_h5ad(tmp_path / name / "samples.h5ad") for name in ("out", "whole"))
    np.testing.assert_allclose(of_layer.obsp["ggml_distances"], whole.obsp["ggml_distances"], rtol=1e-6)
    assert of_layer.uns["ggml"]["params"]["layer"] == "half"
    assert run(cells, tmp_path / "none", "--use-rep", "X", "--layer", "logs") == 1
    assert "--layer (layer='logs')" in capsys.readouterr().err


def test_several_labels(cohort, cells, tmp_path, capsys):
    cohort.obs["sex: f or m"] = cohort.obs["sample"].isin(["p1", "p3", "p5", "p6"]).map({True: "f", False: "m"})
    cohort.write_h5ad(tmp_path / "two.h5ad")
    two = tmp_path / "two.h5ad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(two, tmp_path / "out", "--label-key", "label", "--label-key", "sex: f or m") == 0
        assert run(two, tmp_path / "one", "--label-key", "sex: f or m") == 0
    assert names(tmp_path / "out") == {"label", "sex_f_or_m"}
    for name in ("label", "sex_f_or_m"):
        assert names(tmp_path / "out" / name) == FILES
    both = [(tmp_path / name / "samples.csv").read_bytes() for name in ("out/sex_f_or_m", "one")]
    assert both[0] == both[1]
    said = capsys.readouterr()
    assert "label 2 of 2: sex: f or m" in said.err and said.out.count("scggml summary") == 3
    # what would mix runs, or fails for one label, is refused before any work
    for out, labels, text in [
        ("one", ["label", "sex: f or m"], "holds a run of one label"),
        ("new", ["label", "label"], "--label-key label would share a folder"),
        ("new", ["label", "sex"], "--label-key (label_key='sex') is not a column of obs"),
        ("new", ["label", "age"], "--label-key (label_key='age') holds 8 different numbers"),
        ("out", ["label"], "holds what is no scggml run: label, sex_f_or_m"),
    ]:
        before = names(tmp_path)
        assert run(two, tmp_path / out, *(word for label in labels for word in ("--label-key", label))) == 1
        assert text in capsys.readouterr().err and names(tmp_path) == before


STEPS = ["fit_metric", "cross_validate", "separation_test", "sample_distances", "explain_distances", "make_reference"]


@pytest.mark.parametrize("step", STEPS)
def test_resume(cells, tmp_path, capsys, monkeypatch, step):
    """A run that is interrupted in a step, and goes on, does no earlier step again and ends in the same results."""
    options = ("--cell-type-key", "cell_type", "--resume")
    assert run(cells, tmp_path / "whole", *options) == 0
    with monkeypatch.context() as patch:
        patch.setattr(sg.tl, step, lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(cells, tmp_path / "out", *options) == 130
    assert names(tmp_path) == {"cells.h5ad", "whole", ".out.steps"}
    done = []
    for name in STEPS:
        inner = getattr(sg.tl, name)
        monkeypatch.setattr(
            sg.tl, name, lambda *a, _inner=inner, _name=name, **k: [done.append(_name), _inner(*a, **k)][1]
        )
    assert run(cells, tmp_path / "out", *options, "--n-jobs", "1") == 0
    assert not set(done) & set(STEPS[: STEPS.index(step)]) and step in done
    assert names(tmp_path) == {"cells.h5ad", "whole", "out"}
    for path in (tmp_path / "whole").iterdir():
        if path.suffix in (".csv", ".txt", ".png"):
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name
    for name in ("samples.h5ad", "reference.h5ad", "cells.h5ad"):
        one, other = (ad.read_h5ad(tmp_path / folder / name) for folder in ("whole", "out"))
        for slot in ("obsm", "obsp", "varm", "uns"):
            assert set(getattr(one, slot)) == set(getattr(other, slot))
        for slot, key in [(s, k) for s in ("obsm", "obsp", "varm") for k in getattr(one, s)]:
            first, second = (getattr(x, slot)[key] for x in (one, other))
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_resume_of_a_whole_run_does_nothing(cells, tmp_path, capsys, monkeypatch):
    assert run(cells, tmp_path / "out") == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    text = capsys.readouterr().out
    (tmp_path / ".out.steps").mkdir()  # of a run that was killed after its last file
    with monkeypatch.context() as patch:
        patch.setattr(_run, "analyse", lambda *args, **kwargs: pytest.fail("work was begun"))
        assert run(cells, tmp_path / "out", "--resume") == 0
        assert names(tmp_path) == {"cells.h5ad", "out"}
        said = capsys.readouterr()
        assert "holds this run already" in said.err and said.out.splitlines()[:-1] == text.splitlines()[:-1]
        with pytest.raises(pytest.fail.Exception):
            run(cells, tmp_path / "out", "--resume", "--seed", "1")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "samples.csv").unlink()
    assert run(cells, tmp_path / "out", "--resume") == 0
    assert names(tmp_path / "out") == FILES


@pytest.mark.parametrize("damage", ["options", "step", "pairs", "fingerprint", "left"])
def test_steps_that_do_not_fit_are_done_again(cells, tmp_path, capsys, monkeypatch, damage):
    assert run(cells, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(sg.tl, "make_reference", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(cells, tmp_path / "out", "--resume", *(["--seed", "1"] if damage == "options" else [])) == 130
    steps = tmp_path / ".out.steps"
    if damage == "step":
        (steps / "samples.h5ad").write_bytes(b"cut off")
    elif damage == "pairs":
        (steps / "samples.h5ad").unlink()
        data = bytearray((steps / "pairs").read_bytes())
        data[-9] ^= 1
        (steps / "pairs").write_bytes(data)
    elif damage == "fingerprint":
        (steps / "fingerprint.txt").write_bytes(b"\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run(cells, tmp_path / "out", *([] if damage == "left" else ["--resume"])) == 0
    said = capsys.readouterr().err
    assert {
        "options": "had another input, other options or another version",
        "fingerprint": "had another input, other options or another version",
        "step": "samples.h5ad cannot be read",
        "pairs": "1 damaged record(s)",
        "left": "the finished steps of a killed run: pass --resume",
    }[damage] in said
    assert names(tmp_path) == {"cells.h5ad", "whole", "out"}
    same = [(tmp_path / name / "samples.csv").read_bytes() for name in ("out", "whole")]
    assert same[0] == same[1]


def test_steps_on_a_full_disk_are_not_kept(cells, tmp_path, capsys, monkeypatch):
    def full(adata, path, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(_finished_steps, "write_h5ad", full)
    assert run(cells, tmp_path / "out", "--resume") == 0
    assert "this step cannot be kept for --resume" in capsys.readouterr().err
    assert names(tmp_path / "out") == FILES
