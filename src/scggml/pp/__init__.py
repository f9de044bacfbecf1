"""Preprocessing: choose the samples that a metric can be learned from, and fewer points for large ones."""

from ._filter_samples import filter_samples
from ._join_modalities import join_modalities
from ._sketch import sketch

__all__ = ["filter_samples", "join_modalities", "sketch"]
