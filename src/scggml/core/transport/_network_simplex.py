"""Exact transport between two clouds: a network simplex for dense bipartite problems, compiled.

The method is the primal network simplex on a spanning tree :cite:p:`bonneel2011`, with what makes it fast here:

- the first tree comes from a few Sinkhorn iterations, which halves the number of pivots;
- rows are priced with one vectorised pass over contiguous costs, and the best columns of several rows are kept as
  candidates while they stay attractive;
- the tree is a threaded preorder list, and always the smaller of the two parts that a pivot cuts it into is moved;
- masses are integers, perturbed so that no flow of a tree is ever zero: pivots always gain and cycling is impossible;
- of two clouds of very unequal size the larger gives the rows, and balanced potentials leave hardly any pivots;
- the last tree of the same two clouds is a start that needs hardly any pivots when their points have moved a little.
"""

from __future__ import annotations

import numpy as np

from scggml.core.measures._compiled import njit

from ._dense_costs import FAST, euclidean

_N_CANDIDATES = 10
_SINKHORN_STEPS = 10
_SINKHORN_TEMPERATURE = 0.25  # in standard deviations of the doubly centred costs
_OPTIMAL = 1e-13  # reduced costs above minus this fraction of the largest cost are rounding,
_ROUNDING = 2.0**-52  # or above minus this fraction times the number of points, if that is more
_TINY = 5e-324  # the least that doubling makes more
NARROW = 64  # times as many rows as columns, from which the first tree is made with more care
_HALVINGS = 30  # of an interval in which a potential is searched for
_PIVOTS = 50  # per point, after which what is taken for rounding is ten times as much: many times what is ever needed

# Compiled functions that Python calls fill arrays and return numbers: where they return arrays, numba runs Python code
# on the way out, and an interrupt that is due by then comes as a SystemError instead of a KeyboardInterrupt.


@njit(nogil=True, cache=True)
def solve_block(  # type: ignore[no-untyped-def]
    points, offsets, masses, uniform, pairs, start_offsets, start_rows, start_cols, keep_plans, keep_trees,
    distances, bounds, n_entries, rows, cols, mass, stop,
):  # fmt: skip
    k = 0
    for p in range(len(pairs)):
        if stop[0]:
            break
        i, j = pairs[p]
        x, y = slice(offsets[i], offsets[i + 1]), slice(offsets[j], offsets[j + 1])
        n, m = offsets[i + 1] - offsets[i], offsets[j + 1] - offsets[j]
        costs = np.empty((n, m))
        euclidean(points[x], points[y], costs)
        if uniform[i] and uniform[j]:
            common = n * m // np.gcd(n, m)
            supply, demand = np.full(n, common // n), np.full(m, common // m)
        else:
            supply, demand = masses[x], masses[y]
        edges = slice(start_offsets[p], start_offsets[p + 1])
        first_rows, first_cols = start_rows[edges] - offsets[i], start_cols[edges] - offsets[j]
        distances[p], bounds[p], n_entries[p] = solve(
            costs, supply, demand, first_rows, first_cols, keep_trees, rows[k:], cols[k:], mass[k:], stop
        )
        if keep_plans:
            rows[k : k + n_entries[p]] += offsets[i]
            cols[k : k + n_entries[p]] += offsets[j]
            k += n_entries[p]
    return k


@njit(nogil=True, cache=True)
def solve(  # type: ignore[no-untyped-def]
    costs, supply, demand, first_rows, first_cols, keep_tree, rows, cols, mass, stop,
):  # fmt: skip
    """Write the plan to the beginning of rows, cols and mass; return distance, lower bound and number of entries.

    What is returned after `stop[0]`, which may be set meanwhile, is of no use.
    """
    if costs.shape[1] >= NARROW * costs.shape[0]:  # many rows of few columns are quicker
        costs, supply, demand = np.ascontiguousarray(costs.T), demand, supply
        first_rows, first_cols, rows, cols = first_cols, first_rows, cols, rows
    missing = supply.sum() - demand.sum()  # by rounding: no more than one unit per point
    supply, demand = _topped_up(supply, -missing), _topped_up(demand, missing)
    n, m, total = len(supply), len(demand), supply.sum()
    # room for the perturbation of one unit per row, or per column where there are few
    n_units = m if n >= NARROW * m else n
    spread = 2 * n_units + 1
    more_supply, more_demand = supply * spread, demand * spread
    if n >= NARROW * m:
        more_supply[-1] += m
        more_demand += 1
    else:
        more_supply += 1
        more_demand[-1] += n
    edge_rows, edge_cols, flow, u, v = _simplex(costs, more_supply, more_demand, first_rows, first_cols, stop)
    distance = bound = 0.0
    k = 0
    for e in range(len(flow)):
        share = (flow[e] + n_units) // spread  # without the perturbation, which is at most n_units
        if share > 0 or keep_tree:
            rows[k], cols[k], mass[k] = edge_rows[e], edge_cols[e], share / total
            distance += mass[k] * costs[rows[k], cols[k]]
            k += 1
    for i in range(n):
        bound += supply[i] / total * u[i]
    for j in range(m):
        bound += demand[j] / total * v[j]
    return distance, bound, k


@njit(nogil=True, cache=True)
def _topped_up(masses, missing):  # type: ignore[no-untyped-def]
    """Return the masses with what is missing spread over the points, if anything is."""
    masses = masses.copy()
    if missing > 0:
        masses += missing // len(masses)
        masses[: missing % len(masses)] += 1
    return masses


# Nodes of the tree: rows 0..n-1, then columns n..n+m-1. The flow of the edge to a node's parent is kept at the node.
# Potentials hold u of rows and -v of columns, so that moving a part of the tree shifts all of them by the same amount
# and the reduced cost of an edge is `cost - potential[row] + potential[column]`.


@njit(nogil=True, cache=True)
def _simplex(costs, supply, demand, first_rows, first_cols, stop):  # type: ignore[no-untyped-def]
    """Return rows, columns and flow of the optimal tree's edges, and feasible potentials u, v."""
    n, m = costs.shape
    n_nodes = n + m
    parent = np.empty(n_nodes, np.int32)
    size = np.empty(n_nodes, np.int32)  # nodes of the subtree
    after = np.empty(n_nodes, np.int32)  # preorder, in a circle
    before = np.empty(n_nodes, np.int32)
    last = np.empty(n_nodes, np.int32)  # last node of the subtree in preorder
    flow = np.empty(n_nodes, np.int64)
    potential = np.empty(n_nodes)
    known = len(first_rows) == n_nodes - 1 and _hang_up(
        costs, supply, demand, first_rows, first_cols, parent, size, after, before, last, flow, potential
    )
    if not known:
        first_rows, first_cols = _greedy_tree(costs, supply, demand, _starting_potentials(costs, supply, demand))
        _hang_up(costs, supply, demand, first_rows, first_cols, parent, size, after, before, last, flow, potential)

    # This ends. A round pivots, widens the tolerance, computes potentials anew or stops. Without a pivot after a round
    # that found something the tolerance is widened; potentials are computed anew after pivots only. A tolerance lasts
    # for a bounded number of pivots, and it cannot be widened for ever: no reduced cost is below minus the largest cost
    # times the number of nodes. What a wider tolerance costs shows in the lower bound.
    largest = _largest(costs)
    tolerance = max(max(_OPTIMAL, _ROUNDING * n_nodes) * largest, _TINY)
    column_potential = potential[n:]
    lowest = np.empty(n)
    rows = np.empty(_N_CANDIDATES, np.int64)
    cols = np.empty(_N_CANDIDATES, np.int64)
    row = n_pivots = n_since = 0  # pivots with this tolerance, and since potentials were last computed from the tree
    while not stop[0]:
        if n_since >= n_nodes:
            _refresh(costs, parent, after, potential)
            n_since = 0
        if n_pivots >= _PIVOTS * n_nodes:
            tolerance, n_pivots = 10 * tolerance, 0
        n_found = n_priced = 0
        while n_priced < n and n_found < _N_CANDIDATES:
            lowest[row] = _lowest(costs[row], column_potential)
            if lowest[row] - potential[row] < -tolerance:
                rows[n_found] = row
                cols[n_found] = _where(costs[row], column_potential, lowest[row])
                n_found += 1
            row = row + 1 if row + 1 < n else 0
            n_priced += 1
        if n_found == 0:
            if n_since == 0:
                break  # a whole round without a gain: `lowest` belongs to the final potentials
            n_since = n_nodes  # what moving them has left of rounding is not to decide
            continue
        before_round = n_pivots
        for _ in range(_N_CANDIDATES + 1):  # each is gone once it was taken, unless rounding brings it back
            best, chosen, k = -tolerance, -1, 0
            while k < n_found:
                reduced = costs[rows[k], cols[k]] - potential[rows[k]] + potential[n + cols[k]]
                if reduced >= -tolerance:
                    n_found -= 1
                    rows[k], cols[k] = rows[n_found], cols[n_found]
                else:
                    if reduced < best:
                        best, chosen = reduced, k
                    k += 1
            if chosen < 0:
                break
            _pivot(n, rows[chosen], n + cols[chosen], best, parent, size, after, before, last, flow, potential)
            n_pivots += 1
            n_since += 1
        if n_pivots == before_round:  # rounding made candidates of them
            tolerance *= 2

    edge_rows = np.empty(n_nodes - 1, np.int64)
    edge_cols = np.empty(n_nodes - 1, np.int64)
    edge_flow = np.empty(n_nodes - 1, np.int64)
    k = 0
    for x in range(n_nodes):
        if parent[x] >= 0:
            edge_rows[k], edge_cols[k] = (x, parent[x] - n) if x < n else (parent[x], x - n)
            edge_flow[k] = flow[x]
            k += 1
    return edge_rows, edge_cols, edge_flow, lowest, -column_potential


@njit(nogil=True, cache=True, fastmath=FAST)
def _lowest(costs, potential):  # type: ignore[no-untyped-def]
    """Return the least `costs + potential`; four independent chains keep the vector units busy."""
    quarter = len(costs) // 4
    a = b = c = d = np.inf
    for j in range(quarter):
        a = min(a, costs[j] + potential[j])
        b = min(b, costs[j + quarter] + potential[j + quarter])
        c = min(c, costs[j + 2 * quarter] + potential[j + 2 * quarter])
        d = min(d, costs[j + 3 * quarter] + potential[j + 3 * quarter])
    for j in range(4 * quarter, len(costs)):
        a = min(a, costs[j] + potential[j])
    return min(min(a, b), min(c, d))


@njit(nogil=True, cache=True)
def _where(costs, potential, value):  # type: ignore[no-untyped-def]
    """Return the first column at which `costs + potential` is at most `value`, else where it is least."""
    least, column = np.inf, 0
    for j in range(len(costs)):
        here = costs[j] + potential[j]
        if here < least:
            least, column = here, j
            if here <= value:
                break
    return column


@njit(nogil=True, cache=True)
def _largest(costs):  # type: ignore[no-untyped-def]
    largest = 0.0
    for i in range(costs.shape[0]):
        for j in range(costs.shape[1]):
            largest = max(largest, costs[i, j])
    return largest


@njit(nogil=True, cache=True, fastmath=True)
def _starting_potentials(costs, supply, demand):  # type: ignore[no-untyped-def]
    """Return potentials -v of the columns from a few Sinkhorn steps in single precision.

    Costs are centred by rows and columns, which does not change the plan but keeps the kernel in range. It need not
    be accurate: `exp(-x)` is taken as `(1 - x / 64)^64`, six squarings that vectorise, from 1e-20 to 2e11. With
    scalings of sum one, no sum of the iterations leaves single precision, however few points are near each other.
    """
    n, m = costs.shape
    row_mean, col_mean = np.zeros(n), np.zeros(m)
    for i in range(n):
        for j in range(m):
            row_mean[i] += costs[i, j]
            col_mean[j] += costs[i, j]
    row_mean /= m
    col_mean = col_mean / n - row_mean.mean()
    kernel = np.empty((n, m), np.float32)
    unit = max(_largest(costs), 1e-300)
    variance = 0.0
    for i in range(n):
        for j in range(m):
            centred = (costs[i, j] - row_mean[i] - col_mean[j]) / unit
            kernel[i, j] = centred
            variance += centred * centred
    temperature = _SINKHORN_TEMPERATURE * np.sqrt(variance / (n * m))
    if not temperature > 1e-12:  # every plan costs the same
        return -col_mean
    one, floor, factor = np.float32(1), np.float32(1e-20), np.float32(-1 / (64 * temperature))
    most = np.float32(1.5)
    for i in range(n):
        for j in range(m):
            x = min(max(one + kernel[i, j] * factor, np.float32(0)), most)
            for _ in range(6):
                x *= x
            kernel[i, j] = x + floor
    a = (supply / supply.sum()).astype(np.float32)
    b = (demand / demand.sum()).astype(np.float32)
    scaling, column = np.full(m, np.float32(1 / m)), np.empty(m, np.float32)
    for _ in range(_SINKHORN_STEPS):
        column[:] = 0
        for i in range(n):
            inner = np.float32(0)
            for j in range(m):
                inner += kernel[i, j] * scaling[j]
            share = a[i] / inner
            for j in range(m):
                column[j] += kernel[i, j] * share
        for j in range(m):
            scaling[j] = b[j] / column[j]
        scaling /= scaling.sum()
    return -(col_mean + unit * temperature * np.log(np.maximum(scaling, np.float32(1e-30)).astype(np.float64)))


@njit(nogil=True, cache=True)
def _greedy_tree(costs, supply, demand, potential):  # type: ignore[no-untyped-def]
    """Return rows and columns of n + m - 1 edges: each row in turn fills its cheapest open columns.

    Of many rows, those go first that would lose most in another column. The last ones then connect the columns, at
    potentials near the given ones. Each edge uses up either its row or its column, never both before the last one: that
    is what the perturbation is for.
    """
    n, m = costs.shape
    rows, cols = np.empty(n + m - 1, np.int64), np.empty(n + m - 1, np.int64)
    potential, still = potential.copy(), demand.copy()
    narrow, order = n >= NARROW * m and m > 1, np.empty(0, np.int64)
    if narrow:
        _balance(costs, supply, demand, potential, int(np.log2(n / (NARROW * m))))
        order = np.argsort(_gain(costs, potential), kind="mergesort")
    k = 0
    for t in range(n):
        i = order[t] if narrow else t
        left = supply[i]
        while left > 0:
            j = _where(costs[i], potential, _lowest(costs[i], potential))
            moved = min(left, still[j])
            if moved == 0:
                raise ValueError("ground costs must be finite")
            rows[k], cols[k] = i, j
            left -= moved
            still[j] -= moved
            if still[j] == 0:
                potential[j] = np.inf
            k += 1
    return rows, cols


@njit(nogil=True, cache=True, fastmath=FAST)
def _balance(costs, supply, demand, potential, n_sweeps):  # type: ignore[no-untyped-def]
    """Move the potential of each column in turn to where as much mass prefers it as it demands."""
    n, m = costs.shape
    pull = np.empty(n)
    for k in range(n_sweeps * m):
        j = k % m
        potential[j] = np.inf
        for i in range(n):
            pull[i] = _lowest(costs[i], potential) - costs[i, j]
        low, high = pull.min(), pull.max()
        for _ in range(_HALVINGS):
            middle, mass = low + (high - low) / 2, 0
            for i in range(n):
                mass += supply[i] if pull[i] > middle else 0
            low, high = (middle, high) if mass > demand[j] else (low, middle)
        potential[j] = low


@njit(nogil=True, cache=True, fastmath=FAST)
def _gain(costs, potential):  # type: ignore[no-untyped-def]
    """Return the least `costs + potential` of each row minus the second least."""
    gain = np.empty(len(costs))
    for i in range(len(costs)):
        first = second = np.inf
        for j in range(len(potential)):
            here = costs[i, j] + potential[j]
            first, second = min(first, here), min(max(first, here), second)
        gain[i] = first - second
    return gain


@njit(nogil=True, cache=True)
def _hang_up(  # type: ignore[no-untyped-def]
    costs, supply, demand, edge_rows, edge_cols, parent, size, after, before, last, flow, potential
):
    """Make the edges a tree with root 0 and the flows that the masses demand; return whether that is possible."""
    n, n_nodes = len(supply), len(parent)
    start = np.zeros(n_nodes + 1, np.int64)
    for e in range(n_nodes - 1):
        if not (0 <= edge_rows[e] < n and 0 <= edge_cols[e] < n_nodes - n):
            return False
        start[edge_rows[e] + 1] += 1
        start[n + edge_cols[e] + 1] += 1
    start = np.cumsum(start)
    place = start[:-1].copy()
    incident = np.empty(2 * (n_nodes - 1), np.int64)
    for e in range(n_nodes - 1):
        for x in (edge_rows[e], n + edge_cols[e]):
            incident[place[x]] = e
            place[x] += 1
    parent[:] = -2  # not yet reached
    parent[0], flow[0], potential[0] = -1, 0, 0.0
    preorder, waiting = np.empty(n_nodes, np.int64), np.empty(n_nodes, np.int64)
    waiting[0] = 0
    n_waiting, n_reached = 1, 0
    while n_waiting > 0:
        n_waiting -= 1
        x = waiting[n_waiting]
        preorder[n_reached] = x
        n_reached += 1
        for e in incident[start[x] : start[x + 1]]:
            y = n + edge_cols[e] if x < n else edge_rows[e]
            if parent[y] == -2:
                cost = costs[edge_rows[e], edge_cols[e]]
                parent[y] = x
                potential[y] = potential[x] - cost if x < n else potential[x] + cost
                waiting[n_waiting] = y
                n_waiting += 1
    if n_reached < n_nodes:
        return False
    for x in range(n_nodes):
        size[x] = 1
        flow[x] = supply[x] if x < n else demand[x - n]  # what leaves a row, or arrives at a column
    for k in range(n_nodes - 1, 0, -1):
        x = preorder[k]
        if flow[x] <= 0:
            return False
        size[parent[x]] += size[x]
        flow[parent[x]] -= flow[x]
    flow[0] = 0
    for k in range(n_nodes):
        x, y = preorder[k], preorder[(k + 1) % n_nodes]
        after[x], before[y] = y, x
        last[x] = preorder[k + size[x] - 1]
    return True


@njit(nogil=True, cache=True)
def _refresh(costs, parent, after, potential):  # type: ignore[no-untyped-def]
    """Compute potentials from the tree anew: each pivot shifts many of them, and leaves a little rounding."""
    n, root = costs.shape[0], 0
    while parent[root] >= 0:
        root = parent[root]
    potential[root] = 0.0
    x = after[root]
    while x != root:
        y = parent[x]
        potential[x] = potential[y] + costs[x, y - n] if x < n else potential[y] - costs[y, x - n]
        x = after[x]


@njit(nogil=True, cache=True)
def _pivot(n, row, col, reduced, parent, size, after, before, last, flow, potential):  # type: ignore[no-untyped-def]
    """Let the edge (row, col) enter the tree and the first edge whose flow it uses up leave."""
    n_nodes = len(parent)
    # the cycle: from both ends up to where they meet; flow falls on edges that lead from a row up or down to a column
    x, y = row, col
    step, leaving, at_row = np.int64(2**62), -1, True
    while x != y:
        if size[x] <= size[y]:
            if x < n and flow[x] < step:
                step, leaving, at_row = flow[x], x, True
            x = parent[x]
        else:
            if y >= n and flow[y] < step:
                step, leaving, at_row = flow[y], y, False
            y = parent[y]
    top = x
    x = row
    while x != top:
        flow[x] += -step if x < n else step
        x = parent[x]
    x = col
    while x != top:
        flow[x] += step if x < n else -step
        x = parent[x]
    # cut the subtree of the leaving edge off the list
    inside, outside = (row, col) if at_row else (col, row)
    n_cut, end, above = size[leaving], last[leaving], before[leaving]
    after[above], before[after[end]] = after[end], above
    x = parent[leaving]
    while x >= 0 and last[x] == end:
        last[x] = above
        x = parent[x]
    x = parent[leaving]
    if 2 * n_cut <= n_nodes:
        while x != top:
            size[x] -= n_cut
            x = parent[x]
        x = outside
        while x != top:
            size[x] += n_cut
            x = parent[x]
        moved, target, old_top, n_moved = inside, outside, leaving, n_cut
    else:
        # the rest is smaller: it moves instead, and the cut subtree becomes the tree
        n_moved = n_nodes - n_cut
        old_top = x
        while x >= 0:
            size[x] -= n_cut
            old_top = x
            x = parent[x]
        x = inside
        parent[leaving] = -1
        after[end], before[leaving] = leaving, end
        while x >= 0:
            size[x] += n_moved
            x = parent[x]
        moved, target = outside, inside
    end = _turn(moved, old_top, target, step, n_moved, parent, size, after, before, last, flow)
    following = after[target]
    after[target], before[moved] = moved, target
    after[end], before[following] = following, end
    x = target
    while x >= 0 and last[x] == target:
        last[x] = end
        x = parent[x]
    shift = reduced if moved < n else -reduced
    x = moved
    for _ in range(n_moved):
        potential[x] += shift
        x = after[x]


@njit(nogil=True, cache=True)
def _turn(  # type: ignore[no-untyped-def]
    x, old_top, new_parent, new_flow, n_moved, parent, size, after, before, last, flow,
):  # fmt: skip
    """Make x the top of the part that old_top was the top of; return the part's last node in preorder.

    The nodes from x up to old_top change direction. In preorder, x's subtree comes first, then what each of the others
    had besides the subtree of the one below: the piece before that subtree and the piece behind it.
    """
    end = tail = last[x]  # of the subtree below in the old order, and of what is in the new order already
    ahead, behind = before[x], after[tail]
    next_up, next_flow, below = parent[x], flow[x], size[x]
    parent[x], flow[x], size[x] = new_parent, new_flow, n_moved
    y = x
    while y != old_top:
        z, flow_z = next_up, next_flow
        next_up, next_flow, end_z, size_z = parent[z], flow[z], last[z], size[z]
        ahead_z, behind_z = before[z], after[end_z]
        after[tail], before[z] = z, tail
        if end == end_z:
            tail = ahead
        else:
            after[ahead], before[behind] = behind, ahead
            tail, behind = end_z, behind_z
        parent[z], flow[z], size[z] = y, flow_z, n_moved - below
        y, below, end, ahead = z, size_z, end_z, ahead_z
    while True:
        last[y] = tail
        if y == x:
            return tail
        y = parent[y]
