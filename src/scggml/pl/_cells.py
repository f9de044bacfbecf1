"""Cells in the learned space."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._docs import shared_doc
from scggml._keys import Keys, embedding
from scggml._keys import colors as colors_key
from scggml.core.measures._compiled import cached_imports

from ._axes import class_colors, drawing, is_continuous, text_width, two_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_NAMES = {"umap": "UMAP", "tsne": "t-SNE"}


@shared_doc
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
        Column of `.obs`, or a gene, to colour by. Classes have the colours in `.uns[color + "_colors"]` if there are
        any, else colour-blind safe ones.
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
        If there is no such metric, map, column or gene, or the map has fewer axes.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> ax = sg.pl.cells(adata, color="label")
    >>> ax = sg.pl.cells(adata, color="signal", barycenters=sg.tl.class_barycenters(adata, rng=0))
    """
    check.check_anndata("adata", adata)
    check.check_name("key", key)
    coordinates, kind, points = _coordinates(adata, key, basis, barycenters)
    if coordinates.shape[1] < 2:
        msg = f"a map needs two axes, but there is only one {kind}. Draw it with scanpy.pl.violin or as a histogram."
        raise ValueError(msg)
    first, second = two_axes(components, coordinates.shape[1], "the map")
    shown = _shown(adata, color)
    shades = None if barycenters is None or points is None else _point_shades(shown, barycenters, color)

    with cached_imports():
        import scanpy as sc

    shown.obsm["X_cells"] = coordinates[:, [first, second]]
    is_class = color is not None and colors_key(color) in shown.uns
    legend_width = text_width(shown.obs[color].cat.categories) + 0.4 if is_class else 0.0
    with drawing(ax, 5.2 + legend_width, 4.2) as ax:
        with warnings.catch_warnings():
            # scanpy calls functions that matplotlib will rename
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            sc.pl.embedding(shown, "cells", color=color, ax=ax, show=False, colorbar_loc=None)
        legend = ax.get_legend()
        if color is not None and legend is not None:
            legend.set_title(color)
        elif color is not None:
            ax.figure.colorbar(ax.collections[0], ax=ax, label=color)
        if points is not None and shades is not None:
            x, y = points[:, first], points[:, second]
            ax.scatter(x, y, c=shades, s=36, edgecolors="black", linewidths=0.8, zorder=3)
        ax.set(xlabel=f"{kind} {first + 1}", ylabel=f"{kind} {second + 1}", title="")
        if basis is None or basis == key:
            ax.set_aspect("equal", adjustable="datalim")  # distances on the page are proportional to the ground metric
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
        return _obsm(adata, "basis", basis, embedding(basis)), _NAMES.get(basis, basis), None
    cells_in_space = _obsm(adata, "key", key, name)
    points = None
    if barycenters is not None:
        check.check_anndata("barycenters", barycenters)
        if name not in barycenters.obsm or barycenters.obsm[name].shape[1] != cells_in_space.shape[1]:
            msg = (
                f"barycenters must have obsm[{name!r}] with {cells_in_space.shape[1]} components. Pass "
                f"sg.tl.class_barycenters(adata, key={key!r})."
            )
            raise ValueError(msg)
        points = np.asarray(barycenters.obsm[name], dtype=np.float64)
    if basis == key:
        return cells_in_space, "component", points
    centre = cells_in_space.mean(axis=0)
    centred = cells_in_space - centre
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return centred @ axes, "principal axis", None if points is None else (points - centre) @ axes


def _obsm(adata: AnnData, argument: str, value: str, name: str) -> NDArray[np.float64]:
    if name not in adata.obsm:
        how = (
            "Run sg.tl.fit_metric first."
            if argument == "key"
            else f"Found: {check.listed(adata.obsm.keys(), limit=20)}."
        )
        msg = f"{argument}={value!r}: obsm[{name!r}] does not exist. {how}"
        raise KeyError(msg)
    found = adata.obsm[name]
    return np.asarray(found.to_numpy() if isinstance(found, pd.DataFrame) else found, dtype=np.float64)


def _shown(adata: AnnData, color: str | None) -> AnnData:
    """Return an AnnData with only the column or gene to colour by, which scanpy may write to."""
    with cached_imports():
        import scanpy as sc
    from anndata import AnnData

    if color is None:
        return AnnData(obs=pd.DataFrame(index=adata.obs_names.astype(str)))
    if color in adata.obs.columns:
        column = adata.obs[color]
    elif color in adata.var_names:
        column = sc.get.obs_df(adata, [color])[color]
    else:
        msg = (
            f"color={color!r} is neither a column of obs nor a gene. Found in obs: "
            f"{check.listed(adata.obs.columns, limit=20)}"
        )
        raise KeyError(msg)
    shown = AnnData(obs=pd.DataFrame({color: column.to_numpy()}, index=adata.obs_names.astype(str)))
    if not is_continuous(column):
        text = column.astype(str).where(column.notna())
        shades = class_colors(adata, color) if color in adata.obs.columns else {}
        shown.obs[color] = pd.Categorical(text, categories=list(shades))
        shown.uns[colors_key(color)] = _hex(shades.values())
    return shown


def _point_shades(shown: AnnData, barycenters: AnnData, color: str | None) -> list[str]:
    """Return the colour of each point of the barycenters: that of the cells of its class, else white."""
    palette = shown.uns.get(colors_key(str(color)))
    if palette is None or color not in barycenters.obs.columns:
        return ["white"] * barycenters.n_obs
    shades = dict(zip(shown.obs[color].cat.categories, palette, strict=True))
    return [shades.get(str(name), "white") for name in barycenters.obs[color]]


def _hex(shades: Any) -> list[str]:
    from matplotlib.colors import to_hex

    return [to_hex(shade) for shade in shades]
