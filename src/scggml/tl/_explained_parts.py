"""What distances are shared among: the types of cells, and the genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._anndata._cohort import names_in_order
from scggml._anndata._stored_metric import select_features, stored_metric
from scggml._keys import PCA

from ._fit_metric import way_to_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml._anndata._cohort import Cohort, Representation
    from scggml.core.transport._sketch import Sketch
    from scggml.explanation._pairs import Features

ALL_CELLS = "all"  # the one type where there are none


def read_cell_types(
    adata: AnnData, cell_type_key: str | None, cohort: Cohort, sketch: Sketch | None, sketch_key: str | None
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the names of the types, and the type of each point of the measures, (n_points,)."""
    from scggml.explanation._tables import BETWEEN_TYPES

    if cell_type_key is None:
        n_points = adata.n_obs if sketch is None else int(sketch.offsets[-1])
        return np.array([ALL_CELLS], dtype=object), np.zeros(n_points, dtype=np.int64)
    column = check.check_column("cell_type_key", cell_type_key, adata.obs)
    text = check.as_names("cell_type_key", cell_type_key, column)
    present = set(text)
    types = names_in_order(column)
    taken = [name for name in BETWEEN_TYPES if name in present]
    if taken:
        msg = f"cell_type_key={cell_type_key!r} has a type {taken[0]!r}, which stands for what lies between types. Rename it."
        raise ValueError(msg)
    codes = pd.Index(types).get_indexer(pd.Index(text))
    names = np.array(types, dtype=object)
    if sketch is None:
        return names, codes[np.argsort(cohort.codes, kind="stable")]
    of_points = np.empty(int(sketch.offsets[-1]), dtype=np.int64)
    of_points[sketch.groups] = codes
    mixed = int((of_points[sketch.groups] != codes).sum())
    if mixed:
        msg = (
            f"points of sketch {sketch_key!r} stand for cells of several types of cell_type_key={cell_type_key!r} ({mixed} of "
            f"{len(codes)} cells share a point with cells of another type), so that what moves between types is not known. Compute "
            "distances of all cells with sg.tl.sample_distances(..., sketch_key=False), or sketch with sg.pp.sketch(..., "
            f"method='cell_type', cell_type_key={cell_type_key!r})."
        )
        raise ValueError(msg)
    return names, of_points


def read_features(
    adata: AnnData,
    representation: Representation,
    entry: dict[str, Any] | None,
    key: str,
    cohort: Cohort,
    sketch: Sketch | None,
) -> tuple[NDArray[np.object_] | None, Features | None]:
    """Return names of genes, None where none can be had; and how to share distances among them, None for features compared as they are."""
    from scggml.explanation._pairs import Features

    linear_map = None if entry is None else stored_metric(entry).linear_map
    points, names = representation.points, representation.names
    if representation.use_rep == PCA:
        way = way_to_genes(adata, representation)
        if way is None:
            return None, None
        linear_map = way[0].T if linear_map is None else linear_map @ way[0].T
        points, names = way[1], adata.var_names.to_numpy(dtype=object)
    elif entry is not None:
        points, names = select_features(representation, entry, key), entry.get("features", names)
    if names is None:
        names = np.array([f"{representation.use_rep}_{i}" for i in range(points.shape[1])], dtype=object)
    names = np.asarray(names, dtype=object)
    if linear_map is None:
        return names, None
    if sketch is None:
        return names, Features(points, np.argsort(cohort.codes, kind="stable"), linear_map)
    if sketch.support is not None:
        return names, Features(points, sketch.support, linear_map)
    means = sketch.measures(points).points
    return names, Features(means, np.arange(means.shape[0]), linear_map)
