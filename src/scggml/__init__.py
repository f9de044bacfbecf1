"""Supervised ground-metric learning for optimal transport between patients, from single-cell data."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, get, pl, pp, tl
    from ._report._report import report
    from .estimators import GroundMetricLearner, OTNeighborsClassifier, Refinement, Sinkhorn

    __version__: str

__all__ = [
    "GroundMetricLearner",
    "OTNeighborsClassifier",
    "Refinement",
    "Sinkhorn",
    "__version__",
    "datasets",
    "get",
    "pl",
    "pp",
    "report",
    "tl",
]

_MODULES = frozenset({"datasets", "get", "pl", "pp", "tl"})
_ESTIMATORS = frozenset({"GroundMetricLearner", "OTNeighborsClassifier", "Refinement", "Sinkhorn"})


def __getattr__(name: str) -> Any:
    # torch, POT, matplotlib and scanpy take seconds to import: each is loaded by the first function that needs it
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _ESTIMATORS:
        return getattr(importlib.import_module(".estimators", __name__), name)
    if name == "report":
        return importlib.import_module("._report._report", __name__).report
    if name == "__version__":
        from importlib.metadata import version

        return version("scggml")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
