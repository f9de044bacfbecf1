"""The cohorts of the GGML paper as arrays, split into halves: two synthetic ones, and three public ones if present."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
from _cohorts import cohort
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedShuffleSplit

import scggml as sg

SYNTHETIC = {"synth_2D": "synth_2d", "synth_200D": "synth_200d"}
#: cohort: sample column, label column, name of the file that `sg.datasets` downloads
REAL = {
    "kidney": ("donor_id", "disease", "1c360b0b-eb2f-45a3-aba9-056026b39fa5"),
    "breast": ("donor_id", "reported_diseases", "b8b5be07-061b-4390-af0a-f9ced877a068"),
    "myocardial_infarction": ("sample", "patient_group", "c1f6034b-7973-45e1-85e7-16933d0550bc"),
}
_N_GENES = 2000
_N_COMPS = 50
_MIN_CELLS = 20
_MIN_SAMPLES = 4  # of a class, for two in each half


@dataclass(frozen=True, eq=False)
class Cohort:
    """Samples of which one half is learned from.

    `whole` are the samples that are scored all together: an independent second version of a synthetic cohort. It is
    None for a public cohort, whose samples are all taken, those of the training half included. `own` marks the cells
    that differ between classes, one mask for the cells of each sample, if known.
    """

    arrays: list
    labels: np.ndarray
    train: np.ndarray
    test: np.ndarray
    whole: tuple | None = None
    own: list | None = None
    scale: str = "auto"

    def standardised(self):
        """The same with every feature at mean zero and standard deviation one over the cells of the training half."""
        points = np.concatenate([self.arrays[i] for i in self.train]).astype(np.float64)
        mean, sd = points.mean(axis=0), points.std(axis=0)
        sd = np.where(sd > 0, sd, 1.0)
        whole = self.whole and ([(x - mean) / sd for x in self.whole[0]], self.whole[1])
        return replace(self, arrays=[(x - mean) / sd for x in self.arrays], whole=whole)


def synthetic(name, seed, *, n_samples, n_cells):
    """A synthetic cohort with raw features, and a second, independent one."""
    arrays, labels = cohort(n_samples, n_cells, preset=SYNTHETIC[name], seed=seed)
    whole = cohort(n_samples, n_cells, preset=SYNTHETIC[name], seed=1000 + seed)
    own = [np.arange(n_cells) < n_cells // 3] * n_samples  # the first of three modes
    return Cohort(arrays, labels, *_halves(labels, seed), whole, own)


def find(name, folder):
    """The file of a public cohort, from the folder or from the downloads of `sg.datasets`, or None."""
    version = f"{REAL[name][2]}.h5ad"
    candidates = [folder / f"{name}.h5ad", folder / version] if folder else []
    cache = os.getenv("SCGGML_CACHE_DIR") or _default_cache()
    candidates += [Path(cache) / version] if cache else []
    return next((path for path in candidates if path.exists()), None)


def real(name, path, seed, *, max_cells):
    """A split of a public cohort: 50 PCs of the 2,000 most variable genes, both chosen on the training half only.

    Values are those of `.X`. If all are integers, they are counts, and are normalised to 10,000 per cell and logged.
    """
    import scanpy as sc

    adata = _read(path, *REAL[name][:2], max_cells=max_cells, seed=seed)
    rows_of = adata.obs.groupby("sample", observed=True).indices
    names = sorted(rows_of)
    labels = adata.obs["label"].to_numpy().astype(str)[[rows_of[n][0] for n in names]]
    train, test = _halves(labels, seed)
    learned_from = adata[np.concatenate([rows_of[names[i]] for i in train])].copy()
    sc.pp.highly_variable_genes(learned_from, n_top_genes=min(_N_GENES, adata.n_vars))
    genes = learned_from.var["highly_variable"].to_numpy()
    model = PCA(min(_N_COMPS, genes.sum(), learned_from.n_obs - 1), svd_solver="randomized", random_state=seed)
    model.fit(learned_from.X[:, genes].toarray())
    points = model.transform(adata.X[:, genes].toarray())
    return Cohort([points[rows_of[n]] for n in names], labels, train, test, scale="global")


def _halves(labels, seed):
    split = StratifiedShuffleSplit(1, test_size=0.5, random_state=seed)
    return next(split.split(np.zeros(len(labels)), labels))


def _default_cache():
    try:
        import pooch
    except ImportError:
        return None
    return pooch.os_cache("scggml")


def _read(path, sample_key, label_key, *, max_cells, seed):
    """At most `max_cells` random cells of each sample, log-normalised. The others are not read."""
    import scanpy as sc
    from scipy import sparse

    stored = anndata.read_h5ad(path, backed="r")
    rows = _rows(stored.obs, sample_key, label_key, max_cells=max_cells, seed=seed)
    obs = stored.obs.iloc[rows][[sample_key, label_key]].set_axis(["sample", "label"], axis=1)
    adata = anndata.AnnData(
        sparse.csr_matrix(stored.X[rows]).astype(np.float32), obs=obs.astype(str), var=stored.var[[]]
    )
    stored.file.close()
    if not (adata.X.data % 1).any():
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return adata


def _rows(obs, sample_key, label_key, *, max_cells, seed):
    n_labels = obs.groupby(sample_key, observed=True)[label_key].nunique()
    several = list(n_labels.index[n_labels > 1])
    if several:
        print(f"left out because they have several labels: {', '.join(map(str, several))}", file=sys.stderr)
    table = obs[[sample_key, label_key]].assign(row=np.arange(len(obs)))
    table = table[~table[sample_key].isin(several) & table[label_key].notna() & table[sample_key].notna()]
    table.index = table.index.astype(str)
    cells = anndata.AnnData(obs=table)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sg.pp.filter_samples(cells, sample_key, label_key, min_cells=_MIN_CELLS, min_samples=_MIN_SAMPLES)
    for warning in caught:
        print(warning.message, file=sys.stderr)
    rng = np.random.default_rng(seed)
    of_sample = cells.obs.groupby(sample_key, observed=True)["row"]
    return np.sort(np.concatenate([rng.permutation(rows.to_numpy())[:max_cells] for _, rows in of_sample]))
