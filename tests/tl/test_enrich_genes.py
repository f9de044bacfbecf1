from __future__ import annotations

import os
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.stats import false_discovery_control, linregress, norm, rankdata

import scggml as sg

pytest.importorskip("decoupler", reason="decoupler is not installed")

DATA = Path(os.environ.get("SCGGML_DATA", Path(__file__).parents[3] / "shared" / "data"))
GENES = [f"G{i}" for i in range(200)]


def metric_of(weights, *, signs=None, n_classes=2):
    """An AnnData with these gene weights, and class means that differ in the direction of `signs`."""
    n = len(weights)
    signs = np.ones(n) if signs is None else signs
    sample = np.repeat(np.arange(2 * n_classes), 3)
    label = sample % n_classes
    x = 5 + np.random.default_rng(0).normal(scale=0.01, size=(len(sample), n)) + label[:, None] * signs
    obs = pd.DataFrame(
        {"sample": [f"p{s}" for s in sample], "label": [f"c{c}" for c in label]}, index=map(str, range(len(sample)))
    )
    adata = AnnData(x, obs=obs.astype("category"), var=pd.DataFrame(index=GENES[:n]))
    angle = np.linspace(0, 3, n)
    adata.varm["ggml"] = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.asarray(weights)[:, None]
    adata.uns["ggml"] = {
        "components": adata.varm["ggml"].T, "scale": np.ones(n), "features": np.array(GENES[:n], dtype=object), "params": {"sample_key": "sample", "label_key": "label", "use_rep": "X"},
    }  # fmt: skip
    return adata


@pytest.fixture
def weights():
    """The first 20 genes weigh three times as much."""
    drawn = np.random.default_rng(1).lognormal(size=200)
    drawn[:20] *= 3
    return drawn


@pytest.fixture
def adata(weights):
    return metric_of(weights)


SETS = {"heavy": GENES[:20], "random": GENES[5::11], "light": GENES[100:130]}


def test_ulm_is_a_regression_on_normal_scores(adata, weights):
    assert sg.tl.enrich_genes(adata, SETS) is None
    table = adata.uns["ggml_enrichment"]
    assert table.columns.tolist() == ["score", "p_value", "p_adjusted", "n_genes", "leading_genes"]
    y = norm.ppf((rankdata(weights) - 0.5) / 200)
    for name, genes in SETS.items():
        fit = linregress(np.isin(GENES, genes).astype(float), y)
        assert table.loc[name, "score"] == pytest.approx(fit.slope / fit.stderr)
        one_sided = fit.pvalue / 2 if fit.slope > 0 else 1 - fit.pvalue / 2
        assert table.loc[name, "p_value"] == pytest.approx(one_sided)
    np.testing.assert_allclose(table["p_adjusted"], false_discovery_control(table["p_value"]))
    assert table.index[0] == "heavy" and table["p_value"].is_monotonic_increasing
    assert table["n_genes"].to_dict() == {name: len(genes) for name, genes in SETS.items()}
    order = sorted(SETS["heavy"], key=lambda gene: -weights[GENES.index(gene)])
    assert table.loc["heavy", "leading_genes"] == ", ".join(order[:10])


def test_random_sets_are_found_as_often_as_the_level_says():
    """Weights as skewed as real ones, for which a t-test of the weights themselves would find too many."""
    rng = np.random.default_rng(0)
    heavy = rng.lognormal(sigma=2, size=200)
    sets = {f"s{j}": list(rng.choice(GENES, 6, replace=False)) for j in range(3000)}
    adata = metric_of(heavy)
    sg.tl.enrich_genes(adata, sets)
    p = adata.uns["ggml_enrichment"]["p_value"]
    for level in (0.05, 0.01):
        assert (p < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 3000))
    assert (p < 0.001).mean() < 0.005


def test_gsea(adata, weights):
    sg.tl.enrich_genes(adata, SETS, method="gsea", rng=0)
    table = adata.uns["ggml_enrichment"]
    assert table.index[0] == "heavy" and table.loc["heavy", "score"] > 1
    assert table["p_value"].between(1 / 1001, 1).all()
    again = sg.tl.enrich_genes(adata, SETS, method="gsea", rng=0, copy=True)
    pd.testing.assert_frame_equal(again.uns["ggml_enrichment"], table)
    # the running sum by hand, over its mean in permutations: as many times above it as the score says
    order = np.argsort(-weights)
    own = np.isin(np.array(GENES)[order], SETS["heavy"])
    steps = np.where(own, weights[order] / weights[order][own].sum(), -1 / 180)
    rng = np.random.default_rng(5)
    null = []
    for _ in range(400):
        mixed = rng.permutation(own)
        walk = np.where(mixed, weights[order] / weights[order][mixed].sum(), -1 / 180).cumsum()
        null.append(walk[np.abs(walk).argmax()])
    null = np.array(null)
    expected = steps.cumsum().max() / null[null >= 0].mean()
    assert table.loc["heavy", "score"] == pytest.approx(expected, rel=0.1)


def test_amplification_of_principal_components(fitted):
    """Genes that the PCs are made of weigh more under any metric; what learning changed is the factor beyond that."""
    sc.pp.pca(fitted, n_comps=5, mask_var=np.arange(12) > 0)
    sg.tl.fit_metric(fitted, "sample", "label", rng=0)
    entry = fitted.uns["ggml"]
    metric = entry["components"] / entry["scale"]
    factor = []
    for loadings in fitted.varm["PCs"][1:]:
        factor.append(np.linalg.norm(metric @ loadings) / np.linalg.norm(loadings / entry["scale"]))
    members = [2, 3, 5, 6, 9]
    sets = {"a": [f"g{i}" for i in members], "unseen": [f"g{i}" for i in range(5)]}
    with pytest.warns(UserWarning, match=r"fewer than 5 genes .*: unseen \(4\)"):
        sg.tl.enrich_genes(fitted, sets)
    y = norm.ppf((rankdata(factor) - 0.5) / 11)
    fit = linregress(np.isin(np.arange(1, 12), members).astype(float), y)
    assert fitted.uns["ggml_enrichment"].loc["a", "score"] == pytest.approx(fit.slope / fit.stderr)
    # an unlearned metric amplifies nothing, whatever the loadings: genes are equal up to rounding
    fitted.uns["ggml"] |= {"components": np.eye(5), "scale": np.ones(5)}
    del fitted.obsm["X_ggml"]
    from scggml._anndata._genes import required_genes
    from scggml._anndata._stored_metric import read_metric
    from scggml.tl._enrich_genes import _amplification

    learned = read_metric(fitted, "ggml")
    samples = learned.read_samples(fitted)
    np.testing.assert_allclose(_amplification(learned, samples, required_genes(fitted, samples.features))[1:], 1)
    del fitted.varm["PCs"]
    with pytest.raises(KeyError, match=r"varm\['PCs'\].*missing"):
        sg.tl.enrich_genes(fitted, {"a": sets["a"]})


def test_nothing_is_found_with_labels_at_random():
    """Markers of cell types make up the principal components, and are no finding for that."""
    adata = sg.datasets.simulated_cohort(n_samples=16, n_cells=60, n_genes=400, effect_size=0.0, rng=0)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=15)
    sg.tl.fit_metric(adata, "sample", "label", learner=sg.GroundMetricLearner(scale="global", power=1, whitening=1))
    marker = adata.var["marker_of"].astype(str)
    sets = {str(name): list(adata.var_names[marker == name]) for name in marker.unique() if name}
    sg.tl.enrich_genes(adata, sets)
    assert adata.uns["ggml_enrichment"]["p_value"].min() > 0.01
    sg.tl.fit_metric(adata, "sample", "label", rng=0)
    assert adata.uns["ggml"]["label_signal"] == 0
    with pytest.raises(ValueError, match=r"uns\['ggml'\] weights all genes alike, .*power=1, whitening=1"):
        sg.tl.enrich_genes(adata, sets)


def test_signed(weights):
    signs = np.where(np.arange(200) % 2 == 0, 1.0, -1.0)
    adata = metric_of(weights, signs=signs)
    up, down = GENES[:20:2], GENES[1:20:2]
    sg.tl.enrich_genes(adata, {"up": up, "down": down, "mixed": GENES[:20]}, signed=True)
    table = adata.uns["ggml_enrichment"]
    assert table["higher_in"].astype(str).to_dict() | {"mixed": ""} == {"up": "c1", "down": "c0", "mixed": ""}
    assert table.index[-1] == "mixed" and table.loc["up", "score"] > 2 > -2 > table.loc["down", "score"]
    y = norm.ppf((rankdata(weights * signs) - 0.5) / 200)
    assert table.loc["down", "p_value"] == pytest.approx(linregress(np.isin(GENES, down).astype(float), y).pvalue)
    frame = pd.DataFrame({"source": "both", "target": GENES[:20], "weight": signs[:20]})
    sg.tl.enrich_genes(adata, frame, signed=True)
    assert adata.uns["ggml_enrichment"].loc["both", "score"] > table["score"].max()


def test_forms_of_gene_sets_agree(adata, tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("\n\n".join("\t".join([name, "from a book", *genes]) for name, genes in SETS.items()) + "\n")
    long = pd.DataFrame([(name, gene) for name, genes in SETS.items() for gene in genes], columns=["source", "target"])
    tables = []
    twice = {name: [*genes, genes[0]] for name, genes in SETS.items()}
    for sets in (SETS, str(path), path, long, long.assign(weight=2), long.sample(frac=1, random_state=0), twice):
        sg.tl.enrich_genes(adata, sets)
        tables.append(adata.uns["ggml_enrichment"])
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_real_metric_files_copy_and_view(fitted, assert_same_anndata, tmp_path):
    sets = {"first": ["g3", "g1", "g2", "g8", "g9"], "second": ["g4", "g5", "g6", "g7", "g0", "g9"]}
    before = fitted.copy()
    result = sg.tl.enrich_genes(fitted, sets, signed=True, copy=True)
    assert_same_anndata(fitted, before)
    assert result.uns["ggml_enrichment"].index.name == "gene_set"
    result.write_h5ad(tmp_path / "a.h5ad")
    assert_same_anndata(ad.read_h5ad(tmp_path / "a.h5ad"), result)
    view = fitted[:, :10]
    sg.tl.enrich_genes(view, sets)
    assert not view.is_view and len(view.uns["ggml_enrichment"]) == 2
    assert_same_anndata(fitted, before)


def test_small_sets_are_left_out_by_name(adata):
    sets = SETS | {"tiny": [*GENES[:3], "other"], "absent": ["x", "y", "z", "u", "v"]}
    with pytest.warns(
        UserWarning, match=r"2 of 5 gene sets have fewer than 5 genes in adata .*: tiny \(3\), absent \(0\)"
    ):
        sg.tl.enrich_genes(adata, sets)
    assert sorted(adata.uns["ggml_enrichment"].index) == sorted(SETS)


def frame(**columns):
    return pd.DataFrame({"source": ["a"] * 6, "target": GENES[:6]} | columns)


CASES = {
    "nothing": ({"gene_sets": {}}, ValueError, ["gene_sets holds no gene sets"]),
    "type": ({"gene_sets": ["a"]}, TypeError, ["GMT file", "dict", "data frame", "list"]),
    "empty set": ({"gene_sets": {"a": [], "b": GENES[:5]}}, ValueError, ["1 set(s) without genes: a"]),
    "text": ({"gene_sets": {"a": "G1"}}, TypeError, ["gene_sets['a']", "list of genes", "'G1'"]),
    "name": ({"gene_sets": {1: GENES[:5]}}, TypeError, ["names as text", "1"]),
    "numbers": ({"gene_sets": {"a": [1, 2]}}, TypeError, ["gene_sets['a']", "text"]),
    "case": (
        {"gene_sets": {"a": [g.lower() for g in GENES[:9]]}},
        ValueError,
        ["none of the 9 genes", "g0", "G0", "upper and lower case"],
    ),
    "overlap": (
        {"gene_sets": {"a": ["ENSG1", "ENSG2"]}},
        ValueError,
        ["none of the 2 genes", "ENSG1", "G0", "kind of names"],
    ),
    "all small": ({"gene_sets": {"a": GENES[:4]}}, ValueError, ["at least 5 genes", "a (4)", "more genes"]),
    "whole": ({"gene_sets": {"a": GENES}}, ValueError, ["all genes", "a"]),
    "file": ({"gene_sets": "nowhere.gmt"}, FileNotFoundError, ["nowhere.gmt", "not a file"]),
    "columns": ({"gene_sets": pd.DataFrame({"set": ["a"]})}, KeyError, ["source, target missing", "Found: set"]),
    "missing": ({"gene_sets": frame(target=[None, *GENES[:5]])}, ValueError, ["missing values in 1 of 6 rows"]),
    "weight": ({"gene_sets": frame(weight="a")}, ValueError, ["gene_sets['weight']", "finite numbers"]),
    "weight zero": ({"gene_sets": frame(weight=[0, 1, 1, 1, 1, 1])}, ValueError, ["zero in 1 of 6"]),
    "two weights": (
        {"gene_sets": pd.concat([frame(weight=1), frame(weight=2)])},
        ValueError,
        ["several weights", "G0 in a"],
    ),
    "negative": ({"gene_sets": frame(weight=-1)}, ValueError, ["negative weights", "signed=True"]),
    "gsea weights": ({"gene_sets": frame(weight=range(1, 7)), "method": "gsea"}, ValueError, ["takes no weights"]),
    "method": ({"method": "ora"}, ValueError, ["method", "ulm, gsea", "'ora'"]),
    "signed": ({"signed": "yes"}, TypeError, ["signed", "'yes'"]),
    "rng": ({"rng": "x"}, TypeError, ["rng"]),
    "key": ({"key": "mine"}, KeyError, ["no learned metric in uns['mine']"]),
    "key with a slash": ({"key": "a/b"}, ValueError, ["key", "'a/b'"]),
    "copy": ({"copy": 1}, TypeError, ["copy", "True or False"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(adata, assert_same_anndata, case):
    arguments, error, texts = CASES[case]
    before = adata.copy()
    with pytest.raises(error) as caught:
        sg.tl.enrich_genes(adata, **{"gene_sets": SETS, **arguments})
    for part in texts:
        assert part in str(caught.value.args[0])
    assert_same_anndata(adata, before)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a\tx\tG1\nb G2 G3", ["line 2", "name, description and genes", "'b G2 G3'"]),
        ("a\tx", ["line 1"]),
        ("\tx\tG1", ["line 1"]),
        ("a\tx\tG1\na\tx\tG2", ["the set 'a' twice", "line 2"]),
        ("\n", ["holds no gene sets"]),
    ],
)
def test_malformed_gmt(adata, tmp_path, text, parts):
    path = tmp_path / "sets.gmt"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        sg.tl.enrich_genes(adata, path)
    for part in parts:
        assert part in str(caught.value)


def test_other_errors(adata, weights, fitted):
    three = metric_of(weights, n_classes=3)
    with pytest.raises(ValueError, match="signed=True needs two classes, found 3 in label_key='label': c0, c1, c2"):
        sg.tl.enrich_genes(three, SETS, signed=True)
    renamed = adata.copy()
    renamed.var_names = [f"new {name}" for name in GENES]
    with pytest.raises(ValueError, match=r"uns\['ggml'\] was learned on 200 features, of which 200 are not in X"):
        sg.tl.enrich_genes(renamed, {"a": list(renamed.var_names[:9])})
    with pytest.raises(ValueError, match=r"not those of the metric in uns\['ggml'\].*Fit again"):
        sg.tl.enrich_genes(adata[:, ::-1].copy(), SETS)
    adata.var_names = ["G0", "G0", *GENES[2:]]
    with pytest.raises(ValueError, match="not unique"):
        sg.tl.enrich_genes(adata, SETS)
    del fitted.varm["ggml"]
    with pytest.raises(KeyError, match="does not lead back to"):
        sg.tl.enrich_genes(fitted, {"a": ["g1", "g2", "g3", "g4", "g5"]})


@pytest.mark.parametrize("kind", ["missing", "old"])
def test_without_decoupler(adata, monkeypatch, assert_same_anndata, kind):
    import types

    monkeypatch.setitem(sys.modules, "decoupler", None if kind == "missing" else types.ModuleType("decoupler"))
    before = adata.copy()
    with pytest.raises(ImportError, match=r'decoupler 2 or later.*pip install "scggml\[enrichment\]"'):
        sg.tl.enrich_genes(adata, SETS)
    assert_same_anndata(adata, before)


# genes that textbooks and the hallmark collection name
PATHWAYS = {
    "interferon alpha": "ISG15 ISG20 IFIT1 IFIT2 IFIT3 IFITM1 IFITM2 IFITM3 MX1 OAS1 RSAD2 IFI6 IFI27 IFI35 IFI44 IFI44L IFIH1 XAF1 "
    "BST2 LY6E IRF7 STAT2 USP18 CMPK2 SAMD9 SAMD9L EPSTI1 HERC6 TRIM14 UBE2L6 CXCL10 PLSCR1",
    "TNFA via NFKB": "NFKBIA TNFAIP3 TNFAIP2 JUN JUNB FOS FOSB IER2 IER3 DUSP1 DUSP2 EGR1 ATF3 KLF6 CCL4 IL1B IL6 CXCL2 CXCL3 PTGS2 "
    "TNF BTG2 GADD45B ZFP36 CEBPD RELB BIRC3 ICAM1 SOD2 G0S2",
    "oxidative phosphorylation": "ATP5A1 ATP5B ATP5D ATP5E ATP5G1 COX4I1 COX5A COX5B COX6A1 COX6C COX7A2 COX7B COX7C COX8A NDUFA1 "
    "NDUFA2 NDUFA4 NDUFB1 NDUFB2 NDUFB9 NDUFC1 NDUFS5 UQCRB UQCRC1 UQCRH UQCRQ CYC1 CYCS SDHB SDHD",
    "MYC targets": "NPM1 NCL NOP56 NOP16 FBL NHP2 RAN RANBP1 HSPD1 HSPE1 CCT2 CCT3 PA2G4 EIF4A1 EIF5A EIF2S1 ODC1 LDHA CDK4 PCNA MCM2 "
    "MCM4 MCM5 MCM6 MCM7 TYMS SRM SET PHB PHB2 SNRPD1 HNRNPA1 XRCC6 TXNL4A SSB CLNS1A PSMA4 PSMB2 C1QBP",
    "ribosome": "RPL3 RPL5 RPL7 RPL10 RPL11 RPL13 RPL13A RPL18 RPL21 RPL22 RPL23 RPL26 RPL27 RPL32 RPL34 RPL35 RPLP0 RPLP1 RPS2 RPS3 "
    "RPS4X RPS5 RPS6 RPS8 RPS12 RPS14 RPS18 RPS19 RPS27A RPS29 RPL39 RPS27L RPL22L1",
    "cytotoxicity": "GZMA GZMB GZMH GZMK GZMM PRF1 GNLY NKG7 KLRD1 KLRC1 KLRB1 KLRF1 CST7 CTSW FGFBP2 FCGR3A SPON2 HOPX CCL5 XCL1 XCL2",
}


@pytest.mark.filterwarnings("ignore:.*:FutureWarning:anndata", "ignore:.*:DeprecationWarning:anndata")
@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_interferon_leads_in_stimulated_cells(use_rep):
    path = DATA / "kang2018_ifnb_pbmc.h5ad"
    if not path.is_file():
        pytest.skip(f"{path} is missing: set SCGGML_DATA to the folder of the real cohorts")
    adata = ad.read_h5ad(path)
    sg.tl.fit_metric(adata, "sample", "label", use_rep=use_rep, rng=0)
    sets = {name: genes.split() for name, genes in PATHWAYS.items()}
    with pytest.warns(UserWarning, match="oxidative phosphorylation"):  # hardly any of its genes varies
        sg.tl.enrich_genes(adata, sets)
    table = adata.uns["ggml_enrichment"]
    assert len(table) >= 4
    sets = {name: sets[name] for name in table.index}  # those that are large enough
    assert table["p_adjusted"].iloc[0] < 1e-6 < 0.1 < table["p_adjusted"].iloc[1]
    gsea = sg.tl.enrich_genes(adata, sets, method="gsea", rng=0, copy=True).uns["ggml_enrichment"]
    for found in (table, gsea):
        assert found.index[0] == "interferon alpha", found
        assert found["p_adjusted"].iloc[0] < 0.01 and "ISG15" in found["leading_genes"].iloc[0]
    sg.tl.enrich_genes(adata, sets, signed=True)
    signed = adata.uns["ggml_enrichment"]
    assert signed.index[0] == "interferon alpha" and signed["higher_in"].iloc[0] == "stim"


def test_a_gmt_file_that_is_no_text(fitted_x, tmp_path):
    (tmp_path / "sets.gmt").write_bytes(b"set\tmade\tg0\tg1\xff\tg2\n")
    with pytest.raises(ValueError, match=r"gene_sets='.*sets\.gmt' is not text in UTF-8: .*0xff.* Save it as UTF-8"):
        sg.tl.enrich_genes(fitted_x, tmp_path / "sets.gmt")
