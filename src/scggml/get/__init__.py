"""Results as data frames."""

from ._distances import distances
from ._gene_weights import gene_weights

__all__ = ["distances", "gene_weights"]
