"""The parts of distances between classes, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._excess import ClassMeans, excess_over_within, jackknife_error
from ._pairs import CARRIED, COMPOSITION, MASS, SHARED, STATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ._comparisons import Comparisons
    from ._pairs import Explanation

_PARTS = ("state", "exchange", "composition")
_PER_CELL = ("state_per_cell", "distance_per_cell")
BETWEEN_TYPES = ("exchange", "composition")  # parts of a distance for moving mass between cell types


def explanation_tables(
    explanation: Explanation, comparisons: Comparisons, samples: NDArray[np.object_], types: NDArray[np.object_]
) -> dict[str, pd.DataFrame]:
    """Return the tables `summary`, `cell_types`, `flows` and `pairs`.

    Parameters
    ----------
    explanation
        Parts of the distances of `comparisons.pairs`.
    comparisons
        Classes that were compared.
    samples
        Names of the samples, (n_samples,).
    types
        Names of the types, (n_types,).
    """
    cost, mass, composition_cost = explanation.cost, explanation.mass, explanation.composition_cost
    of_types, of_comparisons = _means(comparisons, explanation)
    excess_of_comparisons, excess_of_types = _excess(comparisons, explanation.sums)
    n, n_types = len(comparisons.classes), len(types)
    pairs = {
        "sample_a": samples[comparisons.pairs[:, 0]],
        "sample_b": samples[comparisons.pairs[:, 1]],
        **{name: values[comparisons.comparisons] for name, values in comparisons.columns.items()},
        "distance": explanation.distances,
        "state": explanation.state,
        "exchange": explanation.distances - explanation.state - explanation.composition,
        "composition": explanation.composition,
    }
    cell_types = of_types | excess_of_types
    flows = {
        "mass": mass,
        "cost": cost,
        "composition": composition_cost,
        "share": _ratio(cost, cost.sum(axis=(1, 2), keepdims=True)),
        "excess": excess_over_within(comparisons.classes, cost),
    }
    return {
        "summary": pd.DataFrame(comparisons.columns | of_comparisons | excess_of_comparisons),
        "cell_types": pd.DataFrame(
            {**comparisons.repeated_columns(n_types), "cell_type": np.tile(types, n)}
            | {name: values.ravel() for name, values in cell_types.items()}
        ),
        "flows": pd.DataFrame(
            {
                **comparisons.repeated_columns(n_types**2),
                "source": np.tile(np.repeat(types, n_types), n),
                "target": np.tile(types, n * n_types),
            }
            | {name: values.ravel() for name, values in flows.items()}
        ),
        "pairs": pd.DataFrame(pairs),
    }


def gene_contributions(
    explanation: Explanation, names: NDArray[np.object_], types: NDArray[np.object_]
) -> dict[str, NDArray[Any]]:
    """Return the contribution of each gene to each part of the distances, and the remainder that genes do not explain.

    Parameters
    ----------
    explanation
        Parts of distances, with contributions of features.
    names
        Names of the features, (n_features,).
    types
        Names of the types, (n_types,).
    """
    assert explanation.features is not None
    state = np.einsum("qtt->qt", explanation.cost)
    composition = explanation.composition_cost.sum(axis=(1, 2))
    exchange = explanation.cost.sum(axis=(1, 2)) - state.sum(axis=1) - composition
    parts = np.column_stack([state, exchange, composition])
    return {
        "names": names,
        "parts": np.append(types, BETWEEN_TYPES),
        "distance": explanation.features,
        "remainder": parts - explanation.features.sum(axis=2),
    }


def _means(
    comparisons: Comparisons, explanation: Explanation
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return columns of mean distances, for types, (n_comparisons, n_types), and for comparisons, (n_comparisons,)."""
    n_pairs = np.bincount(comparisons.comparisons, minlength=len(comparisons.classes))
    # each pair is counted for both of its samples
    parts = _parts(explanation.sums.sum(axis=1) / (2 * n_pairs[:, None, None]))
    mass, distance = explanation.mass, parts["distance"]
    total = {name: parts[name].sum(axis=1) for name in ("distance", *_PARTS)}
    of_types = {
        "distance": distance,
        "share": _ratio(distance, total["distance"][:, None]),
        **{name: parts[name] for name in _PARTS},
        "proportion_a": mass.sum(axis=2),
        "proportion_b": mass.sum(axis=1),
        "mass_within_type": np.einsum("qtt->qt", mass),
        **{name: parts[name] for name in _PER_CELL},
    }
    shares = {f"{name}_share": _ratio(total[name], total["distance"]) for name in _PARTS}
    return of_types, {"n_pairs": n_pairs, **total, **shares}


def _excess(
    comparisons: Comparisons, sums: NDArray[np.float64]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return the excess and its standard errors, for comparisons, (n_comparisons,), and (n_comparisons, n_types)."""
    values: dict[str, list[NDArray[np.float64]]] = {}
    for found, without, n_first in comparisons.means(sums):
        statistics, repeats = _statistics(found), _statistics(without)
        for name, value in statistics.items():
            values.setdefault(name, []).append(value)
            values.setdefault(f"{name}_se", []).append(jackknife_error(repeats[name], n_first))
    columns = {name: np.array(value) for name, value in values.items()}

    def with_error(names: Iterable[str], prefix: str = "") -> dict[str, NDArray[np.float64]]:
        return {f"{name}{end}": columns[f"{prefix}{name}{end}"] for name in names for end in ("", "_se")}

    shares = [f"{name}_excess_share" for name in _PARTS]
    excesses = ["excess", *(f"{name}_excess" for name in _PARTS)]
    of_comparisons = {"within_classes": columns["within_classes"].sum(axis=1), **with_error(excesses, "total_")}
    of_types = {
        "within_classes": columns["within_classes"],
        **with_error(["excess"]),
        "excess_share": _ratio(columns["excess"], columns["total_excess"][:, None]),
        **with_error(excesses[1:]),
        **with_error([f"{name}_excess" for name in _PER_CELL]),
    }
    return of_comparisons | with_error(shares), of_types


def _statistics(means: ClassMeans) -> dict[str, NDArray[np.float64]]:
    """Return statistics of means (..., n_quantities, n_types): of types, (..., n_types), and of their sum, (...)."""
    between, first, second = (_parts(part) for part in means)
    of = {name: ClassMeans(between[name], first[name], second[name]) for name in between}
    excess = {name: found.excess for name, found in of.items()}
    # NaN wherever there is no excess, such as for a class with itself
    within = of["distance"].within + 0 * excess["distance"]
    found = {"within_classes": within, "excess": excess["distance"]}
    found |= {f"{name}_excess": excess[name] for name in (*_PARTS, *_PER_CELL)}
    total = {name: found[name].sum(axis=-1) for name in ("excess", *(f"{name}_excess" for name in _PARTS))}
    shares = {f"{name}_excess_share": _ratio(total[f"{name}_excess"], total["excess"]) for name in _PARTS}
    return found | {f"total_{name}": value for name, value in total.items()} | shares


def _parts(quantities: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the distance and its parts, (..., n_types) each, from sums or means (..., n_quantities, n_types)."""
    carried, state, composition = (quantities[..., i, :] for i in (CARRIED, STATE, COMPOSITION))
    return {
        "distance": carried,
        "state": state,
        "exchange": carried - state - composition,
        "composition": composition,
        "state_per_cell": _ratio(state, quantities[..., MASS, :]),
        "distance_per_cell": _ratio(carried - composition, quantities[..., SHARED, :]),
    }


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `part / whole`, NaN where `whole` is zero."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=np.broadcast_to(whole != 0, part.shape))
