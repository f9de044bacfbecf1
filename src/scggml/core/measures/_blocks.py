"""Blocks of rows and columns, so that what is computed of them stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._measures import Points


def column_blocks(n_rows: int, n_columns: int, budget: int = 4_000_000) -> list[slice]:
    """Cut columns into blocks so that a dense (n_rows, block) array holds at most `budget` numbers."""
    step = max(1, budget // max(1, n_rows))
    return [slice(start, min(start + step, n_columns)) for start in range(0, n_columns, step)]


def row_blocks(points: Points, budget: int = 4_000_000) -> list[slice]:
    """Cut rows into blocks of at most `budget` stored numbers, so that what is computed of them stays small."""
    n_rows = points.shape[0]
    step = max(1, budget * n_rows // max(1, points.size))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
