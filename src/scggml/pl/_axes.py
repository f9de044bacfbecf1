"""Parts that all plots share: axes to draw on, and colours of classes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from scggml import _check as check
from scggml._anndata._columns import is_numeric
from scggml._keys import colors as colors_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData
    from matplotlib.axes import Axes

MISSING = "#bdbdbd"
PLAIN = "#4c72b0"
HIGHLIGHT = "#d95f02"
_MAX_SAFE = 10  # colours in the colour-blind safe palette
_LETTER = 0.6  # average width of a letter, in letter sizes


@contextmanager
def drawing(ax: Axes | None, width: float, height: float) -> Iterator[Axes]:
    """Yield `ax`, or the axes of a new figure of the given size in inches. A new figure is closed if drawing fails."""
    if ax is not None:
        yield ax
        return
    from matplotlib import pyplot as plt

    figure, new = plt.subplots(figsize=(width, height), layout="constrained")
    try:
        yield new
    except BaseException:
        plt.close(figure)
        raise


def text_width(texts: Iterable[str], size: float = 10.0) -> float:
    """Return about how wide the longest of several texts is in inches, for letters of a size in points."""
    return max(map(len, texts), default=0) * _LETTER * size / 72


def obs_column(adata: AnnData, name: str, key: str) -> pd.Series:
    """Return a column of `obs`, or say which there are."""
    if key not in adata.obs.columns:
        msg = f"{name}={check.shown(key)} is not a column of obs. Found: {check.listed(adata.obs.columns, limit=20)}"
        raise KeyError(msg)
    column = adata.obs[key]
    if isinstance(column, pd.DataFrame):
        msg = f"{name}={check.shown(key)} names {column.shape[1]} columns of obs. Rename them apart."
        raise ValueError(msg)
    return column


def is_continuous(column: pd.Series) -> bool:
    """Return whether a column is drawn on a colour scale rather than in colours of classes."""
    return is_numeric(column)


def class_colors(adata: AnnData, key: str) -> dict[str, Any]:
    """Return a colour for each class of `obs[key]`.

    The colours are those in `.uns[key + "_colors"]`, as scanpy stores them. Without these, they come from a palette
    that is colour-blind safe for up to ten classes.
    """
    import seaborn as sns

    column = adata.obs[key]
    categories = list(
        column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else _sorted(column.dropna())
    )
    stored = adata.uns.get(colors_key(key))
    if stored is not None and len(stored) >= len(categories):
        chosen = list(stored)
    else:
        chosen = sns.color_palette("colorblind" if len(categories) <= _MAX_SAFE else "husl", len(categories))
    return {str(name): color for name, color in zip(categories, chosen, strict=False)}


def _sorted(column: pd.Series) -> list[Any]:
    """Return the different values of a column in their order, that of the alphabet if they are of several types."""
    values = list(column.unique())
    return sorted(values, key=str if len({type(value) for value in values}) > 1 else None)


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
    if isinstance(components, str) or not hasattr(components, "__len__") or len(components) != 2:
        msg = f"components must name two axes, such as (1, 2), found {check.shown(components)}"
        raise ValueError(msg)
    unit = f", the number of axes of {where}"
    first, second = (check.check_integer("components", c, minimum=1, maximum=n_axes, unit=unit) - 1 for c in components)
    return first, second
