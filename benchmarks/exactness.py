"""Exact distances of random and adversarial pairs beside independent solvers: HiGHS for small ones, POT for others."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
import warnings
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import ot
from _machine import machine
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from tqdm import tqdm

from scggml.core.measures._measures import Measures
from scggml.core.transport._exact import solve_pairs

LOUD = np.array([[1177.7152, 0.0030272], [0.0002975, -0.00005729]])  # a map that leaves nearly one dimension
SMALL = 12  # points; up to here by linear programming
PATIENCE = 300  # seconds, after which a problem counts as one without an end


def gaussian(rng, n, m):
    width = rng.integers(1, 8)
    return rng.normal(size=(n, width)), rng.normal(size=(m, width)) + rng.normal()


def collinear(rng, n, m):
    direction, origin = rng.normal(size=(2, 3))
    return rng.normal(size=(n, 1)) * direction + origin, rng.normal(size=(m, 1)) * direction + origin


def nearly_one_dimensional(rng, n, m):
    x, y = rng.uniform(0, 60, size=(n, 2)), rng.uniform(0, 60, size=(m, 2))
    linear = LOUD if rng.random() < 0.5 else np.outer(rng.normal(size=2), rng.normal(size=2)) * 10.0 ** rng.integers(6)
    noise = rng.normal(size=(2, 2)) * 10.0 ** -rng.integers(2, 12)
    return x @ (linear + noise).T, y @ (linear + noise).T


def lattice(rng, n, m):
    side, width = rng.integers(2, 6), rng.integers(1, 4)
    return rng.integers(0, side, size=(n, width)).astype(float), rng.integers(0, side, size=(m, width)).astype(float)


def nearly_lattice(rng, n, m):
    noise = 10.0 ** -rng.integers(6, 15)
    return tuple(z + noise * rng.normal(size=z.shape) for z in lattice(rng, n, m))


def duplicates(rng, n, m):
    few = rng.normal(size=(rng.integers(1, 5), 3))
    return few[rng.integers(len(few), size=n)], few[rng.integers(len(few), size=m)]


def identical(rng, n, m):
    x = rng.normal(size=(n, 3))
    return x, x[rng.permutation(n)]


def one_point(rng, n, m):
    x, y = gaussian(rng, n, m)
    return (x[:1], y) if rng.random() < 0.5 else (x, y[:1])


def all_scales(rng, n, m):
    return tuple(rng.normal(size=(k, 3)) * 10.0 ** rng.uniform(-12, 12, size=(k, 1)) for k in (n, m))


def tiny_or_huge(rng, n, m):
    unit = 10.0 ** rng.choice([-50, -12, 12, 50])
    return tuple(unit * z for z in gaussian(rng, n, m))


def unequal_sizes(rng, n, m):
    x, y = gaussian(rng, n, m)
    few = rng.integers(1, 4)
    return (
        (x[:few], np.repeat(y, 8, axis=0) + rng.normal(size=(8 * m, y.shape[1])))
        if rng.random() < 0.5
        else (x, y[:few])
    )


def zero_costs(rng, n, m):
    return np.ones((n, 2)), np.ones((m, 2))


def outlier(rng, n, m):
    x, y = gaussian(rng, n, m)
    x[0], y[-1] = 10.0 ** rng.integers(3, 10), -(10.0 ** rng.integers(3, 10))
    return x, y


KINDS = (
    gaussian, collinear, nearly_one_dimensional, lattice, nearly_lattice, duplicates, identical, one_point, all_scales,
    tiny_or_huge, unequal_sizes, zero_costs, outlier,
)  # fmt: skip


def masses(rng, n):
    """Equal masses half of the time, else random, of few values, or from 1e-12 to one."""
    kind = rng.integers(6)
    if kind < 3:
        weights = np.ones(n)
    elif kind == 3:
        weights = rng.dirichlet(np.ones(n)) + 1e-300
    elif kind == 4:
        weights = rng.integers(1, 4, size=n).astype(float)
    else:
        weights = 10.0 ** rng.uniform(-12, 0, size=n)
    return weights / weights.sum()


def problem(kind, rng, largest):
    n, m = rng.integers(2, largest + 1, size=2)
    x, y = kind(rng, n, m)
    a, b = masses(rng, len(x)), masses(rng, len(y))
    if kind is identical:
        a, b = np.full(n, 1 / n), np.full(n, 1 / n)
    return x, y, a, b


def by_highs(costs, a, b):
    n, m = costs.shape
    marginals = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    strict = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(
        costs.ravel(), A_eq=marginals[:-1], b_eq=np.concatenate([a, b])[:-1], method="highs", options=strict
    )
    return found.fun if found.success else None


def by_pot(costs, a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it did not solve is counted
        value, log = ot.emd2(a, b, costs, numItermax=10**6, log=True, return_matrix=False)
    return float(value) if log["warning"] is None else None


class Compared(NamedTuple):
    """One problem: its shape, how far the distance is from the independent one, and its certified gap.

    Both are fractions of the largest cost. The difference is None where the independent solver failed.
    """

    kind: str
    shape: tuple[int, int]
    solver: str
    difference: float | None
    gap: float
    seconds: float


def compare(kind, x, y, a, b):
    measures = Measures.from_arrays([x, y], [a, b])
    start = time.perf_counter()
    solved = solve_pairs(measures, np.array([[0, 1]]), n_jobs=1)
    seconds = time.perf_counter() - start
    unit = np.abs(np.concatenate([x, y])).max() or 1.0  # in which no square overflows
    costs = cdist(x / unit, y / unit)
    largest = costs.max() or 1.0
    solver, solve = ("HiGHS", by_highs) if max(costs.shape) <= SMALL else ("POT", by_pot)
    expected, found = solve(costs / largest, a, b), solved.distances[0] / unit / largest
    difference = None if expected is None else abs(found - expected)
    return Compared(kind.__name__.replace("_", " "), costs.shape, solver, difference, solved.gap * found, seconds)


def problems(n, seed):
    """Yield problems of all kinds in turn; every other one is small."""
    for k in range(n):
        rng = np.random.default_rng([seed, k])
        kind = KINDS[k % len(KINDS)]
        yield kind, *problem(kind, rng, SMALL if k // len(KINDS) % 2 else 150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="number of problems")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(machine())
    compare(*next(problems(1, args.seed)))  # compiled by now
    rows = defaultdict(list)
    for found in tqdm(problems(args.n, args.seed), total=args.n, file=sys.stderr):
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        result = compare(*found)
        rows[result.kind].append(result)
    faulthandler.cancel_dump_traceback_later()
    print(f"{'problems':24}{'number':>8}{'failed':>8}{'HiGHS':>10}{'POT':>10}{'gap':>10}{'slowest':>24}")
    for kind, results in rows.items():
        failed = [r for r in results if r.difference is None]
        highs, pot = (
            max((r.difference for r in results if r.solver == solver and r.difference is not None), default=0.0)
            for solver in ("HiGHS", "POT")
        )
        slowest = max(results, key=lambda r: r.seconds)
        where = f"{1000 * slowest.seconds:.0f} ms ({slowest.shape[0]} x {slowest.shape[1]})"
        gap = max(r.gap for r in results)
        print(f"{kind:24}{len(results):8}{len(failed):8}{highs:10.1e}{pot:10.1e}{gap:10.1e}{where:>24}")
    print(
        "failed: by the independent solver; HiGHS, POT: largest difference from them; gap: largest certified one. All as "
        "fractions of the largest cost of the pair."
    )


if __name__ == "__main__":
    main()
