"""Rank genes by their part in the learned metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _validation as check
from scggml._cohort import read_cohort, read_representation, read_sketch, standard_deviation
from scggml._keys import Keys
from scggml._labels import label_params, read_labels
from scggml._stored import check_writable, stored_entry, stored_metric, writable
from scggml.get._gene_weights import gene_table

from ._fit_metric import way_to_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_INTERVAL = (0.025, 0.975)


def rank_genes(
    adata: AnnData,
    *,
    key: str = "ggml",
    n_boot: int = 0,
    n_top: int = 50,
    rng: int | np.random.Generator | None = None,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Rank genes by how much they carry of the learned metric.

    A gene's weight is how far a cell moves in the learned space when the gene rises by one standard deviation: the length of
    its row of `.varm[key]`. It does not depend on the rotation of the components.

    Parameters
    ----------
    adata
        Cells with a learned metric that leads back to genes, from :func:`scggml.tl.fit_metric`.
    key
        Key of the metric.
    n_boot
        Number of bootstraps: how stable weights are when other patients of the same classes had been there. Samples are drawn
        with replacement within each class and the closed form is computed anew, on plans that are solved once. A
        bootstrap takes hundredths of a second for 50 principal components, and seconds for 2,000 genes. 0 for none.
    n_top
        A gene is selected in a bootstrap if its weight is among this many largest.
    rng
        Seed or generator of the bootstraps.
    n_jobs
        Threads; None takes an active :func:`joblib.parallel_config`, else all cores. Results do not depend on it.
    copy
        Whether to return a copy instead of writing to `adata`.

    Returns
    -------
    None, or a copy of `adata` with `copy=True`. Sets the following field:

    `.uns[key + "_rank_genes"]` : `pandas.DataFrame` (n_vars, 4)
        Indexed by gene, largest weight first: `weight`; `share` of the sum of squared weights; `rank` from 1; and
        `component`, the component that moves most. With `n_boot` also `low` and `high`, between which 95 % of the
        bootstrapped weights lie, in the same unit, and `selected`, the fraction of bootstraps that select the gene. With few
        different patients, bootstraps find noise besides: leading genes can weigh less in all of them than in the fit.
    `.uns[key + "_stability"]` : `dict`, with `n_boot`
        `alignment` (n_boot,), the cosine between the Mahalanobis matrices of a bootstrap and of the metric; and
        `principal_angles` (n_boot, n_comps), in degrees, between the subspaces of their first `n_comps` components, which
        hold half of the metric.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, it does not lead back to genes, or, with `n_boot`, it was not learned from these samples by
        the closed form alone.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> sg.tl.rank_genes(adata)
    >>> adata.uns["ggml_rank_genes"].index[0]
    'signal'
    >>> sg.tl.rank_genes(adata, n_boot=20, n_top=1, rng=0)
    >>> float(adata.uns["ggml_rank_genes"].loc["signal", "selected"])
    1.0
    """
    check.check_anndata("adata", adata)
    check.check_integer("n_boot", n_boot, minimum=0)
    check.check_integer("n_top", n_top, minimum=1)
    check.check_jobs(n_jobs)
    generator = check.check_random_generator(rng)
    table = gene_table(adata, key)
    check_writable(adata, copy=copy)
    keys = Keys(key)
    stability = None
    if n_boot:
        found, stability = _bootstrapped(adata, key, table, n_boot, n_top, generator, n_jobs)
        table = table.join(found)
    adata = writable(adata, copy=copy)
    adata.uns[keys.gene_ranking] = table
    adata.uns.pop(keys.stability, None)
    if stability is not None:
        adata.uns[keys.stability] = stability
    return adata if copy else None


def _bootstrapped(
    adata: AnnData,
    key: str,
    table: pd.DataFrame,
    n_boot: int,
    n_top: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return interval and frequency of selection of each gene, and how the metric changes."""
    entry = stored_entry(adata, key)
    params = dict(entry["params"])
    _check_closed_form(key, params)
    cohort = read_cohort(adata, params["sample_key"])
    labels = read_labels(adata, cohort, params["label_key"], **label_params(params))
    representation = read_representation(adata, params["use_rep"], params.get("layer"))
    sketch_key = params.get("sketch_key")
    sketch = None if sketch_key is None else read_sketch(adata, sketch_key, params["sample_key"], cohort)
    way = way_to_genes(adata, representation)
    assert way is not None  # there are gene weights
    to_features, genes = way

    from scipy.linalg import subspace_angles

    from scggml.core import TrainingOptions, alignment, bootstrap_metrics

    settings: dict[str, Any] = {name: params.get(name) for name in TrainingOptions.__dataclass_fields__}
    spread = standard_deviation(genes)
    metric = stored_metric(entry)
    n_comps = _leading(metric.components)
    unit = float(np.sqrt((table["weight"] ** 2).sum()))
    weights, cosines, angles = [], [], []
    for other in bootstrap_metrics(
        cohort.measures(representation, sketch),
        labels.targets,
        TrainingOptions(**settings),
        n_boot=n_boot,
        rng=rng,
        n_jobs=n_jobs,
    ):
        weight = np.linalg.norm((to_features @ other.linear_map.T) * spread[:, None], axis=1)
        weights.append(weight * unit / np.linalg.norm(weight))
        cosines.append(alignment(metric.components, other.components))
        angles.append(np.rad2deg(subspace_angles(metric.components[:n_comps].T, other.components[:n_comps].T)))
    drawn = np.array(weights)
    top = np.argsort(-drawn, axis=1, kind="stable")[:, :n_top]
    low, high = np.quantile(drawn, _INTERVAL, axis=0)
    selected = np.bincount(top.ravel(), minlength=adata.n_vars) / n_boot
    n_angles = min(map(len, angles))
    return (
        pd.DataFrame({"low": low, "high": high, "selected": selected}, index=adata.var_names.copy()),
        {
            "n_boot": n_boot,
            "n_comps": n_comps,
            "alignment": np.array(cosines),
            "principal_angles": np.array([angle[:n_angles] for angle in angles]),
        },
    )


def _check_closed_form(key: str, params: dict[str, Any]) -> None:
    alone = {"init": "discriminant", "n_sweeps": 1, "max_iter": 1, "solver": "exact"}
    found = {name: params[name] for name, value in alone.items() if params[name] != value}
    if "batch_size" in params:
        found["batch_size"] = params["batch_size"]
    if found:
        wanted = ", ".join(f"{name}={value!r}" for name, value in found.items())
        msg = (
            f"n_boot is for metrics of the closed form alone, found {wanted} in uns[{key!r}]. Fit with the defaults of these, or "
            "leave n_boot out."
        )
        raise ValueError(msg)


def _leading(components: NDArray[np.float64]) -> int:
    """Return how many components hold half of the metric."""
    share = np.cumsum((components**2).sum(axis=1))
    return int(np.searchsorted(share, 0.5 * share[-1])) + 1
