"""The labelled samples that are evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures
    from scggml.core.metric._targets import LabelKind

_MIN_STRATIFIED = 5  # samples of the rarest ordinal label that make stratified folds possible


class CellTypes(NamedTuple):
    """The type of each cell.

    Parameters
    ----------
    names
        The cell types, (n_types,).
    codes
        Type of each point, 0..n_types-1, sample after sample as in `Measures`, (n_points,).
    """

    names: Sequence[str]
    codes: NDArray[np.int64]


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
        Label of each sample as text, (n_samples,).
    scale
        Unit of the features for methods that scale them: "feature" or "global", as in `GroundMetricLearner`.
    donors
        Donor of each sample, (n_samples,). Samples of one donor are held out together. None if each sample has its own
        donor.
    kind
        Kind of label, as in `Targets`.
    values
        Ordinal or continuous label of each sample as a number, (n_samples,); None for classes.
    strata
        Stratum of each sample, (n_samples,): learned metrics compare different labels within strata only. None for one
        stratum.
    batches
        Technical batch of each sample, (n_samples,); None if there are none. Scores say how well it is predicted.
    cell_types
        Type of each cell, for methods that use it; None if it is not known.
    """

    measures: Measures
    names: NDArray[np.object_]
    labels: NDArray[np.object_]
    scale: Literal["feature", "global"] = "feature"
    donors: NDArray[np.object_] | None = None
    kind: LabelKind = "class"
    values: NDArray[np.float64] | None = None
    strata: NDArray[Any] | None = None
    batches: NDArray[np.object_] | None = None
    cell_types: CellTypes | None = None
    _computed: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> NDArray[np.object_]:
        """Classes in alphabetical order, (n_classes,)."""
        return np.unique(self.labels)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Class of each sample, 0..n_classes-1, (n_samples,)."""
        return np.unique(self.labels, return_inverse=True)[1]

    @property
    def known_values(self) -> NDArray[np.float64]:
        """The values of ordinal or continuous labels, (n_samples,)."""
        assert self.values is not None
        return self.values

    @property
    def known_cell_types(self) -> CellTypes:
        """The cell types, which must have been given."""
        assert self.cell_types is not None
        return self.cell_types

    @property
    def y(self) -> NDArray[Any]:
        """Labels as estimators take them, (n_samples,): classes as text, other labels as numbers."""
        return self.labels if self.kind == "class" else self.known_values

    @property
    def units(self) -> NDArray[np.object_]:
        """Independent unit of each sample, (n_samples,): its donor, or the sample itself."""
        return self.names if self.donors is None else self.donors

    def once(self, name: str, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the result of `compute`, which is called the first time only."""
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]

    def stratify_by(self) -> NDArray[np.object_]:
        """Return the labels by which folds are stratified, (n_samples,).

        These are the classes, or the ordinal labels if each has enough samples. Else all samples get the same label.
        """
        enough = min(np.unique(self.labels, return_counts=True)[1]) >= _MIN_STRATIFIED
        if self.kind == "class" or (self.kind == "ordinal" and enough):
            return self.labels
        return np.full(len(self), "all", dtype=object)

    def take(self, indices: NDArray[np.integer]) -> Samples:
        """Return the samples at these positions."""

        def taken(values: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if values is None else values[indices]

        cell_types = self.cell_types
        if cell_types is not None:
            of_samples = np.split(cell_types.codes, self.measures.offsets[1:-1])
            cell_types = cell_types._replace(codes=np.concatenate([of_samples[i] for i in indices]))
        return replace(
            self,
            measures=self.measures.take(indices),
            names=self.names[indices],
            labels=self.labels[indices],
            donors=taken(self.donors),
            values=taken(self.values),
            strata=taken(self.strata),
            batches=taken(self.batches),
            cell_types=cell_types,
        )
