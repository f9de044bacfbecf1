from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scggml as sg


@pytest.fixture
def explained(fitted, pdata):
    pdata.obs["stage"] = ["a", "a", "a", "b", "b", "b", "c", "c"]
    sg.tl.explain_distances(fitted, pdata, cell_type_key="cell_type", label_key="stage")
    return pdata


@pytest.mark.parametrize("table", ["summary", "cell_types", "flows", "pairs"])
def test_whole_tables(explained, table):
    found = sg.get.explanation(explained, table)
    pd.testing.assert_frame_equal(found, explained.uns["ggml_explanation"][table])
    found.iloc[0, -1] = -1  # a copy
    assert not explained.uns["ggml_explanation"][table].equals(found)


def test_summary_is_the_default(explained):
    pd.testing.assert_frame_equal(sg.get.explanation(explained), sg.get.explanation(explained, "summary"))


@pytest.mark.parametrize("classes", [("a", "c"), ["c", "a"]])
@pytest.mark.parametrize(("table", "n"), [("summary", 1), ("cell_types", 2), ("flows", 4), ("pairs", 6), ("genes", 12)])
def test_one_comparison(explained, classes, table, n):
    found = sg.get.explanation(explained, table, classes=classes)
    assert len(found) == n and list(found.index) == list(range(n))
    assert set(found["class_a"]) == {"a"} and set(found["class_b"]) == {"c"}


def test_one_cell_type(explained):
    found = sg.get.explanation(explained, "cell_types", cell_type="T")
    assert len(found) == 6 and set(found["cell_type"]) == {"T"}
    found = sg.get.explanation(explained, "flows", classes=["b", "b"], cell_type="T")
    assert list(zip(found["source"], found["target"], strict=True)) == [("B", "T"), ("T", "B"), ("T", "T")]


def test_genes_of_the_distance(explained):
    entry = explained.uns["ggml_explanation"]
    found = sg.get.explanation(explained, "genes", classes=("a", "b"))
    assert list(found) == ["class_a", "class_b", "cell_type", "gene", "distance", "share", "excess"]
    assert set(found["cell_type"]) == {"all"}
    by_gene = found.set_index("gene").loc[list(entry["genes"]["names"])]
    distance = entry["genes"]["distance"].sum(axis=1)
    summary = sg.get.explanation(explained)
    row = {(a, b): q for q, (a, b) in enumerate(zip(summary["class_a"], summary["class_b"], strict=True))}
    np.testing.assert_allclose(by_gene["distance"], distance[row["a", "b"]], rtol=1e-12)
    excess = distance[row["a", "b"]] - (distance[row["a", "a"]] + distance[row["b", "b"]]) / 2
    np.testing.assert_allclose(by_gene["excess"], excess, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found["share"].sum(), 1, rtol=1e-8)
    np.testing.assert_allclose(found["excess"].sum(), summary["excess"][0], rtol=1e-7)
    assert found["excess"].is_monotonic_decreasing


@pytest.mark.parametrize("part", ["B", "T", "exchange", "composition"])
def test_genes_of_a_part(explained, part):
    found = sg.get.explanation(explained, "genes", classes=("a", "b"), cell_type=part)
    assert set(found["cell_type"]) == {part}
    summary = sg.get.explanation(explained, classes=("a", "b")).iloc[0]
    types = sg.get.explanation(explained, "cell_types", classes=("a", "b")).set_index("cell_type")
    cost = summary[part] if part in summary else types.loc[part, "state"]
    excess = summary[f"{part}_excess"] if part in summary else types.loc[part, "state_excess"]
    np.testing.assert_allclose(found["distance"].sum(), cost, rtol=1e-8)
    np.testing.assert_allclose(found["excess"].sum(), excess, rtol=1e-7, atol=1e-10)


def test_first_genes_of_all_comparisons(explained):
    found = sg.get.explanation(explained, "genes", n_genes=2)
    assert found.groupby(["class_a", "class_b"], sort=False).size().to_list() == [2] * 6
    within = found[found["class_a"] == found["class_b"]]
    assert within["excess"].isna().all()
    every = sg.get.explanation(explained, "genes", classes=("c", "c"))
    assert every["distance"].is_monotonic_decreasing
    assert list(every["gene"][:2]) == list(within["gene"][-2:])


CASES = {
    "table": ({"table": "types"}, ValueError, ["table must be one of", "cell_types", "'types'"]),
    "key": ({"key": "mine"}, KeyError, ["uns['mine_explanation']", "sg.tl.explain_distances", "key='mine'"]),
    "classes": ({"classes": ("a", "d")}, KeyError, ["classes=('a', 'd')", "(a, b)", "(c, c)"]),
    "one class": ({"classes": "a"}, TypeError, ["classes must be a list of classes", "['a']"]),
    "cell type": ({"table": "cell_types", "cell_type": "NK"}, ValueError, ["cell_type must be one of B, T", "'NK'"]),
    "part": ({"table": "genes", "cell_type": "NK"}, ValueError, ["B, T, exchange, composition", "'NK'"]),
    "no type": (
        {"cell_type": "T"},
        ValueError,
        ["cell_type='T' has no effect on table='summary'", "cell_types, flows, genes"],
    ),
    "no genes": ({"table": "flows", "n_genes": 3}, ValueError, ["n_genes=3", "only on genes"]),
    "n_genes": ({"table": "genes", "n_genes": 0}, ValueError, ["n_genes", "0"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(explained, case):
    arguments, error, texts = CASES[case]
    with pytest.raises(error) as caught:
        sg.get.explanation(explained, **arguments)
    for part in texts:
        assert part in str(caught.value.args[0])


def test_no_genes_and_no_anndata(fitted, pdata):
    with pytest.raises(TypeError, match="pdata must be an AnnData, found DataFrame"):
        sg.get.explanation(pdata.obs)
    sg.tl.explain_distances(fitted, pdata)
    del pdata.uns["ggml_explanation"]["genes"]
    with pytest.raises(
        KeyError, match=r"the explanation has no genes.*'X_pca' with the loadings in adata.varm\['PCs'\]"
    ):
        sg.get.explanation(pdata, "genes")
