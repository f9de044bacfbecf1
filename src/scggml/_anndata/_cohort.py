"""The one reader of cells: which samples there are, their labels and their features, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import kruskal, spearmanr

from scggml import _check as check
from scggml import _check_samples as check_samples
from scggml._warnings import warn
from scggml.core.measures._measures import Measures
from scggml.evaluation._samples import CellTypes, Samples

from ._cell_types import types_of_points
from ._columns import sample_codes, sample_table, sample_values
from ._features import read_features
from ._labels import read_labels
from ._sketches import read_sketch

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scggml.core.transport._sketch import Sketch

    from ._features import Features
    from ._labels import Labels

_LEVEL = 0.05
# With a quarter of the usual number of cells, distances of samples of one distribution were longer by 7 to 37 %, with
# half of it by 3 to 17 % (benchmarks/small_samples.py). With 100 cells or more, patients differ
# by more than that.
_FRACTION = 0.25
_FEW = 100


@dataclass(frozen=True, eq=False)
class Cohort:
    """The samples of an AnnData, sorted by name.

    Parameters
    ----------
    sample_key
        The column of `.obs` that holds them.
    names
        Names of the samples, (n_samples,).
    codes
        Sample of each cell, (n_obs,).
    known_labels, known_features
        Labels of the samples and features of the cells, where they were asked for.
    batches, donors
        Batch and donor of each sample, (n_samples,), where these were asked for.
    sketch_key, sketch
        Points that stand for the cells, where these were asked for.
    cell_types
        Type of each point of `measures`, where these were asked for.
    """

    sample_key: str
    names: NDArray[np.object_]
    codes: NDArray[np.int64]
    known_labels: Labels | None = None
    known_features: Features | None = None
    batches: NDArray[np.object_] | None = None
    donors: NDArray[np.object_] | None = None
    sketch_key: str | None = None
    sketch: Sketch | None = None
    cell_types: CellTypes | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> Labels:
        """The labels, which must have been read."""
        assert self.known_labels is not None
        return self.known_labels

    @property
    def features(self) -> Features:
        """The features, which must have been read."""
        assert self.known_features is not None
        return self.known_features

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each sample, (n_samples,)."""
        return np.bincount(self.codes, minlength=len(self.names))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The cells, sample after sample, as `Measures` hold them, (n_obs,)."""
        return np.argsort(self.codes, kind="stable")

    @cached_property
    def measures(self) -> Measures:
        """One measure per sample of the features: of all cells, all of the same weight, or of the sketch."""
        return self.measures_of(self.features.points)

    def measures_of(self, points: Any) -> Measures:
        """Return one measure per sample of points of the cells, (n_obs, n)."""
        if self.sketch is not None:
            return self.sketch.measures(points)
        return Measures.from_codes(points, self.codes, len(self.names))

    @property
    def samples(self) -> Samples:
        """The labelled samples that are evaluated."""
        labels = self.labels
        values = None if labels.kind == "class" else labels.values
        return Samples(
            self.measures, self.names, labels.text, self.features.scale, donors=self.donors, kind=labels.kind,
            values=values, strata=labels.strata, batches=self.batches, cell_types=self.cell_types,
        )  # fmt: skip

    def table(self, obs: pd.DataFrame) -> pd.DataFrame:
        """Return one row per sample: `n_cells` and every column of `obs` that is constant within samples."""
        return sample_table(obs, self.names, self.codes)

    def warn_about_sizes(self) -> None:
        """Warn where distances are longer by chance: of small samples, and of classes with small samples."""
        sizes = self.sizes
        small = np.flatnonzero((sizes < _FEW) & (sizes < _FRACTION * np.median(sizes)))
        found = None if self.known_labels is None else self._sizes_by_label(self.known_labels)
        if found is None and not len(small):
            return
        if found is None:
            texts = [f"{self.names[i]} ({sizes[i]})" for i in small]
            msg = (
                f"{len(small)} of {len(sizes)} samples have far fewer cells than the median sample "
                f"({int(np.median(sizes))}): {check.listed(texts)}. Distances of small samples are longer by chance, "
                "so that they look like outliers."
            )
        else:
            one, many = ("class", "classes") if self.labels.kind == "class" else ("label", "labels")
            msg = (
                f"the number of cells depends on the {one}; {found}. Distances between small samples are longer by "
                f"chance, which can be mistaken for a difference between {many}."
            )
        wanted = int(sizes.min())
        drop = f"Drop small samples with sg.pp.filter_samples(adata, {self.sample_key!r}, min_cells=...), or t"
        msg = (
            f"{msg} {'T' if found is not None else drop}ake the same number of cells of each sample: "
            f"adata[adata.obs.groupby({self.sample_key!r}, observed=True).sample({wanted}, random_state=0).index]."
        )
        warn(msg)

    def _sizes_by_label(self, labels: Labels) -> str | None:
        """Return how the number of cells depends on the label; None where it does not."""
        sizes = self.sizes
        if len(np.unique(sizes)) == 1:
            return None
        if labels.kind == "continuous":
            correlation = spearmanr(sizes, labels.values)
            p_value, found = correlation.pvalue, f"rank correlation {correlation.statistic:.2f}"
        else:
            by_class = {c: sizes[labels.text == c] for c in labels.classes}
            p_value = kruskal(*by_class.values()).pvalue
            medians = check.listed([f"{c} ({int(np.median(n))})" for c, n in by_class.items()], limit=20)
            found = f"cells of the median sample: {medians}"
        return found if p_value < _LEVEL else None


def read_samples(
    adata: AnnData,
    sample_key: str,
    label_key: str | None = None,
    *,
    label_kind: Any = "class",
    batch_key: str | None = None,
    donor_key: str | None = None,
    cell_type_key: str | None = None,
    features: bool = True,
    use_rep: Any = None,
    layer: str | None = None,
    sketch_key: str | None = None,
    warn: bool = True,
) -> Cohort:
    """Return the samples of an AnnData, checked.

    Parameters
    ----------
    adata
        Cells.
    sample_key, label_key, batch_key, donor_key
        Columns of `.obs`; None for those that are not needed.
    label_kind
        What labels are.
    cell_type_key
        Column of `.obs` with the type of each cell; None if it is not needed.
    features
        Whether features are needed.
    use_rep, layer
        Which.
    sketch_key
        Sketch whose points stand for the cells, or None.
    warn
        Whether to warn of batches that hold one class only, and of raw counts.
    """
    names, codes = sample_codes(adata.obs, sample_key)
    check_samples.check_declared_samples(sample_key, adata.obs[sample_key])
    check_samples.check_sizes(names, np.bincount(codes, minlength=len(names)))

    def column(argument: str, key: str | None) -> NDArray[np.object_] | None:
        return None if key is None else sample_values(adata.obs, argument, key, names, codes)

    batches, donors = column("batch_key", batch_key), column("donor_key", donor_key)
    labels = None
    if label_key is not None:
        labels = read_labels(
            adata.obs, names, codes, label_key, label_kind=label_kind, batches=batches, batch_key=batch_key,
            donors=donors, donor_key=donor_key, warn=warn,
        )  # fmt: skip
    found = read_features(adata, use_rep, layer) if features else None
    if found is not None and warn:
        found.warn_about_counts()
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, sample_key, names, codes)
    types = None
    if cell_type_key is not None:
        types = CellTypes(*types_of_points(adata, cell_type_key, codes, sketch, sketch_key))
    return Cohort(sample_key, names, codes, labels, found, batches, donors, sketch_key, sketch, types)
