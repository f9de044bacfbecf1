"""Genes ranked by their weight in a learned metric, and how they differ between classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml.core.measures._means import group_means

from ._gene_statistics import correlations, fitted_line, separation_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.metric._bootstrap import Stability
    from scggml.core.metric._targets import Targets

_INTERVAL = (0.025, 0.975)
N_TOP = 50  # a gene is selected in a bootstrap if its weight is among these


@dataclass(frozen=True, eq=False)
class GeneMeans:
    """Mean expression of genes.

    Parameters
    ----------
    of_samples, of_classes
        Mean over the cells of each sample, (n_samples, n_genes), and over the samples of each class, (n_classes,
        n_genes).
    spread
        Standard deviation of each gene across cells, (n_genes,).
    targets
        Labels of the samples.
    classes
        Names of the classes, (n_classes,); none of continuous labels.
    """

    of_samples: NDArray[np.float64]
    of_classes: NDArray[np.float64]
    spread: NDArray[np.float64]
    targets: Targets
    classes: NDArray[np.object_]

    @classmethod
    def of(
        cls,
        values: Any,
        codes: NDArray[np.int64],
        spread: NDArray[np.float64],
        targets: Targets,
        classes: NDArray[np.object_],
    ) -> GeneMeans:
        """Take the means of genes' values (n_cells, n_genes) of cells that belong to samples by `codes` (n_cells,)."""
        of_samples = group_means(values, codes, len(targets))
        labels = targets.codes
        return cls(of_samples, group_means(of_samples, labels, int(labels.max()) + 1), spread, targets, classes)

    def table(self, linear_map: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Return columns of a table of genes: how they differ between classes, or how they depend on ordered labels.

        Parameters
        ----------
        linear_map
            The learned map of genes, (n_components, n_genes).
        """
        found: dict[str, NDArray[Any]] = {}
        apart = self.of_classes
        if self.targets.kind == "continuous":
            apart = fitted_line(self.of_samples, self.targets.values)
        else:
            high, low = self.of_classes.argmax(axis=0), self.of_classes.argmin(axis=0)
            found["highest"], found["lowest"] = self.classes[high].astype(str), self.classes[low].astype(str)
            difference = self.of_classes.max(axis=0) - self.of_classes.min(axis=0)
            found["shift"] = np.divide(difference, self.spread, out=np.zeros_like(difference), where=self.spread > 0)
        if self.targets.kind != "class":
            found["trend"] = correlations(self.of_samples, self.targets.values)
        return {**found, "separation": separation_shares(apart, linear_map.T)}

    def by_class(self, weight: NDArray[np.float64], genes: pd.Index, label_key: str) -> dict[str, Any]:
        """Return the genes of each class by signed weight, in the form of `scanpy.tl.rank_genes_groups`."""
        columns: dict[str, list[NDArray[Any]]] = {"names": [], "scores": [], "logfoldchanges": []}
        for c in range(len(self.of_classes)):
            difference = self.of_classes[c] - np.delete(self.of_classes, c, axis=0).mean(axis=0)
            score = weight * np.sign(difference)
            order = np.argsort(-score, kind="stable")
            columns["names"].append(genes.to_numpy(dtype=object)[order].astype(str).astype(object))
            columns["scores"].append(score[order])
            columns["logfoldchanges"].append(difference[order] / np.log(2))
        columns |= {name: [np.full(len(genes), np.nan) for _ in self.classes] for name in ("pvals", "pvals_adj")}
        names = [str(name) for name in self.classes]
        records = {
            column: pd.DataFrame(dict(zip(names, values, strict=True))).to_records(index=False)
            for column, values in columns.items()
        }
        params = {"groupby": label_key, "reference": "rest", "method": "scggml", "use_raw": False}
        return {"params": {**params, "corr_method": "none"}, **records}


def stability_columns(stability: Stability) -> dict[str, NDArray[np.float64]]:
    """Return columns of a table of genes: the interval of weights over bootstraps, and the frequency of selection."""
    low, high = np.quantile(stability.weights, _INTERVAL, axis=0)
    return {"low": low, "high": high, "selected": stability.selected(N_TOP)}
