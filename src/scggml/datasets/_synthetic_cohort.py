"""The synthetic cohorts of the GGML paper: one informative feature among noise that hides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from anndata import AnnData

from scggml._arguments import anything, checked, choice, integer, number
from scggml._check import shown
from scggml._docs import shared_doc

from ._simulation import categorical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Preset = Literal["synth_2d", "synth_200d"]


class _Noise(NamedTuple):
    n_dims: int
    scale: float


_PRESETS: Final[dict[str, _Noise]] = {"synth_2d": _Noise(1, 1000.0), "synth_200d": _Noise(199, 1.0)}
_NO_PRESET: Final = _Noise(1, 1.0)

_CLASS_MEANS: Final = (5.0, 10.0, 15.0)
_OFFSETS: Final = (1.5, 4.5, 7.5, 10.5, 13.5, 16.5, 19.5, 22.5, 25.5, 28.5)
_MODES: Final = ("own", "shared_0", "shared_1")
_SD: Final = 1.5
_OWN_SIGNAL: Final = 10.0
_OWN_NOISE_BOUNDS: Final = (7.5, 12.5)
_SHARED_SIGNAL: Final = (0.0, 40.0)
_SHARED_NOISE: Final = (0.0, 50.0)
_SIGNAL_SCALE: Final = 5 / 4


@shared_doc
@checked(
    preset=choice(*get_args(Preset)),
    offsets=anything,
    n_points_per_mode=integer(1),
    n_noise_dims=integer(0),
    noise_scale=number(above=0),
)
def synthetic_cohort(
    preset: Preset | None = None,
    *,
    offsets: Sequence[float] = _OFFSETS,
    n_points_per_mode: int = 100,
    n_noise_dims: int | None = None,
    noise_scale: float | None = None,
    rng: int | np.random.Generator | None = None,
) -> AnnData:
    r"""Draw the paper's synthetic cohort, whose three classes differ in one feature only :cite:p:`kuehn2025`.

    There is one sample for each class :math:`c`, with mean :math:`m_c` of 5, 10 or 15, and each offset :math:`o`. The
    points of a sample are in three modes of equal size. Feature 0 depends on the class. All other features are noise:

    ============ ========================================= ======================================
    mode         feature 0                                 each noise feature
    ============ ========================================= ======================================
    ``own``      :math:`\mathcal{N}(10 + m_c,\, 1.5^2)`    :math:`\mathcal{U}(7.5 + o,\, 12.5 + o)`
    ``shared_0`` :math:`\mathcal{N}(0,\, 1.5^2)`           :math:`\mathcal{N}(0,\, 1.5^2)`
    ``shared_1`` :math:`\mathcal{N}(40,\, 1.5^2)`          :math:`\mathcal{N}(50,\, 1.5^2)`
    ============ ========================================= ======================================

    Then feature 0 is multiplied by 5/4 and the noise features by `noise_scale`. Samples of a class differ in their
    offset by more than the classes differ in their mean. So samples that are close in Euclidean distance have similar
    offsets, not the same class.

    Parameters
    ----------
    preset
        A cohort of the paper: "synth_2d" has one noise feature, multiplied by 1,000; "synth_200d" has 199, which are
        not multiplied. It sets the defaults of `n_noise_dims` and `noise_scale`, nothing else.
    offsets
        Shift of the noise features in the ``own`` mode, one per sample of a class.
    n_points_per_mode
        Number of points in each of the three modes of a sample.
    n_noise_dims
        Number of noise features. None takes that of the preset, or 1 without a preset.
    noise_scale
        Factor of the noise features. None takes that of the preset, or 1 without a preset.
    %(rng)s
        Another seed gives an independent draw of the same cohort. Feature 0 does not depend on the number of noise
        features.

    Returns
    -------
    An :class:`~anndata.AnnData` with the following fields. The points are ordered by class, offset and mode.

    `.X` : :class:`numpy.ndarray` (n_obs, 1 + n_noise_dims), float32
        The points.
    `.obs["sample"]` : categorical (n_obs,)
        "class0_00", "class0_01", ...: the class, and the position in `offsets`.
    `.obs["label"]` : categorical (n_obs,)
        "class_0", "class_1" or "class_2".
    `.obs["mode"]` : categorical (n_obs,)
        "own", "shared_0" or "shared_1".
    `.var_names`
        "signal", "noise_0", "noise_1", ...
    `.uns["synthetic_cohort"]` : `dict`
        The settings: `preset` ("custom" without one), `class_means` and `offsets` (arrays, float64),
        `n_points_per_mode`, `n_noise_dims`, `noise_scale`.

    Raises
    ------
    ValueError
        If `preset` is unknown, `offsets` is not a sequence of finite numbers or is empty, or a number is out of its
        range.
    TypeError
        If a number has the wrong type.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort("synth_2d", rng=0)
    >>> adata.shape
    (9000, 2)
    >>> adata.obs["sample"].nunique(), list(adata.obs["label"].cat.categories)
    (30, ['class_0', 'class_1', 'class_2'])
    """
    return draw_cohort(
        preset,
        class_means=_CLASS_MEANS,
        offsets=offsets,
        n_points_per_mode=n_points_per_mode,
        n_noise_dims=n_noise_dims,
        noise_scale=noise_scale,
        rng=rng,
    )


def draw_cohort(
    preset: Preset | None,
    *,
    class_means: Sequence[float],
    offsets: Sequence[float],
    n_points_per_mode: int,
    n_noise_dims: int | None,
    noise_scale: float | None,
    rng: int | np.random.Generator | None,
) -> AnnData:
    """Draw a cohort with one class per mean of feature 0 in the ``own`` mode."""
    noise = _NO_PRESET if preset is None else _PRESETS[preset]
    means = _finite_row("class_means", class_means)
    shifts = _finite_row("offsets", offsets)
    n_points = int(n_points_per_mode)
    n_noise = noise.n_dims if n_noise_dims is None else int(n_noise_dims)
    scale = noise.scale if noise_scale is None else float(noise_scale)
    root = np.random.default_rng(rng)

    classes, within = np.divmod(np.arange(len(means) * len(shifts)), len(shifts))
    x = np.empty((len(classes), len(_MODES), n_points, 1 + n_noise), dtype=np.float32)
    for i, child in enumerate(root.spawn(len(classes))):
        x[i] = _sample(means[classes[i]], shifts[within[i]], scale, shape=x.shape[1:], rng=child)

    n_per_sample = len(_MODES) * n_points
    width = max(2, len(str(len(shifts) - 1)))
    samples = [f"class{c}_{j:0{width}d}" for c, j in zip(classes, within, strict=True)]
    modes = np.tile(np.repeat(np.arange(len(_MODES)), n_points), len(samples))
    obs = pd.DataFrame(
        {
            "sample": categorical(np.repeat(np.arange(len(samples)), n_per_sample), samples),
            "label": categorical(np.repeat(classes, n_per_sample), [f"class_{c}" for c in range(len(means))]),
            "mode": categorical(modes, _MODES),
        },
        index=[f"{sample}-{i}" for sample in samples for i in range(n_per_sample)],
    )
    var = pd.DataFrame(index=["signal", *(f"noise_{i}" for i in range(n_noise))])
    settings = {
        "preset": "custom" if preset is None else preset,
        "class_means": means,
        "offsets": shifts,
        "n_points_per_mode": n_points,
        "n_noise_dims": n_noise,
        "noise_scale": scale,
    }
    return AnnData(x.reshape(-1, 1 + n_noise), obs=obs, var=var, uns={"synthetic_cohort": settings})


def _sample(
    mean: float, offset: float, noise_scale: float, *, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float64]:
    """One sample as (modes, points, features)."""
    n_modes, n_points, n_features = shape
    # two streams, so that the signal is the same whatever the number of noise features
    signal_rng, noise_rng = rng.spawn(2)
    x = np.empty(shape)
    centres = np.array([_OWN_SIGNAL + mean, *_SHARED_SIGNAL])
    x[..., 0] = signal_rng.normal(centres[:, None], _SD, size=(n_modes, n_points)) * _SIGNAL_SCALE
    low, high = _OWN_NOISE_BOUNDS
    x[0, :, 1:] = noise_rng.uniform(low + offset, high + offset, size=(n_points, n_features - 1))
    shared = np.array(_SHARED_NOISE)[:, None, None]
    x[1:, :, 1:] = noise_rng.normal(shared, _SD, size=(n_modes - 1, n_points, n_features - 1))
    x[..., 1:] *= noise_scale
    return x


def _finite_row(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    """`values` as a new non-empty, finite, one-dimensional array."""
    if np.ma.is_masked(values):
        msg = f"{name} must be a sequence of numbers, found masked ones in {shown(values)}. Leave them out."
        raise ValueError(msg)
    try:
        row = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{name} must be a sequence of numbers, found {shown(values)}. Pass, for example, (5.0, 10.0)."
        raise ValueError(msg) from error
    if row.ndim != 1 or row.size == 0 or not np.isfinite(row).all():
        msg = f"{name} must be a non-empty, one-dimensional sequence of finite numbers, found {shown(values)}"
        raise ValueError(msg)
    return row
