"""Decompose transport distances along their plans: by types of points and by features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import scipy.sparse as sp

from scggml.core.measures._measures import as_points
from scggml.core.measures._progress import progress_bar
from scggml.core.transport._exact import solve_pairs
from scggml.core.transport._plans import Plans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures, Points

    Contributions: TypeAlias = "_MappedFeatures | _OwnFeatures"

CARRIED, STATE, COMPOSITION, MASS, SHARED = range(5)  # quantities that are summed for each sample and type
_BLOCK_ENTRIES = 1_000_000  # entries of plans in memory at a time: about 50 MB
_BLOCK_VALUES = 4_000_000  # feature values in memory at a time


@dataclass(frozen=True, eq=False)
class Features:
    """Features, such as genes, whose contributions to distances are computed.

    Parameters
    ----------
    points
        Values of the features, (n_rows, n_features), dense, CSR or on disk.
    rows
        Row in `points` of each point of the measures, (n_points,).
    linear_map
        Map from features to the space of the measures, (n_components, n_features).
    """

    points: Points
    rows: NDArray[np.int64]
    linear_map: NDArray[np.float64]

    def take(self, index: NDArray[np.integer]) -> Features:
        """Return the features of some points of the measures."""
        return replace(self, rows=self.rows[index])


@dataclass(frozen=True, eq=False)
class Explanation:
    """Distances of many pairs, grouped into comparisons, and the parts of these distances.

    Parameters
    ----------
    distances, state, composition
        Wasserstein-1 distance of each pair and two parts of it, (n_pairs,). State is the cost of moving mass within a
        type. Composition is the cost of moving mass between types because their proportions differ. The remainder is
        exchange between types.
    cost, mass, composition_cost
        Means over the pairs of a comparison, (n_comparisons, n_types, n_types), from one type (row) to another
        (column): the cost, the mass, and the part of the cost due to composition. They are symmetric for comparisons
        without a direction, between samples of one class.
    sums
        Sums over the pairs of each measure, (n_comparisons, n_measures, 5, n_types), of five quantities of a type: its
        cost, state, composition, the mass that stays within the type, and the mass that the type has in both measures.
        The cost of a type is its state plus half of the cost of mass that it exchanges with other types. Costs of types
        therefore sum to the distance.
    features
        Mean contribution of each feature, (n_comparisons, n_types + 2, n_features), to the state of each type, then to
        exchange and to composition. None if no features were given.
    """

    distances: NDArray[np.float64]
    state: NDArray[np.float64]
    composition: NDArray[np.float64]
    cost: NDArray[np.float64]
    mass: NDArray[np.float64]
    composition_cost: NDArray[np.float64]
    sums: NDArray[np.float64]
    features: NDArray[np.float64] | None


def explain_pairs(
    measures: Measures,
    pairs: NDArray[np.int64],
    comparisons: NDArray[np.int64],
    types: NDArray[np.int64],
    *,
    undirected: NDArray[np.bool_],
    n_types: int,
    features: Features | None = None,
    own_features: bool = False,
    block_entries: int = _BLOCK_ENTRIES,
    n_jobs: int | None = None,
    progress: str | None = None,
) -> Explanation:
    r"""Decompose the distances of pairs of measures by types of points and by features.

    **Types.** The distance is a sum over the entries of the optimal plan, :math:`D = \sum_e P_e c_e` with
    :math:`c_e = \|z_a - z_b\|`. Each entry moves mass from one type of points to another. Mass that moves between types
    is due to *composition* as far as the proportions of types differ: of the mass that leaves a type, the surplus of
    the first measure over the second, and of the mass that arrives at a type, its deficit. All entries that leave a
    type, or arrive at it, have the same fraction of it, and each end of an entry accounts for half of its cost.
    Composition hence moves as much mass as the total variation between the proportions, and none if they are equal. The
    remaining mass that moves between types is *exchange*.

    **Features.** Let :math:`z = A x` and :math:`\delta = x_a - x_b`. Since
    :math:`c^2 = \sum_g \delta_g (A^\top A \delta)_g`, feature `g` contributes
    :math:`\delta_g (A^\top A \delta)_g / c` to `c`: its own square and half of each product with another feature. By
    Euler's theorem this equals :math:`\delta_g \partial c / \partial \delta_g`. It is the Aumann-Shapley value of the
    straight path from no difference to `delta`. Contributions may be negative. Their sum over entries is
    :math:`\sum_k A_{kg} (X^\top L Z)_{gk}` with the Laplacian `L` of edges of weight :math:`P_e / c_e`. A matrix of
    entries by features is therefore never formed.

    Parameters
    ----------
    measures
        Point clouds in the space in which the ground distance is Euclidean. They may be CSR if they are the features
        themselves.
    pairs
        Indices of the measures to compare, (n_pairs, 2).
    comparisons
        Comparison of each pair, from 0, (n_pairs,).
    types
        Type of each point, from 0, (n_points,).
    undirected
        Comparisons without a direction, whose pairs have no first and second measure, (n_comparisons,).
    n_types
        Number of types.
    features
        Features that are mapped linearly to the points.
    own_features
        Compute contributions of the coordinates of the measures themselves.
    block_entries
        Entries of plans in memory at a time.
    n_jobs
        Threads, as in `solve_pairs`.
    progress
        Text of a progress bar, which appears after two seconds. None for no bar.
    """
    n_comparisons, n_measures = len(undirected), len(measures)
    n_pairs = np.bincount(comparisons, minlength=n_comparisons)
    totals = np.empty((3, len(pairs)))
    flows = np.zeros((3, n_comparisons, n_types, n_types))
    sums = np.zeros((n_comparisons, n_measures, 5, n_types))
    parts = []
    with progress_bar(len(pairs), progress, "pair") as bar:
        for q in range(n_comparisons):
            contributions = _contributions(measures, types, n_types, features, own_features)
            members = np.flatnonzero(comparisons == q)
            for block in _blocks(measures.sizes, pairs, members, block_entries):
                plans = solve_pairs(measures, pairs[block], keep_plans=True, n_jobs=n_jobs).known_plans
                lengths = _lengths(measures.points, plans)
                found = _by_type(plans, lengths, types, n_types)
                totals[:, block] = found.quantities[:, [CARRIED, STATE, COMPOSITION]].sum(axis=2).T
                flows[:, q] += found.flows
                for ends in pairs[block].T:
                    np.add.at(sums[q], ends, found.quantities)
                if contributions is not None:
                    edge_weights = np.divide(plans.mass, lengths, out=np.zeros_like(lengths), where=lengths > 0)
                    contributions.add(plans, edge_weights, found.composition)
                bar.update(len(block))
            if contributions is not None:
                parts.append(contributions.total() / max(n_pairs[q], 1))
    flows /= np.maximum(n_pairs, 1)[:, None, None]
    flows[:, undirected] = (flows[:, undirected] + flows[:, undirected].swapaxes(2, 3)) / 2
    return Explanation(
        distances=totals[0], state=totals[1], composition=totals[2],
        cost=flows[0], mass=flows[1], composition_cost=flows[2],
        sums=sums, features=np.array(parts) if parts else None,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _ByType:
    quantities: NDArray[np.float64]  # (n_pairs, 5, n_types)
    flows: NDArray[np.float64]  # (3, n_types, n_types), sums over pairs
    composition: NDArray[np.float64]  # (n_entries,), the fraction of each entry that is due to composition


def _by_type(plans: Plans, lengths: NDArray[np.float64], types: NDArray[np.int64], n_types: int) -> _ByType:
    pair = np.repeat(np.arange(len(plans.sizes)), plans.sizes) * n_types
    source, target = types[plans.rows], types[plans.cols]
    cost, same = plans.mass * lengths, source == target

    def per_type(ends: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(pair + ends, values, minlength=len(plans.sizes) * n_types).astype(np.float64)

    crossing = np.where(same, 0.0, plans.mass)
    leaves, arrives = per_type(source, crossing), per_type(target, crossing)
    surplus, deficit = (
        np.divide(np.maximum(x - y, 0.0), x, out=np.zeros_like(x), where=x > 0)
        for x, y in ((leaves, arrives), (arrives, leaves))
    )
    halves = [np.where(same, 0.0, part / 2) for part in (surplus[pair + source], deficit[pair + target])]
    composition = halves[0] + halves[1]
    state, stays = (per_type(source, np.where(same, values, 0.0)) for values in (cost, plans.mass))
    between = np.where(same, 0.0, cost / 2)
    quantities = [
        state + per_type(source, between) + per_type(target, between),
        state,
        per_type(source, halves[0] * cost) + per_type(target, halves[1] * cost),
        stays,
        stays + np.minimum(leaves, arrives),
    ]
    route = source * n_types + target
    flows = [np.bincount(route, x, minlength=n_types**2) for x in (cost, plans.mass, composition * cost)]
    return _ByType(
        np.stack([x.reshape(-1, n_types) for x in quantities], axis=1),
        np.array(flows, dtype=np.float64).reshape(3, n_types, n_types),
        composition,
    )


def _contributions(
    measures: Measures, types: NDArray[np.int64], n_types: int, features: Features | None, own_features: bool
) -> Contributions | None:
    if own_features:
        return _OwnFeatures(measures.points, types, n_types)
    return None if features is None else _MappedFeatures(measures.points, types, n_types, features)


class _MappedFeatures:
    """Contributions of features that are mapped linearly to the points."""

    def __init__(self, points: NDArray[np.float64], types: NDArray[np.int64], n_types: int, features: Features) -> None:
        self._points, self._types, self._n_types, self._features = points, types, n_types, features
        self._products = np.zeros((3, *points.shape))  # L Z of state, exchange and composition

    def add(self, plans: Plans, edge_weights: NDArray[np.float64], composition: NDArray[np.float64]) -> None:
        same = self._types[plans.rows] == self._types[plans.cols]
        shares = (same, ~same * (1 - composition), composition)
        for products, share in zip(self._products, shares, strict=True):
            chosen = np.flatnonzero(share)
            ends = np.concatenate([plans.rows[chosen], plans.cols[chosen]])
            nodes, positions = np.unique(ends, return_inverse=True)
            rows, cols = np.split(positions, 2)
            part = Plans(np.array([0, len(rows)]), rows, cols, plans.mass[chosen])
            products[nodes] += part.laplacian((share * edge_weights)[chosen], len(nodes)) @ self._points[nodes]

    def total(self) -> NDArray[np.float64]:
        """Return the sum over entries for each part and feature, (n_types + 2, n_features)."""
        x, rows, linear_map = self._features.points, self._features.rows, self._features.linear_map
        total = np.zeros((self._n_types + 2, linear_map.shape[1]))
        order = np.argsort(rows, kind="stable")  # rows on disk are read in their order
        step = max(1, _BLOCK_VALUES * x.shape[0] // max(1, x.size))
        for start in range(0, len(order), step):
            own = order[start : start + step]
            if not self._products[:, own].any():  # points of samples in other comparisons
                continue
            state, *between = (products[own] for products in self._products)
            block = as_points(x[rows[own]])
            for t in np.unique(self._types[own]):
                chosen = self._types[own] == t
                total[t] += ((block[chosen].T @ state[chosen]) * linear_map.T).sum(axis=1)
            for part, products in zip(total[-2:], between, strict=True):
                part += ((block.T @ products) * linear_map.T).sum(axis=1)
        return total


class _OwnFeatures:
    """Contributions of the coordinates of the points: squared differences over lengths."""

    def __init__(self, points: Points, types: NDArray[np.int64], n_types: int) -> None:
        self._points, self._types = points, types
        self._total = np.zeros((n_types + 2, points.shape[1]))

    def add(self, plans: Plans, edge_weights: NDArray[np.float64], composition: NDArray[np.float64]) -> None:
        source, n_parts = self._types[plans.rows], len(self._total)
        same = source == self._types[plans.cols]
        first = np.where(same, source, n_parts - 2)
        for entries, squares in _squared_differences(self._points, plans):
            n = squares.shape[0]
            part = np.concatenate([first[entries], np.full(n, n_parts - 1)])
            weights = np.concatenate([1 - composition[entries], composition[entries]]) * np.tile(
                edge_weights[entries], 2
            )
            by_part = sp.csr_array((weights, (part, np.tile(np.arange(n), 2))), shape=(n_parts, n))
            total = by_part @ squares
            self._total += total.toarray() if sp.issparse(total) else total

    def total(self) -> NDArray[np.float64]:
        """Return the sum over entries for each part and feature, (n_types + 2, n_features)."""
        return self._total


def _lengths(points: Points, plans: Plans) -> NDArray[np.float64]:
    if not sp.issparse(points):
        return plans.edge_lengths(points)
    return np.sqrt(np.concatenate([squares.sum(axis=1) for _, squares in _squared_differences(points, plans)]))


def _squared_differences(points: Points, plans: Plans) -> Iterator[tuple[slice, Points]]:
    """Yield blocks of entries and their squared differences, (n_entries, n_features). CSR stays CSR."""
    row_size = max(1, points.size // max(1, points.shape[0]))
    step = max(1, _BLOCK_VALUES // (2 * row_size))
    for start in range(0, len(plans.mass), step):
        entries = slice(start, start + step)
        x, y = (points[ends[entries]].astype(np.float64) for ends in (plans.rows, plans.cols))
        difference = x - y
        yield entries, difference.multiply(difference).tocsr() if sp.issparse(difference) else difference * difference


def _blocks(
    sizes: NDArray[np.int64], pairs: NDArray[np.int64], members: NDArray[np.int64], block_entries: int
) -> list[NDArray[np.int64]]:
    """Split the pairs `members` into blocks whose plans have about `block_entries` entries.

    A plan has at most as many entries as both measures have points.
    """
    if not len(members):
        return []
    filled = np.cumsum(sizes[pairs[members]].sum(axis=1)) // block_entries
    return np.split(members, np.flatnonzero(np.diff(filled)) + 1)
