"""Names beside the points of a map, placed so that they overlap as little as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_SIZE = 7.0  # of the letters, in points
_WIDTH = 0.58  # of a letter on average, in letter sizes
_MARKER = 4.0  # half the width of a point's marker, in points
_NEXT, _ABOVE = 5.0, 4.0  # gap between a name and the middle of its point, in points
_POSITIONS = [
    (dx, dy, ha, va)
    for dx, ha in ((_NEXT, "left"), (-_NEXT, "right"), (0.0, "center"))
    for dy, va in ((_ABOVE, "bottom"), (-_ABOVE, "top"), (0.0, "center"))
    if dx or dy
]


def write_names(ax: Axes, points: NDArray[np.float64], names: Sequence[str]) -> None:
    """Write a name beside each point, (n, 2), on whichever side it overlaps other names and points the least."""
    ax.get_xlim(), ax.get_ylim()  # matplotlib settles the limits when they are asked for
    ax.apply_aspect()
    at = ax.transData.transform(points) * 72 / ax.figure.dpi
    taken = np.concatenate([at - _MARKER, at + _MARKER], axis=1)  # left, bottom, right, top
    for i in np.argsort(-at[:, 1], kind="stable"):
        size = np.array([_WIDTH * _SIZE * len(names[i]), _SIZE])
        boxes = np.array([_box(at[i], size, *position) for position in _POSITIONS])
        others = np.delete(taken, i, axis=0)
        overlaps = [_overlap(box, others) for box in boxes]
        best = int(np.argmin(overlaps))
        dx, dy, ha, va = _POSITIONS[best]
        taken = np.concatenate([taken, boxes[[best]]])
        ax.annotate(names[i], points[i], (dx, dy), textcoords="offset points", fontsize=_SIZE, ha=ha, va=va)


def _box(at: NDArray[np.float64], size: NDArray[np.float64], dx: float, dy: float, ha: str, va: str) -> list[float]:
    """Return left, bottom, right and top of a text."""
    left = at[0] + dx - size[0] * {"left": 0.0, "center": 0.5, "right": 1.0}[ha]
    bottom = at[1] + dy - size[1] * {"bottom": 0.0, "center": 0.5, "top": 1.0}[va]
    return [left, bottom, left + size[0], bottom + size[1]]


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the area that a box shares with others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(np.prod(np.maximum(sides, 0.0), axis=1).sum())
