"""The distance matrix, ordered by class and similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml.get import distances as get_distances

from ._axes import MISSING, class_colors, is_continuous, new_axes, obs_column

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_MAX_NAMED = 50


def distance_heatmap(
    pdata: AnnData,
    *,
    key: str = "ggml",
    color: str | None = None,
    palette: Any = None,
    cmap: str = "viridis_r",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the distances between samples as a heatmap.

    Samples are ordered by average-linkage clustering with optimal leaf order: within classes when `color` names a column of
    classes, over all samples otherwise. Classes are marked beside the rows.

    Parameters
    ----------
    pdata
        Samples with distances, from :func:`scggml.tl.sample_distances`.
    key
        Whose distances: `.obsp[key + "_distances"]`.
    color
        Column of `.obs` with classes to group and mark samples by.
    palette
        Colours of the classes, as in :func:`scggml.pl.sample_map`.
    cmap
        Matplotlib colour map of the distances.
    title
        Title; None for none.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes of the heatmap.

    Raises
    ------
    KeyError, ValueError
        If there are no such distances or column, or the column is numeric.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> ax = sg.pl.distance_heatmap(pdata, color="label")
    """
    table = get_distances(pdata, key=key)
    column = None if color is None else obs_column(pdata, "color", color)
    if column is not None and is_continuous(column):
        msg = f"color={color!r} must hold classes, found numbers. Convert it to a categorical, for example with pandas.cut."
        raise ValueError(msg)
    matrix = table.to_numpy()
    groups = np.zeros(len(matrix), dtype=int) if column is None else _group_codes(column)
    order = np.concatenate([_leaf_order(matrix, np.flatnonzero(groups == g)) for g in np.unique(groups)])
    ax = new_axes(ax, 5.8, 4.6)
    image = ax.imshow(matrix[np.ix_(order, order)], cmap=cmap, interpolation="nearest", vmin=0)
    ax.figure.colorbar(image, ax=ax, label="distance", shrink=0.8)
    names = list(table.index[order]) if len(order) <= _MAX_NAMED else []
    size = 8 if len(order) <= 25 else 5
    ax.set_xticks(range(len(names)), labels=names, rotation=90, fontsize=size)
    ax.set_yticks(range(len(names)), labels=names, fontsize=size)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if color is not None:
        _mark_classes(ax, pdata, color, palette, order)
    if title is not None:
        ax.set_title(title)
    return ax


def _group_codes(column: pd.Series) -> NDArray[np.int64]:
    codes = np.asarray(column.astype("category").cat.codes, dtype=np.int64)
    return np.where(codes < 0, codes.max() + 1, codes)  # missing values last


def _leaf_order(matrix: NDArray[np.float64], members: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(members) < 3:
        return members
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    condensed = squareform(matrix[np.ix_(members, members)], checks=False)
    return members[leaves_list(linkage(condensed, method="average", optimal_ordering=True))]


def _mark_classes(ax: Axes, pdata: AnnData, color: str, palette: Any, order: NDArray[np.int64]) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    shades = class_colors(pdata, color, palette)
    column = pdata.obs[color]
    classes = column.astype(str).where(column.notna(), None).to_numpy()[order]
    strip = ax.inset_axes((0, 1.01, 1, 0.035))
    strip.imshow([[to_rgb(shades.get(name, MISSING)) for name in classes]], aspect="auto", interpolation="nearest")
    strip.set_axis_off()
    handles = [Patch(color=shade, label=name) for name, shade in shades.items()]
    strip.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(handles), 4), frameon=False, fontsize="small",
        borderaxespad=0.2, handlelength=1.0, title=None,
    )  # fmt: skip
