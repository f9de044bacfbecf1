"""The command line, in this process, on small cohorts."""

from __future__ import annotations

import re
from importlib.metadata import version

import anndata as ad
import matplotlib as mpl
import numpy as np
import pytest

import scggml as sg
from scggml import cli
from scggml.datasets._simulation import Design, simulate

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def small_demo(monkeypatch):
    def small(rng):
        design = Design(n_programme_genes=12)
        return simulate(8, n_cells=30, n_genes=200, effect_size=2.0, patient_effect=0.1, design=design, rng=rng)

    monkeypatch.setattr(sg.datasets, "simulated_cohort", small)


@pytest.fixture
def cells(cohort, tmp_path):
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def run(file, out, *options):
    keys = [] if "--sample-key" in options else ["--sample-key", "sample"]
    keys += [] if "--label-key" in options else ["--label-key", "label"]
    return cli.main(["run", str(file), *keys, *map(str, options), "--out", str(out), "--n-jobs", "2"])


def names(folder):
    return {path.name for path in folder.iterdir()}


FILES = {"cells.h5ad", "samples.h5ad", "summary.txt", "patient_map.png", "distance_heatmap.png", "gene_weights.png"}


def test_demo(small_demo, tmp_path, capsys, pyplot):
    params = dict(mpl.rcParams)
    out = tmp_path / "new" / "demo"
    assert cli.main(["demo", "--out", str(out), "--n-jobs", "2"]) == 0
    assert names(out) == FILES
    for name in FILES:
        if name.endswith(".png"):
            assert (out / name).read_bytes().startswith(PNG)
    cells, samples = ad.read_h5ad(out / "cells.h5ad"), ad.read_h5ad(out / "samples.h5ad")
    assert {"ggml", "ggml_rank_genes"} <= set(cells.uns) and "X_ggml" in cells.obsm and "ggml" in cells.varm
    assert samples.obsp["ggml_distances"].shape == (8, 8) and samples.obsm["X_mds"].shape == (8, 2)
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
    assert f"{marked} of them (*) belong to the 12 planted genes; by chance 1.2 would" in text
    assert not pyplot.get_fignums() and dict(mpl.rcParams) == params


def test_demo_is_reproducible(small_demo, tmp_path, capsys):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert cli.main(["demo", "--out", str(tmp_path / name), "--seed", seed]) == 0
    a, b, c = (ad.read_h5ad(tmp_path / name / "samples.h5ad") for name in "abc")
    np.testing.assert_array_equal(a.obsp["ggml_distances"], b.obsp["ggml_distances"])
    assert not np.array_equal(a.obsp["ggml_distances"], c.obsp["ggml_distances"])
    text = (tmp_path / "a" / "summary.txt").read_text(encoding="utf-8")
    assert text == (tmp_path / "b" / "summary.txt").read_text(encoding="utf-8")


def test_run_equals_the_functions(cells, pdata, tmp_path, capsys):
    assert run(cells, tmp_path / "out") == 0
    assert names(tmp_path / "out") == FILES
    samples = ad.read_h5ad(tmp_path / "out" / "samples.h5ad")
    np.testing.assert_array_equal(samples.obsp["ggml_distances"], pdata.obsp["ggml_distances"])
    np.testing.assert_array_equal(samples.obsm["X_mds"], pdata.obsm["X_mds"])
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "Samples: 8 (sick 4, well 4); cells: 87; features: 5 of X_pca" in text
    assert "Top 12 genes: g3, " in text and "*" not in text  # nothing was planted
    assert "Held-out accuracy (8 folds" in text


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
        assert f"{name:<15} {correct}/8 correct" in text
        assert correct < 8  # the training samples would all be right


def test_run_on_x(cells, tmp_path, capsys):
    assert run(cells, tmp_path / "out", "--use-rep", "X") == 0
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "features: 12 of X" in text and "Top 12 genes: g3" in text
    assert "computed on all samples" not in text


def test_run_without_genes(cells, tmp_path, capsys):
    (tmp_path / "out").mkdir()  # may exist
    assert run(cells, tmp_path / "out", "--use-rep", "X_df") == 0
    assert names(tmp_path / "out") == FILES - {"gene_weights.png"}
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "Genes: none, X_df does not lead back to genes." in text


def test_run_with_too_few_samples_to_hold_out(cohort, tmp_path, capsys):
    cohort[cohort.obs["sample"].isin(["p1", "p2", "p3", "p6"])].write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out") == 0
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "Held-out accuracy: not computed, a class has fewer than 3 samples." in text


def test_run_with_numbers_as_labels(cohort, tmp_path, capsys):
    cohort.obs["label"] = cohort.obs["label"].cat.codes.astype(int)
    cohort.write_h5ad(tmp_path / "cells.h5ad")
    assert run(tmp_path / "cells.h5ad", tmp_path / "out") == 0
    assert names(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--sample-key", "donor"], ["sample_key='donor' is not a column of obs. Found: sample, label"]),
        (["--label-key", "state"], ["label_key='state' is not a column of obs. Found: sample, label"]),
        (["--use-rep", "X_umap"], ["use_rep='X_umap' is not in obsm. Found: X_df, X_pca"]),
        (["--label-key", "age"], ["each class of label_key='age' needs at least 2 samples"]),
        (["--seed", "-1"], ["rng must be at least 0, found -1"]),
    ],
)
def test_errors_are_one_line_and_leave_nothing(cells, tmp_path, capsys, options, texts):
    assert run(cells, tmp_path / "out", *options) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("scggml: error: ") and all(text in lines[-1] for text in texts)
    assert not any("Traceback" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_missing_and_damaged_file(tmp_path, capsys):
    assert run(tmp_path / "none.h5ad", tmp_path / "out") == 1
    assert f"scggml: error: {tmp_path / 'none.h5ad'} is not a file" in capsys.readouterr().err
    (tmp_path / "text.h5ad").write_text("not an h5ad file")
    assert run(tmp_path / "text.h5ad", tmp_path / "out") == 1
    assert "scggml: error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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
        (["demo", "--seed", "a"], 2, "invalid int value"),
    ],
)
def test_parser(argv, status, text, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    shown = capsys.readouterr()
    assert ended.value.code == status
    assert text in (shown.out if status == 0 else shown.err)


def test_handlers_do_not_pile_up(tmp_path, capsys):
    before = list(cli.logger.handlers)
    run(tmp_path / "none.h5ad", tmp_path / "out")
    assert cli.logger.handlers == before


def test_interrupt(cells, tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_analyse", interrupted)
    assert run(cells, tmp_path / "out") == 130
    assert "interrupted" in capsys.readouterr().err
