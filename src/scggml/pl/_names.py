"""Names as they are drawn, and names beside the points of a map."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any
from unicodedata import category

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_MAX_LETTERS = 80  # of a name on one line
_MAX_LINES = 10  # of a name on several lines
_SIZE = 7.0  # of the letters, in points
_WIDTH, _HEIGHT = 0.58, 1.15  # of a letter on average and of a line, in letter sizes
_MARKER = 4.0  # half the width of a point's marker, in points
_NEXT, _ABOVE = 5.0, 4.0  # gap between a name and the middle of its point, in points
_N_SWEEPS = 4  # over all names
_OUTSIDE = 2.0  # weight of the area outside of the axes
_POSITIONS = [
    (dx, dy, ha, va)
    for dx, ha in ((_NEXT, "left"), (-_NEXT, "right"), (0.0, "center"))
    for dy, va in ((_ABOVE, "bottom"), (-_ABOVE, "top"), (0.0, "center"))
    if dx or dy
]


def without_middle(text: str, letters: int) -> str:
    """Return a text whose middle is left out where it is longer: many names differ in their ends."""
    half = letters // 2
    return text if len(text) <= letters else f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def of_label(label_key: Any, text: str) -> str:
    """Return a title that begins with the label, if it is known."""
    return text if label_key is None else f"{label_key}: {text}"


def drawn_text(text: str, line: int | None = None, *, lines: int = _MAX_LINES, letters: int = _MAX_LETTERS) -> str:
    """Return a text of the user as matplotlib draws it: one that is no formula, and has no characters without a shape.

    Parameters
    ----------
    text
        The text.
    line
        Letters on one line; None for one line only.
    lines
        Number of such lines, about; a longer text loses its middle.
    letters
        Letters of a text on one line; a longer one loses its middle.
    """
    text = "".join(" " if c.isspace() else "\ufffd" if category(c) in ("Cc", "Cs") else c for c in text)
    text = without_middle(text, letters if line is None else lines * line)
    return (text if line is None else fill(text, line)).replace("$", r"\$")


def write_names(ax: Axes, points: NDArray[np.float64], names: Sequence[str]) -> None:
    """Write a name beside each point, (n, 2), on the side where it overlaps least with names, points and the margin."""
    layout = ax.figure.get_layout_engine()
    if layout is not None:
        layout.execute(ax.figure.figure)
    ax.get_xlim(), ax.get_ylim()  # matplotlib settles the limits when they are asked for
    ax.apply_aspect()
    inches = 72 / ax.figure.dpi
    at, page = ax.transData.transform(points) * inches, np.array(ax.bbox.extents) * inches
    markers = np.concatenate([at - _MARKER, at + _MARKER], axis=1)  # left, bottom, right, top
    taken, chosen = np.full((len(names), 4), np.nan), np.zeros(len(names), dtype=int)
    for _ in range(_N_SWEEPS):
        for i, name in enumerate(names):
            size = np.array([_WIDTH * len(name), _HEIGHT]) * _SIZE
            boxes = np.array([_box(at[i], size, *position) for position in _POSITIONS])
            others = np.delete(np.concatenate([markers, taken]), [i, len(names) + i], axis=0)
            outside = [_area(box) - _overlap(box, page[None]) for box in boxes]
            costs = [_overlap(box, others) + _OUTSIDE * out for box, out in zip(boxes, outside, strict=True)]
            chosen[i] = int(np.argmin(costs))
            taken[i] = boxes[chosen[i]]
    for name, point, best in zip(names, points, chosen, strict=True):
        dx, dy, ha, va = _POSITIONS[best]
        text = ax.annotate(name, point, (dx, dy), textcoords="offset points", fontsize=_SIZE, ha=ha, va=va)
        text.set_in_layout(False)  # else the axes shrink for it, and names move


def _box(at: NDArray[np.float64], size: NDArray[np.float64], dx: float, dy: float, ha: str, va: str) -> list[float]:
    """Return left, bottom, right and top of a text."""
    left = at[0] + dx - size[0] * {"left": 0.0, "center": 0.5, "right": 1.0}[ha]
    bottom = at[1] + dy - size[1] * {"bottom": 0.0, "center": 0.5, "top": 1.0}[va]
    return [left, bottom, left + size[0], bottom + size[1]]


def _area(box: NDArray[np.float64]) -> float:
    return float(np.prod(box[2:] - box[:2]))


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the area that a box shares with others; those that are not there yet are NaN."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(np.nansum(np.prod(np.maximum(sides, 0.0), axis=1)))
