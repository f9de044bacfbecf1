"""The permutation test of the labels as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scggml._anndata._entries import SEPARATION, stored_entry, warn_about_label
from scggml._arguments import checked
from scggml._keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked()
def separation(adata: AnnData, *, key: str = "ggml") -> pd.DataFrame:
    """Return the permutation test of whether distances depend on the labels.

    Parameters
    ----------
    adata
        Cells, after :func:`scggml.tl.separation_test`.
    key
        Key of its results: `.uns[key + "_separation"]`.

    Returns
    -------
    A data frame indexed by `test` ("learned", "euclidean", "permanova"), with `statistic`, `null_mean` and `null_sd`,
    `p_value`, `n_permutations` and `exact`. `attrs["label_key"]` names the label.

    Raises
    ------
    KeyError, TypeError
        If there was no test.

    Warns
    -----
    UserWarning
        If the metric was learned from another label since.

    Examples
    --------
    >>> import scggml as sg
    >>> adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    >>> _ = sg.tl.separation_test(adata, "sample", "label", n_permutations=99, rng=0)
    >>> table = sg.get.separation(adata)
    >>> table.attrs["label_key"], float(table.loc["learned", "p_value"])
    ('label', 0.01)
    """
    entry = stored_separation(adata, key)
    warn_about_label(adata, key, entry, "sg.tl.separation_test")
    table: pd.DataFrame = entry["table"].rename_axis("test")
    table.attrs["label_key"] = entry["params"].get("label_key")
    return table


def stored_separation(adata: AnnData, key: str) -> dict[str, Any]:
    """Return the `.uns` entry of a permutation test, or say how to make one."""
    how = f"sg.tl.separation_test(adata, sample_key, label_key, key_added={key!r})"
    return stored_entry(adata, Keys(key).separation, SEPARATION, "permutation test", how)
