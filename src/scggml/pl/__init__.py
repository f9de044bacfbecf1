"""Plots: each takes `ax`, returns it, and leaves showing and saving to the caller."""

from ._cross_validation import cross_validation
from ._distance_heatmap import distance_heatmap
from ._gene_weights import gene_weights
from ._sample_map import sample_map
from ._training_history import training_history
from ._tuning import tuning

__all__ = [
    "cross_validation",
    "distance_heatmap",
    "gene_weights",
    "sample_map",
    "training_history",
    "tuning",
]
