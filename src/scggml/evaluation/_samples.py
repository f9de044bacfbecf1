"""The labelled samples that are evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._targets import LabelKind

_MIN_STRATUM = 5  # samples of a grade without which folds are not stratified


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples.

    Parameters
    ----------
    measures
        Cells of each sample, raw features.
    names
        Name of each sample, (n_samples,).
    labels
        Class of each sample as text, or its grade or number, (n_samples,).
    scale
        How features are scaled where a method scales them: "feature" or "global", as in `GroundMetricLearner`.
    composition
        Fraction of each cell type in each sample, (n_samples, n_cell_types), or None.
    groups
        Samples that are held out together, such as those of one donor, (n_samples,); None for each on its own.
    kind
        What labels are, as in `Targets`.
    values
        Grade or number of each sample, (n_samples,); None for classes.
    blocks
        Blocks within which learned metrics compare labels, (n_samples,), as in `Targets`; None for one block.
    batches
        Batch of each sample, (n_samples,), which should not show in the distances; None where there are none.
    """

    measures: Measures
    names: NDArray[np.object_]
    labels: NDArray[np.object_]
    scale: Literal["feature", "global"] = "feature"
    composition: NDArray[np.float64] | None = None
    groups: NDArray[np.object_] | None = None
    kind: LabelKind = "class"
    values: NDArray[np.float64] | None = None
    blocks: NDArray[np.object_] | None = None
    batches: NDArray[np.object_] | None = None
    _computed: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> NDArray[np.object_]:
        """Classes in order, (n_classes,)."""
        return np.unique(self.labels)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Class of each sample, 0..n_classes-1, (n_samples,)."""
        return np.unique(self.labels, return_inverse=True)[1]

    @property
    def known_values(self) -> NDArray[np.float64]:
        """The values of samples with ordered labels, (n_samples,)."""
        assert self.values is not None
        return self.values

    @property
    def y(self) -> NDArray[Any]:
        """What estimators are fitted to, (n_samples,): classes, or grades or numbers."""
        return self.labels if self.kind == "class" else self.known_values

    @property
    def known_composition(self) -> NDArray[np.float64]:
        """The composition of samples whose cell types are known, (n_samples, n_cell_types)."""
        assert self.composition is not None
        return self.composition

    def once(self, name: str, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return what `compute` returns, which is the same each time."""
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]

    def strata(self) -> NDArray[np.object_]:
        """Return what folds are stratified by, (n_samples,): classes, or grades that have enough samples for it."""
        enough = min(np.unique(self.labels, return_counts=True)[1]) >= _MIN_STRATUM
        if self.kind == "class" or (self.kind == "ordinal" and enough):
            return self.labels
        return np.full(len(self), "all", dtype=object)

    def take(self, indices: NDArray[np.integer]) -> Samples:
        """Return the samples at these positions."""

        def taken(values: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if values is None else values[indices]

        return replace(
            self,
            measures=self.measures.take(indices),
            names=self.names[indices],
            labels=self.labels[indices],
            composition=taken(self.composition),
            groups=taken(self.groups),
            values=taken(self.values),
            blocks=taken(self.blocks),
            batches=taken(self.batches),
        )
