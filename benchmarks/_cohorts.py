"""Synthetic cohorts of any size, as arrays."""

from __future__ import annotations

import numpy as np

import scggml as sg


def cohort(n_samples, n_cells, *, preset=None, n_features=None, seed=0):
    """One array per sample and the classes, 0 to 2, of the paper's synthetic cohort.

    With 30 samples of 300 cells and a preset it is `sg.datasets.synthetic_cohort(preset, rng=seed)`. More or fewer
    samples divide the same range of offsets into smaller or larger steps. Without a preset there are `n_features`
    features, all but the first of them noise of the same scale.
    """
    n_offsets, n_per_mode = -(-n_samples // 3), -(-n_cells // 3)
    adata = sg.datasets.synthetic_cohort(
        preset,
        offsets=np.linspace(1.5, 28.5, n_offsets),
        n_points_per_mode=n_per_mode,
        n_noise_dims=None if preset else n_features - 1,
        rng=seed,
    )
    x = adata.X.reshape(3, n_offsets, 3 * n_per_mode, -1)
    # leave out cells of each mode, and samples of each class, in turn
    cells = np.sort(np.argsort(np.arange(3 * n_per_mode) % n_per_mode, kind="stable")[:n_cells])
    samples = sorted([(c, i) for i in range(n_offsets) for c in range(3)][:n_samples])
    return [x[c, i][cells] for c, i in samples], np.array([c for c, _ in samples])


def standardised(arrays):
    """The same samples with every feature at mean zero and standard deviation one over all cells."""
    points = np.concatenate(arrays).astype(np.float64)
    mean, sd = points.mean(axis=0), points.std(axis=0)
    return [((x - mean) / sd).astype(np.float32) for x in arrays]
