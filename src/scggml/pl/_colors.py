"""What points are coloured by: the numbers or the classes of a column, and their legend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._columns import is_numeric
from scggml._keys import PREDICTED, Keys
from scggml._keys import colors as colors_key
from scggml._warnings import warn
from scggml.core.measures._compiled import cached_imports

from ._legends import Arranged, legend_beside, make_room, write_legend
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from numpy.typing import NDArray

MISSING = "#bdbdbd"
_MAX_SAFE = 10  # colours in the colour-blind safe palette
_LIGHT = 0.8  # luma of colours that are too light
_MAX_CLASSES = 100  # of which a legend has room for the names
_REFERENCE = Keys("").reference  # end of the key under which mapped samples keep what they were compared with


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


def class_shades(adata: AnnData, column: str, names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each class of a column, or of classes with these names if `.obs` does not hold them."""
    from matplotlib.colors import to_hex

    if list(adata.obs.columns).count(column) == 1:
        found = read_colors(adata, column)
        if isinstance(found, Classes) and set(names) <= set(found.names):
            return dict(zip(found.names, found.shades, strict=True))
    known = sorted(set(names))
    return dict(zip(known, map(to_hex, _palette(len(known))), strict=True))


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
    handles = [ax.scatter([], [], color=shade) for _, shade in entries]
    make_room(ax, legend_beside(ax, handles, [name for name, _ in entries], colors.name))


def legend_width(colors: Numbers | Classes | None) -> float:
    """Return about how wide the legend of points is, in inches."""
    if not isinstance(colors, Classes):
        return 0.0
    return Arranged([f"{name} ({members.sum()})" for name, _, members in colors.present]).width


def _make_hollow(drawn: PathCollection, shades: NDArray[np.float64], hollow: NDArray[np.bool_] | None) -> None:
    """Turn some of the points into rings of their colour."""
    if hollow is None or not hollow.any():
        return
    ring = hollow[:, None]
    drawn.set(
        edgecolor=np.where(ring, shades, drawn.get_edgecolor()), facecolor=np.where(ring, 1.0, shades),
        linewidth=np.where(hollow, 1.6, drawn.get_linewidth()),
    )  # fmt: skip


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
    return Classes(key, names, _shades(adata, key, names), codes.astype(np.int64))


def _shades(adata: AnnData, key: str, names: list[str]) -> list[str]:
    """Return a colour for each class.

    The colours are those in `.uns[key + "_colors"]`, as scanpy stores them. Predicted classes without these have the
    colours of the label. Else they come from a palette that is colour-blind safe for up to ten classes, or one of
    scanpy's.
    """
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
        if len(stored) < len(names):
            msg = (
                f"uns[{colors_key(key)!r}] has {len(stored)} colours for {len(names)} classes of color={key!r}, and is "
                "not used. Replace or delete it."
            )
            warn(msg)
            stored = None
    of_label = _label_shades(adata) if stored is None and key == PREDICTED else {}
    if names and set(names) <= set(of_label):
        return [of_label[name] for name in names]
    shades = _palette(len(names)) if stored is None else stored
    return [to_hex(shade) for shade in shades[: len(names)]]


def _label_shades(adata: AnnData) -> dict[str, str]:
    """Return the colour of each class of the label that new samples were predicted from; none if it is not known."""
    for name, entry in adata.uns.items():
        params = entry.get("params") if name.endswith(_REFERENCE) and isinstance(entry, Mapping) else None
        label = params.get("label_key") if isinstance(params, Mapping) else None
        if isinstance(label, str) and label != PREDICTED and list(adata.obs.columns).count(label) == 1:
            found = read_colors(adata, label)
            return dict(zip(found.names, found.shades, strict=True)) if isinstance(found, Classes) else {}
    return {}


def _palette(n_classes: int) -> list[Any]:
    """Return different colours: colour-blind safe ones for up to ten classes, else those of scanpy."""
    import seaborn as sns

    if n_classes <= _MAX_SAFE:
        return list(sns.color_palette("colorblind", n_classes))
    with cached_imports():
        from scanpy.plotting import palettes

    known = (palettes.default_20, palettes.default_28, [c for c in palettes.default_102 if _is_dark(c)])
    return list(next((c for c in known if len(c) >= n_classes), sns.color_palette("husl", n_classes)))


def _is_dark(shade: str) -> bool:
    """Return whether a colour can be seen on white."""
    from matplotlib.colors import to_rgb

    return float(np.dot(to_rgb(shade), (0.299, 0.587, 0.114))) < _LIGHT


def _draw_numbers(ax: Axes, points: NDArray[np.float64], colors: Numbers, *, counts: bool, **style: Any) -> None:
    known = ~np.isnan(colors.values)
    if not known.all():
        ax.scatter(*points[~known].T, color=MISSING, **style)
    order = np.flatnonzero(known)[np.argsort(colors.values[known], kind="stable")]  # the highest on top
    drawn = ax.scatter(points[order, 0], points[order, 1], c=colors.values[order], cmap="viridis", **style)
    ax.figure.colorbar(drawn, ax=ax, label=drawn_text(colors.name))
    if not known.all():
        name = f"missing ({(~known).sum()})" if counts else "missing"
        handle = ax.scatter([], [], color=MISSING)
        write_legend(ax, [handle], [name], loc="upper right", bbox_to_anchor=(1, 0), frameon=False)
