"""Cells in the learned space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scggml import _check as check
from scggml._anndata._entries import BARYCENTERS
from scggml._anndata._schema import read_entry
from scggml._anndata._stored_metric import read_metric
from scggml._arguments import SHARED, anything, checked, text
from scggml._docs import shared_doc
from scggml._keys import Keys, embedding

from ._axes import drawing, equal_scales, map_points, two_axes
from ._colors import Classes, draw_points, legend_width, read_colors
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ._colors import Numbers

_NAMES = {"umap": "UMAP", "tsne": "t-SNE"}
_POINTS = 120000  # area of all cells together, as in scanpy's plots
_SAME = 1e-6  # relative difference between fingerprints of one metric


@shared_doc
@checked(
    basis=text("a key of obsm"),
    components=anything,
    barycenters=SHARED["adata"],
)
def cells(
    adata: AnnData,
    *,
    key: str = "ggml",
    color: str | None = None,
    basis: str | None = None,
    components: Sequence[int] = (1, 2),
    barycenters: AnnData | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot cells in the learned space, where Euclidean distance is the ground metric.

    Parameters
    ----------
    adata
        Cells with a learned metric, from :func:`scggml.tl.fit_metric`. Nothing is written to it.
    key
        Key of the metric. The cells' coordinates are in `.obsm["X_" + key]`.
    color
        Column of `.obs`, or a gene, to colour by. Numbers are drawn on a colour scale, anything else as classes. These
        have the colours in `.uns[color + "_colors"]` if there are any, else colour-blind safe ones. Missing values are
        grey.
    basis
        None draws the principal axes of the learned space, along which the cells vary most. The `key` of the metric
        draws its components. Any other name draws the map in `.obsm["X_" + basis]`, such as "umap".
    components
        Which two axes to draw, counted from 1.
    barycenters
        Points of class barycenters to draw on top, from :func:`scggml.tl.class_barycenters`. They have the colour of
        their class if `color` names the column of the classes, else they are white. They need the learned space, so
        they cannot be drawn on maps such as "umap".
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, map, column or gene, the map has fewer axes, it has NaN, or barycenters are those
        of another metric.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
        >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
        >>> ax = sg.pl.cells(adata, color="label")
        >>> ax = sg.pl.cells(adata, color="signal", barycenters=sg.tl.class_barycenters(adata, rng=0))
    """
    coordinates, kind, points = _coordinates(adata, key, basis, barycenters)
    if coordinates.shape[1] < 2:
        msg = f"a map needs two axes, but there is only one {kind}. Draw it with scanpy.pl.violin or as a histogram."
        raise ValueError(msg)
    first, second = two_axes(components, coordinates.shape[1], "the map")
    colors = None if color is None else read_colors(adata, color, gene=True)
    shades = None if barycenters is None or points is None else _point_shades(colors, barycenters)

    with drawing(ax, 5.2 + legend_width(colors), 4.2) as ax:
        size = _POINTS / adata.n_obs
        draw_points(
            ax, coordinates[:, [first, second]], colors, plain="lightgray", counts=False, s=size, marker=".",
            linewidths=0,
        )  # fmt: skip
        if points is not None and shades is not None:
            x, y = points[:, first], points[:, second]
            ax.scatter(x, y, c=shades, s=36, edgecolors="black", linewidths=0.8, zorder=3)
        kind = drawn_text(kind)
        ax.set(xlabel=f"{kind} {first + 1}", ylabel=f"{kind} {second + 1}", title="", xticks=[], yticks=[])
        if basis is None or basis == key:
            equal_scales(ax)
        ax.spines[["top", "right"]].set_visible(False)
    return ax


def _coordinates(
    adata: AnnData, key: str, basis: str | None, barycenters: AnnData | None
) -> tuple[NDArray[np.float64], str, NDArray[np.float64] | None]:
    """Return the coordinates of the cells, the name of their axes, and the coordinates of the barycenters."""
    name = Keys(key).cells
    if basis is not None and basis != key:
        if barycenters is not None:
            msg = f"barycenters have no coordinates on basis={basis!r}. Leave basis out, or pass basis={key!r}."
            raise ValueError(msg)
        how = f"Found: {check.listed(adata.obsm.keys(), limit=20)}."
        return map_points(adata, "basis", basis, embedding(basis), how), _NAMES.get(basis, basis), None
    cells_in_space = map_points(adata, "key", key, name, "Run sg.tl.fit_metric first.")
    points = None
    if barycenters is not None:
        check.check_anndata("barycenters", barycenters)
        if name not in barycenters.obsm or barycenters.obsm[name].shape[1] != cells_in_space.shape[1]:
            msg = (
                f"barycenters must have obsm[{name!r}] with {cells_in_space.shape[1]} components. Pass "
                f"sg.tl.class_barycenters(adata, key={key!r})."
            )
            raise ValueError(msg)
        _check_same_metric(adata, barycenters, key)
        points = np.asarray(barycenters.obsm[name], dtype=np.float64)
    if basis == key:
        return cells_in_space, "component", points
    centre = cells_in_space.mean(axis=0)
    centred = cells_in_space - centre
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return centred @ axes, "principal axis", None if points is None else (points - centre) @ axes


def _check_same_metric(adata: AnnData, barycenters: AnnData, key: str) -> None:
    """Refuse barycenters of another metric than that of the cells, where both are known."""
    entry = barycenters.uns.get(Keys(key).barycenters)
    if key not in adata.uns or not isinstance(entry, Mapping) or "fingerprint" not in entry:
        return
    where, again = f"barycenters.uns[{Keys(key).barycenters!r}]", "Compute them again with sg.tl.class_barycenters."
    stored = read_entry(entry, BARYCENTERS, where, again)["fingerprint"]
    found, wanted = np.asarray(stored, dtype=np.float64), read_metric(adata, key).fingerprint
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=0, atol=_SAME * np.abs(wanted).max()):
        msg = (
            f"barycenters are those of another metric than that in uns[{key!r}], which was learned again or copied "
            f"since. Compute them again with sg.tl.class_barycenters(adata, key={key!r})."
        )
        raise ValueError(msg)


def _point_shades(colors: Numbers | Classes | None, barycenters: AnnData) -> list[str]:
    """Return the colour of each point of the barycenters: that of the cells of its class, else white."""
    if not isinstance(colors, Classes) or colors.name not in barycenters.obs.columns:
        return ["white"] * barycenters.n_obs
    shades = dict(zip(colors.names, colors.shades, strict=True))
    return [shades.get(str(name), "white") for name in barycenters.obs[colors.name]]
