"""Legends beside plots: names on several lines, in columns, and within the place of the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._axes import text_width
from ._names import drawn_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

ROWS = 15  # of letters of the usual size, beside a plot of the usual height
_LINE = 30  # letters of a name on one line, ...
_LEAST_LINE = 12  # ... and where there is little room
_LONGEST = 48  # letters of a name that must do with one line
_LINES = 3  # of one name
_SIZE, _SMALL = 10.0, 8.3  # of letters, in points
_AVERAGE = 0.92  # width of a letter in long texts, in those of `text_width`
_HANDLE = 0.55  # width of the mark beside a name, in inches
_SHARE = 0.45  # of the place of axes that their legend may take
_LEAST = 0.4  # of that place that is left to the axes


class Arranged:
    """How names are written in a legend.

    Parameters
    ----------
    names
        The names of the user.
    rows
        Rows of usual letters that there is room for.
    line
        Letters on a line.
    columns
        Number of columns, of names on one line each. None for as few as have room.
    """

    def __init__(
        self, names: Sequence[str], rows: int = ROWS, line: int = _LINE, *, columns: int | None = None
    ) -> None:
        self.line = line
        self.names = [drawn_text(name, line, lines=_LINES) for name in names]
        self.columns, self.size = 1, _SIZE if line == _LINE else _SMALL
        n_lines = sum(name.count("\n") + 1 for name in self.names)
        room = int(rows * _SIZE / self.size)
        if n_lines > room:
            self.size, room = _SMALL, int(rows * _SIZE / _SMALL)
        if n_lines > room or columns is not None:
            self.size = _SMALL
            self.names = [drawn_text(name, letters=_LONGEST) for name in names]
            self.columns = -(-len(names) // room) if columns is None else columns
        self.n_rows = -(-len(names) // self.columns) if self.columns > 1 else n_lines

    @property
    def width(self) -> float:
        """About how wide the legend is, in inches."""
        return self.columns * (_AVERAGE * text_width(self.names, self.size) + _HANDLE) if self.names else 0.0


def line_beside(ax: Axes) -> int:
    """Return how many letters fit on a line of a legend beside axes of the user, or of a new figure."""
    figure = ax.figure.figure if ax.figure.figure is not None else ax.figure
    letters = _SHARE * ax.bbox.width / figure.dpi / text_width("x", _SMALL)
    return int(min(max(letters, _LEAST_LINE), _LINE))


def legend_beside(ax: Axes, handles: Sequence[Any], names: Sequence[str], title: str = "") -> Legend:
    """Write a legend to the right of a plot."""
    arranged = Arranged(names, line=line_beside(ax))
    return write_legend(
        ax, handles, names, title, arranged=arranged, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
    )


def write_legend(
    ax: Axes, handles: Sequence[Any], names: Sequence[str], title: str = "", *, arranged: Arranged | None = None,
    **options: Any,
) -> Legend:  # fmt: skip
    """Write a legend with names of the user. matplotlib leaves out those that start with an underscore."""
    if arranged is None:
        arranged = Arranged(names)
    written = drawn_text(title, arranged.line * arranged.columns, lines=_LINES) or None
    legend = ax.legend(
        handles=list(handles), labels=[" "] * len(names), title=written, ncols=arranged.columns,
        fontsize=arranged.size, title_fontsize=arranged.size, **options,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), arranged.names, strict=True):
        text.set_text(name)
    return legend


def place_of(ax: Axes) -> Any:
    """Return the place of axes in a figure without a layout engine; None if they have none, or an engine cares."""
    spec: Any = ax.get_subplotspec()
    return None if ax.figure.get_layout_engine() is not None or spec is None else spec.get_position(ax.figure)


def make_room(ax: Axes, legend: Legend, *others: Axes, place: Any = None) -> None:
    """Narrow axes by what their legend needs, as a colour bar does, where no layout engine does it.

    Parameters
    ----------
    ax
        The axes that share their place with the legend.
    legend
        To their right.
    others
        Axes between them and the legend, such as a colour bar.
    place
        Where they all belong, from `place_of`, if axes were added since; None to ask now.
    """
    place = place_of(ax) if place is None else place
    if place is None:
        return
    boxes: list[Any] = [legend.get_window_extent(), *(other.get_tightbbox() for other in others)]
    right = max(box.x1 for box in boxes)
    right = ax.figure.transSubfigure.inverted().transform((right, 0.0))[0]
    box = ax.get_position(original=True)
    excess = min(right - place.x1, box.width - _LEAST * place.width)
    if excess <= 0:
        return
    for axes, narrower in ((ax, excess), *((other, 0.0) for other in others)):
        old = axes.get_position(original=True)
        shift = 0.0 if axes is ax else excess
        axes.set_position((old.x0 - shift, old.y0, old.width - narrower, old.height))
        axes.set_in_layout(True)  # which set_position ends
