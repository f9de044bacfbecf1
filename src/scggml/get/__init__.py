"""Results as data frames."""

from ._distances import distances
from ._explanation import explanation
from ._gene_weights import gene_weights
from ._scores import scores

__all__ = ["distances", "explanation", "gene_weights", "scores"]
