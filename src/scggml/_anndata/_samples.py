"""From a cohort to the labelled samples that are evaluated."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scggml import _check as check

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.evaluation._samples import Samples

    from ._cohort import Cohort, Representation
    from ._labels import Labels

_LEVEL = 0.05


def labelled_samples(
    cohort: Cohort,
    labels: Labels,
    measures: Measures,
    representation: Representation,
    *,
    composition: NDArray[np.float64] | None = None,
    groups: NDArray[np.object_] | None = None,
    batches: NDArray[np.object_] | None = None,
) -> Samples:
    """Return what evaluation needs of a cohort."""
    from scggml.evaluation._samples import Samples

    return Samples(
        measures,
        cohort.names,
        labels.text,
        representation.scale,
        composition,
        groups,
        labels.kind,
        None if labels.kind == "class" else labels.values,
        labels.blocks,
        batches,
    )


def composition_of(adata: AnnData, cohort: Cohort, cell_type_key: str | None) -> NDArray[np.float64] | None:
    """Return the fraction of each cell type in each sample, (n_samples, n_cell_types); None without a key."""
    if cell_type_key is None:
        return None
    column = check.check_column("cell_type_key", cell_type_key, adata.obs)
    types = check.as_names("cell_type_key", cell_type_key, column)
    return pd.crosstab(cohort.codes, types, normalize="index").to_numpy()


def warn_about_sizes(cohort: Cohort, labels: Labels) -> None:
    """Warn where samples of some labels have more cells than others: transport between few cells is longer."""
    from scipy.stats import kruskal, spearmanr

    sizes = cohort.sizes
    if len(np.unique(sizes)) == 1:
        return
    if labels.kind == "continuous":
        correlation = spearmanr(sizes, labels.values)
        p_value, found = correlation.pvalue, f"rank correlation {correlation.statistic:.2f}"
    else:
        by_class = {c: sizes[labels.text == c] for c in labels.classes}
        p_value = kruskal(*by_class.values()).pvalue
        medians = check.listed([f"{c} ({int(np.median(n))})" for c, n in by_class.items()], limit=None)
        found = f"cells of the median sample: {medians}"
    if p_value >= _LEVEL:
        return
    one, many = ("class", "classes") if labels.kind == "class" else ("label", "labels")
    msg = (
        f"the number of cells goes with the {one}; {found}. Distances between small samples are longer by chance, which can pass "
        f"for a difference between {many}. Draw as many cells of each sample, for example with scanpy.pp.sample, and compare."
    )
    warnings.warn(msg, UserWarning, stacklevel=3)
