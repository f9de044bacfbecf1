"""The report: contents from the functions that return them, escaped texts, nothing remote, and whole files only."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance as spd

import scggml as sg
from scggml._report import _page
from scggml._report import _report as module

ALL = ["about", "map", "distances", "accuracy", "chance", "genes", "cell-types", "new-patients", "patients", "methods"]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def whole(everything, tmp_path_factory, read_page):
    cells, pdata, mapped = everything
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert sg.report(cells, pdata, path, mapped=mapped) is None
    return read_page(path)


def test_all_sections(whole):
    assert whole.sections == ALL
    assert ("dl", "class", "facts") in whole.attributes


def test_nothing_is_changed(everything_copied, everything, tmp_path, assert_same_anndata):
    cells, pdata, mapped = everything_copied
    sg.report(cells, pdata, tmp_path / "report.html", mapped=mapped)
    for data, before in zip(everything_copied, everything, strict=True):
        assert_same_anndata(data, before)


def test_held_out_distances_of_their_own_in_any_order(everything, whole, tmp_path, read_page):
    cells, pdata, mapped = everything
    both = pdata.copy()
    held_out = ad.AnnData(obs=both.obs, obsp={"ggml_distances": both.obsp.pop("held_out_distances")})
    held_out.uns["ggml"] = both.uns.pop("held_out")
    held_out = held_out[::-1].copy()
    sg.report(cells, both, tmp_path / "report.html", held_out=held_out, mapped=mapped)
    page = read_page(tmp_path / "report.html")
    assert page.text == whole.text
    assert page.figures == whole.figures
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata: names are not unique
        twice = held_out[[1, 1, *range(2, held_out.n_obs)]].copy()
        with pytest.raises(ValueError, match=f"samples of pdata.*missing: {held_out.obs_names[0]}"):
            sg.report(cells, both, tmp_path / "report.html", held_out=twice)


def test_says_what_is_held_out_and_what_is_training(whole):
    assert (
        "held-out The distance of two patients was computed with a metric that was learned without both" in whole.text
    )
    assert "Map of the patients held-out" in whole.text and "Distances between the patients held-out" in whole.text
    assert "Genes of the metric training" in whole.text and "Which cells differ? training" in whole.text


def test_scores_are_those_of_get(whole, everything):
    table = sg.get.scores(everything[0], baseline="euclidean").query(
        "score == 'balanced_accuracy' and classifier in ('class_mean', 'logistic')"
    )
    assert len(table) == 4
    for row in table.itertuples():
        assert f"{row.value:.2f} {row.ci_low:.2f} to {row.ci_high:.2f}" in whole.text
    right = (
        everything[0]
        .uns["ggml_cross_validation"]["predictions"]
        .query("method == 'ggml' and classifier == 'class_mean'")
    )
    assert f"The label of {(right['label'] == right['predicted']).sum()} of 8 patients" in whole.text


def test_permutation_test(whole, everything):
    p = everything[0].uns["ggml_separation"]["table"].loc["learned", "p_value"]
    assert f"p = {p:.2g}" in whole.text and "39 permutations" in whole.text


def test_genes_with_their_intervals(whole, everything):
    for gene, row in sg.get.gene_weights(everything[0]).iterrows():
        text = f"{gene} {row['weight']:.3f} {row['low']:.3f} to {row['high']:.3f} {row['highest']}"
        assert text in whole.text


def test_cell_types(whole, everything):
    summary = sg.get.explanation(everything[1], "summary", classes=["sick", "well"]).iloc[0]
    types = sg.get.explanation(everything[1], "cell_types", classes=["sick", "well"])
    shares = types.set_index("cell_type")["excess"] / summary["excess"]
    for name, share in shares.items():
        assert f"{name} {100 * share:.0f}\u202f%".replace("-", "\N{MINUS SIGN}").replace(
            "\u202f", " "
        ) in whole.text.replace("\u202f", " ")
    assert f"an excess of {summary['excess']:.2f}" in whole.text


def test_new_patients(whole, everything):
    mapped = everything[2]
    new = mapped[~mapped.obs["is_reference"]]
    assert new.obs["outlier"].to_dict() == {"new p1": False, "new p2": True}
    text = whole.text.replace("\u202f", " ")
    for name, row in new.obs.iterrows():
        flag = " outlier" if row["outlier"] else ""
        best = new.obsm["ggml_probabilities"][list(new.obs_names).index(name)].max()
        assert f"{name}{flag} {row['predicted']} {100 * best:.0f} %" in text
    assert "1 flagged as outlier" in text


def test_map_is_that_of_held_out_distances(whole, everything):
    pdata = everything[1]
    traces = whole.figures[0]["data"]
    assert [len(trace["x"]) for trace in traces] == [4, 4]
    at = np.concatenate([np.stack([trace["x"], trace["y"]], axis=1) for trace in traces])
    names = [re.sub("<.*?>", " ", text).split() for trace in traces for text in trace["text"]]
    order = [list(pdata.obs_names).index(name) for name, _ in names]
    assert [label for _, label in names] == list(pdata.obs["label"].iloc[order])
    expected = sg.tl.embed_samples(pdata, "mds", key="held_out", copy=True).obsm["X_mds"][order]
    np.testing.assert_allclose(spd.pdist(at), spd.pdist(expected), rtol=1e-3, atol=1e-4)
    assert [trace["marker"]["color"] for trace in traces] == ["#112233", "#aa0000"]  # of uns


def test_heatmap_holds_the_held_out_distances(whole, everything):
    heat = whole.figures[1]["data"][0]
    table = sg.get.distances(everything[1], key="held_out").loc[heat["y"], heat["x"]].to_numpy(copy=True)
    np.fill_diagonal(table, np.nan)
    np.testing.assert_allclose(np.array(heat["z"], dtype=float), table, rtol=1e-4)
    assert sorted(heat["x"][:4]) == sorted(everything[1].obs_names[everything[1].obs["label"] == "well"])


def test_map_of_new_patients(whole, everything):
    rings = [trace for trace in whole.figures[2]["data"] if trace["marker"]["symbol"] == "circle-open"]
    assert sum(len(trace["x"]) for trace in rings) == 2
    assert sum(len(trace["x"]) for trace in whole.figures[2]["data"]) == 10
    assert any("outlier" in text for trace in rings for text in trace["text"])


def test_method_text_settings_and_versions(whole):
    from importlib.metadata import version

    for text in (
        "Each of 8 patients was represented by the distribution of its cells (87 cells in all) over 5 principal",
        "was learned from the label \u201clabel\u201d of the patients by global ground metric learning (Kühn and Schaub",
        "patients were divided into 4 folds",
        "(leave-one-out cross-validation): balanced accuracy",
        "A permutation test (39 permutations of the labels",
        "20 bootstraps",
        "decomposed along the transport plans by cell type (cell_type)",
        "2 new patients that the metric has not seen were predicted",
        "PMLR 258:3295\N{EN DASH}3303",
        f"scggml {version('scggml')}",
        "sample_key sample",
    ):
        assert text in whole.text, text


def test_nothing_is_remote(everything, tmp_path, read_page):
    sg.report(*everything[:2], tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert [
        (tag, name, value) for tag, name, value in page.attributes if name in ("src", "srcset", "data", "action")
    ] == []
    assert all(value.startswith("#") for tag, name, value in page.attributes if name == "href")
    assert "link" not in {tag for tag, *_ in page.attributes}
    style = (_page._FOLDER / "style.css").read_text()
    assert "url(" not in style and "@import" not in style
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "http" not in policy
    assert len(page.scripts) == 2  # the library once, and ours
    for script in page.scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_texts_of_the_user_are_escaped(everything_copied, tmp_path, read_page):
    cells, pdata, mapped = everything_copied
    label, kind = f"{HOSTILE} label", f"{HOSTILE} kind"
    cells.obs["label"] = cells.obs["label"].cat.rename_categories({"sick": label})
    cells.var_names = [HOSTILE, *cells.var_names[1:]]
    cells.obs["cell_type"] = cells.obs["cell_type"].cat.rename_categories({"T": kind})
    cells.obs["sample"] = cells.obs["sample"].cat.rename_categories({"p1": f"p1 {HOSTILE}"})
    sg.tl.fit_metric(cells, "sample", "label", validate=True, rng=0)
    pdata = sg.tl.sample_distances(cells)
    sg.tl.explain_distances(cells, pdata, cell_type_key="cell_type")
    path = tmp_path / "report.html"
    sg.report(cells, pdata, path)
    page = read_page(path)
    assert len(page.scripts) == 2 and not [tag for tag, *_ in page.attributes if tag == "img"]
    for text in (label, kind, f"p1 {HOSTILE}", HOSTILE):
        assert text in page.text  # as text
    assert "<script>alert" not in path.read_text(encoding="utf-8") and "<img" not in path.read_text(encoding="utf-8")
    # plotly takes markup in texts: what it gets is escaped, too
    names = [text for figure in page.figures for trace in figure["data"] for text in trace.get("text", trace.get("x"))]
    assert any("&lt;img" in text for text in names) and not any("<img" in text or "<script" in text for text in names)


def test_sections_of_what_was_not_computed_are_left_out(cohort, tmp_path, read_page):
    sg.tl.fit_metric(cohort, "sample", "label", use_rep="X_df", rng=0)
    sg.report(cohort, sg.tl.sample_distances(cohort), tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert page.sections == ["about", "map", "distances", "patients", "methods"]
    assert ("dl", "class", "facts") not in page.attributes  # no empty box
    assert "Accuracy on held-out patients was not computed (sg.tl.cross_validate)" in page.text
    assert "Map of the patients training" in page.text and "training The metric has seen the labels" in page.text
    assert "Distances shown are those under the metric that has seen all labels." in page.text


def test_scores_of_the_fit_where_there_is_no_cross_validation(cohort, tmp_path, read_page):
    sg.tl.fit_metric(cohort, "sample", "label", validate=True, rng=0)
    sg.report(cohort, sg.tl.sample_distances(cohort, cv="auto", rng=0), tmp_path / "report.html")
    page, found = read_page(tmp_path / "report.html"), cohort.uns["ggml"]["validation"]
    assert "accuracy" in page.sections
    assert f"{found['value']:.2f} {found['ci_low']:.2f} to {found['ci_high']:.2f}" in page.text


def test_results_about_another_label_are_left_out_with_a_word(fitted, pdata, tmp_path, read_page):
    fitted.obs["other"] = fitted.obs["sample"].isin(["p1", "p2", "p3", "p8"]).map({True: "a", False: "b"}).to_numpy()
    sg.tl.cross_validate(fitted, "sample", "other", methods=["euclidean"], rng=0)
    sg.tl.separation_test(fitted, "sample", "other", n_permutations=19, rng=0)
    sg.report(fitted, pdata, tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert not {"accuracy", "chance"} & set(page.sections)
    assert "The cross-validation is about another label (other)" in page.text
    assert "The permutation test is about another label (other)" in page.text


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["continuous", "ordinal"])
def test_ordered_labels(cohort, tmp_path, read_page, kind):
    if kind == "ordinal":
        cohort.obs["age"] = (cohort.obs["age"] - 30) // 4
    sg.tl.fit_metric(cohort, "sample", "age", label_kind=kind, validate=True, rng=0)
    sg.tl.rank_genes(cohort)
    pdata = sg.tl.sample_distances(cohort)
    sg.report(cohort, pdata, tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert "Rank correlation, held-out patients" in page.text and "Trend" in page.text
    colors = [trace["marker"]["color"] for trace in page.figures[0]["data"]]
    if kind == "continuous":
        assert colors == [list(pdata.obs["age"])]
        assert page.figures[1]["data"][0]["x"] == list(pdata.obs["age"].sort_values().index)
    else:
        assert len(set(colors)) == len(colors) == 4


def test_numbers_as_classes_and_missing_labels(cohort, tmp_path, read_page):
    cohort.obs["code"] = cohort.obs["label"].cat.codes.astype(int)
    sg.tl.fit_metric(cohort, "sample", "code", rng=0)
    pdata = sg.tl.sample_distances(cohort)
    pdata.obs["code"] = pdata.obs["code"].astype(float).where(pdata.obs_names != "p1")
    pdata.obs["code"] = pd.Categorical([None if pd.isna(code) else str(int(code)) for code in pdata.obs["code"]])
    sg.report(cohort, pdata, tmp_path / "report.html")
    assert [len(trace["x"]) for trace in read_page(tmp_path / "report.html").figures[0]["data"]] in (
        [3, 4, 1],
        [4, 3, 1],
    )


def test_three_patients_have_no_map(cohort, tmp_path, read_page):
    few = cohort[cohort.obs["sample"].isin(["p1", "p2", "p3", "p6"])].copy()
    sg.tl.fit_metric(few, "sample", "label", rng=0)
    three = few[few.obs["sample"] != "p6"].copy()
    sg.report(three, sg.tl.sample_distances(three), tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert "map" not in page.sections and "distances" in page.sections and len(page.figures) == 1


def test_donors(cohort, tmp_path, read_page):
    cohort.obs["donor"] = cohort.obs["sample"].astype(str).str[1:].astype(int).add(1).floordiv(2).astype(str).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.fit_metric(cohort, "sample", "label", donor_key="donor", rng=0)
        sg.report(cohort, sg.tl.sample_distances(cohort), tmp_path / "report.html")
    text = read_page(tmp_path / "report.html").text
    n = cohort.obs["donor"].nunique()
    assert f"8 samples of {n} donors compared by their cells" in text and "within donor (donor) only" in text


@pytest.mark.filterwarnings("ignore:only 36 permutations")
def test_batches(cohort, tmp_path, read_page):
    cohort.obs["run <1>"] = np.where(cohort.obs["sample"].isin(["p1", "p2", "p3", "p6"]), "x", "y")
    options = {"batch_key": "run <1>", "rng": 0}
    sg.tl.fit_metric(cohort, "sample", "label", **options)
    sg.tl.cross_validate(cohort, "sample", "label", **options)
    sg.tl.separation_test(cohort, "sample", "label", **options)
    sg.report(cohort, sg.tl.sample_distances(cohort), tmp_path / "report.html")
    text = read_page(tmp_path / "report.html").text
    scores = sg.get.scores(cohort).query("classifier == 'batch' and score == 'balanced_accuracy'").set_index("method")
    own, euclidean = (scores.loc[name, "value"] for name in ("ggml", "euclidean"))
    assert f"The batch (run <1>) of held-out patients was predicted as well, with balanced accuracy {own:.2f}" in text
    assert f"{euclidean:.2f} (Euclidean transport)" in text
    assert "exchanged between patients at random 36 times, within run <1> only" in text
    assert "(36 permutations of the labels within run <1>, the metric learned again in each)" in text


def test_cautions(whole, cohort, tmp_path, read_page):
    assert "Caution. The smallest class has 4 patients." in whole.text
    assert "no more than on random labels" not in whole.text
    cohort.obs["other"] = cohort.obs["sample"].isin(["p1", "p3", "p5", "p6"]).map({True: "a", False: "b"}).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.fit_metric(cohort, "sample", "other", validate=True, rng=0)
    found = cohort.uns["ggml"]
    assert found["label_p_value"] > 0.2 and found["validation"]["value"] <= found["validation"]["euclidean"] < 1
    sg.report(cohort, sg.tl.sample_distances(cohort), tmp_path / "report.html")
    text = read_page(tmp_path / "report.html").text
    assert f"depend on other no more than on random labels (p = {found['label_p_value']:.2g})" in text
    assert "The learned metric is not better than the Euclidean one" in text


def test_survives_files(everything, tmp_path, read_page):
    import anndata as ad

    for name, data in zip("abc", everything, strict=True):
        data.copy().write_h5ad(tmp_path / f"{name}.h5ad")
    cells, pdata, mapped = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in "abc")
    sg.report(cells, pdata, tmp_path / "read.html", mapped=mapped)
    sg.report(*everything[:2], tmp_path / "kept.html", mapped=everything[2])
    assert (tmp_path / "read.html").read_text() == (tmp_path / "kept.html").read_text()


def test_another_key(cohort, tmp_path, read_page):
    sg.tl.fit_metric(cohort, "sample", "label", key_added="mine", rng=0)
    sg.report(cohort, sg.tl.sample_distances(cohort, key="mine"), tmp_path / "report.html", key="mine")
    assert "key mine" in read_page(tmp_path / "report.html").text


def test_distances_of_another_label_are_refused(cohort, fitted, tmp_path):
    cohort.obs["other"] = cohort.obs["sample"].isin(["p1", "p2", "p3", "p8"]).map({True: "a", False: "b"}).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.fit_metric(cohort, "sample", "other", rng=0)
    with pytest.raises(
        ValueError, match="was learned from label_key='other', that in adata.uns\\['ggml'\\] from 'label'"
    ):
        sg.report(fitted, sg.tl.sample_distances(cohort), tmp_path / "report.html")


def test_folder_is_no_path(fitted, pdata, tmp_path):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.html' is a folder. Name a file in it"):
        sg.report(fitted, pdata, tmp_path / "folder.html")


@pytest.mark.parametrize("name", ["jinja2", "plotly"])
def test_missing_libraries(fitted, pdata, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf'a report needs {name}. Install it: pip install "scggml\[report\]"'):
        sg.report(fitted, pdata, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_failure_leaves_the_earlier_file(fitted, pdata, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier")

    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            sg.report(fitted, pdata, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"] and path.read_text() == "earlier"
    sg.report(fitted, pdata, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"] and path.read_text() != "earlier"


def test_link_stays_a_link(fitted, pdata, tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "place" / "report.html")
    sg.report(fitted, pdata, tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "place" / "report.html").stat().st_size > 10**6
