"""Interactive figures, as data for plotly. Names of the user are escaped: plotly takes some markup in texts."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scggml import _check as check
from scggml._keys import Keys, colors
from scggml.pl._colors import MISSING, Numbers, read_colors
from scggml.pl._distance_heatmap import leaf_order
from scggml.pl._names import without_middle
from scggml.tl import embed_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MAX_NAMED = 40  # patients whose names have room beside a heatmap
_MAX_LETTERS = 16  # of these names
_STRIP = 0.05  # width of the classes beside a heatmap, of the heatmap
_DIGITS = 5  # significant ones
_AXIS = {"showticklabels": False, "zeroline": False, "showgrid": False}
_EDGE = {"color": "rgba(127,127,127,0.6)", "width": 0.6}
_WITHOUT_LABEL = "no label"


@dataclass(frozen=True, eq=False)
class Palette:
    """Labels of the patients and their colours.

    Parameters
    ----------
    name
        Column of the labels.
    texts
        Label of each patient as text, (n_samples,); None where it is missing.
    numbers
        Continuous labels, (n_samples,); None for classes.
    shades
        Colour of each class in their order.
    """

    name: str
    texts: list[str | None]
    numbers: NDArray[np.float64] | None
    shades: dict[str, str]

    @classmethod
    def of(cls, pdata: AnnData, label_key: str, kind: str, classes: list[str]) -> Palette:
        """Return those of a column of samples, in the colours of `.uns`."""
        column = check.existing_column("label_key", label_key, pdata.obs)
        texts = [None if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]
        if kind != "continuous" and not isinstance(column.dtype, pd.CategoricalDtype):
            column = pd.Series(pd.Categorical(texts, classes), index=column.index)
        plain = AnnData(obs=pd.DataFrame({label_key: column}))
        if colors(label_key) in pdata.uns:
            plain.uns[colors(label_key)] = pdata.uns[colors(label_key)]
        found = read_colors(plain, label_key)
        if isinstance(found, Numbers):
            return cls(label_key, texts, found.values, {})
        shades = {name: shade for name, shade, _ in found.present if name != "missing" or name in classes}
        return cls(label_key, texts, None, shades)

    @property
    def counts(self) -> list[dict[str, Any]]:
        """Name, colour and number of patients of each class."""
        groups = [{"name": name, "shade": shade, "n": self.texts.count(name)} for name, shade in self.shades.items()]
        n_missing = self.texts.count(None)
        return [*groups, *([{"name": _WITHOUT_LABEL, "shade": MISSING, "n": n_missing}] if n_missing else [])]

    def shade(self, label: str | None) -> str:
        """Return the colour of a class."""
        return self.shades.get(label or "", MISSING)


def positions_on_map(pdata: AnnData, key: str) -> NDArray[np.float64]:
    """Return the coordinates of samples on a map of the distances of a key, (n_samples, 2)."""
    name = Keys(key).distances
    plain = AnnData(obs=pdata.obs[[]], obsp={name: pdata.obsp[name]})
    if key in pdata.uns:
        plain.uns[key] = pdata.uns[key]
    embed_samples(plain, "mds", key=key)
    return np.asarray(plain.obsm["X_mds"])


def map_figure(
    at: NDArray[np.float64],
    names: Sequence[str],
    palette: Palette,
    *,
    new: NDArray[np.bool_] | None = None,
    groups: Sequence[str | None] | None = None,
    hover: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return a map of patients, and its legend.

    Parameters
    ----------
    at
        Coordinates, (n, 2).
    names
        Names of the patients.
    palette
        Colours.
    new
        Which of them are new, and drawn as rings; None for none.
    groups
        What each is coloured by; None for the labels of the palette.
    hover
        A second line for each; None for the labels.
    """
    groups = palette.texts if groups is None else groups
    new = np.zeros(len(names), dtype=bool) if new is None else new
    second = [group or _WITHOUT_LABEL for group in groups] if hover is None else hover
    texts = [f"<b>{_escaped(name)}</b><br>{_escaped(line)}" for name, line in zip(names, second, strict=True)]
    data, legend = [], []
    if palette.numbers is not None:
        shown = np.full(len(names), np.nan)
        shown[~new] = palette.numbers
        for is_new in (False, True):
            members = np.flatnonzero(new == is_new)
            if len(members):
                bar = {"orientation": "h", "thickness": 10, "y": -0.02, "yanchor": "top", "outlinewidth": 0}
                bar["title"] = {"text": _escaped(palette.name), "side": "bottom"}
                style = {
                    "color": _plain(shown[members]),
                    "colorscale": "Viridis",
                    "showscale": not is_new,
                    "colorbar": bar,
                }
                data.append(_points(at, texts, members, style if not is_new else {"color": MISSING}, ring=is_new))
    else:
        present = [*palette.shades, *([None] if any(group not in palette.shades for group in groups) else [])]
        for label in present:
            mine = np.array([group == label if label is not None else group not in palette.shades for group in groups])
            traces = []
            for is_new in (False, True):
                members = np.flatnonzero(mine & (new == is_new))
                if len(members):
                    traces.append(len(data))
                    data.append(_points(at, texts, members, {"color": palette.shade(label)}, ring=is_new))
            if traces:
                name = _WITHOUT_LABEL if label is None else label
                legend.append({"name": name, "shade": palette.shade(label), "n": int(mine.sum()), "traces": traces})
    layout = {
        "margin": {"l": 8, "r": 8, "t": 8, "b": 60 if palette.numbers is not None else 8},
        "xaxis": _AXIS,
        "yaxis": {**_AXIS, "scaleanchor": "x"},
        "hovermode": "closest",
        "showlegend": False,
        "dragmode": "pan",
    }
    return {"data": data, "layout": layout, "legend": legend, "rings": bool(new.any())}


def heatmap_figure(matrix: NDArray[np.float64], names: Sequence[str], palette: Palette) -> dict[str, Any]:
    """Return a heatmap of distances, ordered by class and similarity. Colours span the distances off the diagonal."""
    order, blocks = _ordered(matrix, palette)
    shown = matrix[np.ix_(order, order)].copy()
    np.fill_diagonal(shown, np.nan)
    labels = [_escaped(names[i]) for i in order]
    ticks: dict[str, Any] = {"type": "category", "showticklabels": False, "ticks": "", "showgrid": False}
    named: dict[str, Any] = {"side": "right"}
    if len(labels) <= _MAX_NAMED:
        short = [_escaped(without_middle(names[i], _MAX_LETTERS)) for i in order]
        named |= {"tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": short, "automargin": True}
    n = len(labels)
    room = _STRIP * n if blocks else 0.0  # for the classes, left of the first column and above the first row
    bar = {"orientation": "h", "thickness": 10, "outlinewidth": 0, "y": -0.02, "yanchor": "top", "nticks": 5}
    heat = {
        "type": "heatmap", "z": [_plain(row) for row in shown], "x": labels, "y": labels, "colorscale": "Viridis",
        "reversescale": True, "hoverongaps": False,
        "colorbar": {**bar, "title": {"text": "distance", "side": "bottom"}},
        "hovertemplate": "%{y}<br>%{x}<br>distance <b>%{z:.3g}</b><extra></extra>",
    }  # fmt: skip
    across = {"0": -0.5 - 0.8 * room, "1": -0.5 - 0.2 * room}
    strips = [
        {"type": "rect", "line": {"width": 0}, "fillcolor": shade, "xref": "x", "yref": "y",
         f"{along}0": first - 0.5, f"{along}1": last + 0.5, **{f"{other}{end}": at for end, at in across.items()}}
        for first, last, shade in blocks
        for along, other in ("xy", "yx")
    ]  # fmt: skip
    layout = {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 60}, "shapes": strips, "dragmode": False,
        "xaxis": {**ticks, "range": [-0.5 - room, n - 0.5], "constrain": "domain"},
        "yaxis": {**ticks, **named, "range": [n - 0.5, -0.5 - room], "constrain": "domain", "scaleanchor": "x"},
    }  # fmt: skip
    return {"data": [heat], "layout": layout, "legend": [], "rings": False}


def _ordered(matrix: NDArray[np.float64], palette: Palette) -> tuple[NDArray[np.int64], list[tuple[int, int, str]]]:
    """Return the order of the patients, and first, last and colour of each class in it."""
    if palette.numbers is not None:
        return np.argsort(palette.numbers, kind="stable"), []
    order: list[int] = []
    blocks = []
    for label in [*palette.shades, None]:
        members = np.array([i for i, text in enumerate(palette.texts) if text == label], dtype=np.int64)
        if len(members):
            blocks.append((len(order), len(order) + len(members) - 1, palette.shade(label)))
            order += leaf_order(matrix, members).tolist()
    return np.array(order, dtype=np.int64), blocks


def _points(
    at: NDArray[np.float64], texts: list[str], members: NDArray[np.int64], color: dict[str, Any], *, ring: bool
) -> dict[str, Any]:
    style = {"size": 12, "symbol": "circle-open"} if ring else {"size": 11, "symbol": "circle"}
    return {
        "type": "scatter", "mode": "markers", "x": _plain(at[members, 0]), "y": _plain(at[members, 1]),
        "text": [texts[i] for i in members], "hovertemplate": "%{text}<extra></extra>",
        "marker": {**style, **color, "line": {"width": 2.4} if ring else _EDGE},
    }  # fmt: skip


def _plain(values: Any) -> list[float | None]:
    """Return numbers as JSON can hold them, in few digits."""
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in np.asarray(values)]


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
