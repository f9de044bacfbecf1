"""The random model behind `simulated_cohort`: design, genes, disease programme, patients and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scipy.special import softmax

from scggml._check import check_integer, check_number, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CELL_NUMBER_DISPERSION: Final = 0.1
_COMPOSITION_CONCENTRATION: Final = 30.0
_BASELINE_SD: Final = 1.0
_MARKER_LOG_FOLD_CHANGE: Final = 2.0
_FRACTION_UP: Final = 0.75
_CELL_TYPES: Final = ("T", "B", "Mono", "NK", "DC", "Plasma", "Mega")
_MAX_MARKERS: Final = 30
_MIN_MARKERS: Final = 5
_MIN_CELLS: Final = 20
_MAX_PROGRAMME_GENES: Final = 40
_GENES_PER_PROGRAMME_GENE: Final = 12


@dataclass(frozen=True)
class Design:
    """Settings of a simulated cohort that `simulated_cohort` does not offer.

    Parameters
    ----------
    vary_cells
        Whether the number of cells varies between patients (negative binomial, dispersion 0.1, never below 20), or is
        `n_cells` in all of them.
    cell_types
        Number of cell types.
    n_programme_genes
        Number of genes that the disease changes. None is one in twelve genes, at most 40.
    programme_cell_types
        Number of cell types in which it changes them: the first ones.
    library_size
        Mean of the expected counts of a cell, and the standard deviation of their natural log.
    dispersion
        Dispersion of the negative binomial distribution of the counts. 0 gives Poisson counts.
    """

    vary_cells: bool = True
    cell_types: int = 3
    n_programme_genes: int | None = None
    programme_cell_types: int = 1
    library_size: tuple[float, float] = (2000.0, 0.3)
    dispersion: float = 0.3


_DESIGN: Final = Design()


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
        n_cells = max(_MIN_CELLS, int(number_rng.poisson(rate)))
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


def simulate(
    n_samples: int = 24,
    *,
    n_classes: int = 2,
    n_cells: int = 150,
    n_genes: int = 1000,
    effect_size: float = 0.8,
    patient_effect: float = 0.3,
    n_batches: int = 1,
    batch_effect: float = 0.0,
    batch_label_correlation: float = 0.0,
    composition_shift: float = 0.0,
    design: Design = _DESIGN,
    rng: int | np.random.Generator | None = None,
) -> AnnData:
    """Simulate a cohort, as :func:`scggml.datasets.simulated_cohort` describes it, of any design."""
    n_classes = check_integer("n_classes", n_classes, minimum=2)
    n_samples = check_integer("n_samples", n_samples, minimum=n_classes)
    n_cells = check_integer("n_cells", n_cells, minimum=_MIN_CELLS if design.vary_cells else 1)
    cell_types = check_integer("cell_types", design.cell_types, minimum=1)
    programme_cell_types = check_integer("programme_cell_types", design.programme_cell_types, minimum=1)
    n_genes = check_integer("n_genes", n_genes, minimum=1)
    n_programme_genes = _number_of_programme_genes(design.n_programme_genes, n_genes)
    n_batches = check_integer("n_batches", n_batches, minimum=1)
    effect_size = check_number("effect_size", effect_size, minimum=0)
    patient_effect = check_number("patient_effect", patient_effect, minimum=0)
    library_mean, library_sd = _check_library_size(design.library_size)
    dispersion = check_number("dispersion", design.dispersion, minimum=0)
    batch_effect = check_number("batch_effect", batch_effect, minimum=0)
    batch_label_correlation = check_number("batch_label_correlation", batch_label_correlation, minimum=0, maximum=1)
    composition_shift = check_number("composition_shift", composition_shift)
    n_markers = _check_genes(n_genes, n_programme_genes, cell_types)
    _check_layout(n_samples, n_classes, n_batches, cell_types, programme_cell_types)
    _check_visible("batch_effect", batch_effect, "n_batches", n_batches)
    _check_visible("batch_label_correlation", batch_label_correlation, "n_batches", n_batches)
    _check_visible("composition_shift", composition_shift, "cell_types", cell_types)

    # one stream for each source of variation: changing one setting leaves the draws of the other streams as they were
    structure_rng, programme_rng, patient_rng, count_rng, batch_rng = np.random.default_rng(rng).spawn(5)
    genes = draw_genes(n_genes, cell_types, n_markers, rng=structure_rng)
    programme, log_fold_change = draw_programme(genes, n_programme_genes, effect_size, rng=programme_rng)
    affected = np.arange(cell_types) < programme_cell_types
    label = np.arange(n_samples) % n_classes
    dose = np.arange(n_classes) / (n_classes - 1)
    batch = assign_batches(label, n_batches, batch_label_correlation)
    batch_shift = batch_rng.normal(0.0, batch_effect, size=(n_batches, n_genes))

    patients, counts = [], []
    streams = zip(patient_rng.spawn(n_samples), count_rng.spawn(n_samples), strict=True)
    for s, (cells_rng, sample_count_rng) in enumerate(streams):
        d = float(dose[label[s]])
        patient = draw_patient(
            n_cells,
            n_genes,
            cell_types,
            vary_cells=design.vary_cells,
            last_log_odds=d * composition_shift,
            patient_effect=patient_effect,
            library_size=(library_mean, library_sd),
            rng=cells_rng,
        )
        log_expression = genes.log_expression + d * affected[:, None] * log_fold_change
        log_expression = log_expression + patient.log_shift + batch_shift[batch[s]]
        patients.append(patient)
        counts.append(draw_counts(patient, log_expression, dispersion, rng=sample_count_rng))

    type_names = _cell_type_names(cell_types)
    classes = ["healthy", *(["disease"] if n_classes == 2 else [f"disease_{k}" for k in range(1, n_classes)])]
    cell_sample = np.repeat(np.arange(n_samples), [len(patient.cell_type) for patient in patients])
    width = max(2, len(str(n_samples - 1)))
    samples = [f"patient_{s:0{width}d}" for s in range(n_samples)]
    columns = {
        "sample": categorical(cell_sample, samples),
        "label": categorical(label[cell_sample], classes),
        "cell_type": categorical(np.concatenate([p.cell_type for p in patients]), type_names),
    }
    if n_batches > 1:
        columns["batch"] = categorical(batch[cell_sample], [f"batch_{b}" for b in range(n_batches)])
    obs = pd.DataFrame(columns, index=[f"cell_{i}" for i in range(len(cell_sample))])
    var = pd.DataFrame(
        {"programme": programme, "marker_of": categorical(genes.marker_of + 1, ["", *type_names])},
        index=[f"gene_{g:0{len(str(n_genes - 1))}d}" for g in range(n_genes)],
    )
    truth = {
        "programme_genes": var.index.to_numpy(dtype=object)[programme],
        "programme_cell_types": np.array(type_names, dtype=object)[affected],
        "log_fold_change": log_fold_change,
        "classes": np.array(classes, dtype=object),
        "class_dose": dose,
        "shifted_cell_type": type_names[-1],
        "params": {
            "n_samples": n_samples,
            "n_classes": n_classes,
            "n_cells": n_cells,
            "vary_cells": bool(design.vary_cells),
            "n_genes": n_genes,
            "cell_types": cell_types,
            "n_programme_genes": n_programme_genes,
            "programme_cell_types": programme_cell_types,
            "effect_size": effect_size,
            "patient_effect": patient_effect,
            "library_size": np.array([library_mean, library_sd]),
            "dispersion": dispersion,
            "n_batches": n_batches,
            "batch_effect": batch_effect,
            "batch_label_correlation": batch_label_correlation,
            "composition_shift": composition_shift,
        },
    }
    return AnnData(sparse.vstack(counts, format="csr"), obs=obs, var=var, uns={"simulated_cohort": truth})


def categorical(codes: NDArray[np.intp], names: Sequence[str]) -> pd.Categorical:
    """`names[codes]`, with the categories in the order of `names`."""
    return pd.Categorical(np.array(names, dtype=object)[codes], categories=list(names))


def _number_of_programme_genes(n_programme_genes: int | None, n_genes: int) -> int:
    if n_programme_genes is None:
        return max(1, min(_MAX_PROGRAMME_GENES, n_genes // _GENES_PER_PROGRAMME_GENE))
    return check_integer("n_programme_genes", n_programme_genes, minimum=1)


def _cell_type_names(n_types: int) -> list[str]:
    return [*_CELL_TYPES[:n_types], *(f"type_{t}" for t in range(len(_CELL_TYPES), n_types))]


def _check_library_size(library_size: tuple[float, float]) -> tuple[float, float]:
    try:
        mean, sd = library_size
    except (TypeError, ValueError) as error:
        msg = (
            f"library_size must be (mean, sd of the log), found {shown(library_size)}. Pass, for example, (2000, 0.3)."
        )
        raise ValueError(msg) from error
    return check_number("library_size[0]", mean, above=0), check_number("library_size[1]", sd, minimum=0)


def _check_genes(n_genes: int, n_programme_genes: int, n_types: int) -> int:
    """Return the number of markers of a cell type, such that enough genes are left for the programme."""
    needed = max(3 * n_programme_genes, n_programme_genes + 2 * n_types * _MIN_MARKERS)
    if n_genes < needed:
        msg = (
            f"n_genes={n_genes} are too few for {n_programme_genes} genes of the disease programme and the markers of "
            f"{n_types} cell type(s). Use at least {needed} genes."
        )
        raise ValueError(msg)
    return min(_MAX_MARKERS, (n_genes - n_programme_genes) // (2 * n_types))


def _check_layout(n_samples: int, n_classes: int, n_batches: int, n_types: int, n_programme_types: int) -> None:
    if n_programme_types > n_types:
        msg = (
            f"programme_cell_types={n_programme_types} exceeds cell_types={n_types}. Plant the programme in fewer cell "
            "types, or simulate more of them."
        )
        raise ValueError(msg)
    if n_batches > n_samples // n_classes:
        msg = (
            f"n_batches={n_batches} exceeds the {n_samples // n_classes} samples of the smallest class, so that a "
            f"batch would lack a class. Use fewer batches, or at least n_samples={n_batches * n_classes}."
        )
        raise ValueError(msg)


def _check_visible(name: str, value: float, count_name: str, count: int) -> None:
    """Refuse an effect that could not show, as there is only one batch or cell type."""
    if value != 0 and count == 1:
        msg = f"{name}={value} has no effect with {count_name}=1. Use {count_name} of at least 2, or {name}=0."
        raise ValueError(msg)
