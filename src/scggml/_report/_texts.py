"""Numbers and words as a report shows them."""

from __future__ import annotations

import math
from typing import Any

METHODS = {
    "ggml": "learned metric",
    "euclidean": "Euclidean transport",
    "cityblock": "city-block transport",
    "cosine": "cosine transport",
    "pseudobulk": "pseudobulk",
    "pseudobulk_by_type": "pseudobulk by cell type",
    "composition": "cell-type proportions",
    "mmd": "maximum mean discrepancy",
    "energy": "energy distance",
    "sliced": "sliced transport",
    "gloscope": "GloScope",
    "canonical_variates": "canonical variates",
    "pca": "transport on PCA",
    "lda": "transport on LDA",
    "nca": "transport on NCA",
    "wda": "Wasserstein discriminant analysis",
}
RULES = {
    "class_mean": "nearest class",
    "logistic": "logistic regression",
    "neighbors": "nearest patients",
    "ridge": "ridge regression",
}
SCORES = {"balanced_accuracy": "balanced accuracy", "spearman": "rank correlation"}
TESTS = {
    "distance": "far from all patients of the reference",
    "outside": "expression that the reference does not have",
    "new_cluster": "cells that the reference does not have",
    "clusters": "a known kind of cell differs",
    "composition": "proportions of cells differ",
}
_MISSING = "\N{EM DASH}"


def number(value: Any, digits: int = 2) -> str:
    """Return a number with so many decimals, a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _MISSING
    return f"{float(value):,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def percent(value: Any) -> str:
    """Return a fraction in percent."""
    return _MISSING if value is None or not math.isfinite(value) else f"{number(100 * value, 0)}\u202f%"


def p_value(value: Any) -> str:
    """Return a p-value in two digits."""
    if value is None or not math.isfinite(value):
        return _MISSING
    return "< 0.0001" if value < 1e-4 else f"{float(value):.2g}"


def several(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
