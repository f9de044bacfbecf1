"""How the objective fell during training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml import _check as check
from scggml._anndata._stored_metric import stored_entry

from ._axes import PLAIN, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def training_history(adata: AnnData, *, key: str = "ggml", title: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the objective over training.

    Parameters
    ----------
    adata
        Cells with a learned metric, from :func:`scggml.tl.fit_metric`.
    key
        Key of the metric.
    title
        Title; None says whether training converged.
    ax
        Axes to draw on; None makes a figure.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError
        If there is no such metric.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
    >>> sg.tl.fit_metric(adata, "sample", "label", rng=0)
    >>> ax = sg.pl.training_history(adata)
    """
    from matplotlib.ticker import MaxNLocator

    check.check_anndata("adata", adata)
    entry = stored_entry(adata, key)
    history = np.asarray(entry["loss_history"], dtype=float)
    ax = new_axes(ax, 4.5, 3.2)
    ax.plot(np.arange(1, len(history) + 1), history, marker="o", markersize=4, color=PLAIN)
    ax.set(xlabel="iteration", ylabel="objective on the training samples")
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ending = "converged" if entry["converged"] else "stopped before it converged"
    ax.set_title(f"{ending} after {len(history)} iteration(s)" if title is None else title)
    return ax
