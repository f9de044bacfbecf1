"""A cohort of patients with simulated single-cell counts and a planted disease programme."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scggml._check import check_integer, check_number

from ._simulation import MIN_CELLS, assign_batches, draw_counts, draw_genes, draw_patient, draw_programme
from ._synthetic_cohort import categorical

_CELL_TYPES: Final = ("T", "B", "Mono", "NK", "DC", "Plasma", "Mega")
_MAX_MARKERS: Final = 30
_MIN_MARKERS: Final = 5


def simulated_cohort(
    n_samples: int = 24,
    *,
    n_classes: int = 2,
    n_cells: int = 150,
    vary_cells: bool = True,
    n_genes: int = 1000,
    cell_types: int = 3,
    n_programme_genes: int = 40,
    programme_cell_types: int = 1,
    effect_size: float = 0.8,
    patient_effect: float = 0.3,
    library_size: tuple[float, float] = (2000.0, 0.3),
    dispersion: float = 0.3,
    n_batches: int = 1,
    batch_effect: float = 0.0,
    batch_label_correlation: float = 0.0,
    composition_shift: float = 0.0,
    rng: int | np.random.Generator | None = None,
) -> AnnData:
    r"""Simulate raw counts of a patient cohort in which the disease changes a few genes of some cell types.

    A ready-made cohort with a known truth, to try a ground metric :cite:p:`kuehn2025` on. Gene :math:`g` of cell
    :math:`i`, of cell type :math:`t`, patient :math:`s` and batch :math:`b`, has the count

    .. math::

        x_{ig} \sim \mathrm{NB}(\mu_{ig},\; \mu_{ig} + \phi \mu_{ig}^2), \qquad
        \mu_{ig} = L_i \operatorname{softmax}_g \left(
            \beta_{tg} + d_s \delta_{tg} + u_{sg} + v_{bg} \right)

    with the library size :math:`L_i` log-normal, the expression :math:`\beta` of the cell type, the dose :math:`d_s`
    of the patient's class, the programme :math:`\delta`, and the normal shifts :math:`u` of the patient and :math:`v`
    of the batch. As the library size is fixed first, a log fold change holds up to one constant for all the genes of
    a cell type, as in real counts.

    The proportions of the cell types vary between patients (Dirichlet, concentration 30, on average equal). Each cell
    type has up to 30 marker genes, raised by 2 in the log. The programme genes are no markers and are drawn among the
    better expressed half of the other genes; 75% of them go up in disease and 25% down.

    Parameters
    ----------
    n_samples
        Patients. Classes take turns, so that their sizes differ by one at most.
    n_classes
        Classes: ``"healthy"`` and ``"disease"``, or ``"healthy"``, ``"disease_1"``, ``"disease_2"``, ... if more than
        two. They are grades of one disease: class :math:`k` of :math:`K` has the dose :math:`k / (K - 1)`.
    n_cells
        Mean number of cells of a patient.
    vary_cells
        Whether the number of cells varies between patients (negative binomial, dispersion 0.1, never below 20) or is
        ``n_cells`` in all of them.
    n_genes
        Genes, at least three for each programme gene.
    cell_types
        Number of cell types.
    n_programme_genes
        Genes that the disease changes.
    programme_cell_types
        Number of cell types in which it changes them: the first ones.
    effect_size
        Natural-log fold change of the programme genes in the full disease. With 0, the same seed gives the same
        patients without the disease: the healthy ones to the last count, the others with the same cells, shifts and
        library sizes.
    patient_effect
        Standard deviation of the shift of each gene's log expression between patients.
    library_size
        Mean of the expected counts of a cell, and the standard deviation of their natural log.
    dispersion
        :math:`\phi` above; 0 gives Poisson counts.
    n_batches
        Batches. The patients of a class are spread evenly over them.
    batch_effect
        Standard deviation of the shift of each gene's log expression between batches.
    batch_label_correlation
        Fraction of each class that is not spread but put into one batch, the class's own. With two classes and two
        batches it is the correlation of batch and class.
    composition_shift
        Shift of the log-odds of the last cell type's proportion in the full disease.
    rng
        Seed or generator.

    Returns
    -------
    An :class:`~anndata.AnnData` with the following fields, the cells ordered by sample:

    ``.X`` : ``float32`` :class:`~scipy.sparse.csr_matrix` (n_obs, n_genes)
        Raw counts.
    ``.obs["sample"]``, ``.obs["label"]``, ``.obs["cell_type"]`` : categorical (n_obs,)
        Patient, class and cell type.
    ``.obs["batch"]`` : categorical (n_obs,)
        Batch, only if ``n_batches`` > 1.
    ``.var["programme"]`` : ``bool`` (n_genes,)
        Whether the gene belongs to the disease programme, also with ``effect_size=0``.
    ``.var["marker_of"]`` : categorical (n_genes,)
        The cell type that the gene marks, or ``""``.
    ``.uns["simulated_cohort"]`` : dict
        The truth: ``programme_genes`` and ``programme_cell_types`` (arrays of ``str``), ``log_fold_change``
        (``float64`` (n_genes,), of the full disease in those cell types), ``classes`` (array of ``str``) with their
        ``class_dose`` (``float64`` (n_classes,)), ``shifted_cell_type`` (the one that ``composition_shift`` moves),
        and ``params``, a dict of the arguments above.

    Raises
    ------
    ValueError
        If a number is out of its range, the genes do not suffice for markers and programme, a batch would lack a
        class, or a batch or composition effect is asked for where it could not show.
    TypeError
        If a number has the wrong type.

    Examples
    --------
    >>> import scggml.datasets
    >>> adata = scggml.datasets.simulated_cohort(n_samples=6, n_cells=20, vary_cells=False, rng=0)
    >>> adata.shape
    (120, 1000)
    >>> adata.obs.groupby("label", observed=True)["sample"].nunique().to_dict()
    {'healthy': 3, 'disease': 3}
    >>> int(adata.var["programme"].sum())
    40
    """
    n_classes = check_integer("n_classes", n_classes, minimum=2)
    n_samples = check_integer("n_samples", n_samples, minimum=n_classes)
    n_cells = check_integer("n_cells", n_cells, minimum=MIN_CELLS if vary_cells else 1)
    cell_types = check_integer("cell_types", cell_types, minimum=1)
    n_programme_genes = check_integer("n_programme_genes", n_programme_genes, minimum=1)
    programme_cell_types = check_integer("programme_cell_types", programme_cell_types, minimum=1)
    n_genes = check_integer("n_genes", n_genes, minimum=1)
    n_batches = check_integer("n_batches", n_batches, minimum=1)
    effect_size = check_number("effect_size", effect_size, minimum=0)
    patient_effect = check_number("patient_effect", patient_effect, minimum=0)
    library_mean, library_sd = _check_library_size(library_size)
    dispersion = check_number("dispersion", dispersion, minimum=0)
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
            vary_cells=vary_cells,
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
            "vary_cells": bool(vary_cells),
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


def _cell_type_names(n_types: int) -> list[str]:
    return [*_CELL_TYPES[:n_types], *(f"type_{t}" for t in range(len(_CELL_TYPES), n_types))]


def _check_library_size(library_size: tuple[float, float]) -> tuple[float, float]:
    try:
        mean, sd = library_size
    except (TypeError, ValueError) as error:
        msg = f"library_size must be (mean, sd of the log), found {library_size!r}. Pass, for example, (2000, 0.3)."
        raise ValueError(msg) from error
    return check_number("library_size[0]", mean, above=0), check_number("library_size[1]", sd, minimum=0)


def _check_genes(n_genes: int, n_programme_genes: int, n_types: int) -> int:
    """The number of markers of a cell type that leaves enough genes for the programme."""
    needed = max(3 * n_programme_genes, n_programme_genes + 2 * n_types * _MIN_MARKERS)
    if n_genes < needed:
        msg = (
            f"n_genes={n_genes} are too few for n_programme_genes={n_programme_genes} and the markers of "
            f"cell_types={n_types}. Use at least {needed} genes, or fewer programme genes or cell types."
        )
        raise ValueError(msg)
    return min(_MAX_MARKERS, (n_genes - n_programme_genes) // (2 * n_types))


def _check_layout(n_samples: int, n_classes: int, n_batches: int, n_types: int, n_programme_types: int) -> None:
    if n_programme_types > n_types:
        msg = (
            f"programme_cell_types={n_programme_types} exceeds cell_types={n_types}. "
            "Plant the programme in fewer cell types, or simulate more of them."
        )
        raise ValueError(msg)
    if n_batches > n_samples // n_classes:
        msg = (
            f"n_batches={n_batches} exceeds the {n_samples // n_classes} samples of the smallest class, so that a "
            f"batch would lack a class. Use fewer batches, or at least n_samples={n_batches * n_classes}."
        )
        raise ValueError(msg)


def _check_visible(name: str, value: float, count_name: str, count: int) -> None:
    """Refuse an effect between groups when there is one group only, rather than ignore it."""
    if value != 0 and count == 1:
        msg = f"{name}={value} has no effect with {count_name}=1. Use {count_name} of at least 2, or {name}=0."
        raise ValueError(msg)
