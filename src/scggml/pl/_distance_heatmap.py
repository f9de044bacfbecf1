"""The distance matrix, ordered by class and similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from scggml._anndata._distances import checked_distances, status_of_distances
from scggml._arguments import checked
from scggml._docs import shared_doc

from ._axes import drawing, text_width, write_status
from ._colors import Classes, legend_width, read_colors, write_legend
from ._names import drawn_text

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

_MAX_NAMED = 50  # samples; with more, the names are too small to read
_MAX_LARGE = 25  # samples; the names of more are written smaller
_MAX_ROWS = 8  # of the legend
_LEGEND_ROW = 0.055  # height of a class in the legend, in heights of the heatmap
_MIN_BAR = 0.4  # of the heatmap's height


@shared_doc
@checked()
def distance_heatmap(pdata: AnnData, *, key: str = "ggml", color: str | None = None, ax: Axes | None = None) -> Axes:
    """Plot the distances between samples as a heatmap.

    Samples are ordered by average-linkage clustering with optimal leaf order. If `color` names a column of classes,
    they are ordered within classes, and the classes are marked above the columns. For distances under a learned metric,
    the title says whether they are held-out or those of training samples, unless `ax` has a title.

    Parameters
    ----------
    %(pdata)s
    %(key_distances)s
    color
        Column of `.obs` with classes. Their colours are those in `.uns[color + "_colors"]` if there are any, else
        colour-blind safe ones.
    %(ax)s

    Returns
    -------
    The axes of the heatmap.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances or column, distances have NaN or are not symmetric, or the column is numeric.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
    >>> ax = sg.pl.distance_heatmap(pdata, color="label")
    """
    matrix = checked_distances(pdata, key, minimum=1, what="a heatmap")
    colors = None if color is None else read_colors(pdata, color)
    if colors is not None and not isinstance(colors, Classes):
        msg = f"color={color!r} must hold classes, found numbers. Cut it into classes, for example with pandas.cut."
        raise ValueError(msg)
    groups = [np.ones(len(matrix), dtype=bool)] if colors is None else [members for *_, members in colors.present]
    order = np.concatenate([_leaf_order(matrix, np.flatnonzero(members)) for members in groups])
    names = [drawn_text(name) for name in pdata.obs_names[order]] if len(order) <= _MAX_NAMED else []
    size = 8 if len(order) <= _MAX_LARGE else 5
    beside = max(text_width(names, size) - 0.6, 0.0)  # short names have room
    with drawing(ax, 5.8 + beside + max(legend_width(colors, _MAX_ROWS, 8.3) - 0.8, 0.0), 4.6 + beside) as ax:
        image = ax.imshow(matrix[np.ix_(order, order)], cmap="viridis_r", interpolation="nearest", vmin=0)
        ax.set_xticks(range(len(names)), labels=names, rotation=90, fontsize=size)
        ax.set_yticks(range(len(names)), labels=names, fontsize=size)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if colors is None:
            ax.figure.colorbar(image, ax=ax, label="distance", shrink=0.8)
        else:
            _mark_classes(ax, image, colors, order)
        write_status(ax, status_of_distances(pdata, key))
    return ax


def _leaf_order(matrix: NDArray[np.float64], members: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(members) < 3:
        return members
    condensed = squareform(matrix[np.ix_(members, members)], checks=False)
    return members[leaves_list(linkage(condensed, method="average", optimal_ordering=True))]


def _mark_classes(ax: Axes, image: AxesImage, colors: Classes, order: NDArray[np.int64]) -> None:
    """Draw a strip of the classes above the heatmap, and their legend above the colour bar, clear of a title."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    strip = ax.inset_axes((0, 1.01, 1, 0.035))
    shades = np.zeros((len(order), 3))
    for _, shade, members in colors.present:
        shades[members] = to_rgb(shade)
    strip.imshow(shades[None, order], aspect="auto", interpolation="nearest")
    strip.set_axis_off()
    columns = -(-len(colors.present) // _MAX_ROWS)
    shrink = max(1 - _LEGEND_ROW * (-(-len(colors.present) // columns) + 2), _MIN_BAR)
    bar = ax.figure.colorbar(image, ax=ax, label="distance", shrink=shrink, aspect=25 * shrink, anchor=(0, 0))
    handles = [Patch(color=shade) for _, shade, _ in colors.present]
    write_legend(
        bar.ax, handles, [name for name, *_ in colors.present], colors.name, loc="lower left", bbox_to_anchor=(0, 1),
        frameon=False, fontsize="small", borderpad=0, borderaxespad=0.8, handlelength=1.0, title_fontsize="small",
        alignment="left", ncols=columns,
    )  # fmt: skip
