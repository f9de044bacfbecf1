"""What distances are divided among: the cell types of the points, and their genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml._keys import LOADINGS
from scggml.explanation._pairs import Features
from scggml.explanation._tables import BETWEEN_TYPES

from ._cell_types import types_of_points
from ._genes import read_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._cohort import Cohort
    from ._stored_metric import StoredMetric

ALL_CELLS = "all"  # the one type where there are none


def types_to_explain(
    adata: AnnData, cell_type_key: str | None, cohort: Cohort
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the names of the cell types, and the type of each point of the measures, (n_points,)."""
    sketch = cohort.sketch
    if cell_type_key is None:
        n_points = adata.n_obs if sketch is None else int(sketch.offsets[-1])
        return np.array([ALL_CELLS], dtype=object), np.zeros(n_points, dtype=np.int64)
    types, codes = types_of_points(
        adata, cell_type_key, cohort.codes, sketch, cohort.sketch_key,
        unknown="transport between types is not known. Compute distances of all cells with "
        "sg.tl.sample_distances(..., sketch_key=False)",
    )  # fmt: skip
    taken = [name for name in BETWEEN_TYPES if name in types]
    if taken:
        msg = (
            f"cell_type_key={cell_type_key!r} has a type {taken[0]!r}, a name reserved for mass between types. Rename "
            "it."
        )
        raise ValueError(msg)
    return np.array(types, dtype=object), codes


def features_of_points(
    adata: AnnData, cohort: Cohort, learned: StoredMetric | None
) -> tuple[NDArray[np.object_] | None, Features | None]:
    """Return names of the genes, and how they lead to the points; None for the features of the points themselves."""
    found = cohort.features
    linear_map = None if learned is None else learned.metric.linear_map
    points, names = found.points, found.names
    if found.use_rep in LOADINGS:
        genes = read_genes(adata, found, approximate=True)  # what they leave over is told with the result
        if genes is None:
            return None, None
        identity = np.eye(found.points.shape[1])
        linear_map = genes.linear_map(identity if linear_map is None else linear_map)
        points, names = genes.values, adata.var_names.to_numpy(dtype=object)
    elif learned is not None:
        points = learned.points(adata, found)
        names = names if learned.features is None else learned.features
    if names is None:
        names = np.array([f"{found.use_rep}_{i}" for i in range(points.shape[1])], dtype=object)
    names = np.asarray(names, dtype=object)
    if linear_map is None:
        return names, None
    sketch = cohort.sketch
    if sketch is None:
        return names, Features(points, cohort.order, linear_map)
    if sketch.support is not None:
        return names, Features(points, sketch.support, linear_map)
    means = sketch.measures(points).points
    return names, Features(means, np.arange(means.shape[0]), linear_map)
