"""What all plots share: axes to draw on and colours of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scggml import _check as check
from scggml._keys import colors as colors_key

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

MISSING = "#bdbdbd"
PLAIN = "#4c72b0"
HIGHLIGHT = "#d95f02"


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return `ax`, or the axes of a new figure of the given size in inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def obs_column(adata: AnnData, name: str, key: str) -> pd.Series:
    """Return a column of `obs`, or say which there are."""
    if key not in adata.obs.columns:
        msg = f"{name}={key!r} is not a column of obs. Found: {check.listed(adata.obs.columns, limit=20)}"
        raise KeyError(msg)
    return adata.obs[key]


def is_continuous(column: pd.Series) -> bool:
    """Return whether a column is drawn on a colour scale rather than in colours of classes."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def class_colors(adata: AnnData, key: str, palette: Any = None) -> dict[str, Any]:
    """Return a colour for each class: of `palette`, else those scanpy stored in `.uns`, else a colour-blind safe palette."""
    import seaborn as sns

    column = adata.obs[key]
    categories = list(
        column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else sorted(column.dropna().unique())
    )
    if isinstance(palette, dict):
        missing = [name for name in categories if name not in palette]
        if missing:
            msg = f"palette has no colour for {check.listed(missing)} of obs[{key!r}]"
            raise ValueError(msg)
        return {str(name): palette[name] for name in categories}
    stored = adata.uns.get(colors_key(key))
    if palette is None and stored is not None and len(stored) >= len(categories):
        chosen = list(stored)
    else:
        chosen = sns.color_palette(palette or ("colorblind" if len(categories) <= 10 else "husl"), len(categories))
    return {str(name): color for name, color in zip(categories, chosen, strict=False)}
