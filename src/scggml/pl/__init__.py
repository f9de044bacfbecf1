"""Plots. Each takes `ax`, returns it, and leaves showing and saving to the caller."""

from ._cells import cells
from ._cross_validation import cross_validation
from ._distance_heatmap import distance_heatmap
from ._explained_genes import explained_genes
from ._gene_weights import gene_weights
from ._power import power
from ._predictions import predictions
from ._sample_map import sample_map
from ._separation import separation
from ._training_history import training_history
from ._transport import transport
from ._tuning import tuning

__all__ = [
    "cells",
    "cross_validation",
    "distance_heatmap",
    "explained_genes",
    "gene_weights",
    "power",
    "predictions",
    "sample_map",
    "separation",
    "training_history",
    "transport",
    "tuning",
]
