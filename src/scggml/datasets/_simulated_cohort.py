"""A cohort of patients with simulated single-cell counts, in whom a disease changes some genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scggml._arguments import checked, integer, number
from scggml._docs import shared_doc

from ._simulation import simulate

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

_MIN_GENES: Final = 32  # leave enough genes besides the markers of three cell types


@shared_doc
@checked(
    n_samples=integer(2),
    n_classes=integer(2),
    n_cells=integer(1),
    n_genes=integer(_MIN_GENES),
    effect_size=number(minimum=0),
    patient_effect=number(minimum=0),
    n_batches=integer(1),
    batch_effect=number(minimum=0),
    batch_label_correlation=number(minimum=0, maximum=1),
    composition_shift=number(),
)
def simulated_cohort(
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
    rng: int | np.random.Generator | None = None,
) -> AnnData:
    r"""Simulate raw counts of a cohort of patients in which the disease changes a few genes of one cell type.

    The truth is known, so the cohort serves to try a ground metric :cite:p:`kuehn2025`. Gene :math:`g` of cell
    :math:`i`, of cell type :math:`t`, patient :math:`s` and batch :math:`b`, has the count

    .. math::

        x_{ig} \sim \mathrm{NB}(\mu_{ig},\; \mu_{ig} + \phi \mu_{ig}^2), \qquad
        \mu_{ig} = L_i \operatorname{softmax}_g \left(
            \beta_{tg} + d_s \delta_{tg} + u_{sg} + v_{bg} \right)

    with the dispersion :math:`\phi = 0.3`, the library size :math:`L_i`, the expression :math:`\beta` of the cell type,
    the dose :math:`d_s` of the patient's class, the disease programme :math:`\delta`, and normal shifts :math:`u` of
    the patient and :math:`v` of the batch. Library sizes are log-normal, with mean 2,000 and standard deviation 0.3 of
    the log. They do not depend on the expression. So the log fold changes of all genes of a cell type are known up to a
    common constant, as in real counts.

    There are three cell types. On average they are equally frequent, but their proportions vary between patients
    (Dirichlet, concentration 30). Each cell type has up to 30 marker genes, whose log expression is higher by 2. The
    disease changes one gene in twelve, but at most 40, in the first cell type only. These genes are drawn from the
    genes that are no markers and are expressed above the median. In disease, 75% of them go up and 25% go down.

    Parameters
    ----------
    n_samples
        Number of patients. Classes take turns, so that their sizes differ by at most one.
    n_classes
        Number of classes. They are called "healthy" and "disease"; or, if there are more than two, "healthy",
        "disease_1", "disease_2", ..., which are stages of one disease: class :math:`k` of :math:`K` has the dose
        :math:`k / (K - 1)`.
    n_cells
        Mean number of cells of a patient, at least 20. The number varies between patients (negative binomial,
        dispersion 0.1, never below 20).
    n_genes
        Number of genes, at least 32.
    effect_size
        Natural-log fold change of the programme genes in the full disease. With 0, the same seed gives the same
        patients without the disease: the healthy ones with the same counts, the others with the same cells, shifts and
        library sizes.
    patient_effect
        Standard deviation between patients of the log expression of each gene.
    n_batches
        Number of batches. The patients of each class are spread evenly over them.
    batch_effect
        Standard deviation between batches of the log expression of each gene.
    batch_label_correlation
        Fraction of each class that is not spread over the batches, but put into a batch of this class. With two classes
        and two batches it is the correlation of batch and class.
    composition_shift
        Shift of the log-odds of the proportion of the last cell type in the full disease.
    %(rng)s

    Returns
    -------
    An :class:`~anndata.AnnData` with the following fields. The cells are ordered by sample.

    `.X` : :class:`~scipy.sparse.csr_matrix` (n_obs, n_genes), float32
        Raw counts.
    `.obs["sample"]`, `.obs["label"]`, `.obs["cell_type"]` : categorical (n_obs,)
        Patient, class and cell type.
    `.obs["batch"]` : categorical (n_obs,)
        Batch, only if `n_batches` > 1.
    `.var["programme"]` : bool (n_genes,)
        Whether the gene belongs to the disease programme, also with `effect_size=0`.
    `.var["marker_of"]` : categorical (n_genes,)
        The cell type that the gene marks, or "".
    `.uns["simulated_cohort"]` : `dict`
        The truth: `programme_genes` and `programme_cell_types`, arrays of names; `log_fold_change` (n_genes,), float64,
        of the full disease in these cell types; `classes`, an array of names, and `class_dose` (n_classes,), float64;
        `shifted_cell_type`, the one that `composition_shift` moves; and `params`, all settings of the simulation.

    Raises
    ------
    ValueError
        If a number is out of its range, if a batch would lack a class, or if an effect of batches is asked for where
        there is only one batch.
    TypeError
        If a number has the wrong type.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.simulated_cohort(n_samples=6, n_cells=20, rng=0)
    >>> adata.obs.groupby("label", observed=True)["sample"].nunique().to_dict()
    {'healthy': 3, 'disease': 3}
    >>> int(adata.var["programme"].sum())
    40
    """
    return simulate(
        n_samples,
        n_classes=n_classes,
        n_cells=n_cells,
        n_genes=n_genes,
        effect_size=effect_size,
        patient_effect=patient_effect,
        n_batches=n_batches,
        batch_effect=batch_effect,
        batch_label_correlation=batch_label_correlation,
        composition_shift=composition_shift,
        rng=rng,
    )
