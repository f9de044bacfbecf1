"""The distance matrix, ordered by class or by similarity, with tracks of columns of `.obs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.cluster.hierarchy import dendrogram, leaves_list, linkage
from scipy.spatial.distance import squareform

from scggml._anndata._distances import checked_distances, status_of_distances
from scggml._arguments import checked, columns
from scggml._docs import shared_doc

from ._axes import drawing, text_width, write_status
from ._colors import MISSING, Classes, Numbers, read_colors
from ._legends import Arranged, line_beside, make_room, place_of, write_legend
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

_MAX_NAMED = 50  # samples; with more, the names are too small to read
_MAX_LARGE = 25  # samples; the names of more are written smaller
_NAME_LINE = 28  # letters of a sample's name
_SIDE = 3.6  # of a heatmap in a new figure, in inches
_TRACK, _GAP, _TREE = 0.035, 0.01, 0.12  # heights of a track, between tracks and of the dendrogram, in heatmaps
_LEGEND_ROW = 0.2  # height of a row of the legend, in inches
_MIN_BAR = 0.4  # of the heatmap's height
_ROWS = 8  # of the legend of one track, so that the bar keeps this height, ...
_TRACK_ROWS = 14  # ... and of that of several, which reaches up to the dendrogram
_NUMBERS = "Purples"  # colours of a track of numbers, ...
_PALEST = 0.15  # ... whose lowest is not white


@shared_doc
@checked(color=columns)
def distance_heatmap(
    pdata: AnnData, *, key: str = "ggml", color: str | Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Plot the distances between samples as a heatmap.

    Without `color`, samples are ordered by average-linkage clustering with optimal leaf order, and its dendrogram
    is drawn above. A column of classes orders them by class, and by clustering within classes. A list of columns
    does not change the order: each is a track under the dendrogram, so that one sees which of them the clusters
    follow. Colours of distances range from the smallest to the largest between two samples; the diagonal is white.
    Up to 50 samples are named, if there is room for their names. For distances under a learned metric, the title
    says whether they are held-out or those of training samples, unless `ax` has a title.

    Parameters
    ----------
    %(pdata)s
    %(key_distances)s
    color
        Column of `.obs` with classes to order by, or a list of columns of classes or numbers to show as tracks. Colours
        of classes are those in `.uns[column + "_colors"]` if there are any, else up to ten are colour-blind safe.
        Missing values are grey.
    %(ax)s

    Returns
    -------
    The axes of the heatmap.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there are no such distances or column, distances have NaN or are not symmetric, or samples should be ordered
        by a column of numbers.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
        >>> pdata = sg.tl.sample_distances(adata, "sample", metric="euclidean")
        >>> ax = sg.pl.distance_heatmap(pdata, color="label")
        >>> ax = sg.pl.distance_heatmap(pdata, color=["label", "n_cells"])
    """
    matrix = checked_distances(pdata, key, minimum=1, what="a heatmap")
    by_class = isinstance(color, str)
    asked = [] if color is None else [color] if isinstance(color, str) else list(color)
    tracks = [read_colors(pdata, name) for name in asked]
    if by_class and isinstance(tracks[0], Numbers):
        msg = (
            f"color={color!r} must hold classes to order by, found numbers. Pass color=[{color!r}] to show them as a "
            "track, or cut them into classes, for example with pandas.cut."
        )
        raise ValueError(msg)
    tree = None if by_class or len(matrix) < 3 else _clustering(matrix, np.arange(len(matrix)))
    if tree is not None:
        order: Any = leaves_list(tree)
    elif by_class and isinstance(tracks[0], Classes):
        order = np.concatenate([leaf_order(matrix, np.flatnonzero(members)) for *_, members in tracks[0].present])
    else:
        order = np.arange(len(matrix))
    shown = matrix.astype(np.float64)[np.ix_(order, order)]
    np.fill_diagonal(shown, np.nan)

    written = pdata.obs_names[order] if len(order) <= _MAX_NAMED else []
    names = [drawn_text(name, letters=_NAME_LINE) for name in written]
    size = 8 if len(order) <= _MAX_LARGE else 5
    beside = max(text_width(names, size) - 0.6, 0.0)  # short names have room
    if len(tracks) > 1:
        beside = max(beside, text_width([drawn_text(track.name, _NAME_LINE) for track in tracks], 8) - 0.6)
    legend = _legend_of(tracks)[0]
    above = _above(tracks, tree) * _SIDE
    with drawing(ax, 5.8 + beside + max(legend.width - 1.0, 0.0), 4.4 + beside + above) as ax:
        image = _draw_matrix(ax, shown)
        ax.set(xticks=[], yticks=[])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        top = _draw_tracks(ax, tracks, order)
        if tree is not None:
            _draw_tree(ax, tree, top)
        _draw_scale(ax, image, tracks)
        row = min(ax.bbox.width, ax.bbox.height) / ax.figure.figure.dpi * 72 / len(order)
        if names and row > 0.8 * size:  # else they would overlap, on small axes of the user
            ax.set_xticks(range(len(names)), labels=names, rotation=90, fontsize=size)
            ax.set_yticks(range(len(names)), labels=names, fontsize=size)
        write_status(ax, status_of_distances(pdata, key))
    return ax


def _clustering(matrix: NDArray[np.float64], members: NDArray[np.int64]) -> NDArray[np.float64]:
    condensed = squareform(matrix[np.ix_(members, members)], checks=False)
    return linkage(condensed, method="average", optimal_ordering=True)


def leaf_order(matrix: NDArray[np.float64], members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return some of the samples, similar ones beside one another."""
    return members if len(members) < 3 else members[leaves_list(_clustering(matrix, members))]


def _above(tracks: Sequence[Any], tree: Any) -> float:
    """Return the height of what is drawn above the heatmap, in heatmaps."""
    return len(tracks) * (_TRACK + _GAP) + (0.0 if tree is None else _TREE)


def _draw_matrix(ax: Axes, shown: NDArray[np.float64]) -> AxesImage:
    """Draw distances; the range of colours is that between samples, without the zeros of the diagonal."""
    import matplotlib as mpl

    known = shown[np.isfinite(shown)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    colors = mpl.colormaps["viridis_r"].with_extremes(bad="white")
    return ax.imshow(shown, cmap=colors, interpolation="nearest", vmin=low, vmax=high)


def _legend_of(tracks: Sequence[Numbers | Classes], **line: int) -> tuple[Arranged, list[tuple[str, Any]]]:
    """Return the legend of tracks, and its names and colours.

    Those of several tracks begin with the name of the track, without a colour, and stay together in a column if there
    is room for them.
    """
    groups = [_entries_of(track) for track in tracks]
    if len(groups) < 2:
        entries = groups[0] if groups else []
        return Arranged([name for name, _ in entries], _ROWS, **line), entries
    in_columns: list[list[tuple[str, Any]]] = [[]]
    for track, group in zip(tracks, groups, strict=True):
        rest = [(track.name, None), *group]
        if in_columns[-1] and len(in_columns[-1]) + len(rest) > _TRACK_ROWS:
            in_columns.append([])
        while len(in_columns[-1]) + len(rest) > _TRACK_ROWS:
            in_columns[-1] += rest[:_TRACK_ROWS]
            rest = rest[_TRACK_ROWS:]
            in_columns.append([])
        in_columns[-1] += rest
    n_rows = max(map(len, in_columns))
    entries = [entry for column in in_columns for entry in (column + [("", None)] * n_rows)[:n_rows]]
    return Arranged([name for name, _ in entries], columns=len(in_columns), **line), entries


def _entries_of(track: Numbers | Classes) -> list[tuple[str, Any]]:
    """Return the names and colours of a legend of one track: classes, or the lowest and the highest number."""
    if isinstance(track, Classes):
        return [(name, shade) for name, shade, _ in track.present]
    known = track.values[np.isfinite(track.values)]
    ends = [f"{known.min():g}", f"{known.max():g}"] if known.min() < known.max() else [f"{known[0]:g}"]
    found: list[tuple[str, Any]] = [
        (end, _number_shades(np.array([at]))[0]) for end, at in zip(ends, (0.0, 1.0), strict=False)
    ]
    return found + ([("missing", MISSING)] if len(known) < len(track.values) else [])


def _number_shades(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours of numbers from 0 to 1, (n, 4)."""
    import matplotlib as mpl
    from matplotlib.colors import to_rgba

    shades = mpl.colormaps[_NUMBERS](_PALEST + (1 - _PALEST) * values)
    shades[np.isnan(values)] = to_rgba(MISSING)
    return shades


def _track_shades(track: Numbers | Classes) -> NDArray[np.float64]:
    """Return the colour of each sample, (n_samples, 4)."""
    from matplotlib.colors import to_rgba_array

    if isinstance(track, Classes):
        return to_rgba_array([*track.shades, MISSING])[track.codes]
    low, high = np.nanmin(track.values), np.nanmax(track.values)
    return _number_shades((track.values / 2 - low / 2) / (high / 2 - low / 2 or 1.0))  # halves do not overflow


def _draw_tracks(ax: Axes, tracks: Sequence[Numbers | Classes], order: NDArray[np.int64]) -> float:
    """Draw a strip of colours for each track above the heatmap, the last one lowest; return where they end."""
    top = 1.0
    for track in reversed(tracks):
        strip = ax.inset_axes((0, top + _GAP, 1, _TRACK))
        strip.imshow(_track_shades(track)[None, order], aspect="auto", interpolation="nearest")
        strip.set(xticks=[], yticks=[])
        strip.spines[:].set_visible(False)
        if len(tracks) > 1:
            strip.set_yticks([0], labels=[drawn_text(track.name, _NAME_LINE)], fontsize=8)
            strip.tick_params(length=0)
        top += _GAP + _TRACK
    return top


def _draw_tree(ax: Axes, tree: NDArray[np.float64], bottom: float) -> None:
    from matplotlib.collections import LineCollection

    found = dendrogram(tree, no_plot=True)
    x, y = np.array(found["icoord"]) / 10 - 0.5, np.array(found["dcoord"])  # scipy's leaves are at 5, 15, ...
    above = ax.inset_axes((0, bottom + _GAP, 1, _TREE - _GAP))
    above.add_collection(LineCollection(list(np.stack([x, y], axis=2)), colors="0.3", linewidths=0.8))
    above.set(xlim=ax.get_xlim(), ylim=(0, max(1.02 * float(y.max()), np.finfo(float).tiny)))
    above.set_axis_off()


def _draw_scale(ax: Axes, image: AxesImage, tracks: Sequence[Numbers | Classes]) -> None:
    """Draw the colour bar, and the legend of the tracks above it."""
    from matplotlib.patches import Patch

    legend, entries = _legend_of(tracks, line=line_beside(ax))
    height = min(ax.bbox.height / ax.figure.figure.dpi, _SIDE)
    shrink = max(1 - _LEGEND_ROW / height * (legend.n_rows + 1.5), _MIN_BAR) if entries else 0.8
    place = place_of(ax)
    bar = ax.figure.colorbar(image, ax=ax, label="distance", shrink=shrink, aspect=25 * shrink, anchor=(0, 0))
    if not entries:
        return
    handles = [Patch(color="none" if shade is None else shade) for _, shade in entries]
    written = write_legend(
        bar.ax, handles, [name for name, _ in entries], tracks[0].name if len(tracks) == 1 else "", arranged=legend,
        loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderpad=0, borderaxespad=0.8, handlelength=1.0,
        alignment="left",
    )  # fmt: skip
    for text, (_, shade) in zip(written.get_texts(), entries, strict=True):
        text.set_fontweight("bold" if shade is None else "normal")
    make_room(ax, written, bar.ax, place=place)
