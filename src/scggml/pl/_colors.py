"""What points are coloured by: the numbers or the classes of a column, and their legend."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._columns import is_numeric
from scggml._keys import colors as colors_key
from scggml.core.measures._compiled import cached_imports

from ._axes import text_width
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.legend import Legend
    from numpy.typing import NDArray

MISSING = "#bdbdbd"
_MAX_SAFE = 10  # colours in the colour-blind safe palette
_MAX_CLASSES = 100  # of which a legend has room for the names
_MAX_ROWS = 15  # of a legend beside a plot


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers on a colour scale.

    Parameters
    ----------
    name
        Their column or gene.
    values
        The numbers, (n_obs,), NaN where they are missing.
    """

    name: str
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Classes:
    """Classes in colours.

    Parameters
    ----------
    name
        Their column.
    names
        Names of the classes in their order.
    shades
        Colour of each.
    codes
        Class of each observation, (n_obs,), -1 where it is missing.
    """

    name: str
    names: list[str]
    shades: list[str]
    codes: NDArray[np.int64]

    @cached_property
    def present(self) -> list[tuple[str, str, NDArray[np.bool_]]]:
        """Name, colour and members of each class that has any; missing values come last."""
        groups = [*zip(self.names, self.shades, range(len(self.names)), strict=True), ("missing", MISSING, -1)]
        return [(name, shade, self.codes == code) for name, shade, code in groups if (self.codes == code).any()]


def column_numbers(column: pd.Series) -> NDArray[np.float64] | None:
    """Return the numbers of a column, NaN where they are missing; None if it does not hold numbers."""
    if not is_numeric(column):
        return None
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def read_colors(adata: AnnData, color: str, *, gene: bool = False) -> Numbers | Classes:
    """Return what `color` names: numbers if its column holds some, else classes, whose names are its values as text.

    Parameters
    ----------
    adata
        What has the column.
    color
        A column of `obs`, or else a gene.
    gene
        Whether it may be a gene.
    """
    if gene and color not in adata.obs.columns:
        column = _gene(adata, color)
    else:
        column = check.existing_column("color", color, adata.obs)
    numbers = column_numbers(column)
    if numbers is None or np.isnan(numbers).all():
        return _classes(adata, color, column)
    if np.isinf(numbers).any():
        msg = f"color={color!r} has {int(np.isinf(numbers).sum())} infinite values. Replace them, for example by NaN."
        raise ValueError(msg)
    return Numbers(color, numbers)


def draw_points(
    ax: Axes,
    points: NDArray[np.float64],
    colors: Numbers | Classes | None,
    *,
    plain: str,
    counts: bool,
    hollow: NDArray[np.bool_] | None = None,
    **style: Any,
) -> None:
    """Draw points in their colours, with a colour bar or a legend.

    Parameters
    ----------
    ax
        Axes to draw on.
    points
        (n, 2).
    colors
        What they are coloured by.
    plain
        Colour if that is None.
    counts
        Whether the legend says how many points each class has.
    hollow
        Which points are drawn as rings, (n,); None for none. Points that are coloured by numbers are not.
    style
        Of the points.
    """
    from matplotlib.colors import to_rgba_array

    if colors is None:
        drawn = ax.scatter(*points.T, color=plain, **style)
        _make_hollow(drawn, to_rgba_array([plain] * len(points)), hollow)
        return
    if isinstance(colors, Numbers):
        _draw_numbers(ax, points, colors, counts=counts, **style)
        return
    shades = to_rgba_array([*colors.shades, MISSING])[colors.codes]
    missing_first = np.argsort(colors.codes >= 0, kind="stable")
    drawn = ax.scatter(points[missing_first, 0], points[missing_first, 1], c=shades[missing_first], **style)
    _make_hollow(drawn, shades[missing_first], None if hollow is None else hollow[missing_first])
    entries = [(f"{name} ({members.sum()})" if counts else name, shade) for name, shade, members in colors.present]
    _point_legend(ax, entries, colors.name, loc="center left", bbox_to_anchor=(1, 0.5))


def _make_hollow(drawn: PathCollection, shades: NDArray[np.float64], hollow: NDArray[np.bool_] | None) -> None:
    """Turn some of the points into rings of their colour."""
    if hollow is None or not hollow.any():
        return
    ring = hollow[:, None]
    drawn.set(
        edgecolor=np.where(ring, shades, drawn.get_edgecolor()), facecolor=np.where(ring, 1.0, shades),
        linewidth=np.where(hollow, 1.6, drawn.get_linewidth()),
    )  # fmt: skip


def legend_width(colors: Numbers | Classes | None, rows: int = _MAX_ROWS, size: float = 10.0) -> float:
    """Return about how wide a legend is in inches, for letters of a size in points and so many rows in a column."""
    if not isinstance(colors, Classes):
        return 0.0
    names = [drawn_text(name) for name, _, _ in colors.present]
    return -(-len(names) // rows) * (text_width(names, size) + 0.4)


def write_legend(ax: Axes, handles: Sequence[Any], names: Sequence[str], title: str = "", **options: Any) -> Legend:
    """Write a legend with names of the user. matplotlib leaves out those that start with an underscore."""
    legend = ax.legend(handles=handles, labels=[" "] * len(names), title=drawn_text(title) or None, **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(drawn_text(name))
    return legend


def _gene(adata: AnnData, color: str) -> pd.Series:
    with cached_imports():
        import scanpy as sc

    if color not in adata.var_names:
        msg = (
            f"color={color!r} is neither a column of obs nor a gene. Found in obs: "
            f"{check.listed(adata.obs.columns, limit=20)}"
        )
        raise KeyError(msg)
    if adata.X is None:
        msg = f"color={color!r} is a gene, but adata.X is None. Set adata.X, or pass a column of obs."
        raise ValueError(msg)
    check.check_unique_genes("adata", adata.var_names)
    return sc.get.obs_df(adata, [color])[color]


def _classes(adata: AnnData, key: str, column: pd.Series) -> Classes:
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, found = column.cat.codes.to_numpy(), column.cat.categories.astype(str)
    else:  # as text, because values of several types have no order
        codes, found = pd.factorize(column.astype(str).where(column.notna()), sort=True)
    names = [str(name) for name in found]
    n_present = len(np.unique(codes[codes >= 0]))
    if n_present > _MAX_CLASSES:
        msg = (
            f"color={key!r} has {n_present} classes, more than a legend has room for ({_MAX_CLASSES}). Merge some, or "
            "make the column one of numbers."
        )
        raise ValueError(msg)
    return Classes(key, names, _shades(adata, key, len(names)), codes.astype(np.int64))


def _shades(adata: AnnData, key: str, n_classes: int) -> list[str]:
    """Return a colour for each class.

    The colours are those in `.uns[key + "_colors"]`, as scanpy stores them. Without these, or with fewer than there are
    classes, they come from a palette that is colour-blind safe for up to ten classes.
    """
    import seaborn as sns
    from matplotlib.colors import is_color_like, to_hex

    stored = adata.uns.get(colors_key(key))
    if stored is not None:
        if not isinstance(stored, list | tuple | np.ndarray) or np.ndim(stored) == 0:
            msg = (
                f"uns[{colors_key(key)!r}] must be a list with the colour of each class of color={key!r}, found "
                f"{type(stored).__name__}. Replace or delete it."
            )
            raise TypeError(msg)
        wrong = [shade for shade in stored if not is_color_like(shade)]
        if wrong:
            msg = (
                f"uns[{colors_key(key)!r}], the colours of color={key!r}, holds {wrong[0]!r}, which is not a colour. "
                "Replace or delete it."
            )
            raise ValueError(msg)
    if stored is None or len(stored) < n_classes:
        stored = sns.color_palette("colorblind" if n_classes <= _MAX_SAFE else "husl", n_classes)
    return [to_hex(shade) for shade in stored[:n_classes]]


def _draw_numbers(ax: Axes, points: NDArray[np.float64], colors: Numbers, *, counts: bool, **style: Any) -> None:
    known = ~np.isnan(colors.values)
    if not known.all():
        ax.scatter(*points[~known].T, color=MISSING, **style)
    order = np.flatnonzero(known)[np.argsort(colors.values[known], kind="stable")]  # the highest on top
    drawn = ax.scatter(points[order, 0], points[order, 1], c=colors.values[order], cmap="viridis", **style)
    ax.figure.colorbar(drawn, ax=ax, label=drawn_text(colors.name))
    if not known.all():
        name = f"missing ({(~known).sum()})" if counts else "missing"
        _point_legend(ax, [(name, MISSING)], loc="upper right", bbox_to_anchor=(1, 0))


def _point_legend(ax: Axes, entries: list[tuple[str, str]], title: str = "", **place: Any) -> None:
    handles = [ax.scatter([], [], color=shade, label=name) for name, shade in entries]
    columns = -(-len(entries) // _MAX_ROWS)
    write_legend(ax, handles, [name for name, _ in entries], title, frameon=False, ncols=columns, **place)
