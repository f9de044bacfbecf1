"""Tools: learn the metric, measure distances between samples, embed them, rank genes, evaluate."""

from ._class_barycenters import class_barycenters
from ._cluster_samples import cluster_samples
from ._cross_validate import cross_validate
from ._embed_samples import embed_samples
from ._enrich_genes import enrich_genes
from ._explain_distances import explain_distances
from ._fit_metric import fit_metric
from ._make_reference import make_reference
from ._map_samples import map_samples
from ._order_samples import order_samples
from ._power import power
from ._predict_samples import predict_samples
from ._project import project
from ._rank_genes import rank_genes
from ._sample_distances import sample_distances
from ._score_distances import score_distances
from ._separation_test import separation_test
from ._tune import tune

__all__ = [
    "class_barycenters",
    "cluster_samples",
    "cross_validate",
    "embed_samples",
    "enrich_genes",
    "explain_distances",
    "fit_metric",
    "make_reference",
    "map_samples",
    "order_samples",
    "power",
    "predict_samples",
    "project",
    "rank_genes",
    "sample_distances",
    "score_distances",
    "separation_test",
    "tune",
]
