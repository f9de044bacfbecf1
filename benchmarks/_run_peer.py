"""The jobs of the peer, by its public functions. They run in its environment; see `against_peer.py`."""

from __future__ import annotations

import ggml_ot
import numpy as np
from _jobs import few, fixed_map, main, measured


def train(arrays, labels, *, n_threads=None, normalise=False, **options):
    """Train; without arguments with the peer's defaults, but without the plot that it makes at the end.

    The maps of all epochs come back, the start first, as from the peer's `train_history`, whose defaults are others.
    """
    _set_threads(n_threads)

    def fit(arrays, labels, **options):
        dataset = ggml_ot.from_numpy(arrays, labels.tolist())
        if normalise:
            dataset.normalize()
        return dataset.train(plot_iter=0, return_dataset=False, return_map_A_history=True, **options)

    learned, numbers = measured(
        lambda: fit(arrays, labels, **options), lambda: _warm_up(fit, arrays, labels, {**options, "max_iter": 1})
    )
    history = np.asarray(learned, dtype=np.float64)
    if normalise:
        # the map on raw features: normalize() divides by the standard deviation plus 1e-6
        history /= np.concatenate(arrays).std(axis=0, ddof=1, dtype=np.float64) + 1e-6
    return {**numbers, "epochs": len(history) - 1}, {"linear_maps": history}


def matrix(arrays, labels, *, n_threads=None, use_numpy=False):
    """The full exact matrix under a fixed map, of the dataset (tensors) or of its function on NumPy arrays."""
    _set_threads(n_threads)
    linear_map = fixed_map(arrays)

    def distances(arrays, labels):
        if use_numpy:
            return ggml_ot.distances.compute_OT(arrays, ground_metric=linear_map)
        dataset = ggml_ot.from_numpy(arrays, labels.tolist())
        return dataset.compute_OT(ground_metric=linear_map, plot_type=False)

    result, numbers = measured(
        lambda: distances(arrays, labels), lambda: _warm_up(lambda a, b, **_: distances(a, b), arrays, labels, {})
    )
    return numbers, {"distances": np.asarray(result, dtype=np.float64)}


def entropic(arrays, labels, *, reg, epochs, n_threads=None):
    """Seconds per epoch of training with Sinkhorn, by the peer's own clock; one batch holds all samples."""
    _set_threads(n_threads)

    def epoch(arrays, labels, max_iter):
        dataset = ggml_ot.from_numpy(arrays, labels.tolist())
        options = {"return_dataset": False, "measure_time": True}
        _, per_epoch = dataset.train(plot_iter=0, entropic_reg=reg, max_iter=max_iter, **options)
        return per_epoch

    per_epoch, numbers = measured(
        lambda: epoch(arrays, labels, epochs), lambda: _warm_up(epoch, arrays, labels, {"max_iter": 1})
    )
    return {**numbers, "seconds": float(per_epoch)}, {}


def _set_threads(n_threads):
    if n_threads is not None:
        ggml_ot.settings.n_threads = n_threads


def _warm_up(work, arrays, labels, options):
    work(*few(arrays, labels), **options)
    ggml_ot.settings.random_seed = ggml_ot.settings.random_seed  # the run proper starts where it would have


if __name__ == "__main__":
    main({"train": train, "matrix": matrix, "entropic": entropic})
