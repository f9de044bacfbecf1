"""Patients of the demo that the metric has never seen: their map, and how well their classes are predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

import scggml as sg

if TYPE_CHECKING:
    import argparse

_METHODS = {"ggml": "learned metric", "euclidean": "Euclidean OT"}


def new_patients(
    adata: AnnData, pdata: AnnData, new: AnnData, label_key: str, args: argparse.Namespace
) -> tuple[AnnData, list[str]]:
    """Return the samples with new ones on their map, and lines on the accuracy of their predicted classes.

    Parameters
    ----------
    adata, pdata
        Cells that the metric was learned on, and their samples with distances.
    new
        Cells of new patients, with their true classes.
    label_key
        Column with the class.
    args
        Options of the command line.
    """
    pdata = pdata.copy()
    sg.tl.embed_samples(pdata, "mds")  # in place of that of held-out distances
    reference = sg.tl.make_reference(adata, pdata, cv=None, rng=args.seed, n_jobs=args.n_jobs)
    mapped = sg.tl.map_samples(new, reference, n_jobs=args.n_jobs)
    sg.tl.embed_samples(mapped, "mds")  # of all, so that distances between new patients count
    mapped.obs[label_key] = pd.Categorical(mapped.obs[label_key].astype(str), adata.obs[label_key].cat.categories)
    return mapped, _accuracies(adata, new, label_key, args)


def _accuracies(adata: AnnData, new: AnnData, label_key: str, args: argparse.Namespace) -> list[str]:
    """Return how many of the new patients both metrics classify correctly, learned from the others alone."""
    sample_key = adata.uns["ggml"]["params"]["sample_key"]
    mean, loadings = np.asarray(adata.X.mean(axis=0)).ravel(), adata.varm["PCs"]
    points = [(cells.X - mean) @ loadings for cells in (adata, new)]  # components of the training cells
    obs = pd.concat([cells.obs[[sample_key, label_key]].astype(str) for cells in (adata, new)])
    both = AnnData(obs=obs, obsm={"X_pca": np.concatenate([np.asarray(x) for x in points])})
    is_new = np.isin(np.unique(obs[sample_key]), new.obs[sample_key].astype(str))
    split = np.flatnonzero(~is_new), np.flatnonzero(is_new)
    sg.tl.cross_validate(
        both, sample_key, label_key, methods=list(_METHODS), cv=[split], rng=args.seed, n_jobs=args.n_jobs
    )
    table = sg.get.scores(both, baseline="euclidean").query("classifier == 'class_mean' and score == 'accuracy'")
    lines = [f"New patients ({int(is_new.sum())} that the metric has not seen, predicted in the same way):"]
    for method, text in _METHODS.items():
        row = table.set_index("method").loc[method]
        lines.append(
            f"  {text:<15} {row['value'] * row['n']:.0f}/{row['n']} correct ({row['value']:.2f}, 95 % interval "
            f"{row['ci_low']:.2f} to {row['ci_high']:.2f})"
        )
    row = table.set_index("method").loc["ggml"]
    lines.append(
        f"  {row['only_method']:.0f} are right with the learned metric only, {row['only_baseline']:.0f} with Euclidean "
        f"OT only (p = {row['p_value']:.2g})"
    )
    return [*lines, ""]
