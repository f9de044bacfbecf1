"""A short call that works of every public function, estimator and method, for tests that vary its arguments."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mudata import MuData

import scggml as sg

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


def build_calls(cohort: AnnData, fitted: AnnData, pdata: AnnData) -> dict[str, tuple[Callable, dict[str, Any]]]:
    """Every public function and method, with arguments of a short call that works."""
    cells, names = fitted.copy(), sorted(pdata.obs_names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.rank_genes(cells)
        sg.tl.cross_validate(cells, "sample", "label", methods=["euclidean"], cv=2, rng=0)
        sg.tl.tune(cells, "sample", "label", grid={"n_comps": [1, 2]}, cv=4, rng=0)
        sg.tl.power(cells, "sample", "label", n_samples=8, rng=0)
        sg.tl.separation_test(cells, "sample", "label", n_permutations=19, rng=0)
        samples = sg.tl.explain_distances(cells, pdata, cell_type_key="cell_type", copy=True)
        sg.tl.order_samples(samples, "well")
        euclidean = sg.tl.sample_distances(cells, "sample", metric="euclidean")
        reference = sg.tl.make_reference(cells, pdata, cv=2, rng=0)
        new = cohort[cohort.obs["sample"].isin(names[:2])].copy()
        new.obs["sample"] = new.obs["sample"].astype(str) + " new"
        del new.obsm["X_pca"]
        mapped = sg.tl.map_samples(new, reference)
        modalities = MuData({"rna": cohort.copy(), "other": cohort.copy()})
        held_out = sg.tl.sample_distances(cells, cv="auto", rng=0)
    x = [np.random.default_rng(i).normal(size=(5, 3)) + i % 2 for i in range(8)]
    y = [0, 1] * 4
    learner = sg.GroundMetricLearner().fit(x, y)
    classifier = sg.OTNeighborsClassifier().fit(x, y)
    keys = {"sample_key": "sample", "label_key": "label"}
    known = {
        "pp.filter_samples": {"adata": cells, "sample_key": "sample", "min_cells": 2},
        "pp.join_modalities": {"mdata": modalities},
        "pp.sketch": {"adata": cells, "sample_key": "sample", "n_points": 3},
        "tl.class_barycenters": {"adata": cells, "n_points": 3},
        "tl.cluster_samples": {"pdata": samples},
        "tl.cross_validate": {"adata": cells, **keys, "methods": ["euclidean"], "cv": 2},
        "tl.embed_samples": {"pdata": samples},
        "tl.enrich_genes": {"adata": cells, "gene_sets": {"a": list(cells.var_names[:6])}},
        "tl.explain_distances": {"adata": cells, "pdata": pdata},
        "tl.fit_metric": {"adata": cells, **keys},
        "tl.make_reference": {"adata": cells, "pdata": pdata, "cv": None},
        "tl.map_samples": {"new": new, "reference": reference},
        "tl.order_samples": {"pdata": samples, "root": "well"},
        "tl.power": {"adata": cells, **keys, "n_samples": 8, "n_cells": 3, "n_repeats": 1},
        "tl.predict_samples": {"mapped": mapped},
        "tl.project": {"new": new, "reference": reference},
        "tl.rank_genes": {"adata": cells},
        "tl.sample_distances": {"adata": cells},
        "tl.score_distances": {"pdata": euclidean, "relevant": "label"},
        "tl.separation_test": {"adata": cells, **keys, "n_permutations": 19},
        "tl.tune": {"adata": cells, **keys, "grid": {"n_comps": [1, 2]}, "cv": 4},
        "pl.cells": {"adata": cells},
        "pl.cross_validation": {"adata": cells},
        "pl.distance_heatmap": {"pdata": samples},
        "pl.explained_genes": {"pdata": samples},
        "pl.gene_weights": {"adata": cells},
        "pl.power": {"adata": cells},
        "pl.predictions": {"adata": cells},
        "pl.sample_map": {"pdata": samples},
        "pl.separation": {"adata": cells},
        "pl.training_history": {"adata": cells},
        "pl.transport": {"pdata": samples},
        "pl.tuning": {"adata": cells},
        "get.distances": {"pdata": samples},
        "get.explanation": {"pdata": samples},
        "get.gene_weights": {"adata": cells},
        "get.predictions": {"adata": cells},
        "get.scores": {"adata": cells},
        "get.separation": {"adata": cells},
        # without a network: the cohorts to download are asked only what they refuse
        "datasets.breast_cohort": {},
        "datasets.iga_nephropathy_cohort": {},
        "datasets.kidney_cohort": {},
        "datasets.myocardial_infarction_cohort": {},
        "datasets.simulated_cohort": {"n_samples": 4, "n_cells": 20, "n_genes": 60},
        "datasets.synthetic_cohort": {"offsets": (1.0, 2.0), "n_points_per_mode": 3},
    }
    found: dict[str, tuple[Callable, dict[str, Any]]] = {}
    for part in ("pp", "tl", "pl", "get", "datasets"):
        for name in getattr(sg, part).__all__:
            found[f"{part}.{name}"] = getattr(getattr(sg, part), name), known[f"{part}.{name}"]
    path = Path(tempfile.mkdtemp(prefix="scggml-calls-")) / "report.html"
    own = {"adata": cells, "pdata": pdata, "path": path, "held_out": held_out, "mapped": mapped}
    found["report"] = sg.report, own
    for cls in (sg.GroundMetricLearner, sg.OTNeighborsClassifier):
        found[cls.__name__] = fitting(cls), {}
    for kind, settings in (("refine", sg.Refinement), ("solver", sg.Sinkhorn)):
        found[settings.__name__] = fitting_with(kind, settings), {}
    for name, owner in (("GroundMetricLearner", learner), ("OTNeighborsClassifier", classifier)):
        found[f"{name}.score"] = owner.score, {"X": x, "y": y}
        found[f"{name}.fit"] = type(owner)().fit, {"X": x, "y": y}
    found["GroundMetricLearner.transform"] = learner.transform, {"X": x}
    found["GroundMetricLearner.pairwise_distances"] = learner.pairwise_distances, {"X": x}
    for method in ("predict", "predict_proba", "decision_function"):
        found[f"OTNeighborsClassifier.{method}"] = getattr(classifier, method), {"X": x}
    return found


X, Y = [np.random.default_rng(i).normal(size=(5, 3)) + i % 2 for i in range(8)], [0, 1] * 4


def fitting(cls: type) -> Callable:
    def fit(**params):
        return cls(**params).fit(X, Y)

    fit.__signature__ = inspect.signature(cls)
    fit.__module__ = cls.__module__
    return fit


def fitting_with(kind: str, settings: type) -> Callable:
    def fit(**params):
        return sg.GroundMetricLearner(**{kind: settings(**params)}).fit(X, Y)

    fit.__signature__ = inspect.signature(settings)
    fit.__module__ = settings.__module__
    return fit
