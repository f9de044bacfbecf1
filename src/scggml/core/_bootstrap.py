"""How much the closed form depends on which samples were there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from ._discriminant import default_ridge, transport_discriminant
from ._metric import GroundMetric, feature_scale
from ._threads import single_threaded_blas
from ._training import MAX_COMPS, cells_per_sample, choose_triplets
from ._transport import solve_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ._measures import Measures
    from ._problem import TrainingOptions
    from ._targets import Targets

_MAX_DRAWS = 1000


def bootstrap_metrics(
    measures: Measures,
    targets: Targets,
    options: TrainingOptions,
    *,
    n_boot: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Iterator[GroundMetric]:
    """Yield the closed form of samples drawn with replacement, of classes within each class.

    Plans are solved once: under the Euclidean metric they are the same whichever samples are drawn. Draws with fewer than two
    different samples of a class are drawn again. A sample that was drawn several times weighs as much in pairs with others, and
    is not paired with itself.

    Parameters
    ----------
    measures
        One measure per sample, raw points.
    targets
        Label of each sample.
    options
        How the metric was learned: by one sweep of the exact closed form.
    n_boot
        Number of draws.
    rng
        Source of the draws.
    n_jobs
        Threads; the result does not depend on it.
    """
    scale, constant = feature_scale(measures, options.scale)
    triplet_rng, draw_rng = rng.spawn(2)
    pairs = choose_triplets(targets, options.triplets, triplet_rng).pairs
    measures = measures.thinned(cells_per_sample(measures, pairs, options.max_cells))
    plans = solve_pairs(
        measures.scaled(~constant / scale), pairs, keep_plans=True, n_jobs=n_jobs, progress="transport"
    ).known_plans
    ridge = default_ridge(measures) if options.ridge == "auto" else options.ridge
    n_comps = min(options.n_comps or MAX_COMPS, int((~constant).sum()))
    for _ in tqdm(range(n_boot), desc="bootstrap", delay=2, leave=False, disable=None):
        times = _draw(targets, pairs, draw_rng)
        with single_threaded_blas:
            components = transport_discriminant(
                measures,
                plans,
                pairs,
                targets,
                scale=scale,
                active=~constant,
                n_comps=n_comps,
                ridge=ridge,
                power=options.power,
                whitening=options.whitening,
                sample_weights=times,
                n_jobs=n_jobs,
            )
        yield GroundMetric(components, scale)


def _draw(targets: Targets, pairs: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each sample was drawn, (n_samples,)."""
    codes = targets.codes if targets.kind == "class" else np.zeros(len(targets), dtype=np.int64)
    of_class = [np.flatnonzero(codes == c) for c in range(int(codes.max()) + 1)]
    same = codes[pairs[:, 0]] == codes[pairs[:, 1]]
    for _ in range(_MAX_DRAWS):
        drawn = np.concatenate([rng.choice(members, len(members)) for members in of_class])
        times = np.bincount(drawn, minlength=len(codes)).astype(np.float64)
        left = same & (times[pairs].prod(axis=1) > 0)
        if len(np.unique(codes[pairs[left, 0]])) == len(of_class) and all(
            weights.any() for weights in targets.pair_weights(pairs, times)
        ):
            return times
    msg = "no draw of samples held two different ones of each class: there are too few to tell how stable the metric is"
    raise ValueError(msg)
