"""Samples on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from scggml import _check as check
from scggml._anndata._distances import status_of_map
from scggml._arguments import anything, checked, either, flag, text
from scggml._docs import shared_doc
from scggml._keys import IS_REFERENCE, NEW, Keys, embedding

from ._axes import PLAIN, drawing, equal_scales, map_points, two_axes, write_status
from ._colors import column_numbers, draw_points, legend_width, read_colors
from ._names import drawn_text, write_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_N_STEPS = 100
_WIDTH = 0.25  # of the neighbourhood that the path is fitted to, as a fraction of the samples
_N_NAMED = 25  # samples whose names fit on a map of the usual size
_HEAD = 5  # steps under the head of the arrow
_PATH, _UNDER = "#666666", 0.5  # its colour, and its place under the points
_STYLE: dict[str, Any] = {"s": 60.0, "linewidths": 0.5, "edgecolors": "white"}
_TITLES = {"mds": "MDS", "umap": "UMAP", "diffmap": "DC", "tsne": "t-SNE"}


@shared_doc
@checked(
    basis=text("a map"),
    components=anything,
    labels=flag,
    trajectory=either(True, False, otherwise="a column of obs", rule=text("a column of obs")),
)
def sample_map(
    pdata: AnnData,
    *,
    basis: str = "mds",
    color: str | None = None,
    components: Sequence[int] = (1, 2),
    labels: bool = False,
    trajectory: bool | str = False,
    ax: Axes | None = None,
) -> Axes:
    """Plot samples on a map, one point each.

    Classes of samples that the metric was learned from are further apart than those of new samples. A map of training
    samples therefore shows what was learned, not how well it predicts. For that, embed held-out distances:
    :func:`scggml.tl.sample_distances` with `cv="auto"`. The title says what a map shows, unless `ax` has a title. New
    samples of :func:`scggml.tl.map_samples` are rings.

    Parameters
    ----------
    pdata
        Samples with a map, from :func:`scggml.tl.embed_samples`.
    basis
        Which map: `.obsm["X_" + basis]`.
    color
        Column of `.obs` to colour by. Numbers are drawn on a colour scale, anything else as classes. These have the
        colours in `.uns[color + "_colors"]` if there are any, else colour-blind safe ones. Missing values are grey.
    components
        Which two axes of the map to draw, counted from 1.
    labels
        Whether to write the sample names beside the points. A new figure then grows with the number of samples.
    trajectory
        Whether to draw the path along `.obs["ggml_pseudotime"]` from :func:`scggml.tl.order_samples`. It is a smooth
        curve through samples with similar pseudotime, with an arrow at its end. A text names another column of
        pseudotime.
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such map, column or pseudotime, the map has fewer axes, or it has NaN.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
        >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
        >>> pdata = sg.tl.sample_distances(adata, cv="auto")
        >>> sg.tl.embed_samples(pdata, "mds")
        >>> ax = sg.pl.sample_map(pdata, color="label")
    """
    name = embedding(basis)
    how = f"Found: {check.listed(pdata.obsm.keys(), limit=20)}. Run sg.tl.embed_samples(pdata, {basis!r}) first."
    coordinates = map_points(pdata, "basis", basis, name, how)
    axes = two_axes(components, coordinates.shape[1], f"obsm[{name!r}]")
    points = coordinates[:, list(axes)]
    colors = None if color is None else read_colors(pdata, color)
    are_new = _are_new(pdata)
    path = None if trajectory is False else _path(points, _pseudotime(pdata, trajectory))
    scale = max(np.sqrt(pdata.n_obs / _N_NAMED), 1.0) if labels else 1.0  # so that names have room
    with drawing(ax, 5.2 * scale + legend_width(colors), 4.2 * scale) as ax:
        if path is not None:
            _draw_path(ax, path)
        draw_points(ax, points, colors, plain=PLAIN, counts=True, hollow=are_new, **_STYLE)
        kind = _TITLES.get(basis, drawn_text(basis))
        ax.set(xlabel=f"{kind} {axes[0] + 1}", ylabel=f"{kind} {axes[1] + 1}", xticks=[], yticks=[])
        if basis == "mds":
            equal_scales(ax)
        ax.spines[["top", "right"]].set_visible(False)
        write_status(ax, NEW if are_new is not None and are_new.any() else status_of_map(pdata, name))
        if labels:
            write_names(ax, points, [drawn_text(sample) for sample in pdata.obs_names])
    return ax


def _are_new(pdata: AnnData) -> NDArray[np.bool_] | None:
    """Return which samples :func:`scggml.tl.map_samples` has added; None if that is not known."""
    column = pdata.obs.get(IS_REFERENCE)
    return None if column is None or column.dtype != bool else ~column.to_numpy()


def _pseudotime(pdata: AnnData, trajectory: bool | str) -> NDArray[np.float64]:
    name = Keys().pseudotime if isinstance(trajectory, bool) else trajectory
    if name not in pdata.obs.columns:
        msg = (
            f"trajectory={check.shown(trajectory)}: obs[{name!r}] does not exist. Run sg.tl.order_samples(pdata, root) "
            "first."
        )
        raise KeyError(msg)
    time = column_numbers(check.existing_column("trajectory", name, pdata.obs))
    if time is None or not np.isfinite(time).all() or len(np.unique(time)) < 2:
        msg = (
            f"trajectory={check.shown(trajectory)}: obs[{name!r}] must hold different finite numbers. Run "
            "sg.tl.order_samples again."
        )
        raise ValueError(msg)
    return time


def _path(points: NDArray[np.float64], time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points of a smooth path, (_N_STEPS, 2): parabolas that are fitted to samples with similar ranks."""
    rank = rankdata(time)  # not time itself, which has gaps
    order = (rank - rank.min()) / np.ptp(rank)
    path = []
    for step in np.linspace(0, 1, _N_STEPS):
        apart = (order - step) / _WIDTH
        root = np.exp(-0.25 * apart**2)[:, None]  # of the weights
        powers = apart[:, None] ** np.arange(3)
        path.append(np.linalg.lstsq(powers * root, points * root)[0][0])
    return np.array(path)


def _draw_path(ax: Axes, path: NDArray[np.float64]) -> None:
    """Draw a path with an arrow at its end, under the points."""
    head: dict[str, Any] = {
        "arrowstyle": "-|>,head_width=0.35,head_length=0.7",
        "mutation_scale": 16,
        "joinstyle": "miter",
        "shrinkA": 0,
        "shrinkB": 0,
        "color": _PATH,
        "linewidth": 1.8,
        "zorder": _UNDER,
    }
    ax.plot(*path[:-_HEAD].T, color=_PATH, linewidth=1.8, solid_capstyle="round", zorder=_UNDER)
    ax.annotate("", path[-1], path[-_HEAD - 1], arrowprops=head, zorder=_UNDER)
