"""Results as tables for readers without Python."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

import scggml as sg
from scggml._keys import HELD_OUT, TRAINING, Keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData


def csv_tables(adata: AnnData, pdata: AnnData) -> dict[str, Callable[[Path], Any]]:
    """Return what writes each table: samples with their places on the map, distances, held-out predictions.

    Parameters
    ----------
    adata, pdata
        Cells with a metric, and the samples with distances and a map.
    """
    key, what = (HELD_OUT, HELD_OUT) if HELD_OUT in pdata.uns else ("ggml", TRAINING)
    places = pd.DataFrame(pdata.obsm["X_mds"], index=pdata.obs_names).add_prefix("mds_")
    tables: dict[str, Callable[[Path], Any]] = {
        "samples.csv": partial(pdata.obs.join(places).to_csv, index_label="sample"),
        f"distances_{what}.csv": partial(sg.get.distances(pdata, key=key).to_csv, index_label="sample"),
    }
    if Keys().cross_validation in adata.uns:
        tables["scores_held_out.csv"] = partial(sg.get.scores(adata, baseline="euclidean").to_csv, index=False)
        tables["predictions_held_out.csv"] = partial(sg.get.predictions(adata).to_csv, index=False)
    return tables
