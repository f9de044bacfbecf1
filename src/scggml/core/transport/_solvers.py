"""How transport is solved: exactly or entropically, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from scggml.core.measures._moments import typical_cost

from ._entropic import solve_pairs_entropic
from ._exact import Method, solve_pairs
from ._sinkhorn import backend_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._checkpoint import Checkpoint
    from ._costs import Cost
    from ._transport import Transport


@dataclass(frozen=True)
class Exact:
    """Exact transport.

    Parameters
    ----------
    method
        "simplex" for the compiled network simplex, "pot" for the solver of POT: the same distances, but slower.
    """

    method: Method = "simplex"

    def solve(
        self,
        measures: Measures,
        pairs: NDArray[np.int64],
        *,
        cost: Cost = "euclidean",
        keep_plans: bool = False,
        keep_trees: bool = False,
        start: Any = None,
        n_jobs: int | None = None,
        progress: str | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Transport:
        """Solve the given pairs of measures; see `solve_pairs`. `start` is `Transport.start` of the same pairs."""
        return solve_pairs(
            measures, pairs, cost=cost, method=self.method, keep_plans=keep_plans, keep_trees=keep_trees, start=start,
            n_jobs=n_jobs, progress=progress, checkpoint=checkpoint,
        )  # fmt: skip

    def at(self, measures: Measures) -> Exact:
        """Return this solver, which suits measures of any size."""
        return self

    def in_unit(self, unit: float) -> Exact:
        """Return this solver, which suits distances in any unit."""
        return self


@dataclass(frozen=True)
class Entropic:
    """Entropic transport of fixed strength, with Euclidean ground cost.

    Parameters
    ----------
    epsilon
        Entropic strength, in the unit of the costs.
    debiased
        Whether distances are Sinkhorn divergences.
    device
        Where it is computed, "cpu", "cuda" or "cuda:<index>"; None for a GPU if there is one.
    """

    epsilon: float
    debiased: bool = False
    device: str | None = None

    def solve(
        self,
        measures: Measures,
        pairs: NDArray[np.int64],
        *,
        cost: Cost = "euclidean",
        keep_plans: bool = False,
        keep_trees: bool = False,
        start: Any = None,
        n_jobs: int | None = None,
        progress: str | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Transport:
        """Solve the given pairs; see `solve_pairs_entropic`. `start` is `Transport.start` of the same pairs.

        Plans are kept as potentials in any case, and there are no trees to keep.
        """
        if cost != "euclidean":
            msg = f"entropic transport takes Euclidean ground costs, found cost={cost!r}. Pass solver=Exact()."
            raise ValueError(msg)
        if checkpoint is not None:
            msg = "entropic transport has no checkpoints: pairs are not solved in their order. Leave checkpoint out."
            raise ValueError(msg)
        return solve_pairs_entropic(
            measures, pairs, epsilon=self.epsilon, debiased=self.debiased, start=start, device=self.device,
            n_jobs=n_jobs, progress=progress,
        )  # fmt: skip

    def in_unit(self, unit: float) -> Entropic:
        """Return the solver for distances that are divided by `unit`."""
        return replace(self, epsilon=self.epsilon / unit)


@dataclass(frozen=True)
class Sinkhorn:
    r"""Entropic transport, its strength relative to the data :cite:p:`cuturi2013`.

    The distance of two samples is the least :math:`\langle P, C\rangle + \varepsilon\,\mathrm{KL}(P \mid a b^\top)`
    over their transport plans :math:`P`. Plans are dense, so that at most 3,000 features are allowed.

    Parameters
    ----------
    reg
        Entropic strength :math:`\varepsilon` in units of the root mean squared distance between two cells. It is fixed
        once, as one number for all pairs.
    debiased
        Whether distances are Sinkhorn divergences: half of the transport of each sample to itself is subtracted, so
        that equal samples are at distance zero.
    device
        Where transport is solved, "cpu", "cuda" or "cuda:<index>"; None takes a GPU if there is one.

    Examples
    --------
    >>> from scggml import GroundMetricLearner, Sinkhorn
    >>> GroundMetricLearner(solver=Sinkhorn(reg=0.1)).solver.reg
    0.1
    """

    reg: float = 0.05
    debiased: bool = False
    device: str | None = None

    def at(self, measures: Measures) -> Entropic:
        """Return the solver with the strength that fits these measures, in the unit of their distances."""
        return Entropic(self.reg * typical_cost(measures), self.debiased, self.device)


Solver: TypeAlias = Exact | Entropic
SolverSpec: TypeAlias = Exact | Sinkhorn


def is_on_gpu(solver: Solver | SolverSpec) -> bool:
    """Whether transport is solved on a GPU, which has a memory of its own."""
    return not isinstance(solver, Exact) and backend_of(solver.device, "float64").device != "cpu"
