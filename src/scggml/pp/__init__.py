"""Preprocessing: choose the samples that a metric can be learned from."""

from ._filter_samples import filter_samples

__all__ = ["filter_samples"]
