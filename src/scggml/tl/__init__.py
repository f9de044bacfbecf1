"""Tools: learn the metric, measure distances between samples, embed them, rank genes, evaluate."""

from ._cross_validate import cross_validate
from ._embed_samples import embed_samples
from ._fit_metric import fit_metric
from ._rank_genes import rank_genes
from ._sample_distances import sample_distances
from ._separation_test import separation_test
from ._tune import tune

__all__ = [
    "cross_validate",
    "embed_samples",
    "fit_metric",
    "rank_genes",
    "sample_distances",
    "separation_test",
    "tune",
]
