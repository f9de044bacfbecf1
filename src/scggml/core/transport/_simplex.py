"""Exact transport between two clouds, or many pairs of them, by the compiled network simplex."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import _dense_costs
from . import _network_simplex as compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures, Points

    Trees: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # offsets, rows, cols

_MAX_MASS = 2**61  # of all points together, in integers
_NEVER = np.zeros(1, dtype=bool)
_NO_TREE = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Clouds:
    """Measures whose points all have mass, with their masses as integers for the simplex.

    Parameters
    ----------
    points, offsets, weights
        As in `Measures`.
    masses
        `integer_masses` of all points, (n_points,).
    uniform
        Which measures are uniform, (n_measures,).
    """

    points: Points
    offsets: NDArray[np.int64]
    weights: NDArray[np.float64]
    masses: NDArray[np.int64]
    uniform: NDArray[np.bool_]

    @classmethod
    def of(cls, measures: Measures, pairs: NDArray[np.int64]) -> Clouds:
        """Take measures without points that have no mass, of which these pairs are to be solved."""
        n, m = measures.sizes[pairs].T
        total = integer_total(int(np.maximum(n_units(n, m), n_units(m, n)).max(initial=1)))
        uniform = np.array([is_uniform(weights) for weights in np.split(measures.weights, measures.offsets[1:-1])])
        masses = integer_masses(measures.weights, total)
        return cls(measures.points, measures.offsets, measures.weights, masses, uniform)


def solve(
    costs: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64], stop: NDArray[np.bool_] = _NEVER
) -> tuple[float, float, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Solve optimal transport between two discrete measures.

    Parameters
    ----------
    costs
        Finite ground costs that are not negative, (n, m), C-contiguous.
    a, b
        Positive masses, (n,) and (m,), each with sum one.
    stop
        Set to True by another thread, (1,), it ends this one soon; what is returned then is of no use.

    Returns
    -------
    The distance, a lower bound of it from the dual problem, and rows, columns and masses of the plan, (n_entries,).
    """
    n, m = costs.shape
    if is_uniform(a) and is_uniform(b):
        common = math.lcm(n, m)
        supply, demand = np.full(n, common // n, dtype=np.int64), np.full(m, common // m, dtype=np.int64)
    else:
        total = integer_total(int(n_units(n, m)))
        supply, demand = integer_masses(a, total), integer_masses(b, total)
    rows, cols, mass = _room_for_entries(n + m - 1)
    distance, bound, k = compiled.solve(costs, supply, demand, *_NO_TREE, False, rows, cols, mass, stop)
    return distance, bound, rows[:k], cols[:k], mass[:k]


def solve_block(
    clouds: Clouds,
    pairs: NDArray[np.int64],
    *,
    keep_plans: bool,
    keep_trees: bool = False,
    start: Trees | None = None,
    stop: NDArray[np.bool_] = _NEVER,
) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray, NDArray]:
    """Solve many pairs of clouds with Euclidean ground cost, without coming back to Python in between.

    Parameters
    ----------
    clouds
        Dense clouds.
    pairs
        Indices of the clouds to compare, (n_pairs, 2).
    keep_plans
        Whether to return the plans.
    keep_trees
        Whether plans include the edges of the optimal tree that carry no mass.
    start
        Trees to start from, as returned before with `keep_trees` for the same pairs with points elsewhere: offsets,
        (n_pairs + 1,), rows and columns. A start that is not a tree of its pair is ignored.
    stop
        As above.

    Returns
    -------
    Distances, lower bounds and number of plan entries of the pairs, and rows, columns (of `points`) and masses of all
    entries.
    """
    most_entries = np.diff(clouds.offsets)[pairs].sum(axis=1) - 1
    # zeros, for after a stop the caller still reads what was not solved
    distances, bounds, n_entries = np.zeros(len(pairs)), np.zeros(len(pairs)), np.zeros(len(pairs), dtype=np.int64)
    rows, cols, mass = _room_for_entries(most_entries.sum() if keep_plans else most_entries.max(initial=0))
    start_offsets, *trees = start or (np.zeros(len(pairs) + 1, dtype=np.int64), *_NO_TREE)
    # arrays from elsewhere can be read-only or of another width, for which all would be compiled once more
    start_rows, start_cols = (tree.astype(np.int64, copy=False) for tree in trees)
    points, offsets, masses, uniform, pairs, start_offsets, start_rows, start_cols = map(
        _read_only,
        (clouds.points, clouds.offsets, clouds.masses, clouds.uniform, np.ascontiguousarray(pairs),
         start_offsets, start_rows, start_cols),
    )  # fmt: skip
    k = compiled.solve_block(
        points, offsets, masses, uniform, pairs, start_offsets, start_rows, start_cols, keep_plans,
        keep_trees, distances, bounds, n_entries, rows, cols, mass, stop,
    )  # fmt: skip
    return distances, bounds, n_entries, rows[:k].copy(), cols[:k].copy(), mass[:k].copy()


def euclidean(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Euclidean distances between the rows of two arrays, (n, m), from their differences."""
    costs = np.empty((len(x), len(y)))
    _dense_costs.euclidean(x, y, costs)
    return costs


def n_units(n: int | NDArray[np.int64], m: int | NDArray[np.int64]) -> Any:
    """Return by how many units the masses of an (n, m) problem are perturbed: one per row, or per point of few."""
    few, many = np.minimum(n, m), np.maximum(n, m)
    return np.where(many >= compiled.NARROW * few, few, n)


def integer_total(n_units: int) -> int:
    """Return the sum of integer masses that leaves room for this perturbation."""
    return _MAX_MASS // (2 * n_units + 1)


def integer_masses(masses: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return positive integers proportional to masses with sum one; equal masses become equal integers."""
    return np.maximum(np.rint(masses * total), 1).astype(np.int64)


def is_uniform(masses: NDArray[np.float64]) -> bool:
    """Return whether all points weigh alike, so that integer masses can be small and exact."""
    return bool((masses == masses[0]).all())


def _read_only(x: NDArray) -> NDArray:
    view = x.view(np.ndarray)
    view.flags.writeable = False
    return view


def _room_for_entries(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    return np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64), np.empty(n)
