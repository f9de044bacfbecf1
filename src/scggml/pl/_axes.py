"""Parts that all plots share: axes to draw on, and the maps that are drawn."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scggml import _check as check
from scggml._anndata._features import with_mask
from scggml._keys import HELD_OUT, NEW, TRAINING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PLAIN = "#4c72b0"
HIGHLIGHT = "#d95f02"
_STATUS_TITLES = {
    TRAINING: "training samples",
    HELD_OUT: "held-out distances",
    NEW: "new samples (rings) beside training samples",
}
_LETTER = 0.6  # average width of a letter, in letter sizes
_MAX_SIDE = 60.0  # of a figure, in inches; matplotlib draws up to 2^16 pixels


@contextmanager
def drawing(ax: Axes | None, width: float, height: float) -> Iterator[Axes]:
    """Yield `ax`, or the axes of a new figure of the given size in inches. A new figure is closed if drawing fails."""
    if ax is not None:
        yield ax
        return
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(min(width, _MAX_SIDE), min(height, _MAX_SIDE)), layout="constrained")
    try:
        yield figure.subplots()
    except BaseException:
        plt.close(figure)
        raise


def write_status(ax: Axes, status: str | None) -> None:
    """Write into the title which labels the metric of distances has seen, unless axes of the user have a title."""
    if status in _STATUS_TITLES and not ax.get_title():
        ax.set_title(_STATUS_TITLES[status], fontsize="medium")


def equal_scales(ax: Axes) -> None:
    """Make distances on the page proportional to those of the map."""
    shared = all(len(group.get_siblings(ax)) > 1 for group in (ax.get_shared_x_axes(), ax.get_shared_y_axes()))
    ax.set_aspect("equal", adjustable="box" if shared else "datalim")  # limits of shared axes cannot follow the box


def text_width(texts: Iterable[str], size: float = 10.0) -> float:
    """Return about how wide the longest line of several texts is in inches, for letters of a size in points."""
    return max((len(line) for text in texts for line in text.split("\n")), default=0) * _LETTER * size / 72


def map_points(adata: AnnData, argument: str, value: str, name: str, how: str) -> NDArray[np.float64]:
    """Return the map in `obsm[name]`, (n_obs, n_axes), checked.

    Parameters
    ----------
    adata
        What has the map.
    argument, value
        The argument of the user that names the map, for error messages.
    name
        Its key.
    how
        How to make the map if there is none.
    """
    if name not in adata.obsm:
        msg = f"{argument}={value!r}: obsm[{name!r}] does not exist. {how}"
        raise KeyError(msg)
    found: Any = with_mask(adata, adata.obsm[name], "obsm", name)
    if np.ma.isMaskedArray(found):
        found = np.ma.filled(found.astype(np.float64), np.nan)
    found = np.asarray(found.toarray() if sp.issparse(found) else found)
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        msg = (
            f"{argument}={value!r}: obsm[{name!r}] must hold numbers in two dimensions, found {found.dtype} of shape "
            f"{found.shape}. Compute the map again."
        )
        raise ValueError(msg)
    bad = ~np.isfinite(found).all(axis=1)
    if bad.any():
        msg = (
            f"{argument}={value!r}: obsm[{name!r}] has NaN or infinite coordinates in {int(bad.sum())} of {len(bad)} "
            f"rows: {check.listed(adata.obs_names[bad])}. Compute the map again, or leave these rows out."
        )
        raise ValueError(msg)
    return found.astype(np.float64)


def two_axes(components: Any, n_axes: int, where: str) -> tuple[int, int]:
    """Return the positions of the two axes of a map that `components` names, counted from 1 by the user.

    Parameters
    ----------
    components
        The argument of the user.
    n_axes
        Number of axes of the map.
    where
        What has these axes, for error messages.
    """
    if isinstance(components, np.ndarray):
        components = components.tolist()
    if not isinstance(components, list | tuple) or len(components) != 2:
        msg = f"components must name two axes, such as (1, 2), found {check.shown(components)}"
        raise ValueError(msg)
    if n_axes < 2:
        msg = f"a map needs two axes, but {where} has {n_axes}. Draw it with scanpy.pl.violin or as a histogram."
        raise ValueError(msg)
    unit = f", the number of axes of {where}"
    first, second = (check.check_integer("components", c, minimum=1, maximum=n_axes, unit=unit) - 1 for c in components)
    return first, second
