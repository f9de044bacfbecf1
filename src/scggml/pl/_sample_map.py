"""Samples on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from scggml import _check as check
from scggml._docs import shared_doc
from scggml._keys import Keys, embedding

from ._axes import MISSING, PLAIN, class_colors, drawing, is_continuous, obs_column, text_width, two_axes
from ._names import write_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_N_STEPS = 100
_WIDTH = 0.25  # of the neighbourhood that the path is fitted to, as a fraction of the samples
_HEAD = 5  # steps under the head of the arrow
_STYLE: dict[str, Any] = {"s": 60.0, "linewidths": 0.5, "edgecolors": "white"}
_TITLES = {"mds": "MDS", "umap": "UMAP", "diffmap": "DC", "tsne": "t-SNE"}


@shared_doc
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
    samples therefore shows what was learned, not how well it predicts.

    Parameters
    ----------
    pdata
        Samples with a map, from :func:`scggml.tl.embed_samples`.
    basis
        Which map: `.obsm["X_" + basis]`.
    color
        Column of `.obs` to colour by. Classes have the colours in `.uns[color + "_colors"]` if there are any, else
        colour-blind safe ones. Numbers are drawn on a colour scale. Missing values are grey.
    components
        Which two axes of the map to draw, counted from 1.
    labels
        Whether to write the sample names beside the points.
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
    axes = two_axes(components, pdata.obsm[name].shape[1], f"obsm[{name!r}]")
    points = np.asarray(pdata.obsm[name], dtype=np.float64)[:, list(axes)]
    column = None if color is None else obs_column(pdata, "color", color)
    path = None if trajectory is False else _path(points, _pseudotime(pdata, trajectory))
    legend = 0.0
    if column is not None and not is_continuous(column):
        legend = text_width(column.dropna().astype(str).unique()) + 0.4
    with drawing(ax, 5.2 + legend, 4.2) as ax:
        if column is None:
            ax.scatter(*points.T, color=PLAIN, **_STYLE)
        elif is_continuous(column):
            _draw_numbers(ax, points, column)
        else:
            _draw_classes(ax, points, pdata, str(color))
        if path is not None:
            _draw_path(ax, path)
        kind = _TITLES.get(basis, basis)
        ax.set(xlabel=f"{kind} {axes[0] + 1}", ylabel=f"{kind} {axes[1] + 1}", xticks=[], yticks=[])
        if basis == "mds":
            ax.set_aspect("equal", adjustable="datalim")  # distances on the page are proportional to those of the map
        ax.spines[["top", "right"]].set_visible(False)
        if labels:
            write_names(ax, points, [str(sample) for sample in pdata.obs_names])
    return ax


def _draw_numbers(ax: Axes, points: NDArray[np.float64], column: pd.Series) -> None:
    known = column.notna().to_numpy()
    ax.scatter(*points[~known].T, color=MISSING, **_STYLE)
    values = column[known].to_numpy(dtype=float)
    x, y = points[known].T
    drawn = ax.scatter(x, y, c=values, cmap="viridis", **_STYLE)
    ax.figure.colorbar(drawn, ax=ax, label=str(column.name))


def _draw_classes(ax: Axes, points: NDArray[np.float64], pdata: AnnData, color: str) -> None:
    column = pdata.obs[color]
    text = column.astype(str).where(column.notna())
    groups = [(label, shade, (text == label).to_numpy()) for label, shade in class_colors(pdata, color).items()]
    for label, shade, members in [*groups, ("missing", MISSING, column.isna().to_numpy())]:
        if members.any():
            ax.scatter(*points[members].T, color=[shade], label=f"{label} ({members.sum()})", **_STYLE)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title=color)


def _pseudotime(pdata: AnnData, trajectory: bool | str) -> NDArray[np.float64]:
    name = Keys().pseudotime if trajectory is True else trajectory
    if not isinstance(name, str):
        msg = f"trajectory must be True, False or a column of obs with pseudotime, found {check.shown(trajectory)}"
        raise TypeError(msg)
    if name not in pdata.obs.columns:
        msg = (
            f"trajectory={check.shown(trajectory)}: obs[{name!r}] does not exist. Run sg.tl.order_samples(pdata, root) "
            "first."
        )
        raise KeyError(msg)
    column = pdata.obs[name]
    if not is_continuous(column) or not np.isfinite(column.to_numpy(dtype=float)).all() or column.nunique() < 2:
        msg = (
            f"trajectory={check.shown(trajectory)}: obs[{name!r}] must hold different finite numbers. Run "
            "sg.tl.order_samples "
            "again."
        )
        raise ValueError(msg)
    return column.to_numpy(dtype=float)


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
    for color, width in (("white", 4.0), ("#333333", 1.8)):  # the outline sets it off from the points
        style: dict[str, Any] = {
            "arrowstyle": "-|>,head_width=0.35,head_length=0.7",
            "mutation_scale": 16,
            "joinstyle": "miter",
        }
        head = {**style, "shrinkA": 0, "shrinkB": 0, "color": color, "linewidth": width}
        ax.plot(*path[:-_HEAD].T, color=color, linewidth=width, solid_capstyle="round", zorder=3)
        ax.annotate("", path[-1], path[-_HEAD - 1], arrowprops=head, zorder=3)
