"""The permutation test of the labels: each statistic beside its values under permuted labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scggml._anndata._entries import warn_about_label
from scggml._arguments import checked
from scggml._docs import shared_doc
from scggml.get._separation import stored_separation

from ._axes import HIGHLIGHT, PLAIN, drawing
from ._names import drawn_text, of_label

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_NAMES = {"learned": "learned metric,\nrefitted", "euclidean": "Euclidean", "permanova": "PERMANOVA\n(Euclidean)"}
_LINE = 44  # characters of the title on one line
_HEIGHT = 0.7  # of the histogram of a test, whose row has a height of one
_N_BINS = 30


@shared_doc
@checked()
def separation(adata: AnnData, *, key: str = "ggml", ax: Axes | None = None) -> Axes:
    """Plot the permutation test of the labels, with p-values.

    For each statistic, a histogram shows its values under permuted labels and a line its value under the given ones,
    both in standard deviations from the mean under permuted labels.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.separation_test`.
    key
        Key of the results: `.uns[key + "_separation"]`.
    %(ax)s

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError
        If there was no test.

    Warns
    -----
    UserWarning
        If the metric was learned from another label since.

    Examples
    --------
    .. plot::

        >>> import scggml as sg
        >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
        >>> _ = sg.tl.separation_test(adata, "sample", "label", n_permutations=99, rng=0)
        >>> ax = sg.pl.separation(adata)
    """
    entry = stored_separation(adata, key)
    warn_about_label(adata, key, entry, "sg.tl.separation_test")
    table = entry["table"]
    tests: list[Any] = list(table.itertuples())
    null = np.atleast_2d(np.asarray(entry["null"], dtype=np.float64))
    with drawing(ax, 6.4, 1.4 + 0.75 * len(table)) as ax:
        rows = range(len(tests) - 1, -1, -1)  # the first on top
        for y, row, values in zip(rows, tests, null.T, strict=True):
            unit = float(row.null_sd) or 1.0
            counts, edges = np.histogram((values - row.null_mean) / unit, bins=_N_BINS)
            heights = _HEIGHT * counts / counts.max()
            ax.bar(edges[:-1], heights, np.diff(edges), bottom=y, align="edge", color="0.75")
            found = (row.statistic - row.null_mean) / unit
            color = HIGHLIGHT if row.Index == "learned" else PLAIN
            ax.plot([found, found], [y, y + _HEIGHT], color=color, linewidth=2.5, solid_capstyle="butt")
            written = f"p = {row.p_value:.2g}"
            ax.annotate(written, (1.02, y + _HEIGHT / 2), xycoords=("axes fraction", "data"), va="center", color=color)
        ax.set_yticks(
            np.array(rows) + _HEIGHT / 2, [_NAMES.get(str(test), drawn_text(str(test))) for test in table.index]
        )
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.1, len(table) - 0.1)
        ax.set_xlabel("separation of classes, in s.d. of permuted labels")
        ax.spines[["top", "right", "left"]].set_visible(False)
        title = of_label(entry["params"].get("label_key"), "given labels (lines) and permuted ones (grey)")
        ax.set_title(drawn_text(title, _LINE), fontsize="medium")
    return ax
