"""Results as data frames."""

from ._distances import distances
from ._explanation import explanation
from ._gene_weights import gene_weights
from ._predictions import predictions
from ._scores import scores
from ._separation import separation

__all__ = ["distances", "explanation", "gene_weights", "predictions", "scores", "separation"]
