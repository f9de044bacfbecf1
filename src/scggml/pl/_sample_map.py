"""Samples on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._keys import Keys, embedding

from ._axes import MISSING, PLAIN, class_colors, is_continuous, new_axes, obs_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_N_STEPS = 100
_WIDTH = 0.25  # of the neighbourhood that a path is fitted to, as a share of the samples
_HEAD = 5  # steps under the head of the arrow
_TITLES = {"mds": "MDS", "umap": "UMAP", "diffmap": "DC", "tsne": "t-SNE"}


def sample_map(
    pdata: AnnData,
    *,
    basis: str = "mds",
    color: str | None = None,
    components: Sequence[int] = (1, 2),
    labels: bool = False,
    trajectory: bool | str = False,
    size: float = 60.0,
    palette: Any = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw samples on a map, one point each.

    Samples that the metric was learned on lie further apart by class than new ones will: a map of the training samples shows
    what was learned, not how well it predicts.

    Parameters
    ----------
    pdata
        Samples with a map, from :func:`scggml.tl.embed_samples`.
    basis
        Which map: `.obsm["X_" + basis]`.
    color
        Column of `.obs` to colour by: classes get the colours in `.uns[color + "_colors"]` where there are any, numbers a
        colour scale. Missing values are grey.
    components
        Which two axes of the map to draw, counted from 1.
    labels
        Whether to write the sample names beside the points.
    trajectory
        Whether to draw the path of the samples through the map along `.obs["ggml_pseudotime"]` from
        :func:`scggml.tl.order_samples`, or another column of pseudotime: a smooth curve fitted to the places of samples that are
        close in order, with an arrow at its end.
    size
        Area of a point, in square points.
    palette
        Colours of the classes: a dict, or anything that :func:`seaborn.color_palette` takes.
    title
        Title; None for none.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError
        If there is no such map, column or pseudotime, or the map has fewer axes.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> pdata = sg.tl.sample_distances(adata)
    >>> sg.tl.embed_samples(pdata, "mds")
    >>> ax = sg.pl.sample_map(pdata, color="label")
    """
    check.check_anndata("pdata", pdata)
    name = embedding(basis)
    if name not in pdata.obsm:
        msg = (
            f"basis={basis!r}: obsm[{name!r}] does not exist. Found: {check.listed(pdata.obsm.keys(), limit=20)}. "
            f"Run sg.tl.embed_samples(pdata, {basis!r}) first."
        )
        raise KeyError(msg)
    places = pdata.obsm[name]
    if not isinstance(components, list | tuple | np.ndarray) or len(components) != 2:
        msg = f"components must name two axes, such as (1, 2), found {components!r}"
        raise ValueError(msg)
    first, second = (
        check.check_integer("components", c, minimum=1, maximum=places.shape[1], unit=f", the axes of obsm[{name!r}]")
        - 1
        for c in components
    )
    column = None if color is None else obs_column(pdata, "color", color)
    path = None if trajectory is False else _path(places[:, [first, second]], _pseudotime(pdata, trajectory))
    ax = new_axes(ax, 5.2, 4.2)
    x, y = places[:, first], places[:, second]
    style: dict[str, Any] = {"s": size, "linewidths": 0.5, "edgecolors": "white"}
    if column is None:
        ax.scatter(x, y, color=PLAIN, **style)
    elif is_continuous(column):
        known = column.notna().to_numpy()
        ax.scatter(x[~known], y[~known], color=MISSING, **style)
        points = ax.scatter(x[known], y[known], c=column[known].to_numpy(dtype=float), cmap="viridis", **style)
        ax.figure.colorbar(points, ax=ax, label=color)
    else:
        text = column.astype(str).where(column.notna())
        for label, shade in class_colors(pdata, str(color), palette).items():
            members = (text == label).to_numpy()
            ax.scatter(x[members], y[members], color=[shade], label=f"{label} ({members.sum()})", **style)
        unknown = column.isna().to_numpy()
        if unknown.any():
            ax.scatter(x[unknown], y[unknown], color=MISSING, label=f"missing ({unknown.sum()})", **style)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title=color)
    if labels:
        for i, sample in enumerate(pdata.obs_names):
            ax.annotate(sample, (x[i], y[i]), xytext=(4, 3), textcoords="offset points", fontsize="x-small")
    if path is not None:
        _draw_path(ax, path)
    kind = _TITLES.get(basis, basis)
    ax.set(xlabel=f"{kind} {first + 1}", ylabel=f"{kind} {second + 1}", xticks=[], yticks=[])
    if basis == "mds":
        ax.set_aspect("equal", adjustable="datalim")  # distances on the page are distances between samples
    ax.spines[["top", "right"]].set_visible(False)
    if title is not None:
        ax.set_title(title)
    return ax


def _pseudotime(pdata: AnnData, trajectory: bool | str) -> NDArray[np.float64]:
    name = Keys().pseudotime if trajectory is True else trajectory
    if not isinstance(name, str):
        msg = f"trajectory must be True, False or a column of obs with pseudotime, found {trajectory!r}"
        raise TypeError(msg)
    if name not in pdata.obs.columns:
        msg = f"trajectory={trajectory!r}: obs[{name!r}] does not exist. Run sg.tl.order_samples(pdata, root) first."
        raise KeyError(msg)
    column = pdata.obs[name]
    if not is_continuous(column) or not np.isfinite(column.to_numpy(dtype=float)).all() or column.nunique() < 2:
        msg = f"trajectory={trajectory!r}: obs[{name!r}] must hold finite numbers that differ. Run sg.tl.order_samples again."
        raise ValueError(msg)
    return column.to_numpy(dtype=float)


def _path(places: NDArray[np.float64], time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places along the order in time, (_N_STEPS, 2): a parabola is fitted to the samples close in order to each step."""
    from scipy.stats import rankdata

    rank = rankdata(time)  # not time itself, which has gaps
    order = (rank - rank.min()) / np.ptp(rank)
    path = []
    for step in np.linspace(0, 1, _N_STEPS):
        apart = (order - step) / _WIDTH
        root = np.exp(-0.25 * apart**2)[:, None]  # of the weights
        powers = apart[:, None] ** np.arange(3)
        path.append(np.linalg.lstsq(powers * root, places * root)[0][0])
    return np.array(path)


def _draw_path(ax: Axes, path: NDArray[np.float64]) -> None:
    for color, width in (("white", 4.0), ("#333333", 1.8)):  # the outline sets it off from the points
        style: dict[str, Any] = {
            "arrowstyle": "-|>,head_width=0.35,head_length=0.7",
            "mutation_scale": 16,
            "joinstyle": "miter",
        }
        head = {**style, "shrinkA": 0, "shrinkB": 0, "color": color, "linewidth": width}
        ax.plot(*path[:-_HEAD].T, color=color, linewidth=width, solid_capstyle="round", zorder=3)
        ax.annotate("", path[-1], path[-_HEAD - 1], arrowprops=head, zorder=3)
