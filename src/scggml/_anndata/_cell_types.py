"""The cell type of each point of the measures: of each cell, or of each point of a sketch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._columns import read_cell_types

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.transport._sketch import Sketch


def types_of_points(
    adata: AnnData,
    cell_type_key: str,
    codes: NDArray[np.int64],
    sketch: Sketch | None,
    sketch_key: str | None,
    *,
    unknown: str = "the means of types are not known. Leave sketch_key out",
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the cell types, and the type of each point, sample after sample, (n_points,).

    Parameters
    ----------
    adata, cell_type_key
        Cells, and the column of `.obs` with their types.
    codes
        Sample of each cell, (n_obs,).
    sketch, sketch_key
        Sketch whose points stand for the cells, and its key; None for all cells.
    unknown
        What is not known if a point stands for cells of several types, and a remedy, for the message.
    """
    types, of_cells = read_cell_types(adata, cell_type_key)
    if sketch is None:
        return types, of_cells[np.argsort(codes, kind="stable")]
    of_points = np.empty(int(sketch.offsets[-1]), dtype=np.int64)
    of_points[sketch.groups] = of_cells
    mixed = int((of_points[sketch.groups] != of_cells).sum())
    if mixed:
        msg = (
            f"points of sketch {sketch_key!r} stand for cells of several types of cell_type_key={cell_type_key!r} "
            f"({mixed} of {len(of_cells)} cells share a point with cells of another type), so that {unknown}, or "
            f"sketch by type with sg.pp.sketch(..., cell_type_key={cell_type_key!r})."
        )
        raise ValueError(msg)
    return types, of_points
