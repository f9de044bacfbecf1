"""The random model behind `simulated_cohort`: genes, disease programme, patients and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CELL_NUMBER_DISPERSION: Final = 0.1
_COMPOSITION_CONCENTRATION: Final = 30.0
_BASELINE_SD: Final = 1.0
_MARKER_LOG_FOLD_CHANGE: Final = 2.0
_FRACTION_UP: Final = 0.75
MIN_CELLS: Final = 20


class Genes(NamedTuple):
    """What the genes do in a healthy patient."""

    baseline: NDArray[np.float64]  # (genes,), log expression
    marker_of: NDArray[np.intp]  # (genes,), the cell type, or -1
    log_expression: NDArray[np.float64]  # (cell types, genes)


class Patient(NamedTuple):
    """A patient before any count is drawn."""

    cell_type: NDArray[np.intp]  # (cells,)
    library_size: NDArray[np.float64]  # (cells,), expected counts
    log_shift: NDArray[np.float64]  # (genes,)


def draw_genes(n_genes: int, n_types: int, n_markers: int, *, rng: np.random.Generator) -> Genes:
    """Baseline expression, and `n_markers` genes raised in each cell type."""
    baseline_rng, marker_rng = rng.spawn(2)
    baseline = baseline_rng.normal(0.0, _BASELINE_SD, size=n_genes)
    markers = marker_rng.permutation(n_genes)[: n_types * n_markers]
    marker_of = np.full(n_genes, -1)
    marker_of[markers] = np.arange(len(markers)) % n_types
    raised = marker_of == np.arange(n_types)[:, None]
    return Genes(baseline, marker_of, baseline + _MARKER_LOG_FOLD_CHANGE * raised)


def draw_programme(
    genes: Genes, n_programme_genes: int, effect_size: float, *, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which genes the disease changes, and the log fold change of every gene."""
    free = np.flatnonzero(genes.marker_of < 0)
    # a change of a gene that is hardly ever counted could not be found by any method
    expressed = free[np.argsort(genes.baseline[free], kind="stable")[len(free) // 2 :]]
    chosen = rng.permutation(expressed)[:n_programme_genes]
    n_up = round(_FRACTION_UP * n_programme_genes)
    log_fold_change = np.zeros(len(genes.baseline))
    log_fold_change[chosen[:n_up]] = effect_size
    log_fold_change[chosen[n_up:]] -= effect_size
    programme = np.zeros(len(genes.baseline), dtype=bool)
    programme[chosen] = True
    return programme, log_fold_change


def assign_batches(label: NDArray[np.intp], n_batches: int, correlation: float) -> NDArray[np.intp]:
    """The batch of each sample: the first `correlation` of a class to the class's batch, the rest in turn."""
    batch = np.empty_like(label)
    for k in np.unique(label):
        members = np.flatnonzero(label == k)
        n_own = round(correlation * len(members))
        batch[members[:n_own]] = k % n_batches
        batch[members[n_own:]] = np.arange(len(members) - n_own) % n_batches
    return batch


def draw_patient(
    n_cells: int,
    n_genes: int,
    n_types: int,
    *,
    vary_cells: bool,
    last_log_odds: float,
    patient_effect: float,
    library_size: tuple[float, float],
    rng: np.random.Generator,
) -> Patient:
    """Number, types and library sizes of a patient's cells, and the patient's own expression shift."""
    number_rng, composition_rng, shift_rng, type_rng, library_rng = rng.spawn(5)
    if vary_cells:
        rate = n_cells * number_rng.gamma(1 / _CELL_NUMBER_DISPERSION, _CELL_NUMBER_DISPERSION)
        n_cells = max(MIN_CELLS, int(number_rng.poisson(rate)))
    log_odds = np.log(composition_rng.gamma(_COMPOSITION_CONCENTRATION / n_types, size=n_types))
    log_odds[-1] += last_log_odds
    # by inverse distribution function: the same uniforms under another composition keep most cells' types
    boundaries = np.cumsum(softmax(log_odds))[:-1]
    cell_type = np.searchsorted(boundaries, type_rng.random(n_cells), side="right")
    mean, sd = library_size
    library = mean * np.exp(library_rng.normal(-(sd**2) / 2, sd, size=n_cells))
    return Patient(cell_type, library, shift_rng.normal(0.0, patient_effect, size=n_genes))


def draw_counts(
    patient: Patient, log_expression: NDArray[np.float64], dispersion: float, *, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Negative-binomial counts, as a gamma mixture of Poissons."""
    mean = patient.library_size[:, None] * softmax(log_expression, axis=1)[patient.cell_type]
    if dispersion > 0:
        mean *= rng.gamma(1 / dispersion, dispersion, size=mean.shape)
    return sparse.csr_matrix(rng.poisson(mean).astype(np.float32))
