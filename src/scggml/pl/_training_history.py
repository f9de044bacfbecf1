"""The objective over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scggml._anndata._stored_metric import read_metric
from scggml._arguments import checked
from scggml._docs import shared_doc

from ._axes import PLAIN, drawing
from ._names import drawn_text

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_LINE = 44  # characters of the title on one line


@shared_doc
@checked()
def training_history(adata: AnnData, *, key: str = "ggml", ax: Axes | None = None) -> Axes:
    """Plot the objective over the iterations of the training.

    The closed form has one iteration. There are more with `refine` (:class:`scggml.Refinement`). The title says whether
    the training converged.

    Parameters
    ----------
    adata
        Cells with a learned metric, from :func:`scggml.tl.fit_metric`.
    %(key)s
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError, TypeError
        If there is no such metric, or it was learned on other cells.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=10, rng=0)
        >>> learner = sg.GroundMetricLearner(refine=sg.Refinement(max_iter=4))
        >>> sg.tl.fit_metric(adata, "sample", "label", learner=learner, rng=0)
        >>> ax = sg.pl.training_history(adata)
    """
    entry = read_metric(adata, key).entry
    if "loss_history" not in entry:
        msg = (
            f"uns[{key!r}] has no loss_history: its metric was learned on other cells. Pass the AnnData that it was "
            "learned on."
        )
        raise KeyError(msg)
    history = np.atleast_1d(np.asarray(entry["loss_history"], dtype=float))

    from matplotlib.ticker import MaxNLocator

    with drawing(ax, 4.5, 3.2) as ax:
        ax.plot(np.arange(1, len(history) + 1), history, marker="o", markersize=4, color=PLAIN)
        ax.set(xlabel="iteration", ylabel="objective (training samples)")
        ax.set_ylim(0, 1.08 * float(np.nanmax(history, initial=0)) or 1)
        ax.set_xlim(0.5, len(history) + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.spines[["top", "right"]].set_visible(False)
        ending = "converged" if entry["converged"] else "stopped before convergence"
        ending = f"{ending} after {len(history)} iteration{'s' if len(history) > 1 else ''}"
        if len(history) == 1 and entry["converged"]:
            ending = "closed form: nothing to iterate"
        ax.set_title(drawn_text(ending, _LINE), fontsize="medium")
    return ax
