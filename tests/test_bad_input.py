"""Bad input of every public function, written by hand: the type of the error, its words, and data left as they were."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from calls import build_calls
from mudata import MuData
from sklearn.model_selection import KFold

import scggml as sg


def edit(**slots):
    """A change to an AnnData: obs={"column": values or function of the old ones}, uns={"key": None for without}, ..."""

    def change(data):
        for slot, entries in slots.items():
            if slot == "X":
                data.X = entries(data.X) if callable(entries) else entries
                continue
            target = getattr(data, slot)
            for key, value in entries.items():
                if value is None:
                    del target[key]
                else:
                    target[key] = value(target[key]) if callable(value) else value
        return data

    return change


def first(value):
    """A function that puts a value in the first place of a column or array."""

    def put(old):
        new = pd.Series(old).astype(object).to_numpy(copy=True) if getattr(old, "ndim", 1) == 1 else np.array(old)
        new[(0,) * new.ndim] = value
        return new

    return put


def in_first_gene(value):
    def put(x):
        x = sp.csr_matrix(x).toarray()
        x[0, 0] = value
        return x

    return put


def entries(**changed):
    """A function that changes entries of a mapping in uns; None removes one."""

    def change(old):
        return {name: value for name, value in {**old, **changed}.items() if value is not None}

    return change


# function, changed arguments (functions change the data), error, words of the message
CASES = {
    # which samples there are
    "no such sample column": ("tl.fit_metric", {"sample_key": "patient"}, KeyError, ["sample_key='patient'", "obs", "sample, label"]),
    "sample column by number": ("tl.fit_metric", {"sample_key": 0}, TypeError, ["sample_key", "column of obs", "found 0"]),
    "a list of sample columns": ("pp.sketch", {"sample_key": ["sample"]}, TypeError, ["sample_key", "column of obs", "['sample']"]),
    "no such label column": ("tl.cross_validate", {"label_key": "stage"}, KeyError, ["label_key='stage'", "obs"]),
    "missing label": ("tl.fit_metric", {"adata": edit(obs={"label": first(None)})}, ValueError, ["label_key='label'", "missing", "1 of 87"]),
    "missing sample": ("tl.separation_test", {"adata": edit(obs={"sample": first(None)})}, ValueError, ["sample_key='sample'", "missing"]),
    "missing batch": ("tl.fit_metric", {"batch_key": "age", "adata": edit(obs={"age": first(np.nan)})}, ValueError, ["batch_key='age'", "missing"]),
    "label differs within a sample": ("tl.fit_metric", {"adata": edit(obs={"label": first("other")})}, ValueError, ["each sample must have one value", "label_key='label'", "'other'"]),
    "label differs by cell": ("tl.tune", {"label_key": "cell_type"}, ValueError, ["each sample must have one value", "label_key='cell_type'"]),
    "donor differs by cell": ("tl.cross_validate", {"donor_key": "cell_type"}, ValueError, ["one value", "donor_key='cell_type'"]),
    "batch is the label": ("tl.fit_metric", {"batch_key": "label"}, ValueError, ["label_key='label'", "batch_key='label'", "confounded"]),
    "donor is the label": ("tl.tune", {"donor_key": "label"}, ValueError, ["donor", "found fewer in sick (1), well (1)"]),
    "one class": ("tl.fit_metric", {"adata": edit(obs={"label": lambda c: ["well"] * len(c)})}, ValueError, ["label_key='label'", "only the class 'well'", "two classes"]),
    "each sample its own class": ("tl.fit_metric", {"label_key": "sample"}, ValueError, ["label_key='sample'", "at least 2 samples", "and 3 more"]),
    "text as ordinal label": ("tl.fit_metric", {"label_kind": "ordinal"}, ValueError, ["label_key='label'", "no order", "ordered=True"]),
    "text as continuous label": ("tl.fit_metric", {"label_kind": "continuous"}, TypeError, ["label_key='label'", "numbers", "label_kind='ordinal'"]),
    "no such kind": ("tl.separation_test", {"label_kind": "numeric"}, ValueError, ["label_kind", "class, ordinal, continuous", "'numeric'"]),
    "constant continuous label": ("tl.fit_metric", {"label_key": "age", "label_kind": "continuous", "adata": edit(obs={"age": lambda c: np.ones(len(c))})}, ValueError, ["label_key='age'", "only the value 1"]),
    "infinite continuous label": ("tl.fit_metric", {"label_key": "age", "label_kind": "continuous", "adata": edit(obs={"age": lambda c: np.full(len(c), np.inf)})}, ValueError, ["label_key='age'", "infinite"]),
    "a sample of one cell": ("tl.fit_metric", {"adata": lambda a: a[[0, *np.flatnonzero(a.obs["sample"] != a.obs["sample"].iloc[0])]].copy()}, ValueError, ["at least 2 cells", "(1)", "filter_samples"]),
    "sample without cells": ("tl.fit_metric", {"adata": edit(obs={"sample": lambda c: c.cat.add_categories("p99")})}, ValueError, ["p99", "without cells", "remove_unused_categories"]),
    "no cells at all": ("tl.fit_metric", {"adata": lambda a: a[:0].copy()}, ValueError, ["adata", "no observations"]),
    "1 and '1' as samples": ("tl.fit_metric", {"adata": edit(obs={"sample": lambda c: pd.Series([1, "1"] * len(c), dtype=object).to_numpy()[: len(c)]})}, ValueError, ["sample_key='sample'", "read the same as text"]),
    # features
    "no such representation": ("tl.fit_metric", {"use_rep": "X_scvi"}, KeyError, ["use_rep='X_scvi'", "obsm", "X_pca", "'X'"]),
    "no such layer": ("tl.fit_metric", {"use_rep": "X", "layer": "raw"}, KeyError, ["layer='raw'", "layers", "counts"]),
    "layer of a representation": ("tl.fit_metric", {"use_rep": "X_pca", "layer": "counts"}, ValueError, ["layer='counts'", "use_rep='X_pca'", "exclude"]),
    "NaN in a gene": ("tl.fit_metric", {"use_rep": "X", "adata": edit(X=in_first_gene(np.nan))}, ValueError, ["X", "NaN", "g0 (1)"]),
    "infinity in PCs": ("tl.fit_metric", {"adata": edit(obsm={"X_pca": first(np.inf)})}, ValueError, ["obsm['X_pca']", "infinite", "feature 0 (1)"]),
    "complex values": ("tl.fit_metric", {"adata": edit(obsm={"X_pca": lambda x: x + 1j})}, TypeError, ["obsm['X_pca']", "real", "complex"]),
    "text in a representation": ("tl.fit_metric", {"adata": edit(obsm={"X_pca": lambda x: x.astype(str)})}, TypeError, ["obsm['X_pca']", "numeric"]),
    "constant features": ("tl.fit_metric", {"adata": edit(obsm={"X_pca": np.zeros_like})}, ValueError, ["no feature varies"]),
    "X is None": ("tl.fit_metric", {"use_rep": "X", "adata": lambda a: AnnData(obs=a.obs, obsm={"X_pca": a.obsm["X_pca"]})}, ValueError, ["X", "use_rep"]),
    "no such sketch": ("tl.fit_metric", {"sketch_key": "sketch"}, KeyError, ["uns['sketch']", "sg.pp.sketch"]),
    "no AnnData": ("tl.fit_metric", {"adata": lambda a: a.to_df()}, TypeError, ["adata", "AnnData", "DataFrame"]),
    "a MuData": ("tl.fit_metric", {"adata": lambda a: MuData({"rna": a})}, TypeError, ["adata", "AnnData", "MuData", "join_modalities"]),
    # the learner
    "too many components": ("tl.fit_metric", {"n_comps": 6}, ValueError, ["n_comps", "at most 5", "features"]),
    "no components": ("tl.fit_metric", {"n_comps": 0}, ValueError, ["n_comps", "at least 1", "found 0"]),
    "half a component": ("tl.fit_metric", {"n_comps": 1.5}, TypeError, ["n_comps", "integer", "1.5"]),
    "no such preset": ("tl.fit_metric", {"learner": "fast"}, ValueError, ["learner", "discriminant, triplet, paper", "'fast'"]),
    "learner of another kind": ("tl.fit_metric", {"learner": KFold()}, TypeError, ["learner", "GroundMetricLearner", "KFold"]),
    "learner for other labels": ("tl.fit_metric", {"learner": sg.GroundMetricLearner(label_kind="ordinal")}, ValueError, ["label_kind='class'", "learner", "'ordinal'"]),
    "rng in two places": ("tl.fit_metric", {"rng": 1, "learner": sg.GroundMetricLearner(rng=0)}, ValueError, ["rng=1", "learner has rng=0"]),
    "settings that are incomplete": ("tl.fit_metric", {"learner": {"ridge": 0.1}}, ValueError, ["learner", "says nothing about"]),
    "text as a flag": ("tl.fit_metric", {"validate": "no"}, TypeError, ["validate", "True or False", "'no'"]),
    "a number as a flag": ("tl.fit_metric", {"copy": 1}, TypeError, ["copy", "True or False", "1"]),
    "negative seed": ("tl.fit_metric", {"rng": -1}, ValueError, ["rng", "seed", "-1"]),
    "old random state": ("tl.fit_metric", {"rng": np.random.RandomState(0)}, TypeError, ["rng", "numpy.random.Generator"]),
    "no jobs": ("tl.fit_metric", {"n_jobs": 0}, ValueError, ["n_jobs", "not be 0", "-1"]),
    "too many jobs": ("tl.cross_validate", {"n_jobs": 10**9}, ValueError, ["n_jobs", "at most"]),
    "key with a slash": ("tl.fit_metric", {"key_added": "a/b"}, ValueError, ["key_added", "without '/'", "'a/b'"]),
    "key that is taken": ("tl.fit_metric", {"key_added": "mine", "adata": edit(uns={"mine": {"a": 1}})}, ValueError, ["key_added='mine'", "uns['mine']", "another key_added"]),
    # distances
    "no such metric": ("tl.sample_distances", {"key": "mine"}, KeyError, ["uns['mine']", "sg.tl.fit_metric"]),
    "something else in its place": ("tl.sample_distances", {"adata": edit(uns={"ggml": {"a": 1}})}, ValueError, ["uns['ggml']", "not a learned metric", "components"]),
    "no such ground metric": ("tl.sample_distances", {"metric": "manhattan"}, ValueError, ["metric", "euclidean, cityblock", "'manhattan'"]),
    "fixed metric without samples": ("tl.sample_distances", {"metric": "euclidean"}, ValueError, ["sample_key", "metric='euclidean'"]),
    "features of another width": ("tl.sample_distances", {"adata": edit(obsm={"X_pca": lambda x: x[:, :3]})}, ValueError, ["5 features", "obsm['X_pca']", "3"]),
    "held-out distances of a fixed metric": ("tl.sample_distances", {"cv": "auto", "metric": "euclidean", "sample_key": "sample"}, ValueError, ["cv='auto'", "metric='euclidean'", "Leave cv out"]),
    "two folds": ("tl.sample_distances", {"cv": 2}, ValueError, ["cv makes 2 folds", "at least 3", "cv=4"]),
    "too few samples for two folds": ("tl.sample_distances", {"cv": 5}, ValueError, ["cv=5", "at least 5 samples", "cv=4"]),
    "folds of nothing": ("tl.sample_distances", {"rng": 0}, ValueError, ["rng=0", "without cv"]),
    "no such solver": ("tl.sample_distances", {"solver": "emd"}, ValueError, ["solver", "exact, pot", "'emd'"]),
    "solver without strength": ("tl.sample_distances", {"solver": sg.Sinkhorn(reg=0)}, ValueError, ["reg of Sinkhorn", "greater than 0"]),
    "entropic cityblock": ("tl.sample_distances", {"metric": "cityblock", "sample_key": "sample", "solver": sg.Sinkhorn()}, ValueError, ["solver", "metric='cityblock'", "'exact'"]),
    "checkpoint by number": ("tl.sample_distances", {"checkpoint": 3}, TypeError, ["checkpoint", "path", "3"]),
    "cosine of a sketch": ("tl.sample_distances", {"metric": "cosine", "sample_key": "sample", "sketch_key": "sketch"}, ValueError, ["sketch_key", "cosine"]),
    "cosine of empty cells": ("tl.sample_distances", {"metric": "cosine", "sample_key": "sample", "adata": edit(obsm={"X_pca": lambda x: np.vstack([0 * x[:1], x[1:]])})}, ValueError, ["metric='cosine'", "all-zero cells", "1"]),
    # on samples
    "no distances": ("tl.embed_samples", {"pdata": edit(obsp={"ggml_distances": None})}, KeyError, ["obsp['ggml_distances']", "sg.tl.sample_distances"]),
    "NaN distances": ("tl.embed_samples", {"pdata": edit(obsp={"ggml_distances": first(np.nan)})}, ValueError, ["obsp['ggml_distances']", "NaN or infinite"]),
    "asymmetric distances": ("tl.cluster_samples", {"pdata": edit(obsp={"ggml_distances": np.triu})}, ValueError, ["distances", "symmetric"]),
    "negative distances": ("tl.order_samples", {"pdata": edit(obsp={"ggml_distances": np.negative})}, ValueError, ["obsp['ggml_distances']", "not be negative"]),
    "all distances zero": ("tl.embed_samples", {"pdata": edit(obsp={"ggml_distances": np.zeros_like})}, ValueError, ["distances", "zero"]),
    "no such map": ("tl.embed_samples", {"method": "pca"}, ValueError, ["method", "mds, umap, diffmap, tsne", "'pca'"]),
    "too many axes": ("tl.embed_samples", {"n_components": 8}, ValueError, ["n_components", "at most 6", "8 samples"]),
    "neighbours of mds": ("tl.embed_samples", {"n_neighbors": 3}, ValueError, ["n_neighbors=3", "no effect", "mds"]),
    "one cluster": ("tl.cluster_samples", {"n_clusters": 1}, ValueError, ["n_clusters", "at least 2"]),
    "a cluster for each sample": ("tl.cluster_samples", {"n_clusters": 8}, ValueError, ["n_clusters", "at most 7", "8 samples"]),
    "clusters in a column that is taken": ("tl.cluster_samples", {"key_added": "label"}, ValueError, ["key_added='label'", "obs['label']", "another"]),
    "scores of training distances": ("tl.score_distances", {"pdata": edit(uns={"ggml": entries(metric="learned")})}, ValueError, ["key='ggml'", "learned with the labels", "cv='auto'"]),
    "nothing to score by": ("tl.score_distances", {"relevant": None}, ValueError, ["relevant", "technical", "replicate_key"]),
    "scores by no columns": ("tl.score_distances", {"technical": []}, ValueError, ["technical", "empty"]),
    "scores by a number": ("tl.score_distances", {"relevant": 3}, TypeError, ["relevant", "list", "3"]),
    "scores by no such column": ("tl.score_distances", {"contextual": ["stage"]}, KeyError, ["contextual='stage'", "label, age"]),
    "scores by a column in two roles": ("tl.score_distances", {"technical": "label"}, ValueError, ["'label'", "relevant", "technical", "once"]),
    "scores by a constant": ("tl.score_distances", {"technical": "age", "pdata": edit(obs={"age": lambda c: np.zeros(8)})}, ValueError, ["technical='age'", "only the value 0"]),
    "scores by infinite numbers": ("tl.score_distances", {"technical": "age", "pdata": edit(obs={"age": lambda c: [np.inf, *range(7)]})}, ValueError, ["technical='age'", "1 infinite"]),
    "scores by names of samples": ("tl.score_distances", {"technical": "sample"}, ValueError, ["technical='sample'", "another class in each", "8 in all"]),
    "scores by dates": ("tl.score_distances", {"technical": "age", "pdata": edit(obs={"age": lambda c: pd.to_datetime(c)})}, TypeError, ["technical='age'", "datetime64", ".dt.days"]),
    "scores by what is hardly known": ("tl.score_distances", {"technical": "age", "pdata": edit(obs={"age": lambda c: [1.0, 2.0, 3.0] + [np.nan] * 5})}, ValueError, ["technical='age'", "3 of 8", "3 nearest"]),
    "scores of three samples": ("tl.score_distances", {"pdata": lambda p: p[:3].copy()}, ValueError, ["at least 4 samples", "has 3"]),
    "scores by no replicates": ("tl.score_distances", {"replicate_key": "sample"}, ValueError, ["replicate_key='sample'", "another value in every sample"]),
    "scores by replicates of one patient": ("tl.score_distances", {"replicate_key": "age", "pdata": edit(obs={"age": lambda c: 0 * c})}, ValueError, ["replicate_key='age'", "the same value"]),
    "scores by unknown replicates": ("tl.score_distances", {"replicate_key": "age", "pdata": edit(obs={"age": first(np.nan)})}, ValueError, ["replicate_key='age'", "1 of 8"]),
    "no root": ("tl.order_samples", {"root": "healthy"}, ValueError, ["root='healthy'", "sick, well"]),
    "root by number": ("tl.order_samples", {"root": 0}, TypeError, ["root", "text", "0"]),
    # does it hold
    "no such method": ("tl.cross_validate", {"methods": ["gml"]}, ValueError, ["methods", "gml", "euclidean"]),
    "a method without its cell types": ("tl.cross_validate", {"methods": ["composition"]}, ValueError, ["'composition'", "cell_type_key"]),
    "cell types without a method": ("tl.cross_validate", {"cell_type_key": "cell_type"}, ValueError, ["cell_type_key has no effect", "pseudobulk_by_type"]),
    "too few cells for densities": ("tl.cross_validate", {"methods": ["gloscope"]}, ValueError, ["'gloscope'", "more than 25 cells", "min_cells=26"]),
    "no methods": ("tl.cross_validate", {"methods": []}, ValueError, ["methods"]),
    "one fold": ("tl.cross_validate", {"cv": 1}, ValueError, ["cv", "at least 2", "1"]),
    "more folds than samples of a class": ("tl.cross_validate", {"cv": 5}, ValueError, ["cv=5", "sick (4), well (4)", "cv=4"]),
    "folds by another name": ("tl.cross_validate", {"cv": "loo"}, ValueError, ["cv", "'leave_one_out'", "'loo'"]),
    "a class of splitters": ("tl.cross_validate", {"cv": KFold}, TypeError, ["cv", "splitter", "KFold"]),
    "splits that overlap": ("tl.cross_validate", {"cv": [([0, 1, 2, 3, 4, 5], [5, 6])]}, ValueError, ["split 0 of cv", "training and test"]),
    "positions that do not exist": ("tl.cross_validate", {"cv": [([0, 1, 2, 3], [99])]}, ValueError, ["split 0 of cv", "0 to 7", "99"]),
    "few permutations": ("tl.separation_test", {"n_permutations": 9}, ValueError, ["n_permutations", "at least 19"]),
    "cells by another word": ("tl.separation_test", {"n_cells": "all"}, ValueError, ["n_cells", "'equal'", "'all'"]),
    "more patients than there are": ("tl.power", {"n_samples": 20}, ValueError, ["n_samples=20", "8 samples", "simulated_cohort"]),
    "too few patients": ("tl.power", {"n_samples": [5, 8]}, ValueError, ["n_samples=5", "smallest possible number is 6"]),
    "more cells than there are": ("tl.power", {"n_cells": [5, 99]}, ValueError, ["n_cells=99", "8 of 8 samples", "filter_samples"]),
    "no size": ("tl.power", {"n_cells": []}, ValueError, ["n_cells", "empty"]),
    "a size twice": ("tl.power", {"n_samples": [8, 8]}, ValueError, ["n_samples", "more than once"]),
    "grid of another parameter": ("tl.tune", {"grid": {"alpha": [1]}}, ValueError, ["grid", "alpha", "whitening"]),
    "grid of single values": ("tl.tune", {"grid": {"ridge": 0.1}}, ValueError, ["grid['ridge']", "list of values", "0.1"]),
    "grid by number": ("tl.tune", {"grid": 3}, TypeError, ["grid", "mapping", "3"]),
    "settings out of range": ("tl.tune", {"grid": {"whitening": [2]}}, ValueError, ["whitening", "at most 1"]),
    # genes
    "negative bootstraps": ("tl.rank_genes", {"n_boot": -1}, ValueError, ["n_boot", "at least 0"]),
    "genes of the same name": ("tl.rank_genes", {"adata": lambda a: _renamed(a)}, ValueError, ["var_names", "not unique", "var_names_make_unique"]),
    "no loadings": ("tl.rank_genes", {"adata": edit(varm={"PCs": None})}, KeyError, ["PCs", "use_rep='X'"]),
    "gene sets that do not exist": ("tl.enrich_genes", {"gene_sets": "sets.gmt"}, FileNotFoundError, ["gene_sets", "sets.gmt"]),
    "gene sets of other genes": ("tl.enrich_genes", {"gene_sets": {"a": ["TP53"] * 6}}, ValueError, ["gene_sets", "TP53", "g0, g1"]),
    "no gene sets": ("tl.enrich_genes", {"gene_sets": {}}, ValueError, ["gene_sets"]),
    "another enrichment": ("tl.enrich_genes", {"method": "ora"}, ValueError, ["method", "ulm, gsea", "'ora'"]),
    # explanations
    "cell types that do not exist": ("tl.explain_distances", {"cell_type_key": "type"}, KeyError, ["cell_type_key='type'", "obs"]),
    "one class to compare": ("tl.explain_distances", {"classes": "sick"}, TypeError, ["classes", "list", "['sick']"]),
    "classes that do not exist": ("tl.explain_distances", {"classes": ["sick", "dead"]}, KeyError, ["classes", "dead", "well, sick"]),
    "samples and classes": ("tl.explain_distances", {"samples": ["p1", "p2"], "classes": ["sick", "well"]}, ValueError, ["samples", "classes", "exclude"]),
    "samples that do not exist": ("tl.explain_distances", {"samples": ["p1", "p99"]}, KeyError, ["samples", "p99"]),
    "other distances": ("tl.explain_distances", {"pdata": edit(obsp={"ggml_distances": lambda d: 2 * d})}, ValueError, ["distances", "sample_distances"]),
    "other samples": ("tl.explain_distances", {"pdata": lambda p: p[:5].copy()}, ValueError, ["samples"]),
    "barycenters without points": ("tl.class_barycenters", {"n_points": 0}, ValueError, ["n_points", "at least 1"]),
    "barycenters of no class": ("tl.class_barycenters", {"classes": ["dead"]}, ValueError, ["classes", "dead", "well, sick"]),
    # new patients
    "reference without distances": ("tl.make_reference", {"pdata": edit(obsp={"ggml_distances": None})}, KeyError, ["obsp['ggml_distances']"]),
    "reference of other samples": ("tl.make_reference", {"pdata": lambda p: p[:5].copy()}, ValueError, ["samples"]),
    "coreset without points": ("tl.make_reference", {"n_points": 0}, ValueError, ["n_points", "at least 1"]),
    "no reference": ("tl.map_samples", {"reference": edit(uns={"ggml_reference": None})}, KeyError, ["uns['ggml_reference']", "sg.tl.make_reference"]),
    "known samples": ("tl.map_samples", {"new": edit(obs={"sample": lambda c: c.astype(str).str.removesuffix(" new").to_numpy()})}, ValueError, ["names of samples of the reference", "rename"]),
    "no such new samples": ("tl.map_samples", {"sample_key": "patient"}, KeyError, ["sample_key='patient'"]),
    "genes that are missing": ("tl.map_samples", {"new": lambda a: a[:, 11:].copy()}, ValueError, ["genes"]),
    "level of outliers": ("tl.predict_samples", {"alpha": 0.7}, ValueError, ["alpha", "at most 0.5", "0.7"]),
    "nothing mapped": ("tl.predict_samples", {"mapped": edit(uns={"ggml_reference": None})}, KeyError, ["uns['ggml_reference']", "sg.tl.map_samples"]),
    "projection without reference": ("tl.project", {"key": "mine"}, KeyError, ["mine", "sg.tl.make_reference"]),
    # preparation
    "nothing left": ("pp.filter_samples", {"min_cells": 99}, ValueError, ["nothing would be left", "min_cells=99"]),
    "negative cells": ("pp.filter_samples", {"min_cells": -1}, ValueError, ["min_cells", "at least 1"]),
    "classes of no sample": ("pp.filter_samples", {"label_key": "label", "min_samples": 0}, ValueError, ["min_samples", "at least 1"]),
    "sketch without points": ("pp.sketch", {"n_points": 0}, ValueError, ["n_points", "at least 1"]),
    "points and types": ("pp.sketch", {"n_points": 3, "cell_type_key": "cell_type"}, ValueError, ["n_points=3", "cell_type_key='cell_type'"]),
    "sketch over a column": ("pp.sketch", {"key_added": "label"}, ValueError, ["key_added='label'", "obs['label']"]),
    "one AnnData to join": ("pp.join_modalities", {"mdata": lambda m: m.mod["rna"]}, TypeError, ["mdata", "MuData", "AnnData"]),
    "no such modality": ("pp.join_modalities", {"use_rep": {"atac": "X"}}, ValueError, ["use_rep", "atac", "rna"]),
    "modality by number": ("pp.join_modalities", {"use_rep": {"rna": 3}}, TypeError, ["use_rep['rna']", "3"]),
    # tables and plots
    "distances of no key": ("get.distances", {"key": "mine"}, KeyError, ["obsp['mine_distances']", "ggml_distances"]),
    "table by another name": ("get.explanation", {"table": "types"}, ValueError, ["table", "cell_types", "'types'"]),
    "genes of another table": ("get.explanation", {"n_genes": 3}, ValueError, ["n_genes", "no effect", "summary"]),
    "no scores": ("get.scores", {"key": "mine"}, KeyError, ["uns['mine_cross_validation']", "sg.tl.cross_validate"]),
    "baseline that was not run": ("get.scores", {"baseline": "pseudobulk"}, ValueError, ["baseline='pseudobulk'", "euclidean"]),
    "weights of no metric": ("get.gene_weights", {"key": "mine"}, KeyError, ["mine", "sg.tl.fit_metric"]),
    "colours of no column": ("pl.sample_map", {"color": "stage"}, KeyError, ["color='stage'", "obs"]),
    "two colours": ("pl.sample_map", {"color": ["label", "age"]}, TypeError, ["color", "['label', 'age']"]),
    "no such map to draw": ("pl.sample_map", {"basis": "umap"}, KeyError, ["basis='umap'", "obsm['X_umap']", "sg.tl.embed_samples"]),
    "third axis": ("pl.sample_map", {"components": (1, 3)}, ValueError, ["components", "at most 2"]),
    "no columns for tracks": ("pl.distance_heatmap", {"color": []}, ValueError, ["color", "empty list"]),
    "curves of other things": ("pl.predictions", {"what": "matrix"}, ValueError, ["what", "confusion, roc, values, probabilities", "'matrix'"]),
    "predictions of another method": ("pl.predictions", {"method": "nca"}, ValueError, ["method", "euclidean", "'nca'"]),
    "no predictions": ("get.predictions", {"key": "mine"}, KeyError, ["uns['mine_cross_validation']", "sg.tl.cross_validate"]),
    "no permutation test": ("pl.separation", {"key": "mine"}, KeyError, ["uns['mine_separation']", "sg.tl.separation_test"]),
    "table of no test": ("get.separation", {"key": "mine"}, KeyError, ["uns['mine_separation']", "sg.tl.separation_test"]),
    "axes of a figure": ("pl.distance_heatmap", {"ax": "left"}, TypeError, ["ax", "axes", "'left'"]),
    "numbers on a heatmap": ("pl.distance_heatmap", {"color": "age"}, ValueError, ["color='age'", "classes"]),
    "no gene to draw": ("pl.gene_weights", {"n_genes": 0}, ValueError, ["n_genes", "at least 1"]),
    "text to highlight": ("pl.gene_weights", {"highlight": "g3"}, TypeError, ["highlight", "list", "['g3']"]),
    "gene of another type": ("pl.explained_genes", {"cell_type": "NK"}, ValueError, ["cell_type", "NK"]),
    "other quantity": ("pl.transport", {"what": "flow"}, ValueError, ["what", "cost, mass, excess", "'flow'"]),
    "transport of other classes": ("pl.transport", {"classes": ["sick", "dead"]}, KeyError, ["classes", "dead"]),
    "no search": ("pl.tuning", {"key": "mine"}, KeyError, ["uns['mine_tuning']", "sg.tl.tune"]),
    "no learning curve": ("pl.power", {"key": "mine"}, KeyError, ["uns['mine_power']", "sg.tl.power"]),
    "no history": ("pl.training_history", {"adata": edit(uns={"ggml": entries(loss_history=None)})}, KeyError, ["uns['ggml']", "loss_history"]),
    "score that was not computed": ("pl.cross_validation", {"score": "accurracy"}, ValueError, ["score", "balanced_accuracy", "'accurracy'"]),
    "cells on no basis": ("pl.cells", {"basis": "umap"}, KeyError, ["basis='umap'", "X_umap"]),
    "cells in no colour": ("pl.cells", {"color": "g99"}, KeyError, ["color='g99'"]),
    # report
    "report of another kind": ("report", {"path": "report.pdf"}, ValueError, ["path='report.pdf'", "'.html'"]),
    "report in no folder": ("report", {"path": "none/report.html"}, FileNotFoundError, ["path='none/report.html'", "no folder"]),
    "report by number": ("report", {"path": 3}, TypeError, ["path", "3"]),
    "report of other samples": ("report", {"pdata": lambda d: d[1:].copy()}, ValueError, ["pdata must hold the samples of adata", "p1"]),
    "report of another reference": ("report", {"mapped": lambda d: d[1:].copy()}, ValueError, ["the reference of mapped", "missing: p1"]),
    "report of no new samples": ("report", {"mapped": lambda d: d[d.obs["is_reference"].to_numpy()].copy()}, ValueError, ["no sample of mapped is new"]),
    "report of samples that were not mapped": ("report", {"mapped": edit(obs={"is_reference": None})}, ValueError, ["mapped needs obs['is_reference']", "sg.tl.map_samples"]),
    "report of held-out distances that are not": ("report", {"held_out": edit(uns={"ggml": entries(status="training")})}, ValueError, ["held_out must hold held-out distances", "'training'", "cv='auto'"]),
    "report of held-out distances of others": ("report", {"held_out": lambda d: d[1:].copy()}, ValueError, ["held_out must hold the samples of pdata", "missing: p1"]),
    "report without a metric": ("report", {"key": "mine"}, KeyError, ["uns['mine']", "sg.tl.fit_metric"]),
    "report without distances": ("report", {"pdata": lambda d: AnnData(obs=d.obs)}, KeyError, ["obsp['ggml_distances']", "sg.tl.sample_distances"]),
    "report without labels": ("report", {"pdata": edit(obs={"label": None})}, KeyError, ["label_key='label'", "obs"]),
    # cohorts
    "one sample": ("datasets.simulated_cohort", {"n_samples": 1}, ValueError, ["n_samples", "at least 2"]),
    "hidden offsets": ("datasets.synthetic_cohort", {"offsets": np.ma.masked_array([1, 2], [0, 1])}, ValueError, ["offsets", "masked"]),
    "negative effect": ("datasets.simulated_cohort", {"effect_size": -1}, ValueError, ["effect_size", "at least 0"]),
    "correlation above one": ("datasets.simulated_cohort", {"batch_label_correlation": 2}, ValueError, ["batch_label_correlation", "at most 1"]),
    "no such preset of points": ("datasets.synthetic_cohort", {"preset": "3d"}, ValueError, ["preset", "2d", "'3d'"]),
    "offsets as text": ("datasets.synthetic_cohort", {"offsets": "abc"}, (TypeError, ValueError), ["offsets", "'abc'"]),
    "folder by number": ("datasets.breast_cohort", {"cache_dir": 3}, TypeError, ["cache_dir", "path", "3"]),
    "backed by text": ("datasets.kidney_cohort", {"backed": "r"}, TypeError, ["backed", "True or False", "'r'"]),
    "cache by number": ("datasets.iga_nephropathy_cohort", {"cache_dir": 3}, TypeError, ["cache_dir", "3"]),
    "folder of bytes": ("datasets.myocardial_infarction_cohort", {"cache_dir": b"x"}, TypeError, ["cache_dir", "path"]),
    # estimators
    "ridge as text": ("GroundMetricLearner", {"ridge": "none"}, ValueError, ["ridge", "'auto' or a number", "'none'"]),
    "whitening above one": ("GroundMetricLearner", {"whitening": 1.5}, ValueError, ["whitening", "at most 1", "1.5"]),
    "scale by another name": ("GroundMetricLearner", {"scale": "std"}, ValueError, ["scale", "feature, global", "'std'"]),
    "solver by number": ("GroundMetricLearner", {"solver": 1}, ValueError, ["solver", "exact, pot", "1"]),
    "refinement as a dict": ("GroundMetricLearner", {"refine": {"margin": 1}}, TypeError, ["refine", "scggml.Refinement", "margin"]),
    "negative margin": ("Refinement", {"margin": -1}, ValueError, ["margin of Refinement", "at least 0"]),
    "one evaluation": ("Refinement", {"max_iter": 1}, ValueError, ["max_iter=1 of Refinement", "takes no step"]),
    "no such device": ("Sinkhorn", {"device": "tpu"}, ValueError, ["device of Sinkhorn", "cpu", "'tpu'"]),
    "rule by another name": ("OTNeighborsClassifier", {"rule": "mean"}, ValueError, ["rule", "class_mean, knn", "'mean'"]),
    "no neighbours": ("OTNeighborsClassifier", {"n_neighbors": 0}, ValueError, ["n_neighbors", "at least 1"]),
    "metric by another name": ("OTNeighborsClassifier", {"learner": "cosine"}, TypeError, ["learner", "'euclidean'", "'cosine'"]),
    "one array for all samples": ("GroundMetricLearner.fit", {"X": np.zeros((8, 3))}, ValueError, ["X", "list with one (n_cells, n_features) array"]),
    "too few labels": ("GroundMetricLearner.fit", {"y": [0, 1]}, ValueError, ["y", "8 samples", "(2,)"]),
    "a missing label": ("GroundMetricLearner.fit", {"y": [0, 1, 0, 1, 0, 1, 0, np.nan]}, ValueError, ["y", "1 missing"]),
    "other features": ("GroundMetricLearner.transform", {"X": [np.zeros((4, 2))]}, ValueError, ["X", "2 features", "3"]),
    "no samples": ("OTNeighborsClassifier.predict", {"X": []}, ValueError, ["X", "no samples"]),
    "NaN in a sample": ("OTNeighborsClassifier.fit", {"X": [np.full((4, 3), np.nan)] * 8}, ValueError, ["X[0]", "NaN"]),
    "samples of several widths": ("GroundMetricLearner.fit", {"X": [np.ones((4, 3)), *[np.ones((4, 2))] * 7]}, ValueError, ["X", "features"]),
    "no neighbours to score": ("GroundMetricLearner.score", {"n_neighbors": 0}, ValueError, ["n_neighbors", "at least 1"]),
    "other samples to compare": ("GroundMetricLearner.pairwise_distances", {"Y": [np.zeros((4, 9))]}, ValueError, ["Y", "9 features"]),
    "features of one dimension": ("OTNeighborsClassifier.decision_function", {"X": [np.zeros(3)]}, ValueError, ["X", "dimension"]),
    "samples as text": ("OTNeighborsClassifier.predict_proba", {"X": "cells"}, TypeError, ["X", "list", "'cells'"]),
    "labels of one sample": ("OTNeighborsClassifier.score", {"y": [1]}, ValueError, ["y"]),
}  # fmt: skip


def _renamed(adata):
    adata.var_names = ["g0", *adata.var_names[:-1]]
    return adata


@pytest.fixture(scope="module")
def calls(_cohort, _fitted, _pdata):
    return build_calls(_cohort, _fitted, _pdata)


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, calls, assert_same_anndata, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, changes, error, words = CASES[case]
    function, base = calls[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = {key: data.copy() if isinstance(data, AnnData | MuData) else data for key, data in base.items()}
        for argument, change in changes.items():
            is_change = argument in given and inspect.isfunction(change)
            given[argument] = change(given[argument]) if is_change else change
        before = {key: data.copy() for key, data in given.items() if isinstance(data, AnnData)}
        with pytest.raises(error) as raised:
            function(**given)
    message = str(raised.value.args[0])
    assert [word for word in words if word not in message] == [], message
    assert len(message) < 600, message
    assert raised.traceback[-1].path.is_relative_to(Path(sg.__file__).parent), raised.traceback[-1]
    for key, data in before.items():
        assert_same_anndata(data, given[key])
    assert list(tmp_path.iterdir()) == []


def test_every_function_has_a_case(calls):
    assert set(calls) == {case[0] for case in CASES.values()}
    assert len(CASES) >= 120
