from __future__ import annotations

import numpy as np

from scggml.core.measures._measures import Measures
from scggml.explanation._comparisons import Comparisons
from scggml.explanation._pairs import explain_pairs
from scggml.explanation._tables import explanation_tables, gene_contributions

TYPES = np.array(["A", "B"], dtype=object)


def line_problem():
    """Samples on a line: type A at 0, type B at 10; patients have an own shift, the disease moves A by 3."""
    shifts, disease, n_a = [0.0, 0.1, 0.0, 0.1], [0, 0, 1, 1], [2, 2, 3, 3]
    clouds = [
        np.concatenate([np.full(n, s + 3.0 * d), np.full(4 - n, 10 + s)])
        for s, d, n in zip(shifts, disease, n_a, strict=True)
    ]
    types = np.concatenate([np.repeat([0, 1], [n, 4 - n]) for n in n_a])
    return Measures.from_arrays([x[:, None] for x in clouds]), types, np.array(disease)


def test_closed_form_on_a_line():
    measures, types, codes = line_problem()
    comparisons = Comparisons.of_classes(codes, np.array(["well", "ill"], dtype=object))
    explanation = explain_pairs(
        measures, comparisons.pairs, comparisons.comparisons, types, undirected=comparisons.undirected, n_types=2,
        own_features=True,
    )  # fmt: skip
    samples = np.array(["p1", "p2", "p3", "p4"], dtype=object)
    tables = explanation_tables(explanation, comparisons, samples, TYPES)
    row, types_table = tables["summary"].iloc[0], tables["cell_types"].iloc[:2].set_index("cell_type")
    # half of the cells are A in both: they move by 3 + shift; a quarter is B in both; a quarter goes from B to A
    shift = np.array([0.0, 0.1, -0.1, 0.0])
    np.testing.assert_allclose(types_table.loc["A", "state"], 0.5 * np.mean(3 + shift))
    np.testing.assert_allclose(types_table.loc["B", "state"], 0.25 * np.mean(abs(shift)))
    np.testing.assert_allclose(row["composition"], 0.25 * np.mean(7 - shift))
    np.testing.assert_allclose(row["exchange"], 0, atol=1e-12)
    np.testing.assert_allclose(row["within_classes"], 0.1)
    np.testing.assert_allclose(row["excess"], row["distance"] - 0.1)
    np.testing.assert_allclose(types_table.loc["A", "state_per_cell_excess"], 3 - 0.1)
    np.testing.assert_allclose(types_table["proportion_a"], [0.5, 0.5])
    np.testing.assert_allclose(types_table["proportion_b"], [0.75, 0.25])
    assert row["composition_excess_share"] + row["state_excess_share"] == 1
    assert np.isnan(row["excess_se"])  # two samples per class
    genes = gene_contributions(explanation, np.array(["coordinate"], dtype=object), TYPES)
    assert list(genes["parts"]) == ["A", "B", "exchange", "composition"]
    np.testing.assert_allclose(genes["distance"][0, :, 0], [*types_table["state"], 0, row["composition"]], atol=1e-12)
    np.testing.assert_allclose(genes["remainder"], 0, atol=1e-12)


def test_a_type_without_mass_has_no_mean_per_cell():
    measures = Measures.from_arrays([np.zeros((2, 1)), np.ones((2, 1))])
    comparisons = Comparisons.of_classes(np.array([0, 1]), TYPES)
    explanation = explain_pairs(
        measures, comparisons.pairs, comparisons.comparisons, np.array([0, 0, 1, 1]),
        undirected=comparisons.undirected, n_types=2,
    )  # fmt: skip
    table = explanation_tables(explanation, comparisons, np.array(["p", "q"], dtype=object), TYPES)["cell_types"]
    assert table[["state_per_cell", "distance_per_cell", "excess"]].isna().all(axis=None)
    np.testing.assert_allclose(table["composition"], [0.5, 0.5])
    np.testing.assert_allclose(table["share"], [0.5, 0.5])
