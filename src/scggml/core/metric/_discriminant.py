"""The closed form: directions in which transport is long between classes and short within classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg

from ._wide import wide_discriminant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.transport._transport import Transport

    from ._targets import Targets

WIDE = 3000  # features beyond which nothing of size features x features is formed
_NEGLIGIBLE = 1e-4  # directions that weigh less than this fraction of the first are dropped


def transport_discriminant(
    measures: Measures,
    transport: Transport,
    targets: Targets,
    *,
    scale: NDArray[np.float64],
    active: NDArray[np.bool_],
    n_comps: int,
    ridge: float,
    power: float,
    whitening: float,
    sample_weights: NDArray[np.float64] | None = None,
    n_jobs: int | None = None,
) -> NDArray[np.float64]:
    """Return the components of the closed form from transport plans, (at most n_comps, n_features), on scaled features.

    Let `S_b`, `S_w` be the second moments of transported differences `x - y` between and within classes (each class
    and each pair of classes counting alike) and `R = S_w^(-1/2) S_b S_w^(-1/2)` their ratio. Its eigenvalues say how
    much longer transport is between classes than within, direction by direction. The metric is the symmetric matrix
    `S_w^(-whitening/2) R^power S_w^(-whitening/2)`. Directions are weighted, not cut off. If classes do not differ
    and there is no ridge, `R` is the identity, and only the whitening acts: 0 gives the Euclidean metric back, 1 the
    Mahalanobis metric of the within-class moments. The ridge is added to `S_w` only, and lowers the weight of
    directions with little spread.

    With ordinal and continuous labels, `S_b` weights pairs by the difference of their labels, and `R` is contrasted
    (`metric_matrix`).

    Parameters
    ----------
    measures
        Training samples with raw points.
    transport
        Solved pairs of these measures; more than `WIDE` features need sparse plans.
    targets
        Label of each measure.
    scale, active
        Unit of each feature, and which features vary, (n_features,).
    n_comps
        Upper bound on the number of components.
    ridge
        Shrinkage of the within-class moments: this fraction of their mean variance is added to every direction.
    power
        Exponent of the ratio; must be one for more than `WIDE` features, for which the moments are not formed.
    whitening
        Exponent of the within-class moments, between 0 and 1.
    sample_weights
        Weight of each measure, (n_measures,), such as the number of times a bootstrap drew it; None weights all alike.
    n_jobs
        Threads for the moments; the result does not depend on it.
    """
    within, between = targets.pair_weights(transport.pairs, sample_weights)
    if measures.n_features > WIDE:
        plans, n_points = transport.known_plans, len(measures.weights)
        vectors = wide_discriminant(
            measures.points, *(plans.laplacian(plans.of_pairs(weights), n_points) for weights in (within, between)),
            unit=active / scale, n_comps=n_comps, ridge=ridge, whitening=whitening, contrast=targets.contrast,
            n_jobs=n_jobs,
        )  # fmt: skip
        return _as_components(vectors)
    s_w, s_b = transport.second_moments(measures.points, (within, between), n_jobs=n_jobs)
    return moment_discriminant(
        s_w, s_b, scale=scale, active=active, n_comps=n_comps, ridge=ridge, power=power, whitening=whitening,
        contrast=targets.contrast,
    )  # fmt: skip


def moment_discriminant(
    s_w: NDArray[np.float64],
    s_b: NDArray[np.float64],
    *,
    scale: NDArray[np.float64],
    active: NDArray[np.bool_],
    n_comps: int,
    ridge: float,
    power: float,
    whitening: float,
    contrast: float,
) -> NDArray[np.float64]:
    """Return the components of the closed form from moments of raw features, (at most n_comps, n_features).

    Parameters
    ----------
    s_w, s_b
        Second moments of transported differences within and between classes, (n_features, n_features).
    scale, active, n_comps, ridge, power, whitening
        As in `transport_discriminant`.
    contrast
        As in `metric_matrix`.
    """
    keep = np.flatnonzero(active)
    unit = np.outer(scale[keep], scale[keep])
    s_w, s_b = (moment[np.ix_(keep, keep)] / unit for moment in (s_w, s_b))
    metric = metric_matrix(s_w, s_b, ridge=ridge, power=power, whitening=whitening, contrast=contrast)
    top = [max(0, len(keep) - n_comps), len(keep) - 1]
    spectrum, vectors = scipy.linalg.eigh(metric, subset_by_index=top)
    whole = np.zeros((len(scale), len(spectrum)))
    whole[keep] = vectors[:, ::-1] * np.sqrt(np.maximum(spectrum[::-1] / spectrum[-1], 0.0))
    return _as_components(whole)


def metric_matrix(
    s_w: NDArray[np.float64],
    s_b: NDArray[np.float64],
    *,
    ridge: float,
    power: float,
    whitening: float,
    contrast: float = 0.0,
) -> NDArray[np.float64]:
    """Return the metric of moments within and between classes, (..., d, d) like these.

    With `contrast`, `R` is replaced by the positive part of `R - contrast * I`, or of `R - contrast * r I` if its
    largest eigenvalue r is less than one. Transport between samples with the same label has `R = I`, and the part due
    to the label is small compared with it.
    """
    if power == whitening == 1 and not contrast:  # S_w^-1 S_b S_w^-1, without eigenvectors: ten times as fast
        inverse = np.linalg.inv(with_ridge(s_w, s_b, ridge))
        product = inverse @ s_b
        unit = np.maximum(np.trace(product, axis1=-2, axis2=-1), np.finfo(float).tiny)
        metric = product @ inverse / unit[..., None, None]
        return np.asarray((metric + np.swapaxes(metric, -1, -2)) / 2)
    moments = moment_ratio(s_w, s_b, ridge=ridge)
    ratios, directions = np.linalg.eigh(moments.ratio)
    ratios = np.maximum(ratios - contrast * np.minimum(ratios[..., -1:], 1.0), 0.0)
    ratios = ratios / ratios[..., -1:]  # the metric has no unit of its own
    factor = (moments.axes * (moments.variances ** (-whitening / 2))[..., None, :]) @ (
        directions * (ratios ** (power / 2))[..., None, :]
    )
    return np.asarray(factor @ np.swapaxes(factor, -1, -2))


class MomentRatio(NamedTuple):
    """The ratio of moments between and within classes, in the axes of those within.

    Parameters
    ----------
    variances, axes
        Eigenvalues (..., d) and eigenvectors (..., d, d) of the moments within classes, with their ridge.
    ratio
        `R`, the moments between classes in units of those within, (..., d, d).
    """

    variances: NDArray[np.float64]
    axes: NDArray[np.float64]
    ratio: NDArray[np.float64]


def moment_ratio(s_w: NDArray[np.float64], s_b: NDArray[np.float64], *, ridge: float) -> MomentRatio:
    """Return the ratio of moments within and between classes, (..., d, d) both."""
    variances, axes = np.linalg.eigh(with_ridge(s_w, s_b, ridge))
    variances = np.maximum(variances, 1e-12 * variances[..., -1:])
    root = (
        axes / np.sqrt(variances)[..., None, :]
    )  # S_w^(-1/2), up to the rotation by `axes` that cancels in the metric
    return MomentRatio(variances, axes, np.swapaxes(root, -1, -2) @ s_b @ root)


def with_ridge(s_w: NDArray[np.float64], s_b: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return the moments within classes with their ridge, (..., d, d), positive definite."""
    d = s_w.shape[-1]
    spread = np.maximum(*(np.trace(s, axis1=-2, axis2=-1) * unit for s, unit in ((s_w, 1.0), (s_b, 1e-8))))
    return np.asarray(s_w + max(ridge, 1e-10) / d * spread[..., None, None] * np.eye(d))


def _as_components(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scaled eigenvectors (n_features, n) as components, without those of negligible weight."""
    weight = (vectors**2).sum(axis=0)
    components = vectors[:, weight > _NEGLIGIBLE * weight.max()].T
    # a direction's sign is arbitrary: fix it, so that equal input gives equal loadings
    largest = np.abs(components).argmax(axis=1)
    return components * np.sign(components[np.arange(len(components)), largest])[:, None]


def default_ridge(measures: Measures) -> float:
    """Return the ridge for these samples."""
    return ridge_of_size(*measures.points.shape)


def ridge_of_size(n_points: int, n_features: int) -> float:
    """Return a ridge that grows with the features per cell, as does the noise in small directions of the moments."""
    return 0.03 + 3 * n_features / n_points
